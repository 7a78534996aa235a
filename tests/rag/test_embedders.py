"""Each embedder answers vectors of length one, or says in one sentence what is wrong; against real servers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from drill.awaiting import until
from warmstall.drill.server_process import DrillServer
from warmstall.drill.services import EmbeddingService
from warmstall.errors import ParameterError, StepFailed
from warmstall.rag.embedders import hashed_words
from warmstall.rag.embedders.opening import forget, open_embedder
from warmstall.rag.settings import LEXICAL_MAX_DISTANCE, EmbedderSettings, checked_settings

from .odd_service import odd_service, send

TEXTS = ["a runner stalls although it is warm", "quarterly sales by region", "a warm runner that stalls"]


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


@pytest.fixture
def service(tmp_path: Path) -> Iterator[EmbeddingService]:
    service = EmbeddingService(tmp_path)
    try:
        asyncio.run(service.ready())
        yield service
    finally:
        service.stop()


def by_ollama(url: str, **more: Any) -> EmbedderSettings:
    return EmbedderSettings(**{"model": "embed", "dimensions": 256, "url": url, "timeout_s": 20.0, **more})


def by_http(url: str, **more: Any) -> EmbedderSettings:
    return EmbedderSettings(**{"kind": "http", "dimensions": 2, "url": url, "timeout_s": 20.0, **more})


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_ollama_answers_one_vector_of_length_one_for_each_text(ollama: DrillServer) -> None:
    found = open_embedder(by_ollama(ollama.url)).embed(TEXTS)
    assert found.shape == (3, 256)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0)
    assert found[0] @ found[2] > found[0] @ found[1]


@pytest.mark.parametrize("version", ["0.3.14", "0.32.15"])
def test_other_versions_of_ollama_are_asked_in_the_same_way(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server:
        assert open_embedder(by_ollama(server.url)).embed(TEXTS).shape == (3, 256)
        with pytest.raises(StepFailed, match="ollama pull absent"):
            open_embedder(by_ollama(server.url, model="absent")).embed(TEXTS)


def test_no_texts_are_no_vectors_and_no_call() -> None:
    down = f"http://127.0.0.1:{unused_port()}"
    for settings in (by_ollama(down), by_http(down, dimensions=256), EmbedderSettings("lexical", dimensions=256)):
        assert open_embedder(settings).embed([]).shape == (0, 256)


def test_an_empty_text_is_refused_by_every_embedder() -> None:
    down = f"http://127.0.0.1:{unused_port()}"
    for settings in (by_ollama(down), by_http(down), EmbedderSettings("lexical")):
        with pytest.raises(StepFailed, match=r"text 2 of 3 is empty; leave it out"):
            open_embedder(settings).embed(["a", "\n ", "b"])


def test_an_absent_model_is_named_with_the_command_that_gets_it(ollama: DrillServer) -> None:
    with pytest.raises(StepFailed, match=re.escape("no model 'nomic'")) as failed:
        open_embedder(by_ollama(ollama.url, model="nomic")).embed(TEXTS)
    assert "ollama pull nomic" in str(failed.value)


def test_another_dimension_says_what_came_what_was_expected_and_what_to_set(ollama: DrillServer) -> None:
    with pytest.raises(StepFailed, match="have 256 numbers, 384 were expected; set dimensions to 256"):
        open_embedder(by_ollama(ollama.url, dimensions=384)).embed(TEXTS)


def test_a_long_text_is_cut_only_with_a_word_in_the_log(ollama: DrillServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "warmstall.rag"):
        found = open_embedder(by_ollama(ollama.url)).embed(["secret words of a text " * 4000])
    assert found.shape == (1, 256)
    assert "longer than its context and were cut" in caplog.text
    assert "secret" not in caplog.text


def test_a_text_that_is_refused_cut_as_well_fails() -> None:
    """Some versions say so of models whose own limit is below the one that the server cuts to."""
    asked_for: list[bool] = []

    def refuses(handler: Any, asked: Any) -> None:
        asked_for.append(asked["truncate"])
        send(handler, '{"error": "the input length exceeds the context length"}', 500)

    with odd_service(refuses) as url, pytest.raises(StepFailed, match=r"answered 500 .the input length exceeds"):
        open_embedder(by_ollama(url)).embed(["a"])
    assert asked_for == [False, True]


def test_a_model_that_writes_makes_no_vectors(tmp_path: Path) -> None:
    with DrillServer(tmp_path, version="0.32.15") as server, pytest.raises(StepFailed, match="makes no vectors"):
        open_embedder(by_ollama(server.url, model="tiny")).embed(TEXTS)


def test_a_server_that_is_down_is_named(caplog: pytest.LogCaptureFixture) -> None:
    for settings in (by_ollama(url := f"http://127.0.0.1:{unused_port()}"), by_http(url)):
        with pytest.raises(StepFailed, match=f"nothing listens at {url}"):
            open_embedder(settings).embed(["private words"])
    assert caplog.text.count("nothing listens") == 2
    assert "private" not in caplog.text


def test_a_server_without_the_route_is_told_from_one_without_the_model() -> None:
    def before_0_2_6(handler: Any, asked: Any) -> None:
        send(handler, '{"version": "0.1.48"}') if asked is None else send(handler, "404 page not found", 404)

    with (
        odd_service(before_0_2_6) as url,
        pytest.raises(StepFailed, match=r"has no /api/embed \(it says version 0\.1\.48\); Ollama has it from 0\.2\.6"),
    ):
        open_embedder(by_ollama(url)).embed(TEXTS)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("[[1.0, NaN]]", "vector of text 1 of 1 has NaN"),
        ("[[1.0, null]]", "vector of text 1 of 1 has NaN"),
        ("[[1.0, Infinity]]", "NaN or infinite"),
        ("[[0.0, 0.0]]", "nothing but zeros"),
        ("[[1.0, 2.0, 3.0]]", "have 3 numbers, 2 were expected; set dimensions to 3"),
        ("[1.0, 2.0]", "2 vectors for 1 texts"),
        ("[]", "0 vectors for 1 texts"),
        ('[["a", "b"]]', "no table of numbers"),
        ("null", "NoneType for 1 texts"),
    ],
)
def test_vectors_that_are_none_are_refused_whoever_sends_them(answer: str, told: str) -> None:
    with odd_service(lambda handler, asked: send(handler, f'{{"embeddings": {answer}}}')) as url:
        for settings in (by_ollama(url, dimensions=2), by_http(url)):
            with pytest.raises(StepFailed, match=told):
                open_embedder(settings).embed(["a"])


def test_numbers_beyond_float32_still_have_a_direction() -> None:
    with odd_service(lambda handler, asked: send(handler, '{"vectors": [[3e300, 4e300], [3e-300, 4e-300]]}')) as url:
        assert np.allclose(open_embedder(by_http(url)).embed(["a", "b"]), [[0.6, 0.8], [0.6, 0.8]])


def test_what_ollama_says_of_nan_is_understood() -> None:
    said = '{"error": "failed to encode response: json: unsupported value: NaN"}'
    with odd_service(lambda handler, asked: send(handler, said, 500)) as url, pytest.raises(StepFailed, match="NaN"):
        open_embedder(by_ollama(url)).embed(["a"])


def test_an_answer_that_trickles_is_late_all_the_same() -> None:
    """A socket's own deadline never comes while a byte does: the deadline is of the whole call."""
    ended = threading.Event()

    def trickle(handler: Any, asked: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    with odd_service(trickle) as url:
        try:
            for settings in (by_ollama(url, timeout_s=0.5), by_http(url, timeout_s=0.5)):
                with pytest.raises(StepFailed, match=r"no answer from \S+ within 0\.5 s"):
                    open_embedder(settings).embed(["a"])
        finally:
            ended.set()


def test_the_drills_service_is_understood_and_says_that_it_is_lexical(service: EmbeddingService) -> None:
    embedder = open_embedder(by_http(service.url, dimensions=128))
    assert np.allclose(embedder.embed(TEXTS)[1], hashed_words.embed(TEXTS[1], 128), atol=1e-6)
    assert embedder.lexical


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("texts", {"vectors": [[0.0, 1.0], [1.0, 0.0]]}),
        ("texts", {"embeddings": [[0.0, 1.0], [1.0, 0.0]]}),
        ("inputs", [[0.0, 1.0], [1.0, 0.0]]),
        ("input", {"data": [{"index": 1, "embedding": [1.0, 0.0]}, {"index": 0, "embedding": [0.0, 1.0]}]}),
    ],
)
def test_the_shape_of_a_service_is_found_out_once(field: str, answer: Any) -> None:
    asked_for: list[list[str]] = []

    def answered(handler: Any, asked: Any) -> None:
        asked_for.append(list(asked))
        known = asked.get(field) == ["a", "b"] and handler.path == "/embed"
        send(handler, json.dumps(answer if known else {"detail": "field required"}), 200 if known else 422)

    with odd_service(answered) as url:
        embedder = open_embedder(by_http(url))
        assert embedder.embed(["a", "b"]).tolist() == [[0.0, 1.0], [1.0, 0.0]]
        tried = len(asked_for)
        embedder.embed(["a", "b"])
    assert len(asked_for) == tried + 1
    assert field in asked_for[-1]


def test_a_service_that_knows_none_of_the_shapes_is_quoted() -> None:
    said = '{"detail": "field required: documents"}'
    told = re.escape("answered 422 (field required: documents); 200 was expected")
    with odd_service(lambda handler, asked: send(handler, said, 422)) as url, pytest.raises(StepFailed, match=told):
        open_embedder(by_http(url)).embed(["a"])


@pytest.mark.parametrize(
    "said",
    [
        {"detail": [{"type": "missing", "loc": ["body", "documents"], "msg": "Field required", "input": "TEXT"}]},
        {"error": "cannot read: TEXT"},
    ],
)
def test_a_service_that_repeats_the_text_is_not_quoted_with_it(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = "Is the contract with the harbour of our town void?"
    body = json.dumps(said).replace("TEXT", text)
    with odd_service(lambda handler, asked: send(handler, body, 422)) as url:
        for settings in (by_http(url), by_ollama(url)):
            with pytest.raises(StepFailed, match="answered 422") as failed:
                open_embedder(settings).embed([text])
            assert "harbour" not in str(failed.value) + caplog.text


@pytest.mark.parametrize("kind", ["http", "ollama"])
def test_a_password_in_an_address_is_refused_and_not_told(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = EmbedderSettings(kind, model="m", url="http://ann:hushed@127.0.0.1:9")
    with pytest.raises(ParameterError, match="names a user or a password") as failed:
        open_embedder(settings)
    assert "hushed" not in str(failed.value) + caplog.text


def test_a_worker_that_segfaults_in_a_call_is_a_reset_connection_and_logged(
    service: EmbeddingService, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = open_embedder(by_http(service.url, dimensions=128, timeout_s=60.0))
    embedder.embed(TEXTS)
    workers = [each for each in psutil.Process(service.pids()[0]).children() if "spawn_main" in "".join(each.cmdline())]
    before_s = sum(worker.cpu_times().user for worker in workers)

    def crash() -> None:
        # It works at the call once it has computed for so long.
        until(lambda: sum(worker.cpu_times().user for worker in workers) > before_s + 0.3)
        for worker in workers:
            worker.send_signal(signal.SIGSEGV)

    crashing = threading.Thread(target=crash)
    crashing.start()
    with pytest.raises(StepFailed, match=r"reset before the answer was whole .*its process may have crashed") as failed:
        embedder.embed(["private words " * 500] * 2000)
    crashing.join()
    assert str(failed.value) in caplog.text
    assert "private" not in caplog.text


def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    settings = EmbedderSettings("sentence-transformers", model="all-MiniLM-L6-v2")
    with pytest.raises(StepFailed, match="pip install sentence-transformers"):
        open_embedder(settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (EmbedderSettings("ollama"), "needs a model"),
        (EmbedderSettings("http"), "needs an address"),
        (EmbedderSettings("sentence-transformers"), "needs a model"),
    ],
)
def test_what_an_embedder_needs_is_asked_for(settings: EmbedderSettings, told: str) -> None:
    with pytest.raises(StepFailed, match=told):
        open_embedder(settings)


def test_unknown_kinds_and_dimensions_are_refused() -> None:
    with pytest.raises(ParameterError, match="'olama' is none of ollama, http"):
        open_embedder(EmbedderSettings("olama"))
    with pytest.raises(ParameterError, match="dimensions is 0"):
        open_embedder(EmbedderSettings("lexical", dimensions=0))
    assert checked_settings({"embedders": {"small": {"kind": "two-phase"}}}, "rag.toml").embedders["small"].kind


def test_hashed_words_find_the_text_that_answers_a_question() -> None:
    """And nothing for a question of something else; what they are stands in their name."""
    embedder = open_embedder(EmbedderSettings("lexical", dimensions=384))
    texts = [
        "OLLAMA_KEEP_ALIVE says how long a model stays loaded after its last request; -1 keeps it for ever.",
        "Swap is used when memory is short; the runner's pages are then read back from the disk.",
        "OLLAMA_NUM_PARALLEL is how many requests one loaded model answers at once.",
    ]
    questions = [
        "How do I keep a model loaded for ever?", "why does the runner swap its memory pages to disk",
        "How many requests are answered in parallel by one model?",
    ]  # fmt: skip
    distances = 1 - embedder.embed(questions) @ embedder.embed(texts).T
    assert distances.argmin(axis=1).tolist() == [0, 1, 2]
    assert distances.min(axis=1).max() < LEXICAL_MAX_DISTANCE
    assert (1 - embedder.embed(["What is the best recipe for apple pie?"]) @ embedder.embed(texts).T).min() > (
        LEXICAL_MAX_DISTANCE
    )
    assert embedder.lexical
    assert "lexical" in embedder.name


def test_hashed_words_of_marks_and_stop_words_have_a_direction_too() -> None:
    found = open_embedder(EmbedderSettings("lexical", dimensions=8)).embed(["???", "what is it", "\ud800 half", "-"])
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0)


def test_the_drills_hashed_words_stay_as_they_are() -> None:
    """Recorded drills and their vectors depend on them."""
    tenth = 1 / math.sqrt(10)
    assert np.allclose(hashed_words.embed("a warm stall is a stall", 8), [
        0, 2 * tenth, 0, 0, 0, -2 * tenth, tenth, tenth,
    ])  # fmt: skip


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that has the few names of sentence-transformers which are used; the library itself is too large."""
    (tmp_path / "sentence_transformers.py").write_text(
        "class SentenceTransformer:\n"
        "    def __init__(self, model, local_files_only):\n"
        "        if not local_files_only or model != 'here':\n"
        "            raise OSError('it is not in the cache')\n"
        "    def encode(self, texts, convert_to_numpy, show_progress_bar):\n"
        "        import numpy\n"
        "        if 'broken' in texts:\n"
        "            raise RuntimeError('Already borrowed')\n"
        "        return numpy.array([[3.0, 4.0]] * len(texts), numpy.float32)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("sentence_transformers", None)


@pytest.mark.usefixtures("stand_in")
def test_sentence_transformers_fetches_nothing_and_fails_in_one_sentence() -> None:
    settings = EmbedderSettings("sentence-transformers", "here", dimensions=2)
    embedder = open_embedder(settings)
    try:
        assert np.allclose(embedder.embed(["a", "b"]), [[0.6, 0.8]] * 2)
        with pytest.raises(StepFailed, match=r"the library failed .RuntimeError.") as failed:
            embedder.embed(["broken"])
        assert "broken" not in str(failed.value)
    finally:
        forget(settings)
    with pytest.raises(StepFailed, match="not on this machine; fetch it once with: hf download elsewhere"):
        open_embedder(EmbedderSettings("sentence-transformers", "elsewhere", dimensions=2))
