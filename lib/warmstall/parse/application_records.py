"""One line of an application's log taken apart: record head and message, JSON record, or neither."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

from .access_lines import Access, access_in, seconds
from .application_lines import ANY_HEAD, ANY_MESSAGE, HEADS, MESSAGES, Message
from .encodings import encodable
from .log_times import NO_TIME, LogTime, read_time
from .tolerant import number, whole

# Names that JSON formatters give: structlog, python-json-logger, gunicorn and nginx by their usual recipes.
_TIME_KEYS = ("timestamp", "time", "ts", "@timestamp", "asctime", "datetime")
_LEVEL_KEYS = ("level", "levelname", "severity", "log.level", "lvl")
_MESSAGE_KEYS = ("event", "message", "msg")
_LOGGER_KEYS = ("logger", "logger_name", "name", "target")
_PID_KEYS = ("pid", "process_id", "process")
_EXCEPTION_KEYS = ("exception", "exc_info", "traceback", "stack_trace", "stack")
_ERROR_KEYS = ("error", "err")
_STATUS_KEYS = ("status", "status_code", "http_status")
_METHOD_KEYS = ("method", "request_method", "http_method")
_PATH_KEYS = ("path", "request_path", "url_path", "uri", "request_uri", "url")
_CLIENT_KEYS = ("client", "remote_addr", "client_ip", "client_addr")
_DURATION_KEYS = {
    "duration_ms": "ms", "elapsed_ms": "ms", "latency_ms": "ms", "response_time_ms": "ms", "process_time_ms": "ms",
    "request_time_ms": "ms", "took_ms": "ms", "duration_s": "s", "elapsed_s": "s", "latency_s": "s",
    "duration_seconds": "s", "elapsed_seconds": "s", "request_time": "s", "process_time": "s",
}  # fmt: skip
_LEVELS = {"WARN": "WARNING", "CRIT": "CRITICAL", "FATAL": "CRITICAL", "ALERT": "CRITICAL", "EMERG": "CRITICAL"}
_LEVELS |= {"EXCEPTION": "ERROR", "NOTICE": "INFO", "SUCCESS": "INFO"}
_LOGGER = re.compile(r"\[?[A-Za-z_][\w.]{0,100}\]?(?::| -) ")
_LONGEST = 65_536


class Record(NamedTuple):
    """One log record. `telling`: only an application writes such a line; `exception` is a traceback as one text."""

    time: LogTime
    level: str
    message: str
    pid: int | None = None
    logger: str = ""
    telling: bool = True
    exception: str = ""
    access: Access | None = None


def record_in(text: str, captured_at: datetime | None = None) -> Record | None:
    """The record that this unwrapped line is, or None.

    >>> record = record_in("[2026-11-21 09:00:00 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:12)")
    >>> str(record.time.at), record.level, record.message, record.pid
    ('2026-11-21 09:00:00', 'CRITICAL', 'WORKER TIMEOUT (pid:12)', 7)
    >>> record_in("the end") is None
    True
    """
    if text.startswith("{"):
        return _json_record(text, captured_at)
    if not ANY_HEAD.match(text[:1000]):
        return None
    for head in HEADS:
        if match := head.regex.match(text[:1000]):
            groups = match.groupdict()
            message = text[match.end() : _LONGEST]
            return Record(
                read_time(groups.get("time") or "", captured_at),
                _level(groups["level"]),
                message,
                whole(groups.get("pid")),
                (groups.get("logger") or "")[:200],
                head.telling,
                access=access_in(message),
            )
    return None


def message_in(text: str, only_telling: bool = False) -> tuple[Message, dict[str, str | None]] | None:
    """The row of the table that this message is, with its groups, or None.

    >>> row, groups = message_in("Worker (pid:12) was sent SIGSEGV!")
    >>> row.key, groups
    ('app_worker_crash', {'pid': '12', 'signal': 'SIGSEGV'})
    """
    text = text[:_LONGEST]
    # Some formats put the logger's name between level and message.
    starts = [0] if only_telling else sorted({0, *(match.end() for match in [_LOGGER.match(text)] if match)})
    for start in starts:
        if not ANY_MESSAGE.match(text, start):
            continue
        for row in MESSAGES:
            if (row.telling or not only_telling) and (match := row.regex.match(text, start)):
                return row, match.groupdict()
    return None


def _level(name: object) -> str:
    shown = str(name).strip().upper()[:20]
    return _LEVELS.get(shown, shown)


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((record[key] for key in keys if record.get(key) not in (None, "")), None)


def _text(value: object) -> str:
    return encodable(value) if isinstance(value, str) else ""


def _json_record(text: str, captured_at: datetime | None) -> Record | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or "tid" in record:  # llama.cpp's server writes JSON with its thread's id
        return None
    when, level, message = (_first(record, keys) for keys in (_TIME_KEYS, _LEVEL_KEYS, _MESSAGE_KEYS))
    access = _json_access(record)
    if when is None or not (access or (isinstance(level, str) and isinstance(message, str))):
        return None
    exception = _text(_first(record, _EXCEPTION_KEYS))
    error = _text(_first(record, _ERROR_KEYS))
    return Record(
        _json_time(when, captured_at),
        _level(level or ""),
        ": ".join(filter(None, (_text(message), error)))[:_LONGEST],
        whole(_first(record, _PID_KEYS)),
        _text(_first(record, _LOGGER_KEYS))[:200],
        telling=False,
        exception=exception if "Traceback (most recent" in exception else "",
        access=access or access_in(_text(message)),
    )


def _json_time(value: object, captured_at: datetime | None) -> LogTime:
    if isinstance(value, str):
        return read_time(value, captured_at)
    since_epoch = number(value)
    if since_epoch is None:
        return NO_TIME
    return read_time(f"{since_epoch / 1000 if since_epoch >= 1e11 else since_epoch:.6f}")


def _json_access(record: dict[str, Any]) -> Access | None:
    method, path, status = (_first(record, keys) for keys in (_METHOD_KEYS, _PATH_KEYS, _STATUS_KEYS))
    code = whole(status)
    if not (isinstance(method, str) and isinstance(path, str) and code is not None and 100 <= code < 600):
        return None
    found = Access(_text(method)[:10], _text(path).partition("?")[0][:1000], str(code), "")
    found.client = _text(_first(record, _CLIENT_KEYS))[:100]
    for key, unit in _DURATION_KEYS.items():
        value = number(record.get(key))
        if value is not None:
            found.wall_s = seconds(str(value), unit)
            break
    return found
