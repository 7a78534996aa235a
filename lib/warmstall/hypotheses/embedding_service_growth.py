"""Embedding service growth: the memory of the embedding service grows steadily, and does not come back.

Each worker holds what it allocated: arenas of the allocator for every thread, caches of the tokenizer, batches that
were once large. The service becomes slow when the host has to swap, and ends at a limit. Growth while the model is read
is ordinary; growth that goes on under the same load is not.

Shown by:
    - samples in which the resident memory of its processes rises over their whole life
    - several lives that each grow, from a restart to the next one
Ruled out by:
    - samples of an hour, with requests in them, in which its memory stays as it is
Mistaken for it:
    - the load of the model, which ends after the first requests
    - a cache that fills up to its bound
    - virtual memory, which is only reserved
Severity: warning
Runbook: stabilise-embedding-service
Mitigation: Let each worker end after a number of requests (max_requests) and set MALLOC_ARENA_MAX=2.
Leads to: memory_pressure, oom_kill, embedding_service_crash
References:
    - https://github.com/benoitc/gunicorn/issues/28 (max_requests, made for leaks)
    - https://github.com/basicallysource/sorter-v2/pull/336 (arenas of threads measured, MALLOC_ARENA_MAX)
    - https://github.com/fastapi/fastapi/issues/1624
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..slopes import seconds_and_values, slope
from .facts import Facts, clock_text, counted, places, seconds_text, size_text
from .facts.services import EMBEDDER_ROLES, NO_SERVICE, has_services
from .findings import Finding, proves, refutes, supports, unseen

_COLLECT = "samples of the embedding service over an hour under load: warmstall watch CASE --for 1h"
# A slope of fewer looks is noise; a rank correlation beyond three times its spread is not.
_FEWEST_LOOKS, _SPREADS = 8, 3.0
# A tenth of what it holds, and more than an allocator's arena (64 MiB): less is the ordinary noise of caches.
_SHARE, _ARENA_BYTES = 0.1, 64 * 2**20
# A service that stays as it is for so long does not grow; one that was watched for less may.
_LONG_S = 1800.0
_NEAR_LIMIT = 0.8


@dataclass(frozen=True)
class Life:
    """One process from its first look to its last, and how its memory moved."""

    rows: pd.DataFrame
    lasted_s: float
    bytes_per_s: float
    later_bytes_per_s: float
    grows: bool


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The slope of each process of the service."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    rows = facts.table("processes")
    rows = rows[rows["role"].isin(EMBEDDER_ROLES)].dropna(subset=["at", "rss_bytes"]).sort_values("at")
    lives = [_life(own) for _, own in rows.groupby(["host", "pid"], sort=True) if len(own) >= _FEWEST_LOOKS]
    growing = sorted((life for life in lives if life.grows), key=lambda life: -life.lasted_s * life.bytes_per_s)
    if growing:
        yield from _growth(facts, growing, lives)
        return
    long = [life for life in lives if life.lasted_s >= _LONG_S]
    if not long:
        yield unseen(_COLLECT)
        return
    longest = max(long, key=lambda life: life.lasted_s)
    looks, later = longest.rows["rss_bytes"], longest.later_bytes_per_s * 3600
    watched = "1 process of the service was" if len(long) == 1 else f"{len(long):,} processes of the service were"
    yield refutes(f"{watched} watched for {seconds_text(longest.lasted_s)}, the longest from "
                  f"{size_text(looks.iloc[0])} to {size_text(looks.iloc[-1])}, with "
                  f"{'no' if later <= 0 else size_text(later)} gain an hour in its second half "
                  f"({counted(len(looks), 'look')}).",
                  *places(longest.rows, 1), *places(longest.rows.tail(1), 1))  # fmt: skip
    if len(long) < len(lives) or not (len(facts.requests) or facts.has("trials")):
        yield unseen(_COLLECT)


def _life(rows: pd.DataFrame) -> Life:
    """Its slope, and whether it holds in the second half as well."""
    at_s, rss = seconds_and_values(rows, "rss_bytes")
    half = len(rss) // 2
    whole, later = slope(at_s, rss), slope(at_s[half:], rss[half:])
    lasted_s = float(at_s[-1])
    gained = whole.per_s * lasted_s
    grows = (
        whole.spreads > _SPREADS and gained > max(_SHARE * rss[0], _ARENA_BYTES)
        # What fills up or is read once grows in the first half only.
        and later.per_s > whole.per_s / 2 and later.spreads > _SPREADS / 2
    )  # fmt: skip
    return Life(rows, lasted_s, whole.per_s, later.per_s, bool(grows))


def _growth(facts: Facts, growing: list[Life], lives: list[Life]) -> Iterator[Finding]:
    worst = growing[0]
    began, ended = worst.rows["at"].iloc[0], worst.rows["at"].iloc[-1]
    first, last = worst.rows["rss_bytes"].iloc[0], worst.rows["rss_bytes"].iloc[-1]
    per_hour = size_text(worst.bytes_per_s * 3600)
    process = f"Process {worst.rows['pid'].iloc[0]:.0f} ({worst.rows['role'].iloc[0]})"
    sentence = (
        f"{process} grew from {size_text(first)} to {size_text(last)} between {clock_text(began)} and "
        f"{clock_text(ended)}: {per_hour} an hour (median slope of "
        f"{len(worst.rows):,} looks)"
    )
    if len(growing) > 1:
        slopes = sorted(life.bytes_per_s * 3600 for life in growing)
        sentence += (
            f"; {len(growing):,} of {len(lives):,} processes grow, by {size_text(slopes[0])} to "
            f"{size_text(slopes[-1])} an hour"
        )
    limit, of = _limit(facts, worst.rows)
    # Processes of a service share its limit, and die at different times: the most that they held at one look counts.
    together = pd.concat([life.rows for life in lives]).groupby(["host", "at"])["rss_bytes"].sum().max()
    near = limit is not None and together >= _NEAR_LIMIT * limit
    if limit is not None:
        sentence += f"; together they held up to {size_text(together)}, and {of} is {size_text(limit)}"
    show = proves if len(growing) > 1 or near else supports
    yield show(f"{sentence}.", *places(worst.rows, 1), *places(worst.rows.tail(1), 1),
               *(place for life in growing[1:2] for place in places(life.rows.tail(1), 1)),
               span=(began.to_pydatetime(), ended.to_pydatetime()))  # fmt: skip


def _limit(facts: Facts, rows: pd.DataFrame) -> tuple[float | None, str]:
    """What the service's memory runs against: the limit of its container or unit, or all memory of its host."""
    host = rows["host"].iloc[0]
    containers = facts.table("containers")
    own = containers[containers["image"].fillna("").str.contains("(?i)embed|infinity") & containers["host"].eq(host)]
    limits = own["memory_limit_bytes"].replace(np.inf, np.nan).dropna()
    if len(limits):
        return float(limits.iloc[-1]), "the limit of its container"
    set_ = facts.table("limits")
    set_ = set_[set_["resource"].eq("MemoryMax") & set_["subject"].fillna("").str.contains("(?i)embed")]
    amounts = set_["soft"].replace(np.inf, np.nan).dropna()
    if len(amounts):
        return float(amounts.iloc[-1]), "the limit of its unit"
    memory = facts.table("memory")
    totals = memory[memory["host"].eq(host)]["total_bytes"].dropna()
    return (float(totals.max()), "all memory of the host") if len(totals) else (None, "")
