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
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
DASK = [sys.executable, "-m", "dask"]
OWN = ["--host", "127.0.0.1", "--no-dashboard"]


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens, its process, and those of its workers."""

    address: str
    scheduler: subprocess.Popen[str]
    workers: tuple[subprocess.Popen[str], ...]

    @property
    def engine(self) -> str:
        return self.address.replace("tcp://", "dask://")


def killed(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


@contextmanager
def started(folder: Path, workers: int = 2, **environment: str) -> Iterator[Cluster]:
    """A cluster that is ready; it ends with the block."""
    words = [*DASK, "scheduler", "--port", "0", "--dashboard-address", "127.0.0.1:0", *OWN]
    with ExitStack() as stack:
        scheduler = stack.enter_context(_process(words, folder, environment))
        assert scheduler.stderr
        found = (re.search(r"Scheduler at:\s+(tcp://127\.0\.0\.1:\d+)", line) for line in scheduler.stderr)
        address = next(line for line in found if line)[1]
        words = [*DASK, "worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "30", *OWN]
        processes = [stack.enter_context(_process(words, folder, environment)) for _ in range(workers)]
        for process in (scheduler, *processes):  # a pipe that nobody reads is full at some time
            threading.Thread(target=lambda lines: [None for _ in lines], args=[process.stderr], daemon=True).start()
        if workers:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=60)
        yield Cluster(address, scheduler, tuple(processes))


@contextmanager
def _process(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    paths = [*(str(ROOT / name) for name in ("lib", "tests", "data", "benchmarks")), os.environ.get("PYTHONPATH", "")]
    given = os.environ | environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    process = subprocess.Popen(words, cwd=folder, env=given, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
