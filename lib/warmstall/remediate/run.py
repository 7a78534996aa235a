"""The one runner: plan, approve, lock, act step by step, verify, roll back, and a line in the journal before each.

The order of a run that acts: lock · the plan once more, with the same id · caps · measure · for each step: check
again, remember, journal, act, verify · measure · judge. Whatever fails on the way is taken back in reverse order.
"""

from __future__ import annotations

import getpass
import platform
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from .. import __version__
from ..errors import ActionFailed, CannotTell, OutputError, WarmstallError
from .journal import Journal, Run
from .lock import locked
from .rollbacks import ROLLBACKS
from .step import Action, Check, Measures, Plan, Planned, Step, Verified
from .target import Target

Build = Callable[[Target, Mapping[str, Any]], Action]
_LOOK_AGAIN_S = 0.25


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `steps` are (step, what happened, sentence), in order."""

    status: Literal["planned", "nothing to do", "by hand", "refused", "cannot tell", "done", "rolled back", "failed"]
    sentence: str
    plan: Plan | None = None
    run: str = ""
    steps: tuple[tuple[str, str, str], ...] = ()
    before: Measures = field(default_factory=dict)
    after: Measures = field(default_factory=dict)
    afterwards: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 as wanted or planned, 1 acted in vain, 2 refused, 3 could not tell."""
        return {"rolled back": 1, "failed": 1, "refused": 2, "cannot tell": 3}.get(self.status, 0)

    def __str__(self) -> str:
        return self.sentence


@contextmanager
def one_interrupt() -> Iterator[None]:
    """The first Ctrl-C interrupts, and no other does: a tired hand presses it twice, and what follows takes back."""
    if threading.current_thread() is not threading.main_thread():  # only there signals can be set, and arrive
        yield
        return

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Interrupted(KeyboardInterrupt):
    """A run was interrupted by its operator, and has taken back what it had begun, as its outcome tells."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.sentence)
        self.outcome = outcome


@dataclass
class Runner:
    """Runs one runbook on one target. `build` looks at the target and says what it would do there."""

    runbook: str
    target: Target
    settings: Mapping[str, Any]
    build: Build
    journal: Journal
    operator: str = ""
    undo: bool = False

    def plan(self) -> Plan:
        """What a run would do now; reads only."""
        return self._plan()[0]

    def run(self, dry_run: bool = True, approved_plan: str = "") -> Outcome:
        """Do what the approved plan says, or only tell it. Never raises for what the target does."""
        try:
            plan, action, taken_up = self._plan()
        except CannotTell as error:
            return Outcome("cannot tell", str(error))
        if refusal := self._refusal(plan, action, dry_run, approved_plan):
            return refusal
        operator = self.operator or getpass.getuser()
        try:
            with locked(self.target.host, self.target.port, operator):
                plan, action, taken_up = self._plan()  # what was seen before the lock may be another's half
                if refusal := self._refusal(plan, action, dry_run, approved_plan) or self._capped(action, plan):
                    return refusal
                return _Act(self, plan, action, taken_up, operator).run()
        except CannotTell as error:
            return Outcome("cannot tell", str(error), plan)
        except ActionFailed as error:
            return Outcome("refused", str(error), plan)

    def _plan(self) -> tuple[Plan, Action, Run | None]:
        cut_short = self.journal.unfinished(self.runbook, self.target.key)
        try:
            action = Action("Nothing is to be taken back.") if self.undo else self.build(self.target, self.settings)
        except CannotTell as error:
            if not (cut_short and cut_short.can_be_undone):
                raise
            action = Action(str(error))  # as after a restart that nothing followed: what was begun is taken back
        told = f" The run of {cut_short.began_at} by {cut_short.operator} was cut short" if cut_short else ""
        summary = action.summary + (f"{told}; nothing of it is left to take back." if told else "")
        mode: Literal["act", "continue", "undo"] = "act"
        taken_up = None
        if cut_short and self._can_continue(cut_short, action):
            mode, taken_up, summary = "continue", cut_short, f"{action.summary}{told}; this continues it."
        elif cut_short and cut_short.can_be_undone:
            mode, taken_up, summary = "undo", cut_short, f"{told.strip()}; what it did is taken back first."
        elif self.undo and (taken_up := self.journal.last_done(self.runbook, self.target.key)):
            mode, summary = "undo", f"The run of {taken_up.began_at} by {taken_up.operator} is taken back."
        if mode == "undo" and taken_up:
            action = Action(summary)
            rows = tuple(_undo_row(name, entry) for name, entry in reversed(taken_up.started.items()))
        else:
            rows = tuple(_row(step, step.check(self.target)) for step in action.steps)
        plan = Plan(self.runbook, self.target.key, dict(self.settings), summary, action.preconditions, rows, mode,
                    taken_up.run if taken_up else "")  # fmt: skip
        return plan, action, taken_up

    def _can_continue(self, cut_short: Run, action: Action) -> bool:
        """Whether today's steps are those that it had begun; else what it did is taken back first."""
        same = cut_short.settings == {key: _plain(value) for key, value in self.settings.items()}
        begun = cut_short.started.keys()
        return not cut_short.undoing and same and bool(begun) and begun <= {step.name for step in action.steps}

    def _refusal(self, plan: Plan, action: Action, dry_run: bool, approved_plan: str) -> Outcome | None:
        """Why nothing is done, or None when the plan is approved and may be."""
        if plan.mode == "act" and (blocking := plan.blocking):
            unsure = all(one.state == "cannot tell" for one in blocking)
            sentence = " ".join(one.sentence for one in blocking)
            return Outcome("cannot tell" if unsure else "refused", sentence, plan)
        refused = [row for row in plan.rows if row.effect == "refused"]
        if refused:
            return Outcome("refused", f"{refused[0].step}: {refused[0].now}", plan)
        if not plan.acts and plan.mode != "continue":
            if by_hand := [row for row in plan.rows if row.effect == "by hand"]:
                commands = "".join(f"\n    {command}" for row in by_hand for command in row.by_hand)
                return Outcome("by hand", f"This cannot be done from here. Run, then come back to verify:{commands}",
                               plan, afterwards=action.afterwards)  # fmt: skip
            idle = [one.sentence for one in plan.preconditions if one.state == "not needed"]
            return Outcome("nothing to do", " ".join(idle) or plan.summary, plan, afterwards=action.afterwards)
        if dry_run is not False:
            sentence = f"Nothing was changed. To do it, run again with dry_run=False and approved_plan={plan.id!r}."
            return Outcome("planned", sentence, plan)
        if approved_plan != plan.id:
            given = repr(approved_plan) if approved_plan else "no plan"
            return Outcome("refused", f"The plan is now {plan.id!r}, and {given} was approved: read it again.", plan)
        if not self.target.writing:
            return Outcome("refused", "The target was opened for reading only.", plan)
        return None

    def _capped(self, action: Action, plan: Plan) -> Outcome | None:
        if plan.mode != "act" or not any(step.restarts for step in action.steps):
            return None
        now = self.target.now()
        recent = self.journal.restarts(self.target.key, now - timedelta(hours=1))
        if len(recent) >= action.most_restarts_per_hour:
            return Outcome("refused", f"{len(recent)} restarts of this target within an hour: no more. "
                           "What they did not cure another one will not; look for the cause.", plan)  # fmt: skip
        if recent and (since_s := (now - recent[-1]).total_seconds()) < action.cool_down_s:
            return Outcome("refused", f"The last restart was {since_s:.0f} s ago; this waits for "
                           f"{action.cool_down_s:.0f} s, so that its effect can be seen.", plan)  # fmt: skip
        return None


class _Act:
    """One run that acts, under the lock."""

    def __init__(self, runner: Runner, plan: Plan, action: Action, taken_up: Run | None, operator: str) -> None:
        self.runner, self.target, self.journal = runner, runner.target, runner.journal
        self.plan, self.action, self.taken_up, self.operator = plan, action, taken_up, operator
        # What is continued or taken back keeps its name: its lines and these are one run.
        self.run_id = taken_up.run if taken_up else secrets.token_hex(6)
        self.told: list[tuple[str, str, str]] = []
        self.started: dict[str, tuple[str, dict[str, Any], bool]] = {
            name: (str(entry.get("rollback") or ""), dict(entry.get("remembered") or {}), bool(entry.get("restarts")))
            for name, entry in (taken_up.started.items() if taken_up else ())
        }
        self.before: Measures = {}
        self.after: Measures = {}

    def run(self) -> Outcome:
        self.journal.write(
            "run_started", self.run_id, runbook=self.plan.runbook, target=self.plan.target, plan=self.plan.id,
            mode=self.plan.mode, operator=self.operator, machine=platform.node(), version=__version__,
            settings={key: _plain(value) for key, value in self.plan.settings.items()}, summary=self.plan.summary,
            found=" ".join(one.sentence for one in self.plan.preconditions if one.state == "met"),
            steps=[row.step for row in self.plan.rows],
        )  # fmt: skip
        if self.plan.mode == "undo":
            return self._take_back("")
        try:
            self._measure("before")
            for step in self.action.steps:
                self._do(step)
            self._measure("after")
            judged = self._judge()
        except KeyboardInterrupt as stop:
            raise Interrupted(self._take_back("It was interrupted by the operator.")) from stop
        except WarmstallError as error:
            return self._take_back(str(error))
        except Exception as error:  # whatever it is, what was begun is not left behind
            return self._take_back(f"{type(error).__name__}: {error}")
        return self._finish("done", judged.sentence)

    def _measure(self, when: Literal["before", "after"]) -> None:
        if not self.action.measure:
            return
        # What a run that was cut short had measured before it began is what counts.
        if when == "before" and self.taken_up and self.taken_up.before is not None:
            self.before = self.taken_up.before
            return
        measures = self.action.measure(self.target)
        self.journal.write("measured", self.run_id, when=when, measures=measures)
        if when == "before":
            self.before = measures
        else:
            self.after = measures

    def _do(self, step: Step) -> None:
        """Act, unless it is so already; raises when it does not come out as wanted."""
        found = step.check(self.target)
        if found.state == "refused":
            raise ActionFailed(f"{step.name}: {found.reason or found.now}")
        if found.state == "needed" and step.apply is None:
            told = [found.reason, *step.by_hand] if found.reason else step.by_hand
            self._note("step_by_hand", step, "by hand", "\n".join(told))
            return
        if found.state == "needed" and step.apply:
            if step.name not in self.started:
                remembered = step.remember(self.target)
                rollback = step.rollback.__name__ if step.rollback else ""
                if rollback and rollback not in ROLLBACKS:
                    raise ActionFailed(f"{step.name}: its rollback {rollback} is not in the table of rollbacks.")
                self.started[step.name] = (rollback, remembered, step.restarts)
            rollback, remembered, _ = self.started[step.name]
            self.journal.write("step_started", self.run_id, step=step.name, does=step.does, now=found.now,
                               wanted=step.wanted, rollback=rollback, remembered=remembered,
                               restarts=step.restarts)  # fmt: skip
            self._note("step_applied", step, "applied", step.apply(self.target))
        verified = self._until_verified(step)
        if not verified.ok:
            self._note("step_failed", step, "not verified", verified.sentence)
            raise ActionFailed(f"{step.name}: {verified.sentence}")
        self._note("step_verified", step, "verified", verified.sentence)

    def _until_verified(self, step: Step) -> Verified:
        ends = self.target.monotonic_s() + step.patience_s
        while True:
            try:
                verified = step.verify(self.target)
            except CannotTell as error:
                verified = Verified(None, str(error))
            if verified.ok or self.target.monotonic_s() >= ends:
                return verified
            self.target.wait(_LOOK_AGAIN_S)

    def _judge(self) -> Verified:
        judged = Verified(True, "Everything is as wanted.")
        if self.action.helped:
            judged = self.action.helped(self.before, self.after)
        if judged.ok is False:
            raise ActionFailed(judged.sentence)
        if by_hand := [step for step, what, _ in self.told if what == "by hand"]:
            told = f" {judged.sentence}" if self.action.helped else ""
            return Verified(None, f"Done but for what is left to do by hand: {', '.join(by_hand)}.{told}")
        return judged

    def _take_back(self, why: str) -> Outcome:
        """Undo what was begun, the last first, going on after one that fails; what cannot be undone is said."""
        kept, failed, undone = [], [], []
        for name, (rollback, remembered, restarts) in reversed(list(self.started.items())):
            if not rollback:
                kept.append(name)
                continue
            self._write_if_possible("undo_started", step=name, rollback=rollback, why=why, restarts=restarts)
            try:
                said = ROLLBACKS[rollback](self.target, remembered)
            except Exception as error:
                failed.append(f"{name} ({error})")
                self._write_if_possible("undo_failed", step=name, reason=str(error))
                self.told.append((name, "not taken back", str(error)))
                continue
            undone.append(name)
            self._write_if_possible("undo_done", step=name, result=said)
            self.told.append((name, "taken back", said))
        sentences = [why] if why else []
        if undone:
            sentences.append(f"Taken back: {', '.join(undone)}.")
        if kept:
            sentences.append(f"Begun, and cannot be undone: {', '.join(kept)}.")
        if failed:
            sentences.append(f"Not taken back: {'; '.join(failed)}. Undo these by hand.")
        if not self.started:
            sentences.append("Nothing had been changed.")
        status = "failed" if failed or (kept and not undone) else "rolled back" if why else "done"
        return self._finish(status, " ".join(sentences))

    def _write_if_possible(self, event: Any, **facts: object) -> None:
        """Taking back goes on even where the journal cannot be written any more."""
        with suppress(OutputError):
            self.journal.write(event, self.run_id, **facts)

    def _note(self, event: Any, step: Step, what: str, sentence: str) -> None:
        self.journal.write(event, self.run_id, step=step.name, result=sentence)
        self.told.append((step.name, what, sentence))

    def _finish(self, status: Any, sentence: str) -> Outcome:
        self._write_if_possible("run_finished", outcome=status, sentence=sentence, before=self.before, after=self.after)
        return Outcome(status, sentence, self.plan, self.run_id, tuple(self.told), self.before, self.after,
                       self.action.afterwards if status == "done" else ())  # fmt: skip


def _row(step: Step, found: Check) -> Planned:
    effects: dict[str, Any] = {"done": "already so", "refused": "refused", "needed": "act" if step.apply else "by hand"}
    effect = effects[found.state]
    undo = "cannot be undone" if step.rollback is None else "taken back if it does not help"
    now = found.reason or found.now if found.state == "refused" else found.now
    return Planned(step.name, step.does, now, step.wanted, effect, step.felt_by, undo, step.by_hand)


def _undo_row(name: str, entry: Mapping[str, Any]) -> Planned:
    rollback = str(entry.get("rollback") or "")
    does = f"Take back: {entry.get('does', name)}" if rollback else f"{name} cannot be undone"
    return Planned(name, does, str(entry.get("wanted", "")), str(entry.get("now", "")),
                   "undo" if rollback else "already so", "those who felt the step", "")  # fmt: skip


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
