"""A Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
_DASK = [sys.executable, "-m", "dask"]
_OWN = ["--host", "127.0.0.1", "--no-dashboard"]
_READY_S = 60


@dataclass(frozen=True)
class Running:
    """A process, and the lines of its log that were not asked for yet."""

    process: subprocess.Popen[str]
    lines: SimpleQueue[str] = field(default_factory=SimpleQueue)

    def said(self, pattern: str) -> str:
        """What the first line that matches says."""
        while not (found := re.search(pattern, self.lines.get(timeout=_READY_S))):
            pass
        return found[1]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait(20) == -signal.SIGKILL


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens, its process, and those of its workers."""

    address: str
    scheduler: Running
    workers: tuple[Running, ...]

    @property
    def engine(self) -> str:
        return self.address.replace("tcp://", "dask://")


@contextmanager
def started(folder: Path, workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """A cluster that is ready; it ends with the block."""
    words = [*_DASK, "scheduler", "--port", "0", "--dashboard-address", "127.0.0.1:0", *_OWN]
    with ExitStack() as stack:
        scheduler = stack.enter_context(running(words, folder, **environment))
        address = scheduler.said(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)")
        words = [*_DASK, "worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", str(_READY_S), *_OWN]
        own = tuple(stack.enter_context(running(words, folder, **environment)) for _ in range(workers))
        if workers:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=_READY_S)
        yield Cluster(address, scheduler, own)


@contextmanager
def running(words: list[str], folder: Path, **environment: str) -> Iterator[Running]:
    """A process of this checkout that ends with the block."""
    paths = [*(str(ROOT / name) for name in ("lib", "tests", "data", "benchmarks")), os.environ.get("PYTHONPATH", "")]
    given = os.environ | environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    found = Running(subprocess.Popen(words, cwd=folder, env=given, stderr=subprocess.PIPE, text=True))
    # A pipe that nobody reads is full at some time, and its writer then stands still.
    reader = threading.Thread(target=_read, args=[found], daemon=True)
    reader.start()
    try:
        yield found
    finally:
        found.process.terminate()
        try:
            found.process.wait(20)
        except subprocess.TimeoutExpired:
            found.process.kill()
            found.process.wait()
        reader.join()


def _read(running: Running) -> None:
    assert running.process.stderr
    with running.process.stderr as lines:
        for line in lines:
            running.lines.put(line)
