"""What is usual at this hour: each SLI beside its own past, so that a busy Monday morning is no news.

An SLI is compared with the periods of the same hour of the week; where there are too few of them, of the same hour of
the day; else with the last day. Times are UTC: the hour before and the hour after count as the same one, so that a
clock change of local time shifts nothing out of sight. Median and median absolute deviation: an odd hour bends neither.
Only worse is unusual, and only where all of it holds: at least 8 periods to compare with, beyond 6 spreads of them, a
factor of 1.5, and requests enough. A comparison is a hint to look; objectives say what is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from ..proportions import wilson
from .records import Comparison, Sli
from .slis import SLIS

if TYPE_CHECKING:
    import pandas as pd

# A dozen SLIs an hour are 8,640 comparisons in 30 days, and their noise has heavier tails than the normal curve.
SPREADS = 6.0
# Half as much again: less is not felt, however steady it was before.
FACTOR = 1.5
# The median of fewer is too easily one of two kinds of hours.
FEWEST_PERIODS = 8
# So many measurements beyond a quantile: the p95 of 20 requests is the slowest one, and one slow request is no news.
_BEYOND = 10
# So many bad requests: fewer can be one client that tried again.
_FEWEST_BAD = 5
# Shorter times are taken as this long, nobody waits for them; a queue is a request long, or it is none.
_SHORTEST_S = 0.1
_SHORTEST = {"queue_wait_p95_s": 1.0}
# As busy: a server with twice the requests, or half of them, has other queues, and other cold starts.
_BUSIER = 2.0
# A series that never moved may still do so: its spread is not 0, by its logarithm.
_LEAST_SPREAD = 0.05
# The periods of the hour before and the hour after, if a timer begins a little late.
_AROUND = timedelta(minutes=90)
_SLACK = timedelta(seconds=1)  # a verdict tells its times to the second or better
# A spread of few periods is often too small: 6 spreads of 8 periods are passed by 14 of 10,000 values of normal noise,
# those of 24 by 1 in 60,000. So much, by the square of their number, is added: half at 8, a twentieth at 24.
_FEW = 30.0
_MAD = 1.4826
_Q90 = 1.2816  # where 9 of 10 lie below, in standard deviations


@dataclass(frozen=True)
class _Season:
    """Which periods are like this one: `cycle` apart from it, and not longer ago than `reach`."""

    words: str
    cycle: timedelta
    reach: timedelta
    fewest: int = FEWEST_PERIODS


_SEASONS = (
    _Season("at this hour of the week", timedelta(days=7), timedelta(days=56), 2 * FEWEST_PERIODS),
    _Season("at this hour of the day", timedelta(days=1), timedelta(days=14)),
    _Season("in the last 24 h", timedelta(0), timedelta(days=1)),
)


# How far before the beginning of a period its comparisons look.
REACH = max(season.reach for season in _SEASONS) + _AROUND


@dataclass(frozen=True)
class _Past:
    """One SLI of one host in earlier periods: when each ended, in seconds before this one did, and what it was."""

    ago_s: np.ndarray
    value: np.ndarray
    count: np.ndarray
    of: np.ndarray

    def where(self, kept: np.ndarray) -> _Past:
        return _Past(self.ago_s[kept], self.value[kept], self.count[kept], self.of[kept])


def compared(history: pd.DataFrame, slis: Sequence[Sli], from_at: datetime, to_at: datetime) -> list[Comparison]:
    """Each SLI of the period beside the same one in `history` (rows of `history.read`), in the order given.

    `low` and `high` are the range in which nothing is unusual; without like periods enough they and `usual` are None.
    """
    if history.empty:
        return [_compared(sli, _Past(*np.empty((4, 0)))) for sli in slis]
    length, since = to_at - from_at, from_at - REACH
    ends = history["report_to"]
    rows = history[(history["kind"] == "sli") & history["value"].notna() & (ends >= since) & (ends <= from_at + _SLACK)]
    # A quantile of five minutes and one of a day are no two looks at the same thing.
    lengths = rows["report_to"] - rows["report_from"]
    rows = rows[(lengths >= length / 2) & (lengths <= length * 2)]
    ago_s = (to_at - rows["report_to"]).dt.total_seconds()
    every = _Past(*(column.to_numpy(float) for column in (ago_s, rows["value"], rows["count"], rows["of"])))
    own = rows.groupby(["name", "host"]).indices
    nothing = np.array([], int)
    return [_compared(sli, every.where(own.get((sli.name, sli.host), nothing))) for sli in slis]


def _compared(sli: Sli, past: _Past) -> Comparison:
    if sli.value is None:
        return _cannot_tell(sli, 0, sli.why or "not measured in this period")
    needed = _requests_needed(sli)
    if sli.of < needed:
        return _cannot_tell(sli, 0, f"{sli.of} requests are too few to compare ({needed} are needed)")
    past = past.where(past.of >= needed)
    most = 0
    for season in _SEASONS:
        alike = past.where(_in_season(past.ago_s, season) & _as_busy(past.of, sli))
        most = max(most, len(alike.value))
        if len(alike.of) >= season.fewest:
            return (_judged_level if sli.count is None else _judged_rate)(sli, alike, season)
    return _cannot_tell(sli, most, f"too little history: {most} like periods, {FEWEST_PERIODS} are needed")


def _in_season(ago_s: np.ndarray, season: _Season) -> np.ndarray:
    """Which periods lie a whole number of cycles before this one, an hour more or less."""
    around_s, reach_s, cycle_s = (span.total_seconds() for span in (_AROUND, season.reach, season.cycle))
    recent = ago_s <= reach_s + around_s
    if not cycle_s:
        # Less than a day of history is the night alone, or the day alone.
        return recent & bool(len(ago_s) and ago_s.max() >= reach_s - around_s)
    off_s = (ago_s + cycle_s / 2) % cycle_s - cycle_s / 2
    return recent & (np.abs(off_s) <= around_s) & (ago_s >= cycle_s / 2)


def _as_busy(of: np.ndarray, sli: Sli) -> np.ndarray:
    """Times and paces follow the number of requests, and so do cold starts; failures and stalls should not."""
    if sli.count is not None and sli.name != "cold_start_rate":
        return np.ones(len(of), bool)
    return (of <= _BUSIER * sli.of) & (sli.of <= _BUSIER * of)


def _judged_level(sli: Sli, alike: _Past, season: _Season) -> Comparison:
    """A time or a pace: compared by its logarithm, because both are so many times what they were, not so much more."""
    worse = -1.0 if SLIS[sli.name].good == "higher" else 1.0
    shortest = _SHORTEST.get(sli.name, _SHORTEST_S if sli.unit == "s" else 1e-6)
    past = worse * np.log(np.maximum(alike.value, shortest))
    now = worse * float(np.log(max(sli.value or 0.0, shortest)))
    middle = float(np.median(past))
    room = max(SPREADS * _spread(past, middle), float(np.log(FACTOR)))
    low, high = sorted(float(np.exp(worse * (middle + side * room))) for side in (-1, 1))
    return _comparison(sli, season, len(alike.of), float(np.exp(worse * middle)), low, high, now > middle + room)


def _judged_rate(sli: Sli, alike: _Past, season: _Season) -> Comparison:
    """A rate: its bad requests against those of all like periods together, so far as chance cannot explain them."""
    good = SLIS[sli.name].good == "higher"
    of, now_count = alike.of, sli.count or 0
    bad, now_bad = (of - alike.count, sli.of - now_count) if good else (alike.count, now_count)
    usual = float(bad.sum() / of.sum())
    # None seen in 500 is not never: what one more would have made of it is the least that is usual.
    # Chance is in Wilson's interval already; what the hours differ by beyond it counts here.
    by_chance = usual * (1 - usual) / float(np.median(of))
    beyond = sqrt(max(0.0, _spread(bad / of, usual, least=0.0) ** 2 - by_chance))
    limit = max(FACTOR * usual, usual + SPREADS * beyond, 1 / float(of.sum()))
    unusual = now_bad >= _FEWEST_BAD and wilson(now_bad, sli.of, SPREADS)[0] > limit
    limit = min(1.0, limit)
    shown = (1 - usual, 1 - limit, 1.0) if good else (usual, 0.0, limit)
    return _comparison(sli, season, len(alike.of), *shown, unusual)


def _spread(past: np.ndarray, middle: float, least: float = _LEAST_SPREAD) -> float:
    """The standard deviation that the middle half tells, or the worse side of nine in ten where that is more.

    Half the hours of a queue may be alike and one in five be long: their median deviation alone is 0.
    """
    usual_side = _MAD * float(np.median(np.abs(past - middle)))
    worse_side = (float(np.quantile(past, 0.9)) - middle) / _Q90
    return max(usual_side, worse_side, least) * (1 + _FEW / len(past) ** 2)


def _comparison(
    sli: Sli, season: _Season, periods: int, usual: float, low: float, high: float, unusual: bool
) -> Comparison:
    where = f" on {sli.host}" if sli.host else ""
    words = "unusual" if unusual else "as usual"
    worst = f"down to {_text(sli, low)}" if SLIS[sli.name].good == "higher" else f"up to {_text(sli, high)}"
    sentence = (
        f"{SLIS[sli.name].label}{where}: {_text(sli, sli.value)}, {words}; {season.words} it was {_text(sli, usual)} "
        f"({worst} is not unusual; {periods} periods)."
    )
    return Comparison(sli.name, sli.host, sli.value, usual, low, high, periods, unusual, sentence)


def _cannot_tell(sli: Sli, periods: int, why: str) -> Comparison:
    return Comparison(sli.name, sli.host, sli.value, None, None, None, periods, False, why=why)


def _text(sli: Sli, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{100 * value:.3g} %" if sli.count is not None else f"{value:.3g} {sli.unit}".rstrip()


def _requests_needed(sli: Sli) -> int:
    """How many measurements make a quantile more than a few slow requests; a rate carries its own counts."""
    if sli.count is not None:
        return 1
    return ceil(round(_BEYOND / (1 - (SLIS[sli.name].quantile or 0.5)), 6))
