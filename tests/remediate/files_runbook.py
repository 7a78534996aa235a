"""A runbook for tests that changes two files, the second of which may refuse: `python -m remediate.files_runbook N F`.

With arguments it runs in folder F and kills itself (SIGKILL) right after its N-th journal line.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmstall.remediate.files import file_now, remember_file, restore_file, write_file
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Runner
from warmstall.remediate.step import Action, Check, Measures, Precondition, Step, Verified
from warmstall.remediate.target import Target, open_target

NAME = "two-files"


def step(path: Path, wanted: str, accepted: bool = True, **facts: Any) -> Step:
    """A step that writes a file, and is verified when the file is accepted."""

    def check(target: Target) -> Check:
        now = file_now(target, str(path))
        return Check("done" if now == wanted else "needed", f"{path.name} holds {now!r}")

    def apply(target: Target) -> str:
        write_file(target, str(path), wanted)
        return f"{path.name} was written"

    def verify(target: Target) -> Verified:
        return Verified(accepted and file_now(target, str(path)) == wanted, f"{path.name} is accepted: {accepted}")

    def remember(target: Target) -> dict[str, Any]:
        return remember_file(target, str(path))

    given = {"apply": apply, "rollback": restore_file, "patience_s": 0.0, **facts}
    return Step(path.name, f"Write {path.name}", wanted, check, verify=verify, remember=remember, **given)


def runner(
    folder: Path, accepted: bool = True, settings: Mapping[str, Any] | None = None, journal: Journal | None = None,
    writing: bool = True, port: int = 20001, undo: bool = False, operator: str = "ann", **facts: Any,
) -> Runner:  # fmt: skip
    """A runner of the two steps in a folder; `facts` go into the action."""

    def build(target: Target, settings: Mapping[str, Any]) -> Action:
        steps = (step(folder / "new" / "first.conf", "one\n"), step(folder / "second.conf", "two\n", accepted))
        return Action(**{"summary": "Two files are to change.", "steps": steps, **facts})

    target = open_target("local", port, writing=writing)
    return Runner(NAME, target, settings or {}, build, journal or Journal(folder / "journal.jsonl"), operator, undo)


def measured(values: list[float]) -> Any:
    """A measure that gives one value after another."""

    def measure(_: Target) -> Measures:
        return {"success_rate": values.pop(0)}

    return measure


def blocked(state: Any) -> dict[str, Any]:
    """An action that finds a precondition in a state, and so plans nothing."""
    return {"preconditions": (Precondition("finding", state, f"The finding is {state}."),), "steps": ()}


class DeadlyJournal(Journal):
    """Kills its process right after its n-th line."""

    lines = 0

    def __init__(self, path: Path, lines: int) -> None:
        super().__init__(path)
        self.lines = lines

    def append(self, entry: dict[str, Any]) -> None:
        super().append(entry)
        self.lines -= 1
        if not self.lines:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    doomed = runner(
        folder, sys.argv[3] == "accepted", journal=DeadlyJournal(folder / "journal.jsonl", int(sys.argv[1]))
    )
    doomed.run(False, doomed.plan().id)
