"""What the lines of one writer tell: events, in the order of its log."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from .access_lines import Access, access_in, seconds, unit_of
from .application_lines import Message, ending
from .application_records import Record, message_in, record_in
from .application_streams import Line
from .failed_calls import UNTOLD, continues, failed_call_in
from .log_times import LogTime, read_time
from .tolerant import whole
from .traceback_block import Traceback
from .tracebacks import fold

# A request is slow where it took so many times the median of its path, and longer than a second.
_SLOW_FACTOR = 10.0
_SLOW_S = 1.0
_FEWEST_OTHERS = 5
_MOST_FRAMES = 40
_FAILURES = ("ERROR", "CRITICAL")


@dataclass
class Event:
    line: Line
    key: str
    time: LogTime
    text: str
    fields: dict[str, object]


@dataclass
class _Request:
    event: Event
    access: Access
    age_s: float | None


class Stream:
    """What one writer's lines tell."""

    def __init__(self, lines: list[Line], captured_at: datetime | None, request_time_unit: str) -> None:
        self.lines = lines
        self.captured_at = captured_at
        self.events: list[Event] = []
        self.understood: set[int] = set()
        self.stamps: dict[int, datetime] = {}
        self.requests: list[_Request] = []
        self.started: LogTime | None = None
        self.workers: set[int] = set()
        self.given_up: set[int] = set()
        self.last_record: tuple[int, Line, Record] | None = None
        self.open_error: Event | None = None
        self._read()
        self._settle(request_time_unit)

    def _record(self, text: str) -> Record | None:
        return record_in(text, self.captured_at)

    def _begins(self, text: str) -> bool:
        return self._record(text) is not None or message_in(text, only_telling=True) is not None

    def _read(self) -> None:
        texts = [line.text for line in self.lines]
        index = 0
        while index < len(texts):
            line, record = self.lines[index], self._record(texts[index])
            folded = fold(texts, index, self._begins)
            if folded is not None:
                self.open_error = None
                self._traceback(index, folded, record)
                self.understood.update(inside.number for inside in self.lines[index : folded.end])
                index = folded.end
                continue
            self._line(line, record)
            if record:
                self.last_record = (index, line, record)
                if record.exception:
                    texts_of_exception = record.exception.split("\n")
                    within = (fold(texts_of_exception, at) for at in range(len(texts_of_exception)))
                    if inner := next((found for found in within if found), None):
                        self._add(line, "app_traceback", record, _shown(inner), _traceback_fields(inner, record))
            index += 1

    def _time(self, line: Line, record: Record | None, access: Access | None = None) -> LogTime:
        """UTC from whoever gives it, else a local time, else one without a year."""
        known = [time for time in (record and record.time, access and access.time, line.time) if time]
        for kind in ("at", "local_at", "yearless"):
            if found := next((time for time in known if getattr(time, kind)), None):
                return found
        return line.time

    def _add(self, line: Line, key: str, record: Record | None, text: str, fields: dict[str, object]) -> Event:
        access = record.access if record else None
        event = Event(line, key, self._time(line, record, access), text, fields)
        if line.service and "service" not in fields:
            fields["service"] = line.service
        if record and record.logger:
            fields.setdefault("logger", record.logger)
        self.events.append(event)
        self.understood.add(line.number)
        return event

    def _traceback(self, index: int, found: Traceback, record: Record | None) -> None:
        line, context = self.lines[index], record
        # logging prints the traceback of a record right below it. What has words of its own in front, or comes from
        # faulthandler, was printed by nobody's record, and neither was what stands below a mere INFO.
        own = context is None and not found.intro and not found.signal
        above_it = self.last_record if self.last_record and self.last_record[0] == index - 1 else None
        if own and above_it and above_it[2].level in ("WARNING", *_FAILURES):
            _, above, context = above_it
            line = line._replace(time=self._time(above, context))
        self._add(line, "app_traceback", context, _shown(found), _traceback_fields(found, context))
        if record and record.time.at:
            self.stamps[line.number] = record.time.at

    def _line(self, line: Line, record: Record | None) -> None:
        access = record.access if record else access_in(line.text)
        message = record.message if record else line.text
        time = self._time(line, record, access)
        if time.at:
            self.stamps[line.number] = time.at
        if record:
            self.understood.add(line.number)
        if access is not None and (record or access.client or access.time.known):
            fields: dict[str, object] = {
                "method": access.method, "path": access.path, "status": access.status, "client": access.client,
                "wall_s": access.wall_s, "pid": record.pid if record else None,
            }  # fmt: skip
            event = self._add(line, "app_request", record, line.text, fields)
            event.time = time
            self.requests.append(_Request(event, access, self._age(time)))
            return
        found = message_in(message, only_telling=record is None and not line.journal)
        if found is not None:
            self._message(line, record, *found)
        elif record is None and self.open_error and continues(line.text):
            self._go_on(line, self.open_error)
        else:
            self.open_error = self._error(line, record, message)

    def _error(self, line: Line, record: Record | None, message: str) -> Event | None:
        """An error that a record or the shape of a line tells; of a mere warning, a call that failed."""
        level = record.level if record else ""
        call = failed_call_in(message, bare=record is None) if level in ("", "WARNING", *_FAILURES) else None
        fields: dict[str, object] = call.fields if call else {}
        if record and level in _FAILURES:
            fields = {"level": level, "message": message[:500], "pid": record.pid, **fields}
            return self._add(line, "app_error", record, line.text, fields)
        if call is None:
            return None
        event = self._add(line, "app_call_failed", record, line.text, fields)
        if not event.time.known:
            event.time = read_time(line.text.lstrip("["), self.captured_at)
        return event

    def _go_on(self, line: Line, error: Event) -> None:
        """A line below an error, as Node prints errors: its cause may stand here, or where the call went."""
        self.understood.add(line.number)
        if "ollama" in line.text.casefold():  # a frame of its client library
            error.fields["by"] = "a client of Ollama"
        call = failed_call_in(line.text)
        if call is None:
            return
        named = error.fields.get("failure")
        told = call.fields if named in (None, UNTOLD) else {"failure": named}
        error.fields |= {name: value for name, value in told.items() if value not in (None, "")}

    def _message(self, line: Line, record: Record | None, row: Message, groups: dict[str, str | None]) -> None:
        pid = whole(groups.get("pid"))
        fields: dict[str, object] = {"pid": pid if pid is not None else record and record.pid}
        names = ("service", "version", "address", "process", "what")
        fields |= {name: groups[name] for name in names if groups.get(name)}
        fields |= ending(groups)
        if row.service:
            fields.setdefault("service", row.service)
        if count := groups.get("count"):
            fields["restarts"] = whole(count)
        if groups.get("restarting"):
            fields["restarting"] = True
        if duration := groups.get("duration"):
            fields["wall_s"] = seconds(*_split(duration))
        self.understood.add(line.number)
        if pid is not None:
            if row.key == "app_worker_start" and pid in self.workers and record and record.pid == pid:
                return  # gunicorn told of it already; now the worker does, through gunicorn's log
            self._follow(row.key, pid, fields)
        if row.key:
            event = self._add(line, row.key, record, line.text, fields)
            if row.key == "app_start":
                self.started = event.time

    def _follow(self, key: str, pid: int, fields: dict[str, object]) -> None:
        if key == "app_worker_start":
            self.workers.add(pid)
        elif key == "app_worker_timeout":
            self.given_up.add(pid)
        elif key in ("app_worker_crash", "app_worker_stop"):
            self.workers.discard(pid)
            if key == "app_worker_crash" and pid in self.given_up:
                fields["after_timeout"] = True

    def _age(self, time: LogTime) -> float | None:
        """How long the service had been running at this time, where its log tells both in one way."""
        if self.started is None:
            return None
        if time.at and self.started.at:
            return (time.at - self.started.at).total_seconds()
        if time.local_at and self.started.local_at:
            return (time.local_at - self.started.local_at).total_seconds()
        return None

    def _settle(self, request_time_unit: str) -> None:
        """Bare request times get their unit, and slow requests their event."""
        bare = [(request, request.access.bare) for request in self.requests if request.access.bare is not None]
        unit = request_time_unit or unit_of([value for _, value in bare], [request.age_s for request, _ in bare])
        for request, value in bare:
            wall_s = seconds(str(value), unit) if unit else None
            request.access.wall_s = wall_s
            request.event.fields |= {"wall_s": wall_s} if unit else {"request_time": value}
        walls: dict[tuple[object, ...], list[tuple[float, Event]]] = defaultdict(list)
        for request in self.requests:
            if request.access.wall_s is not None:
                walls[request.access.method, request.access.path].append((request.access.wall_s, request.event))
        for same in walls.values():
            if len(same) <= _FEWEST_OTHERS:
                continue
            usual = median(wall_s for wall_s, _ in same)
            for wall_s, event in same:
                if wall_s > _SLOW_S and wall_s >= _SLOW_FACTOR * usual:
                    fields = {**event.fields, "median_s": usual, "requests": len(same)}
                    self.events.append(Event(event.line, "app_slow_request", event.time, event.text, fields))


def _split(duration: str) -> tuple[str, str]:
    number = duration.rstrip("abcdefghijklmnopqrstuvwxyzµABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    return number, duration[len(number) :].strip().lower()


def _shown(found: Traceback) -> str:
    return f"{found.exception}: {found.message}" if found.message else found.exception


def _traceback_fields(found: Traceback, record: Record | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "exception": found.exception,
        "message": found.message,
        "fingerprint": found.fingerprint,
        "thread": found.thread,
        "frames": [str(frame) for frame in found.frames[:_MOST_FRAMES]],
        "pid": record.pid if record else None,
        "signal": found.signal,
        "logged": found.intro or (record.message[:500] if record and "Traceback (most" not in record.message else ""),
    }
    if found.causes:
        fields["causes"] = [
            {"relation": relation, "exception": cause.exception, "message": cause.message}
            for relation, cause in found.causes
        ]
    if found.members:
        fields["members"] = [{"exception": member.exception, "message": member.message} for member in found.members]
    chain = (found, *(cause for _, cause in found.causes))
    calls = (failed_call_in(f"{one.exception}: {one.message}") for one in chain)
    return fields | next((call.fields for call in calls if call), {})
