"""Load timeout: a model was not in memory by the time that somebody gave up, the server or the client.

The server gives a load up when its runner makes no progress for OLLAMA_LOAD_TIMEOUT (5 minutes unless set; 0.30.0 and
MLX runners count the whole load, and MLX runners before 0.32.1 have 2 minutes whatever is set), and answers 500. More
often the client goes first: the server then stops the load, writes 499, and the next request begins it anew from
nothing, so that a model which loads in 42 s never gets there under a timeout of 30 s.

Shown by:
    - "timed out waiting for llama runner to start" (or llama-server, or an MLX runner): the server gave up
    - "client connection closed before server finished loading, aborting load", and 499: the client left first
Ruled out by:
    - a log in which every load that began came to its end, and no request ended with 499
Mistaken for it:
    - a load that failed at once, for want of memory or of a readable file
    - a client that leaves in the middle of an answer: 500 or a broken stream, and no load is under way
    - a client that left while it waited for others: its load begins when it has gone, and is stopped at once
    - somebody who presses Ctrl-C during a load, once
    - "waiting for server to become available … llm server not responding", which every load logs
Severity: warning
Runbook: none
Mitigation: Load the model beforehand, and give who gave up more time: the client its timeout, the server
    OLLAMA_LOAD_TIMEOUT (or a newer version, for an MLX model).
Leads to: retry_amplification, sequential_client
References:
    - https://docs.ollama.com/faq (preloading a model, keep_alive)
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..parse.go_values import duration_s
from ..parse.plain_text import printable
from .facts import Facts, counted, places, seconds_text, span
from .facts.calls import calls_of
from .findings import Finding, hints, proves, refutes, supports, unseen

# A load that is stopped sooner began when its client had already gone: nothing was read yet, and no client waited.
_AT_ONCE_S = 1.0
_SERVER_GAVE_UP = r"timed out waiting for (?:llama|server)|timeout waiting for (?:mlx|image) runner"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Loads that were given up, by whom; and the clients' side of it."""
    yield from _by_the_clients(facts)
    left = facts.requests[facts.requests["status"].eq("499")]
    if not facts.has_server_log or not (facts.has_starts or len(facts.loads)):
        if len(left):
            yield _left(left)
        yield unseen("the server's whole log, not its access lines alone: it tells which loads came to their end")
        return
    loads = facts.loads
    took_s = (loads["ended_at"] - loads["spawned_at"]).dt.total_seconds()
    timed_out, stopped = loads["outcome"].eq("timed_out"), loads["outcome"].eq("abandoned")
    at_once = stopped & took_s.lt(_AT_ONCE_S)
    abandoned = stopped & ~at_once
    if timed_out.any():
        limit = facts.setting("OLLAMA_LOAD_TIMEOUT")
        sooner = limit and took_s[timed_out].min() < (duration_s(limit) or 0) - _AT_ONCE_S
        every = counted(len(loads), "load")
        yield proves(f"The server gave up {timed_out.sum():,} of {every} after {_range(took_s[timed_out])}"
                     f"{f' (OLLAMA_LOAD_TIMEOUT is {printable(limit)[:20]}' if limit else ''}"
                     f"{', which this runner does not heed' if sooner else ''}{')' if limit else ''}.",
                     *places(loads[timed_out]), span=span(loads[timed_out], "spawned_at", "ended_at"))  # fmt: skip
    if abandoned.any():
        waited = f"{counted(len(left), 'request')} ended with 499 after {_range(left['wall_s'])}" if len(left) else ""
        once = abandoned.sum() == 1
        yield (supports if once else proves)(
            f"The client left first in {abandoned.sum():,} of {counted(len(loads), 'load')}, which the server then "
            f"stopped, after up to {seconds_text(took_s[abandoned].max())}{_otherwise(loads[abandoned], loads)}"
            f"{'; ' if waited else ''}{waited}{' (once: whoever presses Ctrl-C leaves the same)' if once else ''}.",
            *places(loads[abandoned], 2),
            *places(left, 1),
            span=span(loads[abandoned], "spawned_at", "ended_at"),
            severity="info" if once else None,
        )
    elif len(left) > at_once.sum():
        yield _left(left)
    elif stopped.any():
        yield hints(
            f"Of {counted(len(loads), 'load')}, {at_once.sum():,} began when their client had already gone, and ended "
            f"within {seconds_text(took_s[at_once].max())}: the wait was before them.", *places(loads[at_once]),
            span=span(loads[at_once], "spawned_at", "ended_at"),
        )  # fmt: skip
        yield unseen("the clients' timeouts, and what they waited for before the load of their model could begin")
    cut = loads[loads["outcome"].eq("unfinished") & loads["ended_at"].isna()]
    if len(cut):
        yield hints(f"Of {counted(len(loads), 'load')}, {len(cut):,} had not ended when the log does.", *places(cut))
        yield unseen("the server's log from its last line on: a load was still under way there")
    if loads.empty or facts.requests.empty:
        yield unseen("the server's log of a time with requests, and with the loads that they brought")
    elif not (timed_out | stopped).any() and left.empty:
        yield refutes(f"The log holds {counted(len(loads), 'load')} and {counted(len(facts.requests), 'request')}: 0 "
                      "loads were given up, and 0 requests ended with 499.", *facts.whole_log())  # fmt: skip


def _left(left: pd.DataFrame) -> Finding:
    """Requests that ended with 499; of one alone it may have been somebody who had enough."""
    return supports(
        f"{counted(len(left), 'request')} ended with 499, because the client left before the model was ready, after "
        f"{_range(left['wall_s'])}.",
        *places(left),
        span=span(left),
        severity="info" if len(left) == 1 else None,
    )


def _by_the_clients(facts: Facts) -> Iterator[Finding]:
    """What clients recorded: the server's words, and calls given up while a load was under way."""
    trials = calls_of(facts)
    told = trials[trials["error"].str.contains(_SERVER_GAVE_UP, case=False)]
    if len(told):
        yield proves(f"The server answered {len(told):,} of {counted(len(trials), 'call')} that it timed out waiting "
                     f"for its runner to start, after {_range(told['wall_s'])}.", *places(told),
                     span=span(told))  # fmt: skip
    lost = facts.lost_trials
    loads = facts.loads.dropna(subset=["began_at", "ended_at"]).sort_values("ended_at")
    if lost.empty or loads.empty:
        return
    calls = lost.assign(**{name: pd.to_datetime(lost[name], utc=True) for name in ("started_at", "ended_at")})
    calls = calls.dropna(subset=["started_at", "ended_at"]).sort_values("ended_at")
    # The load that was the next to end when the call was given up.
    next_load = loads[["host", "model", "began_at", "ended_at"]].rename(columns={"ended_at": "load_ended_at"})
    by = ["host", "model"]
    calls, next_load = (frame.astype(dict.fromkeys(by, object)) for frame in (calls, next_load))
    calls = pd.merge_asof(calls, next_load, left_on="ended_at", right_on="load_ended_at", by=by, direction="forward")
    during = calls[calls["began_at"].between(calls["started_at"], calls["ended_at"])]
    if len(during):
        yield supports(f"{counted(len(during), 'call')} without an access line ended after "
                       f"{_range(during['wall_s'])}, while the load of the model was under way.", *places(during),
                       span=span(during))  # fmt: skip


def _range(seconds: pd.Series) -> str:
    """The seconds of several, as a reader says them."""
    low, high = seconds_text(float(seconds.min())), seconds_text(float(seconds.max()))
    return low if low == high else f"{low} to {high}"


def _otherwise(given_up: pd.DataFrame, loads: pd.DataFrame) -> str:
    """How long the same models take when they are let."""
    done = loads[loads["model"].isin(given_up["model"]) & loads["load_s"].notna()]
    return f" (the same models were loaded in {_range(done['load_s'])} when they were let)" if len(done) else ""
