"""At which offset between two clocks a client's trials are a server's requests.

A trial that was answered holds its request: it started before it and ended after it. So each true pair bounds
the offset from both sides, as an exchange of NTP does. Which trial belongs to which request is not known
before; but the walls of true pairs are alike, and only true pairs all agree on one offset. Where another
offset would explain the trials nearly as well, or chance brings as many together, nothing is aligned.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from .matching import Request, alike_s, epoch, wall_of

Trial = Mapping[str, Any]
_ByKind = dict[tuple[str, str], list[tuple[float, int]]]

# How much longer a client's wall may be than the server's, from the strictest to the loosest: a loopback,
# a network, a far network, a slow proxy. The one that leaves least to chance is taken.
_OVERHEADS_S = (0.005, 0.02, 0.1, 0.5)
# Two pairs agree on some offset too easily.
_FEWEST_PAIRS = 3
# How many clusters as good as the one found may be expected where trials and log have nothing in common.
_MOST_FALSE_ALARMS = 1e-3
# Clocks that nobody sets run apart by up to this share of the time; and how finely drifts are tried.
_DRIFT = 100e-6
_FINE_S = 0.02
# Reading a clock, writing a line.
_READING_S = 0.005
# Beyond this from the log, a trial is of another time.
_FAR_S = 60.0
# Pairs compared at most; trials with the fewest requests like them come first, because they tell most.
_MOST_PAIRS = 20_000


@dataclass(frozen=True)
class Alignment:
    """What to add to the trials' times: between `low_s` and `high_s`, on which `pairs` agree. Else `doubt` says why."""

    low_s: float = 0.0
    high_s: float = 0.0
    pairs: int = 0
    doubt: str = ""


class _Pair(NamedTuple):
    """A trial and a request that could be one, and the offsets at which they would be. `at` is the trial's end."""

    low: float
    high: float
    trial: int
    request: int
    at: float


class _Level(NamedTuple):
    """The pairs under one overhead, those that agree, and how likely a trial is to agree with others by chance."""

    overhead_s: float
    pairs: list[_Pair]
    core: list[_Pair]
    callers: int
    chance: float

    def false_alarms(self, support: int) -> float:
        """How many offsets with that support to expect: each pair proposes one, to which the others come by chance."""
        return len(_OVERHEADS_S) * len(self.pairs) * _tail(support - 1, self.callers - 1, self.chance)


def align(requests: Sequence[Request], trials: Sequence[Trial], servers: int = 1) -> Alignment:
    """The offset of the trials' clock to the requests', from what both saw; it holds for all trials within the log.

    Trials need started_at and ended_at (naive UTC by the client's clock); status and path are compared where
    a trial has them. `servers` is among how many the client may have shared out its calls.
    """
    calls = f"its {len(trials):,} calls"
    level = _likeliest(requests, trials)
    if level is None:
        return Alignment(doubt=f"none of {calls} is like a request in the log, or like few enough to tell them apart")
    count = _support(level.core)
    if count < _FEWEST_PAIRS or level.false_alarms(count) > _MOST_FALSE_ALARMS:
        return Alignment(doubt=f"no more than {count:,} of {calls} fit the log at one offset, as chance may have it")
    low, high = _bounds(level.core)
    begin, end = min(r.started_from for r in requests), max(r.ended_to for r in requests)
    logged = {
        number: (epoch(trial["started_at"]), epoch(trial["ended_at"]))
        for number, trial in enumerate(trials)
        if begin - _FAR_S <= epoch(trial["ended_at"]) + high and epoch(trial["started_at"]) + low <= end + _FAR_S
    }
    first, last = min(start for start, _ in logged.values()), max(stop for _, stop in logged.values())
    if other := _as_good(level, low, high, _DRIFT * (last - first)):
        apart_s, others = abs(sum(_bounds(other)) - low - high) / 2, _support(other)
        return Alignment(
            doubt=f"{count:,} of {calls} fit the log at one offset, {others:,} at another {apart_s:,.1f} s off"
        )
    low, high, count = _at_all_times(level, first, last)
    # Calls that were tried again are several requests; those that are cut by the log's ends may be none.
    answered = {
        number
        for number, (start, stop) in logged.items()
        if trials[number].get("status") and (trials[number].get("attempts") or 1) == 1
        if begin <= start + low and stop + high <= end
    }
    missing = answered.difference(fitting(requests, trials, low, high, 4 * level.overhead_s))
    if missing and 2 * servers * (len(answered) - len(missing)) <= len(answered):
        where = "that the log should show are not where the others fit"
        return Alignment(doubt=f"{len(missing):,} of {len(answered):,} calls {where}")
    return Alignment(low, high, count)


def fitting(
    requests: Sequence[Request], trials: Sequence[Trial], low_s: float, high_s: float, overhead_s: float = math.inf
) -> Iterator[int]:
    """The numbers of the trials that have a request like them at some offset between the two."""
    order = sorted(requests, key=lambda request: request.ended)
    ends = [request.ended for request in order]
    grain_s = _grain(wall_of(trial) for trial in trials)
    for number, trial in enumerate(trials):
        ended, wall_s = epoch(trial["ended_at"]), wall_of(trial)
        longest_s = wall_s + grain_s + _shorter_s(trial, _OVERHEADS_S[-1])
        shortest_s = wall_s - grain_s - overhead_s - (wall_s >= 60)
        for at in range(bisect_left(ends, ended + low_s - 1.0), bisect_right(ends, ended + high_s + 1.0)):
            if shortest_s <= order[at].wall_s <= longest_s and alike_s(order[at], trial) is not None:
                yield number
                break


def _shorter_s(trial: Trial, overhead_s: float) -> float:
    """How much shorter a trial may be than its request: by its clock's pace; by more if its client left: no status."""
    return _READING_S + _DRIFT * wall_of(trial) + (0.0 if trial.get("status") else overhead_s)


def _by_kind(requests: Sequence[Request], trials: Sequence[Trial]) -> _ByKind:
    """Walls and numbers of the requests that each kind of trial (path and status, or none) may be, by wall."""
    found: _ByKind = {_kind(trial): [] for trial in trials}
    for number, request in enumerate(requests):
        for path in (request.path.split("?")[0], *[""] * request.inference):
            for status in (request.status, ""):
                if (path, status) in found:
                    found[path, status].append((request.wall_s, number))
    for alike in found.values():
        alike.sort()
    return found


def _kind(trial: Trial) -> tuple[str, str]:
    return trial.get("path") or "", trial.get("status") or ""


def _pairs(requests: Sequence[Request], by_kind: _ByKind, trials: Sequence[Trial], overhead_s: float) -> list[_Pair]:
    """Trials and requests of the same path and status, the trial's wall longer than the request's, but not by much."""
    end_grain_s = _grain(trial["ended_at"].microsecond / 1e6 for trial in trials)
    wall_grain_s = _grain(wall_of(trial) for trial in trials)
    choices = []
    for number, trial in enumerate(trials):
        wall_s, alike = wall_of(trial), by_kind[_kind(trial)]
        # Above a minute the log drops the fraction of the latency.
        first = bisect_left(alike, (wall_s - wall_grain_s - overhead_s - (wall_s >= 60), -1))
        beyond = bisect_right(alike, (wall_s + wall_grain_s + _shorter_s(trial, overhead_s), len(requests)))
        choices.append((beyond - first, number, alike, first))
    pairs: list[_Pair] = []
    for count, number, alike, first in sorted(choices, key=lambda choice: choice[:2]):
        if len(pairs) + count > _MOST_PAIRS:
            break
        ended, wall_s = epoch(trials[number]["ended_at"]), wall_of(trials[number])
        for seen_s, at in alike[first : first + count]:
            # The client is done after the server, by no more than its wall is longer; or left before.
            longer_s = wall_s - seen_s
            low = requests[at].ended_from - ended + min(0.0, longer_s) - end_grain_s - _READING_S
            later_s = min(overhead_s, max(0.0, longer_s + wall_grain_s))
            high = requests[at].ended_to - ended + later_s + end_grain_s + _READING_S
            pairs.append(_Pair(low, high, number, at, ended))
    return pairs


def _grain(values: Iterable[float]) -> float:
    """What all values are multiples of, down to hundredths: they were cut or rounded to it.

    >>> _grain([3.0, 12.0]), _grain([3.2, 12.0]), _grain([3.21, 12.345])
    (1.0, 0.1, 0.0)
    """
    values = list(values)
    return next((g for g in (1.0, 0.1, 0.01) if all(abs(v / g - round(v / g)) < 1e-6 for v in values)), 0.0)


def _support(pairs: Collection[_Pair]) -> int:
    """How many trials can each have a request of their own."""
    return min(len({pair.trial for pair in pairs}), len({pair.request for pair in pairs}))


def _densest(pairs: Sequence[_Pair]) -> list[_Pair]:
    """The pairs that agree on the offset on which most trials agree, each with a request of its own."""
    edges = sorted(edge for n, pair in enumerate(pairs) for edge in ((pair.low, 0, n), (pair.high, 1, n)))
    open_trials: Counter[int] = Counter()
    open_requests: Counter[int] = Counter()
    most, offset = 0, 0.0
    for at, closes, n in edges:
        for counted, name in ((open_trials, pairs[n].trial), (open_requests, pairs[n].request)):
            counted[name] += -1 if closes else 1
            if not counted[name]:
                del counted[name]
        if (here := min(len(open_trials), len(open_requests))) > most:
            most, offset = here, at
    return [pair for pair in pairs if pair.low <= offset <= pair.high] if most else []


def _bounds(core: Sequence[_Pair], spare: int | None = None) -> tuple[float, float]:
    """The offsets on which the pairs agree, but for a few that may be false."""
    lows: dict[int, float] = {}
    highs: dict[int, float] = {}
    for pair in core:
        lows[pair.trial] = min(pair.low, lows.get(pair.trial, math.inf))
        highs[pair.trial] = max(pair.high, highs.get(pair.trial, -math.inf))
    spare = min(_spare(_support(core)) if spare is None else spare, len(lows) - 1)
    return sorted(lows.values(), reverse=True)[spare], sorted(highs.values())[spare]


def _spare(count: int) -> int:
    """How many of the pairs that agree may be false: one in twenty, and one more."""
    return 1 + count // 20


def _likeliest(requests: Sequence[Request], trials: Sequence[Trial]) -> _Level | None:
    """The pairs under the overhead that leaves least to chance.

    Chance: the requests like a trial are spread over the log, so that one of them falls into a given span
    with a probability that their number and the span's share of the log give. The request that made a pair
    is not counted as chance, but then as many as there are among slightly other walls.
    """
    loosest, by_kind = _OVERHEADS_S[-1], _by_kind(requests, trials)
    around = Counter(pair.trial for pair in _pairs(requests, by_kind, trials, loosest))
    best: _Level | None = None
    for overhead_s in _OVERHEADS_S:
        if not (pairs := _pairs(requests, by_kind, trials, overhead_s)):
            continue
        ends = [requests[pair.request].ended for pair in pairs]
        width_s = sum(pair.high - pair.low for pair in pairs) / len(pairs)
        share = width_s / (max(ends) - min(ends) + width_s)
        counts = Counter(pair.trial for pair in pairs).items()
        chances = [min(1.0, share * max(n - 1, around[trial] * overhead_s / loosest)) for trial, n in counts]
        level = _Level(overhead_s, pairs, _densest(pairs), len(counts), sum(chances) / len(chances))
        if best is None or _worth(level) < _worth(best):
            best = level
    return best


def _worth(level: _Level) -> float:
    return level.false_alarms(_support(level.core))


def _tail(least: int, of: int, chance: float) -> float:
    """How likely it is that at least so many of `of` come true, if each does with the same chance.

    >>> round(_tail(3, 4, 0.5), 4)
    0.3125
    """
    if least <= of * chance:
        return 1.0
    yes, no = math.log(max(chance, 1e-12)), math.log(max(1 - chance, 1e-12))
    ways = (math.lgamma(of + 1) - math.lgamma(n + 1) - math.lgamma(of - n + 1) for n in range(least, of + 1))
    return sum(math.exp(way + n * yes + (of - n) * no) for n, way in enumerate(ways, least))


def _as_good(level: _Level, low: float, high: float, drifted_s: float) -> list[_Pair]:
    """Pairs that agree on another offset, where they are nearly as many, or too many for chance; else none.

    Close to the offset that was found, drift brings pairs of other trials together: there, only the same
    trials with other requests count.
    """
    callers, count, zone_s = {pair.trial for pair in level.core}, _support(level.core), 1.0 + drifted_s
    for others in (
        [pair for pair in level.pairs if pair.high < low - zone_s or pair.low > high + zone_s],
        [pair for pair in level.pairs if pair.trial in callers and (pair.high < low or pair.low > high)],
    ):
        found = _densest(others)
        as_many = _support(found) / count
        if as_many >= 0.75 or (as_many > 0.5 and level.false_alarms(_support(found)) < 1):
            return found
    return []


def _at_all_times(level: _Level, first: float, last: float) -> tuple[float, float, int]:
    """Bounds that hold from the first to the last trial although the clocks may drift, and how many pairs agree."""
    middle, half_s = (first + last) / 2, (last - first) / 2
    (low, high), core_at = _bounds(level.core), median(pair.at for pair in level.core)
    near = [p for p in level.pairs if max(low - p.high, p.low - high) <= _DRIFT * abs(p.at - core_at)]
    steps = max(1, min(200, math.ceil(_DRIFT * half_s / _FINE_S)))
    tried = []
    for drift in (_DRIFT * step / steps for step in range(-steps, steps + 1)):
        moved = ((pair, drift * (pair.at - middle)) for pair in near)
        agreed = _densest([pair._replace(low=pair.low - by, high=pair.high - by) for pair, by in moved])
        tried.append((abs(drift) * half_s, _support(agreed), agreed))
    most = max(support for _, support, _ in tried)
    possible = [
        (drifted_s, *_bounds(agreed, spare))
        for drifted_s, support, agreed in tried
        if (spare := _spare(most) - most + support) >= 0
    ]
    return min(low - d for d, low, _ in possible), max(high + d for d, _, high in possible), most
