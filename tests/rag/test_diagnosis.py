"""What the path's own trace leads to: faults of a real path against a real server, found in the evidence that it left.

No model is asked but the drill's; embeddings are hashed words, and the store is a DuckDB file.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from warmstall.analysis import Analysis, analyze
from warmstall.drill.server_process import DrillServer
from warmstall.errors import StepFailed
from warmstall.hypotheses import judge
from warmstall.observed import steps
from warmstall.rag.answering import LazyEmbedders, RagPath
from warmstall.rag.embedders.opening import forget, open_embedder
from warmstall.rag.records import Chunk
from warmstall.rag.settings import (
    EmbedderSettings,
    InferenceSettings,
    PathSettings,
    RagSettings,
    StoreSettings,
)
from warmstall.rag.stores.opening import open_store
from warmstall.rag.tracing import TraceFile, tracer_to

from .scripted_server import chat, serving

QUESTION = "How long does a model stay in memory?"
TEXTS = ("A model stays in memory for five minutes.", "How long a model stays in memory is set by keep_alive.")


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


@contextlib.contextmanager
def path_in(case: Path, url: str, texts: tuple[str, ...] = TEXTS, **path: Any) -> Iterator[RagPath]:
    """A path over these texts that leaves its trace in a case."""
    settings = replace(
        RagSettings().lexical(),
        store=StoreSettings(path=str(case / "knowledge.duckdb")),
        inference=InferenceSettings(url=url, model="tiny", options={"num_predict": 16}),
        path=replace(PathSettings(attempts=1), **path),
    )
    evidence = case / "evidence" / "box"
    evidence.mkdir(parents=True)
    with contextlib.closing(open_store(settings.store)) as store:
        for collection in settings.collections:
            embedder = open_embedder(settings.embedders[collection.embedder])
            store.create(collection.name, embedder)
            if texts and collection.name == "faq":
                chunks = [Chunk(f"{number}", text, f"faq-{number}.md") for number, text in enumerate(texts)]
                store.add("faq", chunks, embedder.embed(texts))
    with RagPath(settings, tracer_to(TraceFile(evidence / "trace.jsonl"))) as rag:
        yield rag


def found(analysis: Analysis) -> dict[str, str]:
    """The states of what the evidence speaks for, by hypothesis."""
    return {one.id: one.state for one in judge(analysis) if one.found}


def test_a_healthy_path_and_its_server_are_one_story(drill: DrillServer, tmp_path: Path) -> None:
    """Every call of the trace is one of the server's requests, and nothing is called ill."""
    case = tmp_path / "case"
    with path_in(case, drill.url) as rag:
        for number in range(3):
            rag.ask(f"{QUESTION} {number}", user="ann")
    (case / "evidence" / "box" / "server.log").write_bytes(drill.log.read_bytes())
    analysis = analyze(case)
    ill = [one.id for one in judge(analysis) if one.found and one.severity != "info"]
    assert ill == []
    trials = analysis.case.rows("trials")
    assert [trial["status"] for trial in trials] == ["200"] * 3
    assert analysis.unmatched_trials == []
    told = steps.steps(analysis.case)
    assert {"question", "embed", "search", "generate", "retrieve", "prompt", "cite", "merge"} <= set(told["step"])
    assert float(told["share"].sum()) == pytest.approx(1.0)
    assert QUESTION not in (case / "evidence" / "box" / "trace.jsonl").read_text()


@pytest.mark.parametrize(
    ("answer", "texts", "path", "cause"),
    [
        ("As the handbook says [7].", TEXTS, {}, "ungrounded_answers"),
        ("<think>They ask for a time.</think>Five minutes [1].", TEXTS, {"strip_reasoning": False}, "reasoning_leak"),
        ("I do not know.", (), {}, "empty_retrieval"),
        ("Five minutes.", (), {"say_when_nothing_found": False}, "ungrounded_answers"),
        ("Five minutes [1].", TEXTS, {"retrieval": "sequential"}, "sequential_retrieval"),
    ],
)
def test_a_fault_of_the_path_is_found_in_its_trace(
    tmp_path: Path, answer: str, texts: tuple[str, ...], path: dict[str, Any], cause: str
) -> None:
    with serving(*[chat(answer)] * 4) as server, path_in(tmp_path / "case", server.url, texts, **path) as rag:
        for number in range(4):
            rag.ask(f"{QUESTION} {number}", user="ann")
    told = found(analyze(tmp_path / "case"))
    assert told.get(cause) in ("confirmed", "supported"), told


def test_a_thread_that_waits_for_a_load_has_no_load_of_its_own(tmp_path: Path) -> None:
    """Eight threads at the first use: one load in the trace, so nothing ran beside it."""
    slow = EmbedderSettings(kind="two-phase", dimensions=64)
    forget(slow)
    trace, barrier = TraceFile(tmp_path / "trace.jsonl"), threading.Barrier(8)
    embedders = LazyEmbedders({"small": slow}, tracer_to(trace))

    def first_use(_: int) -> None:
        barrier.wait(30)
        embedders["small"]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(first_use, range(8)))
    forget(slow)
    assert trace.path.read_text().count('"load embedder"') == 1


def test_embedders_that_load_at_once_are_found_to_race(tmp_path: Path) -> None:
    racing = EmbedderSettings(kind="two-phase", dimensions=64, lock=False)
    with serving(chat("never asked")) as server, path_in(tmp_path / "case", server.url) as rag:
        forget(racing)
        rag.settings = replace(rag.settings, embedders=dict.fromkeys(rag.settings.embedders, racing))
        raced = RagPath(rag.settings, rag.tracer)
        with raced, ThreadPoolExecutor(4) as pool:
            for question in [pool.submit(raced.retrieve, QUESTION) for _ in range(4)]:
                with contextlib.suppress(StepFailed):
                    question.result()
        forget(racing)
    assert found(analyze(tmp_path / "case")).get("embedder_race") == "confirmed"
