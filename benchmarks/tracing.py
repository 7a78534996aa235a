"""What the trace costs a question, in percent of a call of one second: `python benchmarks/tracing.py [--questions 60]`.

One question takes turns at three paths over the same store and the same drill server, so that whatever else the
machine does meets all alike: without spans (OpenTelemetry's tracer that does nothing), with the trace in a file, and
with the trace as `warmstall reproduce` writes it, each line redacted. Told are the medians of what a question takes
longer than the one without spans of its turn, and of what it takes more of the processor: the second holds on a
machine that has others to serve as well. Ends with exit code 1 where the processor's time breaks the bound.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from opentelemetry.trace import NoOpTracer, Tracer

from warmstall.drill.server_process import DrillServer
from warmstall.rag.answering import RagPath
from warmstall.rag.embedders.opening import open_embedder
from warmstall.rag.records import Chunk
from warmstall.rag.settings import InferenceSettings, RagSettings, StoreSettings
from warmstall.rag.stores.opening import open_store
from warmstall.rag.tracing import TraceFile, tracer_to
from warmstall.reproduce.case import ReproductionCase

CALL_S = 1.0
BOUND = 0.02
_QUESTION = "How long does a model stay in memory?"
_TEXTS = [f"A model stays in memory for {minutes} minutes." for minutes in range(40)]


@dataclass
class Arm:
    """One way to trace, and the seconds that its questions took."""

    name: str
    tracer: Tracer
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def ask(self, path: RagPath) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        path.ask(_QUESTION, user="one")
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60, help="of each path, at least 30")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, DrillServer(Path(name) / "drill") as server:
        folder = Path(name)
        settings = replace(
            RagSettings().lexical(),
            store=StoreSettings(path=str(folder / "knowledge.duckdb")),
            inference=InferenceSettings(url=server.url, model="tiny", options={"num_predict": 64}),
        )
        with ReproductionCase(folder / "case", {"benchmark": "tracing"}) as case:
            arms = [
                Arm("without spans", NoOpTracer()),
                Arm("trace in a file", tracer_to(TraceFile(folder / "trace.jsonl"))),
                Arm("trace of a case, redacted", case.trace()),
            ]
            _measure(arms, settings, max(30, asked.questions))
            spans = len((folder / "trace.jsonl").read_text().splitlines()) // len(arms[1].wall_s)
    return _tell(arms, spans)


def _measure(arms: list[Arm], settings: RagSettings, questions: int) -> None:
    with contextlib.closing(open_store(settings.store)) as store:
        for collection in settings.collections:
            embedder = open_embedder(settings.embedders[collection.embedder])
            store.create(collection.name, embedder)
            chunks = [Chunk(f"{number}", text, "a.md", user="one") for number, text in enumerate(_TEXTS)]
            store.add(collection.name, chunks, embedder.embed(_TEXTS))
    order = Random(1)
    # One path whose tracer is exchanged: DuckDB's file has room for one.
    with RagPath(settings, NoOpTracer()) as path:
        path.ask(_QUESTION, user="one")
        for _ in range(questions):
            for arm in order.sample(arms, len(arms)):
                path.tracer = arm.tracer
                arm.ask(path)


def _tell(arms: list[Arm], spans: int) -> int:
    bare, *traced = arms
    print(
        f"a question without spans: {1e3 * statistics.median(bare.wall_s):.1f} ms, "
        f"{1e3 * statistics.median(bare.cpu_s):.1f} ms of the processor (medians of {len(bare.wall_s)})"
    )
    worst = 0.0
    for arm in traced:
        wall_s = statistics.median(a - b for a, b in zip(arm.wall_s, bare.wall_s, strict=True))
        cpu_s = statistics.median(a - b for a, b in zip(arm.cpu_s, bare.cpu_s, strict=True))
        worst = max(worst, cpu_s / CALL_S)
        print(
            f"{arm.name} ({spans} spans a question): {1e3 * wall_s:+.2f} ms, processor {1e3 * cpu_s:+.2f} ms: "
            f"{100 * wall_s / CALL_S:.2f} % and {100 * cpu_s / CALL_S:.2f} % of a call of {CALL_S:g} s"
        )
    print(f"the bound of {100 * BOUND:g} % of a call {'holds' if worst < BOUND else 'is broken'}")
    return 0 if worst < BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
