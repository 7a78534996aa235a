"""How much a treatment changes what is measured: a number, its 95 % interval, and from how many calls.

Latencies are not normal: most calls are alike and a few take ten times as long, so a mean tells of the few and a t
test believes in a bell that is not there. Here the medians are compared, as a ratio ("3.4 times"), because what
doubles a short call doubles a long one as well. The interval is a bootstrap's (Efron 1979): the calls themselves,
drawn again and again, show how far chance alone moves the medians, and nothing is assumed of their shape. Failures are
counts out of counts, their difference has Newcombe's interval (1998, method 10), which is made of two of Wilson's and
holds for few. Shares and sizes of which every call has its own (recall, attempts) are compared by their means.

Below `FEWEST` calls an arm no interval of a median keeps its promise, so there is none: "not enough data".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..proportions import wilson

Numbers = NDArray[np.float64]
Kind = Literal["median", "mean", "rate"]

# The tests draw samples whose effect is known: from here on 95 % intervals hold it about 95 times in a hundred.
FEWEST = 8
_DRAWS = 4000
_TAILS = (0.025, 0.975)
# At a time, so that memory does not grow with the sample.
_CELLS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A number with the limits between which it lies in 95 of 100 repetitions."""

    value: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Effect:
    """Treatment against control, `control` and `treatment` being their medians, means or rates.

    `ratio` (treatment / control) is there for medians above 0, `difference` (treatment − control) always; both are
    None where there is not enough data, and then `more_control` and `more_treatment` calls are missing.
    """

    kind: Kind
    control: float
    treatment: float
    n_control: int
    n_treatment: int
    ratio: Interval | None = None
    difference: Interval | None = None
    # Whether all calls of an arm had one value, in both arms: the interval then has no width, and means nothing.
    constant: bool = False

    @property
    def more_control(self) -> int:
        return max(0, FEWEST - self.n_control)

    @property
    def more_treatment(self) -> int:
        return max(0, FEWEST - self.n_treatment)

    @property
    def enough(self) -> bool:
        return self.difference is not None

    @property
    def shown(self) -> bool:
        """Whether chance alone does not explain it: the interval leaves out "no difference"."""
        if self.ratio is not None:
            return 1.0 not in self.ratio
        return self.difference is not None and 0.0 not in self.difference

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is unknown is null."""
        plain = asdict(self) | {"enough": self.enough, "shown": self.shown}
        return {name: None if value != value else value for name, value in plain.items()}


def effect(control: Sequence[float], treatment: Sequence[float], kind: Kind = "median", seed: int = 1) -> Effect:
    """What the treatment changes; of kind `rate`, the samples are 1 for what is counted and 0 for what is not.

    >>> found = effect([1.0, 1.1, 0.9, 1.2] * 5, [3.0, 3.3, 2.7, 3.6] * 5)
    >>> round(found.ratio.value, 2), 3.0 in found.ratio, found.shown
    (3.0, True, True)
    >>> few = effect([1.0, 1.2], [3.0])
    >>> few.enough, few.more_control, few.more_treatment
    (False, 6, 7)
    """
    one, other = (np.asarray(sample, dtype=np.float64) for sample in (control, treatment))
    middle = np.median if kind == "median" else np.mean
    middles = [float(middle(sample)) if len(sample) else math.nan for sample in (one, other)]
    values: dict[str, Any] = {
        "kind": kind, "control": middles[0], "treatment": middles[1], "n_control": len(one), "n_treatment": len(other)
    }  # fmt: skip
    if min(len(one), len(other)) < FEWEST:
        return Effect(**values)
    if kind == "rate":
        return Effect(**values, difference=difference_of_rates(int(one.sum()), len(one), int(other.sum()), len(other)))
    random = np.random.default_rng(seed)
    draw = _medians if kind == "median" else _means
    controls, treatments = draw(one, random), draw(other, random)
    difference = _interval(middles[1] - middles[0], treatments - controls)
    ratio = None
    if min(one.min(), other.min()) > 0:
        ratio = _interval(middles[1] / middles[0], treatments / controls)
    constant = bool(np.ptp(one) == 0 and np.ptp(other) == 0)
    return Effect(**values, ratio=ratio, difference=difference, constant=constant)


def difference_of_rates(count_a: int, of_a: int, count_b: int, of_b: int) -> Interval:
    """Rate b minus rate a, with Newcombe's interval.

    >>> found = difference_of_rates(48, 80, 56, 70)  # Newcombe's own example, the other way round
    >>> [round(number, 4) for number in (found.value, found.low, found.high)]
    [0.2, 0.0524, 0.3339]
    """
    rate_a, rate_b = count_a / of_a, count_b / of_b
    (low_a, high_a), (low_b, high_b) = wilson(count_a, of_a), wilson(count_b, of_b)
    value = rate_b - rate_a
    low = value - math.hypot(rate_b - low_b, high_a - rate_a)
    high = value + math.hypot(high_b - rate_b, rate_a - low_a)
    return Interval(value, max(-1.0, low), min(1.0, high))


def _interval(value: float, drawn: Numbers) -> Interval:
    low, high = np.quantile(drawn, _TAILS)
    return Interval(value, float(low), float(high))


def _medians(sample: Numbers, random: np.random.Generator) -> Numbers:
    """Medians of samples drawn with replacement, shape (_DRAWS,), in a time that does not depend on its length.

    The kth smallest of n even chances is distributed as Beta(k, n − k + 1), the next one lies a Beta(1, n − k) of the
    rest above it; each chance stands for one of the sorted values.
    """
    values, n = np.sort(sample), len(sample)
    lower = (n + 1) // 2
    first = random.beta(lower, n - lower + 1, _DRAWS)
    drawn: Numbers = values[np.minimum((first * n).astype(int), n - 1)]
    if n % 2:
        return drawn
    second = first + (1 - first) * random.beta(1, n - lower, _DRAWS)
    drawn = (drawn + values[np.minimum((second * n).astype(int), n - 1)]) / 2
    return drawn


def _means(sample: Numbers, random: np.random.Generator) -> Numbers:
    """Means of samples drawn with replacement, shape (_DRAWS,)."""
    at_once = max(1, _CELLS // len(sample))
    sizes = [min(at_once, _DRAWS - begun) for begun in range(0, _DRAWS, at_once)]
    return np.concatenate([random.choice(sample, (size, len(sample))).mean(axis=1) for size in sizes])
