"""Healthy days are not unusual, whatever hour it is; a change for the worse is, in its first period."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from health.healthy_days import HOUR, START, as_history, healthy_hours
from warmstall.health.history import last_report
from warmstall.health.records import Comparison, Sli
from warmstall.health.seasons import compared

DAY = 24


def told(history: pd.DataFrame, sli: Sli, hour: int, length: timedelta = HOUR) -> Comparison:
    """The comparison of one SLI of the period that begins at this hour."""
    return compared(history, [sli], START + hour * HOUR, START + hour * HOUR + length)[0]


def level(value: float | None, of: int = 100, name: str = "wall_p50_s", unit: str = "s") -> Sli:
    return Sli(name, "", value, unit, None, of)


def rate(count: int, of: int, name: str = "warm_stall_rate") -> Sli:
    return Sli(name, "", count / of, "share", count, of)


def every_hour(days: int, sli: Callable[[int], Sli]) -> pd.DataFrame:
    return as_history([[sli(hour)] for hour in range(DAY * days)])


def by_day(hour: int) -> Sli:
    """Four seconds at night and twelve by day, each a little otherwise than the last."""
    return level((12.0 if 8 <= hour % DAY < 20 else 4.0) * (1 + 0.05 * (hour * 7 % 5 - 2)))


@pytest.fixture(scope="module")
def month() -> tuple[list[list[Sli]], pd.DataFrame]:
    hours = healthy_hours(seed=1, per_hour=150.0)
    return hours, as_history(hours)


def test_healthy_days_are_not_unusual(month: tuple[list[list[Sli]], pd.DataFrame]) -> None:
    """30 days of hours from the first one on, 12 SLIs each: at most one false alarm, and it did judge."""
    hours, history = month
    unusual, judged = [], 0
    for hour, slis in enumerate(hours):
        comparisons = compared(history, slis, START + hour * HOUR, START + (hour + 1) * HOUR)
        unusual += [one.sentence for one in comparisons if one.unusual]
        judged += sum(one.usual is not None for one in comparisons)

    assert len(unusual) <= 1, unusual
    assert judged > 4000


@pytest.mark.parametrize(("name", "factor"), [("wall_p50_s", 3.0), ("decode_tokens_per_s", 0.5)])
def test_a_change_is_found_in_its_first_period(
    month: tuple[list[list[Sli]], pd.DataFrame], name: str, factor: float
) -> None:
    """At noon of working days after the first week; and the same hours are not unusual without the change."""
    hours, history = month
    noons = [day * DAY + 12 for day in range(8, 30) if day % 7 < 5]
    found = []
    for hour in noons:
        own = next(sli for sli in hours[hour] if sli.name == name)
        assert own.value is not None
        assert not told(history, own, hour).unusual
        found.append(told(history, replace(own, value=own.value * factor), hour).unusual)

    assert sum(found) >= 0.9 * len(noons), found


def test_a_busy_morning_is_usual_and_a_busy_night_is_not() -> None:
    history = every_hour(20, by_day)

    assert not told(history, level(12.5), 20 * DAY + 12).unusual
    night = told(history, level(12.5), 20 * DAY + 2)
    assert night.unusual
    assert night.usual == pytest.approx(4.0, rel=0.1)
    assert night.sentence == (
        "Wall time, median: 12.5 s, unusual; at this hour of the day it was 4 s "
        f"(up to {night.high:.3g} s is not unusual; {night.periods} periods)."
    )


def test_only_worse_is_unusual() -> None:
    fast = every_hour(20, lambda hour: level(4.0 + hour % 3 / 10))
    pace = every_hour(20, lambda hour: level(40.0 + hour % 3, name="decode_tokens_per_s", unit="1/s"))
    up = every_hour(20, lambda hour: rate(990 + hour % 3, 1000, "availability"))

    assert [told(fast, level(value), 20 * DAY).unusual for value in (0.4, 40.0)] == [False, True]
    paces = [level(value, name="decode_tokens_per_s", unit="1/s") for value in (400.0, 4.0, 0.0)]
    assert [told(pace, sli, 20 * DAY).unusual for sli in paces] == [False, True, True]
    counts = [rate(count, 1000, "availability") for count in (1000, 500)]
    assert [told(up, sli, 20 * DAY).unusual for sli in counts] == [False, True]


def test_a_clock_change_shifts_nothing() -> None:
    """The day begins an hour earlier by UTC than on all days before."""
    assert not told(every_hour(20, by_day), by_day(8), 20 * DAY + 7).unusual


def test_the_week_counts_where_it_is_known() -> None:
    """A nightly job of Sundays: unusual on a Tuesday, and usual on the Sunday of the seventh week."""

    def sundays(hour: int) -> Sli:
        return level((20.0 if hour // DAY % 7 == 6 and hour % DAY < 6 else 4.0) * (1 + 0.02 * (hour % 5)))

    history = every_hour(50, sundays)

    assert not told(history, level(20.5), 48 * DAY + 3).unusual
    assert "hour of the week" in told(history, level(20.5), 48 * DAY + 3).sentence
    assert told(history, level(20.5), 50 * DAY + 3).unusual


@pytest.mark.parametrize("odd", [0, 3])
def test_an_incident_of_the_past_does_not_hide_the_next(odd: int) -> None:
    """Three bad hours of the last two weeks leave the median and the spread as they were."""
    history = every_hour(15, lambda hour: level(400.0 if hour in range(200, 200 + odd) else 4.0 + hour % 5 / 10))

    assert told(history, level(40.0), 15 * DAY + 9).unusual


def test_a_series_that_never_moved_may_move_a_little() -> None:
    history = every_hour(10, lambda hour: level(4.0))

    assert [told(history, level(value), 10 * DAY).unusual for value in (4.2, 5.9, 12.0)] == [False, False, True]


def test_a_queue_of_less_than_a_second_is_none() -> None:
    history = every_hour(10, lambda hour: level(0.0, 300, "queue_wait_p95_s"))

    queues = [level(value, 300, "queue_wait_p95_s") for value in (0.9, 30.0)]
    assert [told(history, queue, 10 * DAY).unusual for queue in queues] == [False, True]


@pytest.mark.parametrize(
    ("past", "now", "unusual"),
    [
        ((0, 50), (1, 3), False),  # one in three
        ((0, 50), (3, 3), False),  # three in three: one client that tried again
        ((0, 50), (2, 50), False),
        ((0, 50), (12, 50), True),
        ((1, 50), (4, 60), False),
        ((1, 50), (30, 60), True),
        ((20, 50), (25, 50), False),
        ((20, 50), (3, 3), False),
    ],
)
def test_a_rate_is_judged_by_its_counts(past: tuple[int, int], now: tuple[int, int], unusual: bool) -> None:
    history = every_hour(10, lambda hour: rate(*past))

    assert told(history, rate(*now), 10 * DAY).unusual is unusual


@pytest.mark.parametrize(
    ("days", "sli", "hour", "why"),
    [
        (10, level(None), 240, "not measured"),
        (10, level(40.0, 15), 240, "15 requests are too few to compare (20 are needed)"),
        (10, level(40.0, 150, "wall_p95_s"), 240, "150 requests are too few to compare (200 are needed)"),
        (0, level(40.0), 0, "too little history"),
        (1, level(40.0), 12, "too little history"),  # the night alone says nothing of the day
        (10, level(40.0, 500), 240, "too little history"),  # five times as busy
        (10, level(40.0), 24 * 200, "too little history"),  # half a year ago
    ],
)  # fmt: skip
def test_what_cannot_be_compared_says_why(days: int, sli: Sli, hour: int, why: str) -> None:
    this = told(every_hour(days, lambda hour: replace(sli, value=4.0, of=100)), sli, hour)

    assert (this.usual, this.unusual) == (None, False)
    assert why in this.why


def test_a_period_is_compared_with_as_long_ones() -> None:
    history = every_hour(10, lambda hour: level(4.0))

    assert "too little history" in told(history, level(40.0), 240, timedelta(hours=24)).why
    assert told(history, level(40.0), 240, timedelta(minutes=40)).unusual


def test_gaps_leave_what_there_is() -> None:
    """Every third hour is missing, and five days in the midst."""
    whole = every_hour(14, by_day)
    hours = ((whole["report_from"] - START) / HOUR).round().astype(int)
    history = whole[(hours % 3 > 0) & ~hours.between(5 * DAY, 10 * DAY)]

    assert not told(history, level(12.5), 14 * DAY + 12).unusual
    assert told(history, level(40.0), 14 * DAY + 12).unusual


def test_hosts_are_compared_with_themselves() -> None:
    quick, slow = (every_hour(10, lambda hour, value=value: level(value)) for value in (1.0, 40.0))
    history = pd.concat([quick.assign(host="quick"), slow.assign(host="slow")])
    ends = START + 240 * HOUR, START + 241 * HOUR
    slis = [replace(level(40.0), host=host) for host in ("slow", "quick", "new")]

    assert [one.unusual for one in compared(history, slis, *ends)] == [False, True, False]


def test_no_history_at_all_is_said() -> None:
    assert "too little history" in told(last_report(Path("nowhere")), level(4.0), 0).why
