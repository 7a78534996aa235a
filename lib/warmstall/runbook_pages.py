"""The runbooks beside a report: for each that its causes name, a page to read and a notebook that knows the case.

The page holds the runbook's own prose and parameters, and the commands for this case; the notebook is a copy of the
runbook with the case, and the model where the causes name one, set in its parameters. nbconvert is imported where used.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from . import __version__
from .page_safety import sanitized
from .runbook_links import FOLDER, MIME, RunbookLink, runbook_notebook
from .writing import whole_file

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_PARAMETER = re.compile(r"^(?P<name>\w+): (?P<type>[\w\[\]]+) = (?P<value>.*?)(?:  # (?P<meaning>.+))?$", re.MULTILINE)
# Where a runbook's prose points at its neighbours in the repository, there is nothing beside a report.
_NEIGHBOUR = re.compile(r"\[([^\[\]]+)\]\((?!https?:|#)[^()]*\)")


def write_runbooks(executed: Path, out: Path, title: str) -> list[Path]:
    """Write the page and the notebook of each runbook that the executed postmortem names; the pages written.

    A runbook without a notebook is left out. A notebook that has been run since is a record, and stays as it is.
    Raises OutputError when they cannot be written.
    """
    pages = []
    for link in _links_in(executed):
        if (source := runbook_notebook(link.name)) is None:
            continue
        notebook = json.loads(source.read_text(encoding="utf-8"))
        copy = out / FOLDER / f"{link.name}.ipynb"
        if not _was_run(copy):
            with whole_file(copy) as path:
                path.write_text(json.dumps(_with_case(notebook, link), indent=1) + "\n", encoding="utf-8")
        with whole_file(out / FOLDER / f"{link.name}.html") as path:
            path.write_text(_page(notebook, link, title), encoding="utf-8", newline="\n")
        pages.append(out / FOLDER / f"{link.name}.html")
    return pages


def _links_in(executed: Path) -> list[RunbookLink]:
    """What the cell of the postmortem that names the runbooks left."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    data = [output["data"][MIME] for cell in cells for output in cell.get("outputs", ())
            if MIME in output.get("data", {})]  # fmt: skip
    return [RunbookLink(**{**row, "causes": tuple(row["causes"])}) for rows in data for row in rows]


def _was_run(notebook: Path) -> bool:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return any(cell.get("outputs") for cell in cells)
    except FileNotFoundError:
        return False
    except (ValueError, LookupError, TypeError, AttributeError):
        return True  # whatever it is, it is not ours to replace


def _with_case(notebook: dict[str, Any], link: RunbookLink) -> dict[str, Any]:
    values = {name: value for name, value in (("case", link.case), ("model", link.model)) if value}
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source = _NEIGHBOUR.sub(r"\1", source)
        elif "parameters" in cell["metadata"].get("tags", ()):
            source = _PARAMETER.sub(lambda found: _set(found, values), source)
        cells.append({**cell, "source": source})
    return {**notebook, "cells": cells}


def _set(found: re.Match[str], values: dict[str, str]) -> str:
    if found["name"] not in values or found["type"] != "str":
        return found[0]
    meaning = f"  # {found['meaning']}" if found["meaning"] else ""
    # As JSON writes it, it is Python too, on one line and in ASCII whatever the text is.
    return f"{found['name']}: str = {json.dumps(values[found['name']])}{meaning}"


def _page(notebook: dict[str, Any], link: RunbookLink, title: str) -> str:
    import nbformat
    from nbconvert.exporters import TemplateExporter

    exporter = TemplateExporter(  # type: ignore[no-untyped-call]
        template_name="runbook",
        template_file="index.html.j2",
        extra_template_basedirs=[str(_TEMPLATES)],
        filters={"sanitized": sanitized, "parameters_of": _parameters, "quoted": shlex.quote},
    )
    notebook = _with_case(notebook, link)
    page = {
        "name": link.name, "title": title, "causes": link.causes, "command": link.command, "case": link.case,
        "version": __version__, "style": (_TEMPLATES / "report" / "style.css").read_text(encoding="utf-8"),
    }  # fmt: skip
    html, _ = exporter.from_notebook_node(nbformat.from_dict(notebook), {"page": page})  # type: ignore[no-untyped-call]
    return str(html)


def _parameters(source: str) -> list[dict[str, str]]:
    """The parameters of a cell: name, type, value and meaning.

    >>> _parameters('case: str = ""  # folder of a case')
    [{'name': 'case', 'type': 'str', 'value': '""', 'meaning': 'folder of a case'}]
    """
    return [{name: text or "" for name, text in found.groupdict().items()} for found in _PARAMETER.finditer(source)]
