"""macOS `vm_stat`: single looks, and the series that `vm_stat 5` or `vm_stat -c 10 1` prints.

What is known of the format is read off Apple's vm_stat.c (system_cmds; four generations of columns): counts are
pages of the size that the title names; a number too wide for its column is cut to thousands, millions or
thousand millions with a K, M or G; a series repeats its title after every 21 rows, and the row after a title
counts since boot while the others count within their interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ..schema import TABLES
from .parsed import Parsed
from .wrappers import ANSI

# By column: what a single look calls the number, and what the heads of series do, from old to new.
_LEVELS = {
    "free_bytes": ("Pages free", "free"),
    "active_bytes": ("Pages active", "active"),
    "speculative_bytes": ("Pages speculative", "spec", "specul"),
    "inactive_bytes": ("Pages inactive", "inac", "inactive"),
    "wired_bytes": ("Pages wired down", "wire", "wired"),
    "purgeable_bytes": ("Pages purgeable", "prgable"),
    "file_backed_bytes": ("File-backed pages", "file-backed"),
    "anonymous_bytes": ("Anonymous pages", "anonymous"),
    "compressed_bytes": ("Pages stored in compressor", "cmprssed"),
    "compressor_bytes": ("Pages occupied by compressor", "cmprssor"),
}
_COUNTERS = {
    "faults": ("Translation faults", "faults"),
    "decompressions": ("Decompressions", "dcomprs"),
    "compressions": ("Compressions", "comprs"),
    "pageins": ("Pageins", "pageins"),
    "pageouts": ("Pageouts", "pageout"),
    "swapins": ("Swapins", "swapins"),
    "swapouts": ("Swapouts", "swapouts"),
}
_COLUMN = {name: column for column, names in (_LEVELS | _COUNTERS).items() for name in names}

_TITLE = re.compile(r"Mach Virtual Memory Statistics:\s*\(page size of ([0-9]{1,9}) bytes")
_LINE = re.compile(r'"?\b([A-Z][A-Za-z][A-Za-z -]{1,45})"?:\s+([0-9]{1,20})(\.?)\s*$')
_HEADS = re.compile(r"\bfree\s+active\s+(?:spec|inac)")
_NUMBER = re.compile(r"([0-9]{1,20})([KMG]?)")
_SUFFIX = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_COMMAND = re.compile(r"\bvm_stat\s+(?:-c\s*[0-9]+\s+)?([0-9]{1,6}(?:\.[0-9]{1,3})?)(?![\w.])")
_OBJECT_CACHE = re.compile(r"Object cache: [0-9]+ hits of [0-9]+ lookups")
_ROWS_OF_A_PAGE = 20
_ASSUMED_INTERVAL_S = 1.0


def is_vm_stat(lines: list[str]) -> bool:
    """Whether `vm_stat` printed some of these lines.

    >>> is_vm_stat(["Mach Virtual Memory Statistics: (page size of 16384 bytes)", "Pages free:    6100."])
    True
    >>> is_vm_stat(["vm_stat begins with: Mach Virtual Memory Statistics"])
    False
    """
    return bool(parse_vm_stat("\n".join(lines)).tables)


def parse_vm_stat(text: str) -> Parsed:
    """Rows of the memory table, origin `vm_stat`: one for every look and for every row of a series.

    Levels in bytes by the page size of the title before them, None without one; counters in pages, compressions and
    decompressions in events. available_bytes is free + purgeable + file-backed: free alone is not what is available.
    `interval_s` is empty where counters run since boot; where neither the command nor times at the rows tell the
    interval of a series it is taken for a second. Counters without a column, such as tag storage, are understood
    and left out. Nothing is raised.

    >>> looks = parse_vm_stat("=== 2026-09-25 17:58:00 UTC ===\\n"
    ...     "Mach Virtual Memory Statistics: (page size of 16384 bytes)\\n"
    ...     "Pages free:   10.\\nPages purgeable:  2.\\nFile-backed pages: 3.\\nPages tagged: 7.\\nSwapouts: 4.\\n")
    >>> row = looks.tables["memory"][0]
    >>> row["free_bytes"], row["available_bytes"], row["swapouts"], row["interval_s"], str(row["at"])
    (163840, 245760, 4, None, '2026-09-25 17:58:00')
    """
    reader = _Reader()
    for number, line in clean_lines(text):
        reader.read(number, line)
    reader.end_look()
    return reader.parsed


@dataclass
class _Reader:
    """Where in a capture we are: under which title, in which look, in which series."""

    parsed: Parsed = field(default_factory=Parsed)
    clock: Clock = field(default_factory=lambda: Clock())
    page_bytes: int | None = None
    title: int | None = None
    # A look, and the lines that belong to it or to the head of a series.
    counts: dict[str, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    moment: Moment | None = None
    last: int = -1
    # A series: the names at its head, the rows below it, what its command told, and its last row.
    heads: list[str] = field(default_factory=list)
    rows: int = 0
    told_s: float | None = None
    since_boot: dict[str, int] | None = None
    row_moment: Moment | None = None
    goes_on: bool = False
    heading_read: bool = False

    def read(self, number: int, line: str) -> None:
        if match := _TITLE.search(line):
            self.end_look()
            self.heading_read |= self.clock.read(line[: match.start()]) is not None
            self.page_bytes, self.title, self.last = int(match[1]) or None, number, number
        elif match := _HEADS.search(line):
            self.end_look()
            self.heading_read |= self.clock.read(line[: match.start()]) is not None
            self.heads = line[match.start() :].split()
            # A page that is not full was ended by hand: what follows is another series, at another time.
            self.goes_on = self.rows >= _ROWS_OF_A_PAGE
            self.rows = 0
            self.numbers = [number] if self.title is None else [self.title, number]
            self.title = None
        elif self._is_row(number, line):
            pass
        elif match := _LINE.search(line):
            # memory_pressure writes the same words without a full stop; so do people, below a title.
            if match[3] or self.last == number - 1:
                self._put(number, match[1], int(match[2]), line[: match.start()])
        elif _OBJECT_CACHE.match(line) and self.counts:
            self.numbers.append(number)
        elif command := _COMMAND.search(line):
            self.told_s = float(command[1]) or None
            self.heading_read, self.goes_on, self.rows = self.clock.read_heading(line) or self.heading_read, False, 0
        else:
            self.heading_read |= self.clock.read_heading(line)

    def _put(self, number: int, name: str, count: int, before: str) -> None:
        if name in self.counts:
            self.end_look()
        if not self.counts:
            self.clock.read(before)
            self.moment, self.heads, self.rows = self.clock.moment, [], 0
            self.numbers = [] if self.title is None else [self.title]
            self.title = None
        self.counts[name] = count
        self.numbers.append(number)
        self.last = number

    def end_look(self) -> None:
        """Keep a look; a single number that nothing announces is none."""
        named = {_COLUMN[name]: count for name, count in self.counts.items() if name in _COLUMN}
        if len(named) > 1 or (named and len(self.numbers) > len(self.counts)):
            self._add(self.numbers[0], named, self.moment, None)
            self.parsed.understood(self.numbers)
        self.counts, self.numbers = {}, []

    def _is_row(self, number: int, line: str) -> bool:
        words = line.split()[-len(self.heads) :] if self.heads else []
        matches = [_NUMBER.fullmatch(word) for word in words]
        if not words or len(words) < len(self.heads) or not all(matches):
            return False
        counts = {
            _COLUMN[head]: int(match[1]) * _SUFFIX[match[2]]
            for head, match in zip(self.heads, matches, strict=True)
            if match and head in _COLUMN
        }
        passed_s = self._pass_time(" ".join(line.split()[: -len(words)]))
        since_boot = self._counts_since_boot(counts)
        if since_boot:
            self.since_boot = counts
        self._add(number, counts, self.row_moment, None if since_boot else passed_s)
        self.parsed.understood(self.numbers)
        self.numbers, self.last, self.heading_read, self.goes_on = [], -1, False, True
        self.rows += 1
        return True

    def _pass_time(self, before: str) -> float:
        """When this row was printed goes into row_moment; returns how long its interval is."""
        previous = self.row_moment if self.goes_on else None
        if not (self.clock.read(before) if before else None) and not self.heading_read:
            # An assumed second is no ground to tell the time from.
            self.clock.moment = previous.later(self.told_s) if previous and self.told_s else None
        self.row_moment = self.clock.moment
        apart_s = self.row_moment.after(previous) if self.row_moment and previous else 0.0
        return self.told_s or (apart_s if apart_s > 0 else _ASSUMED_INTERVAL_S)

    def _counts_since_boot(self, counts: dict[str, int]) -> bool:
        """Whether a row's counters run since boot: the row after a title does, unless it cannot.

        Excerpts lose rows. Every anonymous page in memory was faulted in, and every page in the compressor was
        compressed, so that counters smaller than these levels cannot run since boot. A row elsewhere is taken to
        run since boot when no counter is below what had been counted since boot already.
        """
        if counts.get("faults", 0) < counts.get("anonymous_bytes", 0):
            return False
        if counts.get("compressions", 0) < counts.get("compressed_bytes", 0):
            return False
        if not self.rows:
            return True
        totals = {name: count for name, count in (self.since_boot or {}).items() if name in _COUNTERS and count}
        return bool(totals) and all(counts.get(name, 0) >= count for name, count in totals.items())

    def _add(self, line: int, counts: dict[str, int], moment: Moment | None, interval_s: float | None) -> None:
        levels = {name: self._bytes(counts.get(name)) for name in _LEVELS}
        parts = [counts.get(name) for name in ("free_bytes", "purgeable_bytes", "file_backed_bytes")]
        available = None if None in parts else self._bytes(sum(part or 0 for part in parts))
        counters = {name: whole(counts.get(name)) for name in _COUNTERS if name != "faults"}
        row = {
            "origin": "vm_stat",
            "interval_s": interval_s,
            "page_bytes": self.page_bytes,
            "available_bytes": available,
        }
        times = moment.columns() if moment else NO_TIME
        self.parsed.add("memory", line, **(EMPTY_LOOK | times | row | levels | counters))

    def _bytes(self, pages: int | None) -> int | None:
        return None if pages is None or self.page_bytes is None else whole(pages * self.page_bytes)


# What the captures of memory share: clean lines, and the times in the headings above them.

EMPTY_LOOK: dict[str, Any] = dict.fromkeys(name for name in TABLES["memory"] if name not in ("host", "source", "line"))
LONGEST_LINE = 2000
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_CLOCK = re.compile(
    r"(?<![\d:])([0-2]?[0-9]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)?(?![\d:])"
    r"\s?([AaPp][Mm]\b)?\s?(?:(Z\b|UTC\b|GMT\b)([+-][01]?[0-9](?::?[0-5][0-9])?\b)?|([+-][01][0-9]:?[0-5][0-9])(?![\d:]))?"
)
_DAY = re.compile(r"\b(20[0-9]{2})[-/]([01][0-9])[-/]([0-3][0-9])(?![0-9])")
_NAMED_DAY = re.compile(rf"\b(?:([0-3]?[0-9]) )?({'|'.join(_MONTHS)})[a-z]*\.?(?: +([0-3]?[0-9])(?![0-9:]))?")
_YEAR = re.compile(r"\b(20[0-9]{2})\b")
_EPOCH = re.compile(r"\W*(1[4-9][0-9]{8})([0-9]{3})?(?:\.[0-9]+)?\W*")
_NO_DAY = datetime(1900, 1, 1)
NO_TIME: dict[str, datetime | None] = {"at": None, "local_at": None}


def clean_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without zeros and colours; one longer than these tools print is empty."""
    for number, line in enumerate(text.split("\n"), 1):
        yield number, "" if len(line) > LONGEST_LINE else re.sub(ANSI, "", line.replace("\0", "")).rstrip("\r")


def whole(value: float | None) -> int | None:
    """A whole number that a table holds, or None."""
    return int(value) if value is not None and -(2**63) <= value < 2**63 else None


class Moment(NamedTuple):
    """A time as it was written, and its zone's offset where that was written too."""

    local: datetime
    offset_s: int | None

    def columns(self) -> dict[str, datetime | None]:
        """`at` where the zone is known, else `local_at`; neither for a clock that nothing gives a day to."""
        if self.local.year == _NO_DAY.year:
            return NO_TIME
        if self.offset_s is None:
            return {"at": None, "local_at": self.local}
        return {"at": self.local - timedelta(seconds=self.offset_s), "local_at": None}

    def later(self, seconds: float) -> Moment:
        return Moment(self.local + timedelta(seconds=seconds), self.offset_s)

    def after(self, other: Moment) -> float:
        return (self.local - other.local).total_seconds()


class Clock:
    """The last time that a capture showed. A clock without a day takes the day of the time before it.

    >>> clock = Clock()
    >>> clock.read_heading("=== A 2026-09-25 23:59:30 CST ==="), clock.moment.columns()["local_at"].isoformat()
    (True, '2026-09-25T23:59:30')
    >>> clock.read_heading("=== 00:00:30 ==="), clock.moment.columns()["local_at"].isoformat()
    (True, '2026-09-26T00:00:30')
    >>> clock.read("Fri Sep 25 17:58:00 UTC 2026").columns()["at"].isoformat()
    '2026-09-25T17:58:00'
    """

    def __init__(self) -> None:
        self.moment: Moment | None = None
        self._before: Moment | None = None

    def columns(self) -> dict[str, datetime | None]:
        """The time's columns, empty as long as no time was shown."""
        return self.moment.columns() if self.moment else NO_TIME

    def read_heading(self, line: str) -> bool:
        """Take the time of a line that is little else than a time; a sentence or a table's row is none."""
        if not (_EPOCH.fullmatch(line) or _CLOCK.search(line)):
            return False
        words = re.findall(r"[^\W\d_]{2,}", _CLOCK.sub(" ", line))
        bare = not (_DAY.search(line) or _NAMED_DAY.search(line) or _EPOCH.fullmatch(line))
        if len(words) > 6 or len(line) > 160 or (bare and not re.match(r"\s*(?:[=#*<>\[\]_-]|[0-9])", line)):
            return False
        return self.read(line) is not None

    def read(self, text: str) -> Moment | None:
        """Take the first time in a text, if there is one."""
        try:
            moment = self._moment_in(text)
        except (ValueError, OverflowError):
            moment = None
        if moment:
            self.moment = self._before = moment
        return moment

    def _moment_in(self, text: str) -> Moment | None:
        if epoch := _EPOCH.fullmatch(text):
            return Moment(datetime(1970, 1, 1) + timedelta(seconds=int(epoch[1])), 0)
        clock = _CLOCK.search(text)
        if not clock:
            return None
        if int(clock[1]) > 23:
            return None
        hour = int(clock[1]) % 12 + 12 * (clock[5][0] in "Pp") if clock[5] else int(clock[1])
        time = timedelta(hours=hour, minutes=int(clock[2]), seconds=int(clock[3] or 0))
        time += timedelta(microseconds=int((clock[4] or "0").ljust(6, "0")[:6]))
        offset_s = _offset_s(clock[7] or clock[8] or "+0") if clock[6] or clock[8] else None
        before = self._before
        if day := _day_in(text, before):
            return Moment(day + time, offset_s)
        if before is None:
            return Moment(_NO_DAY + time, offset_s)
        moment = Moment(before.local.replace(hour=0, minute=0, second=0, microsecond=0) + time,
                        before.offset_s if offset_s is None else offset_s)  # fmt: skip
        return moment.later(86400) if moment.after(before) < -43200 else moment


def _offset_s(text: str) -> int:
    """Seconds east of Greenwich of `+8`, `+0530` or `-07:00`."""
    digits = text[1:].replace(":", "")
    hours, minutes = (digits, "0") if len(digits) < 3 else (digits[:-2], digits[-2:])
    return (-1 if text[0] == "-" else 1) * (3600 * int(hours) + 60 * int(minutes))


def _day_in(text: str, before: Moment | None) -> datetime | None:
    if day := _DAY.search(text):
        return datetime(int(day[1]), int(day[2]), int(day[3]))
    named = _NAMED_DAY.search(text)
    if not named or not (named[1] or named[3]):
        return None
    year = _YEAR.search(text)
    if not year and (before is None or before.local.year == _NO_DAY.year):
        return None
    return datetime(int(year[1]) if year else before.local.year if before else 0,
                    _MONTHS.index(named[2]) + 1, int(named[3] or named[1]))  # fmt: skip
