"""Client timeout too short: calls were cut at one fixed time that is shorter than what they rightly take.

Clients give up at round times (30 s, 60 s, 10 min) and the server notes it in several ways: 499 while the model is
being loaded (the load is thrown away), 500 for an answer in one piece, 200 for one that was streaming. A timeout is
too short when a cold start of that model, or its ordinary answer, takes longer. Most timeouts are not: they cut what
would never have ended.

Shown by:
    - calls cut at one and the same time while their model was still being loaded
    - calls cut at a time that answered calls reach as well: the cut runs through the ordinary ones
Ruled out by:
    - a timeout far above what nearly all answered calls take and above the model's loads
    - calls that failed at all kinds of times
Mistaken for it:
    - a stall: the calls that were cut would not have come back in ten times the time
    - a person who presses Ctrl-C, at any time
    - several attempts that a client shows as one long call
Severity: warning
Runbook: none
Mitigation: Set the client's timeout above a cold start plus the longest ordinary answer, or load the model beforehand.
Leads to: retry_amplification
References:
    - https://github.com/rsynnot/magic-lists-for-navidrome/issues/34 (15 s, shorter than a load)
    - https://github.com/ParisNeo/lollms_hub/pull/37 (a proxy's timeout, shorter than a load)
    - https://github.com/ollama/ollama/pull/4638 (what the server logs when the client leaves during a load)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .facts import Facts, counted, places, seconds_text, span
from .facts.calls import calls_of
from .findings import Finding, Place, hints, proves, refutes, supports, unseen, weakens

# One clock cuts all its calls after the same time, but for the scheduling of a busy machine.
_SAME_S, _SAME_SHARE = 0.25, 0.005
# Timeouts are set to whole seconds, from ten seconds on to multiples of five, and run over by connecting and closing.
_ROUND_S, _LONG_S, _NEAR_S = 5.0, 10.0, 0.1
# Two calls cut after the same long, round time were cut by a clock; for other times it takes more to believe it.
_TIMES, _TIMES_SHORT, _TIMES_NOT_ROUND = 2, 3, 5
# People leave at any time: a clock is believed where three times as many calls were cut at one time as the calls cut
# at half to twice that time let expect, and chance would not bring so many: rarely at a round time, of which there are
# few, and hardly ever at any of the thousands of others.
_AROUND, _MORE_THAN_CHANCE = 2.0, 3.0
_CHANCE_ROUND, _CHANCE_NOT_ROUND = 1e-3, 1e-6
# Nobody gives a model less: what failed sooner failed by itself.
_SHORTEST_S = 0.5
# Calls that end together were ended by one event, such as a client that was closed.
_TOGETHER = "5s"
# With fewer answers what is usual is not known.
_ANSWERS = 5
# A timeout of twice what 95 of 100 answers take cuts hardly any that would have come.
_AMPLE = 2.0


@dataclass(frozen=True)
class _Usual:
    """What answered calls of some models take (how many, what 95 of 100 take at most, the longest), and their loads."""

    count: int
    wall_s: float
    longest: tuple[Place, ...]
    load_s: float
    longest_load: tuple[Place, ...]


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The calls that were cut, gathered by their length, beside loads and answers of the same model."""
    cut = _cut(facts)
    if cut.empty:
        if not facts.has("trials"):
            yield unseen("the clients' records of their calls, with the timeout of each: a call that was cut while it "
                         "waited has no line in the server's log")  # fmt: skip
        if len(facts.requests) or facts.has("trials"):
            calls = counted(max(len(facts.requests), len(calls_of(facts))), "call")
            yield refutes(f"Clients gave up 0 of {calls}.",
                          *facts.whole_log(), *facts.whole_table("trials"))  # fmt: skip
        else:
            yield unseen("the server's log")
        return
    early = cut["status"].eq("499")
    clusters = [*_clusters(cut[early]), *_clusters(cut[~early])]
    loads = facts.loads[facts.loads["outcome"].eq("completed")]
    usual: dict[frozenset[str], _Usual] = {}
    for cluster in clusters:
        if (cluster["status"] == "499").all():
            yield _during_loads(facts.loads, cluster)
            continue
        # Calls that were cut after different times may have been to the same models.
        models = frozenset(model for model in cluster["model"].dropna().unique() if model)
        usual[models] = usual.get(models) or _usual(facts, loads, models)
        yield from _judged(cluster, usual[models])
    if not clusters:
        yield weakens(f"Clients gave up {counted(len(cut), 'call')}, too few of them after one and the same time to "
                      "tell "
                      f"({seconds_text(cut['wall_s'].min())} to {seconds_text(cut['wall_s'].max())}).",
                      *places(cut))  # fmt: skip
        yield unseen("the timeout that the clients set, and their records of their calls")


def _cut(facts: Facts) -> pd.DataFrame:
    """Requests that their client gave up or may have, and calls without an access line that ended at their timeout."""
    columns = ["host", "source", "line", "model", "started_at", "ended_at", "wall_s", "status"]
    requests = facts.requests
    # The server logs 500 for an answer in one piece that nobody waited for any more, and often nothing beside it.
    may_be = requests["verdict"].isin(["unknown", "warm_stall"]) & requests["status"].eq("500")
    may_be &= requests["wall_s"].ge(_SHORTEST_S)
    may_be |= requests["verdict"].eq("client_abort") | requests["status"].eq("499")
    # Of an access line without a latency nobody knows when it began, nor after what time it was cut.
    found = requests.loc[may_be & requests["started_at"].notna(), columns]
    lost = facts.lost_trials
    timeout_s = lost["timeout_s"].astype(float)
    timed_out = lost["wall_s"].astype(float).ge(timeout_s - _NEAR_S)
    # Of a call that was sent several times the timeout cut each attempt; its whole length is no timeout.
    several = lost["attempts"].astype(float).gt(1) & timed_out
    lost = lost.assign(wall_s=lost["wall_s"].astype(float).where(~several, timeout_s))
    timed_out &= lost["outcome"].fillna("").ne("ok")
    said_so = lost["error"].fillna("").str.contains("timed? ?out", case=False)
    lost = lost[timed_out | said_so]
    if lost.empty:
        return found
    times = {name: pd.to_datetime(lost[name], utc=True) for name in ("started_at", "ended_at")}
    return pd.concat([found, lost.assign(**times)[columns]]) if len(found) else lost.assign(**times)[columns]


def _during_loads(loads: pd.DataFrame, cluster: pd.DataFrame) -> Finding:
    """Calls that left after the same time before their model was there: while it was loaded, or had to wait for it."""
    at_s = float(cluster["wall_s"].median())
    gave_up = f"Clients gave up {counted(len(cluster), 'call')} after {seconds_text(at_s)}"
    done = loads[loads["outcome"].eq("completed")]
    took = f"; a load that was waited for took {seconds_text(done['load_s'].max())}" if len(done) else ""
    if loads["outcome"].eq("abandoned").any():
        show = proves if at_s >= _LONG_S and _is_round(at_s) else supports
        return show(f"{gave_up} while the model was still being loaded, and each such load was thrown away{took}.",
                    *places(cluster), span=span(cluster))  # fmt: skip
    return supports(f"{gave_up} before their model was ready; by this log it was not being loaded, so that they may "
                    f"have waited for another to leave{took}.",
                    *places(cluster), span=span(cluster))  # fmt: skip


def _usual(facts: Facts, loads: pd.DataFrame, models: frozenset[str]) -> _Usual:
    own = facts.walls_of(models, "warm_ok", "slow_prefill", "slow_decode", "queue_wait", "cold_start")
    longest = places(own.loc[[own["wall_s"].idxmax()]]) if len(own) else ()
    loads = loads[loads["model"].isin(models)] if models else loads
    load_s = float(loads["load_s"].max()) if loads["load_s"].notna().any() else 0.0
    longest_load = places(loads.sort_values("load_s", ascending=False), 1)
    return _Usual(len(own), float(own["wall_s"].quantile(0.95)), longest, load_s, longest_load)


def _judged(cluster: pd.DataFrame, usual: _Usual) -> Iterator[Finding]:
    """One timeout beside what its models' answers and loads take."""
    at_s = float(cluster["wall_s"].median())
    told = f"Clients gave up {counted(len(cluster), 'call')} after {seconds_text(at_s)}"
    if usual.load_s >= at_s:
        yield supports(f"{told}; a load of their model takes up to {seconds_text(usual.load_s)}.", *places(cluster),
                       *usual.longest_load, span=span(cluster))  # fmt: skip
        return
    if usual.count < _ANSWERS:
        yield hints(
            f"{told}; with {counted(usual.count, 'answered call')} it is not known what is usual.", *places(cluster)
        )
        yield unseen(
            "what a call takes that is not cut: one with a timeout of an hour, and what its runner does meanwhile"
        )
        return
    beside = (
        f"95 of 100 answered calls of the same model take at most {seconds_text(usual.wall_s)} "
        f"({counted(usual.count, 'call')})"
    )
    if at_s >= _AMPLE * usual.wall_s:
        cold = f", its longest load {seconds_text(usual.load_s)}" if usual.load_s else ""
        yield refutes(f"{told}; {beside}{cold}.", *places(cluster), *usual.longest)
    elif at_s <= usual.wall_s / 0.9:
        yield supports(f"{told}, within the ordinary: {beside}.", *places(cluster), span=span(cluster))
    else:
        yield hints(f"{told}; {beside}, which leaves little room.", *places(cluster), span=span(cluster))
        yield unseen("what a call takes that is not cut: a run with a timeout several times as long")


def _clusters(cut: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Groups of calls of the same length, more of them than chance brings, that did not end together; largest first."""
    cut = cut.dropna(subset=["wall_s"]).sort_values("wall_s")
    ended, rest = cut["ended_at"].dt.floor(_TOGETHER), np.arange(len(cut))
    while len(rest):
        walls = cut["wall_s"].to_numpy(float)[rest]
        widths = np.maximum(_SAME_S, walls * _SAME_SHARE)
        ends = np.searchsorted(walls, walls + widths, side="right")
        counts = ends - np.arange(len(walls))
        counts[~_beyond_chance(walls, widths, counts)] = 0
        first = int(counts.argmax())
        if counts[first] < _TIMES:
            return  # the largest group is that of one call
        group, rest = rest[first : ends[first]], np.delete(rest, slice(first, ends[first]))
        at_s = float(np.median(walls[first : ends[first]]))
        needed = (_TIMES if at_s >= _LONG_S else _TIMES_SHORT) if _is_round(at_s) else _TIMES_NOT_ROUND
        if ended.iloc[group].nunique() >= needed:
            yield cut.iloc[group]


def _beyond_chance(walls: Any, widths: Any, counts: Any) -> Any:
    """Whether so many calls from each of these lengths on are more than their neighbours bring by chance."""
    upto = walls + widths
    shorter = np.arange(len(walls)) - np.searchsorted(walls, walls / _AROUND)
    longer = np.searchsorted(walls, upto * _AROUND, side="right") - np.arange(len(walls)) - counts
    # The denser side counts: where one ends, no clock need be behind it.
    below_s, above_s = np.maximum(walls - walls / _AROUND, 1e-9), upto * _AROUND - upto
    per_s = np.maximum(shorter / below_s, longer / above_s)
    expected = per_s * widths
    # Chernoff's bound of the chance that Poisson's law gives so many or more.
    log_chance = counts - expected + counts * np.log(np.maximum(expected, 1e-300) / counts)
    medians = walls[np.arange(len(walls)) + (counts - 1) // 2]
    most = np.where(_is_round(medians), _CHANCE_ROUND, _CHANCE_NOT_ROUND)
    return (counts >= _MORE_THAN_CHANCE * expected) & (log_chance <= np.log(most))


def _is_round(at_s: Any) -> Any:
    unit_s = np.where(at_s >= _LONG_S - _NEAR_S, _ROUND_S, 1.0)
    return (at_s >= unit_s / 2) & (abs((at_s + unit_s / 2) % unit_s - unit_s / 2) <= _NEAR_S)
