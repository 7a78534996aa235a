r"""The table of Ollama log lines: the families every line belongs to, and the events a timeline is made of.

A *family* is a grammar: access line, slog text, raw runner line, crash dump. Families account for every
line of a log. An *event* is one meaningful message. Each row has a literal anchor (the cheap test, run
over every line), a pattern where the anchor is not proof enough or fields stand in the text, the
versions in which it is seen, and a sample. Every sample matches its own row and no other; a test holds
the table to that. Wordings that mean the same share a key.

New wording: add one row with its sample, taken from a real log, in the block it belongs to.

>>> event = event_in('time=2026-11-20T20:49:03.079Z level=INFO source=server.go:1372 msg="loaded runners" count=2')
>>> event.key, event.fields["count"]
('runners_loaded', '2')
>>> event_in("a line of no importance") is None
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from .go_values import pairs


@dataclass(frozen=True)
class Family:
    """A grammar of log lines. `pattern` is searched in the unwrapped line; RE2 and Python agree on it."""

    name: str
    pattern: str
    sample: str


@dataclass(frozen=True)
class LogEvent:
    """One wording of one message; `key` is its name in the events table."""

    key: str
    anchor: str
    sample: str
    seen_in: str
    pattern: str = ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern or re.escape(self.anchor))


@dataclass(frozen=True)
class FoundEvent:
    """An event found in a line: its key, and its fields (named groups of the pattern, then slog pairs)."""

    key: str
    fields: dict[str, str] = field(default_factory=dict)


# Order matters: the first family that matches names the line.
FAMILIES: tuple[Family, ...] = (
    Family(
        "access",
        r"\[GIN\] \d{4}/\d\d/\d\d - \d\d:\d\d:\d\d \|",
        '[GIN] 2026/11/20 - 20:49:03 | 200 |  333.156µs |       127.0.0.1 | POST     "/api/generate"',
    ),
    Family(
        "slog",
        r"time=\d{4}-\d\d-\d\dT\S+ level=[A-Z]",
        'time=2026-11-20T20:49:01.981Z level=INFO source=images.go:493 msg="total blobs: 14"',
    ),
    Family(
        "go_log",
        r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ",
        "2026/11/20 21:09:53 routes.go:1158: INFO server config env=map[OLLAMA_DEBUG:false]",
    ),
)

EVENTS: tuple[LogEvent, ...] = (
    # --- server start ---------------------------------------------------------------------------------------
    LogEvent(
        "server_listening",
        "Listening on ",
        'time=2026-11-20T20:49:01.981Z level=INFO source=routes.go:1607 msg="Listening on 127.0.0.1:11434 (version 0.13.5)"',
        "v0.1.4 →",
        r"Listening on (?P<address>\S+) \(version (?P<version>[^)]+)\)",
    ),
    # --- scheduler ------------------------------------------------------------------------------------------
    LogEvent(
        "runners_loaded",
        'msg="loaded runners"',
        'time=2026-11-20T20:49:03.106Z level=INFO source=sched.go:517 msg="loaded runners" count=1',
        "v0.1.33 →",
    ),
)


def _by_anchor() -> dict[str, list[LogEvent]]:
    rows: dict[str, list[LogEvent]] = {}
    for row in EVENTS:
        rows.setdefault(row.anchor, []).append(row)
    return rows


_ROWS_BY_ANCHOR = _by_anchor()
# Longest first, so that an anchor which begins like another is preferred to it.
ANCHOR_PATTERN = "|".join(re.escape(anchor) for anchor in sorted(_ROWS_BY_ANCHOR, key=len, reverse=True))
_ANCHORS = re.compile(ANCHOR_PATTERN)


def event_in(text: str) -> FoundEvent | None:
    """The first event in an unwrapped line, or None."""
    for hit in _ANCHORS.finditer(text):
        for row in _ROWS_BY_ANCHOR[hit[0]]:
            if match := row.regex.search(text):
                groups = {name: value for name, value in match.groupdict().items() if value is not None}
                return FoundEvent(row.key, {**pairs(text), **groups} if "=" in text else groups)
    return None
