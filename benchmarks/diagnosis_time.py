"""How soon after a fault's beginning its cause is found: the evidence cut at a moment, analyzed, cut later."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from scoring import take

from warmstall.analysis import analyze
from warmstall.errors import WarmstallError
from warmstall.hypotheses import judge

_STEP_S = 2.0
_SLOG = re.compile(rb"time=(\S+) level=")


def seconds_to_find(folder: Path, hypotheses: list[str], began: str) -> float | None:
    """Seconds from the beginning until any of the causes is confirmed or supported, in steps of two; None if never.

    The steps are halved between the first and the last, so a cause that comes and goes may be told a step late.
    """
    start = datetime.fromisoformat(began)
    steps = int((_last_moment(folder) - start).total_seconds() / _STEP_S) + 1
    if steps < 1 or not _found(folder, hypotheses, start + timedelta(seconds=steps * _STEP_S)):
        return None
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        if _found(folder, hypotheses, start + timedelta(seconds=middle * _STEP_S)):
            high = middle
        else:
            low = middle
    return high * _STEP_S


def _found(folder: Path, hypotheses: list[str], until: datetime) -> bool:
    with tempfile.TemporaryDirectory() as name:
        cut = Path(name)
        take(folder, cut, "everything")
        _cut(cut, until)
        try:
            return any(each.found for each in judge(analyze(cut)) if each.id in hypotheses)
        except WarmstallError:  # nothing had been written yet
            return False


def _cut(folder: Path, until: datetime) -> None:
    """Leave what had been written by a moment."""
    log = folder / "server.log"
    kept = []
    for line in log.read_bytes().splitlines(keepends=True):
        said = _SLOG.search(line)
        if said and datetime.fromisoformat(said[1].decode()) > until:
            break
        if line.startswith(b"[GIN] ") and _access_time(line, until) > until:
            break
        kept.append(line)
    log.write_bytes(b"".join(kept))
    for path in folder.rglob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if _row_time(line, until) <= until), encoding="utf-8")
    trials = folder / "trials.csv"
    with trials.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    with trials.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0].keys() if rows else ["start_ts"])
        writer.writeheader()
        writer.writerows(row for row in rows if datetime.fromisoformat(row["end_ts"]) <= until)


def _access_time(line: bytes, like: datetime) -> datetime:
    """Of an access line; drills write local time, which is the zone that this process runs in."""
    text = line[6:27].decode()
    return datetime.strptime(text, "%Y/%m/%d - %H:%M:%S").astimezone(like.tzinfo)


def _row_time(line: str, otherwise: datetime) -> datetime:
    row = json.loads(line)
    said = row.get("ts") or row.get("at")
    return datetime.fromisoformat(said) if isinstance(said, str) else otherwise


def _last_moment(folder: Path) -> datetime:
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    return max(datetime.fromisoformat(row["ended_at"] if "ended_at" in row else row["to"]) for row in rows)
