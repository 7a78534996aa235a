"""The verdicts of a case: which rule holds for each request, and on demand the facts and the sentence behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..records import VERDICTS
from ..timeline import Event, Stop
from .around import Around
from .facts import Facts
from .matched import Matched
from .rules import EVERY_RULE, Shown, rules_that_hold
from .words import Mask, Numbers, Rows, Words, chunks

_FLAGS = ("reload", "truncated", "retried")
_FLAGGED = tuple(" ".join(flag for bit, flag in enumerate(_FLAGS) if number >> bit & 1) for number in range(8))
_VERDICT_OF_RULE = np.array([VERDICTS.index(rule.verdict) for rule in EVERY_RULE], dtype=np.int8)


class Judged:
    """Every request of a case with its verdict. Sentences take longer than verdicts: they are made when asked for."""

    def __init__(
        self, matched: Matched, crashes: Sequence[Event], aborts: Sequence[Event], stops: Sequence[Stop]
    ) -> None:
        self.matched = matched
        self._around = Around(matched, crashes, aborts, stops)
        self._rule = np.empty(len(matched.requests), dtype=np.int8)
        # Of most requests nothing is known but their access lines: as of those all are judged first, then the others.
        for chunk in chunks(slice(None), len(self._rule)):
            self._rule[chunk] = rules_that_hold(Facts(matched, self._around, chunk, lone=True))
        for some in chunks(self._around.not_lone, len(self._rule)):
            self._rule[some] = rules_that_hold(self.facts(some))
        # What is to be said beside a rule's own sentence, by row.
        self.reworded: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rule)

    def facts(self, rows: Rows) -> Facts:
        return Facts(self.matched, self._around, rows)

    def rule(self, rows: Rows = slice(None)) -> Numbers:
        """The number in EVERY_RULE of the rule that holds for each of the rows."""
        return self._rule[rows]

    def verdict(self, rows: Rows = slice(None)) -> Words:
        return Words(_VERDICT_OF_RULE[self._rule[rows]], VERDICTS)

    def flags(self, facts: Facts) -> Words:
        """Flags joined by spaces: reload, truncated, retried (one of several attempts of a call)."""
        return Words((facts.reload & facts.triggered) + 2 * facts.truncated + 4 * facts.retried, _FLAGGED)

    def budget(self, rows: Rows, facts: Facts) -> dict[str, Numbers]:
        """The parts of each request's wall. A stall is taken out of the phase it fell into: Ollama's durations run on
        while a runner stands still."""
        stalled = self.verdict(rows) == "warm_stall"
        parts = {"queue_s": facts.queue_s, "load_s": facts.load_s, "prefill_s": facts.prefill_s,
                 "decode_s": facts.decode_s, "unexplained_s": facts.unexplained_s}  # fmt: skip
        if stalled.any():
            for phase in ("prefill", "decode"):
                excess_s = np.where(stalled & facts[f"{phase}_beyond"], facts[f"{phase}_excess_s"], 0.0)
                parts[f"{phase}_s"] = parts[f"{phase}_s"] - excess_s
                parts["unexplained_s"] = parts["unexplained_s"] + excess_s
        return parts

    def reasons(self, rows: Numbers, facts: Facts) -> list[str]:
        """The sentence of each of the rows."""
        shown = Shown(row := _Row(facts))
        sentences = []
        for row.at, rule in enumerate(self._rule[rows].tolist()):
            because = EVERY_RULE[rule].because
            sentences.append(because.format_map(shown) if "{" in because else because)
        if self.reworded:
            return [self.reworded.get(*pair) for pair in zip(rows.tolist(), sentences, strict=True)]
        return sentences

    def told(self, rows: Numbers) -> list[dict[str, Any]]:
        """Some requests by themselves, with their sentences."""
        facts = self.facts(rows)
        columns = {
            "row": rows.tolist(), "host": facts.host.tolist(), "status": facts.status.tolist(),
            "model": facts.model.tolist(), "started": facts.started.tolist(), "ended": facts.ended.tolist(),
            "verdict": self.verdict(rows).tolist(), "reason": self.reasons(rows, facts),
        }  # fmt: skip
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class _Row:
    """The facts of one row at a time, as plain values."""

    def __init__(self, facts: Facts) -> None:
        self._facts, self.at = facts, 0
        self._columns: dict[str, list[Any]] = {}

    def __getitem__(self, name: str) -> Any:
        if (column := self._columns.get(name)) is None:
            column = self._columns[name] = _plain(self._facts[name], name)
        return column[self.at]


def _plain(column: Numbers | Mask | Words, name: str) -> list[Any]:
    """A column as plain values; what is not known as None, and tokens, which have no fraction, as whole numbers."""
    values: list[Any] = column.tolist()
    if isinstance(column, Words) or column.dtype.kind != "f":
        return values
    whole = name.endswith("_tokens")
    return [None if value != value else int(value) if whole else value for value in values]
