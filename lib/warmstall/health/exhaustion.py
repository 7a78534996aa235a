"""Is memory going, and when is it gone? Said before it is: a slope is what a report can still act on.

A slope is not a level: a machine may live with little memory for months. And it is not a step: a model that is loaded,
or a program that starts, takes its share and stays. So looks are compared where the same models were in memory as now,
the fall has to go on over the whole of the time, and what the host did before and survived is its habit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..parse.plain_text import printable
from .memory_looks import Looks, all_looks
from .records import Exhaustion
from .trends import FEWEST_FOR_INTERVAL, trend
from .words import amount

if TYPE_CHECKING:
    import pandas as pd

    from ..analysis import Analysis

_State = Literal["falling", "steady", "cannot tell"]

# What falls by less than this share of memory is a program like others (as in observed.memory); and what left so much
# was survived.
_SHARE = 0.1
# One interval between two looks cannot tell a slope from a step, so more has to be gone in it.
_SHARE_OF_ONE_INTERVAL = 0.2
# How far ahead a slope is believed: three times as long as it was seen, which is to say that a quarter of what was
# available has to be gone; and no further than somebody can do something about it in this shift. Working days make
# slopes of hours that end by themselves; what is left for longer a later report will say, which has seen more of it.
_AHEAD = 3.0
_HORIZON_S = 6 * 3600.0
# A slope that was seen so much longer than what is left is believed beyond that: a leak of days.
_SEEN_LONGER = 2.0
# Two looks tell when it would be gone before two more hourly reports could say so.
_HORIZON_OF_ONE_INTERVAL_S = 2 * 3600.0
# A program takes its memory within minutes. Where looks are closer than that, there are more of them to go by.
_LONGEST_START_S = 600.0
# A slope falls all the time: no quarter of it has more than this share of the fall, or it is a step.
_SHARE_OF_A_QUARTER = 0.6
# A day of hourly looks shows which levels are usual: those that the host was at or below a tenth of the time.
_LOOKS_OF_A_DAY = 24
_USUAL_QUANTILE = 0.1
# A fall is out of the ordinary when it exceeds by so much what the host did before in as long a time. What takes its
# share in an hour today may have taken it in two yesterday.
_BEYOND_HABIT = 1.25
_AS_LONG = 2.0
# From the newest look back, each twice as long as the one before.
_SPANS_S = tuple(3600.0 * hours for hours in (0.5, 1, 2, 4, 8, 16, 32))
# Looks that are closer count as one, their median: of a span, and of all. What one second had is seen once.
_STRETCHES = 60
_STRETCH_S = 60.0
# A look that is older than two hourly reports says nothing of now.
_OLD_S = 2 * 3600.0


@dataclass(frozen=True)
class _Fall:
    """What went, from which look on (its index), at which pace with its interval, and by how many looks.

    `gone` is by the slope or from the first look to the last, whichever is less: neither may carry the other.
    """

    first: int
    span_s: float
    gone: float
    per_s: float
    low_per_s: float | None
    high_per_s: float | None
    looks: int


def exhaustions(found: Analysis, history: pd.DataFrame, at: datetime) -> list[Exhaustion]:
    """Where the memory and the swap of each host are heading, as known at `at`.

    One for the memory of each host, one for its swap on Linux, and one more for each control group that falls towards
    its limit (the sentence names it). Looks are those of the evidence and, before them, those of the reports' history
    of 30 days (`history.read`; an empty frame will do). `at` of an Exhaustion is its newest look, and `left_s` counts
    from there. From five looks on the slope is Theil and Sen's, with Sen's interval.
    """
    every = list(all_looks(found, history, at))
    found_of = [(looks.group, judged(looks, at)) for looks in every]
    known = {each.host for group, each in found_of if not group and each.what == "memory"}
    blind = set(found.case.sql("SELECT DISTINCT host FROM memory")["host"]) - known
    told = [each for group, each in found_of if not group or each.state == "falling"]
    told += [Exhaustion(host, "memory", "cannot tell", None, None, None, None, None, None, None, 0,
                        f"What was captured{_of(host)} does not tell how much memory is available.")
             for host in blind]  # fmt: skip
    return sorted(told, key=lambda each: (each.host, each.what))


def judged(looks: Looks, at: datetime) -> Exhaustion:
    """What the looks at one thing tell, by those at which the same models were in memory as at the newest one."""
    looks = _thinned(_part(looks, looks.models == looks.models[-1]), _STRETCH_S)
    newest_s, available = float(looks.at_s[-1]), float(looks.available[-1])
    subject = f"{_thing(looks)}{_of(looks.host)}"
    level = f"{amount(available)} of {amount(looks.total)} {'is free' if looks.what == 'swap' else 'is available'}"

    def said(state: _State, sentence: str, fall: _Fall | None = None) -> Exhaustion:
        left_s, low_s, high_s = _left_s(available, fall) if fall and state == "falling" else (None, None, None)
        per_hour_bytes = fall.per_s * 3600 if fall else None
        return Exhaustion(looks.host, looks.what, state, _moment(newest_s), available, looks.total, per_hour_bytes,
                          left_s, low_s, high_s, fall.looks if fall else len(looks.at_s),
                          f"{subject}: {sentence}.", looks.models_now, looks.group)  # fmt: skip

    if at.timestamp() - newest_s > _OLD_S:
        return said("cannot tell", f"the last look at it is of {_clock(newest_s)}, and says nothing of now")
    if falls := list(_falls(looks)):
        fall = max(falls, key=lambda each: (-each.per_s, each.looks))
        return said("falling", f"{level}. {_told(looks, fall)}", fall)
    slopes = [fall for fall in _slopes(looks) if fall.span_s >= _LONGEST_START_S]
    if not slopes:
        few = "there is one look at it" if len(looks.at_s) == 1 else (
            "no two looks at it can be compared, ten minutes apart and with the same models in memory")  # fmt: skip
        return said("cannot tell", f"{level}; {few}, so whether it falls cannot be told")
    longest = slopes[-1]
    return said("steady", f"{level}, and it does not fall towards its end ({longest.looks} looks in "
                f"{_time(longest.span_s)})", longest)  # fmt: skip


def _left_s(available: float, fall: _Fall) -> tuple[float | None, float | None, float | None]:
    """When it is gone, and the interval of that: the steepest slope is its early end."""
    slopes = (fall.per_s, fall.low_per_s, fall.high_per_s)
    left_s, low_s, high_s = (available / -per_s if per_s is not None and per_s < 0 else None for per_s in slopes)
    return left_s, low_s, high_s


def _falls(looks: Looks) -> Iterator[_Fall]:
    """The slopes, of all the spans, that lead to an end; and the last interval, where it is all there is."""
    for fall in _slopes(looks):
        if _leads_to_an_end(looks, fall, _SHARE, _HORIZON_S) and _goes_on(looks, fall) and _is_no_habit(looks, fall):
            yield fall
    if len(looks.at_s) > 1:
        span_s = float(looks.at_s[-1] - looks.at_s[-2])
        per_s = float(looks.available[-1] - looks.available[-2]) / span_s
        fall = _Fall(len(looks.at_s) - 2, span_s, -per_s * span_s, per_s, None, None, 2)
        large = _leads_to_an_end(looks, fall, _SHARE_OF_ONE_INTERVAL, _HORIZON_OF_ONE_INTERVAL_S)
        if span_s >= _LONGEST_START_S and large and _is_no_habit(looks, fall):
            yield fall


def _slopes(looks: Looks) -> Iterator[_Fall]:
    """The slope of each span that ends with the newest look, the shortest first."""
    firsts = [int(np.searchsorted(looks.at_s, looks.at_s[-1] - span_s)) for span_s in _SPANS_S]
    for first in dict.fromkeys(firsts):
        own = _part(looks, slice(first, None))
        span_s = float(own.at_s[-1] - own.at_s[0])
        few = _thinned(own, span_s / _STRETCHES)
        if slope := trend(few.at_s, few.available):
            gone = min(-slope.per_s * span_s, float(own.available[0] - own.available[-1]))
            yield _Fall(first, span_s, gone, *slope)


def _leads_to_an_end(looks: Looks, fall: _Fall, share: float, horizon_s: float) -> bool:
    """Whether enough is gone, and the rest would be gone within what can be foretold."""
    if fall.per_s >= 0 or fall.gone < share * looks.memory:
        return False
    left_s = float(looks.available[-1]) / -fall.per_s
    return left_s <= max(min(_AHEAD * fall.span_s, horizon_s), fall.span_s / _SEEN_LONGER)


def _goes_on(looks: Looks, fall: _Fall) -> bool:
    """Whether it fell all the time, beyond chance: no step, and no rise between few looks."""
    few = _thinned(_part(looks, slice(fall.first, None)), fall.span_s / _STRETCHES)
    gone = few.available[:, None] - few.available[None, :]
    apart_s = few.at_s[None, :] - few.at_s[:, None]
    following = np.eye(len(few.at_s), k=1, dtype=bool)
    if fall.looks < 3 or (fall.looks < FEWEST_FOR_INTERVAL and (gone[following] <= 0).any()):
        return False
    if fall.high_per_s is not None and fall.high_per_s >= 0:
        return False
    quarter = (apart_s > 0) & ((apart_s <= fall.span_s / 4) | following)
    return bool(gone[quarter].max(initial=0.0) <= _SHARE_OF_A_QUARTER * fall.gone)


def _is_no_habit(looks: Looks, fall: _Fall) -> bool:
    """Whether the host never fell like this, in as long a time, and had enough left in as long a time after it.

    Enough is what a program takes, or a level at which the host often is. What leaves less now is no habit, nor what
    leaves so much less than ever before.
    """
    at_s, available = looks.at_s[: fall.first], looks.available[: fall.first]
    if len(at_s) < 2:
        return True
    now, enough = looks.available[-1], _SHARE * looks.memory
    floor = min(enough, np.quantile(available, _USUAL_QUANTILE)) if len(at_s) >= _LOOKS_OF_A_DAY else enough
    if now < floor or now < available.min() - enough:
        return True
    apart_s = at_s[None, :] - at_s[:, None]
    soon = (apart_s > 0) & (apart_s <= _AS_LONG * fall.span_s)
    lowest_after = np.where(soon, available[None, :], np.inf).min(axis=1)
    survived = soon & (np.minimum(available, lowest_after) >= floor)[None, :]
    usual = (available[:, None] - available[None, :])[survived].max(initial=0.0)
    return bool(fall.gone > _BEYOND_HABIT * usual)


def _part(looks: Looks, which: np.ndarray | slice) -> Looks:
    at_s, available, models = (values[which] for values in (looks.at_s, looks.available, looks.models))
    return replace(looks, at_s=at_s, available=available, models=models)


def _thinned(looks: Looks, stretch_s: float) -> Looks:
    """One look, the median, for each stretch of time back from the newest look, which stays as it is."""
    back = (looks.at_s[-1] - looks.at_s) // max(stretch_s, 1e-3)
    if (np.diff(back) != 0).all():
        return looks
    parts = np.split(np.arange(len(back)), np.flatnonzero(np.diff(back)) + 1)
    at_s, available = (np.array([np.median(values[part]) for part in parts])
                       for values in (looks.at_s, looks.available))  # fmt: skip
    at_s[-1], available[-1] = looks.at_s[-1], looks.available[-1]
    return replace(looks, at_s=at_s, available=available, models=looks.models[[part[0] for part in parts]])


def _told(looks: Looks, fall: _Fall) -> str:
    """The fall, its end and how sure that is, in words."""
    before, now = looks.available[fall.first], looks.available[-1]
    begun, ended = _moment(looks.at_s[fall.first]), _moment(looks.at_s[-1])
    day = "" if begun.date() == ended.date() else "%Y-%m-%d "
    words = (f"It fell from {amount(before)} to {amount(now)} between {begun:%Y-%m-%d %H:%M} and "
             f"{ended.strftime(f'{day}%H:%M')} UTC")  # fmt: skip
    if fall.looks == 2:
        words += ", with the same models in memory"
    left_s = now / -fall.per_s
    words += f". At that pace, {amount(-fall.per_s * 3600)} an hour, it is gone {_time(left_s)} later"
    if fall.low_per_s and fall.high_per_s:
        return f"{words} (95 % interval {_time(now / -fall.low_per_s)} to {_time(now / -fall.high_per_s)})"
    count = {2: "Two", 3: "Three", 4: "Four"}[fall.looks]
    return f"{words}. {count} looks tell no interval"


def _thing(looks: Looks) -> str:
    if looks.what == "swap":
        return "Swap"
    return f"Memory of the control group {printable(looks.group)[:120]}" if looks.group else "Memory"


def _of(host: str) -> str:
    return f" of {printable(host)[:60]}" if host else ""


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _clock(at_s: float) -> str:
    return f"{_moment(at_s):%Y-%m-%d %H:%M} UTC"


def _time(seconds: float) -> str:
    """A time for people.

    >>> _time(3612), _time(7 * 3600)
    ('60 min', '7.0 h')
    """
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
