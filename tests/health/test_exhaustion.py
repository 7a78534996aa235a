"""Memory that goes is told before it is gone; memory that is used, and given back, is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import INCIDENTS, RECORDED
from warmstall.analysis import Analysis, analyze
from warmstall.health.exhaustion import exhaustions, judged
from warmstall.health.history import append, read
from warmstall.health.memory_looks import Looks
from warmstall.health.records import Exhaustion, HealthReport
from warmstall.health.trends import trend
from warmstall.period import within

GB = 1e9
TOTAL = 64 * GB
MONDAY = datetime(2026, 9, 7, tzinfo=UTC)
NO_HISTORY = pd.DataFrame()


@pytest.fixture(scope="module")
def apple() -> Analysis:
    return analyze(INCIDENTS / "warm-stall-apple-silicon")


def local(clock: str) -> datetime:
    """A time of the day of the incident, on the wall clock of that machine."""
    return datetime.fromisoformat(f"2026-04-07T{clock}:00+02:00").astimezone(UTC)


def memory_of(found: Analysis, at: datetime, history: pd.DataFrame = NO_HISTORY) -> Exhaustion:
    (memory,) = (each for each in exhaustions(found, history, at) if each.what == "memory")
    return memory


def past(values: list[tuple[datetime, float]], host: str = "mac", total: float = 67.6 * GB) -> pd.DataFrame:
    """A history in the form of `history.read`: one look per report."""
    return pd.DataFrame([
        {"report_from": at - timedelta(hours=1), "report_to": at, "host": host, "kind": "memory", "name": "memory",
         "value": value, "count": np.nan, "of": int(total), "text": at.isoformat()}
        for at, value in values
    ])  # fmt: skip


@pytest.mark.parametrize("clock", ["17:30", "17:35", "17:41", "17:43"])
def test_the_incident_is_told_before_its_failures(apple, clock):
    """Calls begin to fail at 17:42:41 singly, and at 17:58 all of them: a report of any moment from 17:30 on tells."""
    at = local(clock)
    found = memory_of(within(apple, at - timedelta(hours=1), at), at)
    assert found.state == "falling"
    assert found.at == local("17:30")
    assert found.available_bytes == pytest.approx(29.15e9, rel=0.01)
    assert found.left_s == pytest.approx(3614, abs=2)
    assert (found.left_low_s, found.left_high_s, found.looks) == (None, None, 2)
    assert found.sentence == (
        "Memory of mac: 27 GiB of 63 GiB is available. It fell from 41 GiB to 27 GiB between 2026-04-07 15:00 and "
        "15:30 UTC, with the same models in memory. At that pace, 27 GiB an hour, it is gone 60 min later. "
        "Two looks tell no interval."
    )


def test_one_look_cannot_tell(apple):
    at = local("17:15")
    assert memory_of(within(apple, at - timedelta(hours=1), at), at).state == "cannot tell"


def test_the_history_of_calm_hours_does_not_hide_the_incident(apple):
    at = local("17:30")
    rng = np.random.default_rng(7)
    calm = past([(local("17:00") - timedelta(hours=hours), (43 + rng.normal(0, 1)) * GB) for hours in range(30, 0, -1)])
    assert memory_of(within(apple, at - timedelta(hours=1), at), at, calm).state == "falling"


def test_a_fall_over_reports_with_one_look_each(tmp_path):
    """What earlier reports kept and what this one saw are one series; here by way of the files of the history."""
    at = MONDAY + timedelta(hours=3)
    found = sampled(tmp_path / "case", [(180, linux(17))])
    assert memory_of(found, at).state == "cannot tell"
    for hour, available_gb in enumerate((50, 39, 28)):
        looked_at = MONDAY + timedelta(hours=hour)
        look = Exhaustion("box", "memory", "steady", looked_at, available_gb * GB, TOTAL, None, None, None, None, 1, "")
        append(tmp_path / "history", report_with(look))
    rows, notes = read(tmp_path / "history", kinds=("memory",))
    assert (len(rows), notes) == (3, [])
    memory = memory_of(found, at, rows)
    assert (memory.state, memory.looks) == ("falling", 4)
    assert memory.left_s == pytest.approx(17 / 11 * 3600)


def report_with(look: Exhaustion) -> HealthReport:
    to_at = look.at or MONDAY
    return HealthReport("healthy", "", (), to_at - timedelta(hours=1), to_at, to_at, to_at, ("box",), (), (), (), (),
                        (look,), (), (), (), ())  # fmt: skip


def test_an_old_look_says_nothing_of_now(apple):
    found = memory_of(apple, local("23:00"))
    assert found.state == "cannot tell"
    assert "16:15 UTC" in found.sentence


@pytest.mark.parametrize("name", ["cpu-by-rocm-mismatch", "silent-hangs-memlock", "hangs-over-many-models", *RECORDED])
def test_calm_incidents_have_no_falling_memory(name):
    found = analyze(INCIDENTS / name)
    first, last = found.inputs()["first_at"].min().to_pydatetime(), found.newest_at
    for at in pd.date_range(first, last, periods=5)[1:]:
        told = exhaustions(within(found, at - timedelta(hours=1), at), NO_HISTORY, at)
        assert [each for each in told if each.state == "falling"] == []


def test_captures_of_single_moments_have_no_falling_memory(shared):
    """Series of seconds, programs that take memory while somebody looks, Macs that swapped long ago."""
    for capture in sorted((shared / "corpus" / "vm-stat").glob("*.txt")):
        found = analyze(capture)
        told = exhaustions(found, NO_HISTORY, found.newest_at or MONDAY)
        assert [each.sentence for each in told if each.state == "falling"] == [], capture.name


def sampled(folder: Path, rows: list[tuple[int, dict[str, object]]]) -> Analysis:
    """Samples of a watch, so many minutes after Monday's midnight."""
    host = folder / "evidence" / "box"
    host.mkdir(parents=True)
    samples = [{"at": (MONDAY + timedelta(minutes=minute)).isoformat(), "rows": {"memory": [row]}}
               for minute, row in rows]  # fmt: skip
    (host / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    return analyze(folder)


def linux(available_gb: float, swap_used_gb: float = 0.0, swap_gb: float = 32.0) -> dict[str, object]:
    return {"origin": "linux", "total_bytes": int(TOTAL), "available_bytes": int(available_gb * GB),
            "swap_total_bytes": int(swap_gb * GB), "swap_used_bytes": int(swap_used_gb * GB)}  # fmt: skip


def test_swap_that_fills_towards_its_total(tmp_path):
    found = sampled(tmp_path, [(minute, linux(30, 10 + minute / 6)) for minute in range(0, 61, 5)])
    memory, swap = exhaustions(found, NO_HISTORY, MONDAY + timedelta(hours=1))
    assert (swap.what, swap.state, memory.state) == ("swap", "falling", "steady")
    assert swap.per_hour_bytes == pytest.approx(-10 * GB, rel=0.01)
    assert swap.left_s == pytest.approx(12 / 10 * 3600, rel=0.01)
    assert swap.left_low_s <= swap.left_s <= swap.left_high_s


def test_a_small_swap_may_fill(tmp_path):
    """Linux moves idle pages to swap: a full one says nothing while memory is available."""
    found = sampled(tmp_path, [(minute, linux(30, minute / 30, 2.2)) for minute in range(0, 61, 5)])
    assert {each.state for each in exhaustions(found, NO_HISTORY, MONDAY + timedelta(hours=1))} == {"steady"}


def test_a_control_group_that_runs_into_its_limit_is_named(tmp_path):
    group = {"origin": "cgroup:/system.slice/rag.service", "limit_bytes": 8e9, "file_backed_bytes": int(1e9)}
    rows = [(minute, group | {"used_bytes": int((3 + minute / 15) * GB)}) for minute in range(0, 61, 5)]
    told = exhaustions(sampled(tmp_path, rows), NO_HISTORY, MONDAY + timedelta(hours=1))
    falling = [each for each in told if each.state == "falling"]
    assert len(falling) == 1
    assert "rag.service" in falling[0].sentence
    assert falling[0].left_s == pytest.approx(2 / 4 * 3600, rel=0.02)


def test_cache_of_a_control_group_is_no_use_of_memory(tmp_path):
    """Without memory.stat cache cannot be told from use, so that a group which read files is not said to fall."""
    group = {"origin": "cgroup:/system.slice/rag.service", "limit_bytes": 8e9}
    rows = [(minute, group | {"used_bytes": int((3 + minute / 15) * GB)}) for minute in range(0, 61, 5)]
    told = exhaustions(sampled(tmp_path, rows), NO_HISTORY, MONDAY + timedelta(hours=1))
    assert [each.state for each in told] == ["cannot tell"]


def test_a_model_load_is_a_step_and_no_slope(tmp_path):
    """Two looks, and a third of the memory gone between them: with the load in the log it is known why."""
    looks = [(0, linux(50)), (30, linux(28))]
    at = MONDAY + timedelta(minutes=30)
    assert memory_of(sampled(tmp_path / "unseen", looks), at).state == "falling"
    with_load = tmp_path / "seen" / "evidence" / "box" / "server.log"
    found = sampled(tmp_path / "seen", looks)
    source = (INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "server.log").read_text(
        encoding="utf-8"
    )
    began = next(line for line in source.splitlines() if line.startswith("time="))[5:24]
    apart = datetime.fromisoformat(began).replace(tzinfo=UTC) - MONDAY - timedelta(minutes=10)
    with_load.write_text(_moved(source, apart), encoding="utf-8")
    found = analyze(tmp_path / "seen")
    assert len(found.loads()) > 0
    assert MONDAY < found.loads()["ready_at"].iloc[0].to_pydatetime() < at
    assert memory_of(found, at).state == "cannot tell"


def _moved(log: str, apart: timedelta) -> str:
    """The slog lines of a log, earlier by so much."""
    lines = []
    for line in log.splitlines():
        if line.startswith("time="):
            stamp, _, rest = line[5:].partition(" ")
            moved = datetime.fromisoformat(stamp) - apart
            lines.append(f"time={moved.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {rest}")
    return "\n".join(lines) + "\n"


# Thirty days of hourly reports with one look each.

HOURS = 30 * 24


def shape(kind: str, seed: int) -> np.ndarray:
    """What is available each hour, as a share of memory."""
    rng = np.random.default_rng(seed)
    hour = np.arange(HOURS)
    of_day, workday = hour % 24, (hour // 24) % 7 < 5
    share = 0.6 + _wander(rng, 0.01)
    if kind == "nightly backup":
        share -= np.where(np.isin(of_day, (2, 3)), rng.uniform(0.05, 0.12, HOURS), 0)
    elif kind == "garbage collector":
        period = rng.uniform(3, 9)
        share -= 0.12 * ((hour / period) % 1)
    elif kind == "a program that stays":
        share[rng.integers(48, HOURS) :] -= 0.15
    elif kind == "working days":
        use = np.repeat(rng.uniform(0.1, 0.25, 30), 24)
        share -= use * workday * np.clip((of_day - 7) / 2.5, 0, 1) * (of_day < 18)
        share += _wander(rng, 0.03)
    elif kind == "page cache":  # MemAvailable counts cache as available, but for its dirty part
        share -= np.abs(_wander(rng, 0.03))
    return np.clip(share, 0.02, 0.98)


def _wander(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Noise that remembers the hour before."""
    noise = rng.normal(0, spread, HOURS)
    for index in range(1, HOURS):
        noise[index] = 0.7 * noise[index - 1] + 0.71 * noise[index]
    return noise


def reports(share: np.ndarray) -> list[Exhaustion]:
    """What each hourly report says, with the looks of those before it."""
    at_s = MONDAY.timestamp() + 3600.0 * np.arange(len(share))
    models = np.zeros(len(share), dtype=int)
    return [
        judged(Looks("box", "memory", "", at_s[: n + 1], share[: n + 1] * TOTAL, models[: n + 1], TOTAL, TOTAL),
               datetime.fromtimestamp(at_s[n], UTC))
        for n in range(len(share))
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "kind", ["quiet", "nightly backup", "garbage collector", "a program that stays", "working days", "page cache"]
)
def test_healthy_months_have_at_most_one_false_alarm(kind, seed):
    told = reports(shape(kind, seed))
    falling = [each.state == "falling" for each in told]
    # One alarm goes on as long as report after report says the same.
    alarms = [each.sentence for each, was, now in zip(told[1:], falling, falling[1:], strict=False) if now and not was]
    assert len(alarms) <= 1, alarms
    assert sum(falling) <= 3


@pytest.mark.parametrize(("gone_in_h", "notice_h"), [(5, 2), (8, 3), (12, 4), (24, 5), (48, 6)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_slow_leak_is_told_hours_before_the_end(gone_in_h, notice_h, seed):
    began = 7 * 24
    share = shape("nightly backup", seed)[: began + gone_in_h]
    share[began:] -= 0.6 / gone_in_h * np.arange(gone_in_h)
    told = [each.state == "falling" for each in reports(np.clip(share, 0.001, 1))]
    assert not any(told[:began])
    first = told.index(True)
    assert began + gone_in_h - first >= notice_h
    assert all(told[-2:]), "it is still told when the end is near"


def test_looks_of_one_moment_count_once():
    """A series of ten looks in ten seconds beside one of an hour ago is two looks, not eleven."""
    at_s = MONDAY.timestamp() + np.array([0.0, *(3600 + np.arange(10.0))])
    share = np.array([0.6, *np.full(10, 0.3)])
    looks = Looks("box", "memory", "", at_s, share * TOTAL, np.zeros(11, dtype=int), TOTAL, TOTAL)
    found = judged(looks, MONDAY + timedelta(hours=1, minutes=1))
    assert (found.state, found.looks, found.left_low_s) == ("falling", 2, None)


def test_the_interval_holds_the_true_slope_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        found = trend(np.arange(12.0), -5 * np.arange(12.0) + rng.normal(0, 4, 12))
        hits += found.low_per_s <= -5 <= found.high_per_s
    assert 180 <= hits <= 199  # 95 % of 200, within three standard deviations
