"""Which period a report covers: since the last one, so that nothing is skipped and nothing told twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import InputError

# A host is looked at every few seconds to a minute: a shorter period holds nothing to judge.
SHORTEST_S = 60.0


@dataclass(frozen=True)
class Covered:
    """The period of a report, two aware times in UTC, and what its reader has to know of it."""

    from_at: datetime
    to_at: datetime
    notes: tuple[str, ...] = ()


def period_for(
    verdict: Mapping[str, Any] | None, now: datetime, span_s: float, longest_s: float, until: datetime | None = None
) -> Covered:
    """From the end of the last report's period to now, or to `until`; the last `span_s` where there is no last report.

    `verdict` is what the last report left in verdict.json. A report that failed covered nothing: its period is covered
    again. After a long gap the period is the last `longest_s`, and the rest is named as not covered. Where the last
    report ended after the end of this one (a clock was set back, evidence of an earlier day), it is the last `span_s`.
    Raises InputError for a time without a zone or a span of nothing.

    >>> now = datetime(2026, 3, 29, 12, tzinfo=UTC)
    >>> period_for({"to": "2026-03-29T10:55:00Z"}, now, 3600, 86400)
    Covered(from_at=datetime.datetime(2026, 3, 29, 10, 55, tzinfo=datetime.timezone.utc), \
to_at=datetime.datetime(2026, 3, 29, 12, 0, tzinfo=datetime.timezone.utc), notes=())
    """
    to_at = _aware(now if until is None else until)
    if not 0 < span_s <= longest_s:
        raise InputError(f"a span of {span_s:g} s, {longest_s:g} s at the longest: expected 0 < span <= longest.")
    last_span = to_at - timedelta(seconds=span_s)
    if verdict is None:
        return Covered(last_span, to_at)
    failed = bool(verdict.get("error"))
    last = _time(verdict.get("from" if failed else "to"))
    if last is None:
        note = (
            f"The last verdict does not say which period it covered: this report covers the last {_length(span_s)}, "
            "and older time is perhaps covered by none."
        )
        return Covered(last_span, to_at, (note,))
    since_s = (to_at - last).total_seconds()
    if since_s < 0:
        set_back = until is None or _aware(until) >= _aware(now)
        why = "a clock was set back" if set_back else "this one is of the past"
        note = (
            f"The last report ended {_text(last)}, after the end of this one ({why}): this report covers the "
            f"{_length(span_s)} up to {_text(to_at)}."
        )
        return Covered(last_span, to_at, (note,))
    if since_s < min(SHORTEST_S, span_s):
        note = (
            f"The last report ended {since_s:.0f} s before this one, too little to judge: this report covers the last "
            f"{_length(span_s)} again."
        )
        return Covered(last_span, to_at, (note,))
    if since_s > longest_s:
        from_at = to_at - timedelta(seconds=longest_s)
        note = (
            f"No report covers {_text(last)} to {_text(from_at)}: the last report is {_length(since_s)} ago, and one "
            f"report covers {_length(longest_s)} at the most."
        )
        return Covered(from_at, to_at, (note,))
    note = f"The last report failed: its period, from {_text(last)}, is covered again."
    return Covered(last, to_at, (note,) if failed else ())


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise InputError(f"{at}: expected a time with a zone, such as {at}+00:00.")
    return at.astimezone(UTC)


def _time(text: object) -> datetime | None:
    """A time of a verdict, or None: the file may be of another hand."""
    try:
        return _aware(datetime.fromisoformat(str(text)))
    except (ValueError, OverflowError, InputError):
        return None


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _length(seconds: float) -> str:
    """A length of time as people say it.

    >>> _length(3600), _length(900), _length(90000), _length(259200)
    ('1 h', '15 min', '25 h', '3 days')
    """
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
