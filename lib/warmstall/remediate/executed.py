"""A runbook's notebook run from outside; its outcome travels in the executed notebook itself.

The notebook is the record, so what a program must know of it stands in it too: `Book` shows the outcome as JSON in the
cell that acts, and `run_notebook` reads it there. There is no other channel that could say something else.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutputError

if TYPE_CHECKING:
    from .run import Outcome

_OUTCOME = "application/vnd.warmstall.outcome+json"
# What ended a notebook that has no outcome: the exit codes that its exceptions stand for.
_EXIT_CODES = {"CannotTell": 3, "InputError": 2, "ParameterError": 2, "OutputError": 2, "ActionFailed": 1,
               "KeyboardInterrupt": 130}  # fmt: skip
_FAILED = 3
_INTERRUPTED = {
    False: "it was interrupted; nothing was changed",
    True: "it was interrupted before it told an outcome; run it again to see whether something is to be taken back",
}


@dataclass(frozen=True)
class Executed:
    """An executed runbook: `outcome` is what the cell that acts told, None when the notebook did not come so far."""

    notebook: Path
    outcome: dict[str, Any] | None
    failure: str
    exit_code: int


def notebook_of(name: str) -> Path:
    """Where the notebook of a runbook lies; raises InputError when it is missing from this installation."""
    from ..runbook_links import runbook_notebook  # reads tables: a runbook itself needs none

    if path := runbook_notebook(name):
        return path
    raise InputError(f"{name}: its notebook {name}.ipynb is missing from this installation of warmstall.")


def show(outcome: Outcome, journal: Path) -> None:
    """Put the outcome into the cell that runs; for a reader, where it is recorded. Nothing outside of a notebook."""
    from IPython.core.interactiveshell import InteractiveShell

    if not InteractiveShell.initialized():
        return
    from IPython.display import display

    told = {**asdict(outcome), "exit_code": outcome.exit_code, "journal": str(journal.absolute())}
    sentence = f"Run {outcome.run}, recorded in {journal}." if outcome.run else "Nothing was changed or recorded."
    data = {"text/plain": sentence, _OUTCOME: json.loads(json.dumps(told, default=str))}
    display(data, raw=True)  # type: ignore[no-untyped-call]


def run_notebook(name: str, parameters: dict[str, object], out: Path) -> Executed:
    """Execute runbooks/`name`.ipynb with these parameters and keep it in `out`, under its name and the time in UTC.

    Ctrl-C reaches the notebook, which takes back what it began. Raises OutputError when nothing can be kept there.
    """
    from ..report import execute

    try:
        out.mkdir(parents=True, exist_ok=True)
        executed = _new_path(out, name)
        try:
            failure = execute(notebook_of(name), executed, parameters, takes_back=True)
        except KeyboardInterrupt:
            failure = "KeyboardInterrupt"
    except OSError as error:
        raise OutputError(f"The executed notebook cannot be kept in {out}: {error.strerror or error}") from error
    outcome, error_name = _told_in(executed)
    if failure == "KeyboardInterrupt":
        failure, error_name = "" if outcome else _INTERRUPTED[parameters["dry_run"] is False], "KeyboardInterrupt"
    code = outcome["exit_code"] if outcome else _EXIT_CODES.get(error_name, _FAILED)
    return Executed(executed, outcome, failure, code)


def _new_path(out: Path, name: str) -> Path:
    """A name that is not taken: no record replaces another one."""
    while True:
        now = datetime.now(UTC)
        path = out / f"{name}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z.ipynb"
        if not path.exists():
            return path


def _told_in(executed: Path) -> tuple[dict[str, Any] | None, str]:
    """The outcome, and the name of the exception that ended it; None and nothing where there is none."""
    if not executed.exists():
        return None, ""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    outcomes = [output["data"][_OUTCOME] for output in outputs if _OUTCOME in output.get("data", {})]
    errors = [str(output["ename"]) for output in outputs if output["output_type"] == "error"]
    return (outcomes[-1] if outcomes else None), (errors[-1] if errors else "")
