"""What came of an experiment: its arms in numbers, each treatment's effect, and a sentence for each.

The first metric decides, the others tell what it cost: a treatment that is twice as fast and finds half as much is no
improvement.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from .effects import Effect, effect
from .metrics import Metric, sentence
from .records import Measurement


@dataclass(frozen=True)
class Arm:
    """One way of doing it, and what it changes against the others; `number` is its place in a sweep."""

    name: str
    changes: str
    number: int = 0


@dataclass(frozen=True)
class Compared:
    """One metric of one treatment against the control, with its sentence."""

    metric: str
    arm: str
    effect: Effect
    sentence: str


@dataclass(frozen=True)
class ExperimentResult:
    """An experiment's answer. `missing` says what it lacked to begin at all, `stopped` why it ended early."""

    name: str
    question: str
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    # Those that count, without the warm-up.
    measurements: tuple[Measurement, ...]
    stopped: str = ""
    missing: str = ""
    seed: int = 1
    # The folder with the measurements and all evidence of what happened meanwhile; empty where none was kept.
    case: str = ""
    interrupted: bool = False
    # What it was measured on, a sentence each.
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[Compared, ...]:
        """Each treatment with the control, metric by metric."""
        control = self.arms[0].name
        compared = []
        for metric in self.metrics:
            values = {arm.name: metric.values(self._of(arm)) for arm in self.arms}
            for arm in self.arms[1:]:
                found = effect(values[control], values[arm.name], metric.kind, self.seed)
                compared.append(Compared(metric.name, arm.name, found, sentence(metric, control, arm.name, found)))
        return tuple(compared)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer: why it ended early, then each effect, those of the deciding metric first, then failures."""
        if self.missing:
            return (f"Not enough data: {self.missing}",)
        ended = (f"Ended early: {self.stopped}.",) if self.stopped else ()
        return (*ended, *(one.sentence for one in self.compared), *self._failures())

    @property
    def verdict(self) -> str:
        """The sentence of the deciding metric, of the last treatment where there are several."""
        return self.sentences[0] if self.missing else self.compared[len(self.arms) - 2].sentence

    def frame(self) -> pd.DataFrame:
        """One row for each metric and arm: n, failed, value (median, mean or rate), p95, and its effect."""
        found = {(one.metric, one.arm): one.effect for one in self.compared}
        rows = []
        for metric in self.metrics:
            for arm in self.arms:
                values = metric.values(self._of(arm))
                middle = np.median if metric.kind == "median" else np.mean
                row: dict[str, Any] = {
                    "metric": metric.name, "arm": arm.name, "n": len(values),
                    "failed": sum(not one.sent.ok for one in self._of(arm)), "kind": metric.kind,
                    "value": float(middle(values)) if values else math.nan,
                    "p95": float(np.quantile(values, 0.95)) if values and metric.kind == "median" else math.nan,
                }  # fmt: skip
                for name in ("ratio", "difference"):
                    interval = getattr(found.get((metric.name, arm.name)), name, None)
                    for part, column in (("value", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
                        row[column] = getattr(interval, part, math.nan)
                rows.append(row)
        return pd.DataFrame(rows)

    def as_json(self) -> dict[str, Any]:
        """Plain values without the measurements, which have a file of their own; what is unknown is null."""
        measured = self.frame()[["metric", "arm", "n", "failed", "kind", "value", "p95"]].to_dict(orient="records")
        return {
            "experiment": self.name,
            "asks": self.question,  # what is called a question in a case is somebody's, and redacted
            "arms": [asdict(arm) for arm in self.arms],
            "metrics": [asdict(metric) for metric in self.metrics],
            "measured": [{key: None if value != value else value for key, value in row.items()} for row in measured],
            "effects": [
                {"metric": one.metric, "arm": one.arm, **one.effect.as_json(), "sentence": one.sentence}
                for one in self.compared
            ],
            "notes": list(self.notes),
            "sentences": list(self.sentences),
            "verdict": self.verdict,
            "stopped": self.stopped,
            "interrupted": self.interrupted,
            "missing": self.missing,
            "case": self.case,
        }

    def __str__(self) -> str:
        kept = (f"Case: {self.case}", "", f"Next: warmstall analyze {shlex.quote(self.case)}") if self.case else ()
        return "\n".join((self.question, *self.notes, *self.sentences, *kept))

    def _of(self, arm: Arm) -> list[Measurement]:
        return [row for row in self.measurements if row.arm == arm.name]

    def _failures(self) -> Iterable[str]:
        """What is left out of numbers that are told of those that did not fail."""
        if any(metric.name == "failed" for metric in self.metrics):
            return
        for arm in self.arms:
            own = [row.sent for row in self._of(arm)]
            if errors := [sent.error for sent in own if not sent.ok]:
                yield f"Of {arm.name}, {len(errors):,} of {len(own):,} failed; the first: {errors[0]}"
