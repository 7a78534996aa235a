"""Windows are found where something was different, and nowhere else."""

from __future__ import annotations

import random
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.windows import dense_stretches, find_windows


def requests(walls: list[float], failed: set[int] = frozenset(), every_s: float = 10.0) -> pd.DataFrame:
    ended = pd.to_datetime([1_700_000_000 + every_s * n for n in range(len(walls))], unit="s", utc=True)
    return pd.DataFrame(
        {
            "host": "box",
            "source": "server.log",
            "line": range(len(walls)),
            "wall_s": walls,
            "ended_at": ended,
            "started_at": ended - pd.to_timedelta(walls, unit="s"),
            "inference": True,
            "path": "/api/chat",
            "model": "m",
            "status": ["500" if n in failed else "200" for n in range(len(walls))],
            "verdict": "unknown",
        }
    )


def test_a_burst_of_failures_is_one_window() -> None:
    found = find_windows(requests([1.0] * 300, failed=set(range(120, 150))))

    assert [(w.kind, w.requests, w.failed) for w in found] == [("failure", 30, 30)]


def test_slow_requests_in_a_row_are_a_window() -> None:
    found = find_windows(requests([1.0] * 100 + [9.0] * 20 + [1.0] * 100))

    assert [(w.kind, w.requests) for w in found] == [("slow", 20)]


def test_a_silence_is_one_only_while_somebody_waits() -> None:
    """Nothing answered for half an hour: an idle night when nobody asked, a hang when somebody did."""
    idle = requests([1.0] * 200)
    idle.loc[100:, ["started_at", "ended_at"]] += pd.Timedelta(minutes=30)
    hung = idle.copy()
    hung.loc[100, ["started_at", "wall_s"]] = [hung["ended_at"][100] - pd.Timedelta(minutes=29), 29 * 60.0]
    long_answer = hung.copy()
    hung.loc[100, "status"] = "500"

    assert find_windows(idle) == find_windows(long_answer) == []
    assert [(w.kind, w.requests) for w in find_windows(hung)] == [("silence", 1)]


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_log_has_no_window(seed: int) -> None:
    """Log-normal walls, random failures of three per cent, exponential gaps: noise, and nothing to report."""
    rng = random.Random(seed)
    walls = [rng.lognormvariate(0, 0.5) for _ in range(600)]
    frame = requests(walls, failed={n for n in range(600) if rng.random() < 0.03})
    shift = pd.to_timedelta(pd.Series([rng.expovariate(0.1) for _ in walls]).cumsum(), unit="s")
    frame["ended_at"] = frame["ended_at"].iloc[0] + shift
    frame["started_at"] = frame["ended_at"] - pd.to_timedelta(frame["wall_s"], unit="s")

    assert find_windows(frame) == []


@given(st.lists(st.booleans(), max_size=300))
def test_stretches_lie_inside_and_apart(marks: list[bool]) -> None:
    found = sorted(dense_stretches(marks))

    assert all(0 <= first <= last < len(marks) for first, last in found)
    assert all(one[1] < two[0] for one, two in pairwise(found))
