"""The embedding service beside the server, as a drill holds it: started, watched, crashed and ended by its pid."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

_READY_WITHIN_S = 20.0
_ENDS_WITHIN_S = 5.0


class EmbeddingService:
    """A real uvicorn with two workers; what it and its supervisor write is in `embedding_service.log`."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "warmstall.drill.embedding_service", str(self.port), str(os.getpid())]
        with (folder / "embedding_service.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def ready(self) -> None:
        """Wait until it accepts connections."""
        limit = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if self._process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError("the embedding service did not start; see embedding_service.log") from None
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    def pids(self) -> list[int]:
        """The supervisor and its workers."""
        return [self._process.pid, *(worker.pid for worker in self._workers())]

    def worker_pids(self, count: int) -> list[int]:
        """So many of its workers, those first that have run longest; fewer where there are not as many."""
        workers = sorted(self._workers(), key=lambda worker: worker.create_time())
        return [worker.pid for worker in workers[:count]]

    def stop(self) -> None:
        """End it and its workers."""
        if self._process.poll() is not None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(family, _ENDS_WITHIN_S)
        for process in alive:
            process.kill()

    def _workers(self) -> list[psutil.Process]:
        children = psutil.Process(self._process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
