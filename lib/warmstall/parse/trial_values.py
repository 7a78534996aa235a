"""Cells of trial tables as values: numbers, durations, and times whose unit is told by their size."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from .encodings import encodable
from .go_values import duration_s

LONGEST_CELL = 200
# Nothing a client waits for lasts thirty years; what does is a number of another kind.
LONGEST_S = 1e9
UNITS_S = {
    "ns": 1e-9, "nanos": 1e-9, "nanoseconds": 1e-9, "us": 1e-6, "µs": 1e-6, "usec": 1e-6, "micros": 1e-6,
    "microseconds": 1e-6, "ms": 1e-3, "msec": 1e-3, "msecs": 1e-3, "millis": 1e-3, "milliseconds": 1e-3,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0, "mins": 60.0,
    "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?\d{1,40}(?:\.\d{0,40})?(?:[eE][+-]?\d{1,3})?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d{1,20}(?:\.\d{3})*,\d{1,20}")
_WITH_UNIT = re.compile(r"([+-]?[\d.,]{1,60})\s*([^\d\s.,+-]\S{0,20}(?: \S{1,20}){0,3})")
_GO_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{0,12})?(?:ms|ns|us|µs|μs|h|m|s))+")
_CLOCK = re.compile(r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]\d(?:\.\d{1,9})?)")
_NOTHING = {"", "none", "null", "nan", "n/a", "na", "-", "–", "—", "nil"}
# Seconds, milliseconds, microseconds and nanoseconds since 1970 of the years 2001 to 2286 never look alike.
_EPOCHS = ((10**9, 10**10, 1), (10**12, 10**13, 10**3), (10**15, 10**16, 10**6), (10**18, 10**19, 10**9))
_SLASHED_DAY = re.compile(r"^(\d{4})/(\d\d)/(\d\d)(?=[T ])")
_ZONE_WORD = re.compile(r"\s+(UTC|GMT|[A-Z]{3,5})(?: m=\S+)?$")
_SPACED_OFFSET = re.compile(r"\s+([+-]\d\d:?\d\d)$")
_EARLIEST, _LATEST = datetime(2001, 9, 9), datetime(2286, 11, 20)


def text_of(value: object, longest: int = LONGEST_CELL) -> str:
    """A cell as text, cut and without what cannot be stored; what clients write for nothing is empty.

    >>> text_of(" mid "), text_of(None), text_of("NaN"), text_of(3)
    ('mid', '', '', '3')
    """
    if value is None or isinstance(value, (dict, list, bytes)):
        return ""
    text = value if isinstance(value, str) else str(value)[:longest]
    return "" if len(text) < 8 and text.strip().lower() in _NOTHING else encodable(text[:longest]).strip()


def number(value: object, decimal_comma: bool = False) -> float | None:
    """A cell's number, whatever unit stands behind it; None when it is none or not finite.

    >>> number("**1,085**"), number("20,5", decimal_comma=True), number("10.14 tokens/s"), number("many")
    (1085.0, 20.5, 10.14, None)
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float, Decimal)):
        try:
            found = float(value)
        except (OverflowError, ValueError):
            return None
        return found if math.isfinite(found) else None
    if not isinstance(value, str) or len(value) > LONGEST_CELL:
        return None
    text = value.strip().strip("*`~≈ ")
    if (unit := _WITH_UNIT.fullmatch(text)) and not _NUMBER.fullmatch(text):
        text = unit[1]
    if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    elif _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if not _NUMBER.fullmatch(text) or not text.isascii():
        return None
    found = float(text)
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """A cell's count: not negative, and small enough for 64 bits.

    >>> whole("30"), whole("30.0"), whole(12), whole("1.5"), whole("-1"), whole("1,024")
    (30, 30, 12, None, None, 1024)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**63 else None
    if isinstance(value, str) and value.strip().isdecimal() and value.strip().isascii() and len(value.strip()) < 19:
        return int(value)
    found = None if isinstance(value, str) and "e" in value.lower() else number(value)
    return int(found) if found is not None and found.is_integer() and 0 <= found < 2**53 else None


def seconds(value: object, unit_s: float | None, decimal_comma: bool = False) -> float | None:
    """A cell's duration in seconds: its own unit if it names one, else the column's.

    >>> seconds("1m0s", None), seconds("53 ms", 1.0), seconds("0:01:23.5", None), seconds(250, 1e-3), seconds(5, None)
    (60.0, 0.053, 83.5, 0.25, None)
    """
    if isinstance(value, timedelta):
        found: float | None = value.total_seconds()
    elif isinstance(value, str) and (own := _own_unit(value.strip().strip("*`~≈ "), decimal_comma)) is not None:
        found = own
    else:
        found = number(value, decimal_comma)
        if found is not None:
            # 290219730 / 1e9, not * 1e-9: the nearest float of the exact quotient.
            found = None if unit_s is None else found / round(1 / unit_s) if unit_s < 1 else found * unit_s
    return found if found is not None and 0 <= found < LONGEST_S else None


def _own_unit(text: str, decimal_comma: bool) -> float | None:
    if len(text) > LONGEST_CELL or not text[-1:].strip():
        return None
    compact = text.replace(" ", "")
    if _GO_DURATION.fullmatch(compact):
        return duration_s(compact)
    if clock := _CLOCK.fullmatch(text):
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])
    if (match := _WITH_UNIT.fullmatch(text)) and (unit_s := UNITS_S.get(match[2].lower())):
        found = number(match[1], decimal_comma)
        return None if found is None else found * unit_s
    return None


def moment(value: object, utc: bool = False) -> tuple[datetime, bool] | None:
    """A cell's time as naive UTC, and whether its zone was known; None when it is no time of day.

    Reads ISO 8601 and its cousins, and seconds, ms, µs or ns since 1970. A time without zone comes back as it
    is, with False, unless its column says that it is UTC.

    >>> moment("2026-11-20T20:49:03+01:00"), moment(1795207743123)
    ((datetime.datetime(2026, 11, 20, 19, 49, 3), True), (datetime.datetime(2026, 11, 20, 20, 49, 3, 123000), True))
    >>> moment("2026/11/20 20:49:03"), moment("2026-11-20"), moment(12.5)
    ((datetime.datetime(2026, 11, 20, 20, 49, 3), False), None, None)
    """
    found = value if isinstance(value, datetime) else _epoch(value) or _iso(value)
    if found is None:
        return None
    try:
        zoned = utc or found.tzinfo is not None
        found = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (OverflowError, ValueError):
        return None
    # Zero times, Go's year 1 and the year 1970, mean that nothing was recorded.
    return (found, zoned) if _EARLIEST <= found < _LATEST else None


def _epoch(value: object) -> datetime | None:
    if isinstance(value, str):
        text = value.strip()
        if not text or len(text) > 40 or not _NUMBER.fullmatch(text) or not text.isascii():
            return None
        value = int(text) if text.isdecimal() else float(text)
    value = number(value) if isinstance(value, Decimal) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    for least, most, per_second in _EPOCHS:
        if least <= value < most:
            if isinstance(value, int):
                past = timedelta(seconds=value // per_second, microseconds=value % per_second * 10**6 // per_second)
            else:
                past = timedelta(seconds=float(value) / per_second)
            return datetime(1970, 1, 1, tzinfo=UTC) + past
    return None


def _iso(value: object) -> datetime | None:
    if not isinstance(value, str) or not 15 <= len(value) <= 80:
        return None
    text = _SLASHED_DAY.sub(r"\1-\2-\3", value.strip())
    if word := _ZONE_WORD.search(text):
        # Other abbreviations name several zones: the time is then a local one.
        text = text[: word.start()] + ("Z" if word[1] in ("UTC", "GMT") else "")
        if re.search(r"[+-]\d\d:?\d\dZ$", text):
            text = text[:-1]
    text = _SPACED_OFFSET.sub(r"\1", text)
    if ":" not in text and not re.match(r"\d{8}T\d{6}", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
