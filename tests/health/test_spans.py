"""Reports follow each other without a gap and without an overlap; where one cannot, it says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.errors import InputError
from warmstall.health.spans import Covered, period_for

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def covered(verdict: dict[str, Any] | None, now: datetime = NOW, until: datetime | None = None) -> Covered:
    return period_for(verdict, now, 3600, 86400, until)


def test_the_first_report_covers_the_last_span() -> None:
    assert covered(None) == Covered(NOW - HOUR, NOW)


@given(st.lists(st.integers(61, 86400), min_size=1, max_size=40))
def test_reports_follow_each_other(waits_s: list[int]) -> None:
    """Whenever they run: each begins where the last one ended, and none needs a note."""
    verdict, now = {"to": NOW.isoformat()}, NOW
    for wait_s in waits_s:
        now += timedelta(seconds=wait_s)
        this = covered(verdict, now)
        assert this == Covered(datetime.fromisoformat(verdict["to"]), now)
        verdict = {"to": this.to_at.isoformat()}


def test_a_report_that_failed_is_made_up_for() -> None:
    last = {"from": "2026-03-29T09:00:00Z", "to": "2026-03-29T10:00:00Z", "error": "the kernel died"}
    this = covered(last)

    assert (this.from_at, this.to_at) == (NOW - 3 * HOUR, NOW)
    assert "failed" in this.notes[0]
    assert covered({**last, "error": ""}).from_at == NOW - 2 * HOUR


def test_a_long_gap_is_cut_and_named() -> None:
    this = covered({"to": "2026-03-20T12:00:00Z"})

    assert (this.from_at, this.to_at) == (NOW - 24 * HOUR, NOW)
    assert "2026-03-20 12:00 UTC to 2026-03-28 12:00 UTC" in this.notes[0]
    assert "9 days" in this.notes[0]


def test_a_clock_that_was_set_back_is_told() -> None:
    this = covered({"to": "2026-03-29T14:00:00Z"})

    assert (this.from_at, this.to_at) == (NOW - HOUR, NOW)
    assert "set back" in this.notes[0]


def test_evidence_of_an_earlier_day_is_no_clock_that_was_set_back() -> None:
    end = datetime(2026, 3, 1, tzinfo=UTC)
    this = covered({"to": "2026-03-29T11:00:00Z"}, until=end)

    assert (this.from_at, this.to_at) == (end - HOUR, end)
    assert "set back" not in this.notes[0]


def test_a_report_right_after_another_is_not_empty() -> None:
    this = covered({"to": (NOW - timedelta(seconds=2)).isoformat()})

    assert this.from_at == NOW - HOUR
    assert "again" in this.notes[0]


def test_local_clock_changes_leave_no_gap() -> None:
    """An hour with the clocks of Berlin going forward is an hour."""
    before, after = timezone(HOUR), timezone(2 * HOUR)
    this = covered({"to": datetime(2026, 3, 29, 1, 30, tzinfo=before).isoformat()},
                   datetime(2026, 3, 29, 3, 30, tzinfo=after))  # fmt: skip

    assert this == Covered(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC))


@pytest.mark.parametrize("to", [None, "", "yesterday", 12, "2026-03-29T10:00:00", ["x"], "0001-01-01T00:00:00+23:00"])
def test_a_verdict_of_another_hand_is_said(to: object) -> None:
    this = covered({"to": to})

    assert this.from_at == NOW - HOUR
    assert "does not say" in this.notes[0]


@pytest.mark.parametrize(("span_s", "longest_s"), [(0, 60), (3600, 60)])
def test_a_span_of_nothing_is_refused(span_s: float, longest_s: float) -> None:
    with pytest.raises(InputError, match="span"):
        period_for(None, NOW, span_s, longest_s)
    with pytest.raises(InputError, match="zone"):
        period_for(None, datetime(2026, 3, 29), 3600, 86400)
