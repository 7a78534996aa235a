"""The context of a model: in force, needed, allowed by memory, trained for; and who says which it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import CannotTell
from ...judging.matching import default_parallel
from ...parse.plain_text import printable
from ..services.service import settings_now
from ..target import Resident, Target
from .kv_cache import CacheShape, cache_bytes, cache_shape, context_within
from .model_memory import Room, room_for
from .server_log import events_since_start

# Left free of the room: buffers for computing grow with the context too, other programs go on, and Ollama itself keeps
# a reserve on a GPU. What decides is the load that follows: it is taken back when the model spills.
_HEADROOM = 0.1
READS_CONTEXT_LENGTH = (0, 5, 13)
CACHE_TYPES = ("f16", "q8_0", "q4_0")


@dataclass(frozen=True)
class Fit:
    """What is known. `said_by` is who decides on the context; `rest_bytes` are weights and buffers, without cache."""

    model: str
    version: str
    shape: CacheShape
    resident: Resident | None
    in_force: int | None
    said_by: Literal["model", "client", "service", "default"]
    needed: int
    log_is_read: bool
    parallel: int
    cache_type: str
    rest_bytes: int
    room: Room | None
    no_room: str = ""  # why it is not known

    @property
    def usable_bytes(self) -> int:
        return int(self.room.free_bytes * (1 - _HEADROOM)) if self.room else 0

    @property
    def allowed(self) -> int:
        """The largest context that memory allows, at most what the model was trained for."""
        fits = context_within(self.shape, self.usable_bytes - self.rest_bytes, self.parallel, self.cache_type)
        return min(fits, self.shape.trained_context or fits)

    @property
    def fits_now(self) -> bool:
        """Whether the context in force does: where the model is on a GPU, that is seen; else it is reckoned."""
        if self.resident and self.resident.vram_bytes:
            return self.resident.vram_bytes >= self.resident.size_bytes
        return self.in_force is not None and self.in_force <= self.allowed

    def takes(self, num_ctx: int, cache_type: str = "", parallel: int = 0) -> int:
        """Bytes of weights, buffers and cache."""
        cache = cache_bytes(self.shape, num_ctx, parallel or self.parallel, cache_type or self.cache_type)
        return self.rest_bytes + cache


def look(target: Target, settings: Mapping[str, Any]) -> Fit:
    """All that can be seen of a model's context. Raises CannotTell naming what is missing."""
    version = target.version()
    if not version:
        raise CannotTell("The server does not answer /api/version: nothing is known of its models.")
    cache_type = str(settings["kv_cache_type"])
    if cache_type not in ("", *CACHE_TYPES):
        raise CannotTell(f"kv_cache_type {cache_type[:40]!r}: expected f16, q8_0 or q4_0.")
    residents = target.models_in_memory()
    model = str(settings["model"]).strip()
    if not model and len(residents) != 1:
        raise CannotTell(f"{len(residents)} models are in memory: give the model that is meant.")
    model = model or residents[0].name
    resident = _named(model, residents)
    shown = _shown(target, model)
    info = shown["model_info"]
    shape = cache_shape(info)
    environment = settings_now(target)
    parallel, told_context = _of_runner(target, model)
    # Old versions take several slots only where they fit, so one is what must fit of a model not in memory.
    parallel = parallel or _number(environment.get("OLLAMA_NUM_PARALLEL", ""))
    parallel = parallel or (default_parallel(version) if resident else 1)
    has = (resident.context_length if resident else None) or told_context
    in_force, said_by = _in_force(version, shape, str(shown.get("parameters") or ""), environment, has)
    present_type = environment.get("OLLAMA_KV_CACHE_TYPE", "")
    present_type = present_type if present_type in CACHE_TYPES else "f16"
    rest = file_bytes = _file_bytes(target, model)
    if resident and in_force:
        # Weights and buffers: what the model takes less its cache; at least its file, where that is an upper bound.
        rest = max(resident.size_bytes - cache_bytes(shape, in_force, parallel, present_type), file_bytes)
    if not rest:
        raise CannotTell(f"Neither /api/ps nor /api/tags tells the size of {printable(model)[:80]}.")
    cut = _longest_cut(target)
    prompt_tokens = int(settings["prompt_tokens"]) or cut or 0
    room, no_room = None, ""
    try:
        room = room_for(target, resident, int(settings["memory_bytes"]))
    except CannotTell as error:  # matters only where the context is to change
        no_room = str(error)
    return Fit(
        model, version, shape, resident, in_force, said_by,
        prompt_tokens + int(settings["answer_tokens"]) if prompt_tokens else 0, cut is not None, parallel,
        cache_type or present_type, rest, room, no_room,
    )  # fmt: skip


def context_of(target: Target, model: str) -> int | None:
    """The context that the model is in memory with; None when it is not there, or nothing tells."""
    try:
        resident = _named(model, target.models_in_memory())
    except CannotTell:
        return None
    return (resident.context_length or _of_runner(target, model)[1]) if resident else None


def slots_of(target: Target, model: str) -> int | None:
    """How many slots its runner has, by its command line, or by the newest load that the log tells of."""
    if slots := _of_runner(target, model)[0]:
        return slots
    try:
        loads = events_since_start(target, "load_params")
    except CannotTell:
        return None
    told = [event.fields for event in loads if event.fields.get("operation") == "commit"]
    # Two models may have different numbers, and such a line names none.
    found = {_number(fields.get("parallel") or "") for fields in told}
    return (found.pop() or None) if len(found) == 1 else None


def gpu_share(target: Target, model: str) -> float | None:
    """What share of the model is on a GPU, by /api/ps; None when it is not in memory."""
    try:
        resident = _named(model, target.models_in_memory())
    except CannotTell:
        return None
    return resident.vram_bytes / resident.size_bytes if resident and resident.size_bytes else None


def numbers_of(version: str) -> tuple[int, ...]:
    """A version as numbers.

    >>> numbers_of("0.13.5-rc1")
    (0, 13, 5)
    """
    return tuple(int(one) for one in re.findall(r"\d{1,9}", version)[:3])


def _named(model: str, residents: list[Resident]) -> Resident | None:
    return next((one for one in residents if one.name in (model, f"{model}:latest")), None)


def _shown(target: Target, model: str) -> dict[str, Any]:
    """`/api/show`; asked again for everything where a list of numbers per layer was left out."""
    shown: dict[str, Any] = {}
    for body in ({"model": model}, {"model": model, "verbose": True}):
        answer = target.ask("/api/show", timeout_s=10.0, body=body)
        told = answer["body"]
        if answer["status"] != "200" or not isinstance(told, dict) or not isinstance(told.get("model_info"), dict):
            why = answer["error"] or f"status {answer['status']}"
            raise CannotTell(f"/api/show does not tell the metadata of {printable(model)[:80]} ({why}).")
        shown, info = told, told["model_info"]
        if info.get(f"{info.get('general.architecture')}.attention.head_count_kv", 0) not in (None, []):
            break
    return shown


def _of_runner(target: Target, model: str) -> tuple[int, int | None]:
    """Slots and context of its runner's command line, where that tells (to 0.11.4, and from 0.30.0 on)."""
    try:
        path = target.model_path(model)
        commands = [one.process.command for one in target.runners() if path and one.model_path == path]
    except CannotTell:
        return 0, None
    for command in commands:
        slots = re.search(r" (?:--parallel|-np)[ =](\d{1,4})\b", command)
        cells = re.search(r" (?:--ctx-size|-c)[ =](\d{1,9})\b", command)
        if cells:
            parallel = max(int(slots[1]), 1) if slots else 1
            return parallel, int(cells[1]) // parallel
    return 0, None


def _in_force(
    version: str, shape: CacheShape, parameters: str, environment: Mapping[str, str], has: int | None
) -> tuple[int | None, Literal["model", "client", "service", "default"]]:  # fmt: skip
    """The context that the model has, or would get, and who says so: whoever is nearest to the request wins."""
    of_model = re.search(r"(?m)^num_ctx\s+(\d{1,9})\s*$", parameters)
    if of_model:
        return has or int(of_model[1]), "model"
    of_service = 0
    if numbers_of(version) >= READS_CONTEXT_LENGTH:
        of_service = _number(environment.get("OLLAMA_CONTEXT_LENGTH", ""))
    configured = of_service or _default_context(version, shape.architecture)
    if has and configured and has not in (configured, shape.trained_context):
        return has, "client"
    return has or configured, "service" if of_service else "default"


def _default_context(version: str, architecture: str) -> int | None:
    """What a model gets where nobody says; None where that depends on the GPU's memory (from 0.15.5)."""
    numbers = numbers_of(version)
    if numbers >= (0, 15, 5):
        return None
    if architecture == "gptoss" and numbers >= (0, 11, 0):
        return 8192
    return 4096 if numbers >= (0, 6, 7) else 2048


def _longest_cut(target: Target) -> int | None:
    """The longest prompt that was cut since the server started, 0 for none; None where its log cannot be read."""
    try:
        cut = events_since_start(target, "prompt_truncated")
    except CannotTell:
        return None
    return max((_number(event.fields.get("prompt", "")) for event in cut), default=0)


def _file_bytes(target: Target, model: str) -> int:
    body = target.ask("/api/tags")["body"]
    rows = (body.get("models") or []) if isinstance(body, dict) else []
    sizes = [row.get("size") for row in rows if isinstance(row, dict) and row.get("name") in (model, f"{model}:latest")]
    return sizes[0] if sizes and isinstance(sizes[0], int) else 0


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,12}", text.strip()) else 0
