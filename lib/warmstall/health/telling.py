"""The head of a report: one sentence that is understood at night, and the three numbers that matter most."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..parse.plain_text import printable
from .failures import Failures
from .reasons import left_at
from .records import SEVERITY_ORDER, Comparison, Exhaustion, Number, ObjectiveResult, Reason, Sli, Status
from .seen_causes import FAILS_REQUESTS, SeenCause
from .slis import SLIS
from .words import about, amount, continued, listed, shortened, wall
from .words import sentence as sentence_of

# Beyond two clauses nobody listens; the page has the rest.
_CLAUSES = 2
# What a person can still do something about.
_FIRST = ("silent:", "memory:", "swap:")
# The page has the interval of a rate, and the day of a time.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d):\d\d UTC")
_INTERVAL = re.compile(r"; 95 % interval [^)]*")


@dataclass(frozen=True)
class Told:
    """What the head is made of."""

    status: Status
    reasons: Sequence[Reason]
    failures: Failures
    causes: Sequence[SeenCause]
    slis: Sequence[Sli]
    objectives: Sequence[ObjectiveResult]
    comparisons: Sequence[Comparison]
    memory: Sequence[Exhaustion]
    from_at: datetime
    to_at: datetime
    recovered: bool  # the last report was worse, and what it found is over

    def sli(self, name: str) -> Sli | None:
        return next((one for one in self.slis if one.name == name and not one.host), None)


def sentence(told: Told) -> str:
    """Status, then why; of a healthy period, what went well."""
    if told.status == "healthy":
        return printable(_healthy(told))
    clauses = _clauses(told)
    more = len(clauses) - _CLAUSES
    text = "; ".join(clauses[:_CLAUSES]) + (f"; and {more} more" if more > 0 else "")
    return printable(sentence_of(f"{told.status.capitalize()}: {text}"))


def _healthy(told: Told) -> str:
    failed, word = told.failures, "Healthy again" if told.recovered else "Healthy"
    if not failed.asked:
        span = _span((told.to_at - told.from_at).total_seconds())
        return f"{word}: no request ended in {span}, and the server ran."
    p95 = told.sli("wall_p95_s")
    within = f", 95 % within {wall(p95.value)}" if p95 and p95.value is not None and failed.asked > 1 else ""
    count = f"{failed.asked:,} request{'s' * (failed.asked != 1)}"
    return f"{word}: {count}{within}{_ended(told)}."


def _ended(told: Told) -> str:
    """How the requests of a healthy period ended; a failure is told, and why it is no alarm."""
    failed = told.failures
    refused = f"; {failed.refused:,} more were wrong themselves (HTTP 400 or 404)" if failed.refused else ""
    if not failed.bad:
        return f", {'all ' * (failed.asked > 1)}answered{refused}"
    why = {"met": ", within the objective", "not sure": ", too few to judge"}.get(_availability(told), "")
    return f"; {failed.bad:,} failed{why}{refused}"


def _availability(told: Told) -> str:
    """How the objective of availability was judged."""
    return next((one.judged for one in told.objectives if one.objective.sli == "availability"), "not measured")


def _clauses(told: Told) -> list[str]:
    """What the reasons come to, the worst first; failures take in the causes that explain them."""
    reasons = sorted(told.reasons, key=lambda one: (-SEVERITY_ORDER.index(one.status), not one.key.startswith(_FIRST)))
    clauses: list[str] = []
    if told.failures.bad and (any(_of_failures(one) for one in reasons) or _availability(told) != "met"):
        clauses.append(_failed(told))
        # Who gave up has waited as long as that.
        reasons = [one for one in reasons if not _of_failures(one) and not one.key.startswith("objective:wall_")]
    if any(one.key.startswith("memory:") for one in reasons):  # the same, with more words
        reasons = [one for one in reasons if not one.key.startswith("cause:memory_pressure:")]
    for one in reasons:
        if (text := _clause(told, one)) not in clauses:
            clauses.append(text)
    return clauses


def _of_failures(reason: Reason) -> bool:
    kind, what, _ = f"{reason.key}::".split(":", 2)
    return (kind, what) == ("objective", "availability") or (kind == "cause" and what in FAILS_REQUESTS)


def _clause(told: Told, reason: Reason) -> str:
    kind, what, *_ = f"{reason.key}:".split(":")
    result = next((one for one in told.objectives if one.objective.sli == what), None)
    if kind == "objective" and result and result.judged == "missed":
        wanted = f"{result.objective.direction} {_value(what, result.objective.target)}"
        return f"{SLIS[what].label.lower()}: {_value(what, result.value)} (objective: {wanted})"
    name, colon, claim = _MOMENT.sub(r"\1 UTC", _INTERVAL.sub("", reason.sentence)).partition(": ")
    return shortened(continued(name) + colon + continued(claim))


def _value(sli: str, value: float | None) -> str:
    if value is None:
        return "not known"
    kind = SLIS[sli]
    return f"{100 * value:.3g} %" if kind.is_rate else wall(value) if kind.unit == "s" else f"{value:.3g} {kind.unit}"


def _failed(told: Told) -> str:
    """How many failed, how, and why."""
    explaining = [one for one in told.causes if one.cause.id in FAILS_REQUESTS and one.cause.severity != "info"]
    # What is sure comes first; then the stall itself, which is what the caller notices.
    explaining.sort(
        key=lambda one: (one.cause.state != "confirmed", one.cause.severity != "critical", one.cause.id != "warm_stall")
    )
    sure = [one.judgement.page.name for one in explaining[:2] if one.cause.state == "confirmed"]
    likely = [one.judgement.page.name for one in explaining[:2] if one.cause.state != "confirmed"]
    parts = [listed(sure)] if sure else []
    parts += [f"likely {listed(likely)}"] if likely else []
    names = ", ".join(parts)
    return f"{told.failures.sentence} ({names})" if names else told.failures.sentence


def _span(span_s: float) -> str:
    if abs(span_s - 3600) < 180:
        return "the hour"
    for name, unit_s in (("hours", 3600.0), ("minutes", 60.0)):
        if span_s >= 1.5 * unit_s:
            return f"{span_s / unit_s:.0f} {name}"
    return f"{span_s:.0f} seconds"


def numbers(told: Told) -> tuple[Number, ...]:
    """Requests and failures; how long they took, beside what it should be; and what memory is left."""
    return (_requests(told), _wall(told), _third(told))


def _requests(told: Told) -> Number:
    failed = told.failures
    if not failed.asked:
        return Number("requests", "none ended")
    return Number("requests", f"{failed.asked:,}, {f'{failed.bad:,} failed' if failed.bad else 'none failed'}")


def _wall(told: Told) -> Number:
    p95 = told.sli("wall_p95_s")
    label = "95 % of requests within"
    if p95 is None or p95.value is None:
        return Number(label, "not measured")
    goal = next((one.objective.target for one in told.objectives if one.objective.sli == "wall_p95_s"), None)
    usual = next((one.usual for one in told.comparisons if one.sli == "wall_p95_s" and not one.host), None)
    beside = f" (objective {wall(goal)})" if goal is not None else ""
    beside = f" (usual {wall(usual)})" if usual is not None else beside
    least = "at least " if p95.why.startswith("at least") else ""
    return Number(label, f"{least}{wall(p95.value)}{beside}")


def _third(told: Told) -> Number:
    """Memory, of the host that has least time; where nobody looked at it, the stalls."""
    falling = [one for one in told.memory if one.state == "falling"]
    if falling:
        one = min(falling, key=lambda one: one.left_s if one.left_s is not None else math.inf)
        left_s = left_at(one, told.to_at)
        text = amount(one.available_bytes) if one.available_bytes is not None else "falling"
        label = f"{one.what} of {printable(one.group)} left" if one.group else f"{one.what} left"
        # What was looked at before this period, or should be gone by now, was so much then.
        if one.at and (one.at <= told.from_at or (left_s is not None and left_s <= 0)):
            return Number(label, f"{text} at {one.at:%H:%M} UTC")
        return Number(label, f"{text}, gone in {about(left_s)}" if left_s else text)
    known = [(one.available_bytes, one.total_bytes or one.available_bytes, one.state)
             for one in told.memory if one.what == "memory" and one.available_bytes is not None]  # fmt: skip
    if known:
        left, total, state = min(known, key=lambda looks: looks[0] / (looks[1] or 1))
        return Number("memory left", f"{amount(left)} of {amount(total)}{', steady' * (state == 'steady')}")
    stalls = told.sli("warm_stall_rate")
    if stalls and stalls.count is not None and stalls.of:
        unknown = stalls.why.split(":")[0] if "cannot be told" in stalls.why else ""
        return Number("warm stalls", f"{stalls.count:,} of {stalls.of:,}{f', {unknown}' if unknown else ''}")
    return Number("memory left", "not observed")
