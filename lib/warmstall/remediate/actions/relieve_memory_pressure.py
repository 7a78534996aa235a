"""relieve-memory-pressure: hold clients back, unload the largest idle model, and let them go on once memory is enough.

What is checked: whether memory runs short now. Two looks `looks_apart_s` apart are judged by `observed.memory`: pages
that go to swap, tasks that stand still, available memory that falls, macOS's own warning. Swap in use and counters
since boot are history, and nothing is done for them.

What is done, in this order: a pause file asks clients to wait (`warmstall.guard` heeds it; it ends by itself, so that
a run that is killed leaves nobody waiting). The idle model that holds most of this memory is told to leave; whether
it is idle is seen at its runner, and a request that comes in between is answered first, for keep_alive 0 cuts none
off. With `parallel` the server is set to so many requests at once, which takes a restart. Then the pause file goes
away, as soon as memory is enough and after `wait_s` at the latest.

It helped when memory is no longer short. When what the model held came back and memory is short all the same, another
program takes it: that is said, and the model stays out. When nothing came back, all of it is taken back. It never
ends a process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ActionFailed, CannotTell, ParameterError
from ...guarding.memory_look import Look, size
from ...guarding.pause_file import MOST_PAUSE_S, Pause, pause_path, pause_text, read_pause
from ...host import REMOVE
from ...parse.plain_text import printable
from ..files import file_now, remember_file, restore_file, write_file
from ..processes import Process, is_alive
from ..services.service import change_service
from ..step import Action, Check, Measures, Precondition, Step, Verified
from ..target import Resident, Runner, Target
from . import progress
from .memory_now import memory_now
from .residency import ask_to_leave, load_model_again, remember_residency, resident_now

SETTINGS: dict[str, Any] = {
    "model": "", "parallel": 0, "pause_file": "", "wait_s": 60.0, "looks_apart_s": 5.0, "deadline_s": 120.0,
}  # fmt: skip
RECORDING = "memory-pressure"

_NAME = "relieve-memory-pressure"
_BY = f"warmstall {_NAME}"
_LOOK_AGAIN_S = 1.0
_TIMEOUT_S = 5.0
# A model that gives back less than half of what it held has not been the one that mattered.
_CAME_BACK_SHARE = 0.5
_SHORT, _MODEL = "memory is short", "a model to unload"
_PAUSE, _GO_ON = "pause clients", "let clients go on"


@dataclass(frozen=True)
class _Seen:
    """A model in memory, its runner where that is known, and whether that waits for work (None: not known)."""

    resident: Resident
    runner: Runner | None
    idle: bool | None
    held_bytes: int  # of this memory, mapped files included; a GPU's own is another
    own_bytes: int  # what must come back when it leaves: without pages that are a file's

    @property
    def name(self) -> str:
        return printable(self.resident.name)


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """Pause, unload, limit if asked for, go on: when memory is short now, or an earlier run left clients waiting."""
    path, apart_s = _checked(target, settings), float(settings["looks_apart_s"])
    try:
        first_looks = _look_at_runners(target)
        now = memory_now(target, apart_s)
        seen = _models(target, first_looks, apart_s)
        left = _left_waiting(target, path)
    except CannotTell as error:
        return Action("What there is to relieve is not known.", (Precondition(_SHORT, "cannot tell", str(error)),))
    gone = left.notes.get("model", "") if left else ""
    if any(one.name == gone for one in seen):
        gone = ""  # the run that paused the clients did not come to unload it
    if not now.is_short and not gone:
        state: Any = "cannot tell" if now.finding.state == "cannot tell" else "not needed"
        collect = f" Collect: {'; '.join(now.finding.collect)}." if state == "cannot tell" else ""
        return Action("Memory is not short.", (Precondition(_SHORT, state, now.finding.sentence + collect),))
    told = "" if now.is_short else "An earlier run unloaded a model and left clients waiting. "
    short = Precondition(_SHORT, "met", told + now.finding.sentence)
    chosen, which = (None, Precondition(_MODEL, "met", f"{gone} has left memory already.")) if gone else (
        _chosen(seen, str(settings["model"]))
    )  # fmt: skip
    if which.state != "met":
        return Action("There is no model to unload.", (short, which))
    name = chosen.name if chosen else gone
    return Action(
        f"Clients are asked to wait, {name} is unloaded, and they go on once memory is enough.",
        (short, which),
        _steps(target, settings, path, chosen.resident.name if chosen else gone, chosen),
        lambda target: _measured(target, apart_s),
        lambda before, after: _helped(before, after, name, chosen.own_bytes if chosen else 0),
        (
            "Before the next long run: warmstall doctor --run-plan N --model MODEL says whether there is headroom.",
            f"{name} is loaded again by its next request. If memory then falls again, a program grows: "
            "warmstall watch CASE shows which, and warmstall explain memory_pressure tells what to do.",
        ),
    )


def _checked(target: Target, settings: Mapping[str, Any]) -> str:
    """The path of the pause file; raises ParameterError for settings that no run can have."""
    if settings["parallel"] < 0:
        raise ParameterError(f"parallel {settings['parallel']}: expected 0 (left as it is) or how many at once.")
    for name in ("wait_s", "looks_apart_s", "deadline_s"):
        if not 0 < float(settings[name]) <= MOST_PAUSE_S:
            raise ParameterError(f"{name} {settings[name]:g}: expected more than 0, and an hour at most.")
    path = str(settings["pause_file"]) or pause_path(target.port)
    if not path.startswith("/") or path.endswith("/") or printable(path) != path:
        raise ParameterError(f"pause_file {printable(path)}: expected the whole path of a file, such as "
                             f"{pause_path(target.port)}.")  # fmt: skip
    return path


def _left_waiting(target: Target, path: str) -> Pause | None:
    """The pause that an earlier run of this runbook asked for, as long as it is in force."""
    pause = _pause(target, path)
    return pause if pause and pause.by == _BY else None


def _pause(target: Target, path: str) -> Pause | None:
    """The pause that is in force now, whoever asked for it."""
    pause = read_pause(file_now(target, path) or "")
    return pause if pause and pause.holds(target.now()) else None


def _look_at_runners(target: Target) -> list[tuple[Resident, Runner | None]]:
    """The models in memory with their runners; a look at each is kept."""
    found: list[tuple[Resident, Runner | None]] = []
    for one in target.models_in_memory(progress.PS_TIMEOUT_S):
        try:
            runner = progress.runner_of(target, one.name)
        except CannotTell:
            found.append((one, None))
            continue
        looks = target.seen.setdefault(("idle", one.name, runner.process), [])
        looks.append(progress.look_at(target, runner, one.expires_at))
        found.append((one, runner))
    return found


def _models(target: Target, there: list[tuple[Resident, Runner | None]], apart_s: float) -> list[_Seen]:
    """What is known of each model now, beside the newest look that is old enough."""
    seen = []
    for one, runner in there:
        if runner is None:
            seen.append(_Seen(one, None, None, one.size_bytes - one.vram_bytes, 0))
            continue
        looks = target.seen[("idle", one.name, runner.process)]
        now = progress.look_at(target, runner, one.expires_at)
        older = [look for look in looks if now.at_s - look.at_s >= apart_s] or looks[:1]
        works = any(slot.is_processing for slot in now.slots or ())
        idle = not works and not progress.movement(older[-1], now) and not progress.worked(older[-1], now)
        seen.append(_Seen(one, runner, idle, *_holds(target, one, runner)))
    return seen


def _holds(target: Target, one: Resident, runner: Runner) -> tuple[int, int]:
    """What a model's runner has of this memory, and how much of that is no file's page."""
    if target.host.system == "Darwin":  # one memory for both
        return one.size_bytes, one.size_bytes
    status = target.host.read(f"/proc/{runner.process.pid}/status", _TIMEOUT_S).text
    said = {line.split(":")[0]: line.split()[1:] for line in status.splitlines() if line.endswith(" kB")}
    rss, anonymous = (1024 * int(said[name][0]) if name in said else 0 for name in ("VmRSS", "RssAnon"))
    return rss or one.size_bytes - one.vram_bytes, anonymous


def _chosen(seen: list[_Seen], named: str) -> tuple[_Seen | None, Precondition]:
    """The model that is named, else of the idle ones that which has most of this memory."""
    if not seen:
        return None, Precondition(_MODEL, "not met", "No model is in memory, so other programs take it: ps -eo "
                                  "pid,rss,args, sorted by the second column, shows which.")  # fmt: skip
    names = ", ".join(one.name for one in seen)
    if named:
        found = [one for one in seen if one.resident.name in (named, f"{named}:latest")]
        if not found:
            return None, Precondition(_MODEL, "not met", f"{printable(named)} is not in memory; there are {names}.")
        works = "" if found[0].idle else " It may be at work, which it ends first."
        return found[0], Precondition(_MODEL, "met", f"{found[0].name}, as named: it has {size(found[0].held_bytes)} "
                                      f"of this memory.{works}")  # fmt: skip
    idle = sorted((one for one in seen if one.idle), key=lambda one: (-one.held_bytes, one.name))
    if not idle:
        return None, Precondition(
            _MODEL, "not met",
            f"None of {len(seen)} models is known to be idle ({names}): what they work on would be waited for. Name "
            "the one to unload as model, or come back when one is idle.",
        )  # fmt: skip
    return idle[0], Precondition(_MODEL, "met", f"{idle[0].name} waits for work and has {size(idle[0].held_bytes)} of "
                                 f"this memory, most of {len(idle)} idle models.")  # fmt: skip


def _steps(
    target: Target, settings: Mapping[str, Any], path: str, model: str, chosen: _Seen | None
) -> tuple[Step, ...]:  # fmt: skip
    wait_s, deadline_s, name = float(settings["wait_s"]), float(settings["deadline_s"]), printable(model)
    process = chosen.runner.process if chosen and chosen.runner else None
    # Long enough for what follows, and no longer: whoever waits goes on by itself when this run is killed.
    hold_s = min(MOST_PAUSE_S, 2 * wait_s + deadline_s + 60.0)
    limit = change_service(target, _NAME, {"OLLAMA_NUM_PARALLEL": str(settings["parallel"])}) if (
        settings["parallel"]
    ) else ()  # fmt: skip
    return (
        Step(
            _PAUSE,
            f"Write {path}, which asks clients to wait, for {hold_s:g} s at most",
            "Clients that heed it begin no further request",
            lambda target: _is_paused(target, path),
            lambda target: _ask_to_wait(target, path, hold_s, model),
            lambda target: _holds_clients(target, path),
            lambda target: remember_file(target, path),
            restore_file,
            felt_by="clients that use warmstall.guard, or heed the file: they wait",
        ),
        Step(
            f"unload {name}",
            f"Send keep_alive 0 for {name}; what it works on is ended first",
            f"{name} is not in memory, and its runner is gone",
            lambda target: _is_there(target, model),
            lambda target: ask_to_leave(target, model),
            lambda target: _has_left(target, model, process),
            lambda target: remember_residency(target, model, deadline_s),
            load_model_again,
            felt_by=f"the next request to {name}: it waits for a load",
            patience_s=wait_s,
        ),
        *limit,
        Step(
            _GO_ON,
            f"Wait until memory is enough, {wait_s:g} s at most, and remove {path}",
            "Clients go on",
            lambda target: _to_go_on(target, path),
            lambda target: _go_on(target, path, wait_s, float(settings["looks_apart_s"])),
            lambda target: _goes_on(target, path),
            lambda target: remember_file(target, path),
            restore_file,
        ),
    )


def _is_paused(target: Target, path: str) -> Check:
    pause = _pause(target, path)
    return Check("done", f"{pause.by} asks clients to wait") if pause else Check("needed", "nothing holds clients")


def _ask_to_wait(target: Target, path: str, hold_s: float, model: str) -> str:
    write_file(target, path, pause_text(target.now(), hold_s, _BY, "memory is short", model=printable(model)))
    return f"{path} was written."


def _holds_clients(target: Target, path: str) -> Verified:
    pause = _pause(target, path)
    until = f"until {pause.until:%H:%M:%S} UTC at the latest" if pause else ""
    return Verified(bool(pause), f"Clients are asked to wait, {until}." if pause else f"{path} asks for nothing.")


def _is_there(target: Target, model: str) -> Check:
    there = resident_now(target, model)
    return Check("needed", "it is in memory") if there else Check("done", "it is not in memory")


def _has_left(target: Target, model: str, process: Process | None) -> Verified:
    if resident_now(target, model):
        return Verified(False, f"{printable(model)} is in memory still: a request works on it, or its runner is stuck "
                        "(recover-stuck-runner).")  # fmt: skip
    if process and is_alive(target.host, process):
        return Verified(False, f"Process {process.pid}, its runner, is still there: see the runbook free-vram.")
    return Verified(True, f"{printable(model)} has left memory.")


def _to_go_on(target: Target, path: str) -> Check:
    pause = _pause(target, path)
    if pause and pause.by != _BY:
        return Check("done", f"{pause.by} paused clients, and decides")
    return Check("needed", "clients wait from the first step on")


def _go_on(target: Target, path: str, wait_s: float, apart_s: float) -> str:
    """What was before the unload is over: looks are taken anew."""
    target.seen.pop("memory", None)
    ends, why = target.monotonic_s() + wait_s, ""
    while target.monotonic_s() < ends:
        now = memory_now(target, apart_s)
        why = now.finding.sentence
        if not now.is_short:
            break
        target.wait(min(apart_s, _LOOK_AGAIN_S))
    removed = target.host.run(REMOVE, _TIMEOUT_S, path=path)
    if removed.outcome != "captured":
        raise ActionFailed(f"{path} was not removed: {removed.reason}.")
    return f"Clients may go on. {why}"


def _goes_on(target: Target, path: str) -> Verified:
    pause = _pause(target, path)
    if pause and pause.by == _BY:
        return Verified(False, f"{path} still asks clients to wait.")
    return Verified(True, f"{pause.by} asks clients to wait." if pause else "Nothing asks clients to wait.")


def _measured(target: Target, apart_s: float) -> Measures:
    """Of a pair of looks that is taken now."""
    target.seen.pop("memory", None)
    now = memory_now(target, apart_s)
    looks: list[Look] = target.seen["memory"]
    swapped, seconds = [look.swapped_out_bytes for look in looks], (looks[-1].at - looks[0].at).total_seconds()
    known = swapped[0] is not None and swapped[-1] is not None and seconds > 0
    return {
        "available_bytes": now.newest.available_bytes,
        "swapped_out_bytes_per_s": (float(swapped[-1] or 0) - float(swapped[0] or 0)) / seconds if known else None,
        "some_tasks_stalled_percent": now.newest.number("psi_some_avg10"),
        "all_tasks_stalled_percent": now.newest.number("psi_full_avg10"),
        "memory_is_short": float(now.is_short),
    }


def _helped(before: Measures, after: Measures, name: str, own_bytes: int) -> Verified:
    was, is_now = before.get("available_bytes"), after.get("available_bytes")
    if was is None or is_now is None:
        return Verified(None, "What is available cannot be compared: it was not seen before or after.")
    rose = f"available memory went from {size(was)} to {size(is_now)}"
    if not after.get("memory_is_short"):
        return Verified(True, f"Memory is no longer short: {rose}.")
    if own_bytes and is_now - was >= _CAME_BACK_SHARE * own_bytes:
        return Verified(None, f"What {name} held came back ({rose}), and memory is short all the same: another "
                        "program takes it. Run this again for the next model, or look for that program.")  # fmt: skip
    return Verified(False, f"Memory is as short as before: {rose}.")
