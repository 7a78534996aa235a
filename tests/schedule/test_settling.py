"""A check after a sleep leaves the report time to catch up, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstall.errors import OutputError
from warmstall.schedule.settling import was_asleep

HOUR_S = 3600.0


def test_only_the_first_look_after_a_gap_is_left_out(tmp_path: Path) -> None:
    stamp = tmp_path / "state" / "looked"
    looks = [0.0, HOUR_S, 2 * HOUR_S, 10 * HOUR_S, 11 * HOUR_S]

    assert [was_asleep(stamp, 1.5 * HOUR_S, 1e9 + at) for at in looks] == [True, False, False, True, False]


def test_a_clock_that_was_set_back_costs_one_look(tmp_path: Path) -> None:
    assert [was_asleep(tmp_path / "s", HOUR_S, at) for at in (1e9, 5e8, 5e8 + 60)] == [True, True, False]


def test_a_broken_stamp_costs_one_look(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("soon", encoding="utf-8")

    assert [was_asleep(tmp_path / "s", HOUR_S, at) for at in (1e9, 1e9 + 60)] == [True, False]


def test_a_look_that_cannot_be_noted_is_never_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be noted"):
        was_asleep(tmp_path / "file" / "s", HOUR_S)
