"""Minutes, hours and days at which something is due: what cron, launchd, Kubernetes and systemd can all express."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..errors import InputError
from .records import DAY_S, HOUR_S, MINUTE_S, duration_text

# What divides an hour, a day or a week, so that every two are equally far apart.
_ALLOWED_S = [minutes * MINUTE_S for minutes in (5, 6, 10, 12, 15, 20, 30)] + [
    hours * HOUR_S for hours in (1, 2, 3, 4, 6, 8, 12, 24, 168)
]
_MONDAY = 1


@dataclass(frozen=True)
class DueTimes:
    """Minutes of the hour, hours of the day (none: every hour) and a day of the week, Monday 1 (none: every day)."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...] = ()
    weekday: int | None = None

    def cron(self) -> str:
        """The five fields of crontab(5).

        >>> due_times(21600, shift_minutes=17).cron()
        '17 0,6,12,18 * * *'
        """
        weekday = "*" if self.weekday is None else str(self.weekday)
        return f"{_list(self.minutes)} {_list(self.hours)} * * {weekday}"

    def calendar(self) -> str:
        """As systemd.time(7) writes it, in UTC, whose clocks never change.

        >>> due_times(604800).calendar()
        'Mon *-*-* 00:00:00 UTC'
        """
        weekday = "" if self.weekday is None else "Mon "
        hours = ",".join(f"{hour:02}" for hour in self.hours) or "*"
        return f"{weekday}*-*-* {hours}:{','.join(f'{minute:02}' for minute in self.minutes)}:00 UTC"

    def intervals(self) -> list[dict[str, int]]:
        """As launchd.plist(5) writes them: one dictionary for each time.

        >>> due_times(1800).intervals()
        [{'Minute': 0}, {'Minute': 30}]
        """
        day = {} if self.weekday is None else {"Weekday": self.weekday}
        hours = [{"Hour": hour} for hour in self.hours] or [{}]
        return [{"Minute": minute, **hour, **day} for hour in hours for minute in self.minutes]


def due_times(every_s: float, shift_minutes: int = 0) -> DueTimes:
    """The times for something that is due every so often, `shift_minutes` after the full hour.

    Raises InputError where the times would not be equally far apart.
    """
    if every_s not in _ALLOWED_S:
        near = [one for one in _ALLOWED_S if one < every_s][-1:] + [one for one in _ALLOWED_S if one > every_s][:1]
        raise InputError(
            f"--every {duration_text(every_s)}: clocks count in hours and days, so expected a time that divides them, "
            f"such as {' or '.join(map(duration_text, near))}."
        )
    if every_s <= HOUR_S:
        step = int(every_s // MINUTE_S)
        return DueTimes(tuple(range(shift_minutes % step, 60, step)))
    if every_s <= DAY_S:
        return DueTimes((shift_minutes % 60,), tuple(range(0, 24, int(every_s // HOUR_S))))
    return DueTimes((shift_minutes % 60,), (0,), _MONDAY)


def shift_minutes(place: str) -> int:
    """Which minute a machine takes, so that many of them do not ask or send at once; always the same one.

    >>> shift_minutes("box") == shift_minutes("box"), 0 <= shift_minutes("another") < 60
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "big") % 60


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers)) or "*"
