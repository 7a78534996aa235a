"""Which model a request ran on, where only one can have been meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..records import Residency
from .loads import LoadPairs, Loads
from .requests import Requests
from .words import Numbers, Rows, Vocabulary, chunks, epochs, ranks, rows_among


def attribute_models(
    requests: Requests, rows: Rows, pairs: LoadPairs, loads: Loads, models: Vocabulary,
    residencies: Sequence[Residency], own: range, trials: Mapping[int, Mapping[str, Any]],
    names: dict[str, str], found: Numbers,
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
    _only_ones(requests, rows, _presence(residencies, loads, own, models), found)
    caused = pairs.trigger & requests.ran[pairs.row]
    found[pairs.row[caused]] = loads.model[pairs.load[caused]]  # of several the last
    for row, name in named.items():
        found[row] = models.code(digests.get(name, name))


def _only_ones(requests: Requests, rows: Rows, presence: tuple[Numbers, Numbers, Numbers], found: Numbers) -> None:
    """The model that alone was in memory or being loaded between start and end of each request that ran."""
    times, count, alone = presence
    several, singles = (np.concatenate([[0], np.cumsum(these)]) for these in (count > 1, count == 1))
    single = np.flatnonzero(count == 1)
    if not len(single):
        return
    changes = np.concatenate([[0], np.cumsum(np.diff(alone[single]) != 0)])
    for some in chunks(rows, len(requests)):
        ran = rows_among(some, requests.ran[some])
        first = np.maximum(0, ranks(times, requests.started_from(ran), "right") - 1)
        beyond = ranks(times, requests.ended_to(ran), "right")
        one, last = singles[first], singles[beyond] - 1
        sure = (last >= one) & (several[beyond] == several[first])
        one, last, ran = one[sure], last[sure], ran[sure]
        same = changes[last] == changes[one]
        found[ran[same]] = alone[single[one[same]]]


def _presence(
    residencies: Sequence[Residency], loads: Loads, own: range, models: Vocabulary
) -> tuple[Numbers, Numbers, Numbers]:
    """From each of the times on to the next: how many models were in memory or being loaded, and which, if one."""
    these = slice(own.start, own.stop)
    begins = np.concatenate([epochs([one.loaded_at for one in residencies]), loads.spawned[these]])
    ends = np.concatenate([epochs([one.unloaded_at for one in residencies]), loads.ended[these]])
    code = np.concatenate([models.codes([one.model for one in residencies]), loads.model[these]])
    left = ~np.isnan(ends)
    times, model = np.concatenate([begins, ends[left]]), np.concatenate([code, code[left]])
    change = np.repeat([1, -1], [len(begins), left.sum()])
    order = np.lexsort((-change, times))
    times, model, change = times[order], model[order], change[order]
    # A model is there as long as more began than ended of it.
    by_model = np.argsort(model, kind="stable")
    first = np.diff(model[by_model], prepend=-1) != 0
    here = np.cumsum(change[by_model])
    here -= np.repeat((here - change[by_model])[first], np.diff(np.flatnonzero(first), append=len(here)))
    there = (here > 0).astype(np.int64)
    came = np.empty_like(there)
    came[by_model] = there - np.where(first, 0, np.concatenate([[0], there[:-1]]))
    counts, alone = np.cumsum(came), np.cumsum(came * model)
    return np.concatenate([[-np.inf], times]), np.concatenate([[0], counts]), np.concatenate([[0], alone])
