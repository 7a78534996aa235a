"""Thirty days of hourly reports: what is planted is reported within one period, and healthy hours are left in peace.

Every hour is analyzed, assessed, kept in the history and concluded as `warmstall report` does it; only the notebook
and its page are left out. Seven hundred reports take their time, so CI plays the days on which something happens, and
enough others (MONTH_DAYS); `make month` plays all thirty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warmstall.analysis import analyze
from warmstall.health.assessing import assess
from warmstall.health.conclusion import HISTORY, conclude, read_verdict
from warmstall.health.freshness import check
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
    def named(self) -> set[str]:
        """The causes and objectives among the reasons: `cause:warm_stall:box` names warm_stall."""
        return {part for reason in self.verdict.get("reasons", ()) for part in reason["key"].split(":")[1:2]}


def the_month() -> Month:
    return calendar(
        planted={day * 24 + hour: name for (day, hour), (name, _) in PLANTED.items()},
        leaks=(LEAK,), off=OFF, upgraded=UPGRADED, restarts=(30, 320, *(hour + after for hour in SPILLS for after in (0, 1))),
    )  # fmt: skip


def reports(month: Month, folder: Path, hours: range) -> Iterator[Reported]:
    """A report at the end of each of these hours, and one by a clock that is set back."""
    for hour in hours:
        if hour in month.off:
            continue
        yield _report(month, folder, FIRST + (hour + 1) * HOUR, killed=hour == KILLED)
        if hour == SET_BACK:
            yield _report(month, folder, FIRST + (hour + 1) * HOUR - timedelta(minutes=90))


def _report(month: Month, folder: Path, now: datetime, killed: bool = False) -> Reported:
    previous = read_verdict(folder)
    covered = period_for(previous, now, 3600.0, LONGEST_S)
    run = folder / "reports" / f"{now:%Y%m%dT%H%M}"
    found = analyze(month.evidence(run / "box", covered.from_at, now))
    history = read(folder / HISTORY).rows
    report = assess(found, covered.from_at, covered.to_at, None, history, previous, notes=covered.notes, written_at=now)
    verdict = {} if killed else conclude(folder, report, now=now)
    return Reported(now, covered.from_at, covered.to_at, verdict)
