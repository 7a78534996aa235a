"""What is asked of a report, as text on a command line or in a notebook: durations, times, the period."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..errors import InputError
from ..parse.go_values import duration_s
from .spans import Covered, period_for

# What has not been reported for longer is named and left out: a report of a week is read by nobody, and takes long.
_LONGEST_S = 86400.0
# Ollama is younger, and times of other centuries cannot be reckoned with.
_MOST_S = 10 * 365 * 86400.0
_FIRST_YEAR, _LAST_YEAR = 2000, 2200


def period_asked(
    previous: Mapping[str, Any] | None, now: datetime, every_s: float, since: str, until: datetime | None
) -> Covered:
    """Since the last report; or, where `since` says how long, that long, whatever was reported before."""
    span_s = seconds_of(since, "since") if since else every_s
    longest_s = max(_LONGEST_S, 3 * every_s, span_s)
    return period_for(None if since else previous, now, span_s, longest_s, until)


def seconds_of(text: str, name: str) -> float:
    """A duration such as 90m, 24h or 7d. Raises InputError.

    >>> seconds_of("90m", "every"), seconds_of("7d", "since")
    (5400.0, 604800.0)
    """
    days = text[:-1] if text.endswith("d") else ""
    seconds = 86400.0 * int(days) if days.isascii() and days.isdigit() and len(days) < 10 else duration_s(text)
    if not seconds or not 0 < seconds <= _MOST_S:
        raise InputError(f"{name} {text}: expected a duration such as 90m, 24h or 7d.")
    return seconds


def moment_of(text: str) -> datetime:
    """A time with its zone, as UTC. Raises InputError.

    >>> moment_of("2026-11-20T17:00:00+01:00")
    datetime.datetime(2026, 11, 20, 16, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not _FIRST_YEAR < at.year < _LAST_YEAR:
        raise InputError(f"until {text}: expected end, or a time with its zone such as 2026-11-20T17:00:00Z.")
    return at.astimezone(UTC)
