"""A slope with its interval: Theil and Sen's median of all pairs, and Sen's interval by Kendall's variance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# Two-sided 95 %.
_Z = 1.959963984540054
# Below this many looks the ranks of the interval lie at or beyond the outermost pairs: it would say nothing.
FEWEST_FOR_INTERVAL = 5


class Trend(NamedTuple):
    """What a series gains in a second; its 95 % interval, None where there are too few looks; how many looks."""

    per_s: float
    low_per_s: float | None
    high_per_s: float | None
    looks: int


def trend(at_s: np.ndarray, values: np.ndarray) -> Trend | None:
    """The slope of looks in order of time; None where there are not two times.

    The interval is Sen's (Sen 1968): the slopes that stand 1.96 standard deviations of Kendall's sum apart in the order
    of all slopes, around the middle.

    >>> hours = np.arange(6.0)
    >>> trend(hours, 60 - 5 * hours)
    Trend(per_s=-5.0, low_per_s=-5.0, high_per_s=-5.0, looks=6)
    """
    count = len(values)
    earlier, later = np.triu_indices(count, 1)
    apart_s = at_s[later] - at_s[earlier]
    slopes = np.sort((values[later] - values[earlier])[apart_s > 0] / apart_s[apart_s > 0])
    if not len(slopes):
        return None
    per_s = float(np.median(slopes))
    if count < FEWEST_FOR_INTERVAL:
        return Trend(per_s, None, None, count)
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    ends = np.array([(len(slopes) - _Z * spread) / 2, (len(slopes) + _Z * spread) / 2 + 1])
    low, high = np.interp(ends, np.arange(1, len(slopes) + 1), slopes)  # beyond the outermost slope stands that slope
    return Trend(per_s, float(low), float(high), count)
