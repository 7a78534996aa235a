"""How right an analysis of a drill is: its verdicts and causes beside the truth that the drill wrote."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from warmstall.analysis import Analysis, analyze
from warmstall.drill.run import EVIDENCE
from warmstall.hypotheses import judge

# What each level of evidence takes from a drill's folder.
LEVELS = {
    "log alone": ("server.log",),
    "log + trials": ("server.log", "trials.csv"),
    "everything": ("server.log", "trials.csv", "trace.jsonl", "limits.txt", "samples", "*.log"),
}
# A request is found in the log by its end and its wall time; access lines have whole seconds.
_END_S, _WALL_S, _WALL_SHARE = 2.0, 1.0, 0.05


@dataclass
class Score:
    """One level on one run: pairs of true and said verdict with whether it is right, and the causes that were found."""

    pairs: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    unmatched: int = 0
    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def truths(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The truth's rows: of requests, and of faults."""
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "verdict" in row and "endpoint" in row], [row for row in rows if "fault" in row]


def score(folder: Path, level: str) -> Score:
    """Analyze what that level has of a run, and compare."""
    with tempfile.TemporaryDirectory() as taken:
        take(folder, Path(taken), level)
        found = analyze(Path(taken))
        scored = compare(found, truths(folder)[0], "accept_log_only" if level == "log alone" else "accept")
        scored.found = {each.id: (each.state, each.severity) for each in judge(found) if each.found}
    return scored


def take(folder: Path, into: Path, level: str) -> None:
    """Copy a level's evidence."""
    for pattern in LEVELS[level]:
        for path in sorted((folder / EVIDENCE).glob(pattern)):
            copy = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, into / path.name)


def compare(found: Analysis, rows: list[dict[str, Any]], column: str) -> Score:
    """Each true request beside the analysis' row of it; closest pairs first, each row once."""
    scored = Score()
    said = found.requests().to_dict("records")
    pairs = []
    for at, row in enumerate(rows):
        for other, request in enumerate(said):
            if str(request["path"]).split("?")[0] != row["endpoint"] or row["status"] not in ("", request["status"]):
                continue
            late_s = abs(request["ended_at"].timestamp() - datetime.fromisoformat(row["ended_at"]).timestamp())
            wall_s = abs(float(request["wall_s"]) - row["wall_s"])
            if late_s <= _END_S and wall_s <= max(_WALL_S, _WALL_SHARE * row["wall_s"]):
                pairs.append((wall_s + 0.2 * late_s, at, other))
    taken: dict[int, int] = {}
    for _, at, other in sorted(pairs):
        if at not in taken and other not in taken.values():
            taken[at] = other
    for at, row in enumerate(rows):
        if at not in taken:
            scored.unmatched += 1
            continue
        verdict = str(said[taken[at]]["verdict"])
        right = verdict in row[column]
        scored.pairs[row["verdict"], verdict, right] += 1
        if not right and verdict != "unknown":
            scored.wrong.append(
                f"{row['endpoint']} {row['wall_s']:.2f} s: said {verdict}, true {row['verdict']}: {row['why']}"
            )
    return scored
