"""Indicators count what the users of a server got, and say what they could not see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from generate.writing import slog
from hypothesis import given
from hypothesis import strategies as st

from conftest import INCIDENTS
from health.calls import case, gpu_looks, log, steady, trial
from hypotheses.example import NOON, ServerLog
from warmstall.analysis import Analysis, analyze
from warmstall.health.records import Sli
from warmstall.health.slis import SLIS, Samples, measured, quantile_between, sampled
from warmstall.period import within

STALL_AT = datetime(2026, 4, 7, 15, 58, tzinfo=UTC)


def by_name(found: Analysis, host: str = "") -> dict[str, Sli]:
    return {sli.name: sli for sli in measured(found) if sli.host == host}


@pytest.fixture(scope="module")
def apple() -> Analysis:
    return analyze(INCIDENTS / "warm-stall-apple-silicon")


def test_every_indicator_is_there_once_and_says_why_where_it_has_no_value(tmp_path: Path) -> None:
    slis = measured(case(tmp_path, log(*steady(10))))

    assert [sli.name for sli in slis] == list(SLIS)
    assert all(sli.why for sli in slis if sli.value is None)
    assert all(kind.how and kind.label for kind in SLIS.values())


def test_an_hour_without_requests_measures_nothing(apple: Analysis) -> None:
    found = within(apple, STALL_AT + timedelta(days=3), STALL_AT + timedelta(days=3, hours=1))

    assert {(sli.value, sli.of) for sli in measured(found)} == {(None, 0)}
    assert by_name(found)["availability"].why == "no inference request ended in the period"


def test_a_healthy_hour_before_the_stall(apple: Analysis) -> None:
    slis = by_name(within(apple, STALL_AT - timedelta(hours=3), STALL_AT - timedelta(hours=2)))

    assert slis["warm_stall_rate"].value == 0
    assert slis["availability"].of - slis["availability"].count == 1, "one call of that hour ran into its time out"
    assert slis["availability"].of > 500
    assert 2 < slis["wall_p50_s"].value < 6 < slis["wall_p95_s"].value < 10


def test_calls_that_a_client_gave_up_after_a_minute_are_failures_and_took_at_least_so_long(apple: Analysis) -> None:
    slis = by_name(within(apple, STALL_AT, STALL_AT + timedelta(minutes=20)))

    assert slis["availability"].value < 0.5
    assert (slis["wall_p95_s"].value, slis["wall_p95_s"].why[:16]) == (60.0, "at least so much")
    # Their verdict is that the client left: whether the model stood still cannot be told of them.
    assert "more cannot be told" in slis["warm_stall_rate"].why


def test_calls_that_no_access_line_tells_are_failures(apple: Analysis) -> None:
    slis, requests = by_name(apple), apple.requests()
    wrong = int((~requests["status"].str.startswith("2") & requests["inference"]).sum())

    assert len(apple.unmatched_trials) == 4
    assert slis["availability"].of - slis["availability"].count == wrong + 4


@pytest.mark.parametrize(
    ("name", "value"), [("warm-stall-runner-stopped", 2 / 47), ("reloads-two-models", 0), ("queue-one-slot", 0)]
)
def test_warm_stalls_of_recorded_incidents(name: str, value: float) -> None:
    assert by_name(analyze(INCIDENTS / name))["warm_stall_rate"].value == pytest.approx(value)


def test_cold_starts_and_queues_of_recorded_incidents() -> None:
    reloads, queue = (by_name(analyze(INCIDENTS / name)) for name in ("reloads-two-models", "queue-one-slot"))

    assert (reloads["cold_start_rate"].count, reloads["cold_start_rate"].of) == (10, 15)
    assert queue["queue_wait_p95_s"].value > 2 > 1 > queue["cold_start_rate"].value


def test_counts_of_periods_add_up_to_those_of_the_whole(apple: Analysis) -> None:
    first = apple.inputs()["first_at"].min().to_pydatetime() - timedelta(seconds=1)
    apart = (apple.newest_at + timedelta(seconds=1) - first) / 4
    parts = [by_name(within(apple, first + i * apart, first + (i + 1) * apart)) for i in range(4)]
    whole = by_name(apple)

    for name in ("warm_stall_rate", "cold_start_rate"):
        assert sum(part[name].count for part in parts) == whole[name].count
        assert sum(part[name].of for part in parts) == whole[name].of


def test_a_wrong_call_is_not_the_servers_failure_and_a_full_queue_is(tmp_path: Path) -> None:
    requests = [*steady(10), (200, 0.001, 404), (210, 0.001, 400), (220, 0.001, 503), (230, 0.001, 503)]
    slis = by_name(case(tmp_path, log(*requests)))

    assert (slis["availability"].count, slis["availability"].of) == (10, 12)
    assert slis["wall_p95_s"].of == 10, "who was refused has no wall time"
    assert slis["warm_stall_rate"].of == 10, "who was refused never ran"


def test_an_error_of_the_server_is_a_failure(tmp_path: Path) -> None:
    slis = by_name(case(tmp_path, log(*steady(10), (200, 3.21, 500))))

    assert (slis["availability"].count, slis["availability"].of) == (10, 11)


def test_who_changes_his_mind_at_once_is_no_failure_and_who_waits_in_vain_is(tmp_path: Path) -> None:
    """499: the client left before an answer began. Editors cancel at each key; nobody waits a minute for a whim."""
    whims = [(200 + 10 * number, 0.3, 499) for number in range(8)]
    slis = by_name(case(tmp_path, log(*steady(10), *whims, (400, 59.0, 499))))

    assert (slis["availability"].count, slis["availability"].of) == (10, 11)
    assert slis["availability"].why.startswith("8 more are not counted")


def test_a_call_that_the_server_never_wrote_about_failed_however_short_the_wait(tmp_path: Path) -> None:
    calls = [trial(at_s, wall_s) for at_s, wall_s, _ in steady(20)]
    calls.append(trial(216, 0.5, "", "ReadTimeout: no answer within 0.5 s"))
    found = case(tmp_path, log(*steady(20)), calls)

    assert len(found.unmatched_trials) == 1
    assert (by_name(found)["availability"].count, by_name(found)["availability"].of) == (20, 21)


def test_an_answer_that_broke_off_is_a_failure_whatever_its_status(tmp_path: Path) -> None:
    """A stream keeps its 200 when the runner dies."""
    calls = [trial(at_s, wall_s) for at_s, wall_s, _ in steady(20)]
    calls.append(trial(300, 3.0, "200", "an error was encountered while running the model: unexpected EOF"))
    slis = by_name(case(tmp_path, log(*steady(20), (300, 3.0, 200)), calls))

    assert (slis["availability"].count, slis["availability"].of) == (20, 21)


def test_where_nobody_got_an_answer_nobody_changed_his_mind(tmp_path: Path) -> None:
    slis = by_name(case(tmp_path, log(*[(10 + 10 * number, 5.0, 499) for number in range(6)])))

    assert (slis["availability"].value, slis["availability"].of) == (0.0, 6)


def test_each_host_is_measured_and_all_of_them(tmp_path: Path) -> None:
    found = case(tmp_path, {"alpha": log(*steady(10)), "beta": log(*steady(5), (200, 3.0, 500))})
    counts = {sli.host: (sli.count, sli.of) for sli in measured(found) if sli.name == "availability"}

    assert counts == {"": (15, 16), "alpha": (10, 10), "beta": (5, 6)}


def test_one_host_is_not_told_twice(tmp_path: Path) -> None:
    assert {sli.host for sli in measured(case(tmp_path, log(*steady(10))))} == {""}


def test_first_tokens_are_known_by_clients_alone(tmp_path: Path) -> None:
    calls = [trial(at_s, wall_s, ttft_s=0.1 + 0.01 * number) for number, (at_s, wall_s, _) in enumerate(steady(20))]
    with_times, without = case(tmp_path / "a", log(*steady(20)), calls), case(tmp_path / "b", log(*steady(20)))

    assert by_name(with_times)["ttft_p95_s"].value == pytest.approx(0.28)
    assert by_name(without)["ttft_p95_s"].value is None
    assert "collect: the trials of a client" in by_name(without)["ttft_p95_s"].why


def test_who_gave_up_before_the_first_token_waited_at_least_so_long(tmp_path: Path) -> None:
    calls = [trial(at_s, wall_s, ttft_s=0.1) for at_s, wall_s, _ in steady(18)]
    calls += [trial(at_s, 30, "", "ReadTimeout: no answer within 30 s") for at_s in (300, 400)]
    first = by_name(case(tmp_path, log(*steady(18), (300, 30.0, 500), (400, 30.0, 500)), calls))["ttft_p95_s"]

    assert (first.value, first.of) == (30.0, 20)
    assert first.why.startswith("at least so much")


def test_speed_and_joules_of_answers(tmp_path: Path) -> None:
    """Ten answers of 100 tokens in 1 s each, 2 s of work each, at 150 W: 1000 tokens for 3000 J."""
    calls = [trial(at_s, wall_s) for at_s, wall_s, _ in steady(10)]
    looks = gpu_looks(range(0, 130, 5), power_w=150)
    slis = by_name(case(tmp_path, log(*steady(10)), calls, looks))

    assert slis["decode_tokens_per_s"].value == pytest.approx(100)
    assert slis["tokens_per_joule"].value == pytest.approx(1000 / 3000, rel=0.05)
    assert slis["tokens_per_joule"].of == 10


@pytest.mark.parametrize(
    ("every_s", "told"), [(0, "collect: warmstall watch"), (90, "the GPUs were looked at in 0 of")]
)
def test_joules_need_looks_at_the_power(tmp_path: Path, every_s: int, told: str) -> None:
    calls = [trial(at_s, wall_s) for at_s, wall_s, _ in steady(10)]
    looks = gpu_looks(range(0, 130, every_s), power_w=150) if every_s else []
    joules = by_name(case(tmp_path, log(*steady(10)), calls, looks))["tokens_per_joule"]

    assert joules.value is None
    assert joules.why.startswith(told)


def test_joules_need_the_tokens_of_most_answers(tmp_path: Path) -> None:
    calls = [trial(at_s, wall_s) for at_s, wall_s, _ in steady(3)]
    joules = by_name(case(tmp_path, log(*steady(10)), calls, gpu_looks(range(0, 130, 5), 150)))["tokens_per_joule"]

    assert joules.why.startswith("tokens are known of 3 of 10 answers")


def cut(made: ServerLog, *moments_s: float) -> ServerLog:
    for at_s in moments_s:
        at = NOON + timedelta(seconds=at_s)
        made.add(at, slog(at, "WARN", "runner.go:131", "truncating input prompt", limit=2048, prompt=5901, keep=4,
                          new=2048))  # fmt: skip
    return made


def test_truncated_prompts_are_counted_by_the_servers_warnings(tmp_path: Path) -> None:
    slis = by_name(case(tmp_path, cut(log(*steady(10)), 21, 41)))

    assert (slis["truncation_rate"].count, slis["truncation_rate"].of) == (2, 10)


def test_a_chat_may_lose_messages_of_which_only_debug_tells(tmp_path: Path) -> None:
    chat = log(*steady(10), path="/api/chat")
    silent = by_name(case(tmp_path / "a", chat))["truncation_rate"]
    debug = by_name(case(tmp_path / "b", log(*steady(10), path="/api/chat", OLLAMA_DEBUG="DEBUG")))["truncation_rate"]
    some = by_name(case(tmp_path / "c", cut(log(*steady(10), path="/api/chat"), 21)))["truncation_rate"]

    assert silent.value is None
    assert "OLLAMA_DEBUG" in silent.why
    assert debug.value == 0
    assert (some.value, some.why[:16]) == (0.1, "at least so many")


def test_warnings_of_an_earlier_hour_do_not_count(tmp_path: Path) -> None:
    found = case(tmp_path, cut(log(*steady(20)), 21, 111, 121))
    later = within(found, NOON + timedelta(seconds=100), NOON + timedelta(seconds=300))

    assert (by_name(later)["truncation_rate"].count, by_name(later)["truncation_rate"].of) == (2, 11)


@given(
    st.lists(st.floats(0.001, 500), max_size=60),
    st.lists(st.floats(0.001, 500), max_size=10),
    st.sampled_from([0.5, 0.95, 0.99]),
    st.floats(0.001, 500),
)
def test_a_quantile_is_within_a_target_exactly_where_few_enough_took_longer(
    values: list[float], bounds: list[float], share: float, target: float
) -> None:
    low, high = quantile_between(Samples(np.array(values), np.array(bounds)), share)
    every = len(values) + len(bounds)
    if not every:
        assert (low, high) == (None, None)
        return
    least = sum(value > target for value in values) + sum(bound > target for bound in bounds)
    most = sum(value > target for value in values) + len(bounds)
    allowed = (1 - share) * every + 1e-6
    assert (low <= target) == (least <= allowed)
    assert (high <= target) == (most <= allowed)


def test_samples_may_be_taken_once(tmp_path: Path) -> None:
    found = case(tmp_path, log(*steady(10)))

    assert measured(found, sampled(found)) == measured(found)
