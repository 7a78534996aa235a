"""The clients' own records of their calls, each call once."""

from __future__ import annotations

import pandas as pd

from ..attempts import distinct_trials
from ..schema import TABLES
from .facts import Facts


def calls_of(facts: Facts) -> pd.DataFrame:
    """Columns of the trials table, times in UTC; a call that several files tell of is one row."""
    frame = pd.DataFrame(distinct_trials(facts.case.rows("trials")), columns=list(TABLES["trials"]))
    for name in ("started_at", "ended_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    for name, kind in TABLES["trials"].items():
        if kind == "VARCHAR":
            frame[name] = frame[name].fillna("")
        elif kind in ("DOUBLE", "BIGINT"):
            frame[name] = frame[name].astype(float)
    return frame
