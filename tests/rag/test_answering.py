"""A question through the whole path: grounded, traced, and failing clearly where a part is bad."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from warmstall.drill.runner import free_port
from warmstall.drill.server_process import DrillServer
from warmstall.errors import StepFailed
from warmstall.rag.answering import RagPath
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

from .scripted_server import Answer, chat, lines, refusal, serving, trickling

QUESTION = "How long does a model stay in memory?"
TEXTS = ("A model stays in memory for five minutes.", "How long a model stays in memory is set by keep_alive.")
QUICK = PathSettings(attempts=1, attempt_timeout_s=10.0)
# Far more than any of the short deadlines below, far less than a test may take.
SOON_S = 10.0


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


def settings_of(folder: Path, url: str, **path: Any) -> RagSettings:
    """Hashed words and a DuckDB file: only the inference is another process."""
    return replace(
        RagSettings().lexical(),
        store=StoreSettings(path=str(folder / "knowledge.duckdb")),
        inference=InferenceSettings(url=url, model="tiny", options={"num_predict": 16}),
        path=replace(QUICK, **path),
    )


def fill(settings: RagSettings, texts: tuple[str, ...] = TEXTS) -> None:
    """All collections, with these texts in one of them."""
    with contextlib.closing(open_store(settings.store)) as store:
        for collection in settings.collections:
            embedder = open_embedder(settings.embedders[collection.embedder])
            store.create(collection.name, embedder)
            if texts and collection.name == "faq":
                chunks = [Chunk(f"{number}", text, f"faq-{number}.md") for number, text in enumerate(texts)]
                store.add("faq", chunks, embedder.embed(texts))


@contextlib.contextmanager
def opened(folder: Path, *answers: Answer, texts: tuple[str, ...] = TEXTS, **path: Any) -> Iterator[Any]:
    """A path over texts, whose model answers as told; and the server, and what the trace says so far."""
    with serving(*answers) as server:
        settings = settings_of(folder, server.url, **path)
        fill(settings, texts)
        trace = TraceFile(folder / "trace.jsonl")
        with RagPath(settings, tracer_to(trace)) as rag:
            yield rag, server, lambda: spans_of(folder)


def spans_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


def attributes(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (span,) = named(spans, name)
    return span["attributes"]  # type: ignore[no-any-return]


def fails(work: Callable[[], object], said: str) -> None:
    """It fails with StepFailed, says so, and soon."""
    began = time.monotonic()
    with pytest.raises(StepFailed, match=said):
        work()
    assert time.monotonic() - began < SOON_S


def test_an_answer_comes_with_its_sources_and_its_citations(tmp_path: Path):
    with opened(tmp_path, chat("Five minutes [1], ", "or as keep_alive says [2][7].")) as (rag, server, trace):
        answer = rag.ask(QUESTION, arm="treatment")
        assert answer.text == "Five minutes [1], or as keep_alive says [2][7]."
        assert {hit.chunk.text for hit in answer.hits} == set(TEXTS)
        assert (answer.cited, answer.unfounded) == ((1, 2, 7), (7,))
        assert answer.generated.text == answer.text
        asked = server.asked[0][2]["messages"][1]["content"]
        assert all(hit.chunk.text in asked for hit in answer.hits)
        assert QUESTION in asked
        told = attributes(trace(), "question")
        assert told["warmstall.documents_found"] == 2
        assert (told["warmstall.cited"], told["warmstall.unfounded"]) == (3, 1)
        assert (told["warmstall.note_given"], told["warmstall.reasoning_left"]) == (False, False)
        assert (told["warmstall.answer_chars"], told["warmstall.arm"]) == (len(answer.text), "treatment")


def test_every_step_is_a_span_of_the_question(tmp_path: Path):
    with opened(tmp_path, chat("Yes [1].")) as (rag, _, trace):
        for embedder in rag.settings.embedders.values():
            forget(embedder)
        answer = rag.ask(QUESTION, user="u1")
    spans = trace()
    (root,) = named(spans, "question")
    assert root["parent_id"] is None
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{answer.trace_id}"}
    children = [span["name"] for span in spans if span["parent_id"] == root["context"]["span_id"]]
    assert children == ["retrieve", "prompt", "generate", "cite"]
    models = {name: {span["attributes"]["gen_ai.request.model"] for span in named(spans, name)}
              for name in ("load embedder", "embed")}  # fmt: skip
    assert models["load embedder"] == models["embed"] == {"hashed-words"}
    assert len(named(spans, "load embedder")) == 2
    assert attributes(spans, "prompt")["warmstall.sources"] == 2
    assert root["attributes"]["warmstall.documents_found"] == 2
    rag.embedders["small"]
    assert len(named(trace(), "load embedder")) == 2


def test_trace_and_log_hold_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG), opened(tmp_path, chat("An answer of words [9].")) as (rag, _, _):
        rag.ask(QUESTION)
    told = (tmp_path / "trace.jsonl").read_text() + caplog.text
    assert not any(text in told for text in (QUESTION, "An answer of words", *TEXTS))


def test_that_nothing_was_found_is_in_the_prompt_and_in_the_trace(tmp_path: Path):
    with opened(tmp_path, chat("The documents hold nothing."), texts=()) as (rag, server, trace):
        answer = rag.ask(QUESTION)
        assert (answer.hits, answer.cited) == ((), ())
        assert "Nothing was found" in server.asked[0][2]["messages"][1]["content"]
        told = attributes(trace(), "question")
        assert (told["warmstall.documents_found"], told["warmstall.note_given"]) == (0, True)


def test_the_note_can_be_left_out_to_show_what_happens(tmp_path: Path):
    answered = opened(tmp_path, chat("Ten [1]."), texts=(), say_when_nothing_found=False)
    with answered as (rag, server, trace):
        assert rag.ask(QUESTION).unfounded == (1,)
        assert "Nothing was found" not in server.asked[0][2]["messages"][1]["content"]
        assert attributes(trace(), "question")["warmstall.note_given"] is False


def test_reasoning_that_is_left_in_is_seen(tmp_path: Path):
    with opened(tmp_path, chat("<think>5?</think>Five [1]."), strip_reasoning=False) as (rag, _, trace):
        assert rag.ask(QUESTION).text == "<think>5?</think>Five [1]."
        assert attributes(trace(), "question")["warmstall.reasoning_left"] is True


def test_questions_of_several_threads_keep_their_traces_apart(tmp_path: Path):
    with opened(tmp_path, chat("Five [1].")) as (rag, _, trace), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: rag.ask(QUESTION), range(16)))
    traces = {answer.trace_id for answer in answers}
    assert len(traces) == 16
    for name in ("question", "prompt", "generate", "cite"):
        assert {span["context"]["trace_id"][2:] for span in named(trace(), name)} == traces


def test_an_empty_question_is_refused(tmp_path: Path):
    with opened(tmp_path, chat("Five.")) as (rag, server, _):
        fails(lambda: rag.ask("  \n"), "question is empty")
        assert not server.asked


def test_embedding_and_answer_of_a_drill_s_server(drill: DrillServer, tmp_path: Path):
    """Both models are real processes: what is embedded is found, and what is found is asked about."""
    settings = settings_of(tmp_path, drill.url)
    small = EmbedderSettings(model="all-minilm", dimensions=384, url=drill.url, max_distance=0.9)
    large = EmbedderSettings(model="nomic-embed-text", dimensions=768, url=drill.url, max_distance=0.9)
    settings = replace(settings, embedders={"small": small, "large": large})
    fill(settings)
    with RagPath(settings, tracer_to(TraceFile(tmp_path / "trace.jsonl"))) as rag:
        answer = rag.ask(QUESTION)
    assert len(answer.hits) == 2
    assert answer.text
    assert answer.generated.final["eval_count"] == 16
    # One embedding for each embedder, not one for each collection.
    assert len(named(spans_of(tmp_path), "embed")) == 2


BAD_ANSWERS = {
    "model absent": (refusal(404, "model 'tiny' not found"), "ollama pull tiny"),
    "queue full": (refusal(503, "server busy"), "503"),
    "cut": (lines('{"message": {"content": "a"}}'), "was cut"),
    "empty": (chat(""), "answered nothing"),
    "nothing but reasoning": (chat("", thinking="5? 6?"), "nothing came after its reasoning"),
    "an error after its beginning": (lines('{"error": "an error"}'), "ended the answer with an error"),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS)
def test_a_bad_answer_is_a_failed_question(bad: str, tmp_path: Path):
    answer, said = BAD_ANSWERS[bad]
    with opened(tmp_path, answer) as (rag, _, trace):
        fails(lambda: rag.ask(QUESTION), said)
        (root,) = named(trace(), "question")
        assert root["status"]["status_code"] == "ERROR"
        assert root["attributes"]["warmstall.documents_found"] == 2


def test_a_model_that_hangs_fails_the_question_at_its_deadline(tmp_path: Path):
    stop = threading.Event()
    with opened(tmp_path, trickling("{}", stop), attempts=2, attempt_timeout_s=0.5) as (rag, _, trace):
        try:
            fails(lambda: rag.ask(QUESTION), "within 0.5 s")
            assert attributes(trace(), "generate")["warmstall.attempts"] == 2
        finally:
            stop.set()


def test_no_server_fails_the_question(tmp_path: Path):
    settings = settings_of(tmp_path, f"http://127.0.0.1:{free_port()}")
    fill(settings)
    with RagPath(settings, tracer_to()) as rag:
        fails(lambda: rag.ask(QUESTION), "no server answers")


def test_a_store_that_is_down_fails_before_anything_is_asked(tmp_path: Path):
    with serving(chat("Five.")) as server:
        settings = settings_of(tmp_path, server.url)
        down = StoreSettings("chroma", url=f"http://127.0.0.1:{free_port()}", timeout_s=2.0)
        fails(lambda: RagPath(replace(settings, store=down), tracer_to()).ask(QUESTION), "(?i)chroma")
        assert not server.asked


def test_a_missing_collection_fails_the_question(tmp_path: Path):
    with serving(chat("Five.")) as server:
        with RagPath(settings_of(tmp_path, server.url), tracer_to()) as rag:
            fails(lambda: rag.ask(QUESTION), "documentation")
        assert not server.asked


def test_an_embedder_of_another_dimension_or_of_nan_fails_the_question(tmp_path: Path):
    rows = {"NaN": [float("nan")] * 384, "of 8": [0.5] * 8}
    for name, vector in rows.items():
        with serving(lines(json.dumps({"embeddings": [vector]}), kind="application/json")) as server:
            settings = settings_of(tmp_path, server.url)
            fill(settings)
            bad = EmbedderSettings(model="all-minilm", url=server.url)
            settings = replace(settings, embedders={**settings.embedders, "small": bad})
            with RagPath(settings, tracer_to()) as rag:
                fails(lambda rag=rag: rag.ask(QUESTION), name.removeprefix("of "))  # type: ignore[misc]
            forget(bad)


def test_a_prompt_of_thousands_of_tokens_is_answered_and_flagged(drill: DrillServer, tmp_path: Path):
    settings = settings_of(tmp_path, drill.url)
    fill(settings)
    with RagPath(settings, tracer_to(TraceFile(tmp_path / "trace.jsonl"))) as rag:
        answer = rag.ask(QUESTION + " and then" * 6000)
    assert answer.text
    (note,) = answer.generated.notes
    assert "it may have been cut (num_ctx)" in note
    assert attributes(spans_of(tmp_path), "generate")["warmstall.prompt_may_be_cut"] is True
