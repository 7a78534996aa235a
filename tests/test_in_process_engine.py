"""A notebook run inside the process: the same outputs as in a kernel, and nothing left behind."""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from conftest import INCIDENTS
from warmstall import analyzed, report
from warmstall.analysis import analyze
from warmstall.case import write_case
from warmstall.evidence import discover

SOURCES = (
    "import sys\nfrom IPython.display import Markdown, display\nprint('first')\nprint('second')",
    "display(Markdown('*shown*'))\nprint('after')\nsum([given, 2])",
    "print('aside', file=sys.stderr)",
    "_ + 1",
    "[1, 2];",
    "import plotly.graph_objects as go\ngo.Figure(go.Scatter(x=[1, 2], y=[3.5, 4]))",
    "None",
    "import pandas as pd\npd.DataFrame({'a': [1]})",
    "raise ValueError('no such thing')",
    "print('never')",
)


def notebook(folder: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells.insert(0, nbformat.v4.new_code_cell("given: int = 0", metadata={"tags": ["parameters"]}))
    cells.insert(1, nbformat.v4.new_markdown_cell("Prose."))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "small.ipynb")
    return folder / "small.ipynb"


def told(executed: Path) -> list[tuple]:
    """Outputs and numbers of the cells; a traceback names files that are not the same."""
    cells = nbformat.read(executed, as_version=4).cells
    nbformat.validate(nbformat.read(executed, as_version=4))
    return [
        (cell.source, cell.get("execution_count"), [{**output, "traceback": []} for output in cell.get("outputs", [])])
        for cell in cells
    ]


def test_the_outputs_are_those_of_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(builtins, "_", raising=False)  # a doctest leaves it, and IPython touches no `_` but its own
    small = notebook(tmp_path, *SOURCES)
    failures = {
        run(small, tmp_path / f"{run.__name__}.ipynb", {"given": 40})
        for run in (report.execute, report.execute_in_process)
    }
    assert failures == {"ValueError: no such thing"}
    assert told(tmp_path / "execute_in_process.ipynb") == told(tmp_path / "execute.ipynb")


def test_the_process_is_as_it_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "profile"))
    before = (sys.modules["__main__"], sys.stdout, sys.stderr, sys.displayhook, sys.excepthook)
    small = notebook(tmp_path, "import plotly.io\nassert plotly.io.renderers.default == 'plotly_mimetype'", "given = 1")
    for _ in range(2):
        assert report.execute_in_process(small, tmp_path / "executed.ipynb", {}) == ""
    assert before == (sys.modules["__main__"], sys.stdout, sys.stderr, sys.displayhook, sys.excepthook)
    assert not InteractiveShell.initialized()
    assert not hasattr(builtins, "get_ipython")
    assert not (tmp_path / "profile").exists()


def test_an_interrupt_ends_the_notebook_and_is_passed_on(tmp_path: Path) -> None:
    small = notebook(tmp_path, "raise KeyboardInterrupt", f"open({str(tmp_path / 'went on')!r}, 'w')")
    with pytest.raises(KeyboardInterrupt):
        report.execute_in_process(small, tmp_path / "executed.ipynb", {})
    assert not (tmp_path / "went on").exists()
    assert not InteractiveShell.initialized()


def test_a_report_of_what_is_analyzed_already_analyzes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it tells to be done names the case from the root, wherever the command ran."""
    (tmp_path / "case" / "evidence").mkdir(parents=True)
    log = (INCIDENTS / "warm-stall-runner-stopped" / "evidence").glob("**/server.log")
    (tmp_path / "case" / "evidence" / "server.log").write_bytes(next(log).read_bytes())
    monkeypatch.chdir(tmp_path)
    write_case(discover([Path("case")]), Path("case/out"), Path("case/tables"))
    found = analyze("case/out")
    found.case.folder = Path("case")
    monkeypatch.setattr(analyzed, "analyze", None)
    page = report.write_report("case/out", "case/out", found=found)
    assert f"--case {tmp_path / 'case'} " in page.read_text(encoding="utf-8")


def test_in_a_process_that_is_a_notebook_itself_a_kernel_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = notebook(tmp_path, "import os\nprint(os.getppid())")
    monkeypatch.setattr(InteractiveShell, "initialized", lambda: True)
    monkeypatch.setattr(report, "notebook_path", lambda name: small)
    monkeypatch.setattr(report, "execute_in_process", None)
    report.write_report(tmp_path, tmp_path / "out")
    assert f'<pre class="text">{os.getpid()}' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
