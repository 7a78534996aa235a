"""Which models were in memory, for how long, and how often they came and went."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import INCIDENTS
from health.calls import case, log, steady
from hypotheses.example import NOON, ServerLog
from warmstall.analysis import analyze
from warmstall.health.residency import churn
from warmstall.period import within


def test_two_models_that_take_turns_put_each_other_out() -> None:
    found = analyze(INCIDENTS / "reloads-two-models")
    first = found.inputs()["first_at"].min().to_pydatetime()
    rows = {row["model"]: row for row in churn(found, first, found.newest_at)}

    assert {model: (row["loads"], row["reloads"]) for model, row in rows.items()} == {"big": (5, 4), "mid": (5, 4)}
    assert rows["big"]["evictions"] == 5
    assert rows["mid"]["evictions"] == 4, "the last one stays"
    assert rows["big"]["load_s"] > 1 > rows["mid"]["load_s"] > 0
    assert rows["big"]["in_memory_share"] + rows["mid"]["in_memory_share"] < 1


def test_a_model_that_stays_is_in_memory_in_an_hour_without_a_load() -> None:
    found = analyze(INCIDENTS / "warm-stall-apple-silicon")
    to_at = datetime(2026, 4, 7, 15, 30, tzinfo=UTC)
    (row,) = churn(within(found, to_at - timedelta(hours=1), to_at), to_at - timedelta(hours=1), to_at)

    assert (row["in_memory_share"], row["loads"], row["reloads"], row["evictions"]) == (1.0, 0, 0, 0)


def test_a_restart_is_no_eviction() -> None:
    found = analyze(INCIDENTS / "cpu-by-rocm-mismatch")
    (row,) = churn(found, found.inputs()["first_at"].min().to_pydatetime(), found.newest_at)

    assert (row["loads"], row["reloads"], row["evictions"]) == (2, 1, 0)


def test_the_share_is_of_the_period(tmp_path: Path) -> None:
    """Loaded by second 4, used until second 102; five minutes later its keep_alive had run out, as a load shows."""
    made = log(*steady(10)).load(1000).request(1000, 5)
    found = case(tmp_path, made)
    (row,) = churn(found, NOON, NOON + timedelta(seconds=1000))

    assert row["in_memory_share"] == pytest.approx((102 + 300 - 4) / 1000, abs=0.01)
    assert (row["loads"], row["reloads"], row["evictions"]) == (2, 1, 0)


def test_looks_at_the_api_tell_where_the_log_does_not(tmp_path: Path) -> None:
    made = ServerLog()
    for at_s, wall_s, status in steady(10):
        made.request(at_s, wall_s, status)
    looks = [
        {"at": (NOON + timedelta(seconds=at_s)).isoformat(), "rows": {
            "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": 0.001}],
            "resident_models": [{"model": "mid", "size_bytes": 10}] if at_s < 60 else [],
        }}
        for at_s in range(0, 101, 10)
    ]  # fmt: skip
    (row,) = churn(case(tmp_path, made, samples=looks), NOON, NOON + timedelta(seconds=100))

    assert (row["model"], row["seen_by"], row["loads"]) == ("mid", "/api/ps", 0)
    assert row["in_memory_share"] == pytest.approx(0.6)


def test_rows_are_plain_values(tmp_path: Path) -> None:
    rows = churn(case(tmp_path, log(*steady(3))), NOON, NOON + timedelta(hours=1))

    assert json.loads(json.dumps(rows)) == rows


def test_a_log_of_access_lines_alone_tells_of_no_model(tmp_path: Path) -> None:
    bare = ServerLog()
    bare.request(10, 2.0)

    assert churn(case(tmp_path, bare), NOON, NOON + timedelta(hours=1)) == []
