"""What is true of a drill: the verdict and the time budget of each request, and when each fault acted.

Nothing here is inferred from what an analysis sees. The server's own notes say where each request's seconds went and
what they usually are for its model, the injector's notes say when a runner could not answer, and the clients' records
say who left. The true verdict is the largest part beyond the usual. Where another part comes near it, or where what
was lost is too little for a person to mind, more than one verdict is right: `accept` names them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..records import Verdict
from .faults import KINDS
from .timetable import Fault
from .traffic import Trial, moment

# What a person notices of a wait, and from when on it interrupts what they do (Nielsen, Response times: the three
# important limits, 1993): sooner than the first all is well, and up to the second nobody would call it an incident.
_UNNOTICED_S = 0.1
_MINDED_S = 1.0
# A part counts beside the largest from this share of all that was lost; as much of the usual time is its spread.
_COMPARABLE = 0.25
# A request that stood still for this share of its time was not ended by whatever ended it: it had failed before.
_MOSTLY = 0.5
PARTS = ("queue_s", "load_s", "prefill_s", "decode_s", "unexplained_s")
_VERDICT_OF: dict[str, Verdict] = {
    "queue_s": "queue_wait", "load_s": "cold_start", "prefill_s": "slow_prefill", "decode_s": "slow_decode",
    "unexplained_s": "warm_stall",
}  # fmt: skip

# The fault that makes a part slow; without it, what is slower than usual is the machine's own pace.
_SLOWED_BY = {"prefill_s": "slow_prefill", "decode_s": "slow_decode"}


@dataclass(frozen=True)
class Interval:
    """When a fault really acted, in seconds of the epoch, and what must be found of it."""

    fault: Fault
    began: float
    ended: float
    hypotheses: tuple[str, ...]
    detail: Mapping[str, object] = field(default_factory=dict)

    def seconds_in(self, began: float, ended: float) -> float:
        return max(0.0, min(self.ended, ended) - max(self.began, began))

    def row(self) -> dict[str, object]:
        fault = self.fault
        return {
            "fault": fault.kind, "model": fault.model, "from": moment(self.began), "to": moment(self.ended),
            "intensity": fault.intensity, "rate": fault.rate, "ramp_s": fault.ramp_s,
            "hypotheses": list(self.hypotheses), "verdict": KINDS[fault.kind].verdict, **self.detail,
        }  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """One request's verdict, all verdicts that are right, why, and where its seconds went."""

    verdict: Verdict
    accept: tuple[str, ...]
    why: str
    budget: Mapping[str, float]
    flags: tuple[str, ...] = ()

    def accept_log_only(self, status: str) -> tuple[str, ...]:
        """What is right of the server's log alone, which has no word of some things.

        A stream that was cut, by its client or by the death of its runner, has an access line of 200 like any other.
        """
        more = {"unknown"}
        if status == "200" and self.verdict == "runner_crash":
            more |= {"warm_ok"}
        if status == "200" and "client_abort" in self.accept:
            more |= {"warm_ok", "cold_start", "queue_wait"}
        return _sorted({*self.accept, *more})


def truth_of(
    trial: Trial, note: Mapping[str, Any] | None, intervals: Sequence[Interval], among_others: bool = False
) -> Truth:
    """The truth of one request; `note` is the server's row about it, None where it never arrived.

    `among_others`: others waited for the load of the same model at the same time.
    """
    if note is None:
        return _never_arrived(trial)
    budget, still_s = _budget(trial, note, intervals)
    flags = tuple(name for name in ("truncated",) if note.get(name))
    outcome, excess = str(note.get("outcome") or ""), _excess(budget, note, still_s)
    waited_still_s = _waited_while_still(trial, note, intervals)
    refused = _refused(trial, outcome)
    if refused:
        return Truth(*refused, budget, flags)
    stood = still_s >= _MOSTLY * trial.wall_s
    beside = _beside(excess)
    broken = _acted("broken_stream", trial, intervals)
    if outcome == "aborted" and not trial.gave_up:
        outcome = "shutdown"  # it was not the client that closed: the server ended with the request open
    failed = trial.status.startswith("5")
    if outcome in ("crashed", "shutdown", "broken") or failed or (broken and not trial.gave_up and trial.error):
        accept = {"runner_crash", *(("warm_stall",) if stood else ()), *(("load_failure",) if failed else ())}
        return Truth("runner_crash", _sorted(accept), _crash_why(outcome, still_s, broken), budget, flags)
    if trial.gave_up or outcome == "aborted":
        return _left(trial, note, budget, flags, still_s, beside)
    lost_s, usual_s = sum(excess.values()), _usual_s(note)
    largest = max(PARTS, key=lambda part: excess[part])
    why = f"{excess[largest]:.2f} of {lost_s:.2f} s beyond the usual {usual_s:.2f} s are {largest.removesuffix('_s')}"
    if "queue_wait" in beside and waited_still_s >= _COMPARABLE * budget["queue_s"]:
        beside.add("warm_stall")  # what held up whoever was before it, or the runner itself, was that stop
    if _waited_for_a_load(note) and {"cold_start", "queue_wait"} & beside:
        beside |= {"cold_start", "queue_wait"}  # whoever waits for another's load waits in a queue and for a load
    unnoticed = lost_s < _UNNOTICED_S or lost_s < _COMPARABLE * usual_s
    if note.get("spawned") and largest in ("load_s", "queue_s"):
        # Little as it may be: the model was not there and was loaded for this request.
        verdict = _VERDICT_OF[largest]
        # Of several that came at once, chance made this one the cause of the load; they all waited alike.
        beside |= {"queue_wait"} if among_others else set()
        return Truth(verdict, _sorted({verdict, "cold_start"} | beside), f"spawned; {why}", budget, flags)
    if unnoticed:
        return Truth("warm_ok", _sorted({"warm_ok"}), f"warm: {lost_s:.2f} s beyond the usual {usual_s:.2f} s",
                     budget, flags)  # fmt: skip
    verdict = _VERDICT_OF[largest]
    if largest in _SLOWED_BY and not _acted(_SLOWED_BY[largest], trial, intervals):
        # Nothing was done to it. Whoever shares the machine made it slower, and every other request with it.
        return Truth("warm_ok", _sorted({"warm_ok", verdict} | beside), f"no fault; {why}", budget, flags)
    minor = {"warm_ok"} if lost_s < _MINDED_S else set()
    return Truth(verdict, _sorted({verdict} | beside | minor), why, budget, flags)


def _budget(trial: Trial, note: Mapping[str, Any], intervals: Sequence[Interval]) -> tuple[dict[str, float], float]:
    """The request's seconds by part; and those, within its prefill and decode, in which its runner stood still."""
    seconds = {name: float(note.get(name) or 0.0) for name in ("queue_s", "slot_wait_s", "load_s", "prefill_s",
                                                             "decode_s")}  # fmt: skip
    waiting_s = seconds["queue_s"] + seconds["slot_wait_s"]
    arrived = _time(note.get("arrived_at"), trial.began)
    ended = _time(note.get("ended_at"), trial.ended)
    turn = arrived + waiting_s + seconds["load_s"]
    until = turn + seconds["prefill_s"]
    stops = _stops(trial, intervals)
    in_prefill = _together(stops, turn, min(until, ended))
    in_decode = _together(stops, until, ended)
    budget = {
        "queue_s": waiting_s, "load_s": seconds["load_s"],
        "prefill_s": max(0.0, seconds["prefill_s"] - in_prefill),
        "decode_s": max(0.0, seconds["decode_s"] - min(in_decode, seconds["decode_s"])),
    }  # fmt: skip
    # A hang lasts until its client leaves, and begins before the first token: its time was no work.
    hung = trial.gave_up and not trial.first_token and _acted("hang_rate", trial, intervals)
    if hung:
        budget["prefill_s"] = min(budget["prefill_s"], float(note.get("usual_prefill_s") or 0.0))
        budget["decode_s"] = 0.0
    rest_s = max(0.0, trial.wall_s - sum(budget.values()))
    still_s = in_prefill + in_decode
    if hung:
        still_s = max(still_s, rest_s)
    return {name: round(value, 6) for name, value in (budget | {"unexplained_s": rest_s}).items()}, still_s


def _stops(trial: Trial, intervals: Iterable[Interval]) -> list[Interval]:
    """When the runner of the request's model could not answer."""
    return [each for each in intervals if KINDS[each.fault.kind].stands_still and each.fault.concerns(trial.model)]


def _waited_while_still(trial: Trial, note: Mapping[str, Any], intervals: Iterable[Interval]) -> float:
    """Seconds of its wait in which the runner of its model stood still."""
    arrived = _time(note.get("arrived_at"), trial.began)
    waited_s = float(note.get("queue_s") or 0.0) + float(note.get("slot_wait_s") or 0.0)
    return _together(_stops(trial, intervals), arrived, arrived + waited_s)


def _together(stops: Iterable[Interval], began: float, ended: float) -> float:
    """Seconds within a span that at least one of these intervals covers."""
    covered, reached = 0.0, began
    for stop in sorted(stops, key=lambda each: each.began):
        first = max(reached, stop.began)
        if (last := min(ended, stop.ended)) > first:
            covered += last - first
            reached = last
    return covered


def _excess(budget: Mapping[str, float], note: Mapping[str, Any], still_s: float) -> dict[str, float]:
    """Each part beyond what it usually is; nobody usually waits or loads.

    Of what no part explains, only the time in which the runner stood still is the runner's: the rest is the way
    between client and server, and clients that were late to read.
    """
    usual = {name: float(note.get(f"usual_{name}") or 0.0) for name in ("prefill_s", "decode_s")}
    excess = {name: max(0.0, budget[name] - usual.get(name, 0.0)) for name in PARTS}
    return excess | {"unexplained_s": min(still_s, budget["unexplained_s"])}


def _usual_s(note: Mapping[str, Any]) -> float:
    return float(note.get("usual_prefill_s") or 0.0) + float(note.get("usual_decode_s") or 0.0)


def _beside(excess: Mapping[str, float]) -> set[str]:
    """Verdicts whose part comes near the largest."""
    lost_s = sum(excess.values())
    return {_VERDICT_OF[part] for part in PARTS if lost_s > 0 and excess[part] >= _COMPARABLE * lost_s}


def _waited_for_a_load(note: Mapping[str, Any]) -> bool:
    """Whether it waited for a load that was begun for another request."""
    return bool(note.get("load_s")) and not note.get("spawned")


def _among_others(trial: Trial, trials: Iterable[Trial], notes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether another request to the model waited while this one's load was under way."""
    note = notes.get(trial.id, {})
    until = trial.began + sum(float(note.get(name) or 0.0) for name in ("queue_s", "load_s"))
    return any(
        other.id != trial.id and other.model == trial.model and other.began < until and other.ended > trial.began
        for other in trials
    )


def _never_arrived(trial: Trial) -> Truth:
    budget = dict.fromkeys(PARTS, 0.0) | {"unexplained_s": round(trial.wall_s, 6)}
    accept = ("load_failure", "rejected", "runner_crash", "unknown")
    return Truth("rejected", accept, "no server answered: it never arrived", budget)


def _refused(trial: Trial, outcome: str) -> tuple[Verdict, tuple[str, ...], str] | None:
    """What never came to run, and what could not be loaded."""
    if outcome == "load_failed":
        return "load_failure", ("load_failure",), f"its model could not be loaded: {trial.error[:60]}"
    if outcome == "rejected" or trial.status in ("400", "404", "503"):
        return "rejected", ("rejected",), f"HTTP {trial.status}"
    return None


def _left(
    trial: Trial, note: Mapping[str, Any], budget: Mapping[str, float], flags: tuple[str, ...], still_s: float,
    beside: set[str],
) -> Truth:  # fmt: skip
    """A client that gave up: because nothing came from a runner that stood still, or for a reason of its own."""
    if still_s >= _MOSTLY * trial.wall_s:
        why = f"its runner stood still for {still_s:.1f} of the {trial.wall_s:.1f} s until the client left"
        return Truth("warm_stall", ("client_abort", "warm_stall"), why, budget, flags)
    also = {"queue_wait"} & beside | ({"cold_start", "load_failure"} if note.get("load_s") else set())
    if still_s >= _COMPARABLE * trial.wall_s:
        also.add("warm_stall")
    why = f"client closed after {trial.wall_s:.2f} s"
    return Truth("client_abort", _sorted({"client_abort"} | also), why, budget, flags)


def _crash_why(outcome: str, still_s: float, broken: bool) -> str:
    stood = f", after it had stood still for {still_s:.1f} s" if still_s > _MINDED_S else ""
    what = {"shutdown": "the server ended while it answered"}.get(
        outcome, "its stream was broken off" if broken else "the runner died while it answered"
    )
    return what + stood


def _acted(kind: str, trial: Trial, intervals: Iterable[Interval]) -> bool:
    """Whether such a fault acted on the request's model while it was open."""
    return any(
        each.fault.kind == kind and each.fault.concerns(trial.model) and each.seconds_in(trial.began, trial.ended) > 0
        for each in intervals
    )


def _sorted(verdicts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(verdicts)))


def _time(said: object, otherwise: float) -> float:
    """A time of the server's notes, which are seconds of the epoch or ISO."""
    if isinstance(said, int | float):
        return float(said)
    return datetime.fromisoformat(said).timestamp() if isinstance(said, str) and said else otherwise


def _uncertainty_s(trial: Trial, note: Mapping[str, Any] | None) -> float:
    """How far the client's clock of the request and the server's differ; also tells that this is no client's record."""
    if note is None:
        return 0.0
    server_s = _time(note.get("ended_at"), trial.ended) - _time(note.get("arrived_at"), trial.began)
    return round(abs(trial.wall_s - server_s), 6)


def read_notes(path: Path) -> dict[str, dict[str, Any]]:
    """The server's rows by request; a line that a kill cut short is left out.

    A call of the reference path carries no number of the drill's and is given one here.
    """
    notes: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return notes
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            notes[str(row.get("id") or f"p{len(notes):04}")] = row
    return notes


def write_truth(
    path: Path, trials: Sequence[Trial], notes: Mapping[str, Mapping[str, Any]], intervals: Sequence[Interval]
) -> list[Truth]:
    """One row a request and one a fault, in order of time; returns the requests' truths."""
    found = []
    with path.open("w", encoding="utf-8") as handle:
        for trial in sorted(trials, key=lambda each: each.began):
            truth = truth_of(trial, notes.get(trial.id), intervals, _among_others(trial, trials, notes))
            found.append(truth)
            row = {
                "id": trial.id, "endpoint": trial.endpoint, "model": trial.model, "started_at": moment(trial.began),
                "ended_at": moment(trial.ended), "wall_s": round(trial.wall_s, 6),
                "uncertainty_s": _uncertainty_s(trial, notes.get(trial.id)), "status": trial.status,
                "verdict": truth.verdict, "accept": list(truth.accept),
                "accept_log_only": list(truth.accept_log_only(trial.status)), "why": truth.why,
                "budget": dict(truth.budget), "flags": list(truth.flags),
            }  # fmt: skip
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
        for interval in sorted(intervals, key=lambda each: each.began):
            handle.write(json.dumps(interval.row(), ensure_ascii=False) + "\n")
    return found
