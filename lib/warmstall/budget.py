"""Where each request's seconds went, and what is usual for its model.

    queue_s + load_s + prefill_s + decode_s + unexplained_s = wall_s

Each part comes from the best source there is, named in `sources`: `api` (the client kept Ollama's final
chunk), `slot` (llama-server's timing lines), `log` (overlap with a load, or with other requests), or
`baseline` (what a warm, unhindered request of the same model usually takes). What no source explains
stays unexplained.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .matching import Request, epoch
from .records import Load
from .timeline import Event

# A distribution needs a handful of values before it has a middle and a spread.
BASELINE_MIN_N = 5
# Limits are set at four robust standard deviations of the logarithm: beyond what one in ten thousand
# ordinary requests reaches if their walls are log-normal. Never less than three times the middle: sharing
# cores with another job costs a factor of two without anything being wrong.
_LIMIT_SIGMAS = 4.0
_LEAST_FACTOR = 3.0
# Turns a median absolute deviation into the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
# How far beyond nine in ten of the values one may lie and still be of their kind.
_BULK_FACTOR = 2.0
# A wait that is at least this share of what was left of a load was a wait for that load.
_MOST_OF_IT = 0.8
# A model that has to be loaded again sooner than this after a request did not leave by its keep_alive of
# five minutes (the default of every version): its runner may have died.
_SHORTEST_KEEP_S = 240.0
# How late a server notices that a client has hung up: a round trip and a scheduling delay.
_TIMEOUT_LATE_S = 0.05
# Rates of very short runs say more about start-up costs than about speed.
_RATE_MIN_TOKENS = 5


@dataclass(frozen=True)
class Usual:
    """The middle of something measured often enough, and the limit beyond which a value is not usual."""

    middle: float
    limit: float
    n: int


def usual(values: Iterable[float]) -> Usual | None:
    """Middle and limit of positive values, robust to outliers; None when there are too few.

    >>> found = usual([0.8, 0.9, 0.85, 0.87, 0.9, 30.8])
    >>> round(found.middle, 3), round(found.limit, 2), found.n
    (0.885, 2.65, 6)
    """
    logs = sorted(math.log(value) for value in values if value > 0)
    if len(logs) < BASELINE_MIN_N:
        return None
    middle = median(logs)
    spread = _MAD_TO_SIGMA * median(abs(value - middle) for value in logs)
    # A few mixed values spread so widely that everything would be usual: the bulk of them is the bound.
    bulk = logs[int(0.9 * (len(logs) - 1))] + math.log(_BULK_FACTOR)
    limit = math.exp(max(min(middle + _LIMIT_SIGMAS * spread, bulk), middle + math.log(_LEAST_FACTOR)))
    return Usual(math.exp(middle), limit, len(logs))


@dataclass
class _Parts:
    queue_s: float = 0.0
    load_s: float = 0.0
    prefill_s: float | None = None
    decode_s: float | None = None
    prompt_tokens: int | None = None
    decode_tokens: int | None = None
    unexplained_s: float = 0.0
    sources: str = ""


def _waited_loads(request: Request) -> list[Load]:
    """The loads this request waited for: those it caused, and those of its model that it came into.

    A client's load_duration says whether it waited at all. Without one it must surely have been there
    before the load was done, and its model must be known otherwise than by that load being under way.
    """
    api_load_s = (request.trial or {}).get("load_duration_s")
    waited = []
    for load, role in request.loads:
        if load.ended_at is None:
            continue
        if role == "trigger":
            waited.append(load)
        elif api_load_s is not None:
            left_s = epoch(load.ended_at) - max(request.started, epoch(load.spawned_at))
            if load.model == request.model and api_load_s >= _MOST_OF_IT * left_s > 0:
                waited.append(load)
        elif load.model == request.model and request.started_to < epoch(load.ended_at):
            waited.append(load)
    return waited


def _load_overlap_s(request: Request, loads: Iterable[Load]) -> float:
    """Seconds of the request, from its start on, during which one of the loads was under way."""
    total, until = 0.0, request.started
    for load in sorted(loads, key=lambda load: load.began_at):
        begin = max(epoch(load.began_at), until)
        end = min(epoch(load.ended_at) if load.ended_at else request.ended, request.ended_to)
        if end > begin:
            total, until = total + end - begin, end
    return min(total, request.wall_s)


def _parts(request: Request) -> _Parts:
    parts = _Parts()
    trial = request.trial or {}
    wall_s = request.wall_s
    api_load_s = trial.get("load_duration_s")
    waited = _waited_loads(request)
    overlap_s = _load_overlap_s(request, waited)
    task = request.tasks[0] if request.tasks else None
    if trial.get("total_duration_s") and api_load_s is not None:
        # load_duration runs from the handler's start until the runner is there: scheduler waits included.
        parts.load_s = min(overlap_s, api_load_s)
        parts.queue_s = max(0.0, api_load_s - parts.load_s)
        if not waited and parts.queue_s < max(0.1, request.wall_s / 10):
            parts.load_s, parts.queue_s = 0.0, 0.0  # looking up a warm runner: milliseconds, nobody's wait
        parts.prefill_s = trial.get("prompt_eval_duration_s") or 0.0
        parts.decode_s = trial.get("eval_duration_s") or 0.0
        parts.prompt_tokens, parts.decode_tokens = trial.get("prompt_eval_count"), trial.get("eval_count")
        slot_wait_s = max(0.0, wall_s - parts.queue_s - parts.load_s - parts.prefill_s - parts.decode_s)
        parts.sources = "load=api prefill=api decode=api"
        if task and task.total_s is not None:
            parts.prompt_tokens = task.prefill_tokens
        if request.in_flight > request.slots:
            parts.queue_s += slot_wait_s
            parts.sources += " queue=api"
        else:
            parts.unexplained_s = slot_wait_s
        return parts
    parts.load_s = overlap_s
    if parts.load_s:
        parts.sources = "load=log"
    if task and task.total_s is not None:
        parts.prefill_s, parts.decode_s = task.prefill_s or 0.0, task.decode_s or 0.0
        parts.prompt_tokens, parts.decode_tokens = task.prefill_tokens, task.decode_tokens
        rest_s = max(0.0, wall_s - parts.load_s - parts.prefill_s - parts.decode_s)
        parts.sources += " prefill=slot decode=slot"
        if (
            request.in_flight > request.slots or waited
        ):  # before a slot took the task: the scheduler, or another task on the slot
            parts.queue_s = rest_s
            parts.sources += " queue=slot"
        else:
            parts.unexplained_s = rest_s
        return parts
    parts.queue_s = min(request.queue_s, max(0.0, wall_s - parts.load_s))
    triggered = [load for load, role in request.loads if role == "trigger"]
    if triggered:  # before its runner was spawned, it waited for the scheduler
        before_load_s = min(epoch(load.began_at) for load in triggered) - request.started_to
        held_up = request.in_flight > 1 or len(request.loads) > 1 or any(load.evicted for load in triggered)
        if held_up:
            parts.queue_s = min(max(parts.queue_s, before_load_s, 0.0), max(0.0, wall_s - parts.load_s))
    if parts.queue_s:
        parts.sources += " queue=log"
    parts.unexplained_s = max(0.0, wall_s - parts.load_s - parts.queue_s)
    return parts


def _runner(request: Request) -> tuple[str, str]:
    """What speed is compared within: one model on one host."""
    return request.host, request.model


def _kind(request: Request) -> tuple[str, str, bool]:
    return request.host, request.model, request.embedding


def request_facts(
    requests: Sequence[Request],
    crashes: Sequence[Event],
    aborts: Sequence[Event],
    stopped: Mapping[str, Sequence[tuple[float, float]]],
    idle: Mapping[str, Sequence[tuple[float, float]]],
) -> list[dict[str, Any]]:
    """One row of facts per request: its budget, what is usual, and the evidence the verdicts weigh.

    `stopped` and `idle` hold spans (epoch seconds) by host in which process samples show every runner
    stopped (which proves itself), and stopped or using no CPU (which means something only while it had work).
    """
    budgets = [_parts(request) for request in requests]
    walls: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    decode_rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    prefill_rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    for request, parts in zip(requests, budgets, strict=True):
        if request.ran and request.status == "200" and not request.loads and parts.queue_s < 0.1 * request.wall_s:
            walls[_kind(request)].append(request.wall_s)
        if not request.model:  # several models: their speeds are not one speed
            continue
        if parts.decode_s and (parts.decode_tokens or 0) >= _RATE_MIN_TOKENS:
            decode_rates[_runner(request)].append(parts.decode_s / parts.decode_tokens)  # type: ignore[operator]
        if parts.prefill_s and (parts.prompt_tokens or 0) >= _RATE_MIN_TOKENS:
            prefill_rates[_runner(request)].append(parts.prefill_s / parts.prompt_tokens)  # type: ignore[operator]
    usual_wall = {kind: usual(values) for kind, values in walls.items()}
    usual_decode = {model: usual(values) for model, values in decode_rates.items()}
    usual_prefill = {model: usual(values) for model, values in prefill_rates.items()}
    facts = []
    for request, parts in zip(requests, budgets, strict=True):
        row = _facts_of(request, parts, usual_wall.get(_kind(request)))
        row |= _speed("decode", parts.decode_s, parts.decode_tokens, usual_decode.get(_runner(request)))
        row |= _speed("prefill", parts.prefill_s, parts.prompt_tokens, usual_prefill.get(_runner(request)))
        spans = (idle if row["measured"] else stopped).get(request.host, ())
        row["stopped_s"] = _covered_s(request, spans)
        row["idle_s"] = _covered_s(request, idle.get(request.host, ()))
        facts.append(row)
    _neighbours(facts)
    _ended_by(requests, facts, crashes, "crash")
    _ended_by(requests, facts, aborts, "abort")
    _shared_timeouts(requests, facts)
    return facts


def _covered_s(request: Request, spans: Sequence[tuple[float, float]]) -> float:
    covered = (max(0.0, min(end, request.ended) - max(begin, request.started)) for begin, end in spans)
    return sum(covered)


def set_stall_apart(row: dict[str, Any]) -> None:
    """Take a stall out of the phase it fell into: Ollama's durations run on while a runner stands still."""
    for phase in ("prefill", "decode"):
        excess_s = row[f"{phase}_excess_s"]
        if row[f"{phase}_beyond"] and excess_s:
            row[f"{phase}_s"] -= excess_s
            row["unexplained_s"] += excess_s


def _facts_of(request: Request, parts: _Parts, wall: Usual | None) -> dict[str, Any]:
    trial = request.trial or {}
    triggered = [load for load, role in request.loads if role == "trigger"]
    waited = _waited_loads(request)
    load = next(reversed(triggered or waited), None)
    failed = next((load for load, role in request.loads if role == "trigger" and load.outcome != "completed"), None)
    task = request.tasks[0] if request.tasks else None
    decode_s, unexplained_s, sources = parts.decode_s, parts.unexplained_s, parts.sources
    if decode_s is None and wall and request.status == "200" and request.ran:
        decode_s = min(unexplained_s, wall.middle)
        unexplained_s -= decode_s
        sources += " decode=baseline"
    return {
        "row": request.row, "host": request.host, "source": request.source, "line": request.line,
        "status": request.status, "path": request.path, "wall_s": request.wall_s,
        "started": request.started, "ended": request.ended, "uncertainty_s": request.uncertainty_s,
        "inference": request.inference, "ran": request.ran,
        "model": request.model,
        "queue_s": parts.queue_s, "load_s": parts.load_s, "prefill_s": parts.prefill_s, "decode_s": decode_s,
        "unexplained_s": unexplained_s, "sources": sources.strip(),
        "measured": "decode=api" in sources or "decode=slot" in sources,
        "prompt_tokens": parts.prompt_tokens, "decode_tokens": parts.decode_tokens,
        "in_flight": request.in_flight,
        "beside": request.beside,
        # Before it reaches a slot's own timing, a prompt's count includes what the cache already held.
        "prefill_sure": task is not None and task.total_s is not None,
        "loads_seen": len(request.loads),
        "load_line": load.line if load else 0,
        "queued_first": load is not None and epoch(load.began_at) - request.started >= parts.queue_s / 2,
        "rest_s": max(0.0, request.wall_s - parts.load_s - parts.queue_s),
        "triggered": bool(triggered), "waited": bool(waited), "reload": bool(load and load.reload),
        "failed_load": failed.outcome if failed else "", "failed_reason": failed.reason if failed else "",
        "failed_line": failed.line if failed else 0,
        "task_line": task.line if task else 0,
        "task_cut": bool(task and task.total_s is None), "task_released": bool(task and task.released_line),
        "task_cancelled": bool(task and task.cancelled), "truncated": bool(task and task.truncated),
        "trial_error": trial.get("error") or "",
        # The client has the final chunk: whatever the log says of a task that was cut was another request's.
        "whole": bool(trial.get("eval_duration_s")) and not trial.get("error"),
        "usual_s": wall.middle if wall else None, "usual_limit_s": wall.limit if wall else None,
        "usual_n": wall.n if wall else 0,
    }  # fmt: skip


def _speed(name: str, seconds: float | None, tokens: int | None, rate: Usual | None) -> dict[str, Any]:
    """How much slower a phase was than usual: a factor, and the seconds beyond what its tokens usually take."""
    if not seconds or not tokens or tokens < _RATE_MIN_TOKENS or rate is None:
        return {f"{name}_factor": None, f"{name}_excess_s": 0.0, f"{name}_usual_rate": None, f"{name}_beyond": False}
    factor = seconds / tokens / rate.middle
    return {
        f"{name}_factor": factor, f"{name}_excess_s": max(0.0, seconds - tokens * rate.middle),
        f"{name}_usual_rate": 1 / rate.middle, f"{name}_beyond": seconds / tokens > rate.limit,
    }  # fmt: skip


def _neighbours(facts: list[dict[str, Any]]) -> None:
    """Mark slow requests whose neighbours on the same model are fast: a pause comes alone, slowness does not."""
    by_model: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in facts:
        row["alone"] = False
        if row["measured"] and row["model"]:
            by_model[row["host"], row["model"]].append(row)
    for rows in by_model.values():
        rows.sort(key=lambda row: row["ended"])
        for at, row in enumerate(rows):
            around = rows[max(0, at - 1) : at] + rows[at + 1 : at + 2]
            factors = [f for near in around for f in (near["decode_factor"], near["prefill_factor"]) if f is not None]
            row["alone"] = bool(factors) and max(factors) < _LEAST_FACTOR


def _shared_timeouts(requests: Sequence[Request], facts: list[dict[str, Any]]) -> None:
    """Mark failures that agree on a round number of seconds and left their runner alive: a client's timeout.

    A server knows no timeout for inference. One failure at 60.0 s may be chance; two there, and hardly any
    near by, are a setting. But where a runner died, or had to be loaded again for the next request, the
    number says nothing.
    """
    order = sorted((r for r in requests if r.ran), key=lambda r: (r.started, r.line))
    starts = [request.started for request in order]
    near: dict[tuple[str, float], list[tuple[float, int]]] = defaultdict(list)
    lost: set[tuple[str, float]] = set()
    for request in order:
        facts[request.row]["shared_timeout_s"] = 0.0
        if request.status != "500" or request.wall_s < 1:
            continue
        # Above a minute the log keeps whole seconds only, so the number must be rounder to mean something.
        nearest = round(request.wall_s) if request.wall_s < 60 else 30 * round(request.wall_s / 30)
        after = bisect_left(starts, request.ended - request.uncertainty_s)
        following = next((r for r in order[after : after + 20] if r is not request and r.model == request.model), None)
        reloaded = following and facts[following.row]["loads_seen"]
        died = following and reloaded and following.started - request.ended < _SHORTEST_KEEP_S
        if died or facts[request.row]["crash_line"]:
            lost.add((request.source, nearest))
        near[request.source, nearest].append((request.wall_s - nearest, request.row))
    for (source, seconds), found in near.items():
        agreeing = [row for late_s, row in found if 0 <= late_s <= _TIMEOUT_LATE_S]
        if (source, seconds) in lost:
            continue
        if len(agreeing) > 1 and len(agreeing) >= _MOST_OF_IT * len(found):
            for row in agreeing:
                facts[row]["shared_timeout_s"] = float(seconds)


def _ended_by(requests: Sequence[Request], facts: list[dict[str, Any]], events: Sequence[Event], name: str) -> None:
    """Attach to each event the requests that it ended: there when it was written, over within two seconds.

    A request whose access line stands before the event was over by then, and one whose own load came after
    it survived it.
    """
    for row in facts:
        row[f"{name}_line"], row[f"{name}_text"] = 0, ""
    order = sorted((r for r in requests if r.ran), key=lambda r: r.ended_to)
    ends = [request.ended_to for request in order]
    lines: dict[str, list[int]] = defaultdict(list)
    for request in requests:
        if request.ran:
            lines[request.source].append(request.line)
    for event in events:
        if event.at is None:
            continue
        earliest = epoch(event.at)
        latest = epoch(event.at_latest) if event.at_latest else earliest + 2
        following = lines[event.source]
        at_line = bisect_right(following, event.line)
        first_after = following[at_line] if at_line < len(following) else None
        ended = []
        for at in range(bisect_left(ends, earliest - 0.5), bisect_right(ends, min(latest, earliest + 30) + 2)):
            request, row = order[at], facts[order[at].row]
            same_file = request.source == event.source
            if request.host != event.host or row[f"{name}_line"] or request.started_from > latest:
                continue
            if same_file and row["load_line"] > event.line:
                continue
            if same_file and request.line < event.line:
                # Two streams: an abort's line may come just after the access line of the request it ended.
                just_before = name == "abort" and request.status[:1] == "5" and event.line - request.line <= 3
                if not (just_before and request.ended_to >= earliest - 1):
                    continue
            if request.started_to > earliest and not (same_file and request.line == first_after):
                continue  # too short for its whole second to tell whether it was there
            ended.append(row)
        # A stream keeps its 200 when it breaks, but so does one that was just done: only a lone one is it.
        failed = [row for row in ended if row["status"][:1] != "2"]
        for row in failed or (ended if len(ended) == 1 else ()):
            row[f"{name}_line"] = event.line
            row[f"{name}_text"] = (event.fields.get("error") or event.fields.get("msg") or event.text)[:200]
