"""Bringing one model into memory: from the decision to load it until its runner is ready, or has failed."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .command_lines import command_line
from .gpu import gpu_fields
from .log_fields import host_fields, load_fields, model_fields, needed_fields
from .models import DrillModel
from .runner import LoadAbandonedError, LoadFailedError, Options, Runner, end_fields, free_port, runner_fields
from .runner_spec import RunnerSpec
from .settings import subprocess_environment

if TYPE_CHECKING:
    from .scheduler import Scheduler

# What changes in the loader's lines where the request asks for a mapped file.
_MAPPED = {"load_mode": "mmap", "weights_buffer": "CPU_Mapped", "mmap": "true"}


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

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def succeed(self, runner: Runner) -> None:
        if not self.answer.done():
            self.answer.set_result(runner)


class Loader:
    """Loads models for a scheduler; `starting` are the runners that are not ready yet."""

    def __init__(self, scheduler: Scheduler, program: str, timetable: str | None, seed: int) -> None:
        self.scheduler = scheduler
        self.settings = scheduler.settings
        self.era = scheduler.era
        self.log = scheduler.log
        self.starting: set[Runner] = set()
        self._program = program
        self._timetable = timetable
        self._seed = seed
        self._loads = 0

    async def load(self, ask: Ask, again: bool = False) -> None:
        """Start a runner and answer the one who asks. In some versions that goes on behind the caller's back."""
        parallel = 1 if ask.model.embedding else self.settings.num_parallel
        keep_alive_s = self.settings.keep_alive_s if ask.keep_alive_s is None else ask.keep_alive_s
        runner = Runner(ask.model, ask.blob, ask.options, parallel, asyncio.Semaphore(parallel), keep_alive_s)
        try:
            await self._load(runner, ask, again)
        except Exception as error:
            await self._break_off(runner, ask, error)

    async def _load(self, runner: Runner, ask: Ask, again: bool) -> None:
        runner.doubles_batch = self.era.version == "0.32.15"
        runner.caps_num_ctx = self.era.caps_num_ctx
        runner.output_is_progress = self.era.output_renews_load_timeout
        runner.port = free_port()
        runner.title = command_line(self.era, runner, ask.options.num_thread)
        fields = self._fields(runner, ask)
        runner.fields = fields
        self._loads += 1
        if not again:
            self.log.say("load_beside" if fields["beside"] else "load_first", **fields)
        if ask.model.broken in self.era.refuses:
            self.log.say(f"load_failed_{ask.model.broken}", **fields)
            ask.fail(LoadFailedError(self.era.refuses[ask.model.broken].format(blob=ask.blob)))
            return
        if self.era.fits_before_spawn and not await self._find_room(runner, ask):
            return
        ask.spawned = True
        self.log.say("load_again" if again else "load_begin", **fields)
        await runner.lock.acquire()
        self.starting.add(runner)
        await runner.spawn(self._program, self._spec(runner, fields), self.log)
        if not self.era.fits_before_spawn and not await self._find_room(runner, ask):
            runner.lock.release()
            return
        self.log.say("load_layout", **fields)
        if self.era.loads_in_background:
            self.log.say("load_wait", **fields)
            self.scheduler.loaded[ask.blob] = runner
            self.scheduler.keep(asyncio.create_task(self._finish(runner, ask)))
        else:
            await self._finish(runner, ask)

    async def _find_room(self, runner: Runner, ask: Ask) -> bool:
        """Send other models away where memory is short; False where it would be short even so."""
        while True:
            needed = needed_fields(self.era.version, runner.model, runner.num_ctx, runner.parallel)
            if self.settings.gpu or not needed["too_large"] or not self.era.refuses_too_large:
                return True
            told = {**runner.fields, **host_fields(), **needed}
            if not self.scheduler.loaded:
                if runner.process:  # it has written its first lines by then
                    await runner.heard.wait()
                self.log.say("load_failed_too_large", **told)
                text = "model requires more system memory ({required_size}) than is available ({free_memory})"
                await self._end_failed(runner, ask, LoadFailedError(text.format(**told)))
                return False
            self.log.say("evict_for_memory", **told)
            await self.scheduler.make_leave(self.scheduler.idlest())
            self.log.say("load_again", **{**told, **host_fields()})

    async def _finish(self, runner: Runner, ask: Ask) -> None:
        """Wait until the runner is ready, and say what becomes of it."""
        fields = runner.fields
        try:
            if self.era.waits_for_launch:
                try:
                    await runner.until_launched(ask.gone)
                except LoadFailedError:  # it ended before it was asked again
                    self.log.say("load_wait", **fields)
                    raise
            if not self.era.loads_in_background:
                self.log.say("load_wait", **fields)
            await runner.until_running(ask.gone, self.settings.load_timeout_s, self.log, self.era)
            runner.loading = False
            runner.loaded_at = time.time()
            runner.ref_count = 1
            self.scheduler.loaded[ask.blob] = runner
            seconds = f"{runner.loaded_at - runner.load_started_at:.2f}"
            told = {"count": len(self.scheduler.loaded), "load_seconds": seconds, "load_seconds_again": seconds}
            self.log.say("load_done", **{**fields, **runner_fields(self.era.version, runner), **told})
            ask.succeed(runner)
        except (LoadAbandonedError, LoadFailedError) as error:
            failure = self._tell(runner, error)
            if self.era.retries_failed_loads and self.scheduler.loaded and "allocate" in runner.last_error:
                await self._load_alone(runner, ask, str(failure))
            else:
                await self._end_failed(runner, ask, failure)
        except Exception as error:
            await self._break_off(runner, ask, error)
        finally:
            runner.lock.release()
            self.starting.discard(runner)

    def _tell(self, runner: Runner, error: Exception) -> Exception:
        """Say why a load failed; gives what the client is told."""
        fields, code = runner.fields, runner.ended()
        text = f"{self.era.runner_name} {error}"
        if isinstance(error, LoadAbandonedError):
            self.log.say("client_gone_loading", **fields)
            return error
        if "timed out" in str(error):
            text = self.era.load_timeout.format(progress=f"{runner.progress:.2f}")
            self.log.say("load_timeout", **{**fields, "progress": f"{runner.progress:.2f}", "error": text})
        elif code is not None and code < 0:
            self.log.say("runner_died_loading", **{**fields, **end_fields(code)})
        else:
            if runner.last_error:
                self.log.say("runner_terminated", **{**fields, **end_fields(code or 1)})
            reason = runner.model.broken or ("allocation" if "allocate" in runner.last_error else "")
            section = f"load_failed_{reason}"
            text = self.era.load_errors.get(section, text).format(**fields)
            known = section if self.log.wording.has(section) else "load_failed"
            self.log.say(known, **{**fields, "error": _quoted(text)})
        return LoadFailedError(text)

    async def _load_alone(self, failed: Runner, ask: Ask, error: str) -> None:
        """Once more, when all other models have left."""
        self.starting.discard(failed)
        self.log.say("load_failed_retry", **{**failed.fields, "error": _quoted(error)})
        self.log.say("evict_for_retry", count=len(self.scheduler.loaded))
        for other in list(self.scheduler.loaded.values()):
            await self.scheduler.make_leave(other)
        await self.load(ask, again=True)

    async def _end_failed(self, runner: Runner, ask: Ask, error: Exception) -> None:
        """End what is left of a runner whose load failed, and tell the client."""
        self.starting.discard(runner)
        if self.scheduler.loaded.get(ask.blob) is runner:  # it goes the way of all runners
            ask.fail(error)
            self.scheduler.expire_failed(runner)
            return
        if runner.process:
            await self.scheduler.stop(runner)
        ask.fail(error)

    async def _break_off(self, runner: Runner, ask: Ask, error: Exception) -> None:
        """A fault of the drill's own: the log has the traceback, and the client does not wait for ever."""
        traceback.print_exception(error)
        self.starting.discard(runner)
        if self.scheduler.loaded.get(ask.blob) is runner:
            del self.scheduler.loaded[ask.blob]
        await runner.end()
        ask.fail(LoadFailedError(f"drill: {error!r}"))

    def _fields(self, runner: Runner, ask: Ask) -> dict[str, object]:
        """All that lines about this load may name."""
        threads = ask.options.num_thread or os.cpu_count() or 1
        model, beside = ask.model, len(self.scheduler.loaded)
        return {
            **model_fields(model, ask.blob),
            **load_fields(self.era.version, model, runner.num_ctx, runner.parallel, threads, runner.num_batch),
            **host_fields(), **(_MAPPED if ask.options.use_mmap else {}),
            **gpu_fields(self.settings.gpu, model.n_layer),
            "cmd": runner.title, "port": runner.port, "count": beside + 1, "beside": bool(beside),
            "first_load": self._loads == 0 and "OLLAMA_MAX_LOADED_MODELS" not in self.settings.environment,
            "num_ctx_requested": ask.options.num_ctx,
            "num_ctx_too_large": self.era.caps_num_ctx and ask.options.num_ctx > model.n_ctx_train,
            "mmap_given": ask.options.use_mmap is not None,
            "too_large": not self.settings.gpu
            and needed_fields(self.era.version, model, runner.num_ctx, runner.parallel)["too_large"],
            "subprocess_environment": subprocess_environment(self.era, self.settings),
            **runner_fields(self.era.version, runner),
        }  # fmt: skip

    def _spec(self, runner: Runner, fields: dict[str, object]) -> RunnerSpec:
        return RunnerSpec(
            title=runner.title, process_name=self.era.process_name, parent_pid=os.getpid(), port=runner.port,
            version=self.era.version, model=runner.model.name, blob=runner.blob, num_ctx=runner.num_ctx,
            parallel=runner.parallel, num_thread=int(str(fields["num_thread"])), num_batch=runner.num_batch,
            embedding=runner.model.embedding, seed=self._seed + self._loads, debug=self.log.debug,
            timetable=self._timetable, notices_abort_in_prefill=self.era.notices_abort_in_prefill,
            loads_when_asked=self.era.loads_when_asked, zone_offset_s=self.log.zone_offset_s,
            crash_exit_code=2 if self.era.version != "0.32.15" else 1, fields=fields,
            shift=runner.options.shift is not False,
        )  # fmt: skip


def _quoted(text: str) -> str:
    """A text inside the quotes of a log line."""
    return text.replace('"', '\\"').replace("\n", "\\n")
