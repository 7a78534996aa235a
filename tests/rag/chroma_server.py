"""A real Chroma server as a process of its own: started on a free port of loopback, ended with its folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from warmstall.drill.runner import free_port

_PATIENCE_S = 90.0
# What the program `chroma` runs, without its import of the whole client, which takes seconds.
_PROGRAM = "import sys, chromadb_rust_bindings; chromadb_rust_bindings.cli(['chroma', 'run', *sys.argv[1:]])"


@dataclass
class ChromaServer:
    process: subprocess.Popen[bytes]
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def chroma_server(folder: Path) -> Iterator[ChromaServer]:
    """`chroma run`, from when it answers on; nothing of it is left afterwards but its folder."""
    port = free_port()
    command = [sys.executable, "-c", _PROGRAM, "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    with (folder / "chroma.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    server = ChromaServer(process, f"http://127.0.0.1:{port}")
    try:
        _wait(server, folder / "chroma.log")
        yield server
    finally:
        server.kill()


def _wait(server: ChromaServer, log: Path) -> None:
    ends = time.monotonic() + _PATIENCE_S
    while True:
        try:
            httpx.get(f"{server.url}/api/v2/heartbeat", timeout=5.0, trust_env=False, verify=False).raise_for_status()
            return
        except httpx.HTTPError as error:
            if server.process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"chroma did not start: {log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.05)  # between two questions to a process that starts
