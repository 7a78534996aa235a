"""One command as a process of its own: what it took, what it held at most, and whether it stayed within bounds.

Wall time is the caller's clock; processor time is user and system time of the process and of what it waited for. Memory
is resident memory: of the tree of processes together as sampled, or of the largest alone as the kernel counts it,
whichever is more. The kernel's figure is never less than this process itself holds, so this one imports little.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_LOOK_S = 0.02
_LONGEST_S = 3 * 3600


@dataclass(frozen=True)
class Measured:
    """`failed` says in a few words what went wrong; empty when all went well. `first_line_s` is when the first line of
    the output came, and `first_line_cpu_s` what the process had used of a processor by then."""

    wall_s: float
    cpu_s: float
    rss_bytes: int
    output: str
    failed: str = ""
    first_line_s: float | None = None
    first_line_cpu_s: float = 0.0


def measure(
    words: list[str], folder: Path | None = None, rss_limit_bytes: int | None = None, **environment: str
) -> Measured:
    """Run a command to its end; above `rss_limit_bytes` it and its children are killed."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | environment
    with tempfile.TemporaryFile("w+") as complaints:
        began = time.perf_counter()
        child = subprocess.Popen(words, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=complaints,
                                 start_new_session=True)  # fmt: skip
        assert child.stdout
        watch = _Watch(child.pid, rss_limit_bytes)
        watch.start()
        first = child.stdout.readline()
        first_s, first_cpu_s = time.perf_counter() - began, _used_s(child.pid)
        output = first + child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close()
        watch.ended.set()
        watch.join()
        complaints.seek(0)
        told = complaints.read().strip().split("\n")[-1][:300]
    failed = watch.why or (f"exit code {child.returncode}: {told}" if child.returncode else "")
    rss_bytes = max(watch.most_bytes, used.ru_maxrss * 1024)
    return Measured(
        wall_s, used.ru_utime + used.ru_stime, rss_bytes, output.decode("utf-8", "replace"), failed,
        first_s if first else None, first_cpu_s,
    )  # fmt: skip


def _used_s(pid: int) -> float:
    """Processor time of a running process and of its children that have ended."""
    try:
        return sum(psutil.Process(pid).cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0


class _Watch(threading.Thread):
    """Samples the memory of a tree of processes; kills it beyond a limit."""

    def __init__(self, pid: int, limit_bytes: int | None) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.limit_bytes = limit_bytes
        self.most_bytes = 0
        self.why = ""
        self.ended = threading.Event()

    def run(self) -> None:
        until = time.monotonic() + _LONGEST_S
        while not self.ended.wait(_LOOK_S):
            self.most_bytes = max(self.most_bytes, resident_bytes(self.pid))
            if self.limit_bytes and self.most_bytes > self.limit_bytes:
                self.why = f"held more than {self.limit_bytes / 1e6:.0f} MB and was killed"
            elif time.monotonic() > until:
                self.why = f"took more than {_LONGEST_S} s and was killed"
            if self.why:
                os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own
                return


def resident_bytes(pid: int) -> int:
    """What a process and all its descendants hold together; 0 when it has ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    held = 0
    for one in family:
        try:
            held += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return held
