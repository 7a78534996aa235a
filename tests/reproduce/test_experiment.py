"""The one runner of experiments: arms take turns, warm-up does not count, and whatever ends it leaves what it has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from warmstall.errors import CannotTell, ParameterError, StepFailed
from warmstall.reproduce.bench import Bench
from warmstall.reproduce.experiment import Bounds, Experiment, Trial, run, turns
from warmstall.reproduce.experiment_result import Arm, ExperimentResult
from warmstall.reproduce.metrics import Metric
from warmstall.reproduce.records import Measurement, Sent

TTFT = Metric("ttft_s", "time to the first token")
FAILED = Metric("failed", "calls that failed", "", "rate")
ARMS = (Arm("old", "as it was"), Arm("new", "as it shall be"))


def experiment(metrics: tuple[Metric, ...] = (TTFT,), arms: tuple[Arm, ...] = ARMS) -> Experiment:
    @contextmanager
    def nothing(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
        yield {}

    return Experiment("tried", "Is the new one faster?", arms, metrics, nothing)


@contextmanager
def prepared(**send: Callable[[], Sent]) -> Iterator[Mapping[str, Trial]]:
    yield {arm: Trial(one) for arm, one in send.items()}


def answers(ttft_s: float, *spread: float) -> Callable[[], Sent]:
    """Sends that take about so long to the first token."""
    times = iter(spread * 1000)
    return lambda: Sent(True, ttft_s=ttft_s * next(times))


FAST, SLOW = answers(0.1, 0.9, 1.0, 1.1), answers(0.4, 0.9, 1.0, 1.1)


def test_every_round_tries_each_arm_once_in_an_order_that_is_drawn() -> None:
    arms = ["a", "b", "c"]
    planned = turns(arms, Bounds(rounds=40, warm_up=2))
    assert [turn.arm for turn in planned[:6]] == ["a", "a", "b", "b", "c", "c"]
    assert {turn.phase for turn in planned[:6]} == {"warm-up"}
    measured = [turn.arm for turn in planned[6:]]
    rounds = [tuple(measured[at : at + 3]) for at in range(0, len(measured), 3)]
    assert all(sorted(one) == arms for one in rounds)
    assert len(set(rounds)) == 6, "each order of three arms comes up in forty rounds"
    assert turns(arms, Bounds(rounds=40, warm_up=2)) == planned
    assert turns(arms, Bounds(rounds=40, warm_up=2, seed=2)) != planned


def test_a_difference_is_told_with_interval_and_n() -> None:
    result = run(experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=30))
    (one,) = result.compared
    assert one.effect.ratio is not None
    assert one.effect.ratio.high < 0.3
    assert (one.effect.n_control, one.effect.n_treatment) == (30, 30)
    assert "new is 4 times as fast as old (95 %: " in result.verdict
    assert "n = 30 and 30" in result.verdict
    slower = run(experiment(), prepared(old=FAST, new=SLOW), Bounds(rounds=30)).verdict
    assert "new takes 4 times as long as old" in slower


def test_no_difference_is_not_called_one() -> None:
    same = [answers(0.2, 0.8, 1.2, 1.0, 0.9, 1.1) for _ in ARMS]
    result = run(experiment(), prepared(old=same[0], new=same[1]), Bounds(rounds=30))
    assert "no difference shown between new and old" in result.verdict


def test_too_few_trials_are_not_enough_data_and_say_how_many_are_missing() -> None:
    result = run(experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=3))
    assert "not enough data to tell new (n = 3, 5 more are needed) from old (n = 3, 5 more are needed)" in str(result)


def test_the_warm_up_is_recorded_and_does_not_count() -> None:
    recorded: list[Measurement] = []
    result = run(experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=2, warm_up=3), recorded.append)
    assert [row.phase for row in recorded].count("warm-up") == 6
    assert len(recorded) == 10
    assert len(result.measurements) == 4
    assert {row.number for row in recorded} == set(range(-5, 5))


def test_what_is_done_before_a_call_is_not_measured_and_its_failure_is_the_trials() -> None:
    before: list[str] = []

    def fails() -> None:
        before.append("old")
        raise StepFailed("the model stayed in memory.")

    @contextmanager
    def opened() -> Iterator[Mapping[str, Trial]]:
        yield {"old": Trial(SLOW, before=fails), "new": Trial(FAST, before=lambda: before.append("new"))}

    result = run(experiment(), opened(), Bounds(rounds=2, warm_up=0))
    assert sorted(before) == ["new", "new", "old", "old"]
    assert "Of old, 2 of 2 failed; the first: the model stayed in memory." in str(result)


def test_failures_are_compared_as_counts_and_left_out_of_times() -> None:
    def refuses() -> Sent:
        raise StepFailed("503: the queue is full.")

    result = run(experiment((FAILED, TTFT)), prepared(old=refuses, new=FAST), Bounds(rounds=20))
    assert "new differs from old (0 % against 100 %; difference, 95 %: -100 to " in result.verdict
    frame = result.frame().set_index(["metric", "arm"])
    assert (frame.loc[("failed", "old"), "n"], frame.loc[("ttft_s", "old"), "n"]) == (20, 0)


def test_what_is_the_same_in_every_trial_has_no_interval() -> None:
    metric = Metric("recall", "recall", "", "mean", "higher")
    found = lambda: Sent(True, measures={"recall": 1.0})  # noqa: E731
    result = run(experiment((metric,)), prepared(old=found, new=found), Bounds(rounds=8))
    assert result.verdict == "Recall: the same for new and old in every trial (1; n = 8 and 8)."
    half = lambda: Sent(True, measures={"recall": 0.5})  # noqa: E731
    result = run(experiment((metric,)), prepared(old=found, new=half), Bounds(rounds=8))
    assert result.verdict == "Recall: in every trial 0.5 for new, 1 for old (n = 8 and 8)."


def test_ctrl_c_ends_it_with_what_it_has() -> None:
    calls: list[int] = []

    def interrupted() -> Sent:
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return SLOW()

    result = run(experiment(), prepared(old=interrupted, new=FAST), Bounds(rounds=50, warm_up=1))
    assert result.interrupted
    assert "it was interrupted after " in result.sentences[0]
    assert result.compared[0].effect.enough


def test_it_is_bounded_in_time_and_may_be_stopped() -> None:
    result = run(experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=1000, seconds=0.0))
    assert result.sentences[0] == "Ended early: its 0 s were over after 0 of 2,000 trials."
    stop = threading.Event()
    stopped = run(
        experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=1000), stop=stop,
        say=lambda done, of: stop.set() if done == 7 else None,
    )  # fmt: skip
    assert len(stopped.measurements) == 5
    assert "it was stopped after 5 of 2,000 trials" in str(stopped)


def test_a_run_that_was_stopped_is_gone_on_with() -> None:
    """No trial twice but those of the warm-up, under numbers of their own, and the plan is the same as in one run."""
    recorded: list[Measurement] = []
    stop, bounds = threading.Event(), Bounds(rounds=10, seed=3)

    def record(row: Measurement) -> None:
        recorded.append(row)
        if len(recorded) == 9:
            stop.set()

    run(experiment(), prepared(old=SLOW, new=FAST), bounds, record, stop=stop)
    assert len(recorded) == 9
    result = run(experiment(), prepared(old=SLOW, new=FAST), bounds, recorded.append, already=tuple(recorded))
    assert len({row.number for row in recorded}) == len(recorded) == 2 + 7 + 2 + 13
    assert [(row.number, row.arm) for row in recorded if row.phase == "measured"] == [
        (turn.number, turn.arm) for turn in turns(["old", "new"], bounds) if turn.phase == "measured"
    ]
    assert result.compared[0].effect.n_control == 10
    # Of a whole one nothing is sent, not even opened.
    assert run(experiment(), prepared(), bounds, already=recorded).compared == result.compared


def test_measurements_of_another_experiment_are_not_taken_for_its_own() -> None:
    recorded: list[Measurement] = []
    run(experiment(), prepared(old=SLOW, new=FAST), Bounds(rounds=5), recorded.append)
    other = replace(experiment(), name="another")
    assert len(run(other, prepared(old=SLOW, new=FAST), Bounds(rounds=2), already=recorded).measurements) == 4


def test_what_is_missing_is_a_sentence_that_says_what_to_give() -> None:
    @contextmanager
    def missing() -> Iterator[Mapping[str, Trial]]:
        raise CannotTell("give second_target.")
        yield {}

    result = run(experiment(), missing(), Bounds())
    assert result.verdict == "Not enough data: give second_target."
    assert not result.measurements


def test_an_error_of_the_program_is_no_measurement() -> None:
    def breaks() -> Sent:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(experiment(), prepared(old=breaks, new=FAST), Bounds())


@pytest.mark.parametrize("bounds", [Bounds(rounds=0), Bounds(warm_up=-1), Bounds(rounds=10**9), Bounds(seconds=-1.0)])
def test_bounds_that_cannot_be_are_refused(bounds: Bounds) -> None:
    with pytest.raises(ParameterError, match="expected"):
        bounds.check()


def test_a_sweep_compares_each_arm_with_the_first() -> None:
    arms = tuple(Arm(f"{number} clients", "", number) for number in (1, 2, 4))
    sends = {arm.name: answers(0.1 * arm.number, 0.9, 1.0, 1.1) for arm in arms}
    result = run(experiment(arms=arms), prepared(**sends), Bounds(rounds=12))
    assert [one.arm for one in result.compared] == ["2 clients", "4 clients"]
    assert "4 clients takes 4 times as long as 1 clients" in result.verdict


def test_as_json_is_plain_and_the_frame_tells_each_arm() -> None:
    whole = run(experiment((TTFT, FAILED)), prepared(old=SLOW, new=FAST), Bounds(rounds=10))
    few = run(experiment((TTFT, FAILED)), prepared(old=SLOW, new=FAST), Bounds(rounds=1))
    for result in (whole, few, ExperimentResult("tried", "Why?", ARMS, (TTFT,), (), missing="give more.")):
        told = json.loads(json.dumps(result.as_json(), allow_nan=False))
        assert told["verdict"] == result.verdict
        assert len(told["effects"]) == len(result.compared)
    frame = whole.frame()
    assert list(zip(frame["metric"], frame["arm"], strict=True))[:2] == [("ttft_s", "old"), ("ttft_s", "new")]
    assert frame["p95"][0] > frame["value"][0] > 0
    assert frame["ratio_low"][1] < frame["ratio"][1] < frame["ratio_high"][1]
