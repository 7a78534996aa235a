"""A server with a handful of requests, one of which fails hour after hour: chance once, and told within a few reports.

Judged by `assess`, kept by `conclude`, read again by `prepare`: as the hours of a schedule are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from health.calls import case
from hypotheses.example import NOON, ServerLog
from warmstall.errors import InputError
from warmstall.health import history
from warmstall.health.conclusion import conclude, read_verdict
from warmstall.health.history import read
from warmstall.health.preparing import prepare
from warmstall.health.records import HealthReport

HOURS = 5
MONTH, YEAR = timedelta(days=30), timedelta(days=365)


def served(failing: bool) -> ServerLog:
    """Three requests in each hour; where it is `failing`, the last of them fails."""
    log = ServerLog().start().load(2)
    for hour in range(HOURS):
        for number, at_s in enumerate((600, 1500, 2400)):
            log.request(3600 * hour + at_s, 2.0, 500 if failing and number == 2 else 200, "/api/generate")
    return log


def reported(folder: Path, hour: int, case_folder: Path) -> HealthReport:
    """The report of one hour, as the notebook and the command make it."""
    to_at = NOON + timedelta(hours=hour + 1)
    prepared = prepare(
        str(case_folder), str(folder), until=to_at.isoformat(), run_folder=str(folder / "run"), now=to_at
    )
    report = prepared.assessed()
    conclude(folder, report, now=to_at)
    return report


def availability(report: HealthReport) -> str:
    return next(one.judged for one in report.objectives if one.objective.sli == "availability")


def test_a_third_that_fails_in_each_hour_is_missed_within_four_reports(tmp_path: Path) -> None:
    case(tmp_path / "case", served(failing=True))
    judged = [availability(reported(tmp_path / "out", hour, tmp_path / "case")) for hour in range(4)]
    assert judged[:2] == ["not sure", "not sure"]
    assert judged[-1] == "missed"
    verdict = read_verdict(tmp_path / "out")
    assert verdict["status"] in ("degraded", "critical")
    assert "objective:availability:" in [one["key"] for one in verdict["reasons"]]


def test_the_same_hour_again_and_again_proves_no_more(tmp_path: Path) -> None:
    """A report that is killed after its history and begun anew, or asked for twice: its failure is one failure."""
    case(tmp_path / "case", served(failing=True))
    reported(tmp_path / "out", 0, tmp_path / "case")
    reports = []
    for _ in range(4):
        (tmp_path / "out" / "verdict.json").unlink()
        reports.append(reported(tmp_path / "out", 0, tmp_path / "case"))
    assert [availability(one) for one in reports] == ["not sure"] * 4
    assert read(tmp_path / "out" / "history", ("objective",)).rows["report_from"].nunique() == 1


def test_a_healthy_server_with_few_requests_stays_healthy(tmp_path: Path) -> None:
    case(tmp_path / "case", served(failing=False))
    assert {reported(tmp_path / "out", hour, tmp_path / "case").status for hour in range(3)} == {"healthy"}


@pytest.mark.parametrize("host", ["", "small"])
def test_a_small_host_beside_a_large_one_has_a_history_of_its_own(tmp_path: Path, host: str) -> None:
    """Of all requests together a few are within the objective; of its own a third fails in every hour."""
    case(tmp_path / "case", {"small": served(failing=True), "large": busy()})
    reports = [reported(tmp_path / "out", hour, tmp_path / "case") for hour in range(4)]
    assert availability(reports[-1]) == "met"
    assert (f"objective:availability:{host}" in {one.key for one in reports[-1].reasons}) == bool(host)


def busy() -> ServerLog:
    log = ServerLog().start().load(2)
    for number in range(HOURS * 360):
        log.request(10 + 10 * number, 2.0, 200, "/api/generate")
    return log


def test_what_no_part_of_a_report_looks_at_again_is_not_read(tmp_path: Path) -> None:
    """A history of years is not read through by each report: only its kinds and times that are compared."""
    case(tmp_path / "case", served(failing=False))
    old = reported(tmp_path / "out", 0, tmp_path / "case")
    history.append(tmp_path / "out" / "history", replace(old, from_at=old.from_at - YEAR, to_at=old.to_at - YEAR))
    near = replace(old, from_at=old.from_at - MONTH, to_at=old.to_at - MONTH)
    history.append(tmp_path / "out" / "history", near)
    now = NOON + timedelta(hours=2)
    prepared = prepare(str(tmp_path / "case"), str(tmp_path / "out"), run_folder=str(tmp_path), now=now)
    assert set(prepared.history["report_from"]) == {old.from_at, near.from_at}
    assert set(prepared.history["kind"]) <= {"sli", "objective", "memory"}


def test_a_watch_that_has_not_begun_is_noted_beside_what_was_collected(tmp_path: Path) -> None:
    """And without a collection it is an error: of a log that was moved nobody would hear."""
    collected = tmp_path / "out" / "cases" / "2026-03-14T130000Z"
    case(collected, served(failing=False))
    watch = tmp_path / "out" / "watch"
    at = NOON + timedelta(hours=1)
    paths = f"{watch}\n{collected}"
    prepared = prepare(paths, str(tmp_path / "out"), until=at.isoformat(), run_folder=str(tmp_path / "run"), now=at)
    report = prepared.assessed()
    assert report.status == "healthy"
    assert any(str(watch) in note and "goes without it" in note for note in report.notes)
    with pytest.raises(InputError, match="there is no such file or folder"):
        prepare(str(watch), str(tmp_path / "out"), run_folder=str(tmp_path / "run"), now=at)
