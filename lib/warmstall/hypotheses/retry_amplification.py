"""Retries: clients sent the same call again and again while the server was in trouble, and so made it worse.

An SDK that gives up after a minute and tries again twice turns one call into three requests, at the very moment when
the server can serve the fewest. The client's table then shows one long call: its timeouts and the waits between
them, none of which is work.

Shown by:
    - calls of clients that were several requests, in the server's log or by the client's own count
    - more requests than calls while requests fail
Ruled out by:
    - clients that record one attempt per call, or whose calls and the server's requests are one to one
Mistaken for it:
    - calls that many clients send at once: each has a call of its own
    - a scheduler that loads a model again after a load was abandoned, without a new request
Severity: warning
Runbook: limit-concurrency
Mitigation: Retry at most once, after a wait that grows and is drawn at random, and not at all after a timeout.
Leads to: parallel_queue, client_timeout_too_short
References:
    - https://www.mintlify.com/openai/openai-python/concepts/retries (two retries by default, timeouts included)
    - https://thuongduong.com/blogs/redis/retry-create-traffic-multipliers.html (retries multiply the load)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..judging.words import Numbers
from .facts import Facts, counted, places, seconds_text, span
from .facts.calls import calls_of
from .findings import Finding, Severity, hints, proves, refutes, unseen

# Half as many requests again as calls is more than a server in trouble has to spare.
_AMPLIFIES = 1.5
# An SDK's first retry comes after half a second to two seconds; access lines are true to one.
_NEXT_WITHIN_S = 3.0
# The same client at the same path by chance: once or twice, not three times.
_TIMES = 3


def findings_in(facts: Facts) -> Iterator[Finding]:
    """How many attempts the clients' calls were, and what the access lines alone suggest."""
    trials = calls_of(facts)
    calls = _calls(facts, trials)
    again = calls[calls["attempts"] > 1]
    if len(again):
        yield _told(facts, calls, again)
        return
    yield from _by_access_lines(facts)
    told = trials[trials["attempts"].notna()]
    # A trace counts the attempts of calls that write words: embeddings have no attempts to count.
    if len(told) and trials["path"][trials["attempts"].isna()].str.contains("embed").all():
        yield refutes(f"By the clients' own count, each of {counted(len(told), 'call')} was sent once.",
                      *facts.whole_table("trials"))  # fmt: skip
    elif len(trials) and len(facts.requests) and facts.lost_trials.empty:
        yield refutes(f"Each of {counted(len(trials), 'call')} of clients is one of "
                      f"{counted(len(facts.requests), 'request')} in the log.",
                      *facts.whole_table("trials"), *facts.whole_log())  # fmt: skip
    else:
        yield unseen("the clients' records, with a row and the number of attempts of each call, and the server's log")


def _calls(facts: Facts, trials: pd.DataFrame) -> pd.DataFrame:
    """Each call with its attempts: by the requests that were found inside it, or by the client's count."""
    parts = facts.found.attempts()
    found = parts[parts["part"].eq("attempt")].groupby(["host", "source", "line"])["attempt"].max().rename("found")
    waits = parts[parts["part"].eq("wait")].groupby(["host", "source", "line"])["part_s"].sum().rename("waits_s")
    calls = trials.join(found, on=["host", "source", "line"]).join(waits, on=["host", "source", "line"])
    counted = calls["attempts"].astype("float64").fillna(1).clip(lower=1)
    calls["attempts"] = counted.where(counted.ge(calls["found"].fillna(1)), calls["found"]).astype(int)
    return calls


def _told(facts: Facts, calls: pd.DataFrame, again: pd.DataFrame) -> Finding:
    began, ended = again["started_at"].min(), again["ended_at"].max()
    meanwhile = calls[calls["ended_at"].ge(began) & calls["started_at"].le(ended)]
    meanwhile = meanwhile if len(meanwhile) else again
    requests = int(meanwhile["attempts"].sum())
    factor = requests / len(meanwhile)
    waits_s = float(again["waits_s"].sum())
    told = (
        f"Clients sent {len(again):,} of {counted(len(calls), 'call')} more than once, up to "
        f"{again['attempts'].max():,} times: while they ran, {counted(len(meanwhile), 'call')} made {requests:,} "
        f"requests, {factor:.1f} times the load."
    )
    if waits_s:
        told += f" {seconds_text(waits_s)} of their time were waits between attempts."
    # Retries that met no trouble of others cost little.
    severity: Severity = "warning" if factor >= _AMPLIFIES and len(again) >= _TIMES else "info"
    longest = again.sort_values("wall_s", ascending=False)
    return proves(told, *places(longest), span=span(again), severity=severity)


def _by_access_lines(facts: Facts) -> Iterator[Finding]:
    """Requests of one client at one path that begin as its last one was given up."""
    given_up = facts.is_verdict("client_abort", "load_failure", "runner_crash")
    if not given_up.any():
        return
    requests = facts.requests
    caller = _callers(requests)
    began, ended = (requests[name].dt.tz_convert(None).to_numpy() for name in ("started_at", "ended_at"))
    order = np.argsort(began, kind="stable")
    order = order[np.argsort(caller[order], kind="stable")]
    failed = np.flatnonzero(given_up[order[:-1]])
    before, after = order[failed], order[failed + 1]
    gap_s = (began[after] - ended[before]) / np.timedelta64(1, "s")
    same = caller[after] == caller[before]
    again = requests.iloc[np.sort(after[same & (gap_s >= -1) & (gap_s <= _NEXT_WITHIN_S)])]
    again = again.sort_values(["client", "path", "started_at"])
    if len(again) >= _TIMES:
        told = (
            f"{len(again):,} requests began within {_NEXT_WITHIN_S:.0f} s of a failed one of the same client and path"
        )
        yield hints(f"{told}, as retries do.", *places(again.sort_values("started_at")))


def _callers(requests: pd.DataFrame) -> Numbers:
    """A number for each host, client and path together, as small as it can be: such are sorted fast."""
    caller = np.zeros(len(requests), dtype=np.int64)
    for name in ("host", "client", "path"):
        column = requests[name].array
        caller = caller * len(column.categories) + column.codes
    return caller.astype(np.min_scalar_type(int(caller.max(initial=0))))
