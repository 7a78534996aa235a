"""A verdict that is missing, old, broken or of the future is an alert of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warmstall.health.delivery import AlertSettings
from warmstall.health.delivery.settings import Channel
from warmstall.health.folder import ReportFolder
from warmstall.health.freshness import check, tell

WRITTEN = datetime(2026, 1, 5, 10, tzinfo=UTC)


def write(folder: Path, **more: Any) -> None:
    verdict = {
        "schema": 1, "status": "healthy", "error": "", "written_at": WRITTEN.isoformat(),
        "due_at": (WRITTEN + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    (folder / "verdict.json").write_text(json.dumps(verdict | more), encoding="utf-8")


@pytest.mark.parametrize(("minutes", "fresh"), [(0, True), (60, True), (89, True), (91, False), (60 * 24, False)])
def test_half_an_interval_late_is_not_late_yet(tmp_path: Path, minutes: int, fresh: bool) -> None:
    write(tmp_path)
    found = check(tmp_path, WRITTEN + timedelta(minutes=minutes))
    assert (found.fresh, found.exit_code) == (fresh, 0 if fresh else 3)
    assert "2026-01-05 10:00 UTC" in found.sentence


def test_a_report_every_minute_may_be_late_by_a_quarter_of_an_hour(tmp_path: Path) -> None:
    write(tmp_path, due_at=(WRITTEN + timedelta(minutes=1)).isoformat())
    assert check(tmp_path, WRITTEN + timedelta(minutes=15)).fresh
    assert not check(tmp_path, WRITTEN + timedelta(minutes=17)).fresh


def test_how_old_it_may_be_can_be_said(tmp_path: Path) -> None:
    write(tmp_path)
    at = WRITTEN + timedelta(minutes=10)
    assert check(tmp_path, at, older_than_s=601).fresh
    assert not check(tmp_path, at, older_than_s=599).fresh
    assert check(tmp_path, at + timedelta(days=1), older_than_s=1e6).fresh


@pytest.mark.parametrize("status", ["healthy", "degraded", "critical", "could not tell"])
def test_what_the_verdict_says_is_another_matter(tmp_path: Path, status: str) -> None:
    write(tmp_path, status=status)
    assert check(tmp_path, WRITTEN).fresh


def test_a_report_that_failed_is_none(tmp_path: Path) -> None:
    write(tmp_path, error="KeyError\x1b[31m\n" + "x" * 5000)
    found = check(tmp_path, WRITTEN)
    assert not found.fresh
    assert "The newest report failed" in found.sentence
    assert "\x1b" not in found.sentence
    assert len(found.sentence) < 500


@pytest.mark.parametrize("minutes", [6, 60 * 24 * 365])
def test_a_verdict_of_the_future_is_not_believed(tmp_path: Path, minutes: int) -> None:
    write(tmp_path)
    found = check(tmp_path, WRITTEN - timedelta(minutes=minutes))
    assert not found.fresh
    assert "in the future" in found.sentence
    assert check(tmp_path, WRITTEN - timedelta(minutes=4)).fresh  # clocks of two machines


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"schema": 1}', '{"status": "healthy"}', "[" * 100_000, "\ud800",
     '{"status": "healthy", "written_at": "soon", "due_at": "late"}', '{"status": "healthy", "written_at": 5}'],
)  # fmt: skip
def test_what_is_no_verdict_is_not_fresh(tmp_path: Path, text: str) -> None:
    (tmp_path / "verdict.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    found = check(tmp_path, WRITTEN)
    assert (found.fresh, found.exit_code) == (False, 3)
    assert "Run the report again" in found.sentence


def test_a_missing_verdict_or_folder_is_not_fresh(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert "there is no verdict" in check(folder, WRITTEN).sentence
    (tmp_path / "verdict.json").mkdir()
    assert "cannot be read" in check(tmp_path, WRITTEN).sentence


def test_a_verdict_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "verdict.json").open("wb") as handle:
        handle.truncate(2**40)  # sparse
    assert not check(tmp_path, WRITTEN).fresh


def test_only_what_is_not_fresh_is_told(tmp_path: Path) -> None:
    settings = AlertSettings(channels=(Channel("ops", "WARMSTALL_TEST_VARIABLE_THAT_IS_NOT_SET"),))
    write(tmp_path)
    assert tell(check(tmp_path, WRITTEN), tmp_path, settings, WRITTEN)["failed"] == []
    late = WRITTEN + timedelta(days=1)
    (failed,) = tell(check(tmp_path, late), tmp_path, settings, late)["failed"]
    assert failed["keys"] == ["report:stale"]
    assert tell(check(tmp_path, late), tmp_path, None, late)["failed"] == []


@pytest.mark.parametrize(("begun", "minutes", "fresh"), [(30, 89, True), (30, 91, False), (-1, 91, True)])
def test_a_report_that_began_and_does_not_end_is_told(tmp_path: Path, begun: int, minutes: int, fresh: bool) -> None:
    """A notebook that fails in a cell before its conclusion leaves no verdict, and the next one is due tomorrow."""
    write(tmp_path, due_at=(WRITTEN + timedelta(days=1)).isoformat())
    ReportFolder(tmp_path).note_begun(WRITTEN + timedelta(minutes=begun))
    found = check(tmp_path, WRITTEN + timedelta(minutes=minutes))
    assert found.fresh == fresh
    assert ("began at 2026-01-05 10:30 UTC has not ended" in found.sentence) != fresh


def test_a_mark_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    for text in ("", "soon", "\x00" * 50):
        (tmp_path / "begun").write_text(text, encoding="utf-8")
        assert check(tmp_path, WRITTEN).fresh
