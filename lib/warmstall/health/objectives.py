"""Objectives: what was promised of a server, in one TOML file, judged on what was measured.

[[objectives]]
metric = "wall_p95_s"
target = 60.0

Every objective is a share of calls. "wall_p95_s at most 60" allows one call in twenty to take longer, "availability at
least 0.99" one in a hundred to fail: that is its error budget. Fewer bad calls than chance would explain, were the
budget just kept, are no miss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ParameterError
from ..proportions import wilson
from ..targets import checked_direction, checked_rows, checked_target, known, read_toml, shipped_file
from .records import Judged, Objective, ObjectiveResult, Sli
from .slis import SLIS, Samples, SliKind

if TYPE_CHECKING:
    import pandas as pd

BUDGET_DAYS = 30.0
_MONTH = timedelta(days=BUDGET_DAYS)
_SLACK = timedelta(seconds=1)  # a verdict tells its times to the second or better
# Longer windows, and how many times too fast the budget must go in them: the pairs of the SRE workbook ("Alerting on
# SLOs", multiwindow). 6 in six hours is 5 % of a month's budget, 1 in three days is 10 %.
_WINDOWS = ((timedelta(hours=6), 6.0), (timedelta(days=3), 1.0))
# Half a dozen objectives, judged at every hour of a month, are 4,000 looks: what comes about once in forty by chance
# would be missed a hundred times by a server that just keeps them.
_CHANCE = 0.001
# 1 - 0.9 is a little less than 0.1: one of ten is not more than that.
_ROUNDED = 1e-9
# One bad call is an anecdote, however rare it should be.
_FEWEST_BAD = 2


def default_objectives_path() -> Path:
    """The objectives that ship with the project: in the repository, or in the installed package.

    >>> default_objectives_path().name
    'objectives.toml'
    """
    return shipped_file("objectives.toml")


def read_objectives(path: Path) -> list[Objective]:
    """The objectives of a file, in its order; raises InputError where it cannot be read, ParameterError for a word."""
    return checked_objectives(read_toml(path), path.name)


def checked_objectives(said: Mapping[str, Any], where: str) -> list[Objective]:
    """The objectives of a table; raises ParameterError with one sentence for the first thing that is wrong.

    >>> checked_objectives({"objectives": [{"metric": "availability", "target": 99.9}]}, "objectives.toml")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: objectives.toml, objective 1: the target of availability is 99.9; expected a share from 0 to 1, such as 0.99.
    """  # noqa: E501
    return list(checked_rows(said, "objectives", "objective", where, _objective, lambda row: (row.sli, row.direction)))


def _objective(row: Mapping[str, Any], where: str) -> Objective:
    known(row, ("metric", "target", "direction"), where, "key")
    name = str(row.get("metric"))
    known((name,), list(SLIS), where, "metric")
    kind = SLIS[name]
    target = checked_target(name, row.get("target"), where)
    if kind.is_rate and not 0 <= target <= 1:
        raise ParameterError(f"{where}: the target of {name} is {target:g}; expected a share from 0 to 1, such as "
                             f"{0.99 if kind.good == 'higher' else 0.01:g}.")  # fmt: skip
    if not kind.is_rate and target <= 0:
        raise ParameterError(f"{where}: the target of {name} is {target:g}; expected more than 0 {kind.unit}.")
    right = "at least" if kind.good == "higher" else "at most"
    direction = checked_direction(row.get("direction", right), where)
    if direction != right:
        raise ParameterError(f"{where}: {name} {direction} {target:g}; {kind.good} is better, so expected {right}.")
    return Objective(name, target, direction)


def judge_objectives(
    objectives: Sequence[Objective],
    slis: Sequence[Sli],
    samples: Mapping[tuple[str, str], Samples],
    history: pd.DataFrame | None,
    from_at: datetime,
    to_at: datetime,
    host: str = "",
) -> list[ObjectiveResult]:
    """Each objective on all hosts together, or on one `host`, in order. `slis` and `samples` are those of the period
    (`slis.measured`, `slis.sampled`). `history` has the rows of earlier reports (`history.read`): those of kind
    "objective" hold the `count` of bad calls `of` all, and the target as `text`, for counts of one target say nothing
    of another. Of one host the rates alone have a history, in the rows of kind "sli".
    """
    values = {sli.name: sli for sli in slis if sli.host == host}
    return [
        _judged(
            one, values.get(one.sli), samples.get((one.sli, host), Samples()), _Past(history, one, from_at, to_at, host)
        )
        for one in objectives
    ]


def allowed_share(objective: Objective) -> float | None:
    """The share of calls that may be bad; None for a quotient of sums, which is of no calls.

    >>> [round(allowed_share(Objective(*one)), 3) for one in (("wall_p95_s", 60.0, "at most"),
    ...  ("availability", 0.99, "at least"), ("warm_stall_rate", 0.01, "at most"))]
    [0.05, 0.01, 0.01]
    """
    kind = SLIS[objective.sli]
    if kind.is_rate:
        return 1 - objective.target if kind.good == "higher" else objective.target
    if kind.quantile is None:
        return None
    return kind.quantile if kind.good == "higher" else 1 - kind.quantile


class _Counts(NamedTuple):
    """Calls that are bad, of those that can be told, and those that cannot."""

    bad: int
    of: int
    unknown: int


def _counted(objective: Objective, samples: Samples) -> _Counts:
    kind, values, bounds = SLIS[objective.sli], samples.values, samples.bounds
    if kind.is_rate:
        bad = values == (0.0 if kind.good == "higher" else 1.0)
        return _Counts(int(bad.sum()), len(values), len(bounds))
    if kind.good == "higher":
        return _Counts(int((values < objective.target).sum()), len(values), len(bounds))
    # What was cut off at the target itself had not ended by then.
    over = int((bounds >= objective.target).sum())
    return _Counts(int((values > objective.target).sum()) + over, len(values) + over, len(bounds) - over)


class _Past:
    """What earlier reports counted for one objective, and how long each period was."""

    def __init__(
        self, history: pd.DataFrame | None, objective: Objective, from_at: datetime, to_at: datetime, host: str
    ) -> None:
        self.from_at, self.to_at = from_at, to_at
        self.rows: list[tuple[datetime, datetime, int, int]] = []
        kind = SLIS[objective.sli]
        if history is None or history.empty or (host and not kind.is_rate):
            return
        own = history[history["name"].eq(objective.sli) & history["host"].eq(host) & history["count"].notna()]
        if host:
            own = own[own["kind"].eq("sli")]
            bad = own["of"] - own["count"] if kind.good == "higher" else own["count"]
        else:
            own = own[own["kind"].eq("objective") & own["text"].eq(f"{objective.direction} {objective.target:g}")]
            bad = own["count"]
        # What this period tells of again, after a report that was begun anew, is counted by this period alone.
        apart = (own["report_from"] < from_at) & (own["report_to"] <= from_at + _SLACK)
        own = own[apart & (own["report_to"] > to_at - _MONTH)]
        moments = (own[name].dt.to_pydatetime() for name in ("report_from", "report_to"))
        self.rows = list(zip(*moments, bad[own.index].astype(int), own["of"].astype(int), strict=True))

    def since(self, span: timedelta, now: _Counts) -> tuple[int, int, float]:
        """Bad calls, all calls and seconds, of the reports that ended within the span, this one with them."""
        rows = [row for row in self.rows if row[1] > self.to_at - span]
        seconds = sum((end - begin).total_seconds() for begin, end, _, _ in rows)
        return (
            now.bad + sum(row[2] for row in rows),
            now.of + sum(row[3] for row in rows),
            seconds + (self.to_at - self.from_at).total_seconds(),
        )


def _judged(objective: Objective, sli: Sli | None, samples: Samples, past: _Past) -> ObjectiveResult:
    kind, allowed = SLIS[objective.sli], allowed_share(objective)
    value = sli.value if sli else None
    if allowed is None:
        return _by_value(objective, kind, value, samples)
    counts = _counted(objective, samples)
    if not counts.of and value is None:
        why = samples.why or "nothing was measured"
        told = f"{kind.label}: not measured; {why}."
        return ObjectiveResult(objective, "not measured", None, of=0, budget_days=BUDGET_DAYS, sentence=told)
    judged, reason = _verdict(counts, allowed, past, samples.least)
    burn = _burn(counts.bad, counts.of, allowed)
    return ObjectiveResult(
        objective, judged, value, counts.bad, counts.of, burn, _spent(counts, allowed, past), BUDGET_DAYS,
        _sentence(objective, kind, value, counts, allowed, burn, reason),
    )  # fmt: skip


def _by_value(objective: Objective, kind: SliKind, value: float | None, samples: Samples) -> ObjectiveResult:
    """A quotient of two sums has no calls to count, and nothing says how much of it is chance."""
    if value is None:
        told = f"{kind.label}: not measured; {samples.why or 'nothing was measured'}."
        return ObjectiveResult(objective, "not measured", None, sentence=told)
    met = value >= objective.target if objective.direction == "at least" else value <= objective.target
    told = f"{kind.label}: {value:.3g} {kind.unit}, {objective.direction} {objective.target:g} is wanted."
    doubt = "" if met else " One number of a whole period does not tell whether chance explains it."
    return ObjectiveResult(objective, "met" if met else "not sure", value, sentence=told + doubt)


def _verdict(counts: _Counts, allowed: float, past: _Past, least: bool) -> tuple[Judged, str]:
    """What the counts prove, and why: first those of the period, then, where they prove nothing, of longer windows."""
    bad, of, unknown = counts
    every = of + unknown
    # What cannot be told may all have been good, or all bad.
    if _beyond(bad, every, allowed):
        return "missed", f"by chance {_chance_text(bad, every, allowed)}"
    if bad <= allowed * of + _ROUNDED:
        if least:
            return "not sure", "there may be more that nothing shows"
        if bad + unknown <= allowed * every + _ROUNDED:
            return "met", ""
        return "not sure", f"{unknown:,} more cannot be told"
    for span, fastest in _WINDOWS:
        all_bad, all_of, _ = past.since(span, counts)
        if _beyond(all_bad, all_of + unknown, allowed) and all_bad >= fastest * allowed * all_of:
            hours = span.total_seconds() / 3600
            return "missed", f"in the last {hours:.0f} hours {all_bad:,} of {all_of:,}, which chance does not explain"
    return "not sure", f"as many may come by chance ({_chance_text(bad, every, allowed)})"


def _beyond(bad: int, of: int, allowed: float) -> bool:
    """Whether so many are more than chance explains: the whole interval is above what is allowed.

    Wilson's interval is short where few are counted and fewer allowed: so the chance itself must be rare.
    """
    return bad >= _FEWEST_BAD and wilson(bad, of)[0] > allowed and chance(bad, of, allowed) < _CHANCE


def _chance_text(bad: int, of: int, share: float) -> str:
    """A chance as readers know it; how much smaller than one in ten thousand it is tells nobody anything."""
    p = chance(bad, of, share)
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def chance(bad: int, of: int, share: float) -> float:
    """The chance of so many bad calls or more, where each is bad with that share (binomial).

    >>> round(chance(1, 10, 0.01), 3), round(chance(2, 40, 0.01), 3), chance(0, 10, 0.01)
    (0.096, 0.061, 1.0)
    """
    if bad <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    log = math.lgamma(of + 1) - math.lgamma(bad + 1) - math.lgamma(of - bad + 1)
    term = math.exp(log + bad * math.log(share) + (of - bad) * math.log1p(-share))
    total = term
    for count in range(bad, of):
        term *= (of - count) / (count + 1) * share / (1 - share)
        total += term
        if count > of * share and term < 1e-9 * total:
            break
    return min(1.0, total)


def _burn(bad: int, of: int, allowed: float) -> float | None:
    return bad / of / allowed if of and allowed > 0 else None


def _spent(counts: _Counts, allowed: float, past: _Past) -> float | None:
    """The share of the budget that is gone, if the other days of the month bring as many calls as those that are known.

    An hour at a burn rate of 14.4 spends 2 % of a month's budget.
    """
    bad, of, seconds = past.since(_MONTH, counts)
    rate = _burn(bad, of, allowed)
    return None if rate is None else rate * min(1.0, seconds / _MONTH.total_seconds())


def _sentence(
    objective: Objective, kind: SliKind, value: float | None, counts: _Counts, allowed: float, burn: float | None,
    reason: str,
) -> str:  # fmt: skip
    percent = f"{100 * counts.bad / counts.of:.3g} %" if counts.of else "none"
    if kind.is_rate:
        wanted = f"{objective.direction} {100 * objective.target:.4g} %"
        bad = "failed" if objective.sli == "availability" else "were"
    else:
        wanted = f"{objective.direction} {objective.target:g} {kind.unit}"
        bad = "were slower" if kind.good == "higher" else "took longer"
    shown = ""
    if value is not None:
        shown = f" {100 * value:.4g} %," if kind.is_rate else f" {value:.3g} {kind.unit},"
    told = (
        f"{kind.label}:{shown} {wanted} is wanted; {counts.bad:,} of {counts.of:,} {bad} ({percent}, "
        f"{100 * allowed:.3g} % is allowed)"
    )
    if burn is not None and burn > 1:
        told += f", {burn:.3g} times the budget"
    return f"{told}; {reason}." if reason else f"{told}."
