"""An lnav format for Ollama's logs, made of the table of log lines (`parse/log_events.py`).

lnav (https://lnav.org) shows logs in a terminal and answers SQL over them. What the table knows becomes: columns of
each family of lines that has a time of its own, a search table for each event, and as samples the table's own lines,
on which lnav checks every pattern when it loads the format. Lines without a time, such as those of the runner,
belong to the record above them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from .parse.log_events import EVENTS, FAMILIES, LogEvent

NAME = "ollama_log"
# Of each family with a time of its own: what stands in a line, in lnav's words. PCRE reads them; the family's own
# pattern stands in front of each and decides which lines are meant.
_COLUMNS = {
    "access": (
        r"^.{0,4000}?\[GIN\] (?<timestamp>\d{4}/\d{2}/\d{2} - \d{2}:\d{2}:\d{2}) \|\s*(?<status>\d{3})\s*\|"
        # Go's durations: 560.083µs, 17.1ms, 4.2s, 1m2s, 1h2m3s; a micro sign may be broken by an encoding.
        r"\s*(?<latency>(?:(?<latency_h>\d+)h)?(?:(?<latency_m>\d+)m(?!s))?(?:(?<latency_s>\d+(?:\.\d+)?)"
        r"(?<latency_unit>s|ms|ns|[^\s\d.mn]{1,4}s))?)\s*\|"
        r'\s*(?<client>[^|\s]*)\s*\|\s*(?<method>[A-Z]*)\s*"(?<path>(?:[^"\\]|\\.)*)"(?<body>.*)$'
    ),
    # Raw text of a runner may stand before a record, on the same line.
    "slog": (
        r"^.{0,4000}?time=(?<timestamp>\S{8,40}) level=(?<level>[A-Z]+)(?:[+-]\d+)?"
        r'(?: source=(?<source>\S+))?(?: msg=(?<msg>"(?:[^"\\]|\\.)*"|\S*))?(?<body>.*)$'
    ),
    "go_log": (
        r"^(?<timestamp>\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}) (?:(?<source>[A-Za-z0-9_]+\.go:\d+):? )?"
        r"(?:(?<level>DEBUG|INFO|WARN|ERROR) )?(?<body>.*)$"
    ),
    "cpp": (
        r"^(?<level>VERB|DEBUG|INFO|WARN|ERROR|ERR) +\[ *(?<source>[^\]]{1,60})\] +(?<body>.*?)"
        r"timestamp=(?<timestamp>\d{9,12}).*$"
    ),
    "cpp_json": (
        r'^\{.*?"function":"(?<source>[^"]{1,60})".*?"level":"(?<level>[A-Z]+)".*?"msg":"(?<body>[^"]*)"'
        r'.*?"timestamp":(?<timestamp>\d{9,12}).*$'
    ),
}
# Go writes UTC as Z and other zones as +01:00.
_ZONED = [f"%Y-%m-%dT%H:%M:%S{part}{zone}" for part in (".%L", ".%f", ".%N", "") for zone in ("Z", "%z")]
_TIMES = [*_ZONED, "%Y/%m/%d - %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%s"]
# The status of an access line is its level: what failed is found by lnav's own keys for errors (e) and warnings (w).
_LEVELS = {
    "error": "^(?:ERROR|ERR|FATAL|5[0-9][0-9])$",
    "warning": "^(?:WARN|4[0-9][0-9])$",
    "info": "^(?:INFO|[123][0-9][0-9])$",
    "debug": "^(?:DEBUG|VERB)$",
    "trace": "^TRACE$",
}
_TEXTS = ("latency", "latency_unit", "source", "msg", "client", "method", "path")
_VALUES: dict[str, dict[str, Any]] = {
    **{name: {"kind": "string", "collate": "naturalnocase"} for name in _TEXTS},
    "status": {"kind": "integer", "foreign-key": True},
    "latency_h": {"kind": "integer"},
    "latency_m": {"kind": "integer"},
    "latency_s": {"kind": "float"},
}


def lnav_format() -> dict[str, Any]:
    """The format as the dict that its JSON file holds.

    >>> sorted(lnav_format()["ollama_log"]["regex"])
    ['access', 'cpp', 'cpp_json', 'go_log', 'slog']
    >>> lnav_format()["ollama_log"]["search-table"]["ollama_load_done"]["pattern"]
    'llama runner started in (?<seconds>[0-9.]+) seconds'
    """
    return {
        "$schema": "https://lnav.org/schemas/format-v1.schema.json",
        NAME: {
            "title": "Ollama server log",
            "description": "Written by `warmstall lnav-format` from warmstall's table of Ollama's log lines.",
            "url": "https://github.com/ollama/ollama",
            "timestamp-format": _TIMES,
            "regex": {family.name: {"pattern": _pattern(family.name, family.pattern)}
                      for family in FAMILIES if family.name in _COLUMNS},
            "level-field": "level",
            "level": _LEVELS,
            "value": _VALUES,
            "search-table": _search_tables(),
            "sample": [{"line": line} for line in samples()],
        },
    }  # fmt: skip


def samples() -> list[str]:
    """A line of each family with a time of its own, and of each event that such a line tells."""
    families = {family.name: re.compile(family.pattern) for family in FAMILIES if family.name in _COLUMNS}
    lines = [family.sample for family in FAMILIES if family.name in _COLUMNS]
    lines += [event.sample for event in EVENTS if any(each.search(event.sample) for each in families.values())]
    return list(dict.fromkeys(lines))


def _pattern(name: str, family: str) -> str:
    """The columns of a family's lines, behind its own pattern."""
    return f"(?={family if family.startswith('^') else f'.*?{family}'}){_COLUMNS[name]}"


def _search_tables() -> dict[str, dict[str, str]]:
    """A table for each event, `ollama_` and its key, with the fields of its wording as columns.

    Wordings with fields have tables of their own, numbered from 2: a table has one set of columns, and lnav 0.11
    crashes where two branches of a pattern name the same group.
    """
    wordings: dict[str, dict[object, list[LogEvent]]] = defaultdict(lambda: defaultdict(list))
    for event in EVENTS:
        wordings[event.key][event.regex.pattern if event.regex.groupindex else ""].append(event)
    tables = {}
    for key, apart in wordings.items():
        for number, events in enumerate(apart.values(), 1):
            seen = ", ".join(dict.fromkeys(event.seen_in for event in events))
            patterns = dict.fromkeys(event.regex.pattern.replace("(?P<", "(?<") for event in events)
            tables[f"ollama_{key}" if number == 1 else f"ollama_{key}_{number}"] = {
                "description": f"{key}, seen in {seen}",
                "pattern": "|".join(patterns),
            }
    return tables
