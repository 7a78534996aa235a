"""A question through the whole path: found, asked, answered, its citations checked, every step in the trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType

from opentelemetry.trace import Span, Tracer

from ..errors import StepFailed
from .citations import cited_numbers, unfounded_numbers
from .embedders.opening import open_embedder
from .inference.generating import generate
from .inference.opening import open_inference
from .inference.reasoning import holds_reasoning
from .parts import Embedder
from .prompt import build_prompt
from .records import Answer, Hit, Prompt
from .retrieval import retrieve
from .settings import EmbedderSettings, RagSettings
from .stores.opening import open_store

logger = logging.getLogger(__name__)


class LazyEmbedders(Mapping[str, Embedder]):
    """The embedders by name, each opened when it is first asked for, which the trace shows."""

    def __init__(self, settings: Mapping[str, EmbedderSettings], tracer: Tracer) -> None:
        self._settings, self._tracer = settings, tracer

    def __getitem__(self, name: str) -> Embedder:
        return open_embedder(self._settings[name], self._loading)

    def _loading(self, model: str) -> AbstractContextManager[object]:
        """The span of a load; a thread that only waits for the load of another one has none."""
        return self._tracer.start_as_current_span("load embedder", attributes={"gen_ai.request.model": model})

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)


class RagPath:
    """The path, ready for questions from several threads at once; a context manager that closes its store."""

    def __init__(self, settings: RagSettings, tracer: Tracer) -> None:
        """Opens store and inference at once, embedders when they are first asked. Raises StepFailed."""
        self.settings = settings
        self.tracer = tracer
        self.embedders: Mapping[str, Embedder] = LazyEmbedders(settings.embedders, tracer)
        self.inference = open_inference(settings.inference, settings.path.temperature)
        self.store = open_store(settings.store)

    def __enter__(self) -> RagPath:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()

    def retrieve(self, question: str, user: str = "") -> list[Hit]:
        """What is found for a question, the best first. Raises StepFailed."""
        if not question.strip():
            raise StepFailed("The question is empty; expected some words.")
        return retrieve(question, self.settings, self.embedders, self.store, self.tracer, user)

    def ask(self, question: str, user: str = "", arm: str = "") -> Answer:
        """The answer to a question, from what is found for it. Raises StepFailed, and never answers nothing.

        `user` is whose conversations may be searched, `arm` a word for the trace.
        """
        began = time.perf_counter()
        with self.tracer.start_as_current_span("question") as span:
            if arm:
                span.set_attribute("warmstall.arm", arm)
            hits = self._found(question, user, span)
            prompt = self._prompt(question, hits)
            generated = generate(self.inference, prompt, self.settings.path, self.tracer)
            with self.tracer.start_as_current_span("cite") as cite:
                cited = cited_numbers(generated.text)
                unfounded = unfounded_numbers(cited, len(hits))
                cite.set_attributes({"warmstall.cited": len(cited), "warmstall.unfounded": len(unfounded)})
            if unfounded:
                logger.warning("answer: it cites %d sources that were not given to it", len(unfounded))
            span.set_attributes({
                "warmstall.cited": len(cited),
                "warmstall.unfounded": len(unfounded),
                "warmstall.reasoning_left": holds_reasoning(generated.text),
                "warmstall.answer_chars": len(generated.text),
            })  # fmt: skip
            told = span.get_span_context()
            trace_id = f"{told.trace_id:032x}" if told.is_valid else ""
            answer = Answer(question, generated.text, tuple(hits), cited, unfounded, generated, 0.0, trace_id)
        return replace(answer, wall_s=time.perf_counter() - began)

    def _found(self, question: str, user: str, span: Span) -> list[Hit]:
        hits = self.retrieve(question, user)
        note = not hits and self.settings.path.say_when_nothing_found
        span.set_attributes({"warmstall.documents_found": len(hits), "warmstall.note_given": note})
        if not hits:
            logger.warning("answer: nothing was found for a question")
        return hits

    def _prompt(self, question: str, hits: list[Hit]) -> Prompt:
        with self.tracer.start_as_current_span("prompt") as span:
            prompt = build_prompt(question, hits, self.settings.path)
            size = len(prompt.system) + len(prompt.user)
            span.set_attributes({"warmstall.prompt_chars": size, "warmstall.sources": len(hits)})
        return prompt
