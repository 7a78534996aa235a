"""Periods that do not overlap, out of some that do: a report that was killed and begun anew, a look back over a day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import isqrt


def apart(periods: Iterable[tuple[int, int]], slack: int = 0) -> list[tuple[int, int]]:
    """Those periods (start, end) that tell most of the time without telling any of it twice, but for `slack`.

    It is the choice of intervals with the greatest sum of weights. The weight is the square root of the length: a long
    period weighs more than a short one within it, and less than several that fill it. Of two alike the later one stays.

    >>> apart([(0, 100), (100, 200), (200, 300), (50, 250)])
    [(0, 100), (100, 200), (200, 300)]
    >>> apart([(0, 100), (90, 100), (100, 200), (110, 210)])
    [(0, 100), (110, 210)]
    """
    in_order = sorted(periods, key=lambda period: (period[1], period[0]))
    ends = [end for _, end in in_order]
    # How many of the earlier ones end before each begins; and the best sum that the first of them can make.
    before = [bisect_right(ends, start + slack, 0, index) for index, (start, _) in enumerate(in_order)]
    weights = [isqrt(max(1, end - start)) for start, end in in_order]
    best = [0]
    for index, weight in enumerate(weights):
        best.append(max(best[index], best[before[index]] + weight))
    chosen, index = [], len(in_order) - 1
    while index >= 0:
        if best[before[index]] + weights[index] >= best[index]:
            chosen.append(in_order[index])
            index = before[index] - 1
        else:
            index -= 1
    return chosen[::-1]
