"""Kills a report at each of its file operations, and looks at what each leaves: `python -m health.killed_runs FOLDER`.

Every run is a process of its own (a fork of this one, which has imported and not begun anything), and is killed by
SIGKILL as it is about to open, rename, remove or make something in its folder. Prints how many were killed, and what
was wrong, as JSON. The notebook and the page are stubs that write the files that the real ones write.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pyarrow.parquet  # noqa: F401  imported before the forks, not in each

from health.made_report import made_report
from warmstall import report as page_maker
from warmstall.health import history
from warmstall.health.asked import period_asked
from warmstall.health.conclusion import conclude, read_verdict, save
from warmstall.health.run import Wanted, report

_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile")
_MOST = 200


def _execute(notebook: Path, executed: Path, parameters: dict[str, object], **_: object) -> str:
    covered = period_asked(read_verdict(Path(str(parameters["out"]))), datetime.now(UTC), 3600, "", None)
    save(replace(made_report(), from_at=covered.from_at, to_at=covered.to_at, status="degraded"),
         str(parameters["run_folder"]))  # fmt: skip
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Made")]), executed)
    return ""


def _killed_at(number: int, folder: Path) -> bool:
    """Whether a run was killed before its file operation of this number; False when it ended before."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in _EVENTS and str(folder) in str(arguments[:2]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        report(Wanted(("/dev/null",), folder=folder))
    finally:
        os._exit(0)


def main() -> None:
    root = Path(sys.argv[1])
    page_maker.execute = _execute
    page_maker.html_page = lambda executed, title, failure="": "<p>page</p>" + failure
    killed, wrong = 0, []
    for number in range(_MOST):
        folder = root / str(number)
        to_at = datetime.now(UTC) - timedelta(minutes=50)
        if not os.fork():
            conclude(folder, replace(made_report(), from_at=to_at - timedelta(hours=1), to_at=to_at))
            os._exit(0)
        os.wait()
        before = json.loads((folder / "verdict.json").read_text())
        if not _killed_at(number, folder):
            break
        killed += 1
        wrong += [f"operation {number}: {told}" for told in _looked_at(folder, before)]
    print(json.dumps({"killed": killed, "wrong": wrong}))


def _looked_at(folder: Path, before: dict[str, object]) -> list[str]:
    """What is wrong after a kill, and after the run that follows it."""
    wrong = []
    after = json.loads((folder / "verdict.json").read_text())
    if after != before and (after["from"] != before["to"] or not (folder / str(after["report"])).exists()):
        wrong.append("the verdict is neither the old one nor that of a finished report")
    if _killed_at(10**9, folder):
        wrong.append("the next run was killed")
    last = json.loads((folder / "verdict.json").read_text())
    rewritten = last["from"] == after["to"] or (after != before and last["from"] < after["to"])
    if last == after or not rewritten or last["error"]:
        wrong.append(f"the next run covered {last['from']} to {last['to']} after {after['to']}: {last['error']}")
    if list((folder / "reports").glob("unfinished*")) or list(folder.rglob("*.partial")):
        wrong.append(f"left over: {[str(path) for path in folder.rglob('*')]}")
    if not all((path / "verdict.json").exists() for path in (folder / "reports").iterdir()):
        wrong.append("a report without a verdict is left")
    rows, notes = _history_in_a_child(folder)
    if notes or not rows:
        wrong.append(f"the history: {rows} rows, {notes}")
    return wrong


def _history_in_a_child(folder: Path) -> tuple[int, list[str]]:
    """Read there, so that this process never starts the threads that a fork would lose."""
    told = folder / "history.told"
    if not os.fork():
        found, notes = history.read(folder / "history")
        told.write_text(json.dumps([len(found), notes]))
        os._exit(0)
    os.wait()
    rows, notes = json.loads(told.read_text())
    return int(rows), list(notes)


if __name__ == "__main__":
    main()
