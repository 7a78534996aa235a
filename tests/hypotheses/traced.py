"""Traces of a question answering application, written by the SDK's own spans at times of our choosing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from hypotheses.example import NOON
from warmstall.rag.tracing import tracer_to


class _Lines(SpanProcessor):
    """What `TraceFile` writes, kept as text."""

    def __init__(self) -> None:
        self.text = io.StringIO()

    def on_end(self, span: ReadableSpan) -> None:
        self.text.write(span.to_json(indent=None) + "\n")


class Trace:
    """A trace as the path writes it. Moments are seconds after noon, UTC."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._tracer = tracer_to(self._lines)

    def span(
        self, name: str, at_s: float, wall_s: float, within: Span | None = None, error: Exception | None = None,
        thread: str = "MainThread", **attributes: Any,
    ) -> Span:  # fmt: skip
        """One span, ended; in names of attributes `__` stands for a dot, and what has none is the project's own."""
        named = {key.replace("__", ".") if "__" in key else f"warmstall.{key}": value
                 for key, value in attributes.items()}  # fmt: skip
        named |= {"thread.name": thread, "process.pid": 7}
        context = set_span_in_context(within) if within else None
        span = self._tracer.start_span(name, context, attributes=named, start_time=_nanoseconds(at_s))
        if error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end(_nanoseconds(at_s + wall_s))
        return span

    def embed(self, at_s: float, wall_s: float, within: Span | None, model: str = "small", **more: Any) -> None:
        usual = {"gen_ai__operation__name": "embeddings", "gen_ai__provider__name": "http",
                 "gen_ai__request__model": model, "texts": 1}  # fmt: skip
        self.span("embed", at_s, wall_s, within, **(usual | more))

    def search(
        self, at_s: float, wall_s: float, within: Span | None, collection: str, returned: int = 5, kept: int = 3,
        **more: Any,
    ) -> None:  # fmt: skip
        self.span("search", at_s, wall_s, within, db__collection__name=collection, db__operation__name="search",
                  db__response__returned_rows=returned, kept=kept, **more)  # fmt: skip

    def generate(self, at_s: float, wall_s: float, within: Span | None = None, status: int = 200, **more: Any) -> None:
        """A call to a model; without a status (0) no answer came."""
        usual = {"attempts": 1, "timeout_s": 30.0} | ({"http__response__status_code": status} if status else {})
        self.span("generate", at_s, wall_s, within, gen_ai__operation__name="chat", gen_ai__provider__name="ollama",
                  gen_ai__request__model="tiny", url__path="/api/chat", **(usual | more))  # fmt: skip

    def question(self, at_s: float, answer_s: float = 2.0, found: Mapping[str, Any] | None = None, **more: Any) -> None:
        """A healthy question unless `more` says otherwise: two embeddings, two searches at once, an answer."""
        usual = {"documents_found": 6, "note_given": False, "cited": 2, "unfounded": 0, "reasoning_left": False,
                 "answer_chars": 400}  # fmt: skip
        root = self.span("question", at_s, answer_s + 0.3, **(usual | more))
        self.embed(at_s, 0.1, root)
        self.embed(at_s, 0.1, root, "large", thread="pool_1")
        for number, collection in enumerate(("faq", "papers")):
            self.search(at_s + 0.1, 0.15, root, collection, thread=f"pool_{number}", **(found or {}))
        self.generate(at_s + 0.3, answer_s, root)

    def text(self) -> str:
        return self._lines.text.getvalue()


def healthy(questions: int = 6) -> str:
    """The trace of so many questions, one every ten seconds, all well."""
    trace = Trace()
    for number in range(questions):
        trace.question(10.0 * number)
    return trace.text()


def _nanoseconds(at_s: float) -> int:
    moment: datetime = NOON + timedelta(seconds=at_s)
    return round(moment.timestamp() * 1e6) * 1000
