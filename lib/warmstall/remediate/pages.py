"""The pages of the runbooks: each one's docstring, its notebook's prose and its plan on its recording."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hypotheses.catalogue import catalogue as hypotheses
from ..parse.plain_text import markdown_escaped
from .catalogue import NAMES, runbook
from .executed import notebook_of
from .journal import Journal
from .recorded import read_recording
from .run import Runner
from .step import Plan
from .target import open_target


@dataclass(frozen=True)
class Parameter:
    """A parameter of a runbook. `meaning` is the comment that stands beside it in the notebook."""

    name: str
    type: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Page:
    """What an operator should know of one runbook. `plan` is what it would do on its recording; `causes` name it."""

    name: str
    title: str
    about: str
    use: str
    afterwards: str
    parameters: tuple[Parameter, ...]
    causes: tuple[str, ...]
    recording: str
    recorded: str
    plan: Plan

    @property
    def markdown(self) -> str:
        """The page as Markdown, under a heading of the second level."""
        causes = ", ".join(f"[`{cause}`](hypotheses.md#{cause})" for cause in self.causes) or "none"
        parts = [
            f"## {self.name}", f"**{self.title}**", self.use, self.about, f"Causes that name it: {causes}.",
            "Its own parameters:" if self.parameters else "It has no parameters but those that all have.",
            self._parameter_rows, f"What it may do, as on the recording `{self.recording}`. {self.recorded}",
            self._plan_rows, "Afterwards:", self.afterwards,
        ]  # fmt: skip
        return "\n\n".join(part for part in parts if part) + "\n"

    @property
    def _parameter_rows(self) -> str:
        if not self.parameters:
            return ""
        rows = [
            f"| `{one.name}` | {one.type} | `{json.dumps(one.default)}` | {_cell(one.meaning)} |"
            for one in self.parameters
        ]
        return "\n".join(["| parameter | type | default | meaning |", "|---|---|---|---|", *rows])

    @property
    def _plan_rows(self) -> str:
        if not self.plan.rows:
            return markdown_escaped(self.plan.summary)
        rows = [
            f"| {_cell(row.step)} | {_cell(row.does)} | {_cell(row.now)} | {_cell(row.wanted)} | {row.effect} | "
            f"{_cell(row.felt_by)} | {_cell(row.undo)} |"
            for row in self.plan.rows
        ]
        head = ["| step | does | now | wanted | effect | felt by | undo |", "|---|---|---|---|---|---|---|"]
        return "\n".join([*head, *rows])

    def as_json(self) -> dict[str, Any]:
        """The page as plain JSON."""
        return {
            "name": self.name, "title": self.title, "about": self.about, "use": self.use,
            "parameters": [vars(one) for one in self.parameters], "causes": list(self.causes),
            "recording": self.recording,
            "may_do": [{"step": row.step, "does": row.does, "felt_by": row.felt_by, "undo": row.undo}
                       for row in self.plan.rows],
        }  # fmt: skip


def page(name: str) -> Page:
    """The page of one runbook; raises InputError with the nearest right name.

    >>> page("recover-stuck-runner").causes[-1]
    'warm_stall'
    """
    found = runbook(name)
    about = inspect.getdoc(sys.modules[found.build.__module__]) or ""
    cells = {cell["id"]: "".join(cell["source"]) for cell in _cells(found.name)}
    texts = list(cells.values())
    meanings = _meanings(texts[2])
    parameters = tuple(
        Parameter(key, type(default).__name__, default, meanings.get(key, ""))
        for key, default in found.settings.items()
    )
    causes = tuple(cause.id for cause in hypotheses().values() if cause.runbook == found.name)
    return Page(
        found.name, found.title, about.partition("\n\n")[2].strip(),
        _without_heading(texts[0]), _without_heading(texts[-1]), parameters, causes, found.recording,
        read_recording(found.recording).about, _plan_on_recording(found.name),
    )  # fmt: skip


def runbooks_markdown() -> str:
    """docs/runbooks.md.

    >>> "## recover-stuck-runner" in runbooks_markdown()
    True
    """
    pages = [page(name) for name in NAMES]
    rows = [f"| [{one.name}](#{one.name}) | {_cell(one.title)} | {', '.join(one.causes) or '–'} |" for one in pages]
    lines = [
        "# Runbooks", "",
        "Made by `make docs` of the runbooks, of their notebooks and of their plans on recorded servers;",
        "[runbook.md](runbook.md) tells how to run one, and `warmstall runbook show NAME` prints one of these.", "",
        "| runbook | what it does | causes that name it |", "|---|---|---|", *rows, "",
        "\n".join(one.markdown for one in pages),
    ]  # fmt: skip
    return "\n".join(lines)


def _cells(name: str) -> list[dict[str, Any]]:
    return list(json.loads(notebook_of(name).read_text(encoding="utf-8"))["cells"])


def _without_heading(text: str) -> str:
    return re.sub(r"\A#+ .*\n*", "", text).strip()


def _meanings(parameters: str) -> dict[str, str]:
    """The comments of a parameters cell, by name."""
    return dict(re.findall(r"^(\w+)\b.* = .*?  # (.+)$", parameters, flags=re.MULTILINE))


def _plan_on_recording(name: str) -> Plan:
    """What the runbook would do on the recording that its notebook shows; no journal of this machine counts."""
    found = runbook(name)
    target = open_target(f"recorded:{found.recording}")
    with contextlib.closing(target):
        return Runner(name, target, dict(found.settings), found.build, Journal(Path(os.devnull))).plan()


def _cell(text: str) -> str:
    return markdown_escaped(text).replace("\n", " ")
