"""Counts out of counts: how sure a rate is, and whether two rates differ by more than chance.

Wilson's interval (Wilson 1927) and Fisher's exact test (Fisher 1935): both hold for small counts.
"""

from __future__ import annotations

import math

# Two times, or the odds of two rates, that differ by less are alike to whoever waits.
NOTICED = 1.25
# Two-sided 95 %.
_Z = 1.959963984540054


def wilson(count: int, of: int, z: float = _Z) -> tuple[float, float]:
    """The interval of a rate: 5 of 20 and 40 of 100 are different claims.

    >>> [round(limit, 2) for limit in wilson(5, 20)], [round(limit, 2) for limit in wilson(40, 100)]
    ([0.11, 0.47], [0.31, 0.5])
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if of <= 0:
        return 0.0, 1.0
    rate, spread = count / of, z * z / of
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / of + spread / (4 * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def fisher(count_a: int, of_a: int, count_b: int, of_b: int) -> float:
    """The chance of rates as different as these, or more, were there no difference (two-sided p).

    >>> round(fisher(1, 10, 11, 14), 4), round(fisher(3, 10, 3, 10), 4)
    (0.0028, 1.0)
    """
    both, total = count_a + count_b, of_a + of_b

    def log_chance(count: int) -> float:
        return _log_choose(of_a, count) + _log_choose(of_b, both - count) - _log_choose(total, both)

    seen = log_chance(count_a)
    chances = (log_chance(count) for count in range(max(0, both - of_b), min(of_a, both) + 1))
    # As likely as what was seen counts as no less likely, in spite of rounding.
    return min(1.0, math.fsum(math.exp(chance) for chance in chances if chance <= seen + 1e-7))


def clearly_more(one: tuple[int, int], other: tuple[int, int], chance: float) -> bool:
    """Whether one rate (a count and out of how many) is noticeably higher, and by more than this chance explains.

    Of hundreds of thousands, any two rates differ by more than chance.

    >>> clearly_more((10, 40), (0, 40), 0.05), clearly_more((824, 77_311), (773, 80_648), 0.05)
    (True, False)
    >>> clearly_more((3, 9), (1, 9), 0.05), clearly_more((3, 9), (0, 0), 0.05)
    (False, False)
    """
    return noticeably_more(one, other) and fisher(*one, *other) < chance


def noticeably_more(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether the odds of the first are higher by a quarter: 2 % beside 1 %, and 99 % beside 98 %.

    >>> [noticeably_more((count, 100), (count - 1, 100)) for count in (2, 51, 99)]
    [True, False, True]
    """
    (count_a, of_a), (count_b, of_b) = one, other
    return bool(of_a and of_b and count_a * (of_b - count_b) >= NOTICED * count_b * (of_a - count_a))


def rate_text(count: int, of: int) -> str:
    """A rate with its counts and interval.

    >>> rate_text(5, 20)
    '25 % (5 of 20; 95 % interval 11–47 %)'
    """
    low, high = wilson(count, of)
    rate = 100 * count / of if of else 0.0
    digits = 0 if rate >= 1 or not count else 2
    return f"{rate:.{digits}f} % ({count:,} of {of:,}; 95 % interval {100 * low:.{digits}f}–{100 * high:.{digits}f} %)"


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
