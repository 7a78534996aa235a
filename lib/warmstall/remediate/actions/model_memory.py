"""What memory one model may take: of a GPU, of macOS's unified memory, or of the host's.

What the model itself holds counts as free, since it is loaded anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...collect.commands import COMMANDS
from ...errors import CannotTell
from ...parse.amd_smi import is_amd_smi, parse_amd_smi
from ...parse.linux_memory import parse_linux_memory
from ...parse.macos_memory import parse_macos_memory
from ...parse.nvidia_smi import parse_nvidia_smi
from ...parse.parsed import Parsed
from ...parse.vm_stat import parse_vm_stat
from ..target import Resident, Target

_TIMEOUT_S = 10.0
# What Metal gives to one program unless told otherwise: two thirds of a small Mac's memory, more of a large one's.
_METAL_SHARE = 2 / 3


@dataclass(frozen=True)
class Room:
    """Memory that one model may take, before anything is held back. `said` names where the number comes from."""

    where: str
    free_bytes: int
    said: str


def room_for(target: Target, resident: Resident | None, given_bytes: int = 0) -> Room:
    """The room for a model that is in memory, or for the next one to be loaded; `given_bytes` is believed.

    Raises CannotTell where the model is on a GPU whose memory nothing shows.
    """
    if given_bytes > 0:
        return Room("memory", given_bytes, "as given")
    if target.host.system == "Darwin":
        return _of_macos(target, resident)
    gpus = gpus_of(target)
    if gpus and (resident is None or resident.vram_bytes):
        return _of_gpus(gpus, resident)
    if resident and resident.vram_bytes:
        raise CannotTell(f"{resident.name} is on a GPU, and neither nvidia-smi nor rocm-smi shows its memory: "
                         "give memory_bytes.")  # fmt: skip
    return _of_host(target, resident)


def gpus_of(target: Target) -> list[dict[str, Any]]:
    """Rows of the table `gpus` whose memory is shown, by the first tool that shows any."""
    for name in ("nvidia-smi GPUs", "rocm-smi", "amd-smi"):
        output = target.host.run(COMMANDS[name], _TIMEOUT_S)
        if output.outcome != "captured":
            continue
        rows = _parsed(output.text).tables.get("gpus", [])
        if shown := [row for row in rows if row.get("total_bytes") and row.get("used_bytes") is not None]:
            return shown
    return []


def _parsed(text: str) -> Parsed:
    return parse_amd_smi(text) if is_amd_smi(text.splitlines()) else parse_nvidia_smi(text)


def _of_gpus(gpus: list[dict[str, Any]], resident: Resident | None) -> Room:
    free = [int(row["total_bytes"]) - int(row["used_bytes"]) for row in gpus]
    held = resident.vram_bytes if resident else 0
    # One card, unless the model is on several already: Ollama splits only what does not fit on one.
    if len(gpus) > 1 and held > max(int(row["total_bytes"]) for row in gpus):
        return Room("GPUs", sum(free) + held, f"free on {len(gpus)} GPUs, and what the model holds there")
    # Which of several cards it is on is not told; what it holds is free on one of them.
    return Room("GPU", min(max(free) + held, max(int(row["total_bytes"]) for row in gpus)),
                "free on the GPU, and what the model holds there")  # fmt: skip


def _of_macos(target: Target, resident: Resident | None) -> Room:
    looks = parse_vm_stat(target.host.run(COMMANDS["vm_stat"], _TIMEOUT_S).text).tables.get("memory", [])
    sizes = parse_macos_memory(target.host.run(COMMANDS["macOS memory settings"], _TIMEOUT_S).text)
    totals = [row["total_bytes"] for row in sizes.tables.get("memory", []) if row.get("total_bytes")]
    available = looks[0].get("available_bytes") if looks else None
    if available is None or not totals:
        raise CannotTell("vm_stat and sysctl hw.memsize do not tell what memory there is: give memory_bytes.")
    held = resident.size_bytes if resident else 0
    free = min(int(available) + held, int(totals[0] * _METAL_SHARE))
    return Room("unified memory", free, "available by vm_stat, and what the model holds, at most what Metal may take")


def _of_host(target: Target, resident: Resident | None) -> Room:
    looks = parse_linux_memory(target.host.read("/proc/meminfo", _TIMEOUT_S).text).tables.get("memory", [])
    available = looks[0].get("available_bytes") if looks else None
    if available is None:
        raise CannotTell("/proc/meminfo does not tell what memory is available: give memory_bytes.")
    held = _anonymous_bytes(target, resident) if resident else 0
    return Room("host's memory", int(available) + held, "MemAvailable, and what the model's runner holds")


def _anonymous_bytes(target: Target, resident: Resident) -> int:
    """What a runner holds that the kernel does not count as available already: not the pages of mapped weights."""
    path = target.model_path(resident.name)
    try:
        runners = [one for one in target.runners() if path and one.model_path == path]
    except CannotTell:
        return 0
    held = 0
    for runner in runners:
        for line in target.host.read(f"/proc/{runner.process.pid}/status", _TIMEOUT_S).text.splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == "RssAnon:" and words[1].isdigit():
                held += 1024 * int(words[1])
    return held
