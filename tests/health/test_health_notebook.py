"""The notebook alone: as committed, offline on the sample, and as a scheduler runs it, from a copy elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from conftest import INCIDENTS
from warmstall.health.conclusion import read_assessment, read_verdict
from warmstall.health.head import OUTCOME
from warmstall.report import execute, html_page, notebook_path


def test_the_committed_notebook_holds_nothing_of_a_machine() -> None:
    notebook = nbformat.read(notebook_path("health_report"), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert len(cell.source.splitlines()) <= 9  # the parameters; the others are thinner
    assert notebook.cells[0].cell_type == "markdown"
    tagged = [cell.id for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == ["parameters"]


def test_run_all_reads_the_sample_and_writes_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default: the sample's last hour, concluded in a temporary folder; the page is whole."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    executed = tmp_path / "executed.ipynb"
    assert execute(notebook_path("health_report"), executed, {}) == ""

    assert {path.name for path in tmp_path.iterdir()} == {"executed.ipynb", "scratch"}
    notebook = nbformat.read(executed, as_version=4)
    outcomes = [output.data[OUTCOME] for cell in notebook.cells for output in cell.get("outputs", [])
                if OUTCOME in output.get("data", {})]  # fmt: skip
    assert len(outcomes) == 1
    assert outcomes[0]["status"] in ("degraded", "critical")  # a runner that was stopped
    assert len(outcomes[0]["numbers"]) == 3
    page = html_page(executed, "Health")
    assert len(page.encode()) < 6_000_000
    assert page.index('<header class="outcome') < page.index('<div class="figure"') < page.index("<table")


def test_a_scheduler_runs_a_copy_and_it_concludes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """jupyter-scheduler: parameters as Python source in the notebook, run from a staged copy, by nothing of ours."""
    staged = tmp_path / "staging" / "copy.ipynb"
    staged.parent.mkdir()
    shutil.copyfile(notebook_path("health_report"), staged)
    monkeypatch.chdir(staged.parent)
    parameters = {"case": str(INCIDENTS / "queue-one-slot"), "out": str(tmp_path / "reports"), "until": "end"}
    assert execute(staged, tmp_path / "executed.ipynb", parameters) == ""

    verdict = read_verdict(tmp_path / "reports")
    assert verdict is not None
    assert verdict["error"] == ""
    run = next((tmp_path / "reports" / "reports").iterdir())
    assert read_assessment(run).status == verdict["status"]
    assert json.loads((run / "verdict.json").read_text()) == verdict
    assert list((tmp_path / "reports" / "history").glob("*.parquet"))
    assert [path.name for path in staged.parent.iterdir()] == ["copy.ipynb"]


def test_a_mistyped_parameter_is_refused(tmp_path: Path) -> None:
    failure = execute(notebook_path("health_report"), tmp_path / "executed.ipynb", {"objective": "mine.toml"})
    assert re.search("there is none of this name; did you mean objectives", failure)
