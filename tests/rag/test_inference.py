"""Calls to models: what comes back is told, what is bad fails with its reason within its deadline."""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from warmstall.drill.runner import free_port
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable
from warmstall.errors import ParameterError, StepFailed
from warmstall.rag.inference import connection
from warmstall.rag.inference.failures import InferenceFailed
from warmstall.rag.inference.generating import generate
from warmstall.rag.inference.opening import open_inference
from warmstall.rag.records import Piece, Prompt
from warmstall.rag.settings import InferenceSettings, PathSettings
from warmstall.rag.tracing import tracer_to

from .scripted_server import Answer, chat, lines, refusal, serving, trickling

PROMPT = Prompt("Answer from the sources.", "Why does a model leave memory?")
ONCE = PathSettings(attempts=1, attempt_timeout_s=20.0)
# Far more than any of the short deadlines below, far less than a test may take.
SOON_S = 10.0


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


class Traced:
    """A tracer whose spans can be read."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = tracer_to(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def traced() -> Traced:
    return Traced()


def ollama(url: str, model: str = "tiny", **options: Any) -> InferenceSettings:
    return InferenceSettings(url=url, model=model, options={"num_predict": 16, **options})


def openai(url: str, model: str = "tiny", **beside: Any) -> InferenceSettings:
    return InferenceSettings("openai", model, url, options={"max_tokens": 16}, **beside)


def pieces_of(settings: InferenceSettings, timeout_s: float = 20.0, prompt: Prompt = PROMPT) -> list[Piece]:
    return list(open_inference(settings).stream(prompt, timeout_s))


def failure_of(settings: InferenceSettings, timeout_s: float = 20.0, prompt: Prompt = PROMPT) -> InferenceFailed:
    """How a call fails; that it does so soon is a part of it."""
    began = time.monotonic()
    with pytest.raises(StepFailed) as raised:
        pieces_of(settings, timeout_s, prompt)
    assert time.monotonic() - began < SOON_S
    assert isinstance(raised.value, InferenceFailed)
    return raised.value


def test_ollama_streams_an_answer_and_tells_its_times(drill: DrillServer):
    *parts, last = pieces_of(ollama(drill.url))
    assert "".join(piece.text for piece in parts).strip()
    assert last.final is not None
    assert last.final["eval_count"] == 16
    assert last.final["done_reason"] == "length"
    assert {"total_duration", "eval_duration", "prompt_eval_count"} <= last.final.keys()


def test_openai_s_language_tells_the_same_counts(drill: DrillServer):
    *parts, last = pieces_of(openai(drill.url + "/v1"))
    assert "".join(piece.text for piece in parts).strip()
    assert last.final is not None
    assert (last.final["eval_count"], last.final["done_reason"]) == (16, "length")
    assert last.final["prompt_eval_count"]


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("xllamacpp", "gguf"))), reason="llama.cpp is not installed (extra `drill`)"
)
def test_a_real_llama_cpp_server_answers_by_both_ways(tmp_path: Path):
    with DrillServer(tmp_path, runner="llama") as server:
        for settings in (ollama(server.url), openai(server.url)):
            *parts, last = pieces_of(settings, timeout_s=60.0)
            assert parts
            assert last.final
            # Random weights may choose to end the answer.
            assert 1 <= last.final["eval_count"] <= 16


def test_without_a_name_the_smallest_model_that_writes_is_taken(drill: DrillServer):
    assert open_inference(replace(ollama(drill.url), model="")).model.removesuffix(":latest") == "tiny"


def test_without_a_name_one_of_several_models_of_unknown_size_is_not_guessed(drill: DrillServer):
    with pytest.raises(StepFailed, match=r"has tiny:latest, .* \[inference\] model"):
        open_inference(openai(drill.url, model=""))


def test_an_absent_model_is_named_with_the_command_that_gets_it(drill: DrillServer):
    failed = failure_of(ollama(drill.url, "llama9"))
    assert "'llama9'" in str(failed)
    assert "ollama pull llama9" in str(failed)
    assert (failed.kind, failed.status, failed.again) == ("model_absent", 404, False)
    assert "'llama9'" in str(failure_of(openai(drill.url, "llama9")))


def test_no_server_is_told_at_once():
    url = f"http://127.0.0.1:{free_port()}"
    for settings in (ollama(url), openai(url)):
        failed = failure_of(settings)
        assert failed.kind == "connection_refused"
        assert url.removeprefix("http://") in str(failed)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    """Model tiny hangs until its client leaves; the runner of tiny2 ends after its first chunk, with status 200."""
    folder = tmp_path_factory.mktemp("faulty")
    Timetable(0.0, (Fault("hang_rate", "tiny"), Fault("broken_stream", "tiny2"))).save(folder / "timetable.json")
    with DrillServer(folder, timetable=folder / "timetable.json") as server:
        yield server


def test_a_server_that_hangs_is_late_and_sees_its_client_leave(faulty: DrillServer):
    failed = failure_of(ollama(faulty.url), timeout_s=3.0)
    assert failed.kind == "timeout"
    assert "within 3 s" in str(failed)
    assert "aborted" in [truth["outcome"] for truth in _truths(faulty)]


def test_a_stream_that_breaks_off_is_no_answer(faulty: DrillServer):
    failed = failure_of(ollama(faulty.url, "tiny2", num_predict=200))
    assert (failed.kind, failed.status) == ("error_in_stream", 200)


def _truths(server: DrillServer) -> list[dict[str, Any]]:
    """The server's truth of each call, as soon as one was aborted."""
    ends = time.monotonic() + SOON_S
    while not server.truth.exists() or "aborted" not in server.truth.read_text():
        assert time.monotonic() < ends
        time.sleep(0.02)  # the server tells nobody when it writes
    return [json.loads(line) for line in server.truth.read_text().splitlines()]


@pytest.mark.parametrize("headers_first", [True, False])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("ollama", '{"message": {"content": "a "}}'),
        ("openai", 'data: {"choices": [{"delta": {"content": "a "}}]}'),
    ],
)
def test_the_deadline_holds_for_a_server_that_trickles(kind: str, line: str, headers_first: bool):
    stop = threading.Event()
    with serving(trickling(line if headers_first else "X-One: more", stop, headers_first)) as server:
        try:
            failed = failure_of(InferenceSettings(kind, "m", server.url), timeout_s=0.5)
            assert failed.kind == "timeout"
            assert ("began" in str(failed)) == headers_first
            assert server.left.wait(SOON_S)
        finally:
            stop.set()


def test_the_deadline_holds_within_a_line():
    """Half a line is what is left when a connection is shut down; it is late, not cut."""
    stop = threading.Event()

    def half(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"message": {"con')
        stop.wait(SOON_S)

    with serving(half) as server:
        try:
            assert failure_of(ollama(server.url), timeout_s=0.5).kind == "timeout"
        finally:
            stop.set()


def test_a_list_of_models_that_trickles_has_a_deadline_too(monkeypatch: pytest.MonkeyPatch):
    stop = threading.Event()
    monkeypatch.setattr(connection.Server.document, "__defaults__", (0.5,))
    with serving(trickling(" ", stop)) as server:
        try:
            with pytest.raises(StepFailed, match=r"within 0\.5 s"):
                open_inference(ollama(server.url, model=""))
        finally:
            stop.set()


def test_a_server_behind_a_prefix_is_asked_there():
    with serving(chat("yes")) as server:
        pieces_of(ollama(server.url + "/models/"))
    assert server.asked[0][0] == "/models/api/chat"


def test_closing_the_iterator_closes_the_connection():
    stop = threading.Event()
    with serving(trickling('{"message": {"content": "a "}}', stop)) as server:
        try:
            stream = open_inference(ollama(server.url)).stream(PROMPT, 60.0)
            assert next(stream).text == "a "
            stream.close()  # type: ignore[attr-defined]
            assert server.left.wait(SOON_S)
        finally:
            stop.set()


CUT = [
    pytest.param("ollama", lines('{"message": {"content": "a"}}'), id="ollama: no done"),
    pytest.param("ollama", lines(), id="ollama: nothing"),
    pytest.param("ollama", lines('{"message": {"content": "a'), id="ollama: within a line"),
    pytest.param("ollama", lines("<html>welcome</html>"), id="ollama: another service"),
    pytest.param("openai", lines('data: {"choices": [{"delta": {"content": "a"}}]}', ""), id="openai: no end"),
    pytest.param("openai", lines("data: nonsense"), id="openai: no JSON"),
    pytest.param("openai", lines(), id="openai: nothing"),
]


@pytest.mark.parametrize(("kind", "answer"), CUT)
def test_an_answer_without_its_end_is_cut(kind: str, answer: Answer):
    with serving(answer) as server:
        assert failure_of(InferenceSettings(kind, "m", server.url)).kind == "cut"


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("ollama", '{"error": "llama runner process no longer running: 2"}'),
        ("openai", 'data: {"error": {"message": "llama runner process no longer running: 2"}}'),
        ("openai", 'error: {"message": "llama runner process no longer running: 2"}'),
    ],
)
def test_an_error_within_a_stream_that_began_well_is_a_failure(kind: str, row: str):
    with serving(lines(row)) as server:
        failed = failure_of(InferenceSettings(kind, "m", server.url))
    assert failed.kind == "error_in_stream"
    assert "no longer running" in str(failed)


@pytest.mark.parametrize(
    ("status", "error", "again", "said"),
    [
        (503, "server busy, please try again.  maximum pending requests exceeded", True, "OLLAMA_MAX_QUEUE"),
        (500, "an error", True, "an error"),
        (400, "request (9000 tokens) exceeds the available context size (4096 tokens)", False, "larger num_ctx"),
        (404, "404 page not found", False, "not Ollama"),
        (302, "moved", False, "302"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, error: str, again: bool, said: str):
    with serving(refusal(status, error)) as server:
        failed = failure_of(ollama(server.url))
    assert (failed.status, failed.again) == (status, again)
    assert said in str(failed)


def test_an_error_never_quotes_the_prompt():
    with serving(refusal(500, f"cannot read: {PROMPT.user} (at 3)")) as server:
        assert PROMPT.user not in str(failure_of(ollama(server.url)))


def test_ollama_is_asked_as_the_settings_say():
    options = {"num_ctx": 2048, "think": False}
    with serving(chat("yes")) as server:
        settings = InferenceSettings(url=server.url, model="m", options=options, keep_alive="300")
        list(open_inference(settings, temperature=0.4).stream(PROMPT, 20.0))
    path, _, body = server.asked[0]
    assert path == "/api/chat"
    assert body["options"] == {"num_ctx": 2048, "temperature": 0.4}
    assert (body["think"], body["keep_alive"], body["stream"]) == (False, 300, True)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_what_servers_set_apart_is_reasoning():
    with serving(chat("4", thinking="2+2?")) as server:
        assert [(piece.text, piece.reasoning) for piece in pieces_of(ollama(server.url))[:2]] == [
            ("", "2+2?"),
            ("4", ""),
        ]
    for name in ("reasoning_content", "reasoning"):
        rows = [
            {"choices": [{"delta": {name: "2+2?"}}]},
            {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]},
        ]
        texts = [": a comment", *(f"data:{json.dumps(row)}" for row in rows), "data: [DONE]"]
        with serving(lines(*texts)) as server:
            *pieces, _ = pieces_of(openai(server.url))
        assert [(piece.text, piece.reasoning) for piece in pieces] == [("", "2+2?"), ("4", "")]


def test_unicode_s_ends_of_lines_are_text():
    with serving(chat("a\u2028b\u0085c")) as server:
        assert pieces_of(ollama(server.url))[0].text == "a\u2028b\u0085c"


def test_a_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAG_TEST_KEY", raising=False)
    with pytest.raises(ParameterError, match="RAG_TEST_KEY"):
        open_inference(openai("http://127.0.0.1:9", api_key_variable="RAG_TEST_KEY"))


def test_a_key_is_sent_and_never_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, traced: Traced
):
    monkeypatch.setenv("RAG_TEST_KEY", "sk-very-secret-3141")
    with caplog.at_level(logging.DEBUG), serving(refusal(401, {"message": "wrong key sk-very-secret-3141"})) as server:
        inference = open_inference(openai(server.url, api_key_variable="RAG_TEST_KEY"))
        with pytest.raises(StepFailed, match="api_key_variable") as raised:
            generate(inference, PROMPT, ONCE, traced.tracer)
    assert server.asked[0][1]["Authorization"] == "Bearer sk-very-secret-3141"
    told = [str(raised.value), repr(inference), caplog.text, traced.spans("generate")[0].to_json()]
    assert not any("3141" in text for text in told)


def test_a_long_prompt_that_ollama_cuts_in_silence_is_flagged(drill: DrillServer, traced: Traced, caplog: Any):
    """Version 0.13.5 cuts to the context and answers; only prompt_eval_count shows it."""
    long = replace(PROMPT, user="one more word " * 3000)
    generate(open_inference(ollama(drill.url)), long, ONCE, traced.tracer)
    assert traced.spans("generate")[0].attributes["warmstall.prompt_may_be_cut"] is True
    assert "num_ctx" in caplog.text
    generate(open_inference(ollama(drill.url)), PROMPT, ONCE, traced.tracer)
    assert "warmstall.prompt_may_be_cut" not in traced.spans("generate")[1].attributes


def test_a_long_prompt_that_may_not_be_cut_is_refused(drill: DrillServer):
    long = replace(PROMPT, user="one more word " * 3000)
    failed = failure_of(ollama(drill.url, truncate=False), prompt=long)
    assert (failed.kind, failed.again) == ("prompt_too_long", False)


def test_a_call_is_one_span_with_its_sizes_and_seconds(drill: DrillServer, traced: Traced):
    generated = generate(open_inference(ollama(drill.url)), PROMPT, ONCE, traced.tracer)
    (span,) = traced.spans("generate")
    told = span.attributes
    assert not traced.spans("attempt")
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("ollama", "tiny")
    assert told["gen_ai.usage.output_tokens"] == 16
    assert told["gen_ai.response.finish_reasons"] == ("length",)
    assert (told["url.path"], told["http.response.status_code"]) == ("/api/chat", 200)
    assert 0 < told["warmstall.ttft_s"] <= generated.wall_s
    assert told["warmstall.total_duration_s"] == generated.final["total_duration"] / 1e9
    assert told["warmstall.attempts"] == generated.attempts == 1
    assert told["warmstall.timeout_s"] == 20.0
    assert PROMPT.user not in span.to_json()


def test_attempts_are_made_again_and_each_is_a_span(traced: Traced, caplog: pytest.LogCaptureFixture):
    with serving(refusal(500, "an error"), lines('{"message": {"content": "half"}}'), chat("It is", " 4.")) as server:
        generated = generate(open_inference(ollama(server.url)), PROMPT, PathSettings(), traced.tracer)
    assert (generated.text, generated.attempts) == ("It is 4.", 3)
    (whole,) = traced.spans("generate")
    attempts = sorted(traced.spans("attempt"), key=lambda span: span.start_time)
    assert [span.attributes["warmstall.attempt"] for span in attempts] == [1, 2, 3]
    assert [span.attributes.get("error.type") for span in attempts] == ["500", "cut", None]
    assert all(span.parent.span_id == whole.context.span_id for span in attempts)
    assert all(whole.start_time <= span.start_time <= span.end_time <= whole.end_time for span in attempts)
    assert whole.status.status_code.name == "UNSET"
    assert caplog.text.count("is made again") == 2


def test_when_no_attempt_helps_the_last_reason_is_told(traced: Traced, caplog: pytest.LogCaptureFixture):
    with serving(refusal(500, "an error")) as server, pytest.raises(InferenceFailed, match="500") as raised:
        generate(open_inference(ollama(server.url)), PROMPT, PathSettings(attempts=2), traced.tracer)
    assert raised.value.attempts == 2
    (whole,) = traced.spans("generate")
    assert len(server.asked) == whole.attributes["warmstall.attempts"] == 2
    assert (whole.attributes["error.type"], whole.attributes["http.response.status_code"]) == ("500", 500)
    assert whole.status.status_code.name == "ERROR"
    assert "Traceback" in caplog.text
    assert PROMPT.user not in caplog.text


@pytest.mark.parametrize("status", [400, 404])
def test_what_stays_as_it_is_is_not_tried_again(status: int, traced: Traced):
    with serving(refusal(status, "model not found")) as server, pytest.raises(StepFailed):
        generate(open_inference(ollama(server.url)), PROMPT, PathSettings(), traced.tracer)
    assert len(server.asked) == 1
    assert not traced.spans("attempt")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (chat(""), "answered nothing"),
        (chat("  \n"), "answered nothing"),
        (chat("", thinking="2+2? is it 4?"), "nothing came after its reasoning"),
        (chat("<think>2+2?", " is it"), "its reasoning did not end"),
    ],
)
def test_an_empty_answer_is_a_failure(answer: Answer, said: str, traced: Traced):
    with serving(answer) as server, pytest.raises(StepFailed, match=said):
        generate(open_inference(ollama(server.url)), PROMPT, ONCE, traced.tracer)
    assert traced.spans("generate")[0].attributes["error.type"] == "empty"


def test_reasoning_is_kept_apart_unless_the_settings_leave_it_in(traced: Traced):
    with serving(chat("<thi", "nk>2+2?</th", "ink>4")) as server:
        inference = open_inference(ollama(server.url))
        apart = generate(inference, PROMPT, ONCE, traced.tracer)
        left = generate(inference, PROMPT, replace(ONCE, strip_reasoning=False), traced.tracer)
    assert (apart.text, apart.reasoning) == ("4", "2+2?")
    assert (left.text, left.reasoning) == ("<think>2+2?</think>4", "")
    assert len(apart.gaps_s) == 2


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_a_password_in_an_address_is_refused_and_not_told(kind: str):
    settings = InferenceSettings(kind=kind, model="tiny", url="http://ann:hushed@127.0.0.1:9/v1")
    with pytest.raises(ParameterError, match="names a user or a password") as raised:
        open_inference(settings)
    assert "hushed" not in str(raised.value)


def test_a_key_in_place_of_its_variable_s_name_is_not_told():
    with pytest.raises(ParameterError, match="never the key itself") as raised:
        open_inference(InferenceSettings(kind="openai", url="http://127.0.0.1:9", api_key_variable="sk-hushed"))
    assert "hushed" not in str(raised.value)


def test_a_port_that_is_none_is_one_sentence():
    with pytest.raises(ParameterError, match="is no address"):
        open_inference(InferenceSettings(model="tiny", url="http://127.0.0.1:99999"))
