"""Spans of traces as JSON lines: as OpenTelemetry's Python SDK writes them, and as OTLP in JSON does.

What a trace may say of prompts, answers and documents is left behind here: of its attributes only numbers, and texts
under names that are known to hold none of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .encodings import encodable
from .plain_text import printable

_EPOCH = datetime(1970, 1, 1)
_NAME_CHARS, _ERROR_CHARS, _TRACEBACK_CHARS, _VALUE_CHARS, _ATTRIBUTES = 120, 400, 65536, 100, 64
# What an exception was raised from, in the words of a traceback.
_CAUSE = re.compile(r"^(\w[\w.]{0,100}: .{1,400})\n\nThe above exception was the direct cause", re.MULTILINE)
# Numbers and flags under these names are kept; texts only under the names below, where nobody writes a prompt.
_KEPT = re.compile(r"(?:warmstall|gen_ai|db|http|server|rpc|process|thread|error|url)\.[a-z0-9_.]{1,80}")
_TEXTS = frozenset({
    "gen_ai.operation.name", "gen_ai.system", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model",
    "gen_ai.response.finish_reasons", "gen_ai.output.type", "db.system.name", "db.system", "db.collection.name",
    "db.operation.name", "http.request.method", "url.path", "server.address", "error.type", "thread.name",
    "warmstall.retrieval", "warmstall.arm", "warmstall.phase", "warmstall.step",
})  # fmt: skip
_OTLP, _SDK = '"resourceSpans"', ('"context"', '"span_id"', '"trace_id"', '"start_time"')
Attributes = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """One span. Times are naive UTC, empty where they are not told; `error` is what it failed with, in words."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    started_at: datetime | None
    ended_at: datetime | None
    failed: bool
    error: str
    attributes: Attributes = field(default_factory=dict)
    pid: int | None = None

    def text(self, *names: str) -> str:
        """The first of these attributes that is a text; of a list its first."""
        for name in names:
            value = self.attributes.get(name)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, str) and value:
                return value
        return ""

    def number(self, *names: str) -> float | None:
        """The first of these attributes that is a number."""
        values = (self.attributes.get(name) for name in names)
        return next((value for value in values if isinstance(value, int | float) and type(value) is not bool), None)

    def count(self, *names: str) -> int | None:
        """The first of these attributes that is a number, whole."""
        value = self.number(*names)
        return None if value is None else int(value)


def is_trace_line(line: str) -> bool:
    """Whether a line is one of a trace, also where its end is cut off.

    >>> is_trace_line('{"resourceSpans": ['), is_trace_line('{"trace_id": "5b8a", "msg": "begun"}')
    (True, False)
    """
    head = line.lstrip("\ufeff \t")[:100]
    return head.startswith("{") and (_OTLP in head or all(name in line for name in _SDK))


def spans_in(line: str) -> list[Span] | None:
    """The spans of one line, or None where it is no whole line of a trace.

    >>> spans_in('{"name": "embed", "context": {"trace_id": "0x5b", "span_id": "0x1"}, "start_time": null}')[0].name
    'embed'
    """
    if not is_trace_line(line):
        return None
    try:
        record = json.loads(line.lstrip("\ufeff \t"))
        spans = _of_otlp(record) if "resourceSpans" in record else _of_sdk(record)
        return [span for span in spans if span.trace_id and span.span_id]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _of_sdk(record: Mapping[str, Any]) -> Iterator[Span]:
    context, status = record["context"], _object(record.get("status"))
    resource = _object(record.get("resource"))
    resource = _object(resource.get("attributes")) or resource  # older releases wrote its attributes alone
    told = [(_object(event).get("name"), _object(_object(event).get("attributes")))
            for event in _list(record.get("events"))]  # fmt: skip
    yield _span(
        (context["trace_id"], context["span_id"], record.get("parent_id")), record.get("name"), resource,
        (_iso(record.get("start_time")), _iso(record.get("end_time"))),
        (status.get("status_code") == "ERROR", status.get("description")), _object(record.get("attributes")), told,
    )  # fmt: skip


def _of_otlp(record: Mapping[str, Any]) -> Iterator[Span]:
    for group in _list(record["resourceSpans"]):
        resource = _typed(_object(group.get("resource")).get("attributes"))
        for scope in _list(group.get("scopeSpans")):
            for span in _list(scope.get("spans")):
                status = _object(span.get("status"))
                told = [(event.get("name"), _typed(event.get("attributes"))) for event in _list(span.get("events"))]
                yield _span(
                    (span["traceId"], span["spanId"], span.get("parentSpanId")), span.get("name"), resource,
                    (_nanoseconds(span.get("startTimeUnixNano")), _nanoseconds(span.get("endTimeUnixNano"))),
                    (status.get("code") in (2, "2", "STATUS_CODE_ERROR"), status.get("message")),
                    _typed(span.get("attributes")), told,
                )  # fmt: skip


def _span(
    ids: tuple[object, object, object], name: object, resource: Attributes,
    times: tuple[datetime | None, datetime | None], status: tuple[bool, object], attributes: Attributes,
    told: list[tuple[object, Attributes]],
) -> Span:  # fmt: skip
    exception = next((facts for event, facts in reversed(told) if event == "exception"), {})
    words = [str(exception[key]) for key in ("exception.type", "exception.message") if exception.get(key)]
    error = _text(": ".join(words) or status[1] or attributes.get("error.type"), _ERROR_CHARS)
    if cause := _CAUSE.search(str(exception.get("exception.stacktrace", ""))[:_TRACEBACK_CHARS]):
        error = f"{error}; caused by {_text(cause[1], _ERROR_CHARS)}"
    failed = status[0] or bool(attributes.get("error.type"))
    kept = {key: clean for key, value in attributes.items() if (clean := _kept(key, value)) is not None}
    pid = attributes.get("process.pid", resource.get("process.pid"))
    trace_id, span_id, parent_id = (_id(each) for each in ids)
    return Span(
        trace_id, span_id, parent_id, _text(name, _NAME_CHARS), _text(resource.get("service.name"), _NAME_CHARS),
        *times, failed, error if failed else "", dict(list(kept.items())[:_ATTRIBUTES]),
        pid if type(pid) is int and 0 <= pid < 2**31 else None,
    )  # fmt: skip


def _kept(name: str, value: object) -> Any:
    """An attribute as it may be kept: a number, a flag, a short text that is no content; None for anything else."""
    if not _KEPT.fullmatch(name):
        return None
    if isinstance(value, list):
        kept = [clean for each in value[:20] if not isinstance(each, list) and (clean := _kept(name, each)) is not None]
        return kept or None
    if isinstance(value, str):
        return _text(value, _VALUE_CHARS) if name in _TEXTS else None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    return value if isinstance(value, float) and math.isfinite(value) and abs(value) < 1e18 else None


def _typed(attributes: object) -> Attributes:
    """Attributes of OTLP, each a key and a value that names its type, as plain values."""
    return {str(each.get("key")): _value(_object(each.get("value"))) for each in _list(attributes)[:500]}


def _value(value: Mapping[str, Any]) -> Any:
    for kind, found in value.items():
        if kind == "intValue":
            return int(found)
        if kind == "doubleValue":
            return float(found)
        if kind in ("stringValue", "boolValue"):
            return found
        if kind == "arrayValue":
            return [_value(_object(each)) for each in _list(_object(found).get("values"))[:20]]
    return None


def _iso(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def _nanoseconds(value: object) -> datetime | None:
    whole = int(value) if isinstance(value, str | int) else 0
    return _EPOCH + timedelta(microseconds=whole // 1000) if whole > 0 else None


def _id(value: object) -> str:
    """An id without its prefix, and nothing where there is none: OTLP writes a root's parent as empty or zeros."""
    text = _text(value, 34).removeprefix("0x").lower()
    return text if text.strip("0") else ""


def _text(value: object, most: int) -> str:
    return printable(encodable(value if isinstance(value, str) else ""))[:most].strip()


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
