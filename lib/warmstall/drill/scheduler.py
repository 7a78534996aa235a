"""Which model is in memory for whom: the order of Ollama's scheduler, with its queues, waits and pings.

One loop takes waiting requests one at a time; while it waits for a model to leave or to load, everything behind it
waits too. A second loop ends runners whose time is over, once nobody uses them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback

from .eras import Era
from .loading import Ask, Loader
from .models import DrillModel
from .runner import Runner, end_fields, runner_fields
from .server_log import ServerLog
from .settings import Settings
from .timetable import Timetable

# What Ollama waits for video memory to come back before it goes on.
_VRAM_RECOVERY_S = 5.0
# A runner that broke off an answer has ended by then, if it has.
_REAPED_S = 0.2


class QueueFullError(Exception):
    """As many requests wait as may wait."""


class AbandonedError(Exception):
    """The client left while its request waited in the queue: Ollama never writes a line about it."""


class Scheduler:
    """All models in memory, and the requests that wait for one."""

    def __init__(self, settings: Settings, era: Era, log: ServerLog, program: str, timetable: str | None, seed: int):
        self.settings = settings
        self.era = era
        self.log = log
        self.timetable = Timetable.load(timetable)
        self.loader = Loader(self, program, timetable, seed)
        self.ending = False
        self.loaded: dict[str, Runner] = {}
        self._pending: asyncio.Queue[Ask] = asyncio.Queue()
        self._is_waiting = False
        self._expired: asyncio.Queue[Runner] = asyncio.Queue()
        self._unloaded: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for loop in (self._schedule(), self._unload()):
            self.keep(asyncio.create_task(loop))

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it ends."""
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
        # A request that finds the loop waiting is taken at once and never stands in the queue.
        if self._pending.qsize() - self._is_waiting >= self.settings.max_queue:
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
        self.say("request_done", runner, first_request=first_request, idle=idle and not zero, zero=zero)

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
        self.ending = True
        for task in list(self._tasks):
            task.cancel()
        if self.loader.starting:
            self.log.say("shutdown_loading")
        runners = [*self.loaded.values(), *(self.loader.starting - set(self.loaded.values()))]
        for runner in runners:
            self.say("shutdown_runner", runner)
            if runner is runners[0]:
                self.log.say("shutdown_pending")
            self.say("stop_wait", runner)
            await runner.end()
            self.say("stop_done", runner)
        if not runners:
            self.log.say("shutdown_pending")
        self.log.say("shutdown")
        self.log.say("shutdown_end")

    async def stop(self, runner: Runner) -> None:
        """End a runner that is of no more use, and say so."""
        alive = runner.ended() is None
        self.say("stop_runner", runner)
        if alive:
            self.say("stop_wait", runner)
        await runner.end()
        if alive:
            self.say("stop_done", runner)

    async def notice_end(self, runner: Runner) -> None:
        """An answer broke off: where its runner has ended, the server puts it away at once."""
        code = await runner.until_ended(_REAPED_S)
        if code is not None:
            self.say("stop_runner", runner)
            if code == -signal.SIGKILL and self.era.waits_for_killed:  # the server looks before the kernel has told it
                self.say("stop_wait", runner)
                self.say("stop_done", runner)

    def expire_failed(self, runner: Runner) -> None:
        """A load failed in a version that lists models while they load: it is unloaded like any other."""
        self.say("load_failed_expire", runner)
        runner.ref_count = 0
        self._expired.put_nowait(runner)

    def idlest(self) -> Runner:
        """The model that goes first: one that nobody uses, of these the one with the shortest keep-alive."""
        idle = [each for each in self.loaded.values() if each.ref_count <= 0] or list(self.loaded.values())
        return min(idle, key=lambda each: each.keep_alive_s)

    async def _schedule(self) -> None:
        while True:
            self._is_waiting = True
            ask = await self._pending.get()
            self._is_waiting = False
            if ask.gone.is_set():
                self.log.say("queued_cancelled")
                ask.fail(AbandonedError())
                continue
            try:
                await self._serve(ask)
            except Exception as error:  # a fault of the drill's own: nobody shall wait for ever
                traceback.print_exception(error)
                ask.fail(error)

    async def _serve(self, ask: Ask) -> None:
        while True:
            runner = self.loaded.get(ask.blob)
            if runner:
                if not await self._needs_reload(runner, ask):
                    self._use(runner, ask)
                    ask.succeed(runner)
                    return
                self.say("reload", runner)
                await self.make_leave(runner)
            elif len(self.loaded) >= self.settings.max_loaded_models:
                runner = self.idlest()
                self.say("evict", runner, count=len(self.loaded), all_busy=runner.ref_count > 0)
                await self.make_leave(runner)
            else:
                await self.loader.load(ask)
                return

    async def make_leave(self, runner: Runner) -> None:
        """Let a runner expire and wait until it is gone: the head of the line blocks the rest."""
        if runner.timer:
            runner.timer.cancel()
        runner.keep_alive_s = 0.0
        self._unloaded = asyncio.get_running_loop().create_future()
        if runner.ref_count <= 0:
            self._expired.put_nowait(runner)
        await self._unloaded
        self._unloaded = None

    async def _needs_reload(self, runner: Runner, ask: Ask) -> bool:
        """Other options, or a runner that does not answer."""
        self.log.say("request_debug", blob=ask.blob)
        async with runner.lock:
            if runner.options != ask.options:
                return True
            if (code := runner.ended()) is not None:
                self.say("runner_gone", runner, **end_fields(code))
                return True
            if await runner.ping():
                return False
            self.say("ping_failed", runner)
            return True

    def _use(self, runner: Runner, ask: Ask) -> None:
        runner.ref_count += 1
        if runner.timer:
            runner.timer.cancel()
            runner.timer = None
        if ask.keep_alive_s is not None:
            runner.keep_alive_s = ask.keep_alive_s

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
                self.say("unload", runner, alive=alive)
                if alive:
                    self.say("stop_wait", runner)
                await runner.end()
                if alive:
                    if runner.last_error:
                        self.say("runner_terminated", runner, **end_fields(runner.ended() or -9))
                    self.say("stop_done", runner)
                del self.loaded[runner.blob]
            await self._recover_memory(runner)
            waiting = self._unloaded is not None and not self._unloaded.done()
            self.say("unload_done", runner, pending=waiting)
            if waiting and self._unloaded:
                self._unloaded.set_result(None)

    async def _recover_memory(self, runner: Runner) -> None:
        """Where the timetable says that video memory does not come back, wait for it as Ollama does."""
        if self.timetable.strength("vram_not_freed", runner.model.name):
            await asyncio.sleep(_VRAM_RECOVERY_S)
            self.say("vram_not_recovered", runner, seconds=f"{_VRAM_RECOVERY_S + 0.25:.9f}".rstrip("0"))

    def _time_is_over(self, runner: Runner) -> None:
        self.say("expire", runner)
        runner.timer = None
        runner.keep_alive_s = max(runner.keep_alive_s, 0.0)
        self._expired.put_nowait(runner)

    def say(self, section: str, runner: Runner, **fields: object) -> None:
        known = {
            "blob": runner.blob, "model": runner.model.name, "ref_count": runner.ref_count, "count": len(self.loaded),
            **runner_fields(self.era.version, runner),
        }  # fmt: skip
        self.log.say(section, **{**known, **fields})


def find_blob(settings: Settings, model: DrillModel) -> str:
    """The path of a model's file, which only its name needs to exist for."""
    return f"{settings.models_folder}/blobs/{model.blob}"
