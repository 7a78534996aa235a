"""The causes of one period: what its own evidence shows, and, where that explains nothing, what began before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..analysis import Analysis
from ..hypotheses import Judgement, judge
from ..hypotheses.findings import Evidence
from ..period import within
from .records import Cause

# A day holds what comes with the hour, and whatever else is usual; further back, other things were wrong.
LOOKED_BACK = timedelta(hours=24)
# What can make requests fail. Other causes may be there beside the failures, and are no explanation of them.
FAILS_REQUESTS = (
    "warm_stall", "stopping_deadlock", "gpu_idle_but_held", "memory_pressure", "flash_attention_cpu_spill",
    "memlock_limit", "nofile_limit", "runner_crash", "oom_kill", "load_timeout", "model_hang_rate",
    "client_timeout_too_short",
)  # fmt: skip


@dataclass(frozen=True)
class SeenCause:
    """A cause that is found, the judgement it comes from, and the servers' hosts that its evidence names."""

    cause: Cause
    judgement: Judgement
    hosts: tuple[str, ...]


def seen_causes(
    found: Analysis, period: Analysis, from_at: datetime, to_at: datetime, hosts: Iterable[str],
    previous: Mapping[str, Any] | None, unexplained: bool,
) -> list[SeenCause]:  # fmt: skip
    """What is found in the period, the most severe first; `period` is `found` narrowed to it.

    Where requests are in trouble (`unexplained`) and the period alone shows no cause of it, the day before is judged
    with it, and what reaches into the period counts: a runner that stands still since yesterday leaves nothing new.
    """
    before, hosts = _previous(previous), tuple(hosts)
    ones = _reaching(judge(period), from_at, to_at, undated=True)
    known = {judgement.id for judgement, _ in ones if judgement.severity != "info"}
    if unexplained and known.isdisjoint(FAILS_REQUESTS):
        longer = _reaching(judge(within(found, to_at - LOOKED_BACK, to_at)), from_at, to_at, undated=False)
        began_before = [one for one in longer if one[0].id in FAILS_REQUESTS and one[0].severity != "info"]
        replaced = {judgement.id for judgement, _ in began_before}
        ones = began_before + [one for one in ones if one[0].id not in replaced]
    return [
        SeenCause(_cause(judgement, item, judgement.id in before), judgement, _hosts(item, hosts))
        for judgement, item in ones
    ]


def gone_causes(period: Analysis, seen: Iterable[SeenCause], previous: Mapping[str, Any] | None) -> list[Cause]:
    """What the last report found and this one does not; whether it is over, or cannot be seen, is said."""
    now = {one.cause.id for one in seen}
    judged = {one.id: one for one in judge(period)}
    gone = []
    for name, cause in _previous(previous).items():
        if name in now or name not in judged or cause.get("severity") == "info":
            continue
        one = judged[name]
        title = one.page.title
        if one.state == "ruled_out":
            first = one.opposing[0].sentence if one.opposing else ""
            sentence = f"{title}: over. {first}".strip()
        else:
            wanted = f" Collect: {one.collect[0]}." if one.collect else ""
            sentence = f"{title}: found in the last report; this period's evidence does not show it.{wanted}"
        gone.append(Cause(name, title, one.state, str(cause.get("severity", "")), "gone", sentence, one.page.runbook))
    return gone


def _previous(previous: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    causes = (previous or {}).get("causes") or []
    return {str(cause["id"]): cause for cause in causes
            if isinstance(cause, Mapping) and "id" in cause and cause.get("change") != "gone"}  # fmt: skip


def _reaching(
    judged: Iterable[Judgement], from_at: datetime, to_at: datetime, undated: bool
) -> list[tuple[Judgement, Evidence]]:
    """Causes found, with the strongest evidence that tells of the period. `undated`: whether what has no time does."""
    ones = []
    for one in judged:
        telling = [item for item in one.supporting if item.strength != "weak"] if one.found else []
        items = [item for item in telling if _reaches(item, from_at, to_at, undated)]
        if items:
            ones.append((one, items[0]))
    return ones


def _reaches(item: Evidence, from_at: datetime, to_at: datetime, undated: bool) -> bool:
    # What ended before the period still stands in captures of a state (a container that was killed yesterday).
    begins, ends = _aware(item.from_at), _aware(item.to_at)
    if begins is None and ends is None:
        return undated
    return (ends is None or ends > from_at) and (begins is None or begins <= to_at)


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def _hosts(item: Evidence, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """The servers' hosts that the evidence names; what a client saw is a matter of the only server, or of none."""
    if len(hosts) == 1:
        return hosts
    named = {place.host for place in item.places}
    return tuple(host for host in hosts if host in named) or ("",)


def _cause(one: Judgement, item: Evidence, before: bool) -> Cause:
    return Cause(
        one.id, one.page.title, one.state, one.severity, "still" if before else "new", item.sentence, one.page.runbook
    )
