"""Whether a runner moves: looks at its process and its slots, and what they say together.

All that is compared only grows while a runner works: processor time, tokens of a slot, the number of its task. So two
looks tell of everything between them, and looks may lie as far apart as they like.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from ...errors import CannotTell
from ...host import Command
from ...parse.plain_text import printable
from ..processes import Process, process_of
from ..target import Runner, Target

_TIMEOUT_S = 5.0
# From 0.32.4 /api/ps waits up to 10 s while a runner is pinged.
PS_TIMEOUT_S = 12.0
_SLOTS_TIMEOUT_S = 2.0
# Close enough to meet a runner that computes in bursts, or one that gets little of a busy machine.
_LOOKS, _APART_S = 5, 1.0
# Linux tells processor time in hundredths of a second, whatever its own clock.
_TICKS_PER_S = 100.0
# What our questions, the server's pings and a language's own threads cost a runner that waits: a few hundredths, and
# less than a hundredth of a core. One that computes, or that waits for a GPU, takes many times that.
_ANSWERING_S, _WAITING_SHARE, _WAITING_MOST_S = 0.03, 0.01, 0.2
_LLAMA_SERVER = re.compile(r'"?(?:[^"]*?[/\\])?llama-server(?:\.exe)?(?:"|\s|$)')
THREADS = Command("states of the threads of one process", ("ps", "-L", "-o", "state=", "-p", "{pid}"))
STATE = Command("state of one process", ("ps", "-o", "state=,time=", "-p", "{pid}"))


@dataclass(frozen=True)
class Slot:
    """What a llama-server tells of one slot; None where its version does not tell."""

    is_processing: bool
    task: int
    prompt_tokens: int | None
    decoded_tokens: int


@dataclass(frozen=True)
class Look:
    """One look at one runner. `state` is ps's letter, R where any of its threads has it.

    `cpu_s`, `pages_read` (faults that waited for a disk) and `slots` are None where they are not told.
    """

    at_s: float
    expires_at: datetime | None
    process: Process | None
    state: str
    cpu_s: float | None
    slots: tuple[Slot, ...] | None
    pages_read: int | None = None


@dataclass(frozen=True)
class Seen:
    """What looks at one runner say together.

    "still": nothing moved in all of them. "moves": tokens, or another request. "busy": it used the processor, and
    nothing shows for what. "idle": its slots wait for work. "held": a debugger holds it.
    """

    state: Literal["still", "moves", "busy", "idle", "held"]
    sentence: str
    looks: tuple[Look, ...]

    @property
    def span_s(self) -> float:
        return self.looks[-1].at_s - self.looks[0].at_s

    @property
    def last_tells(self) -> bool:
        """Whether the last look shows more than a process that waits: it is stopped, or its slots tell of tokens."""
        last = self.looks[-1]
        return last.state == "T" or bool(last.slots and all(map(_tells, last.slots)))


def runner_of(target: Target, model: str) -> Runner:
    """The one runner of the server that has this model's file; raises CannotTell when none has, or several have."""
    path, name = target.model_path(model), printable(model)
    if not path:
        raise CannotTell(f"/api/show does not tell the file of {name}, so its runner cannot be told from others.")
    found = [runner for runner in target.runners() if runner.model_path == path]
    if len(found) != 1:
        raise CannotTell(f"{len(found)} runners of this server have the file of {name}; expected one. "
                         "Compare `ollama ps` with `ps -ef`; a restart of the service puts both right.")  # fmt: skip
    return found[0]


def look_at(target: Target, runner: Runner, expires_at: datetime | None) -> Look:
    """One look. A llama-server (0.30 and later) is asked for its slots, unless it is stopped and cannot answer."""
    process = process_of(target.host, runner.process.pid)
    state, cpu_s, pages_read = _state(target, runner.process.pid)
    stopped = state[:1] in ("T", "t")
    tells = bool(_LLAMA_SERVER.match(runner.process.command)) and not stopped
    slots = _slots(target, runner.port) if tells and runner.port else None
    return Look(target.monotonic_s(), expires_at, process, state[:1], cpu_s, slots, pages_read)


def watch(target: Target, model: str, runner: Runner, expires_at: datetime | None, span_s: float) -> Seen:
    """Look until the runner has stood still for `span_s`, or that long in vain.

    Looks of earlier calls on this target count, as long as nothing has moved since.
    """
    looks: list[Look] = target.seen.setdefault(("looks", model, runner.process), [])
    ends = float("inf")
    while True:
        look = look_at(target, runner, expires_at)
        ends = min(ends, look.at_s + span_s)  # a look takes its time: the span counts from the first one
        if looks and (moved := movement(looks[-1], look)):
            looks[:] = [look]
            return Seen("moves", moved, (look,))
        looks.append(look)
        if seen := _told(looks, span_s, look.at_s >= ends and len(looks) > 2):
            return seen
        target.wait(min(_APART_S, span_s / (_LOOKS - 1)))
        expires_at = next((one.expires_at for one in target.models_in_memory(PS_TIMEOUT_S) if one.name == model), None)


def movement(before: Look, now: Look) -> str:
    """What shows that the runner works, or has been let go; empty when nothing does."""
    if now.process != before.process or now.process is None:
        return "its runner is gone, or is another one by now"
    if now.expires_at != before.expires_at:
        return "its expires_at was renewed, or it left"
    if now.slots and before.slots and now.slots != before.slots:
        return "its slots go on"
    if before.state in ("T", "t") and now.state not in ("T", "t"):
        return "its runner was stopped, and goes on"
    return ""


def worked(before: Look, now: Look) -> str:
    """What speaks for work between two looks, or is not told; empty where the runner only waited."""
    if now.cpu_s is None or before.cpu_s is None:
        return "its processor time is not told"
    if now.state == "R":
        return "its runner has something to compute"
    waiting_s = min(_WAITING_SHARE * (now.at_s - before.at_s), _WAITING_MOST_S)
    if (used_s := now.cpu_s - before.cpu_s) > _ANSWERING_S + waiting_s:
        return f"its runner computes ({used_s:.1f} s of a core in {now.at_s - before.at_s:.1f} s)"
    # Where memory is short a runner crawls with hardly any processor time. macOS does not count such faults.
    if now.state == "U" or (now.pages_read or 0) > (before.pages_read or 0):
        return "its runner waits for pages from a disk"
    return ""


def _told(looks: Sequence[Look], span_s: float, time_is_over: bool) -> Seen | None:
    """What the looks say, or None where more of them may say it."""
    last = looks[-1]
    if last.state == "t":
        return Seen("held", "a debugger holds its runner", tuple(looks))
    if last.slots and not any(slot.is_processing for slot in last.slots) and _lasted(looks, span_s):
        return Seen("idle", "the slots of its runner wait for work", tuple(looks))
    quiet, work = [last], ""
    for before, now in reversed(list(pairwise(looks))):
        if work := worked(before, now) or worked(before, last):
            break
        quiet.insert(0, before)
    if _lasted(quiet, span_s):
        how = {"T": "is stopped by a signal", "D": "waits in the kernel"}.get(last.state, "waits")
        return Seen("still", f"its runner {how} and does not compute", tuple(quiet))
    # A llama-server answers for its slots between two batches: a slot that writes has a token more at every answer,
    # however slow it is. While it reads a prompt, only newer versions tell how far it is.
    telling = [look for look in looks if look.slots and all(map(_tells, look.slots))]
    if time_is_over and _lasted(telling, span_s):
        return Seen("still", f"the slots of its runner stand, though {work}", tuple(telling))
    return Seen("busy", work or "it was not looked at long enough", tuple(looks)) if time_is_over else None


def _lasted(looks: Sequence[Look], span_s: float) -> bool:
    return len(looks) > 2 and looks[-1].at_s - looks[0].at_s >= span_s


def _tells(slot: Slot) -> bool:
    return not slot.is_processing or slot.decoded_tokens > 0 or slot.prompt_tokens is not None


def _slots(target: Target, port: int) -> tuple[Slot, ...] | None:
    """The slots of a llama-server; None where they are not told: an older runner, or one that does not answer."""
    body = target.ask("/slots", _SLOTS_TIMEOUT_S, port=port)["body"]
    if not isinstance(body, list) or not all(isinstance(row, dict) and "is_processing" in row for row in body):
        return None
    return tuple(_slot(row) for row in body)


def _slot(row: dict[str, object]) -> Slot:
    following = row.get("next_token")
    following = following[0] if isinstance(following, list) and following else following
    decoded = following.get("n_decoded") if isinstance(following, dict) else None
    prompt = row.get("n_prompt_tokens_processed")
    return Slot(
        bool(row["is_processing"]), _whole(row.get("id_task")) or 0, _whole(prompt), _whole(decoded) or 0
    )  # fmt: skip


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _state(target: Target, pid: int) -> tuple[str, float | None, int | None]:
    """ps's letter for a process, its processor time, and the pages that it had to read from a disk."""
    if target.host.system == "Linux":
        stat = target.host.read(f"/proc/{pid}/stat", _TIMEOUT_S).text
        words = stat[stat.rfind(")") + 1 :].split()
        if len(words) < 13 or not all(word.isdigit() for word in words[9:13]):
            return "", None, None
        # The letter in stat is that of the first thread; others compute.
        threads = target.host.run(THREADS, _TIMEOUT_S, pid=str(pid)).text.split()
        state = "R" if "R" in threads else words[0]
        return state, (int(words[11]) + int(words[12])) / _TICKS_PER_S, int(words[9])
    found = re.match(r"\s*(\S+)\s+(?:(\d+):)??(\d+):(\d+\.\d+)", target.host.run(STATE, _TIMEOUT_S, pid=str(pid)).text)
    if not found:
        return "", None, None
    hours, minutes, seconds = int(found[2] or 0), int(found[3]), float(found[4])
    return found[1], 3600 * hours + 60 * minutes + seconds, None
