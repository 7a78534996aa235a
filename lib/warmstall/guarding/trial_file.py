"""The trials that a client made, as a table that `warmstall analyze` reads: one row a trial, written as it ends.

A trial is one call as its caller sees it, an attempt one sending of it. `attempts` counts them, and `attempt_list`
tells each: number, when, how long, and what came of it; so a retry is attempt 2 of its trial, and no trial of its own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..parse.plain_text import printable

COLUMNS = (
    "trial", "started_at", "ended_at", "wall_s", "model", "path", "status", "outcome", "error", "attempts", "timeout_s",
    "ttft_s", "total_duration_s", "load_duration_s", "prompt_eval_duration_s", "eval_duration_s", "prompt_eval_count",
    "eval_count", "held_s", "attempt_list",
)  # fmt: skip
_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Attempt:
    """One sending of a call: its number within the trial, from 1, and what came of it."""

    attempt: int
    started_at: str
    wall_s: float
    status: str
    outcome: str
    error: str


def utc_text(at: datetime) -> str:
    """A time as the tables have it: UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain_error(text: str) -> str:
    """An error on one line, cut, and no formula for whoever opens the table in a spreadsheet."""
    return printable(text)[:_LONGEST_ERROR].lstrip("=+-@ ")


def durations_of(final: dict[str, Any]) -> dict[str, Any]:
    """What Ollama's last document tells of a call, in seconds and tokens.

    >>> durations_of({"total_duration": 1_500_000_000, "eval_count": 16})
    {'total_duration_s': 1.5, 'eval_count': 16}
    """
    told: dict[str, Any] = {}
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        if isinstance(final.get(name), int):
            told[f"{name}_s"] = final[name] / 1e9
    return told | {
        name: final[name] for name in ("prompt_eval_count", "eval_count") if isinstance(final.get(name), int)
    }


class TrialFile:
    """A trials.csv that rows are added to. Raises OutputError when it cannot be written, or is another table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            head = path.open(encoding="utf-8").readline() if path.exists() else ""
            if head and head.strip() != ",".join(COLUMNS):
                raise OutputError(f"{path}: is there and holds something else; give another file.")
            self._file = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: trials cannot be written ({error.strerror or error}).") from error
        self._rows = csv.DictWriter(self._file, COLUMNS, restval="", lineterminator="\n")
        if not head:
            self._rows.writeheader()
            self._file.flush()

    def add(self, attempts: Sequence[Attempt], **cells: Any) -> None:
        """One trial; written before the next one begins, so that a client that is killed loses only its last."""
        listed = json.dumps([asdict(one) for one in attempts], ensure_ascii=True)
        try:
            self._rows.writerow({**cells, "attempts": len(attempts), "attempt_list": listed})
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: trials cannot be written ({error.strerror or error}).") from error

    def close(self) -> None:
        self._file.close()
