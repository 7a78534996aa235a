"""No hypothesis fails on what is there: a fault of its own would be told as a source that is missing, and go unseen."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.answer import answer
from warmstall.hypotheses import judge
from warmstall.hypotheses.judging import BROKEN

CASES = sorted(path.parent.name for path in INCIDENTS.glob("*/case.json"))


def faults(found: Analysis) -> list[str]:
    return [order for one in judge(found) for order in one.collect if BROKEN in order]


@pytest.mark.parametrize("name", CASES)
def test_every_hypothesis_judges_every_incident(name: str) -> None:
    assert faults(analyze(INCIDENTS / name)) == []


@pytest.mark.parametrize("name", CASES)
def test_every_hypothesis_judges_what_is_left_of_damaged_logs(name: str, tmp_path: Path) -> None:
    """Lines lost, doubled, moved, cut, and answered otherwise."""
    case, chance = tmp_path / name, random.Random(name)
    shutil.copytree(INCIDENTS / name, case)
    for log in sorted(case.rglob("*.log")):
        log.write_text("".join(damaged(log.read_text().splitlines(keepends=True), chance)))

    found = analyze(case)

    assert faults(found) == []
    assert answer(found)


def test_an_access_line_without_a_latency_is_told_as_such(tmp_path: Path) -> None:
    """Nobody knows how long it took: that it took no time at all is not the answer."""
    log = tmp_path / "server.log"
    log.write_text(
        '[GIN] 2026/03/14 - 12:00:30 | 200 |  1.234567891s |       127.0.0.1 | POST     "/api/chat"\n'
        '[GIN] 2026/03/14 - 12:00:50 | 200 |  1.2345xx891s |       127.0.0.1 | POST     "/api/chat"\n'
    )

    found = analyze(log)
    row = found.requests().iloc[1]

    assert (row["verdict"], row["line"]) == ("unknown", 2)
    assert pd.isna(row["started_at"])
    assert "tells no latency that can be read" in answer(found)


def damaged(lines: list[str], chance: random.Random) -> list[str]:
    kept = [line for line in lines if chance.random() > 0.1]
    kept += chance.sample(kept, len(kept) // 10)
    kept = [line.replace("| 200 |", chance.choice(["| 200 |", "| 500 |", "| 499 |"])) for line in kept]
    return [line[: chance.randrange(len(line))] + "\n" if chance.random() < 0.05 else line for line in kept]


def test_a_start_whose_time_is_not_known_is_judged(tmp_path: Path) -> None:
    """The oldest lines have a local time, and this log tells no zone."""
    log = tmp_path / "server.log"
    log.write_text(
        '2026/11/20 21:22:04 INFO server config env="map[OLLAMA_NUM_PARALLEL:1]"\n'
        '[GIN] 2026/11/20 - 21:22:09 | 200 |  1.234567891s |       127.0.0.1 | POST     "/api/chat"\n'
    )

    found = analyze(log)
    drift = next(one for one in judge(found) if one.id == "configuration_drift")

    assert faults(found) == []
    assert "a time that the log does not tell" in drift.evidence[0].sentence
