"""Queue: requests waited for one of the model's slots, or were refused because the queue was full.

A model serves OLLAMA_NUM_PARALLEL requests at once (1 from 0.10 on, before that 4 or 2 where memory allowed) and the
rest wait. Requests for a model in memory wait without any bound and any line in the log; OLLAMA_MAX_QUEUE (512)
bounds only those that wait for a model to be loaded, and is answered with 503. The wait is in no duration that the
server reports: it is the total less load, prompt and answer.

Shown by:
    - requests whose time went mostly to waiting behind others of the same model
    - status 503, or `server busy` in the log
    - clients that left while their requests were held back for a slot
Ruled out by:
    - never more requests open at once than the model has slots
    - slow or failed requests of which almost none waited
Mistaken for it:
    - a stall: requests pile up behind one that never ends, and only that one is the cause
    - the wait for a load, which load_duration shows
    - a client that sends one call after the other: it waits on itself
Severity: warning
Runbook: limit-concurrency
Mitigation: Send no more calls at once than the model has slots, or raise OLLAMA_NUM_PARALLEL where memory allows.
Leads to: client_timeout_too_short, retry_amplification
References:
    - https://docs.ollama.com/faq (how Ollama handles concurrent requests)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ..judging.matching import default_parallel
from ..once import once
from .facts import Facts, counted, places, seconds_text, span
from .findings import Finding, Severity, hints, proves, refutes, supports, unseen
from .nofile_limit import most_open

# The share of the trouble below which nobody would call it the cause, and from which on it mostly is.
_ONE_IN_TWENTY = 0.05
_MOSTLY = 0.5
# Where fewer wait, it was a burst, and most who use the server did not notice it.
_ONE_IN_FIVE = 0.2
# Who comes second waits for one request; a queue that is longer than twice that is more than two calls that met.
_LONG_QUEUE = 2.0
# A client that leaves and comes again may meet its own request, which has not ended yet.
_SEVERAL = 3


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Who waited, who was refused, who left meanwhile, and whether there were ever more requests than slots."""
    requests, left = facts.requests, facts.events("abort_waiting")
    if requests.empty:
        if len(left):
            yield _left(left, supports)
        yield unseen("the server's log, and the clients' records with total, load, prompt and answer durations")
        return
    refused = requests[requests["status"].eq("503")]
    if len(refused):
        limit = facts.setting("OLLAMA_MAX_QUEUE") or "512, the default"
        yield proves(f"The server refused {len(refused):,} of {counted(len(requests), 'request')} with 503: "
                     f"OLLAMA_MAX_QUEUE ({limit}) were waiting for a model already.",
                     *places(refused), span=span(refused))  # fmt: skip
    waited = facts.with_verdict("queue_wait")
    stuck = _behind_one_that_stood_still(facts, waited)
    if stuck.any():
        yield hints(f"{counted(int(stuck.sum()), 'request')} waited while another stood still or was given up: that "
                    "one is the cause, not their number.", *places(waited[stuck]))  # fmt: skip
        waited = waited[~stuck]
    slots, most = slots_of(facts), most_open(facts)
    if len(waited) and most <= slots:
        yield hints(f"{counted(len(waited), 'request')} waited for the scheduler, not for a slot: never more than "
                    f"{most:,} open at once, and a model serves {slots:,}.", *places(waited))  # fmt: skip
        waited = waited.head(0)
    if len(waited):
        yield from _waited(facts, waited, len(refused))
    aborted = facts.with_verdict("client_abort", "warm_stall")
    behind = aborted[aborted["queue_s"].ge(_MOSTLY * aborted["wall_s"])]
    if len(behind):
        yield hints(f"{counted(len(behind), 'request')} that failed had waited behind others most of their time; "
                    "what held those others is the cause.", *places(behind))  # fmt: skip
    # Where it is known who stood still, who waited for that one tells nothing more.
    queued = len(left) >= _SEVERAL and not stuck.any() and facts.with_verdict("warm_stall").empty
    if len(left):
        yield _left(left, supports if queued else hints)
    if not facts.has("trials"):
        yield unseen("the clients' records of their calls: those that still wait have no line in the server's log")
    if len(waited) or len(refused) or queued:
        return
    others = len(facts.troubled) + len(facts.lost_trials)
    by = "access lines and the clients' records" if facts.has("trials") else "access lines"
    told = f"By the {by}, never more than {counted(most, 'request')} at once, and a model serves {slots:,}"
    if most <= slots:
        yield refutes(f"{told}.", *facts.whole_log(), *facts.whole_table("trials"))
    elif behind.empty and not requests["model"].eq("").any():
        yield refutes(f"{told}, but 0 of {counted(len(requests), 'request')} mostly waited (in trouble: "
                      f"{others:,}).", *facts.whole_log())  # fmt: skip
    else:
        yield unseen("the server's log with its loads, or the clients' records with the model of each call")


def _left(left: pd.DataFrame, show: Callable[..., Finding]) -> Finding:
    """Who left while waiting, by the lines that server and runner write of nobody else."""
    return show(f"By {counted(len(left), 'line')} of the log, clients left while their requests were held back until a "
                "slot was free: more came than were served at once, or one that was served did not end.",
                *places(left), span=span(left, "at", "at"))  # fmt: skip


def _waited(facts: Facts, waited: pd.DataFrame, refused: int) -> Iterator[Finding]:
    other = facts.troubled.drop(waited.index, errors="ignore")
    others = len(other) + len(facts.lost_trials)
    share = len(waited) / (len(waited) + others)
    lost_s = other["wall_s"].sum() + facts.lost_trials["wall_s"].sum()
    share_s = waited["queue_s"].sum() / max(waited["wall_s"].sum() + lost_s, 1e-9)
    served_s = float((waited["wall_s"] - waited["queue_s"]).median())
    told = (
        f"{len(waited):,} of {counted(len(facts.requests), 'request')} mostly waited for a slot, "
        f"{seconds_text(waited['queue_s'].sum())} in all and up to {seconds_text(waited['queue_s'].max())}; "
        f"then they took {seconds_text(served_s)} (median). A model serves {slots_of(facts):,} at once."
    )
    slowest = waited.sort_values("queue_s", ascending=False)
    if share < _ONE_IN_TWENTY and share_s < _ONE_IN_TWENTY and not refused:
        told += f" {counted(others, 'other slow or failed request')} did not."
        yield refutes(told, *places(slowest), *places(other))
        return
    is_long = waited["queue_s"].sum() >= _LONG_QUEUE * (waited["wall_s"] - waited["queue_s"]).sum()
    is_common = len(waited) >= _ONE_IN_FIVE * len(facts.requests)
    severity: Severity = "warning" if (is_long and is_common) or refused else "info"
    show = proves if share >= _MOSTLY else supports
    yield show(told, *places(slowest), span=span(waited), severity=severity)


def _behind_one_that_stood_still(facts: Facts, waited: pd.DataFrame) -> pd.Series:
    """Which requests came while another was open that stalled, crashed or was given up."""
    still = facts.with_verdict("warm_stall", "client_abort", "runner_crash").sort_values("started_at")
    if still.empty or waited.empty:
        return pd.Series(False, index=waited.index)
    moments = pd.DatetimeIndex(waited["started_at"]).as_unit("us").asi8
    began = pd.DatetimeIndex(still["started_at"]).as_unit("us").asi8
    open_until = np.maximum.accumulate(pd.DatetimeIndex(still["ended_at"]).as_unit("us").asi8)
    before = np.searchsorted(began, moments, side="right")
    return pd.Series((before > 0) & (open_until[np.maximum(before, 1) - 1] > moments), index=waited.index)


@once
def slots_of(facts: Facts) -> int:
    """How many requests a model serves at once: what its loads said, else the setting, else the version's default."""
    said = facts.loads["parallel"].dropna()
    if len(said):
        return int(said.min())
    setting = facts.setting("OLLAMA_NUM_PARALLEL")
    if setting.isdigit() and int(setting):
        return int(setting)
    return default_parallel((facts.found.versions() or [""])[-1])
