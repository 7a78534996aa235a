"""Cold start: the slow requests waited for their model to be loaded.

A load reads the weights from disk (or from the page cache, if they were read before), places them on the device and
builds the context. It is ordinary after a start, after keep_alive has run out, and after another model needed the
room; it is the first thing that everybody suspects, and often wrongly.

Shown by:
    - a load of the request's own model inside the request, by the log
    - a load_duration that is most of the request, by the client's record
Ruled out by:
    - slow or failed requests that overlap no load, while the log shows where loads begin and end
Mistaken for it:
    - a warm stall: the model is in memory, and load_duration is small
    - waiting in the queue: load_duration includes it, but no load of this model is in the log
    - a failed load, which ends in an error and not in a slow answer
Severity: info
Runbook: none
Mitigation: Load the model before it is needed (a request without a prompt) and raise keep_alive.
Leads to: client_timeout_too_short, retry_amplification
References:
    - https://docs.ollama.com/faq (keep_alive, preloading)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .facts import Facts, counted, places, seconds_text, span
from .findings import Finding, excludes, hints, proves, refutes, supports, unseen, weakens

# The share of the trouble below which nobody would call it the cause.
_ONE_IN_TWENTY = 0.05
# The share of a request from which on a part is what it mostly did, as for the verdicts.
_MOSTLY = 0.5
# What is told of requests that may have waited for a load.
_TOLD = ["host", "source", "line", "started_at", "ended_at", "wall_s", "load_s"]
_DURATIONS = (
    "load_duration of the final chunks, by the clients' records: requests ran beside loads, and the log does not tell "
    "how long they waited for them"
)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the log's loads, or else the clients' load durations, say."""
    if facts.has_server_log and len(facts.loads) and len(facts.requests):
        yield from _by_the_log(facts)
        return
    if facts.has_server_log and facts.has_starts:
        yield unseen("the server's log of a time with requests and with loads: it tells which requests waited for one")
    elif facts.has_server_log:
        yield unseen("the server's whole log, not its access lines alone: it tells when models were loaded")
    else:
        yield unseen("the server's log: it tells when models were loaded")
    yield from _by_the_clients(facts)


def _by_the_log(facts: Facts) -> Iterator[Finding]:
    troubled = facts.troubled
    is_cold = troubled["verdict"].eq("cold_start") | troubled["load_s"].ge(_MOSTLY * troubled["wall_s"])
    cold, other = troubled[is_cold], troubled[~is_cold]
    others = len(other) + len(facts.lost_trials)
    unknown = facts.requests[_TOLD].iloc[np.flatnonzero(facts.is_verdict("unknown"))]
    unsure = _beside_loads(facts, pd.concat([unknown, other.loc[other["load_s"].gt(0), _TOLD]]))
    if cold.empty and len(unsure):
        beside = seconds_text(unsure["beside_s"].sum())
        yield hints(f"{len(unsure):,} of {counted(len(facts.requests), 'request')} ran beside loads of some model, "
                    f"{beside} in all.", *places(unsure), span=span(unsure))  # fmt: skip
        yield unseen(_DURATIONS)
        return
    if cold.empty:
        if others:
            last = facts.loads.dropna(subset=["ended_at"]).sort_values("ended_at").tail(1)
            slow = counted(others, "slow, failed or lost request")
            yield refutes(f"0 of {slow} waited for a load of their model.",
                          *places(other if len(other) else facts.lost_trials), *places(last))  # fmt: skip
        else:
            yield refutes(f"0 of {counted(len(facts.requests), 'request')} waited for a load.", *facts.whole_log())
        return
    lost_s = other["wall_s"].sum() + facts.lost_trials["wall_s"].sum()
    share = len(cold) / (len(cold) + others)
    share_s = cold["load_s"].sum() / max(cold["wall_s"].sum() + lost_s, 1e-9)
    slowest = cold.sort_values("wall_s", ascending=False)
    sentence = (
        f"{len(cold):,} of {counted(len(cold) + others, 'slow, failed or lost request')} waited for their model to be "
        f"loaded, {seconds_text(cold['load_s'].sum())} in all."
    )
    if share < _ONE_IN_TWENTY and share_s < _ONE_IN_TWENTY:
        worst = other if len(other) else facts.lost_trials
        show = weakens if len(unsure) else excludes
        if len(unsure):
            yield unseen(_DURATIONS)
        yield show(f"{sentence} The other {others:,}, with {100 * (1 - share_s):.0f} % of the time, waited for none.",
                   *places(worst))  # fmt: skip
        return
    show = proves if share >= _MOSTLY else supports
    yield show(sentence, *places(slowest), span=span(cold), severity="info")
    if share_s < _ONE_IN_TWENTY:
        yield weakens(f"The other {others:,} took {100 * (1 - share_s):.0f} % of the time and waited for none.",
                      *places(other if len(other) else facts.lost_trials))  # fmt: skip
    yield from _from_disk(facts)


def _beside_loads(facts: Facts, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of these requests that hold a load, or overlap loads of any model for a good part; `beside_s`: how long."""
    loads = facts.loads.dropna(subset=["began_at", "ended_at"]).sort_values("began_at")
    if rows.empty or loads.empty:
        return rows.head(0).assign(beside_s=0.0)
    zero = loads["began_at"].min()
    began_s, ended_s = ((loads[name] - zero).dt.total_seconds().to_numpy() for name in ("began_at", "ended_at"))
    # Loads that overlap count once: each begins where those before it have ended.
    reach_s = np.maximum.accumulate(ended_s)
    began_s = np.maximum(began_s, np.concatenate([[-np.inf], reach_s[:-1]]))
    edges_s = np.column_stack([began_s, np.maximum(began_s, reach_s)]).ravel()
    loading_s = np.cumsum(np.column_stack([np.zeros(len(loads)), edges_s[1::2] - edges_s[::2]]).ravel())
    until, since = (
        np.interp((rows[name] - zero).dt.total_seconds(), edges_s, loading_s) for name in ("ended_at", "started_at")
    )
    rows = rows.assign(beside_s=until - since)
    good_part = rows["beside_s"].ge(_ONE_IN_TWENTY * rows["wall_s"])
    return rows[rows["beside_s"].gt(0) & (good_part | rows["load_s"].gt(0))]


def _from_disk(facts: Facts) -> Iterator[Finding]:
    """Weights or disk: the same model loaded far faster once the page cache had it."""
    done = facts.loads.dropna(subset=["load_s"])
    for model, own in done.groupby("model", sort=False):
        first, later = own.iloc[0], own.iloc[1:]
        if len(later) and first["load_s"] > 3 * later["load_s"].median() and first["load_s"] > 1:
            yield hints(
                f"The first load of {model} took {seconds_text(first['load_s'])}, later ones "
                f"{seconds_text(later['load_s'].median())}: most of the first was reading the disk.",
                *places(own),
            )


def _by_the_clients(facts: Facts) -> Iterator[Finding]:
    trials = facts.table("trials").dropna(subset=["load_duration_s", "wall_s"])
    if trials.empty:
        return
    cold = trials[(trials["load_duration_s"] >= 1) & (trials["load_duration_s"] >= _MOSTLY * trials["wall_s"])]
    if cold.empty:
        longest = trials.sort_values("load_duration_s", ascending=False)
        yield refutes(f"The longest load_duration of {counted(len(trials), 'call')} is "
                      f"{seconds_text(longest['load_duration_s'].iloc[0])}.", *places(longest))  # fmt: skip
    else:
        took_s = cold["load_duration_s"].sum()
        yield supports(
            f"load_duration is most of {len(cold):,} of {counted(len(trials), 'call')}, {seconds_text(took_s)} in all "
            "(waits in the queue are part of it).",
            *places(cold),
            severity="info",
        )
