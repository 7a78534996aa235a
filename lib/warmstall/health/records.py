"""The nouns of a health report. Times are aware and UTC; seconds, bytes, shares (0 to 1) stand in names or units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Status = Literal["healthy", "degraded", "critical", "could not tell"]
# As monitoring tools read them; the worse of two is the later one in SEVERITY_ORDER.
EXIT_CODES: Mapping[Status, int] = {"healthy": 0, "degraded": 1, "critical": 2, "could not tell": 3}
# A report that could not tell is more than a healthy one and less than one that found something.
SEVERITY_ORDER: tuple[Status, ...] = ("healthy", "could not tell", "degraded", "critical")

Judged = Literal["met", "missed", "not sure", "not measured"]


@dataclass(frozen=True)
class Sli:
    """One service level indicator of one host ('' is all of them) in one period.

    A rate has `count` of `of`, and `value` is their quotient. A quantile or a mean has `value` in `unit`, and `of` is
    how many measurements it was made of. `value` is None where nothing could be measured; `why` then says why.
    """

    name: str
    host: str
    value: float | None
    unit: str = ""
    count: int | None = None
    of: int = 0
    why: str = ""


@dataclass(frozen=True)
class Objective:
    """One line of objectives.toml: an SLI at most, or at least, its target."""

    sli: str
    target: float
    direction: Literal["at most", "at least"]


@dataclass(frozen=True)
class ObjectiveResult:
    """An objective, what was measured, and whether chance can explain a miss.

    missed: the measured value is on the wrong side, and so is its whole 95 % interval. not sure: it is on the wrong
    side, and chance may explain it. `bad` of `of` requests count against the budget in the period; `burn_rate` is how
    many times faster than allowed the error budget was spent in it, `budget_spent` what share of the budget of
    `budget_days` is gone by the history. Both are None where the objective is no rate or a quantile.
    """

    objective: Objective
    judged: Judged
    value: float | None
    bad: int | None = None
    of: int = 0
    burn_rate: float | None = None
    budget_spent: float | None = None
    budget_days: float = 30.0
    sentence: str = ""


@dataclass(frozen=True)
class Comparison:
    """An SLI beside what is usual for it at this hour. `usual` is None where there is too little history (`why`)."""

    sli: str
    host: str
    value: float | None
    usual: float | None
    low: float | None
    high: float | None
    periods: int
    unusual: bool
    sentence: str = ""
    why: str = ""


@dataclass(frozen=True)
class Exhaustion:
    """Where the memory (or swap) of one host is heading; that of one of its control groups, where `group` names it.

    `per_hour_bytes` is the slope of what is available (negative: it goes); `left_s` is when it is gone at that pace,
    seconds after `at`, with its 95 % interval (None: not within it, or not known). `state`: falling, steady, cannot
    tell. `models` were in memory at `at`, by what is known: looks of later reports are compared where they are again.
    """

    host: str
    what: Literal["memory", "swap"]
    state: Literal["falling", "steady", "cannot tell"]
    at: datetime | None
    available_bytes: float | None
    total_bytes: float | None
    per_hour_bytes: float | None
    left_s: float | None
    left_low_s: float | None
    left_high_s: float | None
    looks: int
    sentence: str
    models: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Drift:
    """One thing that is otherwise than at the last report: a version, setting, limit, device, model or offload."""

    host: str
    kind: str
    name: str
    before: str
    now: str
    sentence: str


@dataclass(frozen=True)
class Cause:
    """A hypothesis that the period's evidence confirms or supports. `change` is since the last report."""

    id: str
    title: str
    state: str
    severity: str
    change: Literal["new", "still", "gone"]
    sentence: str
    runbook: str = ""


@dataclass(frozen=True)
class Reason:
    """Why the status is not healthy: what a person is told, and alerted about.

    `key` names the trouble and not its numbers (`cause:memory_pressure:box`), so that the same trouble in the next
    report is the same alert.
    """

    key: str
    status: Status
    sentence: str


@dataclass(frozen=True)
class Number:
    """One of the three numbers at the top of the page."""

    label: str
    text: str


@dataclass(frozen=True)
class HealthReport:
    """Everything that one report says. Made by `assess`."""

    status: Status
    sentence: str
    numbers: tuple[Number, ...]
    from_at: datetime
    to_at: datetime
    written_at: datetime
    due_at: datetime
    hosts: tuple[str, ...]
    reasons: tuple[Reason, ...]
    slis: tuple[Sli, ...]
    objectives: tuple[ObjectiveResult, ...]
    comparisons: tuple[Comparison, ...]
    memory: tuple[Exhaustion, ...]
    drift: tuple[Drift, ...]
    causes: tuple[Cause, ...]
    residency: tuple[Mapping[str, object], ...]
    not_observed: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what a reader has to know of the period: a gap, a clock that was set
    configuration: Mapping[str, str] = field(default_factory=dict)  # "host|kind|name" -> value, for the next report
