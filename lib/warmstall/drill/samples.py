"""Looks at one drill while it runs: its processes and `/api/ps` for real, and counters that cannot be real, simulated.

`ps.jsonl` holds what was measured, of this drill's processes alone: several drills may run on one machine.
`simulated.jsonl` holds what the machine does not have, and says so: a GPU, and a memory that runs out. Both move with
the real drill: a GPU is busy while its runner is, and holds what `/api/ps` says; memory is short by what a runner grew.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from ..parse.process_roles import role_of
from .gpu import SimulatedGpu
from .timetable import Timetable
from .traffic import moment

_EVERY_S = 0.5
_API_EVERY_S = 2.0
# Ollama's own answers to /api/ps can hang; a look that waits longer is a look without an answer.
_API_TIMEOUT_S = 10.0
_STATES = {"running": "R", "sleeping": "S", "disk-sleep": "D", "stopped": "T", "tracing-stop": "t", "zombie": "Z",
           "idle": "I"}  # fmt: skip
_NOTE = "simulated: the machine of this drill has no such GPU, and its memory is not short"
# What a driver keeps for itself.
_DRIVER_BYTES = 512 * 2**20
_BUSY_PERCENT = 5.0
_VENDORS = {"cuda": "NVIDIA", "metal": "Apple", "rocm": "AMD"}


def gpu_row(gpu: SimulatedGpu, used_bytes: int, busy: bool) -> dict[str, Any]:
    """One look at a card that is not there, in the columns of the gpus table."""
    total_bytes = int(gpu.total_gib * 2**30)
    return {
        "gpu": "0", "name": gpu.name, "vendor": _VENDORS[gpu.library], "runtime": gpu.library,
        "total_bytes": total_bytes, "used_bytes": min(used_bytes, total_bytes),
        "utilization_percent": 87.0 if busy else 0.0,
    }  # fmt: skip


@dataclass
class SimulatedMemory:
    """A small machine that runs out of memory by as much as a runner of the drill really grows.

    What grows beyond the memory that was free goes to swap, page by page.
    """

    total_bytes: int = 2**30
    available_bytes: int = 192 * 2**20
    page_bytes: int = 4096
    _first: dict[int, int] = field(default_factory=dict)
    _swapouts: int = 0

    def row(self, runners: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """One look, in the columns of the memory table; `runners` are their rows in this look."""
        grown = 0
        for runner in runners:
            # A runner is as large as it will be soon after its load; the drill's growth comes later.
            first = self._first.setdefault(runner["pid"], runner["rss"])
            grown += max(0, runner["rss"] - first)
        floor = self.total_bytes // 100
        beyond = max(0, grown - (self.available_bytes - floor))
        self._swapouts = max(self._swapouts, beyond // self.page_bytes)
        return {
            "origin": "simulated", "page_bytes": self.page_bytes, "total_bytes": self.total_bytes,
            "available_bytes": max(floor, self.available_bytes - grown), "swap_total_bytes": 2 * self.total_bytes,
            "swap_used_bytes": self._swapouts * self.page_bytes, "swapouts": self._swapouts,
        }  # fmt: skip


class Samples:
    """Takes them until it is told to stop."""

    def __init__(
        self, folder: Path, url: str, pids: Callable[[], list[int]], timetable: Timetable,
        gpu: SimulatedGpu | None = None, memory: SimulatedMemory | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._url, self._pids, self._timetable = folder, url, pids, timetable
        self._gpu, self._memory = gpu, memory
        self._used_s: dict[tuple[int, float], tuple[float, float]] = {}
        self._rows: list[dict[str, Any]] = []
        self._held: dict[str, int] = {}
        self._stuck_bytes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Write both files; the last look is taken when `stop` is set."""
        with (self._folder / "ps.jsonl").open("w", encoding="utf-8") as real:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._every(_EVERY_S, stop, lambda: self._look(real)))
                tasks.create_task(self._every(_API_EVERY_S, stop, lambda: self._ask(real)))

    async def _every(self, seconds: float, stop: asyncio.Event, look: Callable[[], Any]) -> None:
        while True:
            began = time.monotonic()
            await look()
            if stop.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, seconds - (time.monotonic() - began)))

    async def _look(self, real: Any) -> None:
        at = time.time()
        self._rows = await asyncio.to_thread(self._processes)
        load = [f"{value:.2f}" for value in os.getloadavg()]
        _append(real, {"ts": moment(at), "loadavg": load, "procs": self._rows})
        if self._memory:
            runners = [row for row in self._rows if row["role"] == "runner"]
            self._simulated(at, {"memory": [self._memory.row(runners)]})

    def _processes(self) -> list[dict[str, Any]]:
        rows = []
        for pid in self._pids():
            with suppress(psutil.Error):  # it ended between two looks
                rows.append(self._row(psutil.Process(pid)))
        return rows

    def _row(self, process: psutil.Process) -> dict[str, Any]:
        with process.oneshot():
            command = " ".join(process.cmdline()).strip()
            times, memory = process.cpu_times(), process.memory_info()
            row: dict[str, Any] = {
                "pid": process.pid, "comm": process.name(), "state": _STATES.get(process.status(), process.status()),
                "ppid": process.ppid(), "threads": process.num_threads(), "vsz": memory.vms, "rss": memory.rss,
                "role": role_of(command) or "service", "cmd": command,
            }  # fmt: skip
            key, now, used_s = (process.pid, process.create_time()), time.monotonic(), times.user + times.system
        if before := self._used_s.get(key):
            row["cpu_pct"] = round(100 * (used_s - before[1]) / max(now - before[0], 1e-6), 1)
        self._used_s[key] = (now, used_s)
        return row

    async def _ask(self, real: Any) -> None:
        """One look at /api/ps, and with it one at the simulated GPU: they are held against each other by their time."""
        at, sample = time.time(), {}
        try:
            async with httpx.AsyncClient(timeout=_API_TIMEOUT_S, trust_env=False, verify=False) as http:
                answer = await http.get(f"{self._url}/api/ps")
            sample = {"api_ps_status": answer.status_code, "api_ps": answer.json()}
        except (httpx.HTTPError, ValueError) as error:
            sample = {"api_ps_error": f"{type(error).__name__}: {error}"}
        sample["api_ps_latency_ms"] = round(1000 * (time.time() - at), 1)
        _append(real, {"ts": moment(at), "procs": [], **sample})
        models = (sample.get("api_ps") or {}).get("models") if "api_ps" in sample else None
        if self._gpu:
            if models is not None:
                self._hold({model["name"]: int(model.get("size_vram") or 0) for model in models}, at)
            busy = any(row["role"] == "runner" and row.get("cpu_pct", 0) > _BUSY_PERCENT for row in self._rows)
            used_bytes = _DRIVER_BYTES + sum(self._held.values()) + self._stuck_bytes
            self._simulated(at, {"gpus": [gpu_row(self._gpu, used_bytes, busy)]})

    def _hold(self, models: dict[str, int], at: float) -> None:
        """What the GPU's memory holds now: the models there, and what others left behind."""
        for name, size_bytes in self._held.items():
            if name not in models and self._timetable.strength("vram_not_freed", name, at):
                self._stuck_bytes += size_bytes
        self._held = models

    def _simulated(self, at: float, rows: dict[str, Any]) -> None:
        path = self._folder / "simulated.jsonl"
        if not path.exists():
            with path.open("w", encoding="utf-8") as first:
                _append(first, {"at": moment(at), "gap": {"seconds": 0.0, "reason": _NOTE}})
        with path.open("a", encoding="utf-8") as handle:
            _append(handle, {"at": moment(at), "rows": rows})


def _append(handle: Any, row: dict[str, Any]) -> None:
    handle.write(json.dumps(row) + "\n")
    handle.flush()
