"""Slopes that a few odd looks do not bend: Theil and Sen's median of all pairs, Mann and Kendall's test of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

# Slopes are of pairs of looks; so many looks make pairs enough.
_MOST_LOOKS = 300


class Slope(NamedTuple):
    """What a series gains in a second, and how far its rises outweigh its falls, in spreads of chance."""

    per_s: float
    spreads: float


def slope(at_s: np.ndarray, values: np.ndarray) -> Slope:
    """The median slope of all pairs of looks.

    >>> slope(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([5.0, 7.0, 900.0, 11.0, 13.0])).per_s
    2.0
    """
    earlier, later = np.triu_indices(len(values), 1)
    apart = at_s[later] - at_s[earlier]
    kept = apart > 0
    if not kept.any():
        return Slope(0.0, 0.0)
    rises, count = values[later] - values[earlier], len(values)
    spread = np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return Slope(float(np.median(rises[kept] / apart[kept])), float(np.sign(rises).sum() / spread))


def seconds_and_values(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The looks of a frame in order of time, as seconds since the first and values; evenly fewer of very many."""
    thinned = rows.sort_values("at").iloc[:: max(1, len(rows) // _MOST_LOOKS)]
    at_s = (thinned["at"] - thinned["at"].iloc[0]).dt.total_seconds()
    return at_s.to_numpy(float), thinned[column].to_numpy(float)
