"""Before a long run: is there headroom for so many requests to a model, and is anything known against it?

It only reads: the target is opened for reading, and nothing is loaded. "no go" is what would be expected to spoil the
run; "mind" is worth knowing and stops nobody; "cannot tell" names what would show it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import CannotTell, InputError, WarmstallError
from .guarding.memory_look import size
from .known_settings import known_bad, without_effect
from .parse.plain_text import printable
from .parse.process_limits import parse_process_limits
from .remediate.actions.context_fit import Fit, look
from .remediate.actions.memory_now import memory_now
from .remediate.services.service import settings_now
from .remediate.target import Target

State = Literal["go", "mind", "no go", "cannot tell"]

_TIMEOUT_S = 5.0
# As the hypothesis nofile_limit reckons: what a serving Ollama has open at rest, and two connections a request.
_FILES_AT_REST, _FILES_PER_REQUEST = 256, 2
_MOST_QUEUED = 512  # what OLLAMA_MAX_QUEUE is, where nobody set it
_NEARLY = 0.9
# What a request leaves behind at the most talkative level of the log, with its row and its samples.
_DISK_BYTES_PER_REQUEST = 64 * 1024
_DISK_TO_SPARE_BYTES = 2**30


@dataclass(frozen=True)
class Item:
    """One thing that was looked at, and the runbook that puts it right, where one does."""

    name: str
    state: State
    sentence: str
    runbook: str = ""


@dataclass(frozen=True)
class Preflight:
    """All that was looked at before a run of so many requests to a model."""

    model: str
    requests: int
    items: tuple[Item, ...]

    @property
    def answer(self) -> State:
        """ "no go" if anything says so, else "cannot tell" if anything is not known, else "go"."""
        states = {item.state for item in self.items}
        return "no go" if "no go" in states else "cannot tell" if "cannot tell" in states else "go"

    @property
    def exit_code(self) -> int:
        """0 go, 1 no go, 3 cannot tell."""
        return {"no go": 1, "cannot tell": 3}.get(self.answer, 0)

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "requests": self.requests, "answer": self.answer,
                "items": [asdict(item) for item in self.items]}  # fmt: skip

    def __str__(self) -> str:
        """The answer, then one line an item, the gravest first."""
        head = f"{self.answer}: {self.requests:,} requests to {printable(self.model)}"
        order: tuple[State, ...] = ("no go", "cannot tell", "mind", "go")
        rows = sorted(self.items, key=lambda item: order.index(item.state))
        lines = [f"  {row.state:<12}{row.name}: {printable(row.sentence)}" + (
            f" Runbook: {row.runbook}." if row.runbook else ""
        ) for row in rows]  # fmt: skip
        return "\n".join([head, *lines])


def preflight(
    target: Target, requests: int, model: str, prompt_tokens: int = 0, answer_tokens: int = 0,
    looks_apart_s: float = 5.0, folder: Path = Path(),
) -> Preflight:  # fmt: skip
    """Whether a run of so many requests to a model may begin; `folder` is where its records will lie.

    `prompt_tokens` and `answer_tokens` are those of the longest request; with neither, whether the context fits them
    is not judged. Raises InputError for numbers that no run has.

    >>> from warmstall.remediate.target import open_target
    >>> looked = preflight(open_target("recorded:memory-pressure"), 100, "mistral-nemo:12b")
    >>> looked.answer, [item.name for item in looked.items if item.state == "no go"]
    ('no go', ['memory now'])
    """
    if requests < 1 or not model.strip():
        raise InputError(f"{requests} requests to {model!r}: expected at least one, and the name of a model.")
    if min(prompt_tokens, answer_tokens) < 0 or looks_apart_s <= 0:
        raise InputError("Tokens are 0 or more, and looks lie some time apart.")
    version = target.version()
    if not version:
        item = Item("server", "no go", f"Nothing answers /api/version on port {target.port}.")
        return Preflight(model, requests, (item, _disk(folder, requests)))
    items = [Item("server", "go", f"Ollama {printable(version)} answers on port {target.port}.")]
    items += _told("memory now", lambda: [_memory(target, looks_apart_s)])
    asked = {"model": model, "prompt_tokens": prompt_tokens, "answer_tokens": answer_tokens, "memory_bytes": 0,
             "kv_cache_type": ""}  # fmt: skip
    fits: list[Fit] = []

    def fitted() -> list[Item]:
        fits.append(look(target, asked))
        return [_room(fits[0]), _context(fits[0], bool(prompt_tokens or answer_tokens))]

    items += _told("model", lambda: _there(target, model)) or _told("room for the model", fitted)
    takes = fits[0].takes(fits[0].in_force or 0) if fits else 0
    items += _told("limits", lambda: list(_limits(target, requests, takes)))
    items += _told("settings", lambda: list(_settings(target, version, model)))
    return Preflight(model, requests, (*items, _disk(folder, requests)))


def _told(name: str, look_at: Callable[[], list[Item]]) -> list[Item]:
    try:
        return look_at()
    except WarmstallError as error:
        return [Item(name, "cannot tell", str(error))]


def _memory(target: Target, apart_s: float) -> Item:
    now = memory_now(target, apart_s)
    if now.is_short:
        return Item("memory now", "no go", now.finding.sentence, "relieve-memory-pressure")
    if now.finding.state == "cannot tell":
        collect = "; ".join(now.finding.collect)
        return Item("memory now", "cannot tell", f"{now.finding.sentence} Collect: {collect}.")
    return Item("memory now", "go", now.finding.sentence)


def _there(target: Target, model: str) -> list[Item]:
    """What speaks against the model itself: that the server does not have it."""
    answer = target.ask("/api/show", body={"model": model})
    if answer["status"] == "404":
        return [Item("model", "no go", f"The server has no model {model}: ollama pull {model}.")]
    if answer["status"] != "200":
        raise CannotTell(f"/api/show does not tell of {model} ({answer['error'] or answer['status']}).")
    return []


def _room(fit: Fit) -> Item:
    name, model = "room for the model", printable(fit.model)
    if fit.resident:
        if 0 < fit.resident.vram_bytes < fit.resident.size_bytes:
            part = 1 - fit.resident.vram_bytes / fit.resident.size_bytes
            return Item(name, "mind", f"{model} is in memory, but {part:.0%} of it is not on the GPU: every token "
                        "waits for the processor.", "fit-context")  # fmt: skip
        return Item(name, "go", f"{model} is in memory already, with {size(fit.resident.size_bytes)}.")
    if fit.room is None or not fit.in_force:
        return Item(
            name, "cannot tell", fit.no_room or f"The context that {model} will get is not known: load it once."
        )
    takes = fit.takes(fit.in_force)
    bound = fit.shape.is_upper_bound(fit.in_force)
    told = (f"{model} takes {'at most ' if bound else ''}{size(takes)} with a context of {fit.in_force:,}, and "
            f"{size(fit.usable_bytes)} may be used ({fit.room.where}, a tenth left free).")  # fmt: skip
    if takes <= fit.usable_bytes:
        return Item(name, "go", told)
    if bound:
        return Item(name, "cannot tell", f"{told} It may take less: {bound}. Load it once and ask again.")
    return Item(name, "no go", told, "fit-context")


def _context(fit: Fit, asked: bool) -> Item:
    name, model = "context", printable(fit.model)
    if not fit.in_force:
        return Item(name, "cannot tell", f"Which context {model} has is not told: load it once and ask again.")
    if not asked:
        return Item(name, "mind", f"{model} has a context of {fit.in_force:,} tokens. Whether the run's requests fit "
                    "is not judged without --prompt-tokens.")  # fmt: skip
    if fit.needed > fit.in_force:
        return Item(name, "no go", f"A request needs {fit.needed:,} tokens, and {model} has a context of "
                    f"{fit.in_force:,}: its prompt would be cut.", "fit-context")  # fmt: skip
    return Item(name, "go", f"A request needs {fit.needed:,} tokens of {fit.in_force:,}.")


def _limits(target: Target, requests: int, takes: int) -> Iterator[Item]:
    if target.host.system != "Linux":
        return
    pid = target.server().pid
    path = f"/proc/{pid}/limits"
    text = target.host.read(path, _TIMEOUT_S).text
    rows = parse_process_limits(f"==> {path} <==\n{text}").tables.get("limits", [])
    hard: Mapping[str, float] = {row["resource"]: row["hard"] for row in rows}
    if "NOFILE" not in hard:
        raise CannotTell(f"{path} cannot be read: run this as root or as the server's own user.")
    yield _open_files(target, pid, hard["NOFILE"], requests)
    pinned, amd = hard.get("MEMLOCK", math.inf), bool(target.host.files("/dev", "kfd", _TIMEOUT_S))
    amount = "any amount" if pinned == math.inf else size(pinned)
    if amd and pinned < takes:
        yield Item("memory lock", "mind", f"The server may pin {amount}, and the model takes {size(takes)}: on an AMD "
                   "card this has made requests hang.", "raise-service-limits")  # fmt: skip
    else:
        why = "" if amd or pinned == math.inf else ", and no AMD card is here that would need more"
        yield Item("memory lock", "go", f"The server may pin {amount}{why}.")


def _open_files(target: Target, pid: int, most: float, requests: int) -> Item:
    """Go raises the soft limit to the hard one, so that counts."""
    name, is_open = "open files", len(target.host.files(f"/proc/{pid}/fd", "*", _TIMEOUT_S))
    told = f"The server has {is_open:,} of {'any number of' if most == math.inf else f'{most:,.0f}'} files open"
    if is_open >= _NEARLY * most:
        return Item(name, "no go", f"{told}.", "raise-service-limits")
    at_once = min(requests, _MOST_QUEUED)
    needed = _FILES_AT_REST + _FILES_PER_REQUEST * at_once
    if most < needed:
        return Item(name, "mind", f"{told}; {at_once:,} requests at once would need {needed:,}.",
                    "raise-service-limits")  # fmt: skip
    return Item(name, "go", f"{told}.")


def _settings(target: Target, version: str, model: str) -> Iterator[Item]:
    environment = settings_now(target)
    found = False
    for row in known_bad(environment, version, target.host.system, model):
        found = True
        value = environment.get(row.name) or "not set"
        yield Item("settings", row.state, f"{row.name} is {value}: {row.why} ({row.source}).", row.runbook)
    for sentence in without_effect(environment):
        found = True
        yield Item("settings", "mind", sentence)
    if not found:
        yield Item("settings", "go", f"Nothing is known against the settings of {version} on {target.host.system}.")


def _disk(folder: Path, requests: int) -> Item:
    """Of this machine, where the records of the run will lie."""
    there = next((one for one in (folder.absolute(), *folder.absolute().parents) if one.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Item("disk", "cannot tell", f"{there}: {error.strerror}.")
    needed = requests * _DISK_BYTES_PER_REQUEST
    told = f"{size(free)} are free at {there}; records and logs of {requests:,} requests may take {size(needed)}."
    if free < needed:
        return Item("disk", "no go", told)
    return Item("disk", "mind" if free - needed < _DISK_TO_SPARE_BYTES else "go", told)
