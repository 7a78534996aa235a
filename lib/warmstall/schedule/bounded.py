"""Runs warmstall itself within bounds, for schedulers that have none: cron and launchd, whose limits do not hold here.

A limit of address space (ulimit -v) counts what DuckDB and NumPy map and never touch, and macOS ignores most limits; so
what the processes really hold is looked at, twice a second, and a report that takes more or longer is ended with all
its children.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from .records import duration_text, size_text

_LOOK_S = 0.5
# Time to write what can still be written, before it is killed.
_GRACE_S = 20.0
# As a report that could not be made.
STOPPED = 3
_MOST_SHOWN_BYTES = 16_000


@dataclass(frozen=True)
class Ended:
    """How it ended: its exit code, why it was stopped if it was, and what it printed where that was held back."""

    exit_code: int
    stopped: str = ""
    printed: bytes = b""


def run_bounded(
    command: list[str], longest_s: float = 0.0, memory_bytes: int = 0, variables: Mapping[str, str] | None = None,
    hold_back: bool = False,
) -> Ended:  # fmt: skip
    """Run a command, with its bounds; 0 is none. With `hold_back` its output is kept, not shown.

    A signal to this process ends that one as well. Its exit code is STOPPED where it was stopped.
    """
    with suppress(OSError):
        os.nice(10)
    with tempfile.TemporaryFile() as kept:
        output, errors = (kept, subprocess.STDOUT) if hold_back else (None, None)
        with subprocess.Popen(command, env={**os.environ, **(variables or {})}, stdin=subprocess.DEVNULL, stdout=output,
                              stderr=errors, start_new_session=True) as process:  # fmt: skip
            stopped = _ended(process, longest_s, memory_bytes)
        kept.seek(max(0, kept.seek(0, os.SEEK_END) - _MOST_SHOWN_BYTES))
        code = STOPPED if stopped else process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Ended(code, stopped, kept.read())


def _ended(process: subprocess.Popen[bytes], longest_s: float, memory_bytes: int) -> str:
    """Wait for the end, and tell why it was stopped, if it was."""

    def interrupted(number: int, _: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    began = time.monotonic()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_S)
                return ""
            if longest_s and time.monotonic() - began > longest_s:
                return _stop(process, f"it took longer than {duration_text(longest_s)}")
            if memory_bytes and (held := _held_bytes(process.pid)) > memory_bytes:
                return _stop(process, f"it held {held / 2**20:.0f} MiB, more than {size_text(memory_bytes)}")
    except KeyboardInterrupt as received:
        return _stop(process, f"{received} was received")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _family(pid: int) -> list[psutil.Process]:
    """The process and all below it; a notebook's kernel has a session of its own, so no group holds them."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held_bytes(pid: int) -> int:
    total = 0
    for one in _family(pid):
        with suppress(psutil.Error):
            total += one.memory_info().rss
    return total


def _stop(process: subprocess.Popen[bytes], why: str) -> str:
    family = _family(process.pid)
    for end in ("terminate", "kill"):
        for one in family:
            with suppress(psutil.Error):
                getattr(one, end)()
        _, family = psutil.wait_procs(family, timeout=_GRACE_S)
        if not family:
            break
    process.wait()
    return why
