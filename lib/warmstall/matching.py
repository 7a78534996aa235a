"""Which client trial belongs to which request.

Ollama's log has no request ids. What joins its lines to a client's records is what both saw: the path, the
status, how long it took and when it ended. Nothing is decided where two answers are possible.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Clients and server share a host here, or keep time by NTP; a second of truncation comes on top.
CLOCK_SLACK_S = 1.0
# Requests that a client sends at once arrive within this of each other, and in any order.
AT_ONCE_S = 0.05
# From a request's arrival to the spawn of its runner: reading the model's header, asking the GPUs for
# their memory. Seconds on slow disks, never the length of another request.
SPAWN_SLACK_S = 0.25
_EPOCH = datetime(1970, 1, 1)


@dataclass
class Request:
    """One access line, to be compared with what clients tell. Times are seconds since the epoch."""

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
    trial: dict[str, Any] | None = None

    @property
    def started(self) -> float:
        return (self.started_from + self.started_to) / 2

    @property
    def ended(self) -> float:
        return (self.ended_from + self.ended_to) / 2

    @property
    def uncertainty_s(self) -> float:
        return (self.started_to - self.started_from) / 2


def epoch(at: datetime) -> float:
    """Seconds since the epoch of a naive UTC time."""
    return (at - _EPOCH).total_seconds()


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
