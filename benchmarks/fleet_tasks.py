"""Very many hosts with next to nothing to read: what a run costs beside the work, and what its driver holds."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import psutil

from warmstall.fleet import run
from warmstall.fleet.host_task import ANALYZED, Task
from warmstall.fleet.inputs import files_of
from warmstall.fleet.landing import land, signature

# A row is as long as that of a real host.
_ROW = {"error": "", "servers": 1, "requests": 6_241_060, "failed": 48_143, "loads": 21_558, "versions": ["0.13.5"],
        "verdicts": {"cold_start": 21_558, "unknown": 40_000, "warm_ok": 6_179_502}, "lines": 9_870_000,
        "first_at": "2026-03-14T00:00:00+00:00", "last_at": "2026-03-14T23:59:59+00:00",
        "unrecognized": 0}  # fmt: skip
_LOOKS = 10


def tiny_host(task: Task) -> dict[str, Any]:
    """All that a host's task does but the analysis: its files are listed, and its note lands."""
    found = files_of(task.host).files
    row = _ROW | {"host": task.host.name, "files": len(found), "input_bytes": 10**9}
    summary = {"path": task.host.name, "error": "", "hosts": []}
    return land(Path(task.out), task.host.name, {}, row, summary, signature(found, task.code)) | {"outcome": ANALYZED}


def tiny_hosts(count: int, folder: Path, engine: str, workers: int | None = None) -> dict[str, Any]:
    """A run over so many hosts of one line each: milliseconds a task, and the driver's memory at each tenth of them."""
    hosts, out = folder / "tiny", folder / "tiny-out"
    for left_over in (hosts, out):
        shutil.rmtree(left_over, ignore_errors=True)
    hosts.mkdir(parents=True)
    for number in range(count):
        (hosts / f"gpu-{number:06}.log").write_text("a line\n")
    ended, driver_bytes, process = 0, [], psutil.Process()

    def say(_: object) -> None:
        nonlocal ended
        ended += 1
        if ended % (count // _LOOKS) == 0:
            driver_bytes.append(process.memory_info().rss)

    real, run.analyze_host = run.analyze_host, tiny_host  # type: ignore[assignment]
    try:
        began, used_s = time.perf_counter(), _used_s(process)
        done = run.analyze_fleet([hosts], out, engine, workers, say)
        wall_s, used_s = time.perf_counter() - began, _used_s(process) - used_s
    finally:
        run.analyze_host = real
    return {"hosts": done.hosts, "failed": done.failed, "wall_s": round(wall_s, 2),
            "task_ms": round(1000 * wall_s / count, 3), "task_cpu_ms": round(1000 * used_s / count, 3),
            "driver_bytes": driver_bytes}  # fmt: skip


def _used_s(process: psutil.Process) -> float:
    """Processor time of this process and of those that it has started and that run: a cluster's, too."""
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])
