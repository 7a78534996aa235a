"""Why a status is not healthy: each rule of it in one place. A reason's key names host and trouble, never a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from ..parse.plain_text import printable
from .records import Comparison, Exhaustion, ObjectiveResult, Reason, Status
from .seen_causes import SeenCause
from .signs import Signs
from .words import about, amount, continued

# At 14.4 times the pace allowed, two percent of thirty days' budget are gone in one hour: the SRE workbook's pace at
# which somebody is woken.
PAGED_BURN_RATE = 14.4
_CAUSES_OF_THE_AUDIT = ("setting_not_in_force", "memlock_limit", "nofile_limit")
_LONGEST_GROUP = 120  # of its path
# A look may fall into a restart. Two in a row do not.
_LOOKS_TO_BE_SURE = 2


def by_signs(signs: Sequence[Signs]) -> Iterator[Reason]:
    """A server that does not answer, and one of which nothing tells."""
    for one in signs:
        where = f" on {one.host}" if len(signs) > 1 else ""
        if one.unanswered and one.since:
            sure = one.unanswered >= _LOOKS_TO_BE_SURE
            times = f"{one.unanswered} looks" if sure else "the last look"
            yield Reason(
                f"silent:{one.host}", "critical" if sure else "degraded",
                f"the server{where} did not answer {times} since {one.since:%H:%M} UTC ({one.error})",
            )  # fmt: skip
        elif one.alive_at is None:
            yield Reason(
                f"unseen:{one.host}", "could not tell",
                f"nothing shows whether the server{where} ran (use --collect, or leave warmstall watch running)",
            )  # fmt: skip
    if not signs:
        yield Reason("unseen:", "could not tell", "no server's log, look or process is in the evidence; "
                     "name the log, or collect with --collect")  # fmt: skip


def by_objectives(
    results: Sequence[ObjectiveResult], missed_by: Mapping[str, Sequence[ObjectiveResult]]
) -> Iterator[Reason]:
    """Objectives that are missed beyond chance: by hosts of their own account, else by all of them together."""
    told = set()
    for host, missed in missed_by.items():
        for one in missed:
            told.add(one.objective)
            yield _missed(one, host)
    yield from (_missed(one, "") for one in results if one.judged == "missed" and one.objective not in told)


def _missed(one: ObjectiveResult, host: str) -> Reason:
    paged = one.burn_rate is not None and one.burn_rate >= PAGED_BURN_RATE
    where = f"{host}: " if host else ""
    return Reason(f"objective:{one.objective.sli}:{host}", "critical" if paged else "degraded", where + one.sentence)


def by_memory(
    memory: Iterable[Exhaustion], from_at: datetime, to_at: datetime, every_s: float, several: bool
) -> Iterator[Reason]:
    """Memory that falls; critical where the report after the next one would come too late."""
    falling = [(left_at(one, to_at), one) for one in memory if one.state == "falling"]
    for left_s, one in sorted(falling, key=lambda pair: math.inf if pair[0] is None else pair[0]):
        # By the group too: its limit may be near on a machine that has enough, and the other way round.
        key = ":".join(part for part in (one.what, one.host, one.group) if part)
        # What was not looked at in this period may have been put right since.
        is_old = one.at is None or one.at <= from_at
        late = left_s is not None and left_s <= 2 * every_s and not is_old
        yield Reason(key, "critical" if late else "degraded", _falling(one, left_s, several, is_old))


def _falling(one: Exhaustion, left_s: float | None, several: bool, is_old: bool) -> str:
    group = f" of the control group {printable(one.group)[:_LONGEST_GROUP]}" if one.group else ""
    host = f" {'on' if group else 'of'} {one.host}" if several else ""
    what = f"{one.what}{group}{host}"
    rest = f"{amount(one.available_bytes)} left" if one.available_bytes is not None else "how much is left is not known"
    if is_old:
        seen = f", at {one.at:%H:%M} UTC" if one.at else ""
        return f"{what} was falling at the last look{seen} ({rest}), and nobody has looked since"
    if left_s is None:
        return f"{what} keeps falling ({rest})"
    if left_s <= 0:
        return f"{what} is about to be gone ({rest} at {one.at:%H:%M} UTC)"
    return f"{what} will be gone in {about(left_s)} ({rest})"


def left_at(one: Exhaustion, at: datetime) -> float | None:
    """What is left of the time until it is gone, at a later moment than the last look."""
    if one.left_s is None or one.at is None:
        return one.left_s
    return one.left_s - (at - one.at).total_seconds()


def by_causes(seen: Iterable[SeenCause], failing: bool) -> Iterator[Reason]:
    """Causes worth an alarm. What is only supported may be otherwise: alone it wakes nobody."""
    for one in seen:
        status = status_of_cause(one.cause.state, one.cause.severity, failing)
        if status != "healthy":
            sure = "" if one.cause.state == "confirmed" else "likely "
            for host in one.hosts:
                yield Reason(f"cause:{one.cause.id}:{host}", status, f"{sure}{one.judgement.page.name}: "
                             f"{continued(one.cause.sentence)}")  # fmt: skip


def status_of_cause(state: str, severity: str, failing: bool) -> Status:
    """What a cause makes of the status; `failing`: whether more requests failed than is allowed and chance explains.

    >>> status_of_cause("confirmed", "critical", False), status_of_cause("supported", "critical", False)
    ('critical', 'degraded')
    >>> status_of_cause("supported", "critical", True), status_of_cause("confirmed", "info", True)
    ('critical', 'healthy')
    """
    if severity == "info" or state not in ("confirmed", "supported"):
        return "healthy"
    if severity == "critical" and (state == "confirmed" or failing):
        return "critical"
    return "degraded"


def by_comparisons(comparisons: Iterable[Comparison]) -> Iterator[Reason]:
    """What is worse than usual at this hour."""
    for one in comparisons:
        if one.unusual:
            yield Reason(f"unusual:{one.sli}:{one.host}", "degraded", one.sentence.rstrip("."))


def by_audit(sentences: Sequence[str], hosts: Sequence[str], seen: Iterable[SeenCause]) -> Iterator[Reason]:
    """Settings and limits that were meant otherwise than they are in force, unless a cause tells of them already."""
    if any(one.cause.id in _CAUSES_OF_THE_AUDIT and one.cause.severity != "info" for one in seen):
        return
    for host in hosts:
        if own := [text for text in sentences if text.startswith(f"{host}: ")]:
            more = f" ({len(own) - 1} more on the page)" if len(own) > 1 else ""
            yield Reason(f"audit:{host}", "degraded", f"not in force as set: {own[0].rstrip('.')}{more}")


def failing(results: Iterable[ObjectiveResult]) -> bool:
    """Whether requests really failed: more than the objective allows, and chance does not explain it."""
    return any(one.objective.sli == "availability" and one.judged == "missed" for one in results)
