"""What a reproduction tells of rows of several runs, and of calls that failed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from warmstall.reproduce.driving import Driven
from warmstall.reproduce.summary import Reproduced, reproduced

BEGAN = pd.Timestamp("2026-11-21T10:00:00Z")


def row(at_s: float, phase: str = "measured", ok: bool = True) -> dict[str, object]:
    """A call of one second that was due then."""
    due, ended = BEGAN + pd.Timedelta(seconds=at_s), BEGAN + pd.Timedelta(seconds=at_s + 1)
    return {
        "phase": phase, "step": "2 clients" if phase == "measured" else "", "due_at": due, "started_at": due,
        "ended_at": ended, "latency_s": 1.0, "ttft_s": None, "tokens_per_s": None, "ok": ok,
        "error": "" if ok else "reset",
    }  # fmt: skip


def told(rows: list[dict[str, object]], rows_before: int, wanted: int = 8) -> Reproduced:
    return reproduced(Path("case"), "", "call", "", wanted, Driven(), pd.DataFrame(rows), rows_before)


FIRST = [row(0, "warm-up"), row(1), row(2), row(3), row(4)]
AN_HOUR_LATER = [row(3600, "warm-up"), row(3601), row(3602)]


@pytest.mark.parametrize("rows_before", [0, 5, 8])
def test_the_hour_between_two_runs_is_in_no_throughput(rows_before: int) -> None:
    """Four calls in 4 s, two more in 2 s an hour later: one a second, in this run, or read again when all was sent."""
    found = told(FIRST + AN_HOUR_LATER, rows_before)
    assert found.figures.calls_per_s == found.steps["2 clients"].calls_per_s == 1.0
    assert found.figures.calls == 6


def test_runs_that_nothing_tells_apart_have_no_throughput() -> None:
    """Without a warm-up only the run that has just been is known."""
    rows = [row(1), row(2), row(3601)]
    assert told(rows, 3).steps["2 clients"].calls_per_s is None
    assert told(rows, 2).steps["2 clients"].calls_per_s == 1.0


def test_percentiles_say_of_how_many_calls_they_are() -> None:
    text = str(told([row(1), row(2, ok=False), row(3, ok=False)], 0, wanted=4))
    assert "\n3 calls, 2 failed; of the 1 answered: latency p50 1 s" in text
    assert "\n1 of 4 calls was not measured." in text
    assert "\n1 call, 0 failed: latency" in str(told([row(1)], 0))
