"""A machine whose memory is short while a server has two runners: the processes are real, three files of /proc are not.

Which server, and how the machine behaves, is in the environment. Nobody wants a test that really exhausts memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import psutil

from remediate.killed import die_after
from warmstall.host import LocalHost, Output
from warmstall.remediate.book import Book

_MEMINFO = """\
MemTotal:       16000000 kB
MemFree:          {available} kB
MemAvailable:     {available} kB
AnonPages:       5000000 kB
Mapped:           400000 kB
SwapTotal:       8000000 kB
SwapFree:        7000000 kB
"""
_VMSTAT = "nr_free_pages 225000\nnr_anon_pages 1250000\nnr_mapped 100000\npswpin 10\npswpout {swapouts}\noom_kill 0\n"
_PSI = "some avg10={stalled} avg60=0 avg300=0 total=100\nfull avg10={stalled} avg60=0 avg300=0 total=100\n"
CALM_KB, SHORT_KB = 8_000_000, 500_000
_read = LocalHost.read


def files(pid: int, behaviour: str) -> dict[str, str]:
    """What the files say now. Behaviours: stalls, swaps (both end with the second runner), never (stays short, and
    nothing comes back), other (stays short, though what the runner had comes back), calm."""
    runners = len(psutil.Process(pid).children(recursive=True))
    crowded = runners > 1
    short = {"calm": False, "never": True, "other": True}.get(behaviour, crowded)
    available = SHORT_KB if (crowded or behaviour == "never") and behaviour != "calm" else CALM_KB
    swapping = behaviour == "swaps" and short
    return {
        "/proc/meminfo": _MEMINFO.format(available=available),
        "/proc/vmstat": _VMSTAT.format(swapouts=int(time.monotonic() * 1e6) if swapping else 10**13),
        "/proc/pressure/memory": _PSI.format(stalled="40.00" if short and not swapping else "0.00"),
    }


def read(host: LocalHost, path: str, timeout_s: float, most_bytes: int = 2**26) -> Output:
    """As `LocalHost.read`, but for those three files."""
    if path in ("/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory"):
        said = files(int(os.environ["SHORT_MEMORY_PID"]), os.environ["SHORT_MEMORY"])
        return Output("captured", said[path].encode(), exit_code=0)
    return _read(host, path, timeout_s, most_bytes)


def run_and_kill(lines: int, name: str, parameters: Mapping[str, Any]) -> bool:
    """Whether an acting run in a child was killed after so many journal lines; False when it ended before.

    A fork, because so it is on the same machine as the test, and twenty of them import everything but once.
    """
    child = os.fork()
    if child == 0:
        try:
            die_after(lines)
            with Book(name, {**parameters, "dry_run": False}) as book:
                book.outcome()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)
