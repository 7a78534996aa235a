"""What belongs to which request, log by log: tasks and loads, then models, then waits for a slot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..records import Load, SlotTask
from ..timeline import Timeline
from .loads import LoadPairs, Loads, match_loads
from .matched import Matched, told_by
from .models import attribute_models
from .queues import Queues, queue_by_overlap, ready_by
from .requests import Requests
from .tasks import match_tasks
from .words import Numbers, Rows, Vocabulary, rows_among, stretches


def default_parallel(version: str) -> int:
    """How many requests a runner serves at once where nothing says so: the default of that Ollama version.

    Versions 0.2.0 to 0.9.6 chose 4 or 2 where memory allowed and 1 where not; their runners say what they
    got on the command line, so this is used only where that line is missing.

    >>> default_parallel("0.13.5"), default_parallel("0.3.14"), default_parallel("0.9.6")
    (1, 4, 2)
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if (0, 2, 0) <= numbers < (0, 6, 7):
        return 4
    if (0, 6, 7) <= numbers < (0, 10, 0):
        return 2
    return 1


def match(
    requests: Requests, streams: Mapping[str, str], timelines: Mapping[str, Timeline],
    trials: Mapping[int, Mapping[str, Any]],
) -> Matched:  # fmt: skip
    """What the timelines of the logs and the clients' trials (by row) tell of the requests; `streams` is by source."""
    models = Vocabulary("")
    own: dict[str, range] = {}
    every: list[Load] = []
    for stream, timeline in timelines.items():
        own[stream] = range(len(every), len(every) + len(timeline.loads))
        every += timeline.loads
    loads = Loads(every, models)
    named = {one.model for timeline in timelines.values() for one in timeline.residencies}
    most = len(models.names) + len(named) + len(trials)
    model, queues = np.zeros(len(requests), dtype=np.min_scalar_type(-most)), Queues.empty(len(requests))
    tasks: list[SlotTask] = []
    rows_of_tasks: list[tuple[int, int]] = []
    pairs = []
    api_load_s = told_by(trials, "load_duration_s")
    called: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for row, trial in trials.items():
        source = requests.source.at(row)
        called[streams.get(source, source)][row] = trial
    for stream, rows, files in _by_stream(requests, streams):
        timeline = timelines.get(stream, Timeline())
        tasks_of: dict[str, list[SlotTask]] = defaultdict(list)
        for task in timeline.tasks:
            tasks_of[task.source].append(task)
        for lines in files:  # they are counted within a file
            those = tasks_of[requests.source.at(lines.start)]
            rows_of_tasks += [(row, len(tasks) + number) for row, number in match_tasks(requests, lines, those)]
            tasks += those
        found = match_loads(requests, rows, loads, own.get(stream, range(0)), api_load_s)
        attribute_models(requests, rows, found, loads, models, timeline.residencies, own.get(stream, range(0)),
                         called[stream], timeline.names, model)  # fmt: skip
        _queue(requests, rows, timeline, model, models, found, loads, queues)
        pairs.append(found)
    rows_of_tasks.sort()
    by_row = np.array(rows_of_tasks, dtype=np.int64).reshape(-1, 2)
    return Matched(requests, models, model, loads, LoadPairs.joined(pairs), queues, by_row[:, 0], by_row[:, 1], tasks,
                   trials)  # fmt: skip


def _by_stream(requests: Requests, streams: Mapping[str, str]) -> Iterator[tuple[str, Rows, list[range]]]:
    """The rows of each log with its rotations, in the order in which they come, and those of each file in it."""
    files: dict[str, list[range]] = defaultdict(list)
    for begin, end in pairwise(stretches(requests.source.codes)):
        source = requests.source.at(begin)
        files[streams.get(source, source)].append(range(begin, end))
    for stream, own in files.items():
        whole = all(one.stop == other.start for one, other in pairwise(own))
        yield stream, slice(own[0].start, own[-1].stop) if whole else np.concatenate(own), own


def _queue(
    requests: Requests, rows: Rows, timeline: Timeline, model: Numbers, models: Vocabulary, pairs: LoadPairs,
    loads: Loads, queues: Queues,
) -> None:  # fmt: skip
    version = timeline.runs[-1].version if timeline.runs else ""
    setting = timeline.runs[-1].settings.get("OLLAMA_NUM_PARALLEL", "") if timeline.runs else ""
    slots = {load.model: load.parallel for load in timeline.loads if load.parallel}
    default = int(setting) if setting.isdigit() and int(setting) > 0 else default_parallel(version)
    ran = rows_among(rows, requests.ran[rows]).astype(np.int32)
    of_ran, of_load, ended = model[ran], loads.model[pairs.load], loads.ended[pairs.load]
    of_load[np.isnan(ended)] = -1
    for number in np.flatnonzero(np.bincount(of_ran)).tolist():
        pool, name, own = ran[of_ran == number], models.names[number], of_load == number
        # Of several models, who waited for whom cannot be told.
        ready = ready_by(pool, pairs.row[own], ended[own]) if name else None
        queue_by_overlap(requests, pool, slots.get(name, default), ready, queues)
