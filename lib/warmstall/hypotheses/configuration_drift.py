"""Configuration drift: what the server was started with changed from one start to the next.

Settings that the server printed, devices that it found and limits that the unit states can differ from start to
start: a variable that a shell had and the unit has not, a drop-in that came with a later incident, a driver that was
updated. What was measured before such a change says nothing of what came after. A change may also be the cure.

Shown by:
    - printed settings or found devices that differ between two starts of the server
    - the same unit with other limits in a later capture
Ruled out by:
    - several starts with the same settings and devices
Mistaken for it:
    - new settings that a new version prints for the first time
    - a change that was made to end the trouble, and did
    - settings that differ from what the files say: those are not in force
Severity: warning
Runbook: none
Mitigation: Keep the unit and its drop-ins under version control and compare `server config` after every restart.
Leads to: setting_not_in_force
References:
    - https://docs.ollama.com/faq (how settings reach the server on each platform)
    - https://raw.githubusercontent.com/systemd/systemd/v257/man/standard-conf.xml (which drop-in wins)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from ..parse.ollama_settings import same
from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, moment, places, size_text
from .facts.server_starts import change_of_rate, counts_text, libraries_of, trouble_by_start
from .findings import Finding, Place, refutes, supports, unseen, weakens


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What changed at each start, with the trouble before and after it."""
    runs = trouble_by_start(facts)
    changed = False
    for _, own in runs.groupby("host", sort=False):
        for before, after in pairwise([row for _, row in own.iterrows()]):
            changes = _changes(facts, before, after)
            if changes:
                changed = True
                yield _told(before, after, changes)
    for finding in _limits(facts):
        changed = True
        yield finding
    if changed:
        return
    if runs.empty or not facts.counts.get("server_config"):
        yield unseen("the server's log with its starts, two of them at least: each prints `server config`")
    elif len(runs) == 1 and facts.requests.empty:
        yield unseen("a log that holds requests: of a start without any, nothing can have changed")
    elif len(runs) == 1 or facts.requests["started_at"].lt(runs["at"].min()).any():
        # One start differs from none: what the server ran with before it stands in an earlier log.
        yield weakens(f"The log shows {counted(len(runs), 'start')}, the first at {clock_text(runs['at'].iloc[0])}.",
                      *places(runs))  # fmt: skip
        yield unseen("the log of before the first start: server-1.log, or journalctl -u ollama --since yesterday")
    else:
        yield refutes(f"{counted(len(runs), 'start')} printed the same settings and devices.", *places(runs))


def _told(before: pd.Series, after: pd.Series, changes: list[str]) -> Finding:
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    worse = change_of_rate(before, after)
    verdict = {1: "There was more trouble after it", -1: "It went with less trouble", 0: "No difference beyond chance"}
    told = verdict[worse] if before["requests"] and after["requests"] else "Nothing to compare"
    return supports(
        f"At the start of {clock_text(after['at'])} {'; '.join(changes[:3])}{more}. {told}: {counts_text(before)} "
        f"before, {counts_text(after)} after.",
        *places([before.to_dict(), after.to_dict()]),
        span=(moment(after["at"]), None),
        severity="warning" if worse > 0 else "info",
    )


def _changes(facts: Facts, before: pd.Series, after: pd.Series) -> list[str]:
    one, other = _settings(facts, before), _settings(facts, after)
    # Unset ones are not kept, so that only within one version a name that is missing is one that is unset.
    names = set(one) | set(other) if before["version"] == after["version"] else set(one) & set(other)
    changes = []
    for name in sorted(names) if one and other else ():
        was, now = one.get(name, ""), other.get(name, "")
        if not same(name, was, now):
            changes.append(f"{name} changed from {_shown(was)} to {_shown(now)}")
    found, finds = libraries_of(facts, before), libraries_of(facts, after)
    if found and finds and found != finds:
        changes.append(f"the devices changed from {', '.join(sorted(found))} to {', '.join(sorted(finds))}")
    return changes


def _settings(facts: Facts, run: pd.Series) -> dict[str, str]:
    """What this start printed: `server config` stands a few lines before the line that tells the version."""
    rows = facts.printed_settings
    rows = rows[rows["source"].eq(run["source"]) & rows["line"].le(run["line"])]
    rows = rows[rows["line"].eq(rows["line"].max())]
    return dict(zip(rows["name"], rows["value"].astype(str), strict=True))


def _limits(facts: Facts) -> Iterator[Finding]:
    """Limits of one unit that differ between two captures of it."""
    rows = facts.table("limits")
    rows = rows[rows["origin"].isin(["unit", "container"]) & rows["at"].notna() & rows["hard"].notna()]
    of_one = ["host", "subject", "resource"]
    looks = rows.drop_duplicates([*of_one, "at"])
    for (_, unit, resource), own in looks[looks.duplicated(of_one, keep=False)].groupby(of_one, sort=True):
        for before, after in pairwise(own.to_dict("records")):
            if before["hard"] != after["hard"]:
                was, now = (_amount(row["hard"], row["unit"]) for row in (before, after))
                yield supports(
                    f"{resource} of {printable(str(unit))[:60]} was {was} at {clock_text(before['at'])} and {now} at "
                    f"{clock_text(after['at'])}.",
                    *(Place(row["host"], row["source"], int(row["line"])) for row in (before, after)),
                    severity="info",
                )


def _amount(value: float, unit: str) -> str:
    if value == float("inf"):
        return "unlimited"
    return size_text(value) if unit == "bytes" else f"{value:,.0f}"


def _shown(value: str) -> str:
    return printable(value)[:60] or "nothing"
