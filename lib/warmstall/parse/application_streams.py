"""Lines of a log by who wrote them: wrappers taken off, interleaved services told apart."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from .application_lines import HEADS, any_of
from .log_events import FAMILIES
from .log_times import NO_TIME, LogTime, read_time
from .tolerant import capture_lines
from .wrappers import WRAPPERS, is_json_wrapped, join_cri_lines, unwrap_json_lines

_WRAPPERS = [(wrapper.name, re.compile(wrapper.pattern)) for wrapper in WRAPPERS]
# These begin with a time, as some wrappers do; the time is the record's own then.
_OWN = any_of(head.pattern for head in HEADS if head.name in ("loguru", "structlog", "tracing", "stamped"))
_ANY_WRAPPER = any_of(wrapper.pattern for wrapper in WRAPPERS)
_OLLAMA_FAMILIES = ("access", "slog", "go_log", "command_error", "cpp", "cpp_json")
_OLLAMA = re.compile("|".join(f"(?:{family.pattern})" for family in FAMILIES if family.name in _OLLAMA_FAMILIES))
_SLOG_TIME = re.compile(r"time=(?=[0-9]{4}-)")
_IDENTIFIER = re.compile(r'"SYSLOG_IDENTIFIER" ?: ?"([^"\\]{1,120})"')
_LEVELS = {"TRACE", "DEBUG", "INFO", "NOTICE", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL", "SUCCESS"}
_MOST_WRAPPERS = 3


class Line(NamedTuple):
    """One line: what is left of it without wrappers, its writer, and the time that a wrapper gave it.

    `stream` is the same for all lines of one writer. `ollama` marks those of Ollama's server. `journal`: systemd or
    a program under it wrote it.
    """

    number: int
    text: str
    stream: str = ""
    service: str = ""
    time: LogTime = NO_TIME
    journal: bool = False
    ollama: bool = False


def lines_of(text: str, captured_at: datetime | None = None) -> list[Line]:
    """The lines of a log that are not empty of a writer: those of the kernel are left out.

    >>> [(line.stream, line.service, line.text) for line in lines_of("app-1  | INFO:     x\\n[GIN] 2026/11/20")]
    [('app-1', 'app-1', 'INFO:     x'), ('', '', '[GIN] 2026/11/20')]
    """
    raw = capture_lines(text)
    times: list[str | None] = [None] * len(raw)
    names: list[str] = [""] * len(raw)
    if is_json_wrapped(raw[:50]):
        names = [found[1] if (found := _IDENTIFIER.search(line)) else "" for line in raw]
        raw, times = unwrap_json_lines(raw)
    elif any("stdout P " in line or "stderr P " in line for line in raw):
        raw = join_cri_lines(raw)
    lines = []
    for number, (bare, time, name) in enumerate(zip(raw, times, names, strict=True), 1):
        start = Line(number, bare, name, name, read_time(time or "", captured_at), journal=bool(name))
        line = _unwrapped(start, captured_at)
        if line.service != "kernel":
            lines.append(line)
    return _marked(lines)


def _unwrapped(line: Line, captured_at: datetime | None) -> Line:
    rest, stream, service, time, journal = line.text, [line.stream], line.service, line.time, line.journal
    seen: set[str] = set()
    for _ in range(_MOST_WRAPPERS):
        if not _ANY_WRAPPER.match(rest[:1000]) or _OWN.match(rest[:400]):
            break
        found = next(((n, m) for n, p in _WRAPPERS if n not in seen and (m := p.match(rest[:1000]))), None)
        if found is None:
            break
        name, match = found
        writer = _writer(name, match[0])
        if name == "compose" and writer in _LEVELS:
            break
        seen.add(name)
        rest = rest[match.end() :]
        stream.append(writer)
        journal = journal or name.startswith("journald")
        service = service or ("" if name == "cri" else writer.partition("[")[0])
        wrapped_at = read_time(match[0].lstrip(), captured_at)
        time = wrapped_at if time.at is None and (wrapped_at.known or wrapped_at.yearless) else time
    return Line(line.number, rest, "/".join(filter(None, stream)), service, time, journal)


def _writer(wrapper: str, prefix: str) -> str:
    """Who wrote a line, from its wrapper's prefix: a container, a pod, a program with its pid, a stream."""
    words = prefix.strip(" |").rstrip(":").split()
    if wrapper == "kubectl":
        return words[0].strip("[]").removeprefix("pod/")
    if wrapper == "compose":
        return words[0]
    if wrapper == "cri":
        return words[1]
    return words[-1] if wrapper.startswith("journald") else ""


def _marked(lines: list[Line]) -> list[Line]:
    """Ollama's lines marked, with their times: a whole writer where one is known, else line by line."""
    telling = {line.number for line in lines if _OLLAMA.search(line.text[:2000])}
    writers = {line.stream for line in lines if line.number in telling} - {""}
    marked = []
    for line in lines:
        if line.number in telling or line.stream in writers:
            stamp = _SLOG_TIME.search(line.text[:1000])
            own = read_time(line.text[stamp.end() :]) if stamp else NO_TIME
            line = line._replace(ollama=True, time=own if own.at else line.time)
        marked.append(line)
    return marked
