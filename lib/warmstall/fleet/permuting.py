"""How much more one group has than another, and how surely: a permutation test and the interval it amounts to.

Nothing is assumed of the shape of what is compared, only that, were there no difference, any of the values could have
fallen into either group (Fisher 1935; the interval by shifting one group, Lehmann 1963). With few values no shift can
be refuted, and the interval has no end: that is what few values say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

_MOST_SPLITS = 5000
_STEPS = 60


def difference(ours: Sequence[float], others: Sequence[float], chance: float = 0.05) -> tuple[float, float, float]:
    """The mean of ours beyond that of the others, and its interval, which is wrong with that chance at most.

    >>> [round(value, 1) for value in difference([5, 6, 7, 6], [0, 1, 2, 1, 0, 2, 1, 1])]
    [5.0, 4.0, 6.0]
    >>> difference([5], [0, 1, 2])
    (4.0, -inf, inf)
    >>> difference([5], [])
    (nan, -inf, inf)
    """
    if not (len(ours) and len(others)):
        return math.nan, -math.inf, math.inf
    values = np.array([*ours, *others], dtype=float)
    splits = _splits(len(ours), len(values))
    means = splits / len(ours) - (1 - splits) / len(others)
    of_values, of_ours = means @ values, means @ (np.arange(len(values)) < len(ours))

    def surprise(shift: float) -> float:
        """How often chance makes a difference as large as ours, were ours larger by `shift` than the others."""
        apart = np.abs(of_values - shift * of_ours)
        return float(np.mean(apart >= apart[0] * (1 - 1e-9) - 1e-12))

    found = float(of_values[0])
    if np.mean(np.abs(of_ours) >= 1 - 1e-9) > chance:  # however large a shift, chance makes one as large too often
        return found, -math.inf, math.inf
    return found, _end(surprise, found, -1, chance), _end(surprise, found, 1, chance)


def fewest(ours: int, chance: float = 0.05) -> int:
    """How many others it takes for an interval with ends, beside so many of ours.

    >>> fewest(1), fewest(2), fewest(4)
    (19, 5, 3)
    """
    return next(others for others in range(1, 10_000) if _rarest(ours, others) <= chance)


def _rarest(ours: int, others: int) -> float:
    return (2 if ours == others else 1) / math.comb(ours + others, ours)


def _splits(ours: int, of: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Ways to choose ours among all, as rows of ones and zeros: all, or some at random; the true one first."""
    if math.comb(of, ours) <= _MOST_SPLITS:
        chosen = [list(one) for one in combinations(range(of), ours)]
    else:
        random = np.random.default_rng(1)
        chosen = [list(range(ours)), *(random.permutation(of)[:ours].tolist() for _ in range(_MOST_SPLITS))]
    splits = np.zeros((len(chosen), of))
    for row, one in enumerate(chosen):
        splits[row, one] = 1
    return splits


def _end(surprise: Callable[[float], float], found: float, side: int, chance: float) -> float:
    """The farthest shift to one side that the values do not refute, by halving."""
    step = 1.0 + abs(found)
    while surprise(found + side * step) > chance:
        step *= 2
    near, far = 0.0, step
    for _ in range(_STEPS):
        middle = (near + far) / 2
        near, far = (middle, far) if surprise(found + side * middle) > chance else (near, middle)
    return found + side * far
