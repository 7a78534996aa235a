"""The pages of the hypotheses: the docstrings of the files in this room, read as pages."""

from __future__ import annotations

import inspect
import pkgutil
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import ModuleType

from ..errors import InputError
from .findings import SEVERITIES, Severity

_SECTIONS = ("Shown by", "Ruled out by", "Mistaken for it", "Severity", "Runbook", "Mitigation", "Leads to",
             "References")  # fmt: skip
# Words that keep their first letter within a sentence.
_NAMES = ("Stopping…", "Vulkan")
_HEAD = re.compile(rf"^({'|'.join(_SECTIONS)}):[ ]*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """What is known of one cause. `title` is its name in words, `claim` the sentence that is judged."""

    id: str
    title: str
    claim: str
    about: str
    shown_by: tuple[str, ...]
    ruled_out_by: tuple[str, ...]
    mistaken_for: tuple[str, ...]
    severity: Severity
    runbook: str
    mitigation: str
    leads_to: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def name(self) -> str:
        """The title as it stands within a sentence: memory pressure, CPU instead of GPU."""
        as_it_is = self.title[1:2].isupper() or self.title.startswith(_NAMES)
        return self.title if as_it_is else self.title[0].lower() + self.title[1:]

    @property
    def markdown(self) -> str:
        """The page as Markdown, under a heading of the second level whose anchor is the id."""
        lists = (
            ("Shown by", self.shown_by),
            ("Ruled out by", self.ruled_out_by),
            ("Mistaken for it", self.mistaken_for),
            ("Leads to", tuple(f"`{name}`" for name in self.leads_to)),
            ("References", self.references),
        )
        parts = [f"## {self.id}", f"**{self.title}.** {self.claim}", self.about]
        for heading, items in lists:
            if items:
                parts.append("\n".join([f"{heading}:", "", *(f"- {item}" for item in items)]))
        parts.append(f"Mitigation: {self.mitigation}")
        parts.append(f"Severity: {self.severity} · Runbook: {f'`{self.runbook}`' if self.runbook else 'none'}")
        return "\n\n".join(part for part in parts if part) + "\n"


@cache
def modules() -> dict[str, ModuleType]:
    """The files that judge a cause (those with a function `findings_in`), by id."""
    package = import_module(__package__)
    found = {each.name: import_module(f"{__package__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)}
    return {name: module for name, module in sorted(found.items()) if hasattr(module, "findings_in")}


@cache
def catalogue() -> dict[str, Page]:
    """Every page by its id.

    >>> catalogue()["stopping_deadlock"].runbook
    'recover-stuck-runner'
    """
    return {name: _page(name, inspect.getdoc(module) or "") for name, module in modules().items()}


def page_of(name: str) -> Page:
    """The page of one hypothesis; raises InputError with the nearest right name."""
    pages = catalogue()
    wanted = name.strip().lower().replace("-", "_")
    if wanted in pages:
        return pages[wanted]
    near = get_close_matches(wanted, pages, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(pages)}."
    raise InputError(f"{name}: there is no such hypothesis; {hint}")


def catalogue_markdown() -> str:
    """All pages, one after another, under a table of them: the project's docs/hypotheses.md."""
    rows = [f"| [{page.id}](#{page.id}) | {page.claim} | {page.severity} | {page.runbook or 'none'} |"
            for page in catalogue().values()]  # fmt: skip
    head = [
        "# Hypotheses",
        "",
        "The causes that warmstall judges on every case: `confirmed`, `supported`, `ruled_out`, or `not_observable`",
        "with what to collect. Each is one file of `lib/warmstall/hypotheses/`, and this page is made of their",
        "docstrings (`make docs`). `warmstall explain ID` prints one of them.",
        "",
        "| id | claim | severity | runbook |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(head) + "\n\n" + "\n".join(page.markdown for page in catalogue().values())


def _page(name: str, text: str) -> Page:
    heads = list(_HEAD.finditer(text))
    parts = {
        head[1]: f"{head[2]}\n{text[head.end() : following.start() if following else None]}".strip()
        for head, following in zip(heads, [*heads[1:], None], strict=True)
    }
    if missing := [section for section in _SECTIONS if section not in parts and section != "Leads to"]:
        raise ValueError(f"hypotheses/{name}.py: its docstring has no section {missing[0]!r}.")
    opening = text[: heads[0].start()].strip()
    first, _, about = opening.partition("\n\n")
    title, _, claim = " ".join(first.split()).partition(": ")
    severity = parts["Severity"]
    if severity not in SEVERITIES or not claim:
        raise ValueError(f"hypotheses/{name}.py: expected 'Title: claim' first, and a severity of {SEVERITIES}.")
    runbook = parts["Runbook"]
    return Page(
        id=name,
        title=title,
        claim=claim[0].upper() + claim[1:],
        about=" ".join(about.split()),
        shown_by=_items(parts["Shown by"]),
        ruled_out_by=_items(parts["Ruled out by"]),
        mistaken_for=_items(parts["Mistaken for it"]),
        severity=severity,
        runbook="" if runbook == "none" else runbook,
        mitigation=" ".join(parts["Mitigation"].split()),
        leads_to=tuple(name for name in re.findall(r"[a-z_]+", parts.get("Leads to", "")) if name != "none"),
        references=_items(parts["References"]),
    )


def _items(text: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in re.split(r"^\s*- ", text, flags=re.MULTILINE) if item.strip())
