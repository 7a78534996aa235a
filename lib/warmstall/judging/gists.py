"""Which requests are told by the same sentence but for its numbers: what repeats itself is told once."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import numpy as np

from .facts import Facts
from .judged import Judged
from .rules import EVERY_RULE, Rule, Shown
from .words import Numbers, Vocabulary, in_parts

_NUMBER = re.compile(r"[\d.,]+")


def gists(judged: Judged, rows: Numbers) -> Numbers:
    """A number for each of the rows (in rising order): the same where sentences differ in nothing but numbers."""
    known = Vocabulary()

    def of_part(part: Any) -> Numbers:
        codes = np.empty(len(part), dtype=np.int32)
        rules = judged.rule(part)
        for number in np.unique(rules).tolist():
            rule, own = EVERY_RULE[number], np.flatnonzero(rules == number)
            if _has_words(rule, judged, part[own]):
                codes[own] = known.codes(map(_gist, judged.reasons(part[own], judged.facts(part[own]))))
            else:  # sentences of numbers alone need not be made
                codes[own] = known.code(rule.because)
        for at in np.flatnonzero(np.isin(part, list(judged.reworded))).tolist():
            codes[at] = known.code(_gist(judged.reworded[int(part[at])]))
        return codes

    return in_parts(of_part, rows, len(rows))


def _has_words(rule: Rule, judged: Judged, rows: Numbers) -> bool:
    """Whether anything but numbers is filled into the sentence of a rule."""
    shown = Shown(_First(judged.facts(rows[:1])))
    return any(isinstance(shown[name], str) for _, name, _, _ in Formatter().parse(rule.because) if name)


class _First:
    """The facts of the first of some rows, as plain values."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __getitem__(self, name: str) -> Any:
        return self._facts[name].tolist()[0]


def _gist(sentence: str) -> str:
    return _NUMBER.sub("#", sentence)
