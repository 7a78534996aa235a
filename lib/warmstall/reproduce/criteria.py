"""Criteria of acceptance: a TOML file of metrics with their targets, checked, and judged on what was measured.

[[criteria]]
metric = "latency_avg_s"
direction = "at most"
target = 5.0
unit = "s"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ParameterError
from ..targets import Direction, checked_direction, checked_rows, checked_target, known, read_toml, shipped_file

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["pass", "fail", "not measured"]


@dataclass(frozen=True)
class Metric:
    """What can be asked for. `unit` is a part of its name, and may be left out of a file."""

    label: str
    direction: Direction
    unit: str = ""


METRICS: Mapping[str, Metric] = {
    "model_available": Metric("the model answers", "at least"),
    "latency_avg_s": Metric("latency of a call, mean", "at most", "s"),
    "latency_max_s": Metric("latency of a call, longest", "at most", "s"),
    "reconstruction_latency_s": Metric("from a case to its verdicts", "at most", "s"),
    "cost_per_1000_calls": Metric("cost of 1,000 calls", "at most"),
    "savings_percent": Metric("savings against an API", "at least", "%"),
    "throughput_sequential_per_s": Metric("calls one after another", "at least", "1/s"),
    "throughput_concurrent_per_s": Metric("calls at once", "at least", "1/s"),
}


@dataclass(frozen=True)
class Criterion:
    """One line of the file: `metric` at most or at least `target`."""

    metric: str
    target: float
    direction: Direction
    unit: str = ""


@dataclass(frozen=True)
class Measures:
    """Numbers by metric, and sentences on them by metric: for one without a number, why there is none.

    What stands in `spoilt` was measured, and cannot pass: latencies of the calls that ended, when others never did.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    spoilt: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Judged:
    """A criterion and what it came to. `measured` is None exactly where the verdict is "not measured"."""

    criterion: Criterion
    measured: float | None
    verdict: Verdict
    reason: str


def criteria_file() -> Path:
    """The criteria that ship with the project: in the repository, or in the installed package.

    >>> criteria_file().name
    'acceptance.toml'
    """
    return shipped_file("acceptance.toml")


def read_criteria(path: Path) -> tuple[Criterion, ...]:
    """The criteria of a file, in its order; raises InputError where it cannot be read, ParameterError for its words."""
    return checked_criteria(read_toml(path), path.name)


def checked_criteria(said: Mapping[str, Any], where: str) -> tuple[Criterion, ...]:
    """The criteria of a table; raises ParameterError with one sentence for the first thing that is wrong.

    >>> checked_criteria({"criteria": [{"metric": "latency_average_s", "target": 5}]}, "acceptance.toml")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: acceptance.toml, criterion 1: there is no metric 'latency_average_s'; did you mean latency_avg_s?
    """  # noqa: E501
    return checked_rows(said, "criteria", "criterion", where, _criterion, lambda row: (row.metric, row.direction))


def _criterion(row: Mapping[str, Any], where: str) -> Criterion:
    known(row, [one.name for one in fields(Criterion)], where, "key")
    name, target = str(row.get("metric")), row.get("target")
    known((name,), list(METRICS), where, "metric")
    metric = METRICS[name]
    if isinstance(target, bool) and name == "model_available":
        target = float(target)
    target_value = checked_target(name, target, where)
    direction = checked_direction(row.get("direction", metric.direction), where)
    unit = row.get("unit", metric.unit)
    # A cost may be in any currency; all other units are a part of the metric's name.
    if not isinstance(unit, str) or (unit != metric.unit and name != "cost_per_1000_calls"):
        raise ParameterError(f"{where}: the unit of {name} is {unit!r}; expected {metric.unit or 'none'!r}.")
    return Criterion(name, target_value, direction, unit)


def judged(criteria: Sequence[Criterion], measures: Measures) -> tuple[Judged, ...]:
    """A verdict for each criterion, in the order of the criteria.

    >>> wanted = Criterion("latency_avg_s", 5.0, "at most", "s")
    >>> [one.verdict for one in judged([wanted], Measures({"latency_avg_s": 5.0}))]
    ['pass']
    """
    return tuple(_judged(criterion, measures) for criterion in criteria)


def _judged(criterion: Criterion, measures: Measures) -> Judged:
    measured = measures.values.get(criterion.metric)
    reason = measures.reasons.get(criterion.metric, "")
    if measured is None or not math.isfinite(measured):
        return Judged(criterion, None, "not measured", reason or "Nothing measured it.")
    met = measured <= criterion.target if criterion.direction == "at most" else measured >= criterion.target
    if not met and criterion.metric == "throughput_sequential_per_s" and criterion.target > 0:
        needed_s = 1 / criterion.target
        reason += f" {criterion.target:g} a second, one after another, would need calls of {needed_s:.2g} s."
    return Judged(criterion, measured, "pass" if met and criterion.metric not in measures.spoilt else "fail", reason)


def targets(criteria: Sequence[Criterion]) -> pd.DataFrame:
    """Criterion, metric, target: a row for each, as texts."""
    return frame(judged(criteria, Measures()))[["criterion", "metric", "target"]]


def frame(rows: Sequence[Judged]) -> pd.DataFrame:
    """Criterion, target, measured, verdict, reason: a row for each, as texts."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "criterion": METRICS[one.criterion.metric].label,
                "metric": one.criterion.metric,
                "target": _target(one.criterion),
                "measured": "" if one.measured is None else _text(one.criterion, one.measured),
                "verdict": one.verdict,
                "reason": one.reason,
            }
            for one in rows
        ],
        columns=["criterion", "metric", "target", "measured", "verdict", "reason"],
    )


def conclusion(rows: Sequence[Judged]) -> str:
    """Whether all of it is accepted, and if not, what is missing; "accepted" only where each criterion passed."""
    by_verdict = {
        verdict: [METRICS[one.criterion.metric].label for one in rows if one.verdict == verdict]
        for verdict in ("pass", "fail", "not measured")
    }
    passed = f"{len(by_verdict['pass'])} of {len(rows)} criteria passed"
    if rows and len(by_verdict["pass"]) == len(rows):
        return f"Accepted: {passed}."
    told = [
        f"{verdict}: {', '.join(by_verdict[verdict])}" for verdict in ("fail", "not measured") if by_verdict[verdict]
    ]
    return f"Not accepted: {'; '.join([passed, *told])}."


def _target(criterion: Criterion) -> str:
    wanted = _text(criterion, criterion.target)
    return wanted if criterion.metric == "model_available" else f"{criterion.direction} {wanted}"


def _text(criterion: Criterion, value: float) -> str:
    if criterion.metric == "model_available":
        return "yes" if value >= 1 else "no"
    return f"{value:,.3g} {criterion.unit}".rstrip()
