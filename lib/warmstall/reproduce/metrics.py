"""What an experiment measures of each trial, and an effect on it in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from ..hypotheses.facts import size_text
from .effects import Effect, Interval, Kind
from .records import Measurement, Sent

_OF_SENT = {field.name for field in fields(Sent)}


@dataclass(frozen=True)
class Metric:
    """A field of Measurement or Sent, or one of Sent's `measures`, with the words for it.

    `failed` is 1 for a trial that failed and 0 for one that did not; every other one is told of those that did not.
    """

    name: str
    label: str
    unit: Literal["s", "bytes", ""] = "s"
    kind: Kind = "median"
    better: Literal["lower", "higher"] = "lower"
    of_failed: bool = False

    def values(self, rows: Iterable[Measurement]) -> list[float]:
        """One for each trial of which it is known."""
        if self.name == "failed":
            return [float(not row.sent.ok) for row in rows]
        found = [self._value(row) for row in rows if row.sent.ok or self.of_failed]
        return [float(value) for value in found if value is not None and math.isfinite(value)]

    def _value(self, row: Measurement) -> float | None:
        if self.name in row.sent.measures:
            return row.sent.measures[self.name]
        return getattr(row.sent if self.name in _OF_SENT else row, self.name, None)

    def text(self, value: float) -> str:
        """A value as a person reads it.

        >>> Metric("ttft_s", "time to the first token").text(0.41234), Metric("failed", "", "", "rate").text(0.25)
        ('0.412 s', '25 %')
        """
        if self.unit == "bytes":
            return size_text(value)
        return f"{100 * value:.3g} %" if self.kind == "rate" else f"{value:.3g} {self.unit}".rstrip()


def sentence(metric: Metric, control: str, arm: str, found: Effect) -> str:
    """The effect of one treatment in words, with its interval and n; or how much data is missing.

    >>> from warmstall.reproduce.effects import effect
    >>> ttft, cold, warm = Metric("ttft_s", "time to the first token"), [0.4, 0.5, 0.6] * 5, [0.1, 0.1, 0.1] * 5
    >>> print(sentence(ttft, "cold", "warm", effect(cold, warm)))
    Time to the first token: warm is 5 times as fast as cold (95 %: 4 to 6; 0.1 s against 0.5 s; n = 15 and 15).
    >>> print(sentence(ttft, "cold", "warm", effect(cold[:3], warm)))
    Time to the first token: not enough data to tell warm (n = 15) from cold (n = 3, 5 more are needed).
    """
    label = metric.label[:1].upper() + metric.label[1:]
    if not found.enough:
        sides = [(arm, found.n_treatment, found.more_treatment), (control, found.n_control, found.more_control)]
        told = [f"{name} (n = {n:,}{f', {more:,} more are needed' if more else ''})" for name, n, more in sides]
        return f"{label}: not enough data to tell {told[0]} from {told[1]}."
    values = f"{metric.text(found.treatment)} against {metric.text(found.control)}"
    n = f"n = {found.n_treatment:,} and {found.n_control:,}"
    if found.constant:
        if not found.shown:
            return f"{label}: the same for {arm} and {control} in every trial ({metric.text(found.control)}; {n})."
        each = f"{metric.text(found.treatment)} for {arm}, {metric.text(found.control)} for {control}"
        return f"{label}: in every trial {each} ({n})."
    if found.ratio is None:
        assert found.difference is not None
        low, high = found.difference.low, found.difference.high
        limits = f"{metric.text(low)} to {metric.text(high)}"
        if metric.kind == "rate":
            limits = f"{100 * low:.0f} to {100 * high:.0f} points"
        how = f"{arm} differs from {control}" if found.shown else f"no difference shown between {arm} and {control}"
        return f"{label}: {how} ({values}; difference, 95 %: {limits}; {n})."
    told_ratio, how = found.ratio, f"{arm} has {{times}} times that of {control}"
    if metric.unit == "s" and found.ratio.value < 1:
        told_ratio = Interval(1 / found.ratio.value, 1 / found.ratio.high, 1 / found.ratio.low)
        how = f"{arm} is {{times}} times as fast as {control}"
    elif metric.unit == "s":
        how = f"{arm} takes {{times}} times as long as {control}"
    if not found.shown:
        return (
            f"{label}: no difference shown between {arm} and {control} "
            f"({_number(found.ratio.low)} to {_number(found.ratio.high)} times; {values}; {n})."
        )
    limits = f"95 %: {_number(told_ratio.low)} to {_number(told_ratio.high)}"
    return f"{label}: {how.format(times=_number(told_ratio.value))} ({limits}; {values}; {n})."


def _number(value: float) -> str:
    return f"{value:.2g}" if 0.1 <= value < 0.95 else f"{value:.3g}"
