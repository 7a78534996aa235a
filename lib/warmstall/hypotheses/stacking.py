"""Several causes at once: which leads to which, and what each mitigation alone would have changed.

What leads to what stands on the pages (`Leads to`). Of the causes found in a case, one that leads to another is
upstream of it. Taking a cause away prevents what only it leads to, lessens what something else leads to as well,
and leaves the rest as it is. The step that changes most is the one with the most severe causes gone or lessened.
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
    """The causes found that are worth an action, what leads to what among them, and the mitigations, best first.

    Mitigations are of the causes that no other one leads to; these come first among the causes as well.
    """

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
        """Which single step would have changed most, and what each other would have changed."""
        names = self._names
        if len(names) < 2:
            return []
        told: list[str] = []
        for done in self.mitigations:
            if told and not (done.prevents or done.shortens):
                continue
            taken = [names[name] for name in (done.judgement.id, *done.prevents)]
            parts = [f"would have prevented {_listed(taken)}"]
            if done.shortens:
                parts.append(f"lessened {_listed([names[name] for name in done.shortens])}")
            if done.leaves:
                parts.append(f"not touched {_listed([names[name] for name in done.leaves])}")
            opening = "The single step that changes most" if not told else "Another"
            told.append(f"{opening}: {_step(done)} It {_listed(parts)}.")
        return told


def stacked(judged: Iterable[Judgement]) -> Stack:
    """The causes of at least severity warning that were found, and how they hang together."""
    causes = tuple(one for one in judged if one.found and SEVERITIES.index(one.severity) > 0)
    ids = {one.id for one in causes}
    links = tuple((one.id, led) for one in causes for led in one.page.leads_to if led in ids)
    led_to = {after for _, after in links}
    # What another cause leads to is put right by putting that right: steps are looked for where it begins.
    roots = [one for one in causes if one.id not in led_to] or list(causes)
    severity = {one.id: SEVERITIES.index(one.severity) for one in causes}

    def change(done: Mitigated) -> float:
        gone = severity[done.judgement.id] + sum(severity[name] for name in done.prevents)
        return gone + sum(severity[name] for name in done.shortens) / 2

    mitigations = sorted((_mitigated(one, causes, links) for one in roots), key=change, reverse=True)
    first = [done.judgement for done in mitigations]
    ordered = (*first, *(one for one in causes if one not in first))
    return Stack(ordered, links, tuple(mitigations))


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
