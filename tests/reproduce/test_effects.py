"""Effects: intervals that keep their promise on samples whose effect is known, and none where nothing can be told."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from warmstall.reproduce.effects import FEWEST, difference_of_rates, effect

_TIMES = 400
Sampled = Callable[[np.random.Generator, int], np.ndarray]


def _held(truth: float, control: Sampled, treatment: Sampled, n: int, kind: str, ratio: bool) -> float:
    """In which share of repetitions the interval holds the true effect."""
    random = np.random.default_rng(7)
    held = 0
    for number in range(_TIMES):
        found = effect(control(random, n), treatment(random, n), kind, seed=number)  # type: ignore[arg-type]
        interval = found.ratio if ratio else found.difference
        assert interval is not None
        held += truth in interval
    return held / _TIMES


def _lognormal(times: float, spread: float) -> Sampled:
    return lambda random, n: times * random.lognormal(0.0, spread, n)


def _with_cold_starts(random: np.random.Generator, n: int) -> np.ndarray:
    return random.lognormal(0.0, 0.2, n) * np.where(random.random(n) < 0.1, 20.0, 1.0)


@pytest.mark.parametrize("n", [FEWEST, 15, 40])
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_a_95_percent_interval_of_medians_holds_the_true_ratio_95_times_in_100(n: int, spread: float) -> None:
    assert 0.92 <= _held(3.0, _lognormal(0.5, spread), _lognormal(1.5, spread), n, "median", ratio=True) <= 0.995


def test_it_holds_when_every_tenth_call_takes_twenty_times_as_long() -> None:
    assert 0.92 <= _held(1.0, _with_cold_starts, _with_cold_starts, 20, "median", ratio=True) <= 0.995


@pytest.mark.parametrize("n", [FEWEST, 20, 60])
def test_the_interval_of_rates_holds_the_true_difference(n: int) -> None:
    seldom: Sampled = lambda random, n: random.random(n) < 0.1  # noqa: E731
    often: Sampled = lambda random, n: random.random(n) < 0.4  # noqa: E731
    assert 0.91 <= _held(0.3, seldom, often, n, "rate", ratio=False) <= 0.99


def test_the_interval_of_means_holds_the_true_difference() -> None:
    recall: Sampled = lambda random, n: random.binomial(8, 0.9, n) / 8  # noqa: E731
    assert 0.9 <= _held(0.0, recall, recall, 30, "mean", ratio=False) <= 0.99


@pytest.mark.parametrize("n", [9, 10])
def test_medians_are_drawn_as_if_the_calls_themselves_had_been_drawn(n: int) -> None:
    random = np.random.default_rng(3)
    control, treatment = random.lognormal(0.0, 0.5, n), random.lognormal(0.7, 0.5, n)
    drawn = [np.median(random.choice(sample, (20_000, n)), axis=1) for sample in (control, treatment)]
    low, high = np.quantile(drawn[1] / drawn[0], [0.025, 0.975])
    found = effect(control, treatment).ratio
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.08)


def test_of_the_same_calls_no_effect_is_shown_and_the_seed_decides_the_interval() -> None:
    calls = np.random.default_rng(1).lognormal(0.0, 0.5, 30)
    found = effect(calls, calls)
    assert found.ratio is not None
    assert 1.0 in found.ratio
    assert not found.shown
    assert effect(calls, calls) == found
    assert effect(calls, calls, seed=2) != found


def test_too_few_calls_have_no_interval_and_say_how_many_are_missing() -> None:
    found = effect([1.0] * 20, [2.0] * 3)
    assert (found.ratio, found.difference, found.enough, found.shown) == (None, None, False, False)
    assert (found.more_control, found.more_treatment) == (0, FEWEST - 3)
    nothing = effect([], [])
    assert (nothing.more_control, nothing.more_treatment) == (FEWEST, FEWEST)
    assert json.loads(json.dumps(nothing.as_json(), allow_nan=False))["control"] is None


def test_where_something_measured_is_0_there_is_a_difference_and_no_ratio() -> None:
    found = effect([0.0, 0.1] * 10, [0.2, 0.3] * 10)
    assert found.ratio is None
    assert found.difference is not None
    assert found.shown


def test_rates_that_agree_are_not_told_apart_however_extreme() -> None:
    assert 0.0 in difference_of_rates(0, 10, 0, 10)
    assert 0.0 in difference_of_rates(10, 10, 10, 10)
    assert 0.0 not in difference_of_rates(0, 10, 10, 10)


def test_an_interval_of_a_hundred_thousand_calls_is_narrow() -> None:
    random = np.random.default_rng(2)
    calls = random.lognormal(0.0, 1.0, 100_000)
    for kind in ("median", "mean"):
        found = effect(calls, calls * 1.5, kind).ratio  # type: ignore[arg-type]
        assert found is not None
        assert found.value == pytest.approx(1.5)
        assert found.high - found.low < 0.1
