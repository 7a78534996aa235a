"""The access lines of a case as columns on one clock, in the order of the logs.

Ten million of them have to fit in memory: texts are numbered, and starts are worked out when they are asked
for. Times are microseconds or, as floats, seconds since the epoch; a line whose time cannot be read has
NOT_A_TIME.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..case import INFERENCE_PATHS, Case
from ..matching import Request
from .access_lines import access_lines
from .words import Mask, Numbers, Rows, Words, ranks, stretches

NOT_A_TIME = np.iinfo(np.int64).min
_NOT_A_TIME_S = NOT_A_TIME / 1e6
_BATCH_ROWS = 250_000
# Lines are written in the order in which requests end: so many neighbours narrow the second of each.
_NEIGHBOURS = 50
# What is wrong with an input is found sooner than this.
_LONGER_THAN_A_REFUSAL_S = 1.0


class Requests:
    """Access lines by columns. Made by `requests_of`."""

    def __init__(self, numbers: Mapping[str, Numbers], texts: Mapping[str, Words], without_wall: Numbers) -> None:
        self.line, self.wall_s = numbers["line"], numbers["wall_s"]
        self.ended_from_us = numbers["ended_from"]
        self._some_untimed = self.ended_from_us.min(initial=0) == NOT_A_TIME
        self._ended_after_us = _narrowest(numbers["ended_to"] - numbers["ended_from"])
        self.host, self.source, self.status = texts["host"], texts["source"], texts["status"]
        self.client, self.method, self.path = texts["client"], texts["method"], texts["path"]
        # Lines without a latency that can be read: when those began is not known.
        self.without_wall = without_wall
        self.zones: dict[str, tuple[int, str]] = {}
        self._finer: tuple[Numbers, dict[str, Numbers]] = np.empty(0, dtype=np.int64), {}
        asked = self.path.where(lambda path: re.search(INFERENCE_PATHS, path.partition("?")[0]))
        self.inference: Mask = asked & (self.method == "POST")
        self.ran: Mask = self.inference & (self.status.where(_reaches_a_model) | self._failed_embeddings())

    def __len__(self) -> int:
        return len(self.line)

    def embedding(self, rows: Rows = slice(None)) -> Mask:
        return self.path[rows].where(lambda path: "embed" in path.partition("?")[0])

    def _failed_embeddings(self) -> Mask:
        """From 0.13.3 on a call of embeddings that fails while it runs ends with 400, as one that is refused does."""
        failed: Mask = (self.status == "400") & (self.wall_s >= _LONGER_THAN_A_REFUSAL_S)
        return failed & self.embedding() if failed.any() else failed

    def objects(self, trials: Sequence[object]) -> list[Request]:
        """The requests that trials are to be compared with, each by itself; without trials one of each host."""
        rows = np.arange(len(self)) if trials else np.unique(self.host.codes, return_index=True)[1]
        columns = (
            rows, self.host[rows], self.source[rows], self.line[rows], self.status[rows], self.path[rows],
            self.wall_s[rows], self.started_from(rows), self.started_to(rows), self.ended_from(rows),
            self.ended_to(rows), self.inference[rows], self.embedding(rows),
        )  # fmt: skip
        return [Request(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]

    def refine(self, known: Sequence[Request]) -> None:
        """Put the finer times that trials gave these requests in the place of those that their lines tell."""
        rows = np.array([request.row for request in known], dtype=np.int64)
        order = np.argsort(rows)
        self._finer = (
            rows[order],
            {
                name: np.array([getattr(request, name) for request in known], dtype=float)[order]
                for name in ("started_from", "started_to", "ended_from", "ended_to")
            },
        )

    def ended_to_us(self, rows: Rows = slice(None)) -> Numbers:
        ended_to_us: Numbers = self.ended_from_us[rows] + self._ended_after_us[rows]
        return ended_to_us

    def started_from(self, rows: Rows = slice(None)) -> Numbers:
        # Above one minute Go drops the fraction of the latency: the start is a second less certain.
        wall_s = self.wall_s[rows]
        return self._started("started_from", self.ended_from_us[rows], wall_s + (wall_s >= 60), rows)

    def started_to(self, rows: Rows = slice(None)) -> Numbers:
        return self._started("started_to", self.ended_to_us(rows), self.wall_s[rows], rows)

    def ended_from(self, rows: Rows = slice(None)) -> Numbers:
        return self._with_finer("ended_from", self.ended_from_us[rows] / 1e6, rows)

    def ended_to(self, rows: Rows = slice(None)) -> Numbers:
        return self._with_finer("ended_to", self.ended_to_us(rows) / 1e6, rows)

    def started(self, rows: Rows = slice(None)) -> Numbers:
        started_from = self.started_from(rows)
        # The middle between a time and none is none.
        return np.where(started_from == _NOT_A_TIME_S, started_from, (started_from + self.started_to(rows)) / 2)

    def ended(self, rows: Rows = slice(None)) -> Numbers:
        return (self.ended_from(rows) + self.ended_to(rows)) / 2

    def uncertainty_s(self, rows: Rows = slice(None)) -> Numbers:
        return (self.started_to(rows) - self.started_from(rows)) / 2

    def has_wall(self, rows: Rows = slice(None)) -> Mask:
        """Whether the line tells how long the request took: without it, `wall_s` is 0 and its start is not known."""
        told = np.ones(len(self.wall_s[rows]), dtype=bool)
        told[places(self.without_wall, rows, len(self))[0]] = False
        return told

    def spans(self) -> dict[str, tuple[float, float]]:
        """From when to when the requests of each source were there."""
        found: dict[str, tuple[float, float]] = {}
        for begin, end in pairwise(stretches(self.source.codes)):
            known = self.ended_from_us[begin:end] != NOT_A_TIME
            if known.any():
                started, ended = self.started(slice(begin, end))[known], self.ended(slice(begin, end))[known]
                first = np.min(started[started != _NOT_A_TIME_S], initial=ended.min())
                found[self.source.at(begin)] = float(first), float(ended.max())
        return found

    def _started(self, name: str, ended_us: Numbers, wall_s: Numbers, rows: Rows) -> Numbers:
        started_us = ended_us - np.rint(wall_s * 1e6).astype(np.int64)
        if self._some_untimed:
            started_us[ended_us == NOT_A_TIME] = NOT_A_TIME
        if name == "started_from" and len(self.without_wall):
            started_us[places(self.without_wall, rows, len(self))[0]] = NOT_A_TIME
        return self._with_finer(name, started_us / 1e6, rows)

    def _with_finer(self, name: str, values: Numbers, rows: Rows) -> Numbers:
        known, times = self._finer
        if len(known):
            at, which = places(known, rows, len(self))
            values[at] = times[name][which]
        return values


def _reaches_a_model(status: str) -> bool:
    """Whether it has reached a model for sure: 4xx but 499 and 503 are mostly answered before."""
    return (status[:1] in ("2", "5") or status == "499") and status != "503"


def places(known: Numbers, rows: Rows, total: int) -> tuple[Numbers, Numbers]:
    """Of a sorted list of row numbers, which stand among `rows`: at which place there, and which of the list.

    >>> places(np.array([3, 7, 9]), slice(5, 10), 20)
    (array([2, 4]), array([1, 2]))
    """
    if isinstance(rows, slice):
        begin, end, _ = rows.indices(total)
        first, beyond = known.searchsorted(np.array([begin, end], dtype=known.dtype))  # else all of them were converted
        return known[first:beyond] - begin, np.arange(first, beyond)
    wanted = np.flatnonzero(rows) if rows.dtype == bool else rows
    which = ranks(known, wanted.astype(known.dtype, copy=False))
    which[which == len(known)] = 0
    found = known[which] == wanted if len(known) else np.zeros(len(wanted), dtype=bool)
    return np.flatnonzero(found), which[found]


def requests_of(case: Case, twins: Mapping[str, int]) -> Requests:
    """The access lines of a case. `twins`: by source, the zone of the log in which the same server wrote its events."""
    lines = access_lines(case, twins)
    numbers, texts = lines.numbers, lines.texts
    _narrow(numbers, texts["source"])
    if period := case.period:
        ended = numbers["ended_to"]
        within = (ended > _us(period.from_at)) & (ended <= _us(period.to_at))
        numbers, texts = (
            {name: v[within] for name, v in numbers.items()},
            {name: v[within] for name, v in texts.items()},
        )
    without_wall = np.flatnonzero(np.isnan(numbers["wall_s"]))
    numbers["wall_s"][without_wall] = 0.0
    found = Requests(numbers, texts, without_wall)
    lasts = [end - 1 for end in stretches(texts["source"].codes)[1:]]
    of_lasts = [(texts["source"].at(row), int(numbers["zone_s"][row])) for row in lasts]
    found.zones = {source: (zone_s, lines.zone_from.get(source, "")) for source, zone_s in of_lasts}
    return found


def _narrowest(spans_us: Numbers) -> Numbers:
    """The same as 32-bit integers where they fit: those between the two ends of a second do."""
    limits = np.iinfo(np.int32)
    fit = limits.min <= spans_us.min(initial=0) and spans_us.max(initial=0) <= limits.max
    return spans_us.astype(np.int32) if fit else spans_us


def _us(at: Any) -> Any:
    return np.datetime64(at, "us").astype(np.int64)


def _narrow(numbers: dict[str, Numbers], source: Words) -> None:
    """A neighbour's bounds hold for a line too, as long as they are within its own second (the clock may be set)."""
    for begin, end in pairwise(stretches(source.codes)):
        before = np.empty(0, dtype=np.int64)
        for first in range(begin, end, _BATCH_ROWS):
            last = min(first + _BATCH_ROWS, end)
            ended_from, ended_to = numbers["ended_from"][first:last], numbers["ended_to"][first:last]
            after = numbers["ended_to"][last : min(last + _NEIGHBOURS, end)]
            told = np.concatenate([before, ended_from])
            before = told[-_NEIGHBOURS:].copy()
            earlier = _latest_before(told)[-len(ended_from) :]
            told = np.concatenate([ended_to, after])
            told = np.where(told == NOT_A_TIME, -np.iinfo(np.int64).max, -told)
            later = -_latest_before(told[::-1])[::-1][: len(ended_to)]
            begins = np.where((earlier >= ended_from) & (earlier <= ended_to), earlier, ended_from)
            ends = np.where((later >= ended_from) & (later <= ended_to), later, ended_to)
            ended_from[:], ended_to[:] = np.minimum(begins, ends), np.maximum(begins, ends)


def _latest_before(times: Numbers) -> Numbers:
    """The greatest of each and the 50 before it.

    >>> _latest_before(np.array([3, 1, 2])).tolist()
    [3, 3, 3]
    """
    window, width, latest = _NEIGHBOURS + 1, 1, times.copy()
    while width < window:
        step = min(width, window - width)
        latest[step:] = np.maximum(latest[step:], latest[:-step].copy())
        width += step
    return latest
