"""Runs one scenario: server, clients, faults and samples at once, and leaves a case folder with its truth.

What is left is a case: under evidence/drill/ server.log, trials.csv, limits.txt, samples/ (ps.jsonl, simulated.jsonl),
the embedding service's log where there is one, and trace.jsonl and application.log where questions were asked; beside
evidence/, where no analysis reads it, truth.jsonl and scenario.toml. No process.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ..errors import InputError, OutputError
from .gpu import SimulatedGpu
from .growth import CAP_BYTES, HEADROOM_BYTES
from .injector import Injector
from .path_calls import path_calls
from .samples import Samples, SimulatedMemory
from .scenario import EMBEDDING_SERVICE, Scenario
from .services import EmbeddingService
from .timetable import Timetable
from .traffic import PATIENCE_AT_THE_END_S, Clients, moment, write_trials
from .truth import Interval, Truth, read_notes, write_truth

if TYPE_CHECKING:
    from .questions import Application
    from .server_process import DrillServer

# Where the evidence lies in the case; the drill is its host.
EVIDENCE = Path("evidence") / "drill"
# Second 0 comes this long after everything has started: whoever reads the timetable has read it again by then.
_START_S = 0.3


@dataclass(frozen=True)
class Outcome:
    """One run: where it lies, and what was done. `problems` are faults that could not be done."""

    scenario: str
    version: str
    seed: int
    folder: Path
    began: float
    ended: float
    truths: tuple[Truth, ...]
    intervals: tuple[Interval, ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        verdicts = Counter(truth.verdict for truth in self.truths)
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        done = ", ".join(
            f"{interval.fault.kind} for {interval.ended - interval.began:.0f} s" for interval in self.intervals
        )
        return (
            f"{self.scenario} as Ollama {self.version}, seed {self.seed}: {len(self.truths)} requests in "
            f"{self.ended - self.began:.0f} s.\nWhat was done: {done or 'nothing'}.\n"
            f"What is true: {counts or 'no request'} (truth.jsonl).\nCase: {self.folder}"
        )

    def as_json(self) -> dict[str, Any]:
        """The outcome, its truths as counts of verdicts."""
        return {
            "scenario": self.scenario, "version": self.version, "seed": self.seed, "case": str(self.folder),
            "seconds": round(self.ended - self.began, 3), "requests": len(self.truths),
            "by_verdict": dict(Counter(truth.verdict for truth in self.truths)),
            "faults": [interval.row() for interval in self.intervals], "problems": list(self.problems),
        }  # fmt: skip


def run_scenario(scenario: Scenario, folder: Path, version: str | None = None, seed: int | None = None) -> Outcome:
    """Run it to its end and write its case folder.

    May run in several threads at once. Raises InputError where memory may not grow for want of room, and OutputError
    where the folder cannot be used.
    """
    if scenario.grows_memory and psutil.virtual_memory().available < CAP_BYTES + HEADROOM_BYTES:
        need_gib = (CAP_BYTES + HEADROOM_BYTES) / 2**30
        raise InputError(
            f"{scenario.name}: its runner's memory grows, and this machine has less than {need_gib:.2f} GiB available."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(f"{folder}: it is not empty; expected a new folder for the run.")
        (folder / EVIDENCE / "samples").mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}).") from None
    timetable = Timetable(math.inf, scenario.timetable_faults, scenario.seed if seed is None else seed)
    return asyncio.run(_run(scenario, folder, version or scenario.versions[0], timetable))


async def _run(scenario: Scenario, folder: Path, version: str, timetable: Timetable) -> Outcome:
    work, evidence = folder / "work", folder / EVIDENCE
    work.mkdir()
    timetable.save(work / "timetable.json")
    server = _server(scenario, work, version, timetable.seed)
    service = EmbeddingService(evidence) if scenario.has_embedding_service else None
    application = None
    try:
        # In a thread of the loop's own pool, which lives as long as the loop: the server dies with who started it.
        await asyncio.to_thread(server.__enter__)
        if service:
            await service.ready()
        _write_limits(evidence / "limits.txt", server.pid)
        clients = Clients(scenario, timetable, server.url, service.url if service else "")
        if scenario.asks_questions:
            application = clients.application = _application(scenario, clients, evidence, work)
            await asyncio.to_thread(application.prepare)
        timetable.epoch = time.time() + _START_S
        timetable.save(work / "timetable.json")
        if application:
            application.leaves_at = timetable.epoch + scenario.duration_s + PATIENCE_AT_THE_END_S
        injector = Injector(server, clients, timetable, service)
        await _play(scenario, evidence, timetable, server, service, clients, injector)
        problems = [*injector.problems, *([] if server.pid else ["the server ended by itself"])]
    finally:
        if application:
            await asyncio.to_thread(application.close)
        if service:
            await asyncio.to_thread(service.stop)
        await asyncio.to_thread(server.__exit__, None, None, None)
    trials = [trial for trial in clients.trials if trial.endpoint != EMBEDDING_SERVICE]
    shutil.copyfile(server.log, evidence / "server.log")
    write_trials(evidence / "trials.csv", trials)
    notes = read_notes(server.truth)
    trials += path_calls(notes, injector.intervals)
    truths = write_truth(folder / "truth.jsonl", trials, notes, injector.intervals)
    _write_scenario(folder / "scenario.toml", scenario, version, timetable)
    shutil.rmtree(work)
    return Outcome(
        scenario.name, version, timetable.seed, folder, timetable.epoch, time.time(), tuple(truths),
        tuple(injector.intervals), tuple(problems),
    )  # fmt: skip


async def _play(
    scenario: Scenario, evidence: Path, timetable: Timetable, server: DrillServer, service: EmbeddingService | None,
    clients: Clients, injector: Injector,
) -> None:  # fmt: skip
    """Everything that happens between start and end: when the clients are done, so is the rest."""

    def pids() -> list[int]:
        found = [server.pid, *server.runner_pids()]
        with suppress(psutil.Error):
            found += service.pids() if service else []
        return found

    gpu = SimulatedGpu.read(scenario.gpu)
    memory = SimulatedMemory() if scenario.grows_memory else None
    samples = Samples(evidence / "samples", server.url, pids, timetable, gpu, memory)
    stop = asyncio.Event()
    sampling = asyncio.create_task(samples.run(stop))
    faults = asyncio.create_task(injector.run(scenario.faults))
    try:
        await asyncio.gather(clients.run(), faults)
    finally:
        injector.release()
        stop.set()
        faults.cancel()
        await asyncio.gather(sampling, faults, return_exceptions=True)
    sampling.result()


def _application(scenario: Scenario, clients: Clients, evidence: Path, work: Path) -> Application:
    # The path takes half a second to be imported, and only few drills ask questions.
    from .questions import Application

    return Application(scenario, clients.urls, evidence, work, clients.began_to_answer)


def _server(scenario: Scenario, work: Path, version: str, seed: int) -> DrillServer:
    from .server_process import DrillServer

    environment = dict(scenario.environment)
    return DrillServer(
        work,
        version=version,
        environment=environment,
        timetable=work / "timetable.json",
        seed=seed,
        gpu=scenario.gpu or None,
    )


def _write_limits(path: Path, pid: int) -> None:
    """The limits that the server really has, where the system shows them."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")
        path.write_text(f"==> /proc/{pid}/limits <==\n{text}", encoding="utf-8")


def _write_scenario(path: Path, scenario: Scenario, version: str, timetable: Timetable) -> None:
    """The scenario's own text, and how it was played."""
    said = f"# Played with version {version} and seed {timetable.seed}; second 0 was {moment(timetable.epoch)}.\n"
    path.write_text(said + scenario.text, encoding="utf-8")
