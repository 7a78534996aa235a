"""Which load, which slot task and which client trial belongs to which request.

Ollama's log has no request ids. What joins its lines is order and time: an access line is written when
its request ends, a spawn follows within moments the request that needs it, a slot prints its timing just
before its request's access line. Every function here says how it decides, and decides nothing where two
answers are possible.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

from .records import Load, Residency, SlotTask

# Clients and server share a host here, or keep time by NTP; a second of truncation comes on top.
CLOCK_SLACK_S = 1.0
# Requests that a client sends at once arrive within this of each other, and in any order.
AT_ONCE_S = 0.05
# From a request's arrival to the spawn of its runner: reading the model's header, asking the GPUs for
# their memory. Seconds on slow disks, never the length of another request.
SPAWN_SLACK_S = 0.25
# An access line follows the timing of its task at once; a client that is slow to take its answer delays it.
LATE_LINE_S = 5.0
# Access lines and timings are written by two processes: one may come among the three lines of the other, which
# another slot may have stretched.
CROSSED_LINES = 6
_TIMED_OUT_OR_FAILED = ("failed", "timed_out", "abandoned", "unfinished")


@dataclass
class Request:
    """One access line with what was found to belong to it. Times are seconds since the epoch."""

    row: int
    host: str
    source: str
    line: int
    status: str
    path: str
    wall_s: float
    started_from: float
    started_to: float
    ended_from: float
    ended_to: float
    inference: bool
    embedding: bool
    model: str = ""
    model_from: str = ""
    loads: list[tuple[Load, str]] = field(default_factory=list)
    tasks: list[SlotTask] = field(default_factory=list)
    trial: dict[str, Any] | None = None
    queue_s: float = 0.0
    in_flight: int = 1
    beside: int = 0
    slots: int = 1
    retried: bool = False

    @property
    def started(self) -> float:
        return (self.started_from + self.started_to) / 2

    @property
    def ended(self) -> float:
        return (self.ended_from + self.ended_to) / 2

    @property
    def uncertainty_s(self) -> float:
        return (self.started_to - self.started_from) / 2

    @property
    def ran(self) -> bool:
        """Whether it can have reached a model: 4xx but 499 and 503 are answered before."""
        return self.inference and (self.status[:1] in ("2", "5") or self.status == "499") and self.status != "503"


def epoch(at: datetime) -> float:
    """Seconds since the epoch of a naive UTC time."""
    return (at - datetime(1970, 1, 1)).total_seconds()


def wall_of(trial: Mapping[str, Any]) -> float:
    """How long a trial took, in seconds: as it says, else between its times."""
    wall_s: float | None = trial.get("wall_s")
    if wall_s is None or not math.isfinite(wall_s):
        wall_s = epoch(trial["ended_at"]) - epoch(trial["started_at"])
    return wall_s


def alike_s(request: Request, trial: Mapping[str, Any]) -> float | None:
    """How far the walls of a request and a trial are apart; None where they are not of the same call.

    Same path and status, where the trial has them, and walls alike to half a second or a twentieth.
    """
    # A table that names no path is one of calls to models.
    if (trial.get("path") or "") not in (request.path.split("?")[0], *[""] * request.inference):
        return None
    if (trial.get("status") or "") not in ("", request.status):
        return None
    # A client's wall holds the server's, and a connection on top.
    wall_s = wall_of(trial)
    apart_s = abs(request.wall_s - wall_s)
    inside = (trial.get("total_duration_s") or 0.0) <= request.wall_s + 1.0
    return apart_s if inside and apart_s <= max(0.5, wall_s / 20) else None


def match_trials(
    requests: Sequence[Request],
    trials: Sequence[dict[str, Any]],
    clocks: Mapping[tuple[str, str], tuple[float, float]] | None = None,
) -> list[dict[str, Any]]:
    """Give each request the trial that a client recorded for it; return the trials without a request.

    Alike (`alike_s`), and ends within two seconds; closest first. Trials must have both their times.
    `clocks` tells, by the hosts of trial and request, what to add to the trial's times, and ± what; hosts
    that are not in it do not match. Without it, all share a clock.
    """
    by_host: dict[str, list[Request]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.ended):
        by_host[request.host].append(request)
    ends = {host: [request.ended for request in order] for host, order in by_host.items()}
    pairs = []
    for number, trial in enumerate(trials):
        for host, order in by_host.items():
            clock = clocks.get((trial["host"], host)) if clocks is not None else (0.0, 0.0)
            if clock is None:
                continue
            early, late = (epoch(trial["ended_at"]) + clock[0] + within_s for within_s in (-clock[1], clock[1]))
            first = bisect_left(ends[host], early - 2 - CLOCK_SLACK_S)
            for at in range(first, bisect_right(ends[host], late + 2 + CLOCK_SLACK_S)):
                late_s = max(0.0, order[at].ended_from - late, early - order[at].ended_to)
                apart_s = alike_s(order[at], trial)
                if late_s <= 2 and apart_s is not None:
                    pairs.append((apart_s + 0.2 * late_s, number, at, host, clock))
    taken_trials: set[int] = set()
    for _, number, at, host, clock in sorted(pairs):
        request = by_host[host][at]
        if number not in taken_trials and request.trial is None:
            taken_trials.add(number)
            request.trial = trials[number]
            _narrow(request, trials[number], *clock)
    return [trial for number, trial in enumerate(trials) if number not in taken_trials]


def _narrow(request: Request, trial: dict[str, Any], offset_s: float, uncertainty_s: float) -> None:
    """Take the client's times where they are finer and lie within what the log allows; else its clock is another."""
    started, ended = epoch(trial["started_at"]) + offset_s, epoch(trial["ended_at"]) + offset_s
    if not trial["started_at"].microsecond and not trial["ended_at"].microsecond:
        uncertainty_s += 1.0  # whole seconds
    slack_s = 0.1 + uncertainty_s
    fits = request.started_from - slack_s <= started <= request.started_to + slack_s
    if not fits or not request.ended_from - slack_s <= ended <= request.ended_to + slack_s:
        return
    if not uncertainty_s:
        request.started_from = request.started_to = started
        request.ended_from = request.ended_to = ended
        return
    start = max(request.started_from, started - uncertainty_s), min(request.started_to, started + uncertainty_s)
    end = max(request.ended_from, ended - uncertainty_s), min(request.ended_to, ended + uncertainty_s)
    if start[0] <= start[1] and end[0] <= end[1]:
        request.started_from, request.started_to = start
        request.ended_from, request.ended_to = end


def match_tasks(requests: Sequence[Request], tasks: Sequence[SlotTask]) -> None:
    """Give each generating request of a file its llama-server task, by the order of the lines and their times.

    A task that printed its timing belongs to the next access line that is long enough for it, of a request
    that was there when it began and ended when it did; where lines of two writers crossed, to the one just
    before. A task whose request is not found so is nobody's. One that never printed a timing was cut short:
    its access line comes while it is open.
    """
    waiting: list[SlotTask] = []
    lines = [request.line for request in requests]
    finished = sorted((task for task in tasks if task.total_s is not None), key=lambda task: task.finished_line)
    unfinished = sorted((task for task in tasks if task.total_s is None), key=lambda task: task.line)
    following, open_from = 0, 0
    taken: set[int] = set()

    def between(line: int) -> tuple[float, float]:
        """When the line was written: between the access lines around it, which have times where it has none."""
        at = bisect_right(lines, line)
        from_at = requests[at - 1].ended_from if at else float("-inf")
        return from_at, max(from_at, requests[at].ended_to) if at < len(lines) else float("inf")

    def began_during(task: SlotTask, request: Request) -> bool:
        from_at, to_at = between(task.line)
        from_at = max(from_at, epoch(task.started_from)) if task.started_from else from_at
        to_at = min(to_at, epoch(task.started_to)) if task.started_to else to_at
        return to_at >= request.started_from - CLOCK_SLACK_S and from_at <= request.ended_to

    def fits(task: SlotTask, request: Request) -> bool:
        # Whole seconds above a minute: the true wall may be up to a second more.
        room_s = request.wall_s + (1.0 if request.wall_s >= 60 else 0.05)
        return (task.total_s or 0.0) <= room_s and began_during(task, request)

    for request in requests:
        if request.ran and request.embedding:  # its tasks are released without a timing; they are nobody else's
            taken.update(task.line for task in unfinished if task.released_line and task.line < request.line)
        if not request.ran or request.embedding:
            continue
        while following < len(finished) and finished[following].finished_line < request.line:
            if finished[following].line not in taken:
                waiting.append(finished[following])
            following += 1
        waiting = [t for t in waiting if between(t.finished_line)[1] >= request.ended_from - LATE_LINE_S]
        fitting = [task for task in waiting if fits(task, request)]
        if not fitting and request.status == "200":  # its line may stand among those of its own timing
            fitting = [
                task
                for task in finished[following : following + 2]
                if task.line < request.line < task.finished_line <= request.line + CROSSED_LINES
                and task.line not in taken
                and fits(task, request)
            ]
        if fitting and request.status != "499":
            request.tasks.append(fitting[0])
            taken.add(fitting[0].line)
            waiting = [task for task in waiting if task is not fitting[0]]
            continue
        while open_from < len(unfinished) and unfinished[open_from].line in taken:
            open_from += 1
        for task in unfinished[open_from:]:
            if task.line > request.line:
                break
            late_start = task.started_to is not None and epoch(task.started_to) < request.started_from - 1
            if task.line in taken or late_start or 0 < task.released_line < request.line - 200:
                continue
            request.tasks.append(task)
            taken.add(task.line)
            break


def attribute_models(
    requests: Sequence[Request], residencies: Sequence[Residency], loads: Sequence[Load], names: dict[str, str]
) -> None:
    """Say which model a request ran on, where only one can have been meant.

    A trial names it. Else it is the model of the load it waited for, or the only one that was in memory
    or being loaded at any time between its start and its end. Names that trials give away go into `names`.
    """
    digests = {name: digest for digest, name in names.items()}
    for request in requests:
        if request.trial and request.trial["model"]:
            name = re.sub(r":latest$", "", request.trial["model"])
            for load, role in request.loads:
                if role == "trigger" and load.model:
                    digests.setdefault(name, load.model)
    for name, digest in digests.items():  # a client that caused a load has named what the log shows as a digest
        names.setdefault(digest, name)
    times, models = _presence(residencies, loads)
    for request in requests:
        if request.trial and request.trial["model"]:
            name = re.sub(r":latest$", "", request.trial["model"])
            request.model, request.model_from = digests.get(name, name), "trial"
            continue
        if not request.ran:
            continue
        triggered = [load for load, role in request.loads if role == "trigger"]
        if triggered:
            request.model, request.model_from = triggered[-1].model, "load"
            continue
        first = max(0, bisect_right(times, request.started_from) - 1)
        present = set().union(*models[first : bisect_right(times, request.ended_to)])
        if len(present) == 1:
            request.model, request.model_from = present.pop(), "only one in memory"


def _presence(residencies: Sequence[Residency], loads: Sequence[Load]) -> tuple[list[float], list[set[str]]]:
    """Which models were in memory or being loaded, from each of the times on to the next."""
    changes: list[tuple[float, int, str]] = []
    spans = [(r.model, r.loaded_at, r.unloaded_at) for r in residencies]
    spans += [(load.model, load.spawned_at, load.ended_at) for load in loads]
    for model, begin, end in spans:
        changes.append((epoch(begin), 1, model))
        if end is not None:
            changes.append((epoch(end), -1, model))
    times, models = [float("-inf")], [set[str]()]
    here: dict[str, int] = {}
    for at, change, model in sorted(changes, key=lambda change: (change[0], -change[1])):
        here[model] = here.get(model, 0) + change
        times.append(at)
        models.append({name for name, count in here.items() if count > 0})
    return times, models


def match_loads(requests: Sequence[Request], loads: Sequence[Load]) -> None:
    """Give each load the request that caused it (`trigger`) and the others it may have held up (`overlap`).

    The trigger was there when the runner was spawned and did not end before the load did; of several, a
    client's own `load_duration` decides, else the one that arrived last before the spawn. Where two arrived
    at once and the log knows several models, none is named.
    """
    order = sorted((request for request in requests if request.ran), key=lambda request: request.ended_to)
    ends = [request.ended_to for request in order]
    longest_s = max((request.wall_s for request in order), default=0.0) + 5
    for load in loads:
        spawned = epoch(load.spawned_at)
        ended = epoch(load.ended_at) if load.ended_at else spawned
        gave_up = load.outcome in _TIMED_OUT_OR_FAILED
        inside = []
        for at in range(bisect_left(ends, ended - SPAWN_SLACK_S), bisect_right(ends, ended + longest_s + 2)):
            request = order[at]
            if request.started_from > ended or request.ended_to < ended - SPAWN_SLACK_S:
                continue
            # A request that held the whole load is at least as long as the load was.
            long_enough = request.wall_s + (1.0 if request.wall_s >= 60 else 0.05) >= ended - spawned
            if request.started_from <= spawned + SPAWN_SLACK_S and (long_enough or gave_up):
                inside.append(request)
            elif request.started_from < ended:
                request.loads.append((load, "overlap"))
        if gave_up:
            # The request that fails with its load ends within moments of it.
            inside = [r for r in inside if r.ended_from <= ended + 2 and r.status in ("499", "500")] or inside
        several = len({other.model for other in loads}) > 1
        best, best_score, tied = None, None, False
        for request in inside:
            api_load_s = request.trial.get("load_duration_s") if request.trial else None
            waited = api_load_s is None or api_load_s >= 0.8 * ((load.load_s or 0.0) - SPAWN_SLACK_S)
            gap = max(0.0, spawned - request.started_to - SPAWN_SLACK_S)
            taken = any(role == "trigger" for _, role in request.loads) and not gave_up
            score = (not waited, request.embedding != load.embedding and load.embedding, taken, gap, request.line)
            if best_score is None or score < best_score:
                tied = best_score is not None and score[:-1] == best_score[:-1]
                best, best_score = request, score
            else:
                tied |= score[:-1] == best_score[:-1]
        # Two that came at once, and more than one model: either may have meant the other model.
        sure = best_score is not None and not best_score[0] and not (tied and several)
        for request in inside:
            role = "trigger" if request is best and sure else "overlap"
            request.loads.append((load, role))


def queue_by_overlap(requests: Sequence[Request], slots: int) -> None:
    """How long each request of one runner waited for a slot, from arrivals and ends alone.

    A runner serves `slots` requests at once, the rest in order of arrival (a semaphore, first in, first
    out). With one slot, requests end in the order in which they were served, so each was served after the
    one that ended before it. With more, a request begins when the earliest end frees a slot. Where a
    request surely came later than another and still ended first on one slot, this is not how they were
    served (another runner, a remote model): nothing is said of either.

    Sets `queue_s`, `slots`, `in_flight` (how many were surely there when it arrived, itself included) and
    `beside` (how many others were there at any time before it ended).
    """
    arrived_by = sorted(request.started_to for request in requests)
    ended_by = sorted(request.ended_from for request in requests)
    for request in requests:
        here = bisect_right(arrived_by, request.started_to + AT_ONCE_S)
        gone = bisect_right(ended_by, request.started_to)
        request.in_flight = max(1, here - gone + (request.ended_from <= request.started_to))
        request.beside = max(0, bisect_left(arrived_by, request.ended_from) - gone - 1)
        request.slots = slots
    serving: list[float] = []
    order = sorted(requests, key=lambda r: (r.ended, r.line) if slots == 1 else (r.started, r.ended, r.line))
    for request in order:
        ready = max(
            (epoch(load.ended_at) for load, _ in request.loads if load.ended_at and load.model == request.model),
            default=request.started,
        )
        arrived = max(request.started, min(ready, request.ended))
        while serving and serving[0] <= arrived:
            heappop(serving)
        begins = max(arrived, heappop(serving)) if len(serving) >= slots else arrived
        heappush(serving, request.ended)
        request.queue_s = max(0.0, min(begins, request.ended) - arrived)
    if slots == 1:
        _forget_the_overtaken(requests)


def _forget_the_overtaken(requests: Sequence[Request]) -> None:
    """Set no queue where one surely came later and ended first: a single queue does not do that."""
    by_start = sorted(requests, key=lambda r: r.started_from)
    starts = [request.started_from for request in by_start]
    # The earliest end of all that start from here on.
    earliest_end, ends = float("inf"), [float("inf")] * (len(by_start) + 1)
    for at in range(len(by_start) - 1, -1, -1):
        earliest_end = min(earliest_end, by_start[at].ended_to)
        ends[at] = earliest_end
    latest_end = float("-inf")
    by_latest_start = sorted(requests, key=lambda r: r.started_to)
    done = 0
    for request in by_start:
        overtaken = ends[bisect_right(starts, request.started_to + AT_ONCE_S)] < request.ended_from
        while done < len(by_latest_start) and by_latest_start[done].started_to + AT_ONCE_S < request.started_from:
            latest_end = max(latest_end, by_latest_start[done].ended_from)
            done += 1
        if overtaken or latest_end > request.ended_to:
            request.queue_s = 0.0
