"""Requests with all that was found to belong to them: loads, tasks, trials, models, queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..records import SlotTask
from .loads import LoadPairs, Loads, Waits
from .queues import Queues
from .requests import Requests
from .words import Numbers, Rows, Vocabulary, Words


@dataclass(frozen=True)
class Matched:
    """The requests of a case. `model` holds numbers of `models`; trials are by row, tasks by row and number."""

    requests: Requests
    models: Vocabulary
    model: Numbers
    loads: Loads
    pairs: LoadPairs
    queues: Queues
    task_rows: Numbers
    task_numbers: Numbers
    tasks: Sequence[SlotTask]
    trials: Mapping[int, Mapping[str, Any]]
    retried: frozenset[int] = frozenset()
    # Logs of access lines alone: of a load they show nothing.
    access_lines_only: frozenset[str] = frozenset()
    # Epoch seconds by host in which samples show every runner stopped, and stopped or using no CPU.
    stopped: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    idle: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @cached_property
    def waits(self) -> Waits:
        return Waits(self.requests, self.pairs, self.loads, self.model, told_by(self.trials, "load_duration_s"))

    @cached_property
    def task_columns(self) -> dict[str, Numbers]:
        """The tasks by columns, one more at the end for a request without one; NaN is what was not printed."""
        numbers = ("total_s", "prefill_s", "decode_s", "prefill_tokens", "decode_tokens", "line", "released_line",
                   "cancelled", "truncated")  # fmt: skip
        none = {"line": 0, "released_line": 0, "cancelled": False, "truncated": False}
        return {
            name: np.array([*(getattr(task, name) for task in self.tasks), none.get(name)],
                           dtype=type(none.get(name, 0.0)))
            for name in numbers
        }  # fmt: skip

    @cached_property
    def trial_rows(self) -> Numbers:
        return np.array(sorted(self.trials), dtype=np.int64)

    @cached_property
    def trial_columns(self) -> dict[str, Numbers]:
        """What the clients say, in the order of `trial_rows`, one more at the end for a request without a trial."""
        numbers = ("total_duration_s", "load_duration_s", "prompt_eval_duration_s", "eval_duration_s",
                   "prompt_eval_count", "eval_count")  # fmt: skip
        said = [self.trials[row] for row in self.trial_rows.tolist()]
        return {name: np.array([*(trial.get(name) for trial in said), None], dtype=float) for name in numbers}

    @cached_property
    def trial_errors(self) -> Words:
        return Words.of([*(self.trials[row].get("error") or "" for row in self.trial_rows.tolist()), ""])

    @cached_property
    def uses(self) -> Uses:
        return Uses(self)

    def kind(self, rows: Rows = slice(None)) -> Numbers:
        """What walls are compared within: one kind of work of one model on one host."""
        return 2 * self.runner(rows) + self.requests.embedding(rows).astype(np.int32)

    def runner(self, rows: Rows = slice(None)) -> Numbers:
        """What speeds are compared within: one model on one host."""
        return self.requests.host.codes[rows].astype(np.int32) * len(self.models.names) + self.model[rows]

    @property
    def runners(self) -> int:
        """One more than the greatest number of a runner."""
        return max(1, len(self.requests.host.names)) * len(self.models.names)


class Uses:
    """When requests to each model of each host ended."""

    def __init__(self, matched: Matched) -> None:
        rows = np.flatnonzero(matched.requests.ran)
        runner, ended = matched.runner(rows), matched.requests.ended(rows)
        order = np.lexsort((ended, runner))
        runner, self._ended = runner[order], ended[order]
        begins = {int(runner[at]): at for at in np.flatnonzero(np.diff(runner, prepend=-1)).tolist()}
        cuts = [*begins.values(), len(runner)]
        self._spans = {one: slice(*cut) for one, cut in zip(begins, pairwise(cuts), strict=True)}
        self._hosts = {host: code for code, host in enumerate(matched.requests.host.names)}
        self._models = {model: code for code, model in enumerate(matched.models.names)}

    def last(self, host: str, model: str, from_at: float, to_at: float) -> float:
        """When the last request to a model that ended in a span of time did; -inf where none did."""
        if host not in self._hosts or model not in self._models:
            return float("-inf")
        runner = self._hosts[host] * len(self._models) + self._models[model]
        ended = self._ended[self._spans.get(runner, slice(0, 0))]
        at = int(np.searchsorted(ended, to_at, "right")) - 1
        return float(ended[at]) if at >= 0 and ended[at] >= from_at else float("-inf")


def told_by(trials: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, float]:
    """One of the numbers that clients tell, by row, where they do."""
    return {row: trial[name] for row, trial in trials.items() if trial.get(name) is not None}
