"""Times as programs write them in front of a line: with a zone, without one, without a year."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

# Not calendar.month_abbr: that follows the locale of this process, not the one of the log.
_MONTHS = {name: number for number, name in enumerate(re.findall("...", "JanFebMarAprMayJunJulAugSepOctNovDec"), 1)}
_MONTH = "|".join(_MONTHS)
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})(?![0-9A-Za-z]))?"
_YMD = "(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"

# In order; the first that matches where the text begins is taken.
_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:[A-Z][a-z]{{2}} )?{_YMD}[T ]{_CLOCK}{_ZONE}",  # ISO, asctime of Python's logging, journald full
        rf"(?P<day>[0-9]{{2}})-(?P<month>[0-9]{{2}})-(?P<year>[0-9]{{4}}) {_CLOCK}{_ZONE}",  # Chroma before 1.0
        rf"(?P<year>[0-9]{{4}})/(?P<month>[0-9]{{2}})/(?P<day>[0-9]{{2}}) {_CLOCK}{_ZONE}",  # nginx's error log
        rf"(?P<day>[0-9]{{2}})/(?P<name>{_MONTH})/(?P<year>[0-9]{{4}})[: ]{_CLOCK}{_ZONE}",  # access logs
        rf"(?:[A-Z][a-z]{{2}} )?(?P<name>{_MONTH}) +(?P<day>[0-9]{{1,2}}) {_CLOCK} (?P<year>[0-9]{{4}})\b",  # ctime
        rf"(?:[A-Z][a-z]{{2}} )?(?P<name>{_MONTH}) +(?P<day>[0-9]{{1,2}}) {_CLOCK}",  # syslog
    )
)
_EPOCH = re.compile(r"(?P<seconds>[0-9]{9,10})(?:\.(?P<fraction>[0-9]{1,9}))?(?![0-9.])")


class LogTime(NamedTuple):
    """`at` is UTC; `local_at` is of a zone that the line does not tell; `yearless` the text of a time without year."""

    at: datetime | None = None
    local_at: datetime | None = None
    yearless: str = ""

    @property
    def known(self) -> bool:
        return self.at is not None or self.local_at is not None


NO_TIME = LogTime()


def read_time(text: str, captured_at: datetime | None = None) -> LogTime:
    """The time at the start of a text.

    A year that the text leaves out is the one that puts the time last before `captured_at` (and a day, for
    zones); without that it stays unknown.

    >>> read_time("2026-11-21 09:00:00 +0100").at
    datetime.datetime(2026, 11, 21, 8, 0)
    >>> read_time("2026-11-21 09:00:00,123 ERROR").local_at
    datetime.datetime(2026, 11, 21, 9, 0, 0, 123000)
    >>> read_time("Nov 21 09:00:00 box").yearless
    'Nov 21 09:00:00'
    >>> read_time("Dec 31 23:00:00 box", datetime(2027, 1, 3)).local_at
    datetime.datetime(2026, 12, 31, 23, 0)
    """
    text = text[:64]
    if not text:
        return NO_TIME
    if match := _EPOCH.match(text):
        return LogTime(at=datetime.fromtimestamp(int(match["seconds"]), UTC).replace(tzinfo=None) + _fraction(match))
    match = next((found for form in _FORMS if (found := form.match(text))), None)
    if match is None:
        return NO_TIME
    parts = match.groupdict()
    try:
        month = _MONTHS[parts["name"]] if parts.get("name") else int(parts["month"])
        clock = (int(parts["day"]), int(parts["hour"]), int(parts["minute"]), int(parts["second"]))
        if parts.get("year"):
            moment = datetime(int(parts["year"]), month, *clock) + _fraction(match)
        elif captured_at is not None:
            moment = _last_before(captured_at + timedelta(days=1), month, clock) + _fraction(match)
        else:
            datetime(2000, month, *clock)  # a leap year: is it a date at all?
            return LogTime(yearless=match[0])
        zone = parts.get("zone")
        return LogTime(at=moment - _offset(zone)) if zone else LogTime(local_at=moment)
    except (ValueError, OverflowError):
        return NO_TIME


def _last_before(limit: datetime, month: int, clock: tuple[int, int, int, int]) -> datetime:
    for year in range(limit.year, limit.year - 9, -1):  # the 29th of February may be eight years back
        try:
            moment = datetime(year, month, *clock)
        except ValueError:
            continue
        if moment <= limit:
            return moment
    raise ValueError(f"month {month}, day {clock[0]}: there is no such day")


def _fraction(match: re.Match[str]) -> timedelta:
    return timedelta(microseconds=int((match["fraction"] or "0")[:6].ljust(6, "0")))


def _offset(zone: str) -> timedelta:
    if zone[0] not in "+-":
        return timedelta()
    digits = zone[1:].replace(":", "")
    offset = timezone(timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))).utcoffset(None)
    return -offset if zone[0] == "-" else offset
