"""Vector store memory: the vector store reaches the memory limit of its container and is killed.

Vector stores keep their index in memory: vectors times dimensions times four bytes, and more while they build it. At
the limit of the container the kernel kills the process; until it is back and has read its index again, retrieval fails
or hangs, and writes that were not yet on disk are lost.

Shown by:
    - docker inspect: OOMKilled, exit code 137, restarts
    - the kernel's lines on a memory cgroup that was full, with the store's process killed
    - samples of its memory at the limit
Ruled out by:
    - docker inspect: not OOMKilled, no restart, and running since before the trouble
Mistaken for it:
    - docker stop: exit code 137 too, after its grace of 10 s, without OOMKilled
    - a machine without memory, which kills what is largest
Severity: critical
Runbook: persist-vector-store
Mitigation: Raise the memory limit of the vector store's container above vectors × dimensions × 4 bytes, twice over.
Leads to: ungrounded_answers, oom_kill
References:
    - https://cookbook.chromadb.dev/core/resources (the index is in memory; the formula)
    - https://docs.trychroma.com/guides/performance/single-node (memory and collections measured)
    - https://qdrant.tech/documentation/installation/ (memory by vectors and dimensions)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, size_text
from .facts.services import STORE_ROLE, has_services, service_events, store_containers, store_of, where
from .findings import Finding, hints, proves, refutes, supports, unseen

_COLLECT = "docker inspect of the vector store's container: its limit, restarts and OOMKilled (warmstall collect CASE)"
# 128 and the number of SIGKILL.
_KILLED = 137
# The kernel kills at the limit; what is this near gets there with the next index.
_NEAR = 0.9


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What docker, the kernel and the samples say of the store's memory."""
    stores = store_containers(facts)
    kills = _kills(facts)
    if stores.empty and kills.empty:
        yield unseen(_COLLECT if has_services(facts) else f"{_COLLECT} (if there is a vector store)")
        return
    shown = False
    for container in stores.to_dict("records"):
        for finding in _killed(container):
            shown = True
            yield finding
    if len(kills):
        shown = True
        at = kills["at"].dropna()
        largest = max((int(fields.get("anon_rss_bytes") or 0) for fields in kills["fields"]), default=0)
        span = (at.iloc[0].to_pydatetime(), at.iloc[-1].to_pydatetime()) if len(at) else (None, None)
        yield proves(f"The kernel killed the vector store {counted(len(kills), 'time')} because its container was full"
                     + (f", first at {clock_text(at.iloc[0])}" if len(at) else "")
                     + (f", with {size_text(largest)} resident" if largest else "") + ".",
                     *places(kills), span=span)  # fmt: skip
    for finding in _near_limit(facts, stores):
        shown = True
        yield finding
    if not shown:
        yield from _not_killed(facts, stores)


def _kills(facts: Facts) -> pd.DataFrame:
    """Kills of a store in its own cgroup, by the kernel or by who manages the container."""
    told = service_events(facts, "kernel_oom_kill", "app_oom_kill")
    kept = [
        (fields.get("scope") == "memcg" and bool(store_of(str(fields.get("process")))))
        or (key == "app_oom_kill" and bool(store_of(str(fields.get("service")))))
        for key, fields in zip(told["key"], told["fields"], strict=True)
    ]  # fmt: skip
    told = where(told, kept)
    # Both may tell the same kill.
    return told[told["key"].eq("kernel_oom_kill")] if told["key"].eq("kernel_oom_kill").any() else told


def _killed(container: dict[str, Any]) -> Iterator[Finding]:
    name, restarts = printable(str(container["container"]))[:60], _number(container["restarts"]) or 0
    limit = _number(container["memory_limit_bytes"])
    limited = limit is not None and math.isfinite(limit)
    of = f"its limit is {size_text(limit)}" if limited and limit is not None else "it has no limit of its own"
    ended = container["finished_at"]
    span = (None, None) if pd.isna(ended) else (None, pd.Timestamp(ended).to_pydatetime())
    when = "" if pd.isna(ended) else f" at {clock_text(pd.Timestamp(ended))}"
    if not pd.isna(container["oom_killed"]) and bool(container["oom_killed"]):
        show = proves if limited else supports
        code = _number(container["exit_code"])
        exit_text = "" if code is None else f", exit code {code:.0f}"
        yield show(f"Container {name} was killed for want of memory (OOMKilled{exit_text}){when}; {of}, and it was "
                   f"restarted {counted(int(restarts), 'time')}.", *places([container]), span=span)  # fmt: skip
    elif _number(container["exit_code"]) == _KILLED and restarts and limited:
        yield supports(f"Container {name} was ended by SIGKILL (exit code {_KILLED}){when} and restarted "
                       f"{counted(int(restarts), 'time')}; {of}.", *places([container]), span=span)  # fmt: skip


def _near_limit(facts: Facts, stores: pd.DataFrame) -> Iterator[Finding]:
    """Samples of the store's process beside the limit of the only store on that host."""
    rows = facts.table("processes")
    rows = rows[rows["role"].eq(STORE_ROLE)].dropna(subset=["rss_bytes"])
    for container in stores.to_dict("records"):
        limit = _number(container["memory_limit_bytes"])
        own = rows[rows["host"].eq(container["host"])]
        if limit is None or not math.isfinite(limit) or own.empty or (stores["host"] == container["host"]).sum() > 1:
            continue
        near = own[own["rss_bytes"].between(_NEAR * limit, limit)].sort_values("rss_bytes", ascending=False)
        if len(near):
            yield supports(f"The vector store held {size_text(near['rss_bytes'].iloc[0])} of its limit of "
                           f"{size_text(limit)} ({len(near):,} of {counted(len(own), 'look')} above "
                           f"{100 * _NEAR:.0f} %).",
                           *places(near, 2), severity="warning")  # fmt: skip


def _not_killed(facts: Facts, stores: pd.DataFrame) -> Iterator[Finding]:
    lost = pd.to_datetime(facts.lost_trials["started_at"], utc=True)
    sampled = facts.table("processes")["role"].eq(STORE_ROLE).any()
    begins = [*facts.requests["started_at"].dropna(), *lost.dropna()]
    for container in stores.to_dict("records"):
        name, restarts = printable(str(container["container"]))[:60], _number(container["restarts"])
        running = str(container["state"]).startswith("running") and restarts == 0
        since, known = container["started_at"], not pd.isna(container["oom_killed"])
        if running and known and not pd.isna(since) and begins and pd.Timestamp(since) <= min(begins):
            yield refutes(f"Container {name} runs since {clock_text(pd.Timestamp(since))}, with 0 restarts, and was "
                          "not killed for want of memory.", *places([container]))  # fmt: skip
            if not sampled and container["memory_limit_bytes"] != math.inf:
                yield unseen(f"the memory of {name} beside its limit: docker stats --no-stream {name}, or samples "
                             "(warmstall watch CASE)")  # fmt: skip
        else:
            if restarts:
                yield hints(f"Container {name} was restarted {counted(int(restarts), 'time')}; why is not told.",
                            *places([container]))  # fmt: skip
            yield unseen(f"why {name} ended: docker events --filter container={name} --since 24h, and journalctl -k")


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
