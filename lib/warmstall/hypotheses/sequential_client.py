"""One call after the other: the client never had more than one call open, and so set the pace itself.

By Little's law the calls that are open at once are the rate times the time that one takes. A client that waits for
each answer before it asks again has one open, whatever the server could do beside it: with free slots its throughput
is a fraction of what the server would give, and every slow call delays all that follow. For a person at a keyboard,
and for work that nobody waits for, that is as it should be: no log tells whether the client ought to be faster.

Shown by:
    - never two calls open at once, each sent as the last one ended, against a model with free slots
Ruled out by:
    - calls that overlap
    - a client that waits for answers less than half of its time
Mistaken for it:
    - a server with one slot, where calls sent together would wait instead
    - a proxy in front of the server that hands on one call at a time
    - a person, who reads an answer before asking again
    - the calls of one question, of which some run at once: a question of a traced application counts as one call
Severity: info
Runbook: none
Mitigation: Keep as many calls open as the model has slots (OLLAMA_NUM_PARALLEL), with a bounded pool of workers.
References:
    - https://learn.microsoft.com/en-us/archive/blogs/chwitt/littles-law-and-how-it-impacts-load-testers
    - https://docs.ollama.com/faq (how Ollama handles concurrent requests)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .facts import Facts, counted, places, seconds_text, span
from .facts.calls import asked_calls
from .findings import Finding, refutes, supports, unseen
from .parallel_queue import slots_of

# Fewer calls show no habit.
_CALLS = 20
# A client that waits for answers less than half of its time would gain less than twice from asking ahead.
_MOSTLY = 0.5
# No program pauses for a minute between the calls of one run, save on purpose.
_REST_S = 60.0
# Access lines are true to a second at most, so that some calls seem to overlap the next by as much.
_OVERLAP_S = 1.0
_SECOND = np.timedelta64(1, "s")


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Whether calls ever overlapped, by the clients' records or else by the access lines."""
    trials = asked_calls(facts).dropna(subset=["started_at", "ended_at"])
    by_clients = len(trials) >= _CALLS
    every = trials if by_clients else facts.requests
    order = every["started_at"].array.argsort()
    if len(order) < _CALLS:
        yield unseen(f"the clients' records of {_CALLS} calls or more, each with its start and end")
        return
    started, ended = (pd.DatetimeIndex(every[name]).tz_localize(None).to_numpy()[order]
                      for name in ("started_at", "ended_at"))  # fmt: skip
    wall_s = pd.Series((ended - started) / _SECOND)
    least_s = 0.0 if by_clients else _OVERLAP_S
    busy_until = np.where(np.isnat(ended), ended, np.fmax.accumulate(ended))
    overlaps = (busy_until[:-1] - started[1:]) / _SECOND > least_s
    # A short call overlaps by no more than its own length.
    overlapping = 1 + np.flatnonzero(overlaps & ~(wall_s.to_numpy()[1:] <= least_s))
    rate = len(order) / max((np.fmax.reduce(ended) - np.fmin.reduce(started)) / _SECOND, 1e-9)
    at_once = rate * wall_s.mean()
    law = f"{rate * 60:.1f} a minute, each {seconds_text(wall_s.mean())} long: {at_once:.2f} open at once on average"
    if len(overlapping):
        yield refutes(f"{len(overlapping):,} of {len(order):,} calls began while another was open ({law}).",
                      *places(every.iloc[order[overlapping[:3]]]))  # fmt: skip
        if not by_clients:
            yield unseen("the clients' records of their calls, with start and end and the client of each")
        return
    yield _judged(facts, every.iloc[order], wall_s, law)
    if not by_clients:
        yield unseen("the clients' records of their calls, which tell whether more of them waited in the client")


def _judged(facts: Facts, calls: pd.DataFrame, wall_s: pd.Series, law: str) -> Finding:
    gap_s = (calls["started_at"].shift(-1) - calls["ended_at"]).dt.total_seconds().clip(lower=0).fillna(0.0)
    rests = int(gap_s.gt(_REST_S).sum())
    if rests > _MOSTLY * len(calls):
        return refutes(f"{len(calls):,} calls ({law}), after {rests:,} of which the client rested for more than "
                       f"{_REST_S:.0f} s: it asked for no more.", *places(calls))  # fmt: skip
    at_work_s = float(wall_s.sum() + gap_s[gap_s.le(_REST_S)].sum())
    share = float(wall_s.sum()) / max(at_work_s, 1e-9)
    slots = slots_of(facts)
    told = (
        f"{len(calls):,} calls, and never two of them open at once ({law}). Without rests of more than {_REST_S:.0f} s "
        f"the client waited for answers in {100 * share:.0f} % of {seconds_text(at_work_s)}"
    )
    if share < _MOSTLY:
        return refutes(f"{told}, and took its own time in the rest.", *places(calls))
    free = f"the model has {counted(slots, 'slot')}" + (": more calls would have waited there" if slots == 1 else "")
    return supports(f"{told}; {free}.", *places(calls), span=span(calls))
