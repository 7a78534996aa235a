"""The clients' own records of their calls, each call once, however many files tell of it."""

from __future__ import annotations

import pandas as pd

from ...once import once
from ...schema import TABLES
from .facts import Facts

_SAME = ["host", "started_at", "ended_at", "path", "status"]
_TEXTS = [name for name, kind in TABLES["trials"].items() if kind == "VARCHAR"]
_NUMBERS = [name for name, kind in TABLES["trials"].items() if kind in ("DOUBLE", "BIGINT") and name != "line"]


@once
def calls_of(facts: Facts) -> pd.DataFrame:
    """The trials table in order of time, text empty where there is none; of a call told twice, the fuller row.

    Calls are the same when start, end, path and status are. Rows of one file are all kept, and so are those without
    start or end.
    """
    trials = facts.table("trials")
    calls = _told_once(trials).fillna(dict.fromkeys(_TEXTS, "")) if len(trials) else trials
    return calls.astype(dict.fromkeys(_NUMBERS, float))


def _told_once(trials: pd.DataFrame) -> pd.DataFrame:
    told = trials.assign(told=trials.notna().sum(axis=1))
    fullest = told.sort_values(["told", "source"], ascending=[False, True], kind="stable")
    best = fullest.groupby(_SAME, dropna=False, sort=False)["source"].transform("first").reindex(trials.index)
    kept = best.eq(trials["source"]) | trials["started_at"].isna() | trials["ended_at"].isna()
    return trials[kept].sort_values("started_at", kind="stable").reset_index(drop=True)


@once
def asked_calls(facts: Facts) -> pd.DataFrame:
    """The same, a question of a traced application as one call: from its first step to the end of its answer.

    A question makes several calls, some of them at once, which says nothing of how many questions are.
    """
    calls = calls_of(facts)
    if not facts.has_spans:
        return calls
    words = calls[~calls["path"].str.contains("embed")].groupby("run_id").size()
    whole = facts.case.sql(
        "SELECT trace_id, min(started_at) AS began, max(ended_at) AS ended FROM spans GROUP BY trace_id"
    ).set_index("trace_id")
    whole = whole.apply(pd.to_datetime, utc=True)
    whole = whole.loc[whole.index.isin(words.index[words.eq(1)])]
    inside = calls["run_id"].isin(whole.index)
    questions = calls[inside & ~calls["path"].str.contains("embed")]
    questions = questions.assign(
        started_at=questions["run_id"].map(whole["began"]), ended_at=questions["run_id"].map(whole["ended"])
    )
    if questions.empty:
        return calls
    together = pd.concat([calls[~inside], questions]) if not inside.all() else questions
    return together.sort_values("started_at", kind="stable").reset_index(drop=True)
