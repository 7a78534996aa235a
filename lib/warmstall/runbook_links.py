"""From a cause to its runbook: the command that shows its plan, and the page beside the report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .analysis import Analysis
from .hypotheses import Judgement
from .observed.captured import captured_table
from .parse.plain_text import markdown_escaped, printable

# What the report makes its pages of, in the cell that shows the table: kept with the notebook, and in no other place.
MIME = "application/vnd.warmstall.runbooks+json"
FOLDER = "runbooks"
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class RunbookLink:
    """A runbook that causes of a case name. `case` is empty where the evidence is no case, `model` where none or
    several are named."""

    name: str
    causes: tuple[str, ...]
    case: str
    model: str

    @property
    def command(self) -> str:
        """The command that shows its plan and changes nothing, ready to be pasted."""
        return command_of(self.name, self.case, self.model)


def command_of(name: str, case: str = "", model: str = "") -> str:
    """The command line of a runbook, with every word quoted as a shell needs it.

    >>> command_of("free-vram", "a case", "llama3:8b")
    "warmstall runbook run free-vram --case 'a case' -p model=llama3:8b"
    """
    words = ["warmstall", "runbook", "run", name]
    words += ["--case", case] if case else []
    words += ["-p", f"model={model}"] if model else []
    return shlex.join(printable(word) for word in words)


def runbook_notebook(name: str) -> Path | None:
    """Where a runbook's notebook lies: in the repository's folder or in the installed package; None if nowhere."""
    places = (folder / FOLDER / f"{name}.ipynb" for folder in (_PACKAGE.parents[1], _PACKAGE))
    return next((path for path in places if path.is_file()), None) if re.fullmatch(r"[a-z-]+", name) else None


def runbook_links(found: Analysis, judged: Sequence[Judgement]) -> list[RunbookLink]:
    """The runbooks that the causes found name, each once, the most severe cause first."""
    by_name: dict[str, list[Judgement]] = {}
    for one in judged:
        if one.found and one.page.runbook:
            by_name.setdefault(one.page.runbook, []).append(one)
    return [
        RunbookLink(name, tuple(one.id for one in ones), case_of(found), model_of(found, name, ones))
        for name, ones in by_name.items()
    ]


def case_of(found: Analysis) -> str:
    """The folder of the case, empty where the evidence is a bare log."""
    return str(found.case.folder or "")


def model_of(found: Analysis, runbook: str, ones: Sequence[Judgement]) -> str:
    """The model that the places of these causes name, if it is one, and the runbook has a parameter for it."""
    if not _takes_a_model(runbook):
        return ""
    sources = {(place.source, place.line) for one in ones for item in one.supporting for place in item.places}
    requests = found.verdicts()
    there = np.isin(requests["line"].to_numpy(), [line for _, line in sources])
    requests = requests[["source", "line", "model"]].iloc[np.flatnonzero(there)]
    # A log knows a model by the digest of its file until a client's record tells its name.
    digests = set(found.names) - set(found.names.values())
    named = set(requests["model"][[key in sources for key in zip(requests["source"], requests["line"], strict=True)]])
    for table in ("trials", "resident_models"):
        rows = captured_table(found.case, table)
        keys = zip(rows["source"], rows["line"], strict=True)
        named |= {name for key, name in zip(keys, rows["model"].fillna(""), strict=True) if key in sources}
    named = {str(name) for name in named - digests if name and not re.fullmatch(r"(sha256[-:])?[0-9a-f]{8,64}", name)}
    return named.pop() if len(named) == 1 else ""


@cache
def _takes_a_model(runbook: str) -> bool:
    notebook = runbook_notebook(runbook)
    return notebook is not None and '"model: str = ' in notebook.read_text(encoding="utf-8")


def linked(name: str) -> str:
    """A runbook's name as Markdown, with a link to its page beside the report where it has one."""
    return f"[{name}]({FOLDER}/{name}.html)" if runbook_notebook(name) else f"`{name}`"


@dataclass(frozen=True)
class RunbookTable:
    """The runbooks as a notebook shows them; the output holds them as data too."""

    links: tuple[RunbookLink, ...]

    def __repr__(self) -> str:
        return "\n".join(link.command for link in self.links) or "No cause that was found names a runbook."

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        rows = [f"| {linked(link.name)} | {', '.join(f'`{cause}`' for cause in link.causes)} | "
                f"{markdown_escaped(link.command)} |" for link in self.links]  # fmt: skip
        table = "\n".join(["| runbook | for | shows its plan, and changes nothing |", "|---|---|---|", *rows])
        data = json.loads(json.dumps([asdict(link) for link in self.links]))
        return {"text/plain": repr(self), "text/markdown": table if rows else repr(self), MIME: data}


def runbooks(found: Analysis, judged: Sequence[Judgement]) -> RunbookTable:
    """What to open next: a table for the notebook."""
    return RunbookTable(tuple(runbook_links(found, judged)))
