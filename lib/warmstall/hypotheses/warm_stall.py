"""Warm stall: requests stood still with their model in memory, and neither a load nor a queue explains it.

The runner has the model, the server answers /api/ps, and yet a request gets no token for seconds, or for as long as
its client waits. A server knows no timeout for inference, so a hang ends when the client leaves: what is recorded is
its timeout, not how long the stall would have lasted, and a client that never leaves leaves no line at all.

Shown by:
    - requests whose tokens, or whose runner by its samples, paused while those before and after ran as usual
    - requests given up far beyond the usual time of their model, without a load or a queue; the same of calls of
      which the server wrote no line while the model was in memory
Ruled out by:
    - the clients' records, or the slot lines of Ollama 0.30 and later, beside a log in which every request has its
      reason
Mistaken for it:
    - a cold start: a load of the model is in the log
    - a long answer: many tokens at the usual speed (an answer without a limit looks like a hang to its client)
    - waiting for a slot, or for another model to leave
    - a slow machine: everything is slow then, not single requests
Severity: critical
Runbook: recover-stuck-runner
Mitigation: Give each call a timeout and a token limit, and restart a runner that gives no token for as long.
Leads to: client_timeout_too_short, retry_amplification, stopping_deadlock, gpu_idle_but_held
References:
    - https://github.com/ollama/ollama/issues/10119
    - https://github.com/ollama/ollama/issues/7779
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..judging.usual import BASELINE_MIN_N
from ..proportions import rate_text
from .facts import Facts, counted, places, seconds_text, span
from .facts.hangs import PATIENCE_S, hangs_of, too_late_for_answers
from .findings import Finding, hints, proves, refutes, supports, unseen

_CLIENTS = (
    "the clients' own records of their calls (start, end, model, status, error): what hangs leaves no access line"
)
_TOKENS = (
    "eval_count and eval_duration of the final chunk of each answer, or samples of the runner's CPU (warmstall watch "
    "CASE): they tell a long answer from one that stood still"
)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Requests that stood still, those that were given up, and what leaves it open."""
    hangs = hangs_of(facts)
    told, cut, lost, long = (hangs[hangs["how"].eq(how)] for how in ("told", "cut", "lost", "long"))
    requests = facts.requests
    if len(told):
        longest = requests[requests["verdict"].eq("warm_stall")].sort_values("wall_s", ascending=False)
        reason = facts.found.reasons(longest.head(1))[0]
        yield proves(f"{rate_text(len(told), len(requests))} of the requests stood still with the model in memory; the "
                     f"longest took {seconds_text(longest['wall_s'].iloc[0])}: {reason}.",
                     *places(longest), span=span(told))  # fmt: skip
    given_up = hangs[hangs["how"].isin(["cut", "lost"])]
    if len(cut):
        sure = too_late_for_answers(facts, cut)
        behind = _behind(facts, cut)
        more = f"; {behind:,} more were given up while they waited behind those" if behind else ""
        yield (supports if sure else hints)(
            f"{rate_text(len(cut), len(requests))} of the requests were given up after {_middles(cut)} is usual; no "
            f"load and no queue was there{more}{'' if sure else ', and long answers cannot be told from hangs'}.",
            *places(cut),
            span=span(cut),
        )
        if not sure:
            yield unseen(_TOKENS)
    if len(lost):
        middle = seconds_text(lost["wall_s"].median())
        yield supports(f"{counted(len(lost), 'call')} ended without an answer, after {middle} (median) with the model "
                       "in memory, and the server wrote 0 lines for them.",
                       *places(lost), span=span(lost))  # fmt: skip
    if len(long):
        yield hints(f"{len(long):,} of {counted(len(requests), 'request')} took {_middles(long)} is usual, without a "
                    "load or a queue: long answers look the same.", *places(long), span=span(long))  # fmt: skip
    before = requests["wall_s"] - requests["load_s"]
    reloaded = requests["flags"].str.contains("reload")
    pinged = requests[reloaded & before.ge(PATIENCE_S) & requests["verdict"].ne("unknown")]
    if len(pinged):
        middle = seconds_text(before[pinged.index].median())
        yield hints(f"{counted(len(pinged), 'request')} waited {middle} (median) beside the reload of the model: a "
                    "runner that does not answer is pinged for 10 s, then replaced.", *places(pinged),
                    span=span(pinged))  # fmt: skip
        yield unseen("samples of the runner's state and CPU before its reload (warmstall watch CASE)")
    yield from _open(facts, len(lost))
    if not len(told) + len(given_up) and len(requests):
        yield refutes(
            f"Of {counted(len(requests), 'request')}, 0 stood still, and 0 were given up when {PATIENCE_S:.0f} s or "
            "more had passed with the model in memory.",
            *(facts.whole_log() or places(requests)),
        )


def _behind(facts: Facts, cut: pd.DataFrame) -> int:
    """How many were given up mostly for waiting in the queue, while one that was cut held its slot."""
    waited = facts.with_verdict("client_abort")
    waited = waited[waited["queue_s"].ge(waited["wall_s"] / 2)]
    parts = [part[["started_at", "ended_at"]].assign(stood=stood) for part, stood in ((cut, True), (waited, False))]
    held = pd.concat(parts).sort_values("started_at", ignore_index=True)
    # Who waits behind one that waits, waits behind the first of them.
    row = (held["started_at"] > held["ended_at"].cummax().shift()).cumsum()
    return int((~held["stood"] & held["stood"].groupby(row).transform("any")).sum())


def _middles(rows: pd.DataFrame) -> str:
    """How long they took, and what would have been usual."""
    return f"{seconds_text(rows['wall_s'].median())} (median), where {seconds_text(rows['usual_s'].median())}"


def _open(facts: Facts, lost: int) -> Iterator[Finding]:
    """What could have shown a stall and is not there."""
    requests = facts.requests
    if not facts.has_server_log or requests.empty:
        yield unseen("the server's log with its access lines: it tells the load and the queue of each request")
    if requests["verdict"].eq("unknown").any():
        yield unseen(_TOKENS)
    if len(requests) and requests["status"].eq("200").sum() < BASELINE_MIN_N:
        yield unseen(f"more requests than {len(requests):,}, to show what is usual for their model")
    if len(facts.lost_trials) > lost:
        yield unseen("/api/ps while calls hang (warmstall watch CASE): it tells whether their model was in memory")
    if not facts.has("trials") and not facts.counts.get("ls_task_start"):
        yield unseen(_CLIENTS)
    tasks = [task for timeline in facts.found.timelines.values() for task in timeline.tasks]
    if not facts.has("trials") and tasks and not tasks[-1].finished_line + tasks[-1].released_line:
        yield unseen(f"the server's log from its last line on: the task of line {tasks[-1].line} had not ended")
    given_up = facts.with_verdict("client_abort")
    given_up = given_up[given_up["wall_s"].ge(PATIENCE_S) & given_up["status"].ne("499") & given_up["load_s"].eq(0)]
    if len(given_up) > hangs_of(facts)["how"].eq("cut").sum():
        yield unseen(
            "what each call that was given up had got by then (tokens, time to the first): its client's record"
        )
