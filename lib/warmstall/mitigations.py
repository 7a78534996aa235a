"""What runbooks did about an incident, by the journals in its case: runs, steps, and what they explain.

Times are UTC of the host that was acted on, so they stand beside the server's own lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from .case import Case

# A log's lines have whole seconds where a journal has milliseconds, and a process takes a moment to end.
_BESIDE_S = 2.0
# Ollama's own keep_alive: a model that comes back later than this would have left by then anyway.
_COMES_BACK_WITHIN_S = 300.0
# How a step ended, by the last event that tells of it.
_CAME_TO = {
    "step_started": "cut short", "step_applied": "cut short", "step_verified": "verified",
    "step_failed": "not verified", "step_by_hand": "left to do by hand", "undo_started": "cut short while taken back",
    "undo_done": "taken back", "undo_failed": "not taken back",
}  # fmt: skip


@dataclass(frozen=True)
class Act:
    """One span in which a step, or taking it back, changed something on a server."""

    host: str
    runbook: str
    operator: str
    step: str
    does: str
    restarts: bool
    undoes: bool
    from_at: datetime
    to_at: datetime
    source: str
    line: int

    @property
    def sentence(self) -> str:
        """Who did what and when, without any blame."""
        what = f"took back {self.step}" if self.undoes else f"step {self.step}"
        by = f" by {self.operator}" if self.operator else ""
        return f"the runbook {self.runbook} ({what}{by}) at {self.from_at:%Y-%m-%d %H:%M:%S} UTC"

    def explains(self, host: str, at: datetime) -> bool:
        """Whether what ended or began then on a host is this act's doing."""
        beside = timedelta(seconds=_BESIDE_S)
        return host == self.host and self.from_at - beside <= at <= self.to_at + beside


@dataclass(frozen=True)
class Done:
    """One step of a run: what it does, when it began, when it was seen to be as wanted, and what came of it."""

    step: str
    does: str
    started_at: datetime | None
    verified_at: datetime | None
    came_to: str
    sentence: str
    source: str
    line: int


@dataclass(frozen=True)
class MitigationRun:
    """One run of a runbook that acted. `outcome` is what stands now: "taken back" where it was undone later."""

    run: str
    runbook: str
    target: str
    operator: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    sentence: str
    steps: tuple[Done, ...]
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    source: str = ""
    line: int = 0

    @property
    def mitigated_at(self) -> datetime | None:
        """When the last step that acted was seen to be as wanted; None unless the run came to its end and stands."""
        seen = [done.verified_at for done in self.steps if done.started_at and done.verified_at]
        return max(seen) if seen and self.outcome == "done" else None


def events_of(case: Case) -> list[dict[str, Any]]:
    """Every line of the journals once, in order of time; a journal and its copy in the case tell the same."""
    told: dict[object, dict[str, Any]] = {}
    for row in case.rows("mitigations"):
        told.setdefault((row["run"], row["at"], row["event"], row["step"], row["sentence"]), row)
    return sorted(told.values(), key=lambda row: row["at"])


def runs_of(case: Case) -> list[MitigationRun]:
    """The runs, oldest first. A run that was taken up again, or taken back, is one run."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in events_of(case):
        by_run.setdefault(row["run"], []).append(row)
    return [_run(rows) for rows in by_run.values()]


def _run(rows: list[dict[str, Any]]) -> MitigationRun:
    first = rows[0]
    names = dict.fromkeys(row["step"] for row in rows if row["step"])
    steps = tuple(_done([row for row in rows if row["step"] == name]) for name in names)
    ended = [row for row in rows if row["event"] in ("run_started", "run_finished")]
    finished = ended[-1] if ended and ended[-1]["event"] == "run_finished" else None
    outcome = finished["outcome"] if finished else "cut short"
    if outcome == "done" and any(done.came_to == "taken back" for done in steps):
        outcome = "taken back"
    sentence = finished["sentence"] if finished else "Its journal ends before the run did."
    # What was measured before anything was done counts, and what was measured last.
    measures = {row["outcome"]: json.loads(row["measures"]) for row in reversed(rows) if row["measures"]}
    last = {row["outcome"]: json.loads(row["measures"]) for row in rows if row["measures"]}
    return MitigationRun(
        first["run"], first["runbook"], first["target"], first["operator"], first["at"],
        finished["at"] if finished else None, outcome, sentence, steps, measures.get("before", {}),
        last.get("after", {}), first["source"], first["line"],
    )  # fmt: skip


def _done(rows: list[dict[str, Any]]) -> Done:
    started = next((row for row in rows if row["event"] == "step_started"), None)
    verified = [row["at"] for row in rows if row["event"] == "step_verified"]
    # A step that was as wanted already is verified without having begun.
    came_to = _CAME_TO.get(rows[-1]["event"], rows[-1]["event"])
    if came_to == "verified" and not started:
        came_to = "already so"
    first = started or rows[0]
    return Done(first["step"], first["does"], started["at"] if started else None, verified[-1] if verified else None,
                came_to, rows[-1]["sentence"], first["source"], first["line"])  # fmt: skip


def acts_of(case: Case) -> list[Act]:
    """Every span in which something was changed, oldest first. A step that was cut short reaches to the run's next line
    or its last."""
    servers = {account["host"] for account in case.accounts if account["kind"] == "server-log"}
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in events_of(case):
        by_run.setdefault(row["run"], []).append(row)
    return sorted((act for rows in by_run.values() for act in _acts(rows, servers)), key=lambda act: act.from_at)


def _acts(rows: list[dict[str, Any]], servers: set[str]) -> Iterator[Act]:
    does = {row["step"]: row["does"] for row in reversed(rows) if row["event"] == "step_started"}
    for place, row in enumerate(rows):
        if row["event"] not in ("step_started", "undo_started"):
            continue
        ends = ("undo_done", "undo_failed") if row["event"] == "undo_started" else ("step_verified", "step_failed")
        later = rows[place + 1 :]
        end = next((one["at"] for one in later if one["step"] == row["step"] and one["event"] in ends), None)
        to_at = end or (later[0]["at"] if later else row["at"])
        # Where the case has one server, that is the one; a redacted case calls it by another name.
        host = row["target"].rpartition(":")[0] if len(servers) > 1 else next(iter(servers), row["host"])
        yield Act(host, row["runbook"], row["operator"], row["step"], does.get(row["step"], ""),
                  bool(row["restarts"]), row["event"] == "undo_started", row["at"], to_at, row["source"],
                  row["line"])  # fmt: skip


def explaining(acts: list[Act], host: str, at: datetime) -> Act | None:
    """The act that ended or began what ended or began on a host then, if one did; of several the one begun last."""
    return max((act for act in acts if act.explains(host, at)), key=lambda act: act.from_at, default=None)


def explain_requests(requests: list[dict[str, Any]], acts: list[Act]) -> None:
    """Add to the reasons of requests that ended badly while a runbook acted, and of the loads after it, that it did.

    Of cold starts it is the first of each model after a step, as long as that model would still have been in memory.
    """
    came_back: set[tuple[int, str]] = set()
    for row in sorted(requests, key=lambda row: row["started"]) if acts else []:
        ended = datetime(1970, 1, 1) + timedelta(seconds=row["ended"])
        started = datetime(1970, 1, 1) + timedelta(seconds=row["started"])
        failed = row["verdict"] == "unknown" and str(row["status"]).startswith("5")
        if failed or row["verdict"] in ("runner_crash", "client_abort", "load_failure"):
            if act := explaining(acts, row["host"], ended):
                _add(row, f"It was cut off by {act.sentence}")
        elif row["verdict"] == "cold_start":
            within = timedelta(seconds=_COMES_BACK_WITHIN_S)
            before = [one for one in acts if one.host == row["host"] and started - within <= one.to_at <= ended]
            key = (id(before[-1]), row["model"]) if before else (0, "")
            if before and key not in came_back:
                _add(row, f"The model's first load after {before[-1].sentence}")
            came_back.add(key)


def _add(row: dict[str, Any], sentence: str) -> None:
    """A sentence before what is to be collected."""
    reason, collect, what = str(row["reason"]).partition(" Collect:")
    row["reason"] = f"{reason.rstrip('. ')}. {sentence}.{collect}{what}"
