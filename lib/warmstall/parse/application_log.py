"""Application logs of the services around Ollama, as events: tracebacks, crashes of workers, slow requests.

A log may be plain, or wrapped by docker, compose, kubectl or journald, several services interleaved; each writer's
lines are then read by themselves. Wordings stand in `application_lines`, access lines in `access_lines`.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from datetime import datetime

from .access_lines import access_in
from .application_events import Stream
from .application_records import Record, message_in, record_in
from .application_streams import Line, lines_of
from .failed_calls import failed_call_in
from .parsed import Parsed
from .tracebacks import has_traceback

_HEAD_LINES = 4000
_FEWEST_RECORDS = 3


def is_application_log(lines: list[str]) -> bool:
    """Whether these are lines of a service around Ollama, and none of Ollama's own server among them.

    >>> is_application_log(["[2026-11-21 09:00:00 +0000] [7] [INFO] Starting gunicorn 23.0.0"])
    True
    >>> is_application_log(['[GIN] 2026/11/20 - 20:49:02 | 200 |  1ms | 127.0.0.1 | POST  "/api/chat"'])
    False
    """
    found = lines_of("\n".join(lines[:_HEAD_LINES]))
    return not any(line.ollama for line in found) and _speaks(found)


def holds_application_lines(lines: list[str]) -> bool:
    """Whether lines of a service around Ollama stand here, be it beside those of Ollama's server.

    `docker compose logs` writes several services into one file. Such a file is a server log, and is to be read by
    `parse_application_log` as well, which passes over Ollama's lines.

    >>> holds_application_lines(["ollama-1  | [GIN] 2026/11/20 - 20:49:02 | 200 |", "app-1  | INFO:     Shutting down"])
    True
    """
    return _speaks(lines_of("\n".join(lines[:_HEAD_LINES])))


def _speaks(lines: list[Line]) -> bool:
    records = 0
    texts: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.ollama:
            continue
        texts[line.stream].append(line.text)
        record = record_in(line.text)
        if (record and record.telling) or message_in(line.text, only_telling=True) or _tells_of_a_call(line, record):
            return True
        access = None if record else access_in(line.text)
        records += record is not None or (access is not None and access.time.known)
    return records >= _FEWEST_RECORDS or any(has_traceback(own) for own in texts.values())


def _tells_of_a_call(line: Line, record: Record | None) -> bool:
    return failed_call_in(record.message if record else line.text, bare=record is None) is not None


def parse_application_log(text: str, captured_at: datetime | None = None, request_time_unit: str = "") -> Parsed:
    """Rows of the events table from an application's log.

    Keys: app_start, app_stop, app_restart; app_worker_start, app_worker_stop, app_worker_timeout, app_worker_crash
    (pid, signal, signal_number, exit_code, core_dumped; `after_timeout` where the master had given the worker up, so
    that SIGKILL is no sign of missing memory), app_oom_kill; app_request (method, path, status, client, wall_s);
    app_slow_request (with the path's median_s, or what the service itself calls slow); app_error; app_call_failed;
    app_traceback (exception, message, fingerprint, thread, frames innermost first as file:line:function; causes,
    members of a group, signal of a fatal one). Where one of the last three is of a call that failed: failure
    (see `failed_calls`), target, called, waited_s. `service`, `pid`, `logger` where the log tells them.

    `captured_at` (UTC) completes times without a year; unless it is given they stand in `time_without_year`.
    `request_time_unit` (s, ms, us) is that of bare numbers behind access lines; unless it is given they count only
    where the log rules out all units but one, and else stay in `request_time`.

    >>> line = "[2026-11-21 09:00:00 +0000] [7] [ERROR] Worker (pid:12) was sent SIGSEGV!"
    >>> (row,) = parse_application_log(line).tables["events"]
    >>> row["key"], str(row["at"]), json.loads(row["fields"])["signal"]
    ('app_worker_crash', '2026-11-21 09:00:00', 'SIGSEGV')
    """
    parsed = Parsed()
    lines = lines_of(text, captured_at)
    streams: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if not line.ollama:
            streams[line.stream].append(line)
    readers = [Stream(own, captured_at, request_time_unit) for own in streams.values()]
    stamps = {line.number: line.time.at for line in lines if line.time.at}
    for reader in readers:
        stamps |= reader.stamps
        parsed.understood(reader.understood)
    numbers = sorted(stamps)
    for event in sorted((event for reader in readers for event in reader.events), key=lambda event: event.line.number):
        timeless = event.time.at is None and event.time.local_at is None
        before, after = bisect_right(numbers, event.line.number), bisect_left(numbers, event.line.number)
        if event.time.yearless:
            event.fields["time_without_year"] = event.time.yearless
        parsed.add(
            "events",
            event.line.number,
            key=event.key,
            at=event.time.at,
            before_at=stamps[numbers[before - 1]] if timeless and before else None,
            after_at=stamps[numbers[after]] if timeless and after < len(numbers) else None,
            fields=json.dumps({name: value for name, value in event.fields.items() if value not in (None, "")}),
            text=event.text[:2000],
            local_at=event.time.local_at,
        )
    return parsed
