"""Which loads each request caused, or met on its way.

A load is the doing of the request that was there when its runner was spawned and did not end before it. The
others that were there while it went on it may have held up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..matching import SPAWN_SLACK_S
from ..records import Load
from .requests import Requests
from .words import Mask, Numbers, Rows, Vocabulary, chunks, epochs, rows_among, spread

_GAVE_UP = ("failed", "timed_out", "abandoned", "unfinished")
_PAIRS_AT_ONCE = 500_000
# A wait that is at least this share of what was left of a load was a wait for that load.
_MOST_OF_IT = 0.8


class Loads:
    """The loads of a case as columns; NaN is a load that never came to an outcome."""

    def __init__(self, loads: Sequence[Load], models: Vocabulary) -> None:
        self.loads = loads
        self.line = np.array([load.line for load in loads], dtype=np.int64)
        self.model = models.codes([load.model for load in loads])
        self.spawned, self.began = (
            epochs([load.spawned_at for load in loads]),
            epochs([load.began_at for load in loads]),
        )
        self.ended = epochs([load.ended_at for load in loads])
        self.load_s = np.array([load.load_s or 0.0 for load in loads], dtype=float)
        self.gave_up = np.array([load.outcome in _GAVE_UP for load in loads], dtype=bool)
        self.evicted = np.array([load.evicted for load in loads], dtype=bool)
        self.embedding = np.array([load.embedding for load in loads], dtype=bool)
        self.reload = np.array([load.reload for load in loads], dtype=bool)

    def __len__(self) -> int:
        return len(self.loads)


@dataclass(frozen=True)
class LoadPairs:
    """A request and a load that it caused (`trigger`) or met, in the order of the rows, then of the loads."""

    row: Numbers
    load: Numbers
    trigger: Mask

    @classmethod
    def joined(cls, parts: Sequence[LoadPairs]) -> LoadPairs:
        """All pairs of several logs; those of one request stay in the order of the loads."""
        nothing = np.empty(0, dtype=np.int32)
        row = np.concatenate([nothing, *(part.row for part in parts)])
        load = np.concatenate([nothing, *(part.load for part in parts)])
        trigger = np.concatenate([nothing.astype(bool), *(part.trigger for part in parts)])
        # A request and a load are one pair at most.
        order = np.argsort(row.astype(np.int64) * (int(load.max(initial=0)) + 1) + load)
        return cls(row[order], load[order], trigger[order])


def match_loads(requests: Requests, rows: Rows, loads: Loads, own: range, api_load_s: Mapping[int, float]) -> LoadPairs:
    """Give each load of a log the request that caused it (`trigger`) and the others it may have held up.

    `rows` are the requests of the log, `own` its loads. The trigger was there when the runner was spawned
    and did not end before the load did; of several, a client's own `load_duration` (`api_load_s`, by row)
    decides, else the one that arrived last before the spawn. Where two arrived at once and the
    log knows several models, none is named.
    """
    several = len(set(loads.model[own.start : own.stop].tolist())) > 1
    taken: set[int] = set()
    found = [
        _of_some(requests, loads, pairs, taken, several, api_load_s) for pairs in _alive(requests, rows, loads, own)
    ]
    return LoadPairs.joined(found)


def _alive(requests: Requests, rows: Rows, loads: Loads, own: range) -> Iterator[tuple[Numbers, Numbers]]:
    """Rows and loads of requests that were there when a load ended, loads in order, some loads at a time.

    Requests are looked for among those about as long: else one long request would make every search long.
    """
    by_length: dict[int, list[tuple[Numbers, Numbers]]] = defaultdict(list)
    longest_s = 0.0
    for some in chunks(rows, len(requests)):
        ran = rows_among(some, requests.ran[some]).astype(np.int32)
        ended_to = requests.ended_to(ran)
        longest_s = max(longest_s, requests.wall_s[ran].max(initial=0.0))
        # The power of two that it is less than.
        power = np.frexp(np.maximum(ended_to - requests.started_from(ran), 1.0))[1]
        for number in range(int(power.min(initial=0)), int(power.max(initial=-1)) + 1):
            if (these := power == number).any():
                by_length[number].append((ended_to[these], ran[these]))
    classes = []
    for number in sorted(by_length):
        ends, ran = (np.concatenate(parts) for parts in zip(*by_length.pop(number), strict=True))
        if not (ends[1:] >= ends[:-1]).all():
            order = np.argsort(ends, kind="stable")
            ends, ran = ends[order], ran[order]
        classes.append((ends, ran, min(2.0**number, longest_s + 7)))
    ended = np.where(np.isnan(loads.ended), loads.spawned, loads.ended)[own.start : own.stop]
    spans = [(np.searchsorted(ends, ended - SPAWN_SLACK_S), np.searchsorted(ends, ended + most_s, "right"))
             for ends, _, most_s in classes]  # fmt: skip
    counts = sum((beyond - first for first, beyond in spans), np.zeros(len(own), dtype=np.int64))
    share = np.cumsum(counts) // _PAIRS_AT_ONCE
    for number in np.unique(share).tolist():
        begin, end = np.searchsorted(share, [number, number + 1])
        of_row, of_load = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.int32)]
        for (first, beyond), (_, members, _) in zip(spans, classes, strict=True):
            which, at = spread(first[begin:end], beyond[begin:end])
            of_row.append(members[at])
            of_load.append((which + own.start + begin).astype(np.int32))
        row, load = np.concatenate(of_row), np.concatenate(of_load)
        there = requests.started_from(row) <= ended[load - own.start]
        yield row[there], load[there]


def _of_some(
    requests: Requests, loads: Loads, pairs: tuple[Numbers, Numbers], taken: set[int], several: bool,
    api_load_s: Mapping[int, float],
) -> LoadPairs:  # fmt: skip
    """The pairs of some loads with their roles. `taken` are the rows that caused an earlier load; it is kept up."""
    row, load = pairs
    started_from, wall_s = requests.started_from(row), requests.wall_s[row]
    spawned = loads.spawned[load]
    ended = np.where(np.isnan(loads.ended[load]), spawned, loads.ended[load])
    gave_up = loads.gave_up[load]
    # A request that held the whole load is at least as long as the load was.
    long_enough = wall_s + np.where(wall_s >= 60, 1.0, 0.05) >= ended - spawned
    inside = (started_from <= spawned + SPAWN_SLACK_S) & (long_enough | gave_up)
    met = ~inside & (started_from < ended)
    # The request that fails with its load ends within moments of it; where one does, it is none of the others.
    failing = inside & gave_up & (requests.ended_from(row) <= ended + 2)
    failing &= requests.status[row].where(lambda name: name in ("499", "500"))
    ends_so = np.zeros(len(loads), dtype=bool)
    ends_so[load[failing]] = True
    inside &= failing | ~ends_so[load]
    trigger = np.zeros(len(row), dtype=bool)
    trigger[_causes(requests, loads, row, load, np.flatnonzero(inside), taken, several, api_load_s)] = True
    kept = inside | met
    return LoadPairs(row[kept], load[kept], trigger[kept])


def _causes(
    requests: Requests, loads: Loads, row: Numbers, load: Numbers, inside: Numbers, taken: set[int], several: bool,
    api_load_s: Mapping[int, float],
) -> list[int]:  # fmt: skip
    """Which of the pairs `inside` are those of the request that caused the load: at most one of each load."""
    row, load = row[inside], load[inside]
    one_file = not np.diff(requests.source.codes[row]).any()
    told_s = np.array([api_load_s.get(one, np.inf) for one in row.tolist()]) if api_load_s else np.inf
    denied = told_s < 0.8 * (loads.load_s[load] - SPAWN_SLACK_S)
    unlike = (requests.embedding(row) != loads.embedding[load]) & loads.embedding[load]
    gap_s = np.maximum(0.0, loads.spawned[load] - requests.started_to(row) - SPAWN_SLACK_S)
    # Within a file, rows are in the order of their lines.
    lines = () if one_file else (requests.ended_to(row), requests.line[row])
    order = np.lexsort((row, *lines, gap_s, 4 * load.astype(np.int64) + 2 * denied + unlike))
    row, load, denied, unlike, gap_s = row[order], load[order], denied[order], unlike[order], gap_s[order]
    begins = np.flatnonzero(np.diff(load, prepend=-1))
    begins = begins[~denied[begins]]
    # What follows the first of a load and is as like its cause as that one, but for the gap.
    ends = np.flatnonzero(np.diff(load, append=-1) | np.diff(denied, append=False) | np.diff(unlike, append=False)) + 1
    ends = ends[np.searchsorted(ends, begins, "right")]
    rows, gaps, places, gives_up = row.tolist(), gap_s.tolist(), inside[order].tolist(), loads.gave_up[load].tolist()
    found = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        alike = range(begin, end)
        best = next((at for at in alike if gives_up[begin] or rows[at] not in taken), begin)
        # Two that came at once, and more than one model: either may have meant the other model.
        if several and _tied(alike, best, gaps, rows, set() if gives_up[begin] else taken):
            continue
        found.append(places[best])
        taken.add(rows[best])
    return found


def _tied(alike: range, best: int, gaps: Sequence[float], rows: Sequence[int], taken: set[int]) -> bool:
    """Whether another request is as likely as the best one: as far from the spawn, and taken or not as that one is."""
    for at in range(best + 1, alike.stop):
        if gaps[at] != gaps[best]:
            return False
        if (rows[at] in taken) == (rows[best] in taken):
            return True
    return False


class Waits:
    """What the loads meant for each request that met one: `row` in order, and for each of them

    how many it met (`count`), whether it `triggered` one, whether it `waited` for one, the last `load` that it
    triggered, else waited for, and the first one it triggered that `failed` (-1: none), when the first one that
    it triggered began and whether others had to leave for it, and the seconds of it that loads it waited for
    took (`overlap_s`).
    """

    def __init__(
        self, requests: Requests, pairs: LoadPairs, loads: Loads, model: Numbers, api_load_s: Mapping[int, float]
    ) -> None:
        row, load, trigger = pairs.row, pairs.load, pairs.trigger
        begins = np.flatnonzero(np.diff(row, prepend=-1))
        self.row = row[begins]
        self.count = np.diff(begins, append=len(row)).astype(row.dtype)
        number, nothing = np.arange(len(row), dtype=row.dtype), len(row)
        waited = _waited(requests, pairs, loads, model, api_load_s)
        self.triggered, self.waited = _any(trigger, begins), _any(waited, begins)
        first_failed = _least(np.where(trigger & loads.gave_up[load], number, nothing), begins)
        last_triggered = _most(np.where(trigger, number, -1), begins)
        last = np.where(self.triggered, last_triggered, _most(np.where(waited, number, -1), begins))
        none = np.array([-1], dtype=load.dtype)
        self.failed = np.concatenate([load, none])[first_failed]
        self.load = np.where(last >= 0, np.concatenate([load, none])[last], -1)
        self.began = _least(np.where(trigger, loads.began[load], np.inf), begins)
        self.evicted = _any(trigger & loads.evicted[load], begins)
        self.overlap_s = np.zeros(len(self.row))
        some = np.flatnonzero(self.waited)
        self.overlap_s[some] = _overlap_s(requests, self.row[some], row[waited], load[waited], loads)


def _any(values: Mask, begins: Numbers) -> Mask:
    return np.logical_or.reduceat(values, begins) if len(begins) else values


def _least(values: Numbers, begins: Numbers) -> Numbers:
    return np.minimum.reduceat(values, begins) if len(begins) else values


def _most(values: Numbers, begins: Numbers) -> Numbers:
    return np.maximum.reduceat(values, begins) if len(begins) else values


def _waited(
    requests: Requests, pairs: LoadPairs, loads: Loads, model: Numbers, api_load_s: Mapping[int, float]
) -> Mask:
    """Which loads a request waited for: those it caused, and those of its model that it came into.

    A client's load_duration says whether it waited at all. Without one it must surely have been there
    before the load was done, and its model must be known otherwise than by that load being under way.
    """
    row, load, ended = pairs.row, pairs.load, loads.ended[pairs.load]
    own = loads.model[load] == model[row]
    waited: Mask = ~np.isnan(ended) & (pairs.trigger | (own & (requests.started_to(row) < ended)))
    if api_load_s:
        known = np.array([one in api_load_s for one in row.tolist()], dtype=bool)
        told = np.flatnonzero(known & ~pairs.trigger)
        told_s = np.array([api_load_s[one] for one in row[told].tolist()])
        left_s = ended[told] - np.maximum(requests.started(row[told]), loads.spawned[load[told]])
        waited[told] = own[told] & (told_s >= _MOST_OF_IT * left_s) & (_MOST_OF_IT * left_s > 0)
    return waited


def _overlap_s(requests: Requests, rows: Numbers, row: Numbers, load: Numbers, loads: Loads) -> Numbers:
    """Seconds of each of the rows, from its start on, during which one of its loads was under way."""
    order = np.lexsort((loads.began[load], row))
    row, load = row[order], load[order]
    begins = np.flatnonzero(np.diff(row, prepend=-1))
    counts = np.diff(begins, append=len(row))
    total_s, until, ended_to = np.zeros(len(rows)), requests.started(rows), requests.ended_to(rows)
    for number in range(counts.max(initial=0)):
        still = np.flatnonzero(counts > number)
        these = load[begins[still] + number]
        begin = np.maximum(loads.began[these], until[still])
        end = np.minimum(loads.ended[these], ended_to[still])
        longer = end > begin
        total_s[still] = np.where(longer, total_s[still] + end - begin, total_s[still])
        until[still] = np.where(longer, end, until[still])
    return np.minimum(total_s, requests.wall_s[rows])
