"""The trace of the path: OpenTelemetry spans, each one line of a file as soon as it ends.

Names are those of OpenTelemetry's conventions for generative AI, databases and HTTP where they exist, and begin with
`warmstall.` where they do not. Prompts, questions and answers are never in it: sizes are.

| span | of | attributes beside its start, end, status |
|---|---|---|
| `question` | one question, root | warmstall.documents_found, .note_given, .cited, .unfounded, .reasoning_left, .answer_chars, .arm |
| `embed` | one call of an embedder | gen_ai.operation.name=embeddings, gen_ai.provider.name, gen_ai.request.model, warmstall.texts |
| `retrieve` | all searches of a question | warmstall.retrieval (parallel, sequential), .left_out (the collections that are not searched without a user) |
| `search` | one collection | db.system.name, db.collection.name, db.operation.name=search, db.response.returned_rows, warmstall.kept |
| `merge` | dedupe, keep the best | warmstall.hits |
| `prompt` | building it | warmstall.prompt_chars, warmstall.sources |
| `generate` | one call to a model, retries included | gen_ai.operation.name=chat, gen_ai.provider.name, gen_ai.request.model, gen_ai.request.temperature, gen_ai.usage.*, gen_ai.response.finish_reasons, server.address, server.port, url.path, http.response.status_code, error.type where it failed, warmstall.ttft_s, .attempts, .timeout_s, .gap_p95_s, .tokens_per_s, .total_duration_s, .load_duration_s, .prompt_eval_duration_s, .eval_duration_s, .prompt_may_be_cut |
| `attempt` | one sending of it, only where there is more than one | warmstall.attempt; error.type and http.response.status_code where it failed |
| `cite` | citations checked against the sources | warmstall.cited, .unfounded |
| `load embedder` | one load of an embedder in a process | gen_ai.request.model |
"""  # noqa: E501

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from ..errors import OutputError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_log = logging.getLogger(__name__)
SERVICE = "warmstall.rag"


class TraceFile(SpanProcessor):
    """Appends each span that ends to a file; `clean` is applied to every line (a case's redaction).

    What goes wrong when it is open already (a full disk, a file that was closed) breaks no answer: `problem` is the
    first such error, and nothing more is written.
    """

    def __init__(self, path: Path, clean: Callable[[str], str] = lambda line: line) -> None:
        self.path, self._clean, self._lock = path, clean, threading.Lock()
        self.problem: Exception | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer, of which a forked process would have a copy to write as well.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise OutputError(f"{path}: the trace cannot be written ({error.strerror or error}).") from error
        _open_files.add(self)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("thread.name", threading.current_thread().name)
        span.set_attribute("process.pid", os.getpid())

    def on_end(self, span: ReadableSpan) -> None:
        if self.problem:
            return
        line = f"{self._clean(span.to_json(indent=None))}\n".encode("utf-8", "backslashreplace")
        with self._lock:
            try:
                if self._file.write(line) < len(line):
                    raise OSError(f"{self.path}: only a part of a line could be written")
            except (OSError, ValueError) as error:
                self.problem = self.problem or error
                _log.warning("trace: %s cannot be written any more, and is not (%s)", self.path, error)

    def shutdown(self) -> None:
        self._file.close()

    def renew_lock(self) -> None:
        """For a process that was forked off while a thread of its parent held the lock."""
        self._lock = threading.Lock()


_open_files: weakref.WeakSet[TraceFile] = weakref.WeakSet()


def _fresh_locks() -> None:
    for file in _open_files:
        file.renew_lock()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_fresh_locks)


def tracer_to(*processors: SpanProcessor) -> Tracer:
    """A tracer of its own: what another library of the process has set up is neither used nor changed.

    Spans of other threads find their parent by `opentelemetry.context.attach`.

    >>> with tracer_to().start_as_current_span("question") as span:
    ...     span.is_recording()
    True
    """
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({"service.name": SERVICE}), shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider.get_tracer(SERVICE)
