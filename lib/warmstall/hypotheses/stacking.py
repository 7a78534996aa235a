"""Several causes at once: which leads to which, and what each mitigation alone would have changed.

What leads to what stands on the pages (`Leads to`). Of the causes found in a case, one that leads to another is
upstream of it. Taking a cause away prevents what only it leads to, shortens what something else leads to as well,
and leaves the rest as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .findings import SEVERITIES
from .judging import Judgement


@dataclass(frozen=True)
class Mitigated:
    """What one mitigation alone would have done: ids of the other causes found, by what becomes of them."""

    judgement: Judgement
    prevents: tuple[str, ...]
    shortens: tuple[str, ...]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """The causes found that are worth an action, what leads to what among them, and the mitigations, best first."""

    causes: tuple[Judgement, ...]
    links: tuple[tuple[str, str], ...]
    mitigations: tuple[Mitigated, ...]

    @property
    def sentences(self) -> list[str]:
        """How the causes interact, and which single step would have helped, in plain English; none for one cause."""
        if len(self.causes) < 2:
            return []
        return [f"{len(self.causes)} causes at once: {_listed(list(self._names.values()))}.", *self.interactions,
                *self.steps]  # fmt: skip

    @property
    def _names(self) -> dict[str, str]:
        return {one.id: one.page.name for one in self.causes}

    @property
    def interactions(self) -> list[str]:
        """Which cause leads to which."""
        names = self._names
        linked = {name for link in self.links for name in link}
        if not linked:
            return ["None of them is known to lead to another."] if len(names) > 1 else []
        told = []
        for name in names:
            if led := [names[after] for before, after in self.links if before == name]:
                told.append(f"{_capital(names[name])} leads to {_listed(led)}.")
        if apart := [names[name] for name in names if name not in linked]:
            told.append(f"Independent of the others: {_listed(apart)}.")
        return told

    @property
    def steps(self) -> list[str]:
        """Which single step would have prevented most, and what each would only have lessened."""
        names = self._names
        if len(names) < 2:
            return []
        best = self.mitigations[0]
        told = ["No single step would have prevented another of them: each has to be put right by itself."]
        if best.prevents:
            rest = [names[name] for name in (*best.shortens, *best.leaves)]
            taken = [names[name] for name in (best.judgement.id, *best.prevents)]
            told = [f"The single step that would have prevented most: {_step(best)} It takes away {_listed(taken)}"
                    + (f", and does not prevent {_listed(rest)}." if rest else ".")]  # fmt: skip
        for done in self.mitigations:
            if done.shortens:
                less = _listed([names[name] for name in done.shortens])
                told.append(f"Without {names[done.judgement.id]} there would have been less of {less}, not none.")
        return told


def stacked(judged: Iterable[Judgement]) -> Stack:
    """The causes of at least severity warning that were found, and how they hang together."""
    causes = tuple(one for one in judged if one.found and SEVERITIES.index(one.severity) > 0)
    ids = {one.id for one in causes}
    links = tuple((one.id, led) for one in causes for led in one.page.leads_to if led in ids)
    mitigations = sorted(
        (_mitigated(one, causes, links) for one in causes),
        key=lambda done: (-len(done.prevents), -len(done.shortens), -SEVERITIES.index(done.judgement.severity)),
    )
    return Stack(causes, links, tuple(mitigations))


def _mitigated(
    judgement: Judgement, causes: tuple[Judgement, ...], links: tuple[tuple[str, str], ...]
) -> Mitigated:  # fmt: skip
    parents = {one.id: {before for before, after in links if after == one.id} for one in causes}
    gone = {judgement.id}
    while more := {name for name, before in parents.items() if before and before <= gone} - gone:
        gone |= more
    others = [one.id for one in causes if one.id not in gone]
    shortened = tuple(name for name in others if parents[name] & gone)
    left = tuple(name for name in others if name not in shortened)
    prevented = tuple(one.id for one in causes if one.id in gone - {judgement.id})
    return Mitigated(judgement, prevented, shortened, left)


def _step(mitigated: Mitigated) -> str:
    text = mitigated.judgement.page.mitigation
    return f"{text[0].lower()}{text[1:].rstrip('.')}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
