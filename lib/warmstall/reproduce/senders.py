"""What one call of a load is: a question through the path, a bare call to a model, or texts to an embedder."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from ..errors import InputError, WarmstallError
from ..rag.records import Generated, Prompt
from .records import Arrival, Sent

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

    from ..rag.answering import RagPath
    from ..rag.parts import Embedder, Inference
    from ..rag.settings import InferenceSettings, PathSettings

Sender = Callable[[Arrival], Sent]
Questions = Callable[[Arrival], str]
Prompts = Callable[[Arrival], Prompt]

PROMPT_TOKENS = 100
# Counts of tokens are rounded to steps of an eighth, because each is a model's settings of its own.
_STEPS = 8
_WORDS = (
    "river", "stone", "window", "garden", "letter", "winter", "market", "silver", "candle", "bridge", "harbour",
    "meadow", "copper", "lantern", "orchard", "thunder", "velvet", "compass", "marble", "feather",
)  # fmt: skip
_QUESTION = re.compile(r"^#*\s*(\S.{8,200}\?)\s*$", re.MULTILINE)

_begun = threading.local()


class NotedTraces(SpanProcessor):
    """Remembers for each thread which trace it began last, so that a call that failed can be told by it as well."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.parent is None and span.context is not None:
            _begun.trace_id = f"{span.context.trace_id:032x}"


def question_sender(path: RagPath, questions: Questions, user: str = "") -> Sender:
    """Asks the path a question for each arrival; measures tell how many documents were found and what was cited."""

    def send(arrival: Arrival) -> Sent:
        answer = path.ask(questions(arrival), user=user, arm=arrival.arm)
        counted = {
            "documents_found": float(len(answer.hits)), "cited": float(len(answer.cited)),
            "unfounded": float(len(answer.unfounded)),
        }  # fmt: skip
        return _sent_of(answer.generated, counted)

    return _told(send)


def call_sender(inference: Inference | Inferences, settings: PathSettings, tracer: Tracer, prompts: Prompts) -> Sender:
    """Sends each arrival's prompt to a model, with the path's retries, and without anything retrieved."""
    from ..rag.inference.generating import generate

    def send(arrival: Arrival) -> Sent:
        asked = inference.of(arrival) if isinstance(inference, Inferences) else inference
        return _sent_of(generate(asked, prompts(arrival), settings, tracer), {})

    return _told(send)


def embed_sender(embedder: Embedder, tracer: Tracer, texts: Questions) -> Sender:
    """Embeds one text for each arrival."""
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": "embeddings", "gen_ai.provider.name": embedder.provider,
        "gen_ai.request.model": embedder.model, "warmstall.texts": 1,
    }  # fmt: skip

    def send(arrival: Arrival) -> Sent:
        with tracer.start_as_current_span("embed", attributes=attributes, record_exception=False) as span:
            try:
                embedder.embed([texts(arrival)])
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
        return Sent(ok=True)

    return _told(send)


class Inferences:
    """The part that answers, by what an arrival asks for: its model, and how many tokens are to be written.

    Opened when first needed and kept; `options` of the settings count for all of them. With `one_model` that of the
    settings stands in for whatever an arrival names.
    """

    def __init__(self, settings: InferenceSettings, temperature: float, one_model: bool = False) -> None:
        self._settings, self._temperature, self._one_model = settings, temperature, one_model
        self._opened: dict[tuple[str, int], Inference] = {}
        self._lock = threading.Lock()

    def of(self, arrival: Arrival) -> Inference:
        from ..rag.inference.opening import open_inference

        model = self._settings.model
        if not self._one_model:
            model = str(arrival.wanted.get("model") or model)
        tokens = rounded(int(arrival.wanted.get("output_tokens") or 0))
        with self._lock:
            if (model, tokens) not in self._opened:
                limit = {"num_predict" if self._settings.kind == "ollama" else "max_tokens": tokens} if tokens else {}
                settings = replace(self._settings, model=model, options={**self._settings.options, **limit})
                self._opened[model, tokens] = open_inference(settings, self._temperature)
            return self._opened[model, tokens]


def rounded(tokens: int) -> int:
    """To a step of an eighth.

    >>> rounded(5), rounded(100), rounded(1000)
    (5, 104, 1024)
    """
    step = max(1, 1 << max(0, tokens.bit_length() - 1)) // _STEPS or 1
    return -(-tokens // step) * step


def word_prompts(seed: int, tokens: int = PROMPT_TOKENS) -> Prompts:
    """Prompts of plain words, each another, of about so many tokens or of as many as the arrival wants.

    >>> prompts = word_prompts(seed=1, tokens=4)
    >>> prompts(Arrival(7)).user == prompts(Arrival(7)).user != prompts(Arrival(8)).user
    True
    """

    def prompt(arrival: Arrival) -> Prompt:
        random = Random(f"{seed} {arrival.number}")
        count = int(arrival.wanted.get("prompt_tokens") or tokens)
        return Prompt(system="", user=" ".join(random.choices(_WORDS, k=max(1, count))))

    return prompt


def word_texts(seed: int, tokens: int = PROMPT_TOKENS) -> Questions:
    """The same as texts."""
    prompts = word_prompts(seed, tokens)
    return lambda arrival: prompts(arrival).user


def asked_in_turn(questions: Sequence[str], seed: int) -> Questions:
    """Each of the questions as often as the others, in an order that is drawn; the same for the same number."""
    drawn = Random(seed).sample(list(questions), len(questions))
    return lambda arrival: drawn[arrival.number % len(drawn)]


def questions_of(folder: Path) -> list[str]:
    """The questions that stand alone on a line of the texts of a folder: a FAQ's headings.

    Raises InputError where there are none.
    """
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md")))
    found = list(dict.fromkeys(question for text in texts for question in _QUESTION.findall(text)))
    if not found:
        raise InputError(f"{folder}: holds no questions; expected .md files with a heading such as '## Why …?'.")
    return found


def _told(send: Sender) -> Sender:
    """What a part refused is a call that failed; which trace tells of it is noted in any case."""

    def told(arrival: Arrival) -> Sent:
        _begun.trace_id = ""
        try:
            sent = send(arrival)
        except WarmstallError as error:
            sent = Sent(ok=False, error=str(error), attempts=int(getattr(error, "attempts", 1)))
        return replace(sent, trace_id=_begun.trace_id)

    return told


def _sent_of(generated: Generated, measures: Mapping[str, float]) -> Sent:
    from ..rag.inference.generating import tokens_per_s

    tokens, load = (generated.final.get(name) for name in ("eval_count", "load_duration"))
    return Sent(
        ok=True, ttft_s=generated.ttft_s, output_tokens=tokens if isinstance(tokens, int) else None,
        tokens_per_s=tokens_per_s(generated), load_duration_s=load / 1e9 if isinstance(load, int) else None,
        attempts=generated.attempts, measures=measures,
    )  # fmt: skip
