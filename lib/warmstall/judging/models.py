"""Which model a request ran on, where only one can have been meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..matching import epoch
from ..records import Load, Residency
from .loads import LoadPairs, Loads
from .requests import Requests
from .words import Numbers, Rows, Vocabulary


def attribute_models(
    requests: Requests, rows: Rows, pairs: LoadPairs, loads: Loads, models: Vocabulary, residencies: Sequence[Residency],
    own: Sequence[Load], trials: Mapping[int, Mapping[str, Any]], names: dict[str, str], found: Numbers,
) -> None:  # fmt: skip
    """Put the number of the model that each of the rows of a log ran on into `found`; that of "" where none can tell.

    A trial names it. Else it is the model of the load it waited for, or the only one that was in memory
    or being loaded at any time between its start and its end. Names that trials give away go into `names`.
    """
    digests = {name: digest for digest, name in names.items()}
    named = {row: re.sub(r":latest$", "", trial["model"]) for row, trial in trials.items() if trial["model"]}
    if named:
        for row, load in zip(pairs.row[pairs.trigger].tolist(), pairs.load[pairs.trigger].tolist(), strict=True):
            if row in named and (model := loads.loads[load].model):
                digests.setdefault(named[row], model)
    for name, digest in digests.items():  # a client that caused a load has named what the log shows as a digest
        names.setdefault(digest, name)
    found[rows] = np.where(requests.ran[rows], _only_one(requests, rows, residencies, own, models), models.code(""))
    caused = pairs.trigger & requests.ran[pairs.row]
    found[pairs.row[caused]] = loads.model[pairs.load[caused]]  # of several the last
    for row, name in named.items():
        found[row] = models.code(digests.get(name, name))


def _only_one(
    requests: Requests, rows: Rows, residencies: Sequence[Residency], loads: Sequence[Load], models: Vocabulary
) -> Numbers:
    """The model that alone was in memory or being loaded between start and end of each request."""
    times, count, alone = _presence(residencies, loads, models)
    several = np.concatenate([[0], np.cumsum(count > 1)])
    single = np.flatnonzero(count == 1)
    changes = np.concatenate([[0], np.cumsum(np.diff(alone[single]) != 0)])
    first = np.maximum(0, np.searchsorted(times, requests.started_from(rows), "right") - 1)
    beyond = np.searchsorted(times, requests.ended_to(rows), "right")
    nothing = models.code("")
    if not len(single):
        return np.full(len(first), nothing, dtype=np.int32)
    one, last = np.searchsorted(single, first), np.searchsorted(single, beyond) - 1
    sure = (last >= one) & (several[beyond] == several[first])
    one[one == len(single)] = 0
    sure &= changes[last] == changes[one]
    return np.where(sure, alone[single[one]], nothing)


def _presence(
    residencies: Sequence[Residency], loads: Sequence[Load], models: Vocabulary
) -> tuple[Numbers, Numbers, Numbers]:
    """From each of the times on to the next: how many models were in memory or being loaded, and which, if one."""
    changes: list[tuple[float, int, str]] = []
    spans = [(r.model, r.loaded_at, r.unloaded_at) for r in residencies]
    spans += [(load.model, load.spawned_at, load.ended_at) for load in loads]
    for model, begin, end in spans:
        changes.append((epoch(begin), 1, model))
        if end is not None:
            changes.append((epoch(end), -1, model))
    times, counts, alone = [float("-inf")], [0], [models.code("")]
    here: dict[str, int] = {}
    for at, change, model in sorted(changes, key=lambda change: (change[0], -change[1])):
        here[model] = here.get(model, 0) + change
        if not here[model]:
            del here[model]
        present = [name for name, count in here.items() if count > 0]
        times.append(at)
        counts.append(len(present))
        alone.append(models.code(present[0]) if len(present) == 1 else models.code(""))
    return np.array(times), np.array(counts), np.array(alone, dtype=np.int32)
