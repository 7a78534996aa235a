"""Which requests of the server's log are the attempts of which trial, and where that cannot be told.

What a trial then consists of is in `attempt_parts`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from .attempt_parts import LikelyAttempts, Part, Split, likely_attempts, split_trial
from .matching import CLOCK_SLACK_S, Request, epoch

__all__ = ["LikelyAttempts", "Part", "Split", "distinct_trials", "likely_attempts", "match_attempts", "split_trial"]


def match_attempts(
    requests: Sequence[Request],
    trials: Sequence[Mapping[str, Any]],
    clocks: Mapping[tuple[str, str], tuple[float, float]] | None = None,
    clients: Mapping[int, str] | None = None,
) -> list[Split]:
    """Split the trials that `match_trials` left without a request, by the requests inside their spans.

    A request belongs to the one trial whose span holds its start, with the same path and model where both
    are known; requests that have a trial are left to it. Cannot be told, and is not: when another trial may as
    well have sent a request, when requests overlap that one client would have sent one after the other, when
    there are more than the trial counts attempts, or come from several clients (`clients`: address by
    `Request.row`). Trials without start or end are left out. `clocks` as for `match_trials`.
    """
    free: dict[str, list[Request]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.started):
        if request.inference and request.trial is None:
            free[request.host].append(request)
    starts = {host: [request.started for request in order] for host, order in free.items()}
    timed = [trial for trial in trials if trial.get("started_at") and trial.get("ended_at")]
    found: list[list[_Claim]] = []
    for trial in timed:
        found.append([])
        for host, order in free.items():
            clock = clocks.get((trial.get("host", ""), host)) if clocks is not None else (0.0, 0.0)
            if clock is not None:
                found[-1] += _claims(trial, order, starts[host], clock)
    strong = Counter(id(claim.request) for claims in found for claim in claims if claim.strong)
    splits = []
    for trial, claims in zip(timed, found, strict=True):
        held = [claim for claim in claims if claim.strong or not strong[id(claim.request)]]
        shared = sum(strong[id(claim.request)] > 1 for claim in held)
        own = [claim.request for claim in held]
        clock = held[0].clock if held else (0.0, 0.0)
        if doubt := _doubt(trial, own, shared, clients or {}):
            begin, end = (epoch(trial[name]) + clock[0] for name in ("started_at", "ended_at"))
            splits.append(Split(trial, (Part("unexplained", 0, begin, max(begin, end), clock[1]),), doubt))
        else:
            splits.append(split_trial(trial, own, clock=clock))
    return splits


class _Claim(NamedTuple):
    """A request that a trial may have sent. It is not `strong` when it began as the trial ended: then rather
    the trial sent it that began there."""

    request: Request
    strong: bool
    clock: tuple[float, float]


def _claims(
    trial: Mapping[str, Any], order: Sequence[Request], starts: Sequence[float], clock: tuple[float, float]
) -> Iterator[_Claim]:
    begin, end = (epoch(trial[name]) + clock[0] for name in ("started_at", "ended_at"))
    slack_s = CLOCK_SLACK_S + clock[1]
    path, model = trial.get("path") or "", _plain(trial.get("model") or "")
    for request in order[bisect_left(starts, begin - slack_s - 60) : bisect_right(starts, end + slack_s + 60)]:
        inside = request.started_to >= begin - slack_s and request.started_from <= end
        if inside and _alike(path, request.path.partition("?")[0]) and _alike(model, _plain(request.model)):
            margin_s = min(slack_s + request.uncertainty_s, (end - begin) / 2)
            yield _Claim(request, request.started <= end - margin_s, clock)


def _plain(model: str) -> str:
    # Some logs know a model by its digest only, which no client names.
    return "" if re.fullmatch(r"(?:sha256[:-])?[0-9a-f]{8,64}", model) else model.removesuffix(":latest")


def _alike(one: str, other: str) -> bool:
    return not one or not other or one == other


def _doubt(trial: Mapping[str, Any], own: Sequence[Request], shared: int, clients: Mapping[int, str]) -> str:
    """Why the requests within a trial cannot be told to be its attempts; empty when they can."""
    if shared:
        return f"cannot tell: {shared} of {len(own)} requests in its span may as well be another trial's"
    if len({clients[request.row] for request in own if request.row in clients}) > 1:
        return "cannot tell: the requests in its span come from several clients"
    counted, limit_s = trial.get("attempts"), trial.get("timeout_s") or math.inf
    if counted and len(own) > counted:
        return f"cannot tell: {len(own)} requests in its span, but it was sent {counted} times"
    for one, other in pairwise(own):
        slack_s = CLOCK_SLACK_S + one.uncertainty_s + other.uncertainty_s
        answered = one.status.startswith("2")
        timed_out = one.wall_s >= limit_s - max(slack_s, limit_s / 20)
        given_up = min(one.ended_from, one.started_from + limit_s)
        if other.started_to + slack_s < given_up and (answered or other.started - one.started <= slack_s):
            return "cannot tell: requests in its span run side by side"
        if answered and not timed_out and counted is None:
            return "cannot tell: a request in its span was answered, and another followed"
    return ""


def distinct_trials(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each call once, where several files tell of it: a table, the log it was made from, labels put beside it.

    Rows of different sources are one call when start, end, path and status are the same; the source that
    tells most is kept. Rows of one source are never merged, nor are those without start and end.
    """
    groups: dict[tuple[Any, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, trial in enumerate(trials):
        names = ("host", "started_at", "ended_at", "path", "status")
        key = tuple(trial.get(name) or "" for name in names)
        if not trial.get("started_at") or not trial.get("ended_at"):
            key = (place,)
        groups[key][str(trial.get("source"))].append(place)

    def told(places: list[int]) -> tuple[int, int]:
        return len(places), sum(value not in (None, "") for place in places for value in trials[place].values())

    kept = sorted(place for sources in groups.values() for place in max(sources.values(), key=told))
    return [trials[place] for place in kept]
