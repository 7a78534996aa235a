"""An objective is missed where chance does not explain it, and only there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import exp, fsum, lgamma, log, log1p
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.errors import InputError, ParameterError
from warmstall.health.objectives import (
    allowed_share,
    chance,
    checked_objectives,
    default_objectives_path,
    judge_objectives,
    read_objectives,
)
from warmstall.health.records import Objective, ObjectiveResult, Sli
from warmstall.health.slis import SLIS, Samples, measured, sampled
from warmstall.period import within

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
AVAILABLE = Objective("availability", 0.99, "at least")
WALL = Objective("wall_p95_s", 30.0, "at most")


def history(rows: Iterable[tuple[float, int, int]], objective: Objective = AVAILABLE) -> pd.DataFrame:
    """Earlier reports of an hour each, as `history.read` tells them: (hours ago that it ended, bad, of)."""
    return pd.DataFrame([
        {"report_from": NOW - timedelta(hours=ago + 1), "report_to": NOW - timedelta(hours=ago), "host": "",
         "kind": "objective", "name": objective.sli, "value": 1 - bad / max(of, 1), "count": float(bad), "of": of,
         "text": f"{objective.direction} {objective.target:g}"}
        for ago, bad, of in rows
    ])  # fmt: skip


def judged(objective: Objective, samples: Samples, past: pd.DataFrame | None = None) -> ObjectiveResult:
    """One objective on these samples of the hour that ends now."""
    value = float(samples.values.mean()) if len(samples.values) else None
    slis = [Sli(objective.sli, "", value, of=len(samples.values))]
    return judge_objectives([objective], slis, {(objective.sli, ""): samples}, past, NOW - HOUR, NOW)[0]


def answers(good: int, bad: int, unknown: int = 0) -> Samples:
    return Samples(np.array([1.0] * good + [0.0] * bad), np.zeros(unknown))


def walls(*values: float, waited: Iterable[float] = ()) -> Samples:
    return Samples(np.array(values), np.array(list(waited)))


# --- the file


def test_the_objectives_that_ship_hold_for_every_host() -> None:
    found = read_objectives(default_objectives_path())
    text = default_objectives_path().read_text(encoding="utf-8")

    assert {"availability", "wall_p95_s", "warm_stall_rate"} <= {one.sli for one in found}
    assert all(f'"{name}"' in text or name in text for name in SLIS), "each is named, if only to be set"
    # What depends on the hardware or the hours is no promise before its user makes it one.
    assert not {"cold_start_rate", "decode_tokens_per_s", "tokens_per_joule"} & {one.sli for one in found}


def test_what_is_commented_out_is_a_right_objective() -> None:
    text = default_objectives_path().read_text(encoding="utf-8")
    told = re.sub(r"(?m)^#( |$)", "", text.partition("# What is good depends")[2].partition("\n")[2])
    offered = checked_objectives(tomllib.loads(told), "objectives.toml")

    assert {"cold_start_rate", "decode_tokens_per_s", "tokens_per_joule"} <= {one.sli for one in offered}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"metric": "availabilty", "target": 0.99}, "no metric 'availabilty'; did you mean availability?"),
        ({"metric": "availability", "traget": 0.99}, "there is no key 'traget'; did you mean target?"),
        ({"metric": "availability", "target": 99}, "is 99; expected a share from 0 to 1, such as 0.99"),
        ({"metric": "truncation_rate", "target": 5}, "expected a share from 0 to 1, such as 0.01"),
        ({"metric": "availability"}, "the target of availability is None; expected a number"),
        ({"metric": "availability", "target": 0.9, "direction": "at most"}, "higher is better, so expected at least"),
        ({"metric": "wall_p95_s", "target": 30, "direction": "at least"}, "lower is better, so expected at most"),
        ({"metric": "wall_p95_s", "target": -1}, "expected more than 0 s"),
        ({"metric": "wall_p95_s", "target": 30, "direction": "below"}, "'below'; expected at most or at least"),
    ],
)
def test_a_wrong_word_is_named_with_the_right_one(row: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=r"objectives\.toml, objective 1: ") as refused:
        checked_objectives({"objectives": [row]}, "objectives.toml")
    assert told in str(refused.value)


def test_files_that_are_no_objectives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_objectives(tmp_path / "absent.toml")
    (tmp_path / "mine.toml").write_text("[[objective]]\n")
    with pytest.raises(ParameterError, match=r"mine\.toml: there is no table 'objective'; did you mean objectives"):
        read_objectives(tmp_path / "mine.toml")


# --- one period


def test_what_is_kept_is_met() -> None:
    result = judged(AVAILABLE, answers(1000, 3))

    assert (result.judged, result.bad, result.of) == ("met", 3, 1003)
    assert result.burn_rate == pytest.approx(0.3, rel=0.01)
    assert result.sentence.startswith("Answered requests: 99.7 %, at least 99 % is wanted; 3 of 1,003 failed")


def test_what_chance_does_not_explain_is_missed() -> None:
    result = judged(AVAILABLE, answers(46, 12))

    assert result.judged == "missed"
    assert result.burn_rate == pytest.approx(20.7, rel=0.01)


@pytest.mark.parametrize(("good", "bad"), [(0, 1), (2, 1), (9, 1), (38, 2), (99, 3)])
def test_few_bad_calls_may_be_chance(good: int, bad: int) -> None:
    result = judged(AVAILABLE, answers(good, bad))

    assert result.judged == "not sure"
    assert "by chance" in result.sentence


def test_an_hour_at_the_pager_rate_takes_two_percent_of_the_month() -> None:
    result = judged(AVAILABLE, answers(1000 - 144, 144))

    assert result.burn_rate == pytest.approx(14.4)
    assert result.budget_spent == pytest.approx(0.02)
    assert result.budget_days == 30


def test_a_quantile_counts_the_calls_beyond_its_target() -> None:
    result = judged(WALL, walls(*[5.0] * 80, *[31.0] * 20))

    assert (result.judged, result.bad, result.of) == ("missed", 20, 100)
    assert result.burn_rate == pytest.approx(4)
    assert judged(WALL, walls(*[5.0] * 95, *[31.0] * 5)).judged == "met"


def test_a_time_out_beyond_the_target_is_bad_and_one_within_it_tells_nothing() -> None:
    beyond, within_it = (judged(WALL, walls(*[5.0] * 40, waited=[wait] * 20)) for wait in (60.0, 10.0))

    assert (beyond.judged, beyond.bad, beyond.of) == ("missed", 20, 60)
    assert (within_it.judged, within_it.bad, within_it.of) == ("not sure", 0, 40)
    assert "20 more cannot be told" in within_it.sentence


def test_who_gave_up_at_the_target_itself_had_no_answer_by_then() -> None:
    assert judged(WALL, walls(*[5.0] * 46, waited=[30.0] * 12)).judged == "missed"
    assert judged(WALL, walls(*[30.0] * 50)).judged == "met"


def test_exactly_what_is_allowed_is_met() -> None:
    for target, of, bad in ((0.9, 10, 1), (0.99, 100, 1), (0.7, 10, 3)):
        assert judged(Objective("availability", target, "at least"), answers(of - bad, bad)).judged == "met"


def test_a_few_that_cannot_be_told_change_nothing() -> None:
    assert judged(WALL, walls(*[5.0] * 100, waited=[10.0] * 2)).judged == "met"
    assert judged(AVAILABLE, answers(40, 12, unknown=10)).judged == "missed"


def test_a_lower_bound_does_not_meet_an_objective() -> None:
    truncated = Objective("truncation_rate", 0.05, "at most")
    some = Samples(np.array([1.0] * 3 + [0.0] * 97), least=True, why="at least so many")

    assert judged(truncated, some).judged == "not sure"
    assert judged(truncated, Samples(some.values)).judged == "met"


def test_speed_is_bad_where_it_is_lower() -> None:
    speed = Objective("decode_tokens_per_s", 20.0, "at least")

    assert judged(speed, Samples(np.array([25.0] * 30 + [5.0] * 10))).judged == "met"
    assert judged(speed, Samples(np.array([25.0] * 5 + [5.0] * 35))).judged == "missed"


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    result = judged(WALL, Samples(why="collect: the log"))

    assert (result.judged, result.bad, result.burn_rate, result.budget_spent) == ("not measured", None, None, None)
    assert "collect: the log" in result.sentence


def test_one_number_of_a_period_is_never_missed_for_sure() -> None:
    joules = Objective("tokens_per_joule", 0.5, "at least")

    def result(total: float) -> ObjectiveResult:
        slis, samples = [Sli("tokens_per_joule", "", total)], {("tokens_per_joule", ""): Samples(total=total)}
        return judge_objectives([joules], slis, samples, None, NOW - HOUR, NOW)[0]

    assert (result(0.6).judged, result(0.4).judged) == ("met", "not sure")
    assert result(0.4).burn_rate is None


def test_no_budget_at_all_has_no_burn_rate() -> None:
    never = Objective("truncation_rate", 0.0, "at most")
    result = judged(never, Samples(np.array([1.0, 1.0, 0.0])))

    assert (result.judged, result.burn_rate, result.budget_spent) == ("missed", None, None)
    assert judged(never, Samples(np.zeros(50))).judged == "met"


# --- longer windows


def test_what_goes_on_for_hours_is_missed_though_each_hour_alone_proves_nothing() -> None:
    one_hour = answers(19, 1)

    assert judged(AVAILABLE, one_hour).judged == "not sure"
    result = judged(AVAILABLE, one_hour, history((ago, 2, 20) for ago in range(1, 6)))
    assert result.judged == "missed"
    assert "in the last 6 hours 11 of 120" in result.sentence


def test_a_slow_burn_of_days_is_missed() -> None:
    result = judged(AVAILABLE, answers(19, 1), history((ago, 1, 40) for ago in range(1, 72)))

    assert result.judged == "missed"
    assert "in the last 72 hours" in result.sentence


def test_trouble_that_is_over_is_not_missed_again() -> None:
    result = judged(AVAILABLE, answers(100, 0), history((ago, 20, 20) for ago in range(1, 4)))

    assert result.judged == "met"
    assert result.budget_spent == pytest.approx(60 / 160 / 0.01 * 4 / 720)


def test_counts_of_another_target_or_of_a_period_told_anew_are_not_added() -> None:
    other = history([(ago, 20, 20) for ago in range(1, 5)], Objective("availability", 0.5, "at least"))
    again = history([(0, 20, 20)])

    for past in (other, again):
        assert judged(AVAILABLE, answers(19, 1), past).judged == "not sure"


# --- false alarms and real ones


def test_a_healthy_month_misses_nothing() -> None:
    """A tenth of the budget goes, in hours of very different traffic: 720 reports, none of them a miss."""
    random = np.random.default_rng(7)
    rows: list[tuple[int, int, int]] = []
    missed = 0
    for hour in range(720):
        of = int(random.lognormal(3.5, 1.2) * (1 if hour % 24 in range(8, 20) else 0.1))
        bad = int(random.binomial(of, 0.001))
        past = history([(hour - at, *counts) for at, *counts in rows[-72:]]) if rows else None
        missed += judged(AVAILABLE, answers(of - bad, bad), past).judged == "missed"
        rows.append((hour, bad, of))

    assert missed <= 1


@pytest.mark.parametrize(("name", "hours"), [("warm-stall-apple-silicon", 4), ("silent-hangs-memlock", 2)])
def test_real_outages_miss_availability(name: str, hours: int) -> None:
    found = analyze(INCIDENTS / name)
    verdict = {one.objective.sli: one.judged for one in of_period(found, found.newest_at - timedelta(hours=hours))}

    assert verdict["availability"] == "missed"


@pytest.mark.parametrize("name", ["embedding-service-dies", "queue-one-slot", "reloads-two-models"])
def test_servers_that_answered_everything_miss_nothing(name: str) -> None:
    found = analyze(INCIDENTS / name)
    results = of_period(found, found.inputs()["first_at"].min().to_pydatetime() - HOUR)

    assert {one.judged for one in results} <= {"met", "not measured"}


def of_period(found: Analysis, from_at: datetime) -> list[ObjectiveResult]:
    """The objectives that ship, on what was written from then on."""
    period = within(found, from_at, found.newest_at)
    samples = sampled(period)
    wanted = read_objectives(default_objectives_path())
    return judge_objectives(wanted, measured(period, samples), samples, None, from_at, found.newest_at)


@pytest.mark.parametrize(("bad", "of", "share"), [(1, 1, 0.01), (3, 50, 0.01), (40, 400, 0.05), (2000, 200_000, 0.009)])
def test_the_chance_is_that_of_the_binomial_distribution(bad: int, of: int, share: float) -> None:
    terms = (
        exp(lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1) + k * log(share) + (of - k) * log1p(-share))
        for k in range(bad)
    )
    assert chance(bad, of, share) == pytest.approx(1 - fsum(terms), rel=1e-4, abs=1e-9)


def test_every_objective_of_calls_allows_a_share_of_them() -> None:
    for name, kind in SLIS.items():
        share = allowed_share(Objective(name, 0.5, "at least" if kind.good == "higher" else "at most"))
        assert (share is None) == (name == "tokens_per_joule")
        assert share is None or 0 < share < 1


def test_a_period_that_overlaps_an_earlier_one_counts_once() -> None:
    """A report begun anew, half an hour after the last one: what both tell of is told by this one."""
    past = history([(0.5, 1, 3), (1.5, 1, 3)])
    assert judged(AVAILABLE, answers(2, 1), past).judged == "not sure"
    assert judged(AVAILABLE, answers(2, 1), history([(1, 1, 3), (2, 1, 3)])).judged == "missed"
