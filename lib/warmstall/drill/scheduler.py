"""Which model is in memory for whom: the order of Ollama's scheduler, with its queues, waits and pings.

One loop takes waiting requests one at a time; while it waits for a model to leave or to load, everything behind it
waits too. A second loop ends runners whose time is over, once nobody uses them.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from dataclasses import dataclass, field

from .command_lines import command_line
from .eras import Era
from .go_text import binary_size, go_duration
from .gpu import gpu_fields
from .log_fields import host_fields, load_fields, model_fields, resident_bytes
from .models import DrillModel
from .runner import LoadAbandonedError, LoadFailedError, Options, Runner, end_text, free_port
from .runner_spec import RunnerSpec
from .server_log import ServerLog
from .settings import Settings
from .timetable import Timetable

# What Ollama waits for video memory to come back before it goes on.
_VRAM_RECOVERY_S = 5.0


class QueueFullError(Exception):
    """As many requests wait as may wait."""


class AbandonedError(Exception):
    """The client left while its request waited in the queue: Ollama never writes a line about it."""


@dataclass(eq=False)
class Ask:
    """One request for a model, until it has a runner."""

    model: DrillModel
    blob: str
    options: Options
    keep_alive_s: float | None
    gone: asyncio.Event
    answer: asyncio.Future[Runner]
    spawned: bool = False
    asked_at: float = field(default_factory=time.time)


class Scheduler:
    """All models in memory, and the requests that wait for one."""

    def __init__(self, settings: Settings, era: Era, log: ServerLog, program: str, timetable: str | None, seed: int):
        self.settings = settings
        self.era = era
        self.log = log
        self.program = program
        self.timetable_path = timetable
        self.timetable = Timetable.load(timetable)
        self.seed = seed
        self.loaded: dict[str, Runner] = {}
        self._pending: asyncio.Queue[Ask] = asyncio.Queue()
        self._expired: asyncio.Queue[Runner] = asyncio.Queue()
        self._unloaded: asyncio.Future[None] | None = None
        self._loads = 0
        self._starting: set[Runner] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for loop in (self._schedule(), self._unload()):
            self._keep(asyncio.create_task(loop))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A drill whose scheduler is broken would hang its clients and call that a fault.
            traceback.print_exception(error)
            os._exit(70)

    async def obtain(self, ask: Ask) -> Runner:
        """The runner for a request. Raises QueueFullError, AbandonedError, LoadAbandonedError, LoadFailedError."""
        runner = self.loaded.get(ask.blob)
        if self.era.attaches_directly and runner and not runner.loading and not await self._needs_reload(runner, ask):
            self._use(runner, ask)
            return runner
        if self._pending.qsize() >= self.settings.max_queue:
            raise QueueFullError
        self._pending.put_nowait(ask)
        return await ask.answer

    def release(self, runner: Runner, first_request: bool) -> None:
        """A request has ended, however it ended."""
        runner.ref_count -= 1
        idle = runner.ref_count <= 0
        zero = idle and runner.keep_alive_s <= 0
        if zero:
            self._expired.put_nowait(runner)
        elif idle:
            if runner.timer:
                runner.timer.cancel()
            later = min(runner.keep_alive_s, 10.0**8)
            runner.timer = asyncio.get_running_loop().call_later(later, self._time_is_over, runner)
            runner.expires_at = time.time() + later
        self._say("request_done", runner, first_request=first_request, idle=idle, zero_duration=zero)

    def expire_now(self, blob: str) -> None:
        """What keep_alive 0 without a prompt does: the model goes as soon as nobody uses it."""
        if runner := self.loaded.get(blob):
            runner.expires_at = time.time()
            if runner.timer:
                runner.timer.cancel()
            runner.keep_alive_s = 0.0
            if runner.ref_count <= 0:
                self._expired.put_nowait(runner)

    async def resident(self) -> list[tuple[Runner, float]]:
        """Models in memory with their times of expiry, latest first."""
        told = []
        for runner in list(self.loaded.values()):
            if self.era.ps_takes_locks:
                async with runner.lock:
                    pass
            told.append((runner, runner.expires_at or time.time() + min(runner.keep_alive_s, 10.0**9)))
        return sorted(told, key=lambda pair: -pair[1])

    async def shut_down(self) -> None:
        """End all runners, as SIGTERM does."""
        for task in list(self._tasks):
            task.cancel()
        for runner in {*self.loaded.values(), *self._starting}:
            self._say("shutdown_runner", runner)
            self._say("stop_wait", runner)
            await runner.end()
            self._say("stop_done", runner)
            self._say("shutdown_runner_done", runner)
        self.log.say("shutdown")
        self.log.say("shutdown_end")

    async def _schedule(self) -> None:
        while True:
            ask = await self._pending.get()
            if ask.gone.is_set():
                self.log.say("queued_cancelled")
                ask.answer.set_exception(AbandonedError())
                continue
            await self._serve(ask)

    async def _serve(self, ask: Ask) -> None:
        while True:
            runner = self.loaded.get(ask.blob)
            if runner:
                if not await self._needs_reload(runner, ask):
                    self._use(runner, ask)
                    ask.answer.set_result(runner)
                    return
                self._say("reload", runner)
                await self._make_leave(runner)
            elif len(self.loaded) >= self.settings.max_loaded_models:
                idle = [each for each in self.loaded.values() if each.ref_count <= 0] or list(self.loaded.values())
                runner = min(idle, key=lambda each: each.keep_alive_s)
                self._say("evict", runner, count=len(self.loaded))
                await self._make_leave(runner)
            else:
                await self._load(ask)
                return

    async def _make_leave(self, runner: Runner) -> None:
        """Let a runner expire and wait until it is gone: the head of the line blocks the rest."""
        if runner.timer:
            runner.timer.cancel()
        runner.keep_alive_s = 0.0
        self._unloaded = asyncio.get_running_loop().create_future()
        if runner.ref_count <= 0:
            self._expired.put_nowait(runner)
        self._say("evict_wait", runner)
        await self._unloaded
        self._unloaded = None

    async def _needs_reload(self, runner: Runner, ask: Ask) -> bool:
        """Other options, or a runner that does not answer."""
        self.log.say("request_debug", blob=ask.blob)
        async with runner.lock:
            if runner.options != ask.options:
                return True
            if (code := runner.ended()) is not None:
                self._say("runner_gone", runner, **_end_fields(code))
                return True
            if await runner.ping():
                return False
            self._say("ping_failed", runner)
            return True

    def _use(self, runner: Runner, ask: Ask) -> None:
        runner.ref_count += 1
        if runner.timer:
            runner.timer.cancel()
            runner.timer = None
        if ask.keep_alive_s is not None:
            runner.keep_alive_s = ask.keep_alive_s

    async def _load(self, ask: Ask) -> None:
        parallel = 1 if ask.model.embedding else self.settings.num_parallel
        keep_alive_s = self.settings.keep_alive_s if ask.keep_alive_s is None else ask.keep_alive_s
        runner = Runner(ask.model, ask.blob, ask.options, parallel, asyncio.Semaphore(parallel), keep_alive_s)
        runner.doubles_batch = self.era.version == "0.32.15"
        runner.output_is_progress = self.era.output_renews_load_timeout
        runner.port = free_port()
        threads = ask.options.num_thread or os.cpu_count() or 1
        runner.title = command_line(self.era, runner, ask.options.num_thread)
        beside = bool(self.loaded)
        fields = {
            **model_fields(ask.model, ask.blob),
            **load_fields(self.era.version, ask.model, runner.num_ctx, parallel, threads, runner.num_batch),
            **host_fields(), **gpu_fields(self.settings.gpu, ask.model.n_layer), "cmd": runner.title, "port": runner.port, "count": len(self.loaded) + 1,
            "first_load": self._loads == 0 and "OLLAMA_MAX_LOADED_MODELS" not in self.settings.environment, "beside": beside, "first_status": self.era.first_status,
            "num_ctx_too_large": ask.options.num_ctx > ask.model.n_ctx_train,
            "num_ctx_requested": ask.options.num_ctx, "mmap_given": ask.options.use_mmap is not None,
            "subprocess_environment": "PATH=/usr/bin:/bin", **self._runner_fields(runner),
        }  # fmt: skip
        self._loads += 1
        self.log.say("load_beside" if beside else "load_first", **fields)
        if ask.model.broken in self.era.refuses:
            self.log.say(f"load_failed_{ask.model.broken}", **fields)
            ask.answer.set_exception(LoadFailedError(self.era.refuses[ask.model.broken].format(blob=ask.blob)))
            return
        ask.spawned = True
        self.log.say("load_begin", **fields)
        await runner.spawn(self.program, self._spec(runner, threads, fields), self.log)
        self.log.say("load_layout", **fields)
        self._starting.add(runner)
        if self.era.loads_in_background:
            self.loaded[ask.blob] = runner
            await runner.lock.acquire()
            self._keep(asyncio.create_task(self._finish_load(runner, ask, fields)))
        else:
            await runner.lock.acquire()
            await self._finish_load(runner, ask, fields)

    async def _finish_load(self, runner: Runner, ask: Ask, fields: dict[str, object]) -> None:
        try:
            if self.era.waits_for_launch:
                await runner.until_launched(ask.gone)
            self.log.say("load_wait", **fields)
            await runner.until_running(ask.gone, self.settings.load_timeout_s, self.log, fields)
        except (LoadAbandonedError, LoadFailedError) as error:
            await self._give_up(runner, ask, error, fields)
            return
        finally:
            runner.lock.release()
            self._starting.discard(runner)
        runner.loading = False
        runner.loaded_at = time.time()
        runner.ref_count = 1
        self.loaded[ask.blob] = runner
        seconds = f"{runner.loaded_at - runner.load_started_at:.2f}"
        self._say("load_done", runner, **{**fields, **self._runner_fields(runner), "count": len(self.loaded)},
                  load_seconds=seconds, load_seconds_again=seconds)  # fmt: skip
        if not ask.answer.done():
            ask.answer.set_result(runner)

    async def _give_up(self, runner: Runner, ask: Ask, error: Exception, fields: dict[str, object]) -> None:
        """The load failed: say so, end what is left of the process, tell the client."""
        code = runner.ended()
        text = f"{self.era.runner_name} {error}"
        if isinstance(error, LoadAbandonedError):
            self.log.say("client_gone_loading", **fields)
        elif "timed out" in str(error):
            text = self.era.load_timeout
            self.log.say("load_timeout", **{**fields, "progress": "0.00", "error": text})
        elif code is not None and code < 0:
            self.log.say("runner_died_loading", **{**fields, **_end_fields(code)})
        else:
            if runner.last_error:
                self._say("runner_terminated", runner, **{**fields, **_end_fields(code or 1)})
            section = f"load_failed_{ask.model.broken or 'allocation'}"
            text = self.era.load_errors.get(section, text).format(blob=ask.blob, **fields)
            quoted = text.replace('"', '\\"').replace("\n", "\\n")
            known = section if self.log.wording.has(section) else "load_failed"
            self.log.say(known, **{**fields, "error": quoted})
        self._say("stop_runner", runner)
        await runner.end()
        self._say("stop_done", runner)
        if self.loaded.get(ask.blob) is runner:
            del self.loaded[ask.blob]
        if not ask.answer.done():
            ask.answer.set_exception(
                LoadAbandonedError() if isinstance(error, LoadAbandonedError) else LoadFailedError(text)
            )

    async def _unload(self) -> None:
        while True:
            runner = await self._expired.get()
            if self.loaded.get(runner.blob) is not runner:
                continue
            if runner.ref_count > 0:  # Ollama looks again every ten milliseconds
                asyncio.get_running_loop().call_later(0.01, self._expired.put_nowait, runner)
                continue
            async with runner.lock:
                alive = runner.ended() is None
                self._say("unload", runner, alive=alive)
                if alive:
                    self._say("stop_wait", runner)
                await runner.end()
                if alive:
                    if runner.last_error:
                        self._say("runner_terminated", runner, **_end_fields(runner.ended() or -9))
                    self._say("stop_done", runner)
                del self.loaded[runner.blob]
            await self._recover_memory(runner)
            waiting = self._unloaded is not None and not self._unloaded.done()
            self._say("unload_done", runner, pending=waiting)
            if waiting and self._unloaded:
                self._unloaded.set_result(None)

    async def _recover_memory(self, runner: Runner) -> None:
        """Where the timetable says that video memory does not come back, wait for it as Ollama does."""
        if self.timetable.strength("vram_not_freed", runner.model.name):
            await asyncio.sleep(_VRAM_RECOVERY_S)
            self._say("vram_not_recovered", runner, seconds=f"{_VRAM_RECOVERY_S + 0.25:.9f}".rstrip("0"))

    def _time_is_over(self, runner: Runner) -> None:
        self._say("expire", runner)
        runner.timer = None
        runner.keep_alive_s = max(runner.keep_alive_s, 0.0)
        self._expired.put_nowait(runner)

    def _spec(self, runner: Runner, threads: int, fields: dict[str, object]) -> RunnerSpec:
        return RunnerSpec(
            title=runner.title, process_name=self.era.process_name, parent_pid=os.getpid(), port=runner.port,
            version=self.era.version, model=runner.model.name, blob=runner.blob, num_ctx=runner.num_ctx,
            parallel=runner.parallel, num_thread=threads, num_batch=runner.num_batch, embedding=runner.model.embedding,
            seed=self.seed + self._loads, debug=self.log.debug, timetable=self.timetable_path,
            notices_abort_in_prefill=self.era.notices_abort_in_prefill, zone_offset_s=self.log.zone_offset_s,
            crash_exit_code=2 if self.era.version != "0.32.15" else 1, fields=fields,
            shift=runner.options.shift is not False,
        )  # fmt: skip

    def _runner_fields(self, runner: Runner) -> dict[str, object]:
        size = binary_size(resident_bytes(self.era.version, runner.model, runner.num_ctx, runner.parallel))
        unloaded = (
            f'runner.size="{size}" runner.vram="0 B" runner.parallel={runner.parallel} runner.pid={runner.pid} '
            f"runner.model={runner.blob}"
        )
        name = f"runner.name=registry.ollama.ai/library/{runner.model.name}:latest"
        return {
            "runner_fields": f"{name} {unloaded} runner.num_ctx={runner.num_ctx}",
            "runner_fields_unloaded": unloaded, "pid": runner.pid,
        }  # fmt: skip

    def _say(self, section: str, runner: Runner, **fields: object) -> None:
        known = {
            "blob": runner.blob, "model": runner.model.name, "ref_count": runner.ref_count, "count": len(self.loaded),
            "duration": _duration(runner.keep_alive_s), **self._runner_fields(runner),
        }  # fmt: skip
        self.log.say(section, **{**known, **fields})


def _duration(seconds: float) -> str:
    return "2562047h47m16.854775807s" if seconds > 10**9 else go_duration(seconds)


def _end_fields(code: int) -> dict[str, object]:
    """How a process ended, in the words of the log."""
    text = end_text(code)
    signal_text = text.removeprefix("signal: ")
    return {
        "signalled": code < 0, "signal_number": -code if code < 0 else 0, "signal_name": signal_text,
        "signal_text": signal_text, "exit_code": -1 if code < 0 else code, "exit_text": text,
    }  # fmt: skip


def find_blob(settings: Settings, model: DrillModel) -> str:
    """The path of a model's file, which only its name needs to exist for."""
    return f"{settings.models_folder}/blobs/{model.blob}"
