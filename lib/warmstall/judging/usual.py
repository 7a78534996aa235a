"""What is usual: the middle of something measured often enough, and the limit beyond which a value is not usual."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from .words import Numbers, chunks

# A distribution needs a handful of values before it has a middle and a spread.
BASELINE_MIN_N = 5
# Limits are set at four robust standard deviations of the logarithm: beyond what one in ten thousand
# ordinary requests reaches if their walls are log-normal. Never less than three times the middle: sharing
# cores with another job costs a factor of two without anything being wrong.
_LIMIT_SIGMAS = 4.0
LEAST_FACTOR = 3.0
# Turns a median absolute deviation into the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
# How far beyond nine in ten of the values one may lie and still be of their kind.
_BULK_FACTOR = 2.0
_FEW = 20


@dataclass(frozen=True)
class Usual:
    """The middle of something measured often enough, and the limit beyond which a value is not usual."""

    middle: float
    limit: float
    n: int


def usual(values: Iterable[float]) -> Usual | None:
    """Middle and limit of positive values, robust to outliers; None when there are too few.

    >>> found = usual([0.8, 0.9, 0.85, 0.87, 0.9, 30.8])
    >>> round(found.middle, 3), round(found.limit, 2), found.n
    (0.885, 2.65, 6)
    """
    every = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=float)
    every = every if (every > 0).all() else every[every > 0]
    n = len(every)
    if n < BASELINE_MIN_N:
        return None
    at_bulk, halves = int(0.9 * (n - 1)), ((n - 1) // 2, n // 2)
    ranked = np.partition(every, sorted({*halves, at_bulk}))
    middle = median(math.log(ranked[half]) for half in halves)
    apart = np.log(ranked)
    apart -= middle
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(apart, out=apart), overwrite_input=True))
    # A few mixed values spread so widely that everything would be usual: the bulk of them is the bound.
    bulk = math.log(ranked[at_bulk]) + math.log(_BULK_FACTOR)
    limit = math.exp(max(min(middle + _LIMIT_SIGMAS * spread, bulk), middle + math.log(LEAST_FACTOR)))
    return Usual(math.exp(middle), limit, n)


class Usuals:
    """What is usual of each kind, kinds being numbers; NaN (and a count of 0) where it is not known. A value of kind
    `count` is nobody's."""

    def __init__(self, kinds: Numbers, values: Numbers, count: int) -> None:
        self.middle, self.limit = np.full(count, np.nan), np.full(count, np.nan)
        self.n = np.zeros(count, dtype=np.int64)
        counts = np.zeros(count + 1, dtype=np.int64)
        for rows in chunks(slice(None), len(kinds)):
            counts += np.bincount(kinds[rows], minlength=count + 1)
        there = np.flatnonzero(counts[:count] >= BASELINE_MIN_N).tolist()
        if len(there) > _FEW:
            order = np.flatnonzero(kinds < count)
            order = order[np.argsort(kinds[order], kind="stable")]
            kinds, values = kinds[order], values[order]
        for kind in there:
            own = slice(*np.searchsorted(kinds, [kind, kind + 1])) if len(there) > _FEW else kinds == kind
            if found := usual(values[own]):
                self.middle[kind], self.limit[kind], self.n[kind] = found.middle, found.limit, found.n
