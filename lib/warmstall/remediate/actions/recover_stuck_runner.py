"""recover-stuck-runner: end a runner that never becomes idle, and nothing else.

An unload waits until the last request on the runner has ended. If one never ends, the model stays in memory past its
time, its requests hang, and so does every model that needs the room. Ending the runner breaks off that request; the
server then puts the runner away by itself and loads the model for whoever asks next.

What is needed to act, all of it, over `look_s` seconds (20 by default: the unload itself may take 5 s for the GPU's
memory and 10 s for a ping):

- `/api/ps` shows the model at every look with one and the same expires_at, in the past on the host's clock. A first
  request lets expires_at roll along, an end renews it, an unload that works takes the model away: all of these are
  left alone.
- The one process that is its runner: a child of this server, a runner by its command line, with this model's file.
- It stands still: stopped, or waiting without computing (about a hundredth of a core, which is what answering pings
  takes), with no thread that could compute, no pages from a disk and no GPU at work; or, where it is a llama-server
  that answers for its slots, no slot has a token more.

"Cannot tell", and nothing is done: a runner that computes while nothing shows whether tokens come of it, one that
crawls where memory is short, or one that waits for a GPU that computes or does not tell. A long answer looks just so
before Ollama 0.30, which has no slots to ask, and while a prompt is read. Neither a canary nor a client's timeout
tells it from a hang: it would wait as well. Who knows that nobody waits for a long answer may name the `model` and
set `end_busy`; a runner whose tokens do move is left alone even then.

The server is never signalled. SIGTERM comes first, SIGKILL if the runner is still there; a stopped process takes no
SIGTERM. Before each signal the process is compared once more: number, start, parent, program and command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...collect.commands import COMMANDS
from ...errors import ActionFailed, CannotTell, ParameterError
from ...parse.plain_text import printable
from ...parse.process_roles import role_of
from ..processes import Process, is_alive, process_of, send_signal
from ..step import Action, Check, Measures, Precondition, Step, Verified
from ..target import Resident, Runner, Target
from .gpu_activity import gpu_utilization_percent
from .progress import PS_TIMEOUT_S, Seen, look_at, movement, runner_of, watch, worked
from .residency import ask_to_leave, canary_s, load_model_again, remember_residency, resident_now

SETTINGS: dict[str, Any] = {
    "model": "", "look_s": 20.0, "end_busy": False, "leave_s": 15.0, "deadline_s": 120.0,
}  # fmt: skip
RECORDING = "stuck-runner"

_LEAST_LOOK_S = 0.5
# What an unload may take by itself: 5 s for the GPU's memory, 10 s for a ping.
_UNLOAD_S = 15.0
# A runner that works ends at once on SIGTERM; llama-server may finish a batch first.
_TERM_S = 5.0
_LOOK_AGAIN_S = 0.1
_SERVER_ANSWERS, _PAST, _RUNNER, _STILL = "the server answers", "past its time", "its runner", "it stands still"


@dataclass(frozen=True)
class Stuck:
    """A model and the runner that holds it."""

    model: Resident
    runner: Runner
    server: Process
    seen: Seen

    @property
    def name(self) -> str:
        return printable(self.model.name)


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """The recovery of the model that is stuck longest; of all other models nothing."""
    model, look_s = str(settings["model"]), float(settings["look_s"])
    if look_s < _LEAST_LOOK_S:
        raise ParameterError(f"look_s {look_s:g}: expected at least {_LEAST_LOOK_S:g} s; the default is 20 s.")
    if settings["end_busy"] and not model:
        raise ParameterError("end_busy ends a runner that may work: name the model that is meant.")
    try:
        there = target.models_in_memory(PS_TIMEOUT_S)
    except CannotTell as error:
        return Action(
            "It cannot be told what is in memory.", (Precondition(_SERVER_ANSWERS, "cannot tell", str(error)),)
        )
    answers = Precondition(_SERVER_ANSWERS, "met", f"/api/ps tells of {len(there)} models in memory.")
    asked = [one for one in there if not model or one.name in (model, f"{model}:latest")]
    overdue = sorted((one for one in asked if one.is_past(target.now())), key=lambda one: str(one.expires_at))
    if not overdue:
        return Action("No model is past its time.", (answers, _nothing_overdue(target, asked, model)))
    judged = [_judge(target, one, settings) for one in overdue]
    found = next((stuck for stuck, _ in judged if stuck), None)
    told = next(rows for stuck, rows in judged if stuck is found)
    if not found:
        doubts = [rows for _, rows in judged if rows[-1].state != "not needed"]
        told = doubts[0] if doubts else told
        return Action("No runner is known to be stuck.", (answers, *told))
    others = f" {len(overdue) - 1} more are past their time: run this again for them." if len(overdue) > 1 else ""
    return Action(
        f"The runner of {found.name} is stuck: it is ended, and the model is loaded again.{others}",
        (answers, *told, _may_signal(target, found)),
        _steps(found, settings),
        lambda target: _measured(target, found, settings),
        lambda before, after: _helped(found, after),
        (
            "Watch whether it comes again: warmstall watch CASE, and the page of warmstall explain stopping_deadlock.",
            f"Requests that hung on {found.name} have failed: send those again that still matter.",
        ),
    )


def _nothing_overdue(target: Target, asked: list[Resident], model: str) -> Precondition:
    """Nothing to do, unless a runner that is not past its time is stopped: that is no healthy one either."""
    if model and not asked:
        return Precondition(_PAST, "not needed", f"{printable(model)} is not in memory.")
    try:
        runners = target.runners() if asked else []
    except CannotTell:
        runners = []
    for runner in runners:
        if look_at(target, Runner(runner.process, runner.model_path, None), None).state == "T":
            pid = runner.process.pid
            return Precondition(
                _PAST, "cannot tell",
                f"No model is past its time, but process {pid}, a runner, is stopped by a signal. If nobody meant it, "
                f"kill -CONT {pid} lets it go on; else tell its model to leave (ollama stop MODEL) and come back.",
            )  # fmt: skip
    return Precondition(_PAST, "not needed", "No model in memory is past its expires_at.")


def _judge(target: Target, one: Resident, settings: Mapping[str, Any]) -> tuple[Stuck | None, tuple[Precondition, ...]]:
    """What is known of a model past its time; the last precondition decides."""
    name, look_s = printable(one.name), float(settings["look_s"])
    past = Precondition(_PAST, "met", f"{name} is in memory past its expires_at ({one.expires_at:%H:%M:%S} UTC).")
    try:
        runner, server = runner_of(target, one.name), target.server()
        seen = watch(target, one.name, runner, one.expires_at, look_s)
    except CannotTell as error:
        return None, (past, Precondition(_RUNNER, "cannot tell", str(error)))
    its = Precondition(
        _RUNNER, "met", f"Its runner is {printable(str(runner.process))}, a child of process {server.pid}."
    )
    over = f"{name}: {seen.sentence}, in {len(seen.looks)} looks over {seen.span_s:.0f} s at one expires_at"
    stuck = Stuck(one, runner, server, seen)
    if seen.state == "moves":
        return None, (past, its, Precondition(_STILL, "not needed", f"{name} is not stuck: {seen.sentence}."))
    doubt = _may_wait_for_a_gpu(target, one, seen)
    if seen.state == "still" and doubt and not settings["end_busy"]:
        return None, (past, its, Precondition(_STILL, "cannot tell", f"{over}. {doubt}"))
    if seen.state == "still":
        short = f" An unload alone may take {_UNLOAD_S:g} s: look_s is short." if look_s < _UNLOAD_S else ""
        return stuck, (past, its, Precondition(_STILL, "met", f"{over}.{short}"))
    if seen.state == "busy" and settings["end_busy"]:
        return stuck, (
            past,
            its,
            Precondition(_STILL, "met", f"{over}. It is to be ended though it may work (end_busy)."),
        )
    collect = {
        "busy": "Nothing shows whether tokens come of it: it may be a long answer. Ask whoever waits for it. If nobody "
        "does, name the model and set end_busy.",
        "idle": "So no request holds it; the server itself does not let it go. Keep /debug/pprof/goroutine?debug=2 of "
        "the server's port for a report, then restart the service.",
        "held": "Whoever debugs it decides.",
    }[seen.state]
    return None, (past, its, Precondition(_STILL, "cannot tell", f"{over}. {collect}"))


def _may_wait_for_a_gpu(target: Target, one: Resident, seen: Seen) -> str:
    """Why a runner that only waits may work all the same; empty where that is out of the question."""
    if one.vram_bytes == 0 or seen.last_tells:
        return ""
    busiest = gpu_utilization_percent(target)
    if busiest == 0:
        return ""
    why = "nothing here shows whether its GPU computes" if busiest is None else f"a GPU computes ({busiest:.0f} %)"
    return (f"But {why}: it may read a long prompt there. Ask whoever waits for it; if nobody does, name the model and "
            "set end_busy.")  # fmt: skip


def _may_signal(target: Target, stuck: Stuck) -> Precondition:
    """Only root and its own user may signal a process: better known before anything is begun."""
    asked = target.host.run(COMMANDS["who collects"], 5.0)
    user = next((str(row["user"]) for row in target.processes() if row["pid"] == stuck.runner.process.pid), "")
    if asked.outcome != "captured" or not user or asked.text.strip() in ("root", user):
        return Precondition("may signal it", "met", f"The runner belongs to {printable(user) or 'a user not told'}.")
    return Precondition("may signal it", "not met", f"The runner belongs to {printable(user)}, and this runs as "
                        f"{printable(asked.text.strip())}: run it as root or as {printable(user)}.")  # fmt: skip


def _steps(stuck: Stuck, settings: Mapping[str, Any]) -> tuple[Step, ...]:
    name, process = stuck.name, stuck.runner.process
    leave_s, deadline_s = float(settings["leave_s"]), float(settings["deadline_s"])
    return (
        Step(
            "tell the model to leave",
            f"Send keep_alive 0 for {name}, and wait for it {leave_s:g} s at most",
            "The server has been told; the model may even leave",
            lambda target: _stands(target, stuck),
            lambda target: _leave(target, stuck, leave_s),
            lambda _: Verified(True, "The server has been told."),
            lambda target: remember_residency(target, stuck.model.name, deadline_s),
            load_model_again,
            felt_by=f"nobody new: {name} is past its time",
            patience_s=0.0,
        ),
        Step(
            "end its runner",
            f"Send SIGTERM to process {process.pid}, the runner of {name}, and SIGKILL if it stays {_TERM_S:g} s",
            "The process is gone, and the server has let the model go",
            lambda target: _stands(target, stuck),
            lambda target: _end(target, stuck, bool(settings["end_busy"])),
            lambda target: _is_let_go(target, stuck),
            felt_by=f"whoever waits for {name}: these requests fail",
            restarts=True,
            patience_s=_UNLOAD_S + leave_s,
        ),
        Step(
            "load the model again",
            f"Ask {name} for a word, which loads it",
            f"{name} answers and is in memory",
            lambda target: _needs_load(target, stuck),
            lambda target: _load(target, stuck, deadline_s),
            lambda target: _is_resident(target, stuck),
            felt_by=f"requests to {name}: they wait while it loads",
            patience_s=deadline_s,
        ),
    )


def _stands(target: Target, stuck: Stuck) -> Check:
    """Whether that very runner is still there; one that has another parent or program by now is refused."""
    process = stuck.runner.process
    now = process_of(target.host, process.pid)
    if now is None or now.started != process.started:
        return Check("done", f"process {process.pid} is gone")
    if now != process or role_of(now.command) != "runner" or now.parent_pid != stuck.server.pid:
        return Check("refused", f"process {process.pid} is another one",
                     f"Process {process.pid} was {printable(str(process))} of parent {process.parent_pid}, and is now "
                     f"{printable(str(now))} of parent {now.parent_pid}: it is left alone.")  # fmt: skip
    return Check("needed", f"process {process.pid} runs")


def _leave(target: Target, stuck: Stuck, leave_s: float) -> str:
    told = ask_to_leave(target, stuck.model.name)
    left = _gone_within(target, stuck.runner.process, leave_s)
    return f"{told} It left." if left else f"{told} It did not leave within {leave_s:g} s."


def _end(target: Target, stuck: Stuck, busy_too: bool) -> str:
    """Signal the runner, after one more look at whether it has begun to move."""
    process, last = stuck.runner.process, stuck.seen.looks[-1]
    one = resident_now(target, stuck.model.name)
    now = look_at(target, stuck.runner, last.expires_at)  # the unload of the step before has set another one
    moved = "its expires_at was renewed" if one and not one.is_past(target.now()) else movement(last, now)
    waited = not any(worked(before, after) for before, after in pairwise(stuck.seen.looks))
    if not moved and waited and not busy_too:
        moved = worked(last, now)
    if moved:
        raise ActionFailed(f"{stuck.name} moves again ({moved}): it is left alone.")
    send_signal(target.host, process, "TERM")
    # A stopped process takes no SIGTERM before it goes on.
    if now.state != "T" and _gone_within(target, process, _TERM_S):
        return f"SIGTERM ended process {process.pid}."
    if is_alive(target.host, process):
        send_signal(target.host, process, "KILL")
    return f"SIGTERM and SIGKILL were sent to process {process.pid}."


def _gone_within(target: Target, process: Process, seconds: float) -> bool:
    ends = target.monotonic_s() + seconds
    while is_alive(target.host, process):
        if target.monotonic_s() >= ends:
            return False
        target.wait(_LOOK_AGAIN_S)  # the end of a process that is no child of ours announces itself to nobody
    return True


def _is_let_go(target: Target, stuck: Stuck) -> Verified:
    pid = stuck.runner.process.pid
    if is_alive(target.host, stuck.runner.process):
        return Verified(False, f"Process {pid} is still there: it waits in the kernel, or may not be signalled. "
                        f"Restart the service: sudo systemctl restart {target.unit}.")  # fmt: skip
    one = resident_now(target, stuck.model.name)
    if one and one.expires_at and one.expires_at < target.now():
        return Verified(False, f"Process {pid} is gone, and the server still holds {stuck.name}: its scheduler itself "
                        f"is stuck. Restart the service: sudo systemctl restart {target.unit}.")  # fmt: skip
    return Verified(True, f"Process {pid} is gone, and the server has let {stuck.name} go.")


def _needs_load(target: Target, stuck: Stuck) -> Check:
    one = None if is_alive(target.host, stuck.runner.process) else resident_now(target, stuck.model.name)
    if one and not one.is_past(target.now()):
        return Check("done", f"{stuck.name} is in memory again")
    return Check("needed", f"{stuck.name} is held by process {stuck.runner.process.pid}, or by nobody")


def _load(target: Target, stuck: Stuck, deadline_s: float) -> str:
    wall_s = canary_s(target, stuck.model.name, stuck.model.context_length, deadline_s)
    return f"{stuck.name} was loaded and answered after {wall_s:.1f} s."


def _is_resident(target: Target, stuck: Stuck) -> Verified:
    one = resident_now(target, stuck.model.name)
    if one is None or one.is_past(target.now()):
        return Verified(False, f"{stuck.name} is not in memory.")
    return Verified(True, f"{stuck.name} is in memory.")


def _measured(target: Target, stuck: Stuck, settings: Mapping[str, Any]) -> Measures:
    """The canary's time, only once the stuck runner is gone: before, it would hang and block the queue as well."""
    overdue = sum(one.is_past(target.now()) for one in target.models_in_memory(PS_TIMEOUT_S))
    wall_s = None
    if not is_alive(target.host, stuck.runner.process):
        try:
            wall_s = canary_s(target, stuck.model.name, stuck.model.context_length, float(settings["deadline_s"]))
        except ActionFailed:
            wall_s = None
    return {"canary_wall_s": wall_s, "models_past_their_time": float(overdue)}


def _helped(stuck: Stuck, after: Measures) -> Verified:
    if after.get("canary_wall_s") is None:
        return Verified(False, f"{stuck.name} does not answer, though its stuck runner is gone.")
    return Verified(True, f"{stuck.name} answers again, {after['canary_wall_s']:.2f} s for a word. Before, none was "
                    "asked for: the request would have hung too.")  # fmt: skip
