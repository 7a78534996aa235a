"""One runner process as the server holds it: started, asked for its health, given requests, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from .eras import Era
from .go_text import binary_size, go_duration
from .log_fields import resident_bytes
from .models import DrillModel
from .runner_spec import RunnerSpec
from .server_log import ServerLog

PROGRAMS = {"synthetic": "warmstall.drill.synthetic_runner", "llama": "warmstall.drill.llama_runner"}
# Ollama asks a runner that loads for its health this often, and gives each question this long.
_POLL_S = 0.25
_HEALTH_TIMEOUT_S = 0.2
PING_TIMEOUT_S = 10.0


class LoadFailedError(Exception):
    """The runner did not become ready; the text is what the client is told."""


class LoadAbandonedError(Exception):
    """The client went away while the model loaded."""


class RunnerRefusesError(Exception):
    """The runner answered with a status of its own; the text is its body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class RunnerGoneError(Exception):
    """The runner ended, or closed the connection, before the answer was whole."""


@dataclass(frozen=True)
class Options:
    """The options that a runner is started with: a request with others makes the server load the model anew."""

    num_ctx: int
    num_thread: int
    num_batch: int
    num_gpu: int
    use_mmap: bool | None
    shift: bool | None


@dataclass(eq=False)
class Runner:
    """A model in memory, or on its way there. `lock` is held while it loads and while it is asked whether it lives."""

    model: DrillModel
    blob: str
    options: Options
    parallel: int
    slots: asyncio.Semaphore
    keep_alive_s: float
    doubles_batch: bool = False
    caps_num_ctx: bool = True
    fields: dict[str, object] = field(default_factory=dict)
    vocabulary_read: bool = False
    port: int = 0
    title: str = ""
    ref_count: int = 0
    loading: bool = True
    expires_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    load_started_at: float = 0.0
    loaded_at: float = 0.0
    last_error: str = ""
    progress: float = 0.0
    last_output_at: float = 0.0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    output_is_progress: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _client: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(
            timeout=None, trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    async def spawn(self, program: str, spec: RunnerSpec, log: ServerLog) -> None:
        """Start the process; its lines go into the server's log."""
        self.load_started_at = time.time()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", PROGRAMS[program], spec.write(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            limit=1 << 20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._pass_on(log))

    async def _pass_on(self, log: ServerLog) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            log.raw(line)
            self.last_output_at = time.monotonic()
            self.heard.set()
            text = line.decode("utf-8", "replace").strip()
            for sign in ("error:", "Error:", "error loading model", "failed to allocate buffer for"):
                if sign in text:
                    self.last_error = text[text.index(sign) :]
        self.heard.set()

    @property
    def num_batch(self) -> int:
        return self.options.num_batch * (2 if self.doubles_batch and self.parallel > 1 else 1)

    @property
    def num_ctx(self) -> int:
        """Context of one sequence; some versions allow no more than the model was trained for."""
        return min(self.options.num_ctx, self.model.n_ctx_train) if self.caps_num_ctx else self.options.num_ctx

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def ended(self) -> int | None:
        """The return code (negative: the signal), None while it lives."""
        return self.process.returncode if self.process else None

    async def health(self, timeout_s: float) -> str:
        """`ok`, `loading`, `refused` or `silent`."""
        try:
            answer = await self._client.get(f"http://127.0.0.1:{self.port}/health", timeout=timeout_s)
            if answer.status_code == 200:
                return "ok"
            self.progress = float(answer.json().get("progress", 0.0))
            return "loading"
        except httpx.ConnectError:
            return "refused"
        except httpx.HTTPError:
            return "silent"

    async def ping(self) -> bool:
        """Whether a loaded runner still answers."""
        return self.ended() is None and await self.health(PING_TIMEOUT_S) == "ok"

    async def complete(self, ask: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of an answer. Raises RunnerRefusesError, and RunnerGoneError when they end before the last one."""
        url = f"http://127.0.0.1:{self.port}/completion"
        whole = False
        try:
            asked = {**ask, "stream": True, "cache_prompt": True}
            async with self._client.stream("POST", url, json=asked) as answer:
                if answer.status_code >= 400:
                    raise RunnerRefusesError(answer.status_code, (await answer.aread()).decode())
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        chunk = json.loads(line[6:])
                        whole = bool(chunk.get("stop"))
                        yield chunk
        except httpx.HTTPError as error:
            raise RunnerGoneError(str(error)) from error
        if not whole:
            raise RunnerGoneError("unexpected EOF")

    async def embed(self, texts: list[str], tokens: list[int]) -> list[dict[str, Any]]:
        """One vector for each text, with the tokens it had."""
        try:
            asked = {"content": texts, "prompt_tokens": tokens}
            answer = await self._client.post(f"http://127.0.0.1:{self.port}/embedding", json=asked)
            # llama-server does not tell how many tokens a text had; the server has counted them.
            return [{"tokens_evaluated": count, **row} for count, row in zip(tokens, answer.json(), strict=True)]
        except (httpx.HTTPError, ValueError) as error:
            raise RunnerGoneError(str(error)) from error

    async def end(self) -> None:
        """Kill the process and wait until it is gone."""
        if self.timer:
            self.timer.cancel()
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        if self._reading:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._reading, 2.0)
        if self.process.stdin:
            self.process.stdin.close()
        await self._client.aclose()

    async def until_ended(self, timeout_s: float) -> int | None:
        """The return code when it comes in time, else None."""
        if self.process:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.process.wait(), timeout_s)
        return self.ended()

    async def until_launched(self, gone: asyncio.Event) -> None:
        """Wait until the process answers at all, ready or not. Raises as `until_running` does."""
        while await self.health(_HEALTH_TIMEOUT_S) in ("refused", "silent"):
            if gone.is_set():
                raise LoadAbandonedError
            if (code := self.ended()) is not None:
                raise LoadFailedError("process has terminated: " + (self.last_error or end_text(code)))
            await asyncio.sleep(0.01)  # a process that starts announces nothing

    async def until_running(self, gone: asyncio.Event, stall_s: float, log: ServerLog, era: Era) -> None:
        """Wait until it answers that it is ready; the first status has been told.

        Raises LoadAbandonedError when the client goes, LoadFailedError when the process ends or nothing moves for
        `stall_s`.
        """
        status, progress, read = era.first_status, 0.0, False
        moved_at = time.monotonic()
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(gone.wait(), _POLL_S)
            if gone.is_set():
                raise LoadAbandonedError
            code = self.ended()
            killed_now = code is not None and code < 0 and status != era.status_when_killed != ""
            if code is not None and not killed_now:
                raise LoadFailedError("process has terminated: " + (self.last_error or end_text(code)))
            if time.monotonic() > max(moved_at, self.last_output_at if self.output_is_progress else 0.0) + stall_s:
                raise LoadFailedError("timed out")
            now = era.status_when_killed if killed_now else await self.health(_HEALTH_TIMEOUT_S)
            if now == "ok":
                return
            if now == "refused" and era.first_status == "silent":
                now = "silent"
            if now == "loading" != status and self.output_is_progress:
                moved_at = time.monotonic()
            if now != status:
                log.say("load_status", **{**self.fields, "status": STATUS_TEXT[now]})
            status = now
            if self.progress != progress:
                progress = self.progress
                log.say("load_progress", progress=f"{progress:.2f}")
                moved_at = time.monotonic()
            elif progress >= 1.0 and not read:
                read = True
                log.say("load_progress_done")
                moved_at = time.monotonic()


STATUS_TEXT = {
    "loading": "llm server loading model",
    "refused": "llm server error",
    "silent": "llm server not responding",
}


def end_text(code: int) -> str:
    """How Go tells of a process's end."""
    names = {9: "killed", 11: "segmentation fault", 6: "aborted", 15: "terminated", 7: "bus error"}
    return f"signal: {names.get(-code, -code)}" if code < 0 else f"exit status {code}"


def end_fields(code: int) -> dict[str, object]:
    """How a process ended, in the words of the log."""
    text = end_text(code)
    signal_text = text.removeprefix("signal: ")
    return {
        "signalled": code < 0, "signal_number": -code if code < 0 else 0, "signal_name": signal_text,
        "exit_code": -1 if code < 0 else code,
    }  # fmt: skip


def runner_fields(version: str, runner: Runner) -> dict[str, object]:
    """The group of fields with which debug lines name a runner, and how long it may rest."""
    size = binary_size(resident_bytes(version, runner.model, runner.num_ctx, runner.parallel))
    unloaded = (
        f'runner.size="{size}" runner.vram="0 B" runner.parallel={runner.parallel} runner.pid={runner.pid} '
        f"runner.model={runner.blob}"
    )
    name = f"runner.name=registry.ollama.ai/library/{runner.model.name}:latest"
    keep_alive_s = runner.keep_alive_s
    return {
        "runner_fields": f"{name} {unloaded} runner.num_ctx={runner.num_ctx}",
        "runner_fields_unloaded": unloaded, "pid": runner.pid,
        "duration": "2562047h47m16.854775807s" if keep_alive_s > 10**9 else go_duration(keep_alive_s),
    }  # fmt: skip


def free_port() -> int:
    """A port on loopback that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
