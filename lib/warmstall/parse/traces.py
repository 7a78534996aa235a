"""Traces: what an application says of its own steps, each a span, and which of them are calls to a model server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .parsed import Parsed
from .trace_lines import Span, is_trace_line, spans_in

_CALLS = {"chat": "/api/chat", "text_completion": "/api/generate", "generate_content": "/api/generate",
          "embeddings": "/api/embed"}  # fmt: skip
# As `case.INFERENCE_PATHS`, behind whatever a gateway puts before it.
_INFERENCE = re.compile(
    r"/(?:api/(?:generate|chat|embed|embeddings)|v1/(?:completions|chat/completions|embeddings|messages|responses))/?$"
)
_DURATIONS = ("total_duration_s", "load_duration_s", "prompt_eval_duration_s", "eval_duration_s")
_ATTRIBUTE_CHARS = 4000
# No library wraps another one this often.
_DEEPEST = 32


def is_traces(lines: list[str]) -> bool:
    """Whether these lines are a trace: the first is a line of one or, where that one is torn, most of them are.

    >>> is_traces(['{"resourceSpans": []}'])
    True
    """
    told = [is_trace_line(line) for line in lines[:50] if line.strip()]
    return any(told[:1]) or 2 * sum(told) > len(told)


def parse_traces(text: str) -> Parsed:
    """Rows of `spans`, one a span, and of `trials`, one a call to a model server.

    A call that a library records twice, one span within the other, is one trial: the outer one. A sending of a call
    that is sent again (span `attempt`) is none of its own. A line that is cut short is left out.

    >>> span = '{"name": "x", "context": {"trace_id": "0x5b", "span_id": "0x1"}, "start_time": "2026-11-21T09:00:00Z"}'
    >>> parse_traces(span).tables["spans"][0]["trace_id"]
    '5b'
    """
    parsed = Parsed()
    calls: dict[tuple[str, str], tuple[int, Span]] = {}
    parents: dict[tuple[str, str], str] = {}
    for number, line in enumerate(_lines(text), 1):
        found = spans_in(line)
        if found is None:
            continue
        parsed.understood([number])
        for span in found:
            parsed.add("spans", number, **_row(span))
            key = span.trace_id, span.span_id
            parents[key] = span.parent_id
            if _is_call(span):
                calls.setdefault(key, (number, span))
    for key, (number, span) in calls.items():
        above = (calls.get((key[0], parent)) for parent in _above(key, parents) if parent != key[1])
        if not any(call and _operation(call[1]) == _operation(span) for call in above):
            parsed.add("trials", number, **_trial(span))
    return parsed


def _lines(text: str) -> Iterator[str]:
    """Line after line, without a second copy of all of them."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _above(key: tuple[str, str], parents: dict[tuple[str, str], str]) -> Iterator[str]:
    """The spans around one, innermost first; a circle ends as well."""
    for _ in range(_DEEPEST):
        if not (parent := parents.get(key, "")):
            return
        yield parent
        key = key[0], parent


def _operation(span: Span) -> str:
    return span.text("gen_ai.operation.name")


def _is_call(span: Span) -> bool:
    if _operation(span) not in _CALLS or span.name == "attempt" or _wall_s(span) is None:
        return False
    provider = span.text("gen_ai.provider.name", "gen_ai.system").lower()
    return provider == "ollama" or bool(_INFERENCE.search(span.text("url.path")))


def _row(span: Span) -> dict[str, Any]:
    attributes = json.dumps(span.attributes)
    while len(attributes) > _ATTRIBUTE_CHARS:
        span.attributes.popitem()
        attributes = json.dumps(span.attributes)
    return {
        "trace_id": span.trace_id, "span_id": span.span_id, "parent_id": span.parent_id, "name": span.name,
        "service": span.service, "thread": span.text("thread.name") or str(span.attributes.get("thread.id") or ""),
        "pid": span.pid, "started_at": span.started_at, "ended_at": span.ended_at, "wall_s": _wall_s(span),
        "outcome": "error" if span.failed else "ok", "error": span.error, "operation": _operation(span),
        "model": _model(span), "collection": span.text("db.collection.name"),
        "returned_rows": span.count("db.response.returned_rows"), "kept": span.count("warmstall.kept"),
        "attributes": attributes,
    }  # fmt: skip


def _trial(span: Span) -> dict[str, Any]:
    durations = {name: span.number(f"warmstall.{name}") for name in _DURATIONS}
    status = span.count("http.response.status_code", "http.status_code")
    return durations | {
        "started_at": span.started_at, "ended_at": span.ended_at, "time_from": "start and end",
        "wall_s": _wall_s(span), "run_id": span.trace_id, "model": _model(span),
        "path": span.text("url.path") or _CALLS[_operation(span)], "status": "" if status is None else str(status),
        "outcome": "error" if span.failed else "ok", "error": span.error,
        "attempts": span.count("warmstall.attempts"),
        "ttft_s": span.number("warmstall.ttft_s", "gen_ai.response.time_to_first_chunk"),
        "prompt_eval_count": span.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
        "eval_count": span.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        "tokens_per_s": span.number("warmstall.tokens_per_s"),
        "finish_reason": span.text("gen_ai.response.finish_reasons"),
        "timeout_s": span.number("warmstall.timeout_s"),
    }  # fmt: skip


def _model(span: Span) -> str:
    return span.text("gen_ai.request.model", "gen_ai.response.model")


def _wall_s(span: Span) -> float | None:
    """Between start and end; nothing for a span that has not ended, or before it began."""
    if not span.started_at or not span.ended_at or span.ended_at < span.started_at:
        return None
    return (span.ended_at - span.started_at).total_seconds()
