"""Which requests are told by the same sentence but for its numbers: what repeats itself is told once."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import numpy as np

from .facts import Facts
from .judged import Judged
from .rules import EVERY_RULE, PHRASES, Rule
from .words import Numbers, Vocabulary, Words, in_parts

_NUMBER = re.compile(r"[\d.,]+")


def gists(judged: Judged, rows: Numbers) -> Numbers:
    """A number for each of the rows (in rising order): the same where sentences differ in nothing but numbers."""
    known = Vocabulary()

    def of_part(part: Any) -> Numbers:
        codes = np.empty(len(part), dtype=np.int32)
        rules = judged.rule(part)
        for number in np.unique(rules).tolist():
            own = np.flatnonzero(rules == number)
            # Of those that read alike one sentence is made.
            _, first, alike = np.unique(_alike(EVERY_RULE[number], judged.facts(part[own])), True, True)
            told = part[own[first]]
            codes[own] = known.codes(map(_gist, judged.reasons(told, judged.facts(told))))[alike]
        for at in np.flatnonzero(np.isin(part, list(judged.reworded))).tolist():
            codes[at] = known.code(_gist(judged.reworded[int(part[at])]))
        return codes

    return in_parts(of_part, rows, len(rows))


def _alike(rule: Rule, facts: Facts) -> Numbers:
    """The same number for those of some requests of a rule whose sentences differ in nothing but numbers."""
    alike = np.zeros(len(facts), dtype=np.int64)
    for _, name, _, _ in Formatter().parse(rule.because):
        if name and (kinds := _kinds(name, facts)) is not None:
            alike = np.unique(alike * (int(kinds.max(initial=0)) + 1) + kinds, return_inverse=True)[1]
    return alike


def _kinds(name: str, facts: Facts) -> Numbers | None:
    """How a name in a sentence reads: a number for each way; None where it reads as a number."""
    if name in PHRASES:
        reads: Numbers = PHRASES[name].when(_Known(facts))
        return reads
    column = facts[name]
    if not isinstance(column, Words):
        return None
    kinds: Numbers = Vocabulary().codes(map(_gist, column.names))[column.codes]
    return kinds


class _Known:
    """The facts of some requests; numbers that are not known are 0, as sentences show them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __getitem__(self, name: str) -> Any:
        column = self._facts[name]
        return column if isinstance(column, Words) or column.dtype.kind != "f" else np.nan_to_num(column)


def _gist(sentence: str) -> str:
    return _NUMBER.sub("#", sentence)
