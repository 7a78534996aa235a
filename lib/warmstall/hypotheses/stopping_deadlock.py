"""Stopping… deadlock: a runner that never becomes idle keeps its unload, and all who need its room, waiting for ever.

An unload is soft: it waits until the last request on the runner has ended. If one never ends, `ollama ps` shows
`Stopping...` for ever, the memory stays taken, requests to the same model hang, and a model that needs the room
blocks the scheduler with everything behind it. Nothing of this is logged at the usual level.

Shown by:
    - looks at /api/ps in which expires_at stands in the past, unchanged, for longer than any request there took,
      while requests that began meanwhile fail, hang or are not answered
    - the journal of the runbook recover-stuck-runner, which looks for itself before it ends a runner
    - at DEBUG, an expired runner with a reference count above zero over and over, or an eviction that waits for it
Ruled out by:
    - looks at /api/ps throughout the trouble in which no model outstays its expires_at
Mistaken for it:
    - a request that merely outlives keep_alive: it shows Stopping... too, and then ends well
    - the first request of a model: its expires_at rolls along with the clock until it ends
    - clocks that differ: expires_at is in the past from the start, and yet moves with every request
    - the unload itself, which waits up to 5 s for the GPU's memory to come back
Severity: critical
Runbook: recover-stuck-runner
Mitigation: End the stuck runner (after checking that it is the one) instead of waiting for its unload.
Leads to: client_timeout_too_short, retry_amplification, parallel_queue
References:
    - https://github.com/ollama/ollama/issues/7779
    - https://github.com/ollama/ollama/issues/13234
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, seconds_text
from .findings import Evidence, Finding, Place, hints, proves, refutes, supports, unseen, weakens

# An unload waits up to 5 s for the GPU's memory and pings its runner for up to 10 s: less is no deadlock.
_UNLOAD_S = 15.0
# No runner answers a prompt sooner: this is a request without one, such as that which told the model to leave.
_AT_ONCE_S = 0.01
# An access line of whole seconds tells a start to as much.
_CLOCK_S = 1.0
_COLLECT = "looks at /api/ps while it hangs (warmstall watch CASE): they show a model that stays past its expires_at"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the looks at /api/ps show, and what the scheduler's own lines say at DEBUG."""
    every = facts.table("resident_models")
    looks = every[every["at"].notna()]
    found = False
    for (host, model), own in looks.groupby(["host", "model"], sort=True):
        for stay in _overstays(own):
            finding = _judged(facts, str(host), str(model), stay)
            found = found or finding.strength == "decisive" or finding.strength == "strong"
            yield finding
    yield from _scheduler_lines(facts)
    for finding in _seen_by_the_runbook(facts):
        found = True
        yield finding
    if found:
        return
    troubled = facts.with_verdict("warm_stall", "client_abort", "unknown", columns=["started_at", "ended_at"])
    if len(looks) < 2 or not _covered(looks, troubled, facts.lost_trials):
        yield from _one_look(every[_is_stopping(every)])
        yield unseen(_COLLECT)
    else:
        yield refutes(f"In {looks['at'].nunique():,} looks at /api/ps no model outstayed its expires_at unanswered.",
                      *facts.whole_table("resident_models"))  # fmt: skip


def _one_look(stopping: pd.DataFrame) -> Iterator[Finding]:
    """Models that were about to leave when somebody looked, once or at no known time."""
    if len(stopping):
        model = printable(str(stopping["model"].iloc[0]))[:80]
        yield hints(f"{model} was Stopping... when somebody looked: so it is until its last request is answered, and "
                    "in a deadlock for ever.", *places(stopping, 2))  # fmt: skip


def _is_stopping(looks: pd.DataFrame) -> pd.Series:
    return looks["until"].fillna("").str.startswith("Stopping")


def _overstays(looks: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Stretches of looks at one model in which it is past the same expires_at, or said to be stopping."""
    # The table that `ollama ps` prints has no expires_at; it makes a row of looks of its own.
    for _, own in looks.groupby(looks["expires_at"].isna()):
        own = own.sort_values("at")
        past = own["expires_at"].lt(own["at"]) | _is_stopping(own)
        # Every renewal of expires_at ends a stretch: what is renewed is not stuck.
        renewed = own["expires_at"].ne(own["expires_at"].shift()) & own["expires_at"].notna()
        stretch = ((past != past.shift()) | renewed).cumsum()
        for _, rows in own[past].groupby(stretch[past]):
            if (rows["at"].iloc[-1] - rows["at"].iloc[0]).total_seconds() > _UNLOAD_S:
                yield rows


def _judged(facts: Facts, host: str, model: str, stay: pd.DataFrame) -> Evidence:
    began, last = stay["at"].iloc[0], stay["at"].iloc[-1]
    lasted_s = (last - began).total_seconds()
    own = facts.requests_to(host, model)
    own = own[own["wall_s"].gt(_AT_ONCE_S)]
    ill = own["verdict"].isin(["warm_stall", "client_abort", "runner_crash"]) | _given_up(facts, own)
    answered = own[own["status"].eq("200") & ~ill]
    longest_s = float(answered["wall_s"].max()) if len(answered) else 0.0
    sentence = (
        f"{model} stood in /api/ps past its unchanged expires_at for {seconds_text(lasted_s)}, "
        f"from {clock_text(began)} on"
    )
    span = (began.to_pydatetime(), last.to_pydatetime())
    inside = answered[(answered["started_at"] >= began) & (answered["ended_at"] <= last)]
    across = answered[(answered["started_at"] < began) & (answered["ended_at"] >= last)]
    if len(inside) or len(across):
        kept = inside if len(inside) else across
        well = counted(len(inside) + len(across), "request")
        return weakens(f"{sentence}, but {well} ended well meanwhile: it outlived keep_alive, or the clocks differ.",
                       *places(stay, 1), *places(kept, 2))  # fmt: skip
    stuck = own[(own["ended_at"] >= began) & (own["started_at"] <= last)]
    lost = _lost(facts.lost_trials, began, last)
    after = [*places(stay, 1), *places(stay.tail(1), 1), *places(stuck, 2), *places(lost, 1)]
    if len(stuck) + len(lost) and lasted_s > longest_s:
        return proves(
            f"{sentence}, longer than any answered request took ({seconds_text(longest_s)}); "
            f"{counted(len(stuck) + len(lost), 'request')} of that time failed, hung or were not answered"
            f"{_busy(facts, host, began, last)}.",
            *after,
            span=span,
        )
    if lasted_s > max(longest_s, _UNLOAD_S):
        return supports(f"{sentence}, longer than any answered request took ({seconds_text(longest_s)})"
                        f"{_busy(facts, host, began, last)}.", *after, span=span)  # fmt: skip
    return hints(f"{sentence}, no longer than a request can take ({seconds_text(longest_s)}).", *after, span=span)


def _seen_by_the_runbook(facts: Facts) -> Iterator[Evidence]:
    """What recover-stuck-runner saw of a runner that it then ended, and that it was gone after that."""
    told = facts.table("mitigations")
    told = told[told["runbook"].eq("recover-stuck-runner")]
    ended = told[told["event"].eq("step_verified") & told["step"].eq("end its runner")]
    for row in told[told["event"].eq("run_started") & told["run"].isin(ended["run"])].to_dict("records"):
        if row["found"]:
            yield supports(f"The runbook that ended the runner had seen: {row['found']}",
                           Place(row["host"], row["source"], int(row["line"])))  # fmt: skip


def _lost(trials: pd.DataFrame, began: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
    started, ended = (pd.to_datetime(trials[name], utc=True) for name in ("started_at", "ended_at"))
    return trials[ended.ge(began) & started.le(last)]


def _given_up(facts: Facts, requests: pd.DataFrame) -> pd.Series:
    """Which requests a client gave up and sent again: the call as a whole ended well, and the access line says 200."""
    failed = facts.spans("name = 'attempt' AND outcome = 'error'")
    apart_s = [
        (failed["started_at"] - began).dt.total_seconds().abs().min() if len(failed) else math.inf
        for began in requests["started_at"]
    ]
    return pd.Series(apart_s, requests.index, float).le(requests["uncertainty_s"].fillna(0.0) + _CLOCK_S)


def _busy(facts: Facts, host: str, began: pd.Timestamp, last: pd.Timestamp) -> str:
    """What its runner did meanwhile, as the end of a sentence."""
    rows = facts.table("processes")
    rows = rows[rows["role"].eq("runner") & rows["host"].eq(host) & rows["at"].between(began, last)]
    rows = rows.dropna(subset=["cpu_percent"])
    if rows.empty:
        return ""
    return f"; the runner used {rows['cpu_percent'].median():.1f} % of a core (median of {len(rows):,} samples)"


def _covered(looks: pd.DataFrame, *calls: pd.DataFrame) -> bool:
    """Whether a look fell into every call that was long enough to have met a deadlock."""
    at = looks["at"].sort_values()
    for frame in calls:
        started, ended = (pd.to_datetime(frame[name], utc=True) for name in ("started_at", "ended_at"))
        long = (ended - started).dt.total_seconds() > _UNLOAD_S
        if (at.searchsorted(ended[long]) <= at.searchsorted(started[long])).any():
            return False
    return True


def _scheduler_lines(facts: Facts) -> Iterator[Finding]:
    busy, waits = facts.events("expired_busy"), facts.events("evict_wait")
    done = facts.events("evict_done", "unload_sent")
    if len(busy) > 1 and busy["at"].notna().all():
        lasted_s = (busy["at"].max() - busy["at"].min()).total_seconds()
        if lasted_s > _UNLOAD_S:
            yield supports(f"The scheduler found the expired runner still in use {len(busy):,} times over "
                           f"{seconds_text(lasted_s)}.", *places(busy, 1), *places(busy.tail(1), 1))  # fmt: skip
    open_waits = [row for row in waits.to_dict("records") if not (done["at"] >= row["at"]).any()]
    if open_waits:
        first = open_waits[0]
        yield supports(f"{counted(len(open_waits), 'eviction')} waited for a busy runner without end.",
                       Place(first["host"], first["source"], int(first["line"])))  # fmt: skip
