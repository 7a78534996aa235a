"""What runs the tasks of a fleet: processes of this machine, or the workers of a Dask cluster.

Either way a bounded number of tasks is under way, results are given back as they come, and a task that costs its
process its life is an exception of that task and of no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")
Outcomes = Iterator[tuple[Task, Result | Exception]]

# A cluster keeps its workers busy with these, and whoever asks holds no more than these.
_UNDER_WAY = 1000
_CONNECT_S = 30
_KILLED = "the process that read it was killed; its memory may not suffice for it."


class TaskKilled(Exception):
    """A task cost its process its life, whenever it was tried."""


def outcomes(
    function: Callable[[Task], Result], tasks: Iterable[Task], engine: str, workers: int | None = None
) -> Outcomes[Task, Result]:
    """Each task with its result, or the exception that it ended with, in the order in which they end.

    `engine` is local (`workers` processes, this very process where that is 1) or dask://HOST:PORT, a scheduler.
    """
    if engine == "local":
        count = workers or os.cpu_count() or 1
        return _one_by_one(function, tasks) if count == 1 else _on_processes(function, tasks, count)
    if engine.startswith("dask://") and workers is None:
        return _on_dask(function, tasks, f"tcp://{engine.removeprefix('dask://')}")
    if engine.startswith("dask://"):
        raise InputError(f"--workers {workers}: a cluster has the workers that were started for it.")
    raise InputError(f"--engine {engine}: expected local or dask://HOST:PORT.")


def _one_by_one(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Outcomes[Task, Result]:
    for task in tasks:
        try:
            yield task, function(task)
        except Exception as error:
            yield task, error


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork of a notebook's kernel or of DuckDB's threads may stand still for ever.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _on_processes(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Outcomes[Task, Result]:
    waiting = iter(tasks)
    suspects: list[Task] = []
    while first := list(islice(waiting, 2 * workers)):
        broken = False
        with _pool(workers) as pool:
            under_way: dict[Future[Result], Task] = {}
            while first or under_way:
                for task in first:
                    try:
                        under_way[pool.submit(function, task)] = task
                    except BrokenProcessPool:
                        suspects.append(task)
                ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ended:
                    task, wrong = under_way.pop(future), future.exception()
                    if isinstance(wrong, BrokenProcessPool):  # one of those under way killed its process
                        broken = True
                        suspects.append(task)
                    else:
                        yield task, wrong if isinstance(wrong, Exception) else future.result()
                first = [] if broken else list(islice(waiting, len(ended)))
    for task in suspects:
        with _pool(1) as pool:
            try:
                yield task, pool.submit(function, task).result()
            except BrokenProcessPool:
                yield task, TaskKilled(_KILLED)
            except Exception as error:
                yield task, error


def _on_dask(function: Callable[[Task], Result], tasks: Iterable[Task], address: str) -> Outcomes[Task, Result]:
    suspects: list[Task] = []
    with _connected(address) as client:
        for task, result in _by_workers(client, function, tasks, _UNDER_WAY):
            if isinstance(result, TaskKilled):  # or it waited at a worker that another one killed
                suspects.append(task)
            else:
                yield task, result
        yield from _by_workers(client, function, suspects, 1)


def _by_workers(
    client: Client, function: Callable[[Task], Result], tasks: Iterable[Task], most: int
) -> Outcomes[Task, Result]:
    from distributed import KilledWorker, as_completed

    waiting = iter(tasks)
    under_way: dict[object, Task] = {}

    def submitted(count: int) -> Iterator[object]:
        for task in islice(waiting, count):
            future = client.submit(function, task, pure=False)
            under_way[future.key] = task
            yield future

    ended = as_completed(submitted(most), loop=client.loop)
    for future in ended:
        try:
            task, wrong = under_way.pop(future.key), future.exception()
            result = TaskKilled(_KILLED) if isinstance(wrong, KilledWorker) else wrong or future.result()
        except (OSError, CancelledError) as error:
            raise InputError(f"the Dask scheduler went away ({error}); run it again: what is done stays.") from error
        yield task, result
        future.release()
        for another in submitted(1):
            ended.add(another)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """A scheduler that answers, has workers, and has warmstall on all of them."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError('a Dask cluster is asked with distributed: install "warmstall[fleet]".') from None
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{address}: no Dask scheduler answers there ({error}).") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise InputError(f"{address}: this scheduler has no worker; start some with: dask worker.") from None
        _check_installed(client, address)
        yield client


def _check_installed(client: Client, address: str) -> None:
    """Refuse a cluster without warmstall in one sentence, before each of its hosts is a row with a long one."""
    found: Any = client.get_versions(packages=["warmstall"])
    told = {f"the scheduler {address}": found["scheduler"]} | {
        f"worker {at}": own for at, own in found["workers"].items()
    }
    if without := [name for name, own in told.items() if not own["packages"].get("warmstall")]:
        raise InputError(f"{without[0]} has no warmstall; install the same on the scheduler and on all workers.")
