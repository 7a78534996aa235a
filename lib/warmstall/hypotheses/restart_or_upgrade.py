"""Restart or upgrade: the trouble began with a start of the server, or starts of it cut requests off.

A start empties memory, ends every open request, and may bring another version with other defaults. It is also what
people do to end a trouble: a start after which all is well is the cure, not the cause.

Shown by:
    - more trouble after a start than before it, by more than chance
    - requests that were cut off by a start, and calls that were refused until it
    - a start that lost the GPU, and requests that took longer after it
    - a service manager that starts the server again and again, or a desktop app that finds it ended
Ruled out by:
    - starts after which there was no more trouble than before, and clients of which none was cut off or refused
Mistaken for it:
    - a cold start, which every start makes and which ends by itself
    - a restart that was made because of the trouble, and ended it
    - a runner that is started anew by a server that runs on
    - a restart by a runbook, by the journal of its run: it cuts requests off on purpose
Severity: warning
Runbook: none
Mitigation: Go back to the version and settings of before the start, and restart only when no request is open.
Leads to: cold_start
References:
    - https://docs.ollama.com/linux.md (the service, and its log in the journal)
    - https://github.com/ollama/ollama/releases (what changed between two versions)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from ..mitigations import explaining
from .facts import Facts, clock_text, counted, moment, places, seconds_text
from .facts.server_starts import change_of_rate, counts_text, libraries_of, trouble_by_start
from .findings import Evidence, Finding, Place, hints, proves, refutes, supports, unseen, weakens

# A stopped service is started again after RestartSec, 3 s in the installer's unit; a stop by hand takes a little more.
_BEFORE_A_START_S = 10.0
# Once is chance, twice may be an operator's; a manager that does it three times does it by itself.
_OVER_AND_OVER = 3
# What clients call a port on which nobody listens.
_NOBODY_LISTENED = r"refused|connection attempts failed|ECONNREFUSED|ConnectError"
# Between the middles of a few requests, less than this is prompts and luck.
_SLOWER = 1.5
_REQUESTS = "a log that holds requests before and after a restart: journalctl -u ollama, or server-1.log beside it"
_CLIENTS = (
    "the client's records of the calls before a restart: a stream that a stop cuts off has an access line of 200, and "
    "a call that is refused has none"
)
_TOKENS = "eval_count and eval_duration of each answer: they tell slow answers after a restart from long ones"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the starts in the log did to the requests around them."""
    runs = trouble_by_start(facts)
    failed = facts.events("service_failed", "service_restart", "service_oom")
    if len(failed[failed["key"] != "service_oom"]) >= _OVER_AND_OVER:
        span = moment(failed["at"].min()), moment(failed["at"].max())
        told = f"The service manager noted {counted(len(failed), 'failure')} and restarts of the service."
        yield proves(told, *places(failed), span=span)
    respawned = facts.events("server_respawned")
    if len(respawned):
        code = respawned["fields"].iloc[0].get("code")
        yield supports(f"The desktop app started the server anew {len(respawned):,}×, as it had ended (exit code "
                       f"{code}).", *places(respawned),
                       span=(moment(respawned["at"].min()), moment(respawned["at"].max())))  # fmt: skip
    if runs.empty:
        yield unseen("the server's log from its start on (journalctl -u ollama, docker logs), with the lines of its "
                     "service manager")  # fmt: skip
        return
    restarts = [
        (before, after)
        for _, own in runs.groupby("host", sort=False)
        for before, after in pairwise([row for _, row in own.iterrows()])
    ]
    if not restarts:
        first = runs.iloc[0]
        early = int(facts.requests["started_at"].lt(first["at"]).sum())
        if early:
            yield hints(f"{counted(early, 'request')} had begun before the only start that the log shows, at "
                        f"{clock_text(first['at'])}.", *places(runs))  # fmt: skip
            yield unseen("the log of before the start: server-1.log, or journalctl -u ollama --since yesterday")
        elif not first["requests"]:
            yield unseen(_REQUESTS)
        else:
            told = f"The log shows 1 start of the server, at {clock_text(first['at'])}, and no request before it."
            yield weakens(told, *places(runs))
            yield unseen("the log of before the start: server-1.log, or journalctl -u ollama --since yesterday")
        return
    found = False
    for before, after in restarts:
        for finding in _judged(facts, before, after):
            found = found or finding.strength == "strong"
            yield finding
    if found:
        return
    if any(_cannot_tell(facts, before, after) for before, after in restarts):
        yield unseen(_REQUESTS)
    if facts.table("trials").empty:
        yield unseen(_CLIENTS)
    if facts.with_verdict("unknown", columns=["started_at"])["started_at"].ge(restarts[0][1]["at"]).any():
        yield unseen(_TOKENS)
    yield refutes(f"After {counted(len(restarts), 'restart')} no more trouble is known than before, and none cut a "
                  "request off.", *places(runs.iloc[1:]))  # fmt: skip


def _cannot_tell(facts: Facts, before: pd.Series, after: pd.Series) -> bool:
    """Whether there is nothing to hold what came after a restart against."""
    if _lost(facts, before, after) and _times(facts, after) is None:
        return True
    return not after["requests"] or bool(after["troubled"] and not before["requests"])


def _lost(facts: Facts, before: pd.Series, after: pd.Series) -> set[str]:
    """The libraries of GPUs that were found at a start and not at the next one, which found other devices."""
    found, finds = libraries_of(facts, before) - {"cpu"}, libraries_of(facts, after)
    return found - finds if finds else set()


def _judged(facts: Facts, before: pd.Series, after: pd.Series) -> Iterator[Evidence]:
    at, here = after["at"], places([after.to_dict()])
    changed = before["version"] != after["version"] and before["version"] and after["version"]
    what = f"The upgrade from {before['version']} to {after['version']}" if changed else "The restart"
    told = f"{what} at {clock_text(at)}: {counts_text(before)} were in trouble before, {counts_text(after)} after."
    act = explaining(facts.acts, after["host"], at.tz_localize(None)) if pd.notna(at) else None
    if act:
        here = (*here, Place(act.host, act.source, act.line))
        told = f"{what} at {clock_text(at)} was made by {act.sentence}: {told.partition(': ')[2]}"
    change = change_of_rate(before, after)
    if change > 0:
        yield supports(told, *here, span=(moment(at), None))
    elif change < 0:
        ended = "There was less trouble after it." if after["troubled"] else "It ended the trouble."
        yield weakens(f"{told} {ended}", *here)
    elif act:
        yield weakens(told, *here)
    elif changed:
        yield hints(told, *here, span=(moment(at), None))
    if lost := _lost(facts, before, after):
        yield _without(facts, before, after, lost)
    if act:  # what it cut off and whom it kept waiting is its price, not a cause
        return
    refused = _refused(facts, at)
    if len(refused):
        since = refused["started_at"].min()
        yield supports(f"For {seconds_text((at - since).total_seconds())} before the start at {clock_text(at)} no "
                       f"server was there: {counted(len(refused), 'call')} were refused.", *here, *places(refused, 2),
                       span=(since.to_pydatetime(), at.to_pydatetime()), severity="info")  # fmt: skip
    cut = _cut_off(facts, at)
    if len(cut):
        yield supports(f"The restart at {clock_text(at)} cut off {counted(len(cut), 'request')}, the oldest of them "
                       f"{seconds_text(cut['wall_s'].max())} old.", *here, *places(cut, 2),
                       span=(at.to_pydatetime(), at.to_pydatetime()), severity="info")  # fmt: skip


def _without(facts: Facts, before: pd.Series, after: pd.Series, lost: set[str]) -> Evidence:
    """A start that did not find a GPU any more, and what answers took then beside those at other times."""
    left = ", ".join(sorted(libraries_of(facts, after)))
    told = f"The start at {clock_text(after['at'])} found {left} in place of {', '.join(sorted(lost))}"
    where = places([before.to_dict(), after.to_dict()])
    if (times := _times(facts, after)) is None:
        return hints(f"{told}; 0 answers of the same models, from then and from other times, are known.", *where)
    own, others = times
    slow_s, usual_s = float(own["wall_s"].median()), float(others["wall_s"].median())
    told += (
        f": {counted(len(own), 'answer')} took {seconds_text(slow_s)} then, and {seconds_text(usual_s)} at other times "
        f"(median; of the same models, {len(others):,})."
    )
    if slow_s < _SLOWER * usual_s:
        return weakens(told, *where)
    slowest = own.sort_values("wall_s", ascending=False)
    return supports(told, *where, *places(slowest, 2), span=(moment(after["at"]), None))


def _times(facts: Facts, start: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Answers between this start and the next one, and those of the same models at other times; None without both."""
    requests = facts.requests[facts.requests["host"].eq(start["host"]) & facts.requests["status"].str.startswith("2")]
    then = requests["started_at"].between(start["at"], start["until"])
    own = requests[then]
    others = requests[~then & requests["model"].isin(own["model"])]
    return (own, others) if len(own) and len(others) else None


def _refused(facts: Facts, at: pd.Timestamp) -> pd.DataFrame:
    """Calls to which nobody listened, since the server before this start ended its last answer."""
    answered = facts.requests["ended_at"]
    last = answered[answered.lt(at)].max()
    lost = facts.lost_trials.assign(started_at=pd.to_datetime(facts.lost_trials["started_at"], utc=True))
    nobody = lost["error"].astype(str).str.contains(_NOBODY_LISTENED, case=False, regex=True)
    return lost[nobody & lost["started_at"].lt(at) & lost["started_at"].gt(last if pd.notna(last) else at)]


def _cut_off(facts: Facts, at: pd.Timestamp) -> pd.DataFrame:
    """Requests that failed just before a start, and calls without an access line that were open over it."""
    stopped_from = at - pd.Timedelta(seconds=_BEFORE_A_START_S)
    requests, lost = facts.requests, facts.lost_trials
    failed = requests[requests["verdict"].isin(["client_abort", "runner_crash"])
                      & requests["ended_at"].between(stopped_from, at)]  # fmt: skip
    began, ended = (pd.to_datetime(lost[name], utc=True) for name in ("started_at", "ended_at"))
    columns = ["host", "source", "line", "wall_s"]
    # A refused call begins after the stop; one that was cut off began before.
    cut = [failed[columns], lost.loc[began.lt(stopped_from) & ended.ge(stopped_from), columns]]
    return pd.concat([frame for frame in cut if len(frame)]) if any(map(len, cut)) else failed[columns]
