"""Two captures of one log: what both hold is told, because it counts twice."""

from __future__ import annotations

from pathlib import Path

from warmstall.analysis import analyze
from warmstall.answer import answer
from warmstall.case import open_case
from warmstall.observed.repeated_lines import sentences

GIN = '[GIN] 2026/03/02 - 10:{:02}:00 | 200 | {:>12} | 127.0.0.1 | POST     "/api/chat"\n'
LINES = [GIN.format(minute, f"{2 + minute / 7:.6f}s") for minute in range(30)]


def told(folder: Path, **logs: list[str]) -> list[str]:
    for name, lines in logs.items():
        (folder / f"{name}.log").write_text("".join(lines))
    return sentences(open_case(folder))


def test_two_captures_that_overlap_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, a=LINES[:20], b=LINES[10:]) == [
        "a.log and b.log hold the same access lines, about 10 from 2026-03-02 10:10:00 to 10:19:00 by the log's "
        "clock: those requests count twice here. Give one log of the whole time."
    ]
    assert "count twice here" in answer(analyze(tmp_path)).splitlines()[1]


def test_a_capture_within_another_is_told(tmp_path: Path) -> None:
    assert "about 5 from" in told(tmp_path, a=LINES, b=LINES[20:25])[0]


def test_rotations_and_other_servers_are_not(tmp_path: Path) -> None:
    """A second server may answer in the same seconds, and give up after the same whole minutes."""
    other = [GIN.format(minute, f"{3 + minute / 7:.6f}s") for minute in range(30)]
    stuck = [GIN.format(minute, "2m0s") for minute in range(30)]
    assert told(tmp_path, a=LINES[:15], b=LINES[15:]) == []
    assert told(tmp_path, a=LINES, b=other) == []
    assert told(tmp_path, a=[*LINES, *stuck], b=[*other, *stuck]) == []
