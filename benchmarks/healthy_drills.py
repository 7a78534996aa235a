"""How often recover-stuck-runner ends a runner of a healthy server: `python benchmarks/healthy_drills.py [DRILLS]`.

Each drill is a new server, of another version and seed, under one kind of healthy load. The runbook looks while it
lasts, with its defaults, and whatever plan it shows is approved. Three of the loads stay past their time and work: an
answer that outlives keep_alive, one whose tokens come slowly, a prompt that is read slowly. Prints a line a kind of
load and `100 drills, 0 acts`; exit code 1 when there was an act.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx

from warmstall.drill.eras import ERAS
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable
from warmstall.remediate.book import Book
from warmstall.remediate.catalogue import runbook
from warmstall.remediate.target import open_target

RUNBOOK = "recover-stuck-runner"
LOOK_S = float(runbook(RUNBOOK).settings["look_s"])
PATIENCE_S = 120.0
# Drills mostly wait, for the looks of the runbook.
AT_ONCE = 8


@dataclass(frozen=True)
class Load:
    """One kind of healthy load: what each client sends over and over, the faults that only slow it down."""

    name: str
    clients: int
    body: Callable[[Random], dict[str, Any]]
    faults: tuple[Fault, ...] = ()
    stays: bool = False  # its model is past its time and works


def _asked(model: str, tokens: int, **more: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "why? " * more.pop("words", 1), "options": {"num_predict": tokens}, **more}


LOADS = (
    Load("idle", 0, lambda chance: _asked("mid", 1)),
    Load("streaming", 1, lambda chance: _asked("mid", chance.randrange(200, 900))),
    Load("queueing", 4, lambda chance: _asked("mid", chance.randrange(100, 400))),
    Load("slow loads", 1, lambda chance: _asked("tiny", 20, keep_alive=0), (Fault("slow_load", intensity=2.0),)),
    Load("expiring", 2, lambda chance: _asked("tiny", chance.randrange(5, 60), keep_alive="100ms")),
    Load("outliving keep_alive", 1, lambda chance: _asked("mid", 20_000), stays=True),
    Load("slow decode", 1, lambda chance: _asked("mid", 3000), (Fault("slow_decode", intensity=6.0),), stays=True),
    Load("slow prefill", 1, lambda chance: _asked("mid", 5, words=chance.randrange(3000, 4000)),
         (Fault("slow_prefill", intensity=12.0),), stays=True),
    Load("two models", 3, lambda chance: _asked(chance.choice(("mid", "tiny")), chance.randrange(50, 400))),
    Load("clients that leave", 2, lambda chance: _asked("mid", 5000, leaves_s=chance.uniform(0.2, 1.5))),
)  # fmt: skip


@dataclass(frozen=True)
class Drilled:
    """What became of one drill; `acted` is never to be true."""

    load: str
    version: str
    acted: bool
    status: str
    sentence: str
    problems: tuple[str, ...]


@contextmanager
def under_load(server: DrillServer, load: Load, seed: int) -> Iterator[list[str]]:
    """The server while its clients ask, after each has begun; what went wrong with an answer is in the list."""
    over, problems = threading.Event(), list[str]()
    begun = [threading.Event() for _ in range(load.clients)]

    def ask(number: int) -> None:
        chance = Random(f"{seed} {number}")
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as http:
            while not over.is_set():
                body = load.body(chance)
                ends = time.monotonic() + body.pop("leaves_s", PATIENCE_S)
                begun[number].set()
                try:
                    with http.stream("POST", "/api/generate", json=body) as answer:
                        for line in answer.iter_lines():
                            if '"error"' in line:
                                problems.append(line[:200])
                            if over.is_set() or time.monotonic() > ends:
                                break
                except httpx.HTTPError as error:
                    if not over.is_set():
                        problems.append(f"{type(error).__name__}: {error}")

    if load.stays or not load.clients:
        httpx.post(f"{server.url}/api/generate", json=_asked("mid", 1), timeout=PATIENCE_S, trust_env=False)
    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(load.clients)]
    for thread in threads:
        thread.start()
    for one in begun:
        one.wait(PATIENCE_S)
    if load.stays:
        _until_past(server)
    try:
        yield problems
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def _until_past(server: DrillServer) -> None:
    """Tell the model to leave while it answers, as `ollama stop` does, until it is past its time."""
    target, ends = open_target("local", server.port), time.monotonic() + PATIENCE_S
    while True:
        there = target.models_in_memory(PATIENCE_S)
        if any(one.is_past(target.now()) for one in there):
            return
        if time.monotonic() > ends:
            raise TimeoutError(f"no model was past its time after {PATIENCE_S:g} s")
        time.sleep(1.0)  # its request comes in meanwhile, which nobody tells before the first token
        for one in there:
            body = {"model": one.name, "keep_alive": 0}
            httpx.post(f"{server.url}/api/generate", json=body, timeout=PATIENCE_S, trust_env=False)


def drill(number: int, look_s: float = LOOK_S) -> Drilled:
    """One drill: the runbook on a server under a load, with whatever plan it shows approved."""
    load, version = LOADS[number % len(LOADS)], tuple(ERAS)[number % len(ERAS)]
    with tempfile.TemporaryDirectory(prefix="warmstall-healthy-") as folder:
        timetable = Path(folder) / "timetable.json"
        Timetable(0.0, load.faults, seed=number).save(timetable)
        with (
            DrillServer(Path(folder) / "drill", version=version, seed=number, timetable=timetable) as server,
            under_load(server, load, number) as problems,
        ):
            before = server.pid
            given = {"target": "local", "port": server.port, "look_s": look_s,
                     "journal": str(Path(folder) / "journal.jsonl"), "operator": "healthy drill"}  # fmt: skip
            with Book(RUNBOOK, given) as book:
                outcome = book.outcome()
            if outcome.plan and outcome.plan.acts:
                with Book(RUNBOOK, {**given, "dry_run": False, "approved_plan": outcome.plan.id}) as book:
                    outcome = book.outcome()
            # A run that got as far as its journal has acted, or tried to.
            acted = bool(outcome.run) or server.pid != before
            return Drilled(load.name, version, acted, outcome.status, str(outcome), tuple(problems))


def main(drills: int) -> int:
    began = time.monotonic()
    table: dict[str, Counter[str]] = {}
    acts = errors = 0
    with ThreadPoolExecutor(max_workers=AT_ONCE) as at_once:
        for number, one in enumerate(at_once.map(drill, range(drills))):
            table.setdefault(one.load, Counter())[one.status] += 1
            acts += one.acted
            errors += len(one.problems)
            if one.acted or one.problems:
                print(f"drill {number} ({one.load}, {one.version}): {one.sentence} {one.problems}", file=sys.stderr)
    statuses = sorted({status for row in table.values() for status in row} | {"nothing to do", "cannot tell"})
    print(f"{'load':22}" + "".join(f"{status:>15}" for status in statuses))
    for name, row in table.items():
        print(f"{name:22}" + "".join(f"{row[status]:>15}" for status in statuses))
    wall_s = time.monotonic() - began
    print(f"\n{drills} drills, {acts} acts ({wall_s:.0f} s; {errors} answers ended with an error)")
    return 1 if acts else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
