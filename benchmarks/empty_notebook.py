"""What papermill and a kernel cost where nothing is done: the measure of reports."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat


def empty_notebook(folder: Path) -> list[str]:
    """The command that runs a notebook of one empty cell, which is written into the folder."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")], metadata=kernel)
    nbformat.write(notebook, folder / "empty.ipynb")
    executed = str(folder / "executed.ipynb")
    return [sys.executable, "-m", "papermill", str(folder / "empty.ipynb"), executed, "--no-progress-bar"]
