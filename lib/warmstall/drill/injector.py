"""Does to a drill what comes from outside: signals to real processes, restarts, a model that is told to leave.

Faults inside runners and the server read the timetable themselves; those of clients are their traffic. The injector
does the rest at its time, and notes of every fault when it really acted.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import psutil

from .faults import KINDS
from .models import find_model
from .scenario import FaultPlan
from .timetable import Timetable
from .traffic import REQUEST_HEADER, Clients
from .truth import Interval

if TYPE_CHECKING:
    from .services import EmbeddingService

# A signal in the middle of a request falls this long after its first token: not at its edge.
_INTO_THE_ANSWER_S = 0.1
_FIRST_ANSWER_WITHIN_S = 20.0
# What a runner had written before it was stopped is read by then.
_ON_ITS_WAY_S = 0.2
_TRIES = 10


class NotDoneError(Exception):
    """A fault that could not be done: there was nothing to do it to."""


class Server(Protocol):
    """What the injector needs of the server of a drill."""

    url: str

    def runner_pids(self) -> list[int]: ...
    def stop(self) -> object: ...
    def start(self) -> object: ...


class Injector:
    """Acts on one drill; `intervals` says what was done."""

    def __init__(
        self, server: Server, clients: Clients, timetable: Timetable, service: EmbeddingService | None = None
    ) -> None:
        self._server, self._clients, self._timetable, self._service = server, clients, timetable, service
        self.intervals: list[Interval] = []
        self.problems: list[str] = []
        self._stopped: set[int] = set()
        # One start at a time, however long the machine takes for it.
        self._starting = asyncio.Lock()

    async def run(self, plans: tuple[FaultPlan, ...]) -> None:
        """Every fault at its time; returns when the last one is over."""
        async with asyncio.TaskGroup() as tasks:
            for plan in plans:
                tasks.create_task(self._act(plan))

    async def _act(self, plan: FaultPlan) -> None:
        fault = plan.fault
        await self._until(fault.start_s)
        began, detail = time.time(), dict[str, object]()
        if KINDS[fault.kind].actor == "outside":
            done: Callable[[FaultPlan], Any] = getattr(self, f"_{fault.kind}")
            try:
                began, detail = await done(plan)
            except NotDoneError as error:
                self.problems.append(f"{fault.kind}: {error}")
                return
        else:
            await self._until(min(fault.end_s, self._clients.scenario.duration_s))
        self.intervals.append(Interval(fault, began, time.time(), plan.hypotheses, detail))

    async def _stopped_runner(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        pid, began = await self._stop_in_a_request(plan)
        await self._while_it_lives(pid, plan.fault.end_s)
        self._signal(pid, signal.SIGCONT)
        self._stopped.discard(pid)
        return began, {"pid": pid}

    async def _stop_in_a_request(self, plan: FaultPlan) -> tuple[int, float]:
        """Stop the model's runner while it answers; where the answer had just ended, go on and stop the next one."""
        for _ in range(_TRIES):
            pid = await self._runner_in_a_request(plan)
            began = self._signal(pid, signal.SIGSTOP)
            self._stopped.add(pid)
            await asyncio.sleep(_ON_ITS_WAY_S)
            if self._clients.is_answering(self._model(plan)):
                return pid, began
            self._signal(pid, signal.SIGCONT)
            self._stopped.discard(pid)
        raise NotDoneError(f"in {_TRIES} tries no answer was long enough to be stopped")

    async def _while_it_lives(self, pid: int, second: float) -> None:
        """Wait for that second, or until the process has ended: what is gone is stopped no more."""
        left_s = max(0.0, self._timetable.epoch + second - time.time())
        with suppress(psutil.Error):  # its end, or the time's
            await asyncio.to_thread(psutil.Process(pid).wait, left_s)

    async def _runner_crash(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        pid = await self._runner_in_a_request(plan)
        number = signal.Signals(int(plan.fault.intensity))
        return self._signal(pid, number), {"pid": pid, "signal": number.name}

    async def _stopping_deadlock(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        pid, began = await self._stop_in_a_request(plan)
        # The unload is answered at once, and then waits for a request that never ends.
        body = {"model": plan.fault.model, "keep_alive": 0}
        async with httpx.AsyncClient(timeout=5.0, trust_env=False, verify=False) as http:
            with suppress(httpx.HTTPError):
                await http.post(f"{self._server.url}/api/generate", json=body, headers={REQUEST_HEADER: "injector"})
        await self._while_it_lives(pid, plan.fault.end_s)
        self._signal(pid, signal.SIGKILL)
        self._stopped.discard(pid)
        return began, {"pid": pid}

    async def _restart(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        async with self._starting:
            began = time.time()
            await asyncio.to_thread(self._server.stop)
            await asyncio.to_thread(self._server.start)
        return began, {}

    async def _server_down(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        async with self._starting:
            began = time.time()
            await asyncio.to_thread(self._server.stop)
            await self._until(plan.fault.end_s)
            await asyncio.to_thread(self._server.start)
        return began, {}

    async def _embedding_service_crash(self, plan: FaultPlan) -> tuple[float, dict[str, object]]:
        if self._service is None:
            raise NotDoneError("no embedding service runs in this scenario")
        pids = await asyncio.to_thread(self._service.worker_pids, int(plan.fault.intensity))
        if not pids:
            raise NotDoneError("the embedding service has no worker")
        began = min(self._signal(pid, signal.SIGSEGV) for pid in pids)
        return began, {"pids": pids, "signal": "SIGSEGV"}

    async def _runner_in_a_request(self, plan: FaultPlan) -> int:
        """The pid of the model's runner, while it answers somebody."""
        model = self._model(plan)
        # Looking through processes takes time in which a short answer would end, so it comes first.
        pid = await asyncio.to_thread(runner_pid, self._server, model)
        if not await self._clients.until_answering(model, _FIRST_ANSWER_WITHIN_S):
            raise NotDoneError(f"no request to {model} was answered within {_FIRST_ANSWER_WITHIN_S:g} s")
        if pid is None or not psutil.pid_exists(pid):
            pid = await asyncio.to_thread(runner_pid, self._server, model)
        if pid is None:
            raise NotDoneError(f"there is no runner of {model}")
        await asyncio.sleep(_INTO_THE_ANSWER_S)
        return pid

    def _model(self, plan: FaultPlan) -> str:
        return plan.fault.model or self._clients.scenario.models[0]

    def _signal(self, pid: int, number: signal.Signals) -> float:
        with suppress(ProcessLookupError):  # it ended by itself: what happened is in the server's log
            os.kill(pid, number)
        return time.time()

    def release(self) -> None:
        """Let go on whatever is still stopped, so that it can end."""
        for pid in self._stopped:
            self._signal(pid, signal.SIGCONT)

    async def _until(self, second: float) -> None:
        await asyncio.sleep(max(0.0, self._timetable.epoch + second - time.time()))


def runner_pid(server: Server, model: str) -> int | None:
    """The newest runner of a model, by the blob in its command line."""
    known = find_model(model)
    for pid in reversed(server.runner_pids()):
        with suppress(psutil.Error):
            if known and known.blob in " ".join(psutil.Process(pid).cmdline()):
                return pid
    return None
