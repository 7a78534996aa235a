"""The journal: what was about to be done, written and on the disk before it is done; one JSON line an event.

A run that is killed at any point leaves the lines up to there. They tell the next run which steps had begun, what
their rollbacks need, and whether it was undoing already.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import OutputError
from ..writing import state_folder
from .step import Measures

Event = Literal[
    "run_started", "measured", "step_started", "step_applied", "step_verified", "step_failed", "step_by_hand",
    "undo_started", "undo_done", "undo_failed", "run_finished", "refused",
]  # fmt: skip
Entry = dict[str, Any]


def default_journal() -> Path:
    """Where the journal of this user lies: one for all targets, so that caps and runs cut short are known."""
    return state_folder() / "journal.jsonl"


class Journal:
    """An append-only file; every line is on the disk when `write` returns.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     journal = Journal(Path(folder) / "journal.jsonl")
    ...     journal.write("run_started", "a1", runbook="free-vram", target="local:11434")
    ...     journal.unfinished("free-vram", "local:11434").run
    'a1'
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now

    def write(self, event: Event, run: str, **facts: object) -> None:
        """Append one line and wait until it is on the disk. Raises OutputError when that cannot be done."""
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.append({"journal": 1, "at": at, "run": run, "event": event, **facts})

    def append(self, entry: Entry) -> None:
        """Append an entry as it is, as `write` does."""
        line = json.dumps(entry, ensure_ascii=True)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            if is_new:  # what files held before may be private
                self.path.touch(mode=0o600)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # runs on other targets write here too
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                torn = bool(end) and file.read(1) != b"\n"  # the last writer was killed within its line
                file.write((b"\n" if torn else b"") + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                folder = os.open(self.path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
        except OSError as error:
            raise OutputError(
                f"{self.path}: the journal cannot be written ({error.strerror}); nothing is done without it."
            ) from error

    def entries(self) -> list[Entry]:
        """All lines that are whole, oldest first."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: the journal cannot be read ({error.strerror}).") from error
        found = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and {"at", "run", "event"} <= entry.keys():
                found.append(entry)
        return found

    def runs(self, runbook: str, target: str) -> list[Run]:
        """The runs of a runbook on a target, oldest first."""
        runs: dict[str, Run] = {}
        for entry in self.entries():
            name = str(entry["run"])
            if entry["event"] == "run_started" and (entry.get("runbook"), entry.get("target")) == (runbook, target):
                runs.setdefault(name, Run(name))  # a run that is taken up again goes on under its name
            if name in runs:
                runs[name].entries.append(entry)
        return list(runs.values())

    def unfinished(self, runbook: str, target: str) -> Run | None:
        """The newest run, when it was cut short."""
        runs = self.runs(runbook, target)
        last = runs[-1] if runs else None
        return last if last and not last.finished else None

    def last_done(self, runbook: str, target: str) -> Run | None:
        """The newest run of which something stands that can be taken back."""
        standing = [run for run in self.runs(runbook, target) if run.finished and run.can_be_undone]
        return standing[-1] if standing else None

    def restarts(self, target: str, since: datetime) -> list[datetime]:
        """When steps that restart something began on a target, by any runbook."""
        targets = {str(e["run"]): e.get("target") for e in self.entries() if e["event"] == "run_started"}
        times = (
            datetime.fromisoformat(str(entry["at"]))
            for entry in self.entries()
            if entry["event"] in ("step_started", "undo_started") and entry.get("restarts")
            and targets.get(str(entry["run"])) == target
        )  # fmt: skip
        return [at for at in times if at >= since]


@dataclass
class Run:
    """The lines of one run."""

    run: str
    entries: list[Entry] = field(default_factory=list)

    def _of(self, *events: Event) -> list[Entry]:
        return [entry for entry in self.entries if entry["event"] in events]

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.entries[0].get("settings") or {})

    @property
    def operator(self) -> str:
        return str(self.entries[0].get("operator", ""))

    @property
    def began_at(self) -> str:
        return str(self.entries[0]["at"])

    @property
    def finished(self) -> bool:
        return str(self._of("run_started", "run_finished")[-1]["event"]) == "run_finished"

    @property
    def outcome(self) -> str:
        return str(self._of("run_finished")[-1].get("outcome", "")) if self.finished else ""

    @property
    def undoing(self) -> bool:
        """Whether it had begun to take things back."""
        return bool(self._of("undo_started"))

    @property
    def started(self) -> dict[str, Entry]:
        """The steps that began and were not taken back, by name, with what their rollbacks need; oldest first."""
        begun: dict[str, Entry] = {}
        for entry in self._of("step_started"):
            begun.setdefault(str(entry["step"]), entry)  # what was there before the first time counts
        undone = {str(entry["step"]) for entry in self._of("undo_done")}
        return {step: entry for step, entry in begun.items() if step not in undone}

    @property
    def can_be_undone(self) -> bool:
        return any(entry.get("rollback") for entry in self.started.values())

    @property
    def before(self) -> Measures | None:
        """What was measured before the first step."""
        measured = [entry for entry in self._of("measured") if entry.get("when") == "before"]
        return dict(measured[0].get("measures") or {}) if measured else None
