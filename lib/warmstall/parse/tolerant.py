"""Values of captures that may hold anything: numbers that fit, text that encodes, times, JSON amid other text."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from ..schema import TABLES
from .encodings import encodable
from .wrappers import ANSI

_PLACE = {"host", "source", "line"}
_ANSI = re.compile(ANSI)
_DECODER = json.JSONDecoder()
# What people put in the place of what they leave out: `…` or `...` before the end of an object or a list.
_BEGIN = re.compile(r"\s{0,200}(?=\{\s{0,200}(?:[\"}]|$)|\[\s{0,200}(?:[{\]]|$))")
_ELISION = re.compile(r",?\s{0,200}(?:\.\.\.|…)\s{0,200}(?=[}\]])")
_ASCTIME = re.compile(
    r"[A-Z][a-z]{2} +(?:(?P<day_first>\d{1,2}) +)?(?P<month>[A-Z][a-z]{2}) +(?:(?P<day>\d{1,2}) +)?"
    r"(?P<clock>\d\d:\d\d:\d\d) (?P<year>\d{4})"
)
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11,
    "Dec": 12,
}  # fmt: skip
_LONGEST_ELIDED = 65536
_MOST_FAILURES = 1000


def capture_lines(text: str) -> list[str]:
    r"""The lines of a capture without carriage returns at their ends and without colours.

    >>> capture_lines("a\r\n\x1b[1mb\x1b[0m")
    ['a', 'b']
    """
    return [_ANSI.sub("", line.rstrip("\r")) for line in encodable(text).split("\n")]


def blank(table: str) -> dict[str, Any]:
    """All columns of a table, empty, but for those that say where a row comes from.

    >>> blank("gpu_links")
    {'at': None, 'local_at': None, 'gpu': None, 'other': None, 'link': None, 'nvlink': None}
    """
    return {column: None for column in TABLES[table] if column not in _PLACE}


def whole(value: object) -> int | None:
    """A whole number of 64 bits, given as one or as its digits; None for anything else.

    >>> whole(7), whole(" 7 "), whole(True), whole(2**63), whole("9" * 5000), whole(None)
    (7, 7, None, None, None, None)
    """
    if isinstance(value, str) and len(value) < 40:
        value = value.strip()
        value = int(value) if value.isascii() and value.isdecimal() else None
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def number(value: object) -> float | None:
    """A finite number, given as one or as text; None for anything else, such as `N/A`.

    >>> number(3), number("9.41"), number("[N/A]"), number(float("nan")), number(True)
    (3.0, 9.41, None, None, None)
    """
    if isinstance(value, str) and not re.fullmatch(r"\s{0,20}-?\d{1,20}(?:\.\d{0,20})?\s{0,20}", value, re.ASCII):
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def words(value: object) -> str | None:
    """Text that can be stored; None for what is no text.

    >>> words("a"), words(5)
    ('a', None)
    """
    return encodable(value) if isinstance(value, str) else None


def moment(value: object) -> tuple[datetime | None, datetime | None]:
    """An ISO time as (UTC, None) when it has a zone, as (None, local) when it has none, else two None.

    >>> moment("2026-10-01T13:49:44+05:30")[0], moment("2026-10-01 13:49")[1], moment("soon")
    (datetime.datetime(2026, 10, 1, 8, 19, 44), datetime.datetime(2026, 10, 1, 13, 49), (None, None))
    """
    if not isinstance(value, str):
        return None, None
    try:
        found = datetime.fromisoformat(value)
        return (found.astimezone(UTC).replace(tzinfo=None), None) if found.tzinfo else (None, found)
    except (ValueError, OverflowError):
        return None, None


def asctime(text: str) -> datetime | None:
    """The local time of `Sat Jan 31 14:36:05 2026`, or with the day before the month; None for anything else.

    >>> asctime("Sat Jan 31 14:36:05 2026"), asctime("Sat 31 Jan 14:36")
    (datetime.datetime(2026, 1, 31, 14, 36, 5), None)
    """
    found = _ASCTIME.fullmatch(text.strip())
    if not found:
        return None
    day = int(found["day"] or found["day_first"] or 0)
    try:
        return datetime.fromisoformat(f"{found['year']}-{_MONTHS[found['month']]:02}-{day:02}T{found['clock']}")
    except (ValueError, KeyError):
        return None


def json_documents(lines: list[str]) -> Iterator[tuple[range, Any]]:
    """Each JSON object, or list of objects, that begins a line, with the numbers of its lines (from 1).

    It may go on over several lines, and text may stand before and after it. Where a person shortened it
    with `...`, what is left is read.

    >>> [(list(at), value) for at, value in json_documents(["$ curl", '{"a":', ' 1, ...}', "[{}] x", "{"])]
    [([2, 3], {'a': 1}), ([4], [{}])]
    """
    text = "\n".join(lines)
    begins = list(accumulate((len(line) + 1 for line in lines), initial=0))
    index = failures = 0
    while index < len(lines) and failures < _MOST_FAILURES:
        if begin := _BEGIN.match(lines[index]):
            try:
                value, end = _decoded(text, begins[index] + begin.end())
            except (ValueError, RecursionError):
                failures += 1
            else:
                last = bisect_right(begins, end - 1)
                yield range(index + 1, last + 1), value
                index = last
                continue
        index += 1


def _decoded(text: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except ValueError:
        paragraph = text[start : start + _LONGEST_ELIDED].partition("\n\n")[0]
        shorter = _ELISION.sub(lambda left_out: "\n" * left_out[0].count("\n"), paragraph)
        if shorter == paragraph:
            raise
        value, end = _DECODER.raw_decode(shorter)
        return value, start + _offset_of_line_end(paragraph, shorter.count("\n", 0, end))


def _offset_of_line_end(text: str, newlines: int) -> int:
    """Where the line with so many line ends before it ends."""
    end = -1
    for _ in range(newlines + 1):
        end = text.find("\n", end + 1)
        if end < 0:
            return len(text)
    return end
