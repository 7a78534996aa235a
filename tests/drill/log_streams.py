"""A server log taken apart: what the server wrote, what its runners wrote, and the lines that mean no event.

Two processes write one log, and how their lines mix is chance. So each is compared by itself, a runner load by load.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from warmstall.case import open_case

# The recorder asked these again and again, for itself.
_POLLS = ("/api/ps", "/api/version")
# Files of the Go runners: their lines come from the other process. The server's own runner.go asks for devices.
_RUNNER_FILES = ("runner.go", "cache.go", "image.go", ".")
_SERVER_KEYS = ("gpu_discovery_start", "discovery_spawn", "predict_http_err")
# One of these begins a load; what a runner writes until the next one is its.
_SPAWN = "runner_spawn"
# What a process writes when it falls down; how long that is depends on what it was doing.
_DUMP = re.compile(
    r"goroutine |created by |\t/|\t[\w./<>]+:\d+|[rcdefgs][a-z0-9]{1,5} +0x"
    r"|(?:[a-z0-9_]+[./])*[\w.*()]+\(.*\)$|PC=|SIG|signal|exit"
)


@dataclass(frozen=True)
class Said:
    """One event: its key, the names of its fields with their types, and where it stands."""

    key: str
    fields: frozenset[tuple[str, str]]
    line: int


@dataclass
class Streams:
    """One log, taken apart. `runners` holds a list for each load (the first: what stands before any).

    Access lines are apart, too: the server writes them beside what it does after a request.
    """

    server: list[Said] = field(default_factory=list)
    access: list[Said] = field(default_factory=list)
    runners: list[list[Said]] = field(default_factory=lambda: [[]])
    shapes: Counter[str] = field(default_factory=Counter)


def streams_of(log: Path) -> Streams:
    """Events as warmstall's own parser finds them, and access lines."""
    case = open_case(log)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    found = Streams()
    said: list[tuple[str, Said]] = []
    known = set()
    for row in case.rows("events"):
        known.add(row["line"])
        fields = frozenset((name, type_of(value)) for name, value in json.loads(row["fields"] or "{}").items())
        writer = "runner" if _of_runner(row["key"], lines[row["line"] - 1]) else "server"
        said.append((writer, Said(row["key"], fields, row["line"])))
    for row in case.rows("access_lines"):
        known.add(row["line"])
        if not (row["method"] == "GET" and row["path"] in _POLLS):
            key = f"{row['method']} {row['path']} {row['status']}"
            found.access.append(Said(key, frozenset(), row["line"]))
    for writer, event in sorted(said, key=lambda one: one[1].line):
        own = found.runners[-1] if writer == "runner" else found.server
        if event.key == _SPAWN:
            found.runners.append([])
        own.append(event)
    dump = False
    for number, line in enumerate(lines, 1):
        dump = bool(_DUMP.match(line)) or (dump and not line.strip())
        if line.startswith("[GIN] "):
            bars = [place for place, sign in enumerate(line) if sign == "|"]
            found.shapes[f"[GIN] with columns at {bars} and {line.find(chr(34))}"] += 1
        elif number not in known and line.strip() and not dump:
            found.shapes[shape_of(line)] += 1
    return found


def fields_by_key(events: list[Said]) -> dict[str, dict[str, set[str]]]:
    """By key: the fields that it has, and the types each was seen with."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for event in events:
        own = found[event.key]
        for name, kind in event.fields:
            own[name].add(kind)
    return found


def _of_runner(key: str, line: str) -> bool:
    if key in _SERVER_KEYS:
        return False
    if record := re.search(r"time=\S+ level=\w+ source=([^: ]*):\d+ ", line):
        return record[1] in _RUNNER_FILES
    return "level=" not in line and not re.match(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", line)


def type_of(value: object) -> str:
    """What a value is: number, size, duration, time, or text.

    >>> [type_of(value) for value in ("3", "0.28", "23.5 GiB", "17.2ms", "2h45m0s", "cpu", "[22.9 GiB]")]
    ['number', 'number', 'size', 'duration', 'duration', 'text', 'text']
    """
    text = str(value).strip()
    for name, pattern in (
        ("number", r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?"),
        ("size", r"[\d.]+ ?(?:[KMGT]i?)?B"),
        ("duration", r"-?(?:[\d.]+(?:h|m|s|ms|µs|ns))+"),
        ("time", r"\d{4}-\d\d-\d\d[T ][\d:.]+(?: ?[+-]\d\d:?\d\d.*|Z)?"),
    ):
        if re.fullmatch(pattern, text):
            return name
    return "text"


def shape_of(line: str) -> str:
    """A line without what differs from one machine or moment to the next.

    >>> shape_of("load_tensors:          CPU model buffer size =    97.20 MiB")
    'load_tensors: CPU model buffer size = # MiB'
    >>> shape_of("loaded from /usr/share/ollama/.ollama/models/blobs/sha256-00ff (version GGUF V3)")
    'loaded from PATH (version GGUF V#)'
    """
    line = re.sub(r'"(?:[^"\\]|\\.){60,}"', '"TEXT"', line)
    line = re.sub(r"(?<![\w.])/[\w./+@:-]{3,}", "PATH", line)
    line = re.sub(r"\b(?:sha256[-:])?[0-9a-f]{8,}\b|\b0x[0-9a-f]+\b", "#", line)
    line = re.sub(r"-?\d+(?:[.:]\d+)*", "#", line)
    line = re.sub(r"(?<=#)(?:ns|µs|ms|s|m|h)(?:#(?:ns|µs|ms|s|m|h))*\b", "s", line)
    line = re.sub(r"\b[KMG]iB\b", "MiB", line)
    line = re.sub(r"(?<= - CPU)( *: )[^(]*(?=\()", r"\1NAME ", line)
    return re.sub(r"\s+", " ", line).strip()
