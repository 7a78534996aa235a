"""free-vram: unload an idle model, and prove that its memory came back.

One model a run: the one that is named, or the largest that is idle. It is told to leave (keep_alive 0), which waits for
whoever still uses it. Then three things are looked at: `/api/ps` no longer has it, its runner's process is gone, and,
where a GPU's tool tells, the GPU's used memory fell.

What does not leave has a request that never ends: recover-stuck-runner is for that. What has left while the GPU's
memory stays taken is held by somebody else, who is named; if that is a ghost of the server, only a restart of the
service gives it back, which this runbook leaves to a person.

Idle means: two looks apart show one expires_at, ahead of the clock, no slot at work (a llama-server tells), and no
processor time beyond what waiting takes. A model at work is not unloaded, because its next request would load it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...collect.commands import COMMANDS
from ...errors import CannotTell, ParameterError
from ...parse.nvidia_smi import parse_nvidia_smi
from ...parse.plain_text import printable
from ..processes import is_alive
from ..step import Action, Check, Measures, Precondition, Step, Verified
from ..target import Resident, Runner, Target
from .model_memory import gpus_of
from .progress import PS_TIMEOUT_S, runner_of, watch
from .residency import ask_to_leave, load_model_again, remember_residency, resident_now

SETTINGS: dict[str, Any] = {"model": "", "look_s": 2.0, "deadline_s": 30.0}
RECORDING = "full-vram"

_LEAST_LOOK_S = 0.5
_TOOL_S = 10.0
# The server itself waits as long for a GPU's memory before it goes on.
_RECOVERY_S = 5.0
_LOOK_AGAIN_S = 0.25
# /api/ps tells an estimate, and others use the GPU meanwhile: half of it tells that it came back from that it did not.
_CAME_BACK = 0.5
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Idle:
    """A model that nobody uses, and its runner; `gpu_used_bytes` of all GPUs while it was in memory, None if untold."""

    model: Resident
    runner: Runner
    gpu_used_bytes: int | None

    @property
    def name(self) -> str:
        return printable(self.model.name)


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """The unload of one idle model."""
    wanted, look_s = str(settings["model"]), float(settings["look_s"])
    if look_s < _LEAST_LOOK_S:
        raise ParameterError(f"look_s {look_s:g}: expected at least {_LEAST_LOOK_S:g} s; the default is 2 s.")
    try:
        there = target.models_in_memory(PS_TIMEOUT_S)
    except CannotTell as error:
        unsure = Precondition("the server answers", "cannot tell", str(error))
        return Action("It cannot be told what is in memory.", (unsure,))
    answers = Precondition("the server answers", "met", f"/api/ps tells of {len(there)} models in memory.")
    asked = [one for one in there if not wanted or one.name in (wanted, f"{wanted}:latest")]
    if not asked:
        named = f"{printable(wanted)} is not in memory." if wanted else "No model is in memory."
        return Action(named, (answers, Precondition("a model in memory", "not needed", named)))
    looked: list[Precondition] = []
    for one in sorted(asked, key=lambda one: (-max(one.vram_bytes, one.size_bytes), one.name)):
        runner, found = _idle_runner(target, one, look_s)
        looked.append(found)
        if runner:
            return _unload(target, Idle(one, runner, gpu_used(target)), (answers, found), settings)
    return Action("No model is idle.", (answers, *looked))


def _idle_runner(target: Target, one: Resident, look_s: float) -> tuple[Runner | None, Precondition]:
    name, title = printable(one.name), "idle"
    if one.is_past(target.now()):
        return None, Precondition(title, "not met", f"{name} is past its time and has not left: something holds it. "
                                  "Use recover-stuck-runner.")  # fmt: skip
    try:
        runner = runner_of(target, one.name)
        seen = watch(target, one.name, runner, one.expires_at, look_s)
    except CannotTell as error:
        return None, Precondition(title, "cannot tell", str(error))
    last = seen.looks[-1]
    works = last.slots and any(slot.is_processing for slot in last.slots)
    if seen.state == "idle" or (seen.state == "still" and last.state not in ("T", "D") and not works):
        return runner, Precondition(title, "met", f"Nobody uses {name}: {seen.sentence} ({seen.span_s:.0f} s).")
    if seen.state == "still":
        return None, Precondition(title, "not met", f"{name} is not idle and does not work: {seen.sentence}. Tell it "
                                  "to leave (ollama stop), and use recover-stuck-runner if it does not.")  # fmt: skip
    return None, Precondition(title, "not met", f"{name} is at work: {seen.sentence}.")


def _unload(target: Target, idle: Idle, found: tuple[Precondition, ...], settings: Mapping[str, Any]) -> Action:
    name, deadline_s = idle.name, float(settings["deadline_s"])
    unload = Step(
        f"unload {name}",
        f"Send keep_alive 0 for {name}, held by process {idle.runner.process.pid}",
        f"/api/ps is without {name}, and the process is gone",
        lambda target: _is_held(target, idle),
        lambda target: ask_to_leave(target, idle.model.name),
        lambda target: _has_left(target, idle),
        lambda target: remember_residency(target, idle.model.name, max(deadline_s, 120.0)),
        load_model_again,
        felt_by=f"the next request to {name}: it waits while the model loads",
        patience_s=deadline_s,
    )
    back = Step(
        "see the GPU's memory back",
        "Look whether the GPU's memory came back; only if it did not: see who holds it, and restart the service",
        f"Of what {name} held on the GPU, half at least is free",
        lambda target: _is_back(target, idle),
        None,
        lambda _: Verified(True, "The GPU's memory came back."),
        by_hand=("nvidia-smi --query-compute-apps=pid,process_name,used_memory --format=csv",
                 f"sudo systemctl restart {target.unit}"),
        felt_by="nobody; a restart breaks off all requests",
    )  # fmt: skip
    afterwards = [f"{name} is loaded again by its next request: send none, or give it a shorter keep_alive."]
    on_gpu = idle.model.vram_bytes > 0
    if on_gpu and idle.gpu_used_bytes is None:
        afterwards.append("No tool here tells what the GPU's memory holds: whether it came back is not known.")
    steps = (unload, back) if on_gpu and idle.gpu_used_bytes is not None else (unload,)
    size = f"{idle.model.size_bytes / _MIB:,.0f} MiB"
    return Action(f"{name} is idle and holds {size}: it is unloaded.", found, steps, _measured, _helped,
                  tuple(afterwards))  # fmt: skip


def _is_held(target: Target, idle: Idle) -> Check:
    if resident_now(target, idle.model.name) is None and not is_alive(target.host, idle.runner.process):
        return Check("done", f"{idle.name} is not in memory")
    return Check("needed", f"{idle.name} is in memory")


def _has_left(target: Target, idle: Idle) -> Verified:
    pid = idle.runner.process.pid
    if resident_now(target, idle.model.name):
        return Verified(False, f"{idle.name} has not left: a request holds it, or its runner hangs. If it stays, use "
                        "recover-stuck-runner.")  # fmt: skip
    if is_alive(target.host, idle.runner.process):
        return Verified(False, f"/api/ps is without {idle.name}, but its runner, process {pid}, is still there and "
                        f"holds its memory. Restart the service: sudo systemctl restart {target.unit}.")  # fmt: skip
    return Verified(True, f"{idle.name} has left, and process {pid} is gone with its memory.")


def _is_back(target: Target, idle: Idle) -> Check:
    """Whether the GPU's used memory fell; waits for it where the model has left."""
    if resident_now(target, idle.model.name):
        return Check("needed", f"{idle.name} is in memory")
    wanted = int(idle.model.vram_bytes * _CAME_BACK)
    ends = target.monotonic_s() + _RECOVERY_S
    while True:
        used = gpu_used(target)
        if used is not None and (idle.gpu_used_bytes or 0) - used >= wanted:
            return Check("done", "the GPU's memory came back")
        if target.monotonic_s() >= ends:
            break
        target.wait(_LOOK_AGAIN_S)
    told = "its tool does not tell any more" if used is None else f"{used / _MIB:,.0f} MiB of it are used"
    reason = f"{idle.name} has left, and the GPU's memory did not come back: {told}. {_holders(target)}"
    return Check("needed", "the GPU's memory did not come back", reason)


def _holders(target: Target) -> str:
    """Who computes on the GPU, as nvidia-smi tells."""
    output = target.host.run(COMMANDS["nvidia-smi processes"], _TOOL_S)
    rows = parse_nvidia_smi(output.text).tables.get("gpu_processes", []) if output.outcome == "captured" else []
    if not rows:
        return "No process is shown to hold it: a ghost of the driver, or a program that the tool does not see."
    told = ", ".join(_holder(row) for row in rows[:5])
    return f"It is held by {told}."


def _holder(row: Mapping[str, Any]) -> str:
    size = f"{(row['used_bytes'] or 0) / _MIB:,.0f} MiB"
    return f"process {row['pid']} ({printable(str(row['command']))[:60]}, {size})"


def gpu_used(target: Target) -> int | None:
    """Bytes used on all GPUs, or None where no tool tells."""
    rows = gpus_of(target)
    return sum(int(row["used_bytes"]) for row in rows) if rows else None


def _measured(target: Target) -> Measures:
    rss = [int(row["rss_bytes"] or 0) for row in target.processes() if row["role"] == "runner"]
    used = gpu_used(target)
    return {
        "models_in_memory": float(len(target.models_in_memory(PS_TIMEOUT_S))),
        "runners_rss_bytes": float(sum(rss)),
        "gpu_used_bytes": None if used is None else float(used),
    }


def _helped(before: Measures, after: Measures) -> Verified:
    def freed(name: str) -> float | None:
        old, new = before.get(name), after.get(name)
        return None if old is None or new is None else (old - new) / _MIB

    rss, gpu = freed("runners_rss_bytes"), freed("gpu_used_bytes")
    told = [f"{rss:,.0f} MiB of main memory" if rss is not None else "", f"{gpu:,.0f} MiB of the GPU" if gpu else ""]
    return Verified(True, f"Came back: {' and '.join(part for part in told if part)}.")
