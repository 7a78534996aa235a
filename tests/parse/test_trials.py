"""Trial tables: what a client saw, row by row, whatever else stands in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.trials import is_trial_table, parse_trials

INCIDENTS = Path(__file__).resolve().parents[2] / "data" / "incidents"
HEADER = "start_ts,end_ts,model,endpoint,status,error,load_duration,eval_count\n"
ROW = "2026-11-20T20:49:03+01:00,2026-11-20T20:49:05.500+01:00,mid,/api/chat,200,,290219730,12\n"


@pytest.mark.parametrize("name", ["queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped"])
def test_every_row_of_a_real_table_is_a_trial(name):
    text = (INCIDENTS / name / "evidence" / "server" / "trials.csv").read_text()
    assert is_trial_table(text.split("\n")[0])
    trials = parse_trials(text)
    assert [row["line"] for row in trials] == list(range(2, len(text.splitlines()) + 1))
    assert all(row["wall_s"] >= 0 for row in trials)


def test_times_are_utc_and_durations_seconds():
    (row,) = parse_trials(HEADER + ROW)
    assert str(row["started_at"]) == "2026-11-20 19:49:03"
    assert (row["wall_s"], row["load_duration_s"], row["eval_count"]) == (2.5, 0.29021973, 12)
    assert row["total_duration_s"] is None


@pytest.mark.parametrize("text", [HEADER.replace(",", ", ") + ROW, HEADER.strip() + "\r\n" + ROW.strip() + "\r\n"])
def test_blanks_in_the_header_and_windows_newlines_do_no_harm(text):
    assert is_trial_table(text.split("\n")[0])
    assert [row["model"] for row in parse_trials(text)] == ["mid"]


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-1", "1.5", "1e3", "nan", "", "many"])
def test_a_metric_that_is_no_count_is_none(value):
    (row,) = parse_trials(HEADER + ROW.replace("290219730", value).replace(",12", f",{value}"))
    assert row["load_duration_s"] is None
    assert row["eval_count"] is None


@pytest.mark.parametrize(
    "row", ["\n", "a\n", "never,2026-11-20T20:49:03Z,m,/,200\n", "0001-01-01T00:00:00+14:00,,,,\n"]
)
def test_a_row_without_its_two_times_is_left_out(row):
    assert [found["model"] for found in parse_trials(HEADER + row + ROW)] == ["mid"]


def test_a_field_of_a_megabyte_is_cut():
    (row,) = parse_trials(HEADER + ROW.replace("200,,", f'200,"{"x" * 1_000_000}",'))
    assert row["error"] == "x" * 500


@settings(deadline=None)
@given(st.text())
def test_any_text_behind_the_header_is_read_without_an_error(text):
    assert isinstance(parse_trials(HEADER + ROW + text), list)
