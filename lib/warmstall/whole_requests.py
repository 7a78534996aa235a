"""All that is known of a few requests out of many, as tables and pictures show it of those they choose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from .analysis import Analysis

# Only lines that are wanted are written again from their columns: a join alone would have it done of all.
_LINES = """
    SELECT text FROM wanted
    JOIN (FROM access_lines WHERE line IN (SELECT line FROM wanted)) USING (source, line)
    ORDER BY place"""


def of(found: Analysis) -> Callable[[np.ndarray], pd.DataFrame]:
    """What gives the rows with these numbers in `found.verdicts()` the columns of `found.requests()`.

    >>> from warmstall.analysis import analyze
    >>> from warmstall.case import sample_incident
    >>> found = analyze(sample_incident())
    >>> of(found)(np.array([3])).equals(found.requests().iloc[[3]].reset_index(drop=True))
    True
    """

    def whole(rows: np.ndarray) -> pd.DataFrame:
        told = found.details(rows)
        connection = found.case.connection.cursor()
        connection.register("wanted", told[["source", "line"]].assign(place=np.arange(len(told))))
        lines = connection.sql(_LINES).df()["text"]
        told.insert(told.columns.get_loc("inference") + 1, "text", lines.array)
        return told

    return whole
