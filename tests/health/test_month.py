"""Thirty days of hourly reports: what is planted is reported within one period, and healthy hours are left in peace.

Every hour is analyzed, assessed, kept in the history and concluded as `warmstall report` does it; only the notebook
and its page are left out. Seven hundred reports take their time, so CI plays the hours in which something happens and
some others; `make month` plays all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warmstall.analysis import analyze
from warmstall.health.assessing import assess
from warmstall.health.conclusion import HISTORY, conclude, read_verdict
from warmstall.health.history import read
from warmstall.health.spans import period_for

from .month import DAYS, FIRST, HOUR, Month, calendar

# By day and hour (UTC): what is played, and what the report of that hour must name, as a cause or as an objective.
PLANTED = {
    (1, 10): ("warm_stall", {"warm_stall"}),
    (2, 10): ("runner_crash", {"runner_crash"}),
    (3, 10): ("slow_decode", {"flash_attention_cpu_spill"}),
    (4, 10): ("queue_full", {"parallel_queue"}),
    (5, 11): ("context_truncation", {"context_truncation"}),
    (6, 10): ("stopping_deadlock", {"stopping_deadlock"}),
    (7, 10): ("eviction_thrash", {"reload_thrash"}),
    (8, 10): ("failed_load", {"context_too_large"}),
    (9, 10): ("warm_stall", {"warm_stall"}),
    (21, 9): ("warm_stall-new", {"warm_stall"}),
    (22, 9): ("runner_crash-new", {"runner_crash"}),
    (23, 9): ("load_timeout-new", {"load_timeout"}),
    (24, 9): ("slow_decode-new", {"flash_attention_cpu_spill"}),
}
# These start the server with other settings and another device, and it is started again as it was an hour later.
SPILLS = (3 * 24 + 10, 24 * 24 + 9)
# The report of this hour is killed before its verdict; the next one covers both hours.
KILLED = 9 * 24 + 10
# Memory goes for six hours on the eleventh day.
LEAK = (10 * 24 + 12, 6)
OFF = frozenset(range(16 * 24 + 21, 17 * 24 + 6))
UPGRADED = 20 * 24 + 13
# A clock is set back by an hour and a half after the report of this hour, and put right before the next.
SET_BACK = 25 * 24
LONGEST_S = 24 * 3600.0


@dataclass(frozen=True)
class Reported:
    """One report of the month."""

    now: datetime
    from_at: datetime
    to_at: datetime
    verdict: dict[str, Any]

    def covers(self, hour: int) -> bool:
        return self.from_at <= FIRST + hour * HOUR < self.to_at

    @property
    def kinds(self) -> set[str]:
        """What the reasons are of: cause, objective, memory …"""
        return {reason["key"].split(":")[0] for reason in self.verdict.get("reasons", ())}

    @property
    def named(self) -> set[str]:
        """The causes and objectives among the reasons: `cause:warm_stall:box` names warm_stall."""
        return {part for reason in self.verdict.get("reasons", ()) for part in reason["key"].split(":")[1:2]}


def the_month() -> Month:
    return calendar(
        planted={day * 24 + hour: name for (day, hour), (name, _) in PLANTED.items()}, leaks=(LEAK,), off=OFF,
        upgraded=UPGRADED, restarts=(30, 320, *(hour + after for hour in SPILLS for after in (0, 1))),
    )  # fmt: skip


def reports(month: Month, folder: Path, hours: Iterable[int]) -> Iterator[Reported]:
    """A report at the end of each of these hours, and one by a clock that is set back."""
    before = None
    for hour in hours:
        if hour in month.off:
            continue
        # Hours that are left out in CI count as reported.
        left_out = before is not None and before + 1 != hour and hour - 1 not in month.off
        before = hour
        yield _report(month, folder, FIRST + (hour + 1) * HOUR, killed=hour == KILLED, left_out=left_out)
        if hour == SET_BACK:
            yield _report(month, folder, FIRST + (hour + 1) * HOUR - timedelta(minutes=90))


def _report(month: Month, folder: Path, now: datetime, killed: bool = False, left_out: bool = False) -> Reported:
    previous = read_verdict(folder)
    if left_out:
        previous = {**(previous or {}), "to": (now - HOUR).isoformat()}
    covered = period_for(previous, now, 3600.0, LONGEST_S)
    run = folder / "reports" / f"{now:%Y%m%dT%H%M}"
    found = analyze(month.evidence(run / "box", covered.from_at, now))
    history = read(folder / HISTORY).rows
    report = assess(found, covered.from_at, covered.to_at, None, history, previous, notes=covered.notes, written_at=now)
    verdict = {} if killed else conclude(folder, report, now=now)
    return Reported(now, covered.from_at, covered.to_at, verdict)


# Hours that CI plays: around what is planted, and one whole day with a night, so that hours without requests are there.
CI_HOURS = sorted(
    {hour + by for hour in (day * 24 + at for day, at in PLANTED) for by in (0, 1)}
    | set(range(LEAK[0] - 1, sum(LEAK) + 1))
    | set(range(30, 42))
    | {
        KILLED - 1,
        min(OFF) - 1,
        max(OFF) + 1,
        UPGRADED,
        UPGRADED + 1,
        19 * 24,
        19 * 24 + 1,
        19 * 24 + 2,
        SET_BACK,
        SET_BACK + 1,
    }
)
WHOLE = os.environ.get("WARMSTALL_WHOLE_MONTH") == "1"
MONTH = the_month()


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> list[Reported]:
    """All reports of the month, or of CI's hours of it."""
    folder = tmp_path_factory.mktemp("month")
    return list(reports(MONTH, folder, range(24 * DAYS) if WHOLE else CI_HOURS))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("day", "hour"), PLANTED)
def test_what_is_planted_is_reported_within_a_period(reported, day, hour):
    """By the first report that covers it; where that one was killed, by the next."""
    name, expected = PLANTED[day, hour]
    covering = [one for one in reported if one.covers(day * 24 + hour) and one.verdict]
    assert covering, name
    verdict = covering[0].verdict
    assert verdict["status"] in ("degraded", "critical"), (name, verdict["sentence"])
    assert expected <= covering[0].named, (name, verdict["reasons"])


@pytest.mark.timeout(3600)
def test_a_killed_report_is_made_up_for(reported):
    killed = next(one for one in reported if not one.verdict)
    following = next(one for one in reported if one.now > killed.now)
    assert following.from_at == killed.from_at


@pytest.mark.timeout(3600)
def test_memory_is_told_of_before_it_is_gone(reported):
    """The leak takes six hours, and the system swaps in the last: it is told at least an hour before that."""
    first, hours = LEAK
    swaps_at = FIRST + (first + hours) * HOUR - timedelta(minutes=45)
    told = [
        one for one in reported if any(reason["key"].startswith("memory:") for reason in one.verdict.get("reasons", ()))
    ]
    assert told
    assert told[0].now >= FIRST + first * HOUR
    assert swaps_at - told[0].now >= timedelta(hours=1), told[0].verdict["sentence"]


@pytest.mark.timeout(3600)
def test_healthy_hours_are_left_in_peace(reported):
    """At most one false alarm in thirty days: nights, weekends, restarts, the upgrade, summer time, clocks set back."""
    wrong = {hour for day, hour_of_day in PLANTED for hour in [day * 24 + hour_of_day]}
    wrong |= {hour + 1 for hour in SPILLS} | set(range(LEAK[0], sum(LEAK)))
    alarms = [
        (one.now, one.verdict["sentence"]) for one in reported
        if one.verdict.get("status") not in (None, "healthy") and not any(one.covers(hour) for hour in wrong)
    ]  # fmt: skip
    healthy = [one for one in reported if one.verdict.get("status") == "healthy"]
    assert len(healthy) > (600 if WHOLE else 25)
    assert len(alarms) <= 1, alarms
    assert WHOLE or not alarms, "one in thirty days is none in these hours"


@pytest.mark.timeout(3600)
def test_gaps_and_clocks_are_told(reported):
    """A host that was off, and a clock that was set back: said in the report, and no alarm."""
    after_gap = next(one for one in reported if one.now == FIRST + (max(OFF) + 2) * HOUR)
    assert after_gap.to_at - after_gap.from_at > timedelta(hours=9)
    set_back = next(one for one in reported if one.now == FIRST + (SET_BACK + 1) * HOUR - timedelta(minutes=90))
    assert any("set back" in note for note in set_back.verdict["notes"]), set_back.verdict["notes"]


@pytest.mark.timeout(3600)
def test_the_upgrade_is_told_once(reported):
    told = [one.now for one in reported if any(drift["kind"] == "version" for drift in one.verdict.get("drift", ()))]
    assert told == [FIRST + (UPGRADED + 1) * HOUR]
