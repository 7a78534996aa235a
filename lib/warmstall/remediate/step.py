"""What a runbook is made of: preconditions, steps, measures; and the plan with its id.

A step is plain functions of the target. They know nothing of dry runs, approval or the journal: `run.py` alone does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .target import Target

# What a rollback needs to know: plain JSON, written to the journal before the step acts.
Remembered = dict[str, Any]
Measures = dict[str, float | None]


@dataclass(frozen=True)
class Precondition:
    """One thing that must hold before anything is done.

    "not needed" says that there is nothing to put right, which is a good end; the last two stop the runbook.
    """

    name: str
    state: Literal["met", "not needed", "not met", "cannot tell"]
    sentence: str


@dataclass(frozen=True)
class Check:
    """How a step's subject stands. `now` is part of the plan's id: it names what is there, never a time or a count."""

    state: Literal["needed", "done", "refused"]
    now: str
    reason: str = ""


@dataclass(frozen=True)
class Verified:
    """Whether something is as wanted; None where that cannot be seen."""

    ok: bool | None
    sentence: str


def nothing_to_remember(_: Target) -> Remembered:
    """What a step that cannot be taken back keeps."""
    return {}


@dataclass(frozen=True)
class Step:
    """One change: what is wanted, whether it is needed, how it is made, seen, and taken back.

    `apply` None means that only a person can do it, with `by_hand`: exact commands to paste. `rollback` None says
    aloud that the step cannot be undone; otherwise it is one of `rollbacks.ROLLBACKS`, and gets what `remember`
    told just before the step acted. `verify` is asked again and again until it is ok or `patience_s` is over.
    """

    name: str
    does: str
    wanted: str
    check: Callable[[Target], Check]
    apply: Callable[[Target], str] | None
    verify: Callable[[Target], Verified]
    remember: Callable[[Target], Remembered] = nothing_to_remember
    rollback: Callable[[Target, Remembered], str] | None = None
    by_hand: tuple[str, ...] = ()
    felt_by: str = "nobody"
    restarts: bool = False  # counts against the cap of restarts
    patience_s: float = 30.0


@dataclass(frozen=True)
class Action:
    """What a runbook would do on a target as it is now; no steps when there is nothing to do.

    `measure` is taken before the first step and after the last, in a real run only, since it may send requests;
    `helped` judges the two: not ok rolls everything back.
    """

    summary: str
    preconditions: tuple[Precondition, ...] = ()
    steps: tuple[Step, ...] = ()
    measure: Callable[[Target], Measures] | None = None
    helped: Callable[[Measures, Measures], Verified] | None = None
    afterwards: tuple[str, ...] = ()
    most_restarts_per_hour: int = 3
    cool_down_s: float = 60.0


@dataclass(frozen=True)
class Planned:
    """A row of the plan. `effect` is what a run would do with it."""

    step: str
    does: str
    now: str
    wanted: str
    effect: Literal["act", "already so", "by hand", "undo", "refused"]
    felt_by: str
    undo: str
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a run would do, with an id made of all of it: a plan that has changed has another id."""

    runbook: str
    target: str
    settings: dict[str, Any]
    summary: str
    preconditions: tuple[Precondition, ...]
    rows: tuple[Planned, ...]
    mode: Literal["act", "continue", "undo"] = "act"
    interrupted_run: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        told = [self.runbook, self.target, self.settings, self.mode, self.interrupted_run,
                [[row.step, row.does, row.now, row.wanted, row.effect] for row in self.rows]]  # fmt: skip
        text = json.dumps(told, sort_keys=True, default=str)
        object.__setattr__(self, "id", hashlib.sha256(text.encode()).hexdigest()[:12])

    @property
    def blocking(self) -> list[Precondition]:
        """The preconditions that forbid to act."""
        return [one for one in self.preconditions if one.state in ("not met", "cannot tell")]

    @property
    def acts(self) -> bool:
        """Whether a run of it would change anything."""
        return any(row.effect in ("act", "undo") for row in self.rows)
