"""A live process tree that looks like Ollama's: a server that answers, and its runner. Real processes, no models."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = Path(__file__).parent / "live_programs"


@dataclass(frozen=True)
class LiveServer:
    """A running tree: pid of the server and of its runner, the server's port and log, and its folder."""

    pid: int
    runner_pid: int
    port: int
    log: Path
    folder: Path


@contextlib.contextmanager
def live_server(
    folder: Path, environment: dict[str, str] | None = None, wrapper: list[str] | None = None
) -> Iterator[LiveServer]:
    """Start the tree (under a command such as `prlimit …`), wait until both answer, and end it by pid."""
    folder.mkdir(parents=True, exist_ok=True)
    ollama = folder / "ollama"
    ollama.symlink_to(os.path.realpath(sys.executable))
    for name in ("serve", "runner"):  # the interpreter runs files of these names: the command lines are Ollama's
        shutil.copy(_PROGRAMS / f"{name}.py", folder / name)
    port, runner_port = free_port(), free_port()
    log = folder / "by-hand.log"
    # Where the interpreter finds its library when it is called by another name.
    settings = {"OLLAMA_HOST": f"127.0.0.1:{port}", "PYTHONHOME": sys.base_prefix, **(environment or {})}
    with log.open("wb") as handle:
        process = subprocess.Popen(
            [*(wrapper or []), str(ollama), "serve", str(runner_port)], cwd=folder, stdout=handle,
            stderr=subprocess.STDOUT, env={**os.environ, **settings}, start_new_session=True,
        )  # fmt: skip
    children: list[int] = []
    try:
        await_answer(f"http://127.0.0.1:{port}/api/version")
        await_answer(f"http://127.0.0.1:{runner_port}/health")
        import psutil

        children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        runner = next(pid for pid in children if "runner" in psutil.Process(pid).cmdline())
        yield LiveServer(process.pid, runner, port, log, folder)
    finally:
        for pid in (*children, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait(10)


def await_answer(url: str, deadline_s: float = 20.0) -> object:
    """Ask until somebody answers."""
    ends = time.monotonic() + deadline_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)  # between two questions to a process that is starting


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def program(folder: Path, name: str, script: str) -> None:
    """A program of that name, for a PATH that begins with the folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
