"""A case narrowed to a period tells what was written then, once, and what still held from before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.errors import InputError
from warmstall.hypotheses import judge
from warmstall.period import within

STALL_AT = datetime(2026, 4, 7, 15, 58, tzinfo=UTC)


@pytest.fixture(scope="module")
def apple() -> Analysis:
    return analyze(INCIDENTS / "warm-stall-apple-silicon")


@pytest.fixture(scope="module")
def reloads() -> Analysis:
    return analyze(INCIDENTS / "reloads-two-models")


def pieces(found: Analysis, count: int) -> list[Analysis]:
    """The evidence in so many periods, one after the other."""
    first = found.inputs()["first_at"].min().to_pydatetime() - timedelta(seconds=1)
    apart = (found.newest_at + timedelta(seconds=1) - first) / count
    return [within(found, first + i * apart, first + (i + 1) * apart) for i in range(count)]


@pytest.mark.parametrize("name", ["reloads-two-models", "queue-one-slot", "warm-stall-runner-stopped"])
def test_periods_hold_each_row_once(name):
    found = analyze(INCIDENTS / name)
    parts = pieces(found, 5)
    lines = pd.concat([part.requests() for part in parts])["line"]
    assert sorted(lines) == sorted(found.requests()["line"])
    # A load that goes on at the end of a period belongs to the next one, where it ends, as well.
    ready = pd.concat([part.loads() for part in parts]).dropna(subset=["ready_at"])["line"]
    assert sorted(ready) == sorted(found.loads().dropna(subset=["ready_at"])["line"])
    for table in ("memory", "probes", "processes", "trials"):
        seen = [part.case.sql(f"SELECT source, line FROM {table}") for part in parts]
        whole = found.case.sql(f"SELECT DISTINCT source, line FROM {table}")
        assert len(pd.concat(seen).drop_duplicates()) == len(whole)


def test_how_the_server_was_started_is_still_known(apple):
    """Hours after the start and the only load: version, settings and layers are those of the server that runs."""
    found = within(apple, STALL_AT - timedelta(hours=1), STALL_AT)
    assert found.versions() == ["0.20.2"]
    assert found.offload()[["layers_gpu", "layers_total"]].to_numpy().tolist() == [[43, 43]]
    assert "OLLAMA_FLASH_ATTENTION" in set(found.settings()["name"])
    assert len(found.loads()) == 0, "it was loaded before"
    assert len(found.residencies()) == 1


def test_nothing_later_is_known(apple):
    """An hour before the stall, the stall is not there; when it goes on, it is."""
    before = {
        one.id: one.state for one in judge(within(apple, STALL_AT - timedelta(hours=2), STALL_AT - timedelta(hours=1)))
    }
    after = {
        one.id: one.state
        for one in judge(within(apple, STALL_AT - timedelta(minutes=30), STALL_AT + timedelta(minutes=20)))
    }
    assert before["warm_stall"] == "ruled_out"
    assert after["warm_stall"] in ("supported", "confirmed")
    assert before["stopping_deadlock"] != "confirmed"


def test_the_look_before_the_period_tells_how_counters_move(apple):
    at = datetime(2026, 4, 7, 15, 30, tzinfo=UTC)  # looks at 15:30 and 15:45
    looks = within(apple, at, at + timedelta(minutes=20)).case.sql(
        'SELECT "at", swapouts FROM memory WHERE swapouts >= 0 ORDER BY 1'
    )
    assert looks["swapouts"].tolist() == [0, 42118]


def test_a_model_that_left_before_is_not_in_memory(reloads):
    leaves = reloads.residencies().dropna(subset=["unloaded_at"])
    model, left = leaves[["model", "unloaded_at"]].iloc[0]
    later = within(reloads, left.to_pydatetime(), reloads.newest_at)
    loaded_again = later.loads()["model"].eq(model).any()
    assert loaded_again or model not in set(later.residencies()["model"])


@pytest.mark.parametrize("hours", [0, -1])
def test_a_period_has_two_ends(apple, hours):
    with pytest.raises(InputError, match="expected two times with a zone"):
        within(apple, STALL_AT, STALL_AT + timedelta(hours=hours))
    with pytest.raises(InputError, match="expected two times with a zone"):
        within(apple, STALL_AT.replace(tzinfo=None), STALL_AT.replace(tzinfo=None) + timedelta(hours=1))
