"""Every runbook's notebook: the same cells in the same order, safe to run, and refusing what it should not be given."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from warmstall.errors import WarmstallError
from warmstall.remediate.book import COMMON, Book
from warmstall.remediate.catalogue import NAMES, runbook

EVERY = pytest.mark.parametrize("name", NAMES)
# Kind of each cell, and how it begins; the prose between differs.
ANATOMY = [
    ("markdown", "# "), ("markdown", "## Parameters"), ("code", "target"), ("code", "from warmstall import figures"),
    ("markdown", "## Preconditions"), ("code", "figures.table(book.preconditions())"), ("markdown", "## Plan"),
    ("code", "figures.table(book.steps())"), ("code", "print(book.approval())"),
    ("markdown", "## Act, verify, roll back, record"), ("code", "outcome = book.outcome()"), ("markdown", "## Result"),
    ("code", "figures.table(steps_of(outcome))"), ("code", "figures.table(measures_of(outcome))"),
    ("code", "print(outcome)"), ("markdown", "## Afterwards"),
]  # fmt: skip
HOSTILE = (
    "$(touch here)",
    "; rm -rf /",
    "`id`",
    "../../etc/passwd",
    "-rf",
    "\x1b[2J\x1b]0;x\x07",
    "a\nb",
    "</script>",
    "'",
)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of whoever runs the tests stays as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def notebook(name: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / "runbooks" / f"{name}.ipynb").read_text(encoding="utf-8")))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def papermill(name: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("papermill"))
    command = [program, str(ROOT / "runbooks" / f"{name}.ipynb"), "out.ipynb", *words, "--no-progress-bar"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def hashes(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@EVERY
def test_the_cells_are_those_of_every_runbook(name: str) -> None:
    """All of them, in this order; one may have more between, such as a table of its own."""
    cells = notebook(name)["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z-]+", one) for one in ids), ids
    rest = iter(cells)
    known = {}
    for kind, begins in ANATOMY:
        found = (cell for cell in rest if cell["cell_type"] == kind and source(cell).startswith(begins))
        known[begins] = next(found, None)
        assert known[begins], f"{kind}: {begins}"
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    tags = {cell["id"]: cell["metadata"]["tags"] for cell in cells if cell["metadata"].get("tags")}
    assert tags == {known["target"]["id"]: ["parameters"], known["print(outcome)"]["id"]: ["conclusion"]}
    for told in ("**Use it when**", "**Do not use it when**", "**Who may**", "**Needs**", "**Cannot**", "Run All"):
        assert told in source(cells[0]), told
    assert f'Book.of_notebook("{name}", globals())' in source(known["from warmstall import figures"])
    assert f"warmstall runbook run {name}" in source(known["## Act, verify, roll back, record"])


@EVERY
def test_the_parameters_are_those_of_the_program(name: str) -> None:
    """By name, order, type and default, each with its meaning, and safe as they stand."""
    lines = source(notebook(name)["cells"][2]).splitlines()
    found = {}
    for line in lines:
        code, _, meaning = line.partition("  # ")
        assert meaning, f"{line}: what does it mean?"
        assert "=" not in meaning, f"{line}: papermill would not know it as a parameter"
        (statement,) = ast.parse(code).body
        assert isinstance(statement, ast.AnnAssign)
        assert isinstance(statement.target, ast.Name)
        assert statement.value
        found[statement.target.id] = (ast.unparse(statement.annotation), ast.literal_eval(statement.value))
    wanted = {**COMMON, **runbook(name).settings}
    assert found == {key: (type(value).__name__, value) for key, value in wanted.items()}
    assert list(found) == list(wanted)
    assert found["dry_run"] == ("bool", True)
    assert found["target"] == ("str", "recorded")


@EVERY
def test_papermill_runs_it_anywhere_and_it_changes_nothing(name: str, tmp_path: Path) -> None:
    before = hashes(ROOT / "runbooks")
    done = papermill(name, tmp_path, "-p", "dry_run", "True")
    assert done.returncode == 0, done.stderr[-2000:]
    assert hashes(ROOT / "runbooks") == before
    assert list(hashes(tmp_path)) == ["out.ipynb"]
    cells = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    (conclusion,) = (cell for cell in cells if "conclusion" in cell["metadata"].get("tags", ()))
    text = "".join("".join(output.get("text", "")) for output in conclusion["outputs"])
    assert "Nothing was changed." in text or "cannot be done from here" in text
    told = "".join(source(output) if "source" in output else str(output) for cell in cells
                   for output in cell.get("outputs", ()) if output.get("name") == "stderr")  # fmt: skip
    assert not told


def test_papermill_is_refused_what_it_takes_for_a_string(tmp_path: Path) -> None:
    """`false` is a string for papermill, and every string is true: a run that guessed would act, or not, by chance."""
    done = papermill(NAMES[0], tmp_path, "-p", "dry_run", "false")
    assert done.returncode != 0
    assert "parameter dry_run: got 'false', expected bool." in done.stderr


@EVERY
def test_types_and_names_that_are_wrong_are_refused(name: str) -> None:
    right = {**COMMON, **runbook(name).settings}
    for key, default in right.items():
        wrong = "x" if not isinstance(default, str) else 7
        with pytest.raises(WarmstallError, match=f"parameter {key}: got"):
            Book.of_notebook(name, {**right, key: wrong})
    with pytest.raises(WarmstallError, match="did you mean dry_run"):
        Book.of_notebook(name, {**right, "dryrun": False})


@EVERY
@pytest.mark.parametrize("key", ["target", "unit"])
def test_where_it_acts_is_no_place_for_anything_else(name: str, key: str) -> None:
    for text in HOSTILE:
        with pytest.raises(WarmstallError):
            Book(name, {"target": "recorded", key: text})


@EVERY
def test_hostile_settings_make_no_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is given where a text is expected: a refusal, or a plan; no shell, and nothing to paste that runs it."""
    monkeypatch.chdir(tmp_path)
    for key in (key for key, default in runbook(name).settings.items() if isinstance(default, str)):
        for text in HOSTILE:
            with suppress(WarmstallError), Book(name, {"target": "recorded", key: text}) as book:
                outcome = book.outcome()
                assert outcome.status != "done"
                assert not {"sh", "bash"} & {command.argv[0] for command in book.target.host.asked}
                for command in (command for row in book.plan.rows for command in row.by_hand):
                    bare = re.sub(r"'[^']*'", "", command)  # what a shell would act on
                    assert shlex.quote(text) == text or text == "'" or text not in bare, (key, command)
                    assert shlex.split(command)
    assert not hashes(tmp_path)
