"""OOM kill: the kernel ended a process of the server or of a service beside it, because memory had run out.

When neither memory nor swap is left (of the host, or of a container's or unit's own limit), Linux picks a process and
sends it SIGKILL; macOS does so through memorystatus. The process writes nothing. What tells is the kernel's log, the
counter `oom_kill` of the cgroup, and what the container engine or systemd says of the end.

Shown by:
    - "Out of memory: Killed process" (or "Memory cgroup out of memory"), "memorystatus: killing" in the kernel's log
    - a container with OOMKilled, a counter oom_kill that rises
    - a unit of which a process "has been killed by the OOM killer", or that failed "with result 'oom-kill'"
Ruled out by:
    - a kernel log that covers the trouble and tells of no such kill
Mistaken for it:
    - a SIGKILL, or exit code 137, alone: an operator, a health check or an orchestrator sends it too
    - the GPU's memory that runs out: an error of the runner, without any kill
    - a segfault: the kernel's log tells it apart
    - kills of hours before, which harmed others
Severity: critical
Runbook: relieve-memory-pressure
Mitigation: Give the host or the container as much memory as models, contexts and services need at once, or load less.
Leads to: runner_crash, embedding_service_crash
References:
    - https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events, oom_kill)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, size_text, span
from .findings import Finding, hints, proves, refutes, unseen

_KILLS = ("kernel_oom_kill", "kernel_oom", "service_oom")
_KERNEL_LOG = (
    "the kernel's log over that time: journalctl -k -o short-iso, or dmesg --time-format iso; and of a container "
    "docker inspect, or kubectl describe pod"
)
# A process is killed moments before its requests are seen to fail, and a log's last line stands before its capture.
_SLACK = pd.Timedelta(seconds=60)
_FAILURES = ("runner_crash", "load_failure", "client_abort", "warm_stall")
_OURS = re.compile(r"ollama|llama[-_]|runner", re.I)
_UNIT = r"([A-Za-z0-9@_.-]{1,80}\.service): "
_SIGKILL = r"signal: killed|SIGKILL|status=9/KILL|signal 9\b"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Kills that the kernel, systemd, the container engine or a cgroup tells of; then what was looked at in vain."""
    found = [*_kills(facts), *_containers(facts), *_counters(facts)]
    yield from found
    if any(getattr(item, "strength", "") in ("decisive", "strong") for item in found):
        return
    yield from _sigkills(facts)
    trouble = _times(facts)
    logs = [account for account in facts.case.accounts if "kernel-log" in str(account["kind"]).split("+")]
    first, last = (pd.to_datetime(pd.Series([log[name] for log in logs]), utc=True) for name in ("first_at", "last_at"))
    if not facts.has_server_log or trouble.empty:
        yield unseen("the server's log: it tells when there was trouble, and the kernel's log must reach over that")
    if not logs or first.isna().all():
        yield unseen(_KERNEL_LOG)
    if not logs or first.isna().all() or trouble.empty:
        return
    began, ended = trouble["started_at"].min(), trouble["ended_at"].max()
    if first.min() > began + _SLACK or last.max() < ended - _SLACK:
        yield unseen(f"{_KERNEL_LOG}; the one here goes from {clock_text(first.min())} to {clock_text(last.max())}")
        return
    lines = sum(int(log["lines"]) for log in logs)
    reach = f"from {clock_text(first.min())} to {clock_text(last.max())}"
    yield refutes(f"The kernel's log, {counted(lines, 'line')} {reach}, tells of 0 kills for want of memory.",
                  *facts.whole("kernel-log"))  # fmt: skip


def _times(facts: Facts) -> pd.DataFrame:
    """When something failed that a kill could explain: requests, calls, runners, services. Else all requests."""
    deaths = facts.events("app_worker_crash", "app_exit", "service_exited", "runner_gone")
    failed = facts.requests["verdict"].isin(_FAILURES) | facts.requests["status"].str.startswith("5")
    parts = [deaths.assign(started_at=deaths["at"], ended_at=deaths["at"]), facts.requests[failed], facts.lost_trials]
    if not any(len(part) for part in parts):
        parts = [facts.requests]
    rows = pd.concat([part[["started_at", "ended_at"]] for part in parts if len(part)] or [parts[0].head(0)])
    return rows.apply(pd.to_datetime, utc=True).dropna()


def _kills(facts: Facts) -> Iterator[Finding]:
    """Lines of the kernel's or of systemd about processes that were killed."""
    kills = facts.events(*_KILLS)
    if kills.empty:
        failed = facts.events("service_failed")
        kills = failed[failed["text"].str.contains("'oom-kill'", regex=False)]
    kills = kills.drop_duplicates(["source", "line"])
    if kills.empty:
        return
    first = kills.iloc[0]
    units = kills["text"].str.extract(_UNIT, expand=False).fillna("a unit")
    whom = kills["fields"].map(lambda fields: fields.get("process")).fillna("a process of " + units).astype(str)
    sizes = kills["fields"].map(lambda fields: fields.get("anon_rss_bytes"))
    held = f" with {size_text(float(sizes.dropna().max()))}" if sizes.notna().any() else ""
    cgroup = kills["fields"].map(lambda fields: fields.get("scope") == "memcg" or "Memory cgroup" in str(fields)).any()
    names = ", ".join(f"{printable(str(name))[:60]} {count:,}×" for name, count in whom.value_counts().head(3).items())
    when = f", first at {clock_text(first['at'])}" if pd.notna(first["at"]) else ""
    many = counted(len(kills), "process", "processes")
    yield proves(f"The kernel killed {many} for want of memory: {names}{held}{when}"
                 f"{'; a limit of a cgroup was reached, not that of the host' if cgroup else ''}.",
                 *places(kills), span=span(kills, "at", "at"),
                 severity=None if whom.str.contains(_OURS).any() else "info")  # fmt: skip


def _containers(facts: Facts) -> Iterator[Finding]:
    looks = facts.table("containers")
    killed = looks[looks["oom_killed"].fillna(False).astype(bool)].drop_duplicates(["host", "container"], keep="last")
    if len(killed):
        named = ", ".join(printable(str(name))[:40] for name in killed["container"].head(3))
        ours = killed["container"].str.contains(_OURS).any() or killed["image"].str.contains(_OURS).any()
        yield proves(f"Killed for want of memory (OOMKilled): {counted(len(killed), 'container')}, {named}.",
                     *places(killed), severity=None if ours else "info")  # fmt: skip


def _counters(facts: Facts) -> Iterator[Finding]:
    """The counter oom_kill of a host or cgroup, between two looks, or since boot in one."""
    looks = facts.table("memory").dropna(subset=["oom_kills"])
    for (host, origin), own in looks.groupby(["host", "origin"], sort=True):
        rise = float(own["oom_kills"].diff().clip(lower=0).sum())
        where = f"{printable(str(origin))[:60]}" + (
            f" of {host}" if facts.table("memory")["host"].nunique() > 1 else ""
        )
        if rise:
            grown = own[own["oom_kills"].diff().gt(0)]
            yield proves(f"The counter oom_kill of {where} rose by {rise:.0f} in {counted(len(own), 'look')}.",
                         *places(grown), span=span(own, "at", "at"))  # fmt: skip
        elif own["oom_kills"].max() > 0:
            yield hints(f"The counter oom_kill of {where} stands at {own['oom_kills'].max():.0f} since it began, in "
                        f"all of {counted(len(own), 'look')}.", *places(own))  # fmt: skip
            yield unseen(_KERNEL_LOG)


def _sigkills(facts: Facts) -> Iterator[Finding]:
    """Ends by SIGKILL: the kernel's, or anybody's. What 0.32 logs of an ordinary unload is none."""
    ends = facts.events("runner_gone", "runner_died_load", "service_exited", "app_worker_crash")
    ends = ends[ends["text"].str.contains(_SIGKILL)]
    if len(ends):
        yield hints(f"An end by SIGKILL stands in {counted(len(ends), 'line')}; the kernel sends it when memory runs "
                    "out, and anybody else may send it.", *places(ends))  # fmt: skip
        yield unseen(_KERNEL_LOG)
