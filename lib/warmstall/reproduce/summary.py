"""What a reproduction tells of its measurements: counts, latencies from due times, and what to read next."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .driving import Driven, quantile

if TYPE_CHECKING:
    import pandas as pd

_MOST_ERRORS = 3


@dataclass(frozen=True)
class Figures:
    """Of some calls: times of those that succeeded, in seconds; throughput and tokens of the span they took."""

    calls: int
    failed: int
    latency_p50_s: float
    latency_p95_s: float
    latency_max_s: float
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    tokens_per_s: float | None
    # None: not measured by one run, whose span tells it.
    calls_per_s: float | None

    def __str__(self) -> str:
        times = f"latency p50 {_s(self.latency_p50_s)}, p95 {_s(self.latency_p95_s)}, max {_s(self.latency_max_s)}"
        first = f"; first token p50 {_s(self.ttft_p50_s)}, p95 {_s(self.ttft_p95_s)}" if self.ttft_p50_s else ""
        tokens = f"; {_rate(self.tokens_per_s)} tokens/s a call" if self.tokens_per_s else ""
        told = f"{self.calls} call{'s' * (self.calls != 1)}, {self.failed} failed"
        if self.calls == self.failed:
            return told
        if self.failed:
            told += f"; of the {self.calls - self.failed} answered"
        throughput = f"; {_rate(self.calls_per_s)} calls/s" if self.calls_per_s else ""
        return f"{told}: {times}{first}{tokens}{throughput}"


def figures_of(rows: pd.DataFrame) -> Figures:
    """The figures of rows of `with_runs`, warm-up left out; latencies count from when the calls were due."""
    rows = rows[rows["phase"] == "measured"]
    good = rows[rows["ok"]]
    latency, ttft = (sorted(good[name].dropna()) for name in ("latency_s", "ttft_s"))
    rate = good["tokens_per_s"].dropna()
    return Figures(
        len(rows), len(rows) - len(good), quantile(latency, 0.5), quantile(latency, 0.95), quantile(latency, 1.0),
        quantile(ttft, 0.5) if ttft else None, quantile(ttft, 0.95) if ttft else None,
        float(rate.median()) if len(rate) else None, calls_per_s(rows),
    )  # fmt: skip


def with_runs(rows: pd.DataFrame, rows_before: int) -> pd.DataFrame:
    """The rows of measurements.csv and the `run` of each; -1 where nothing tells. The last begins after `rows_before`.

    A run begins with a warm-up; one without is told apart only while it goes on.
    """
    warm_up = rows["phase"] == "warm-up"
    runs = (warm_up & ~warm_up.shift(fill_value=True)).cumsum() + (rows.index >= rows_before)
    return rows.assign(run=runs.where(warm_up.any() | (rows.index >= rows_before), -1))


def calls_per_s(rows: pd.DataFrame) -> float | None:
    """How many calls a second were answered, in the run that sent most of them: between two runs nobody waits."""
    rows = rows[(rows["phase"] == "measured") & (rows["run"] >= 0)]
    if rows.empty:
        return None
    rows = rows[rows["run"] == rows["run"].value_counts().idxmax()]
    span_s = (rows["ended_at"].max() - rows["due_at"].min()).total_seconds()
    return int(rows["ok"].sum()) / span_s if span_s > 0 else None


@dataclass(frozen=True)
class Reproduced:
    """What a reproduction left. Figures are of all runs into the case, throughputs of one; `driven` of this one."""

    case: Path
    target: str
    what: str
    model: str
    wanted_calls: int
    driven: Driven
    figures: Figures
    steps: dict[str, Figures]
    errors: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def interrupted(self) -> bool:
        return self.driven.interrupted

    @property
    def missing(self) -> int:
        """How many calls of the plan were not measured."""
        return max(0, self.wanted_calls - self.figures.calls)

    def as_json(self) -> dict[str, Any]:
        """All of it as a JSON document."""
        return asdict(self) | {"case": str(self.case), "missing": self.missing}

    def __str__(self) -> str:
        named = f" ({self.model})" if self.model else ""
        on = f" on {self.target}{named}" if self.target else ""
        lines = [f"{self.what.capitalize()} load{on}.", f"{self.figures}."]
        lines += [f"  {step}: {figures}" for step, figures in self.steps.items()]
        lines += [f"  {count} × {error}" for error, count in list(self.errors.items())[:_MOST_ERRORS]]
        if self.driven.late_max_s:
            late = f"p99 {1000 * self.driven.late_p99_s:.1f} ms, most {1000 * self.driven.late_max_s:.1f} ms"
            lines.append(f"Latencies count from when the calls were due; they were sent late by {late}.")
        if self.missing:
            lines.append(
                f"{self.missing} of {self.wanted_calls} {_were(self.wanted_calls, self.missing)} not measured."
            )
        lines += [*filter(None, (self.driven.bottleneck,)), *self.notes]
        return "\n".join([*lines, f"Case: {self.case}", "", f"Next: warmstall analyze {shlex.quote(str(self.case))}"])


def reproduced(
    case: Path, target: str, what: str, model: str, wanted_calls: int, driven: Driven, rows: pd.DataFrame,
    rows_before: int,
) -> Reproduced:  # fmt: skip
    """The summary of the rows of a case, of which `rows_before` were there when this run began."""
    rows = with_runs(rows, rows_before)
    measured = rows[rows["phase"] == "measured"]
    steps = {str(step): figures_of(own) for step, own in measured.groupby("step", sort=False) if step}
    errors = measured.loc[~measured["ok"], "error"].value_counts().to_dict()
    return Reproduced(
        case, target, what, model, wanted_calls, driven, figures_of(rows), steps,
        {str(error): int(count) for error, count in errors.items()},
    )  # fmt: skip


def _were(of: int, count: int) -> str:
    """Of how many of them.

    >>> _were(5, 1), _were(1, 1)
    ('calls was', 'call was')
    """
    return f"call{'s' * (of != 1)} {'was' if count == 1 else 'were'}"


def _s(seconds: float | None) -> str:
    """Three digits.

    >>> _s(0.01234), _s(2.5)
    ('12.3 ms', '2.5 s')
    """
    seconds = seconds or 0.0
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"
