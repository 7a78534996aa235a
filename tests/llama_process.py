"""A runner with real inference as a process of its own, for tests: started, asked, its lines read, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from live import free_port
from warmstall.drill.runner_spec import RunnerSpec
from warmstall.parse.log_events import FoundEvent, event_in

PROGRAM = [sys.executable, "-m", "warmstall.drill.llama_runner"]


def spec_of(blob: Path) -> RunnerSpec:
    return RunnerSpec(
        title="/usr/local/lib/ollama/llama-server --model blob", process_name="llama-server", parent_pid=os.getpid(),
        port=free_port(), version="0.32.15", model="tiny", blob=str(blob), num_ctx=1024, parallel=2, num_thread=1,
        num_batch=512, embedding=False, seed=1, debug=False, timetable=None, notices_abort_in_prefill=True,
        loads_when_asked=False, zone_offset_s=0, crash_exit_code=1,
    )  # fmt: skip


@dataclass
class Runner:
    process: subprocess.Popen[str]
    url: str

    def complete(self, prompt: str, tokens: int) -> http.client.HTTPResponse:
        ask = {"prompt": prompt, "n_predict": tokens, "stream": True, "ignore_eos": True, "cache_prompt": True}
        return urllib.request.urlopen(f"{self.url}/completion", json.dumps(ask).encode(), timeout=20)

    def lines_until(self, key: str) -> list[str]:
        """What the runner has written up to the first line that is such an event."""
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            event = event_in(line.rstrip("\n"))
            if event and event.key == key:
                return lines
        raise AssertionError(f"the runner ended without {key}: {''.join(lines[-20:])}")


@contextlib.contextmanager
def started(spec: RunnerSpec) -> Iterator[Runner]:
    process = subprocess.Popen(
        [*PROGRAM, spec.write()], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    with process:
        try:
            yield Runner(process, f"http://127.0.0.1:{spec.port}")
        finally:
            process.kill()


def events(lines: list[str]) -> dict[str, FoundEvent]:
    found = (event_in(line.rstrip("\n")) for line in lines)
    return {event.key: event for event in found if event}


def chunks(answer: bytes) -> list[dict[str, object]]:
    return [json.loads(event.removeprefix("data: ")) for event in answer.decode().strip().split("\n\n")]
