"""Which calls hung and which came to their end: what a rate of hangs is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .calls import calls_of
from .facts import Facts
from .hangs import hangs_of, too_late_for_answers

_ENDED = ("warm_ok", "slow_prefill", "slow_decode", "cold_start")
_TIMED_OUT = "timed? ?out|no answer"
# An access line has whole seconds, and a client's clock its own error.
_SAME_END = pd.Timedelta(seconds=3)


def judged_calls(facts: Facts) -> pd.DataFrame:
    """Calls of known models that hung or came to their end, by the clients' records, else by the access lines.

    Those that were given up are hangs only where they can hardly have been long answers, and then `sure` only where
    a client's record tells what was asked for.
    """
    columns = ["host", "source", "line", "model", "hung", "sure", "started_at", "ended_at"]
    hangs = hangs_of(facts)
    cut = hangs["how"].eq("cut")
    sure = cut if cut.any() and too_late_for_answers(facts, hangs[cut]) else ~cut
    hung = hangs[(sure | hangs["how"].isin(["told", "lost"])) & hangs["how"].ne("long")]
    calls = calls_of(facts)
    if facts.has_server_log and len(calls):
        rows = _with_hangs(calls.dropna(subset=["ended_at"]), hung)
        rows = rows if rows["hung"].any() or hung.empty else rows.head(0)
    else:
        timed_out = calls["outcome"].str.contains("timeout") | calls["error"].str.contains(_TIMED_OUT, case=False)
        rows = calls.assign(hung=calls["status"].eq("") & timed_out)
    answered = rows["status"].eq("200") | rows["eval_count"].gt(0) | rows["outcome"].eq("ok")
    rows = rows[rows["hung"] | answered].assign(sure=True)
    if rows.empty:  # no client's record, or one whose times do not fit the log's
        of_requests = [name for name in columns if name not in ("hung", "sure")]
        ended = facts.requests[of_requests].iloc[np.flatnonzero(facts.is_verdict(*_ENDED))]
        hung = hung.assign(hung=True, sure=hung["how"].ne("cut"))
        parts = [part for part in (hung, ended.assign(hung=False, sure=True)) if len(part)]
        rows = pd.concat([part[columns] for part in parts], ignore_index=True) if parts else rows
    return rows.loc[rows["model"].ne(""), columns]


def _with_hangs(calls: pd.DataFrame, hung: pd.DataFrame) -> pd.DataFrame:
    """Calls with `hung`: whether a hang of the same model ended when the call did."""
    ends = hung[["model", "ended_at"]].assign(hang_s=hung["wall_s"])
    calls, ends = (frame.astype({"model": object}).sort_values("ended_at") for frame in (calls, ends))
    if ends.empty:
        return calls.assign(hung=False)
    rows = pd.merge_asof(calls, ends, on="ended_at", by="model", direction="nearest", tolerance=_SAME_END)
    # A client's wall holds the server's, and a connection on top.
    return rows.assign(hung=(rows["wall_s"] - rows["hang_s"]).abs().le((rows["hang_s"] / 20).clip(lower=0.5)))
