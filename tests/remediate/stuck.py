"""Servers in the state that recover-stuck-runner is for, and requests that go on meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil

from drill.awaiting import until
from warmstall.drill.injector import runner_pid
from warmstall.drill.server_process import DrillServer


def post(server: DrillServer, timeout_s: float = 30.0, **body: Any) -> httpx.Response:
    asked = {"stream": False, **body}
    return httpx.post(f"{server.url}/api/generate", json=asked, timeout=timeout_s, trust_env=False)


def resident(server: DrillServer) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{server.url}/api/ps", timeout=30.0, trust_env=False)
    return {str(model["name"]): model for model in answer.json()["models"]}


class Streaming:
    """A long answer that somebody reads in the background."""

    def __init__(self, server: DrillServer, model: str, tokens: int, **more: Any) -> None:
        self._client = httpx.Client(base_url=server.url, timeout=None, trust_env=False)
        self._body = {"model": model, "prompt": "why?", "options": {"num_predict": tokens}, **more}
        self.begun, self.lines, self.whole = threading.Event(), 0, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self._client.stream("POST", "/api/generate", json=self._body) as answer:
                for line in answer.iter_lines():
                    self.lines += 1
                    self.whole = '"done":true' in line and '"error"' not in line
                    self.begun.set()
        except (httpx.HTTPError, RuntimeError):
            pass
        finally:
            self.begun.set()

    def ended(self, within_s: float) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def stands(self) -> bool:
        """Whether nothing came for a while."""
        lines = self.lines
        time.sleep(0.5)  # what does not come announces itself to nobody
        return self.lines == lines

    def close(self) -> None:
        self._client.close()


@contextmanager
def streaming(server: DrillServer, model: str, tokens: int, **more: Any) -> Iterator[Streaming]:
    """A stream whose first line has come; it is broken off at the end."""
    stream = Streaming(server, model, tokens, **more)
    try:
        assert stream.begun.wait(30.0)
        yield stream
    finally:
        stream.close()


@contextmanager
def stuck_runner(server: DrillServer, model: str = "mid") -> Iterator[int]:
    """The pid of a runner that was stopped while it answered, after which its model was told to leave."""
    with streaming(server, model, 100_000, keep_alive="5m"):
        pid = until(lambda: runner_pid(server, model))
        os.kill(pid, signal.SIGSTOP)
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        post(server, model=model, keep_alive=0)
        try:
            yield pid
        finally:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
