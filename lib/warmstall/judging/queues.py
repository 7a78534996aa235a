"""How long each request of a runner waited for a slot, from arrivals and ends alone."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from ..matching import AT_ONCE_S
from .requests import Requests
from .words import Mask, Numbers, Rows, by_chunks, ranks


@dataclass
class Queues:
    """By request: seconds it waited for a slot, how many slots there were, how many requests were surely there when it
    arrived (itself included), and how many others were there at any time before it ended."""

    queue_s: Numbers
    slots: Numbers
    in_flight: Numbers
    beside: Numbers

    @classmethod
    def empty(cls, count: int) -> Queues:
        slots, in_flight = np.ones(count, dtype=np.int8), np.ones(count, dtype=np.int8)
        return cls(np.zeros(count), slots, in_flight, np.zeros(count, dtype=np.int8))

    def put(self, name: str, rows: Numbers, values: Numbers | int) -> None:
        """Put counts of some rows into a column, which becomes wider where they are too great."""
        column, greatest = getattr(self, name), int(np.max(values, initial=0))
        if greatest > np.iinfo(column.dtype).max:
            column = column.astype(np.min_scalar_type(-greatest - 1))
            setattr(self, name, column)
        column[rows] = values


def queue_by_overlap(requests: Requests, rows: Numbers, slots: int, ready: Numbers | None, found: Queues) -> None:
    """Fill in how long each of the `rows`, which share a runner of so many slots, waited for one of them.

    A runner serves `slots` requests at once, the rest in order of arrival (a semaphore, first in, first
    out). With one slot, requests end in the order in which they were served, so each was served after the
    one that ended before it. With more, a request begins when the earliest end frees a slot. Where a
    request surely came later than another and still ended first on one slot, this is not how they were
    served (another runner, a remote model): nothing is said of either. `ready` is when the last load of the
    model that a request met was done (-inf: it met none). Without it, only who was there is counted.
    """
    started_to, ended_from = requests.started_to(rows), requests.ended_from(rows)
    _count(started_to, ended_from, rows, found)
    found.put("slots", rows, min(slots, np.iinfo(np.int16).max))
    if ready is None:
        return
    times = _Times(requests.started_from(rows), started_to, ended_from, requests.ended_to(rows))
    started, ended = (times.started_from + times.started_to) / 2, (times.ended_from + times.ended_to) / 2
    arrived = np.maximum(started, np.minimum(np.where(ready > -np.inf, ready, started), ended))
    if slots == 1:
        order = _in_order(ended, requests.line[rows])
        wait_s = _behind_one(arrived[order], ended[order])
    else:
        order = np.lexsort((requests.line[rows], ended, started))
        wait_s = _behind_several(started[order], arrived[order], ended[order], slots)
    del started, arrived, ended
    found.queue_s[rows[order]] = wait_s
    if slots == 1:
        found.queue_s[rows[_overtaken(times)]] = 0.0


@dataclass(frozen=True)
class _Times:
    """When some requests were there."""

    started_from: Numbers
    started_to: Numbers
    ended_from: Numbers
    ended_to: Numbers


def _count(started_to: Numbers, ended_from: Numbers, rows: Numbers, found: Queues) -> None:
    """Fill in who else was there."""
    arrived_by, ended_by = np.sort(started_to), np.sort(ended_from)

    def counted(some: Rows) -> tuple[Numbers, Numbers]:
        arrives, ends = started_to[some], ended_from[some]
        here = ranks(arrived_by, arrives + AT_ONCE_S, "right")
        gone = ranks(ended_by, arrives, "right")
        in_flight = np.maximum(1, here - gone + (ends <= arrives))
        return in_flight, np.maximum(0, ranks(arrived_by, ends) - gone - 1)

    for some, (in_flight, beside) in by_chunks(counted, len(rows)):
        found.put("in_flight", rows[some], in_flight)
        found.put("beside", rows[some], beside)


def _in_order(times: Numbers, line: Numbers | None = None) -> Rows:
    """Which comes when, by time and then, if it is told, by line: as they are, most often."""
    if line is None:
        return slice(None) if (times[1:] >= times[:-1]).all() else np.argsort(times)
    later = (times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (line[1:] >= line[:-1]))
    return slice(None) if later.all() else np.lexsort((line, times))


def ready_by(rows: Numbers, row: Numbers, ended: Numbers) -> Numbers:
    """When the last of the loads that each of the rows met was done, `row` being in order; -inf: it met none."""
    ready = np.full(len(rows), -np.inf)
    at = np.searchsorted(rows, row)
    at[at == len(rows)] = 0
    own = rows[at] == row if len(rows) else np.zeros(0, dtype=bool)
    np.maximum.at(ready, at[own], ended[own])
    return ready


def _behind_one(arrived: Numbers, ended: Numbers) -> Numbers:
    """Waits of requests in the order of their ends, each behind the one before it."""
    before = np.concatenate([[-np.inf], ended[:-1]])
    waits_s: Numbers = np.maximum(0.0, np.minimum(np.maximum(before, arrived), ended) - arrived)
    return waits_s


def _behind_several(started: Numbers, arrived: Numbers, ended: Numbers, slots: int) -> Numbers:
    """Waits of requests in the order of their starts; one by one where as many are there as there are slots."""
    count = len(started)
    waits_s = np.zeros(count)
    done = np.searchsorted(np.sort(ended), started, "left")
    full = (np.arange(count) - done >= slots) | (arrived > started)
    # Where all that came before are gone, nothing of the past counts.
    latest = np.maximum.accumulate(np.concatenate([[-np.inf], ended[:-1]]))
    anew = np.flatnonzero(latest <= arrived)
    if not full.any():
        return waits_s
    spells = np.unique(np.searchsorted(anew, np.flatnonzero(full), "right"))
    for spell in spells.tolist():
        begin, end = anew[spell - 1], anew[spell] if spell < len(anew) else count
        serving: list[float] = []
        for at, (comes, ends) in enumerate(
            zip(arrived[begin:end].tolist(), ended[begin:end].tolist(), strict=True), begin
        ):
            while serving and serving[0] <= comes:
                heappop(serving)
            begins = max(comes, heappop(serving)) if len(serving) >= slots else comes
            heappush(serving, ends)
            waits_s[at] = max(0.0, min(begins, ends) - comes)
    return waits_s


def _overtaken(times: _Times) -> Mask:
    """Which requests surely came before one that ended first, or after one that ended later."""
    by_end = _in_order(times.ended_to)
    latest = np.maximum.accumulate(np.concatenate([[-np.inf], times.started_from[by_end]]))
    ended_first = ranks(times.ended_to[by_end], times.ended_from)
    overtaken: Mask = latest[ended_first] > times.started_to + AT_ONCE_S
    del latest, ended_first
    by_end = _in_order(times.ended_from)
    came_by = times.started_to[by_end] + AT_ONCE_S
    earliest = np.concatenate([np.minimum.accumulate(came_by[::-1])[::-1], [np.inf]])
    ended_by = ranks(times.ended_from[by_end], times.ended_to, "right")
    return overtaken | (earliest[ended_by] < times.started_from)
