"""Clients made for Ollama and for OpenAI talk to a drill's server unchanged: every version, every route."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from warmstall.drill.eras import ERAS
from warmstall.drill.server_process import DrillServer

from .awaiting import PATIENCE_S, until

ollama = pytest.importorskip("ollama", reason="Ollama's client is not installed (extra `test`)")
openai = pytest.importorskip("openai", reason="OpenAI's client is not installed (extra `test`)")

ASKED = 12
FEW: dict[str, Any] = {"num_predict": ASKED}
QUESTION = [{"role": "user", "content": "why is the sky blue?"}]
TOOL = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object"}}}
PIXEL = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module", params=list(ERAS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill"), version=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: DrillServer) -> Any:
    return ollama.Client(host=server.url, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture(scope="module")
def openai_client(server: DrillServer) -> Any:
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=PATIENCE_S, http_client=http
    )


@pytest.fixture(scope="module")
def written(server: DrillServer) -> int:
    """Tokens of an answer to FEW: the oldest version writes one more than asked for."""
    return ASKED + 1 if server.version == "0.3.14" else ASKED


@pytest.fixture
def post(server: DrillServer) -> Iterator[Any]:
    """A POST of any body, for what no client would send."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False, verify=False) as http:

        def ask(path: str, body: object) -> httpx.Response:
            return http.post(path, **({"content": body} if isinstance(body, str) else {"json": body}))

        yield ask


def assert_figures(last: Any, written: int) -> None:
    """The end of an answer tells why it ended and how long each part took, in nanoseconds that add up.

    A part that took no time is left out: the oldest version counts whole milliseconds.
    """
    assert (last.done, last.done_reason, last.eval_count) == (True, "length", written)
    assert last.prompt_eval_count > 0
    parts = (last.load_duration or 0) + (last.prompt_eval_duration or 0) + (last.eval_duration or 0)
    assert 0 < parts <= last.total_duration


def resident(client: Any) -> dict[str, Any]:
    return {model.model: model for model in client.ps().models}


# ---- Ollama's client -------------------------------------------------------------------------------------------


def test_generate(client: Any, written: int) -> None:
    answer = client.generate("tiny", "why is the sky blue?", options=FEW)
    assert answer.model == "tiny"
    assert len(answer.response.split()) == written
    assert answer.context
    assert_figures(answer, written)


def test_generate_streams(client: Any, written: int) -> None:
    chunks = list(client.generate("mid", "why is the sky blue?", stream=True, options=FEW))
    assert len(chunks) > 2, "it came in one piece"
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len("".join(chunk.response for chunk in chunks).split()) == written
    assert chunks[-1].context
    assert_figures(chunks[-1], written)


def test_chat(client: Any, written: int) -> None:
    answer = client.chat("tiny", QUESTION, options=FEW)
    assert answer.message.role == "assistant"
    assert len(answer.message.content.split()) == written
    assert_figures(answer, written)


def test_chat_streams(client: Any, written: int) -> None:
    chunks = list(client.chat("mid", QUESTION, stream=True, options=FEW))
    assert {chunk.message.role for chunk in chunks} == {"assistant"}
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert len("".join(chunk.message.content for chunk in chunks).split()) == written
    assert_figures(chunks[-1], written)


def test_the_async_client(server: DrillServer, written: int) -> None:
    import asyncio

    async def ask() -> list[Any]:
        client = ollama.AsyncClient(host=server.url, timeout=PATIENCE_S, trust_env=False)
        return [chunk async for chunk in await client.chat("tiny", QUESTION, stream=True, options=FEW)]

    assert_figures(asyncio.run(ask())[-1], written)


def test_embed(client: Any) -> None:
    answer = client.embed("embed", ["the sky is blue", "the sky is blue", "bread and butter"])
    same, again, other = answer.embeddings
    assert same == again != other
    assert math.isclose(math.fsum(x * x for x in same), 1.0, rel_tol=1e-3)
    assert answer.prompt_eval_count > 0
    assert answer.total_duration > 0
    assert client.embed("embed", "the sky is blue").embeddings == [same]
    assert client.embed("embed", []).embeddings == []


def test_embeddings_the_old_way(client: Any) -> None:
    old = client.embeddings("embed", "the sky is blue").embedding
    assert list(old) == pytest.approx(list(client.embed("embed", "the sky is blue").embeddings[0]))


def test_list(client: Any) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"tiny:latest", "mid:latest", "embed:latest"} <= listed.keys()
    tiny = listed["tiny:latest"]
    assert len(tiny.digest) == 64
    assert tiny.size > 1_000_000
    assert tiny.modified_at < datetime.now(UTC)
    assert (tiny.details.format, tiny.details.quantization_level) == ("gguf", "F16")


def test_show(client: Any) -> None:
    shown = client.show("mid")
    assert shown.details.family == "llama"
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 4096
    assert "FROM " in shown.modelfile


def test_ps(client: Any, server: DrillServer) -> None:
    client.generate("tiny", keep_alive="7m")
    tiny = resident(client)["tiny:latest"]
    listed = {model.model: model for model in client.list().models}["tiny:latest"]
    assert (tiny.name, tiny.digest, tiny.size_vram) == ("tiny:latest", listed.digest, 0)
    assert tiny.size > listed.size
    assert abs(tiny.expires_at - datetime.now(UTC) - timedelta(minutes=7)) < timedelta(minutes=1)
    assert tiny.context_length == (None if server.version == "0.3.14" else 4096)


def test_version(server: DrillServer) -> None:
    told = httpx.get(f"{server.url}/api/version", trust_env=False, verify=False)
    assert told.json() == {"version": server.version}
    assert httpx.get(server.url, trust_env=False, verify=False).text == "Ollama is running"
    assert httpx.head(server.url, trust_env=False, verify=False).status_code == 200


def test_an_empty_prompt_loads_and_keep_alive_0_unloads(client: Any) -> None:
    assert client.generate("tiny2").done_reason == "load"
    assert "tiny2:latest" in resident(client)
    assert client.chat("tiny2", []).done_reason == "load"
    assert client.generate("tiny2", keep_alive=0).done_reason == "unload"
    until(lambda: "tiny2:latest" not in resident(client))
    assert client.chat("tiny2", keep_alive=0).done_reason == "unload"


def test_keep_alive_0_with_a_prompt_answers_first(client: Any, written: int) -> None:
    assert_figures(client.generate("tiny2", "why?", keep_alive=0, options=FEW), written)
    until(lambda: "tiny2:latest" not in resident(client))


@pytest.mark.parametrize(
    ("keep_alive", "lasts"),
    [(90, timedelta(seconds=90)), ("90", timedelta(seconds=90)), ("1h30m", timedelta(minutes=90))],
)
def test_keep_alive(client: Any, keep_alive: float | str, lasts: timedelta) -> None:
    client.generate("tiny", "why?", keep_alive=keep_alive, options=FEW)
    left = resident(client)["tiny:latest"].expires_at - datetime.now(UTC)
    assert lasts - timedelta(minutes=1) < left <= lasts


@pytest.mark.parametrize("keep_alive", [-1, "-1m"])
def test_negative_keep_alive_is_for_ever(client: Any, keep_alive: float | str) -> None:
    client.generate("tiny", "why?", keep_alive=keep_alive, options=FEW)
    assert resident(client)["tiny:latest"].expires_at - datetime.now(UTC) > timedelta(days=365)


def test_options(client: Any, server: DrillServer) -> None:
    """Those that the runner is started with are in its context; the others are taken; unknown ones are warned of."""
    options = {**FEW, "num_ctx": 1024, "temperature": 0, "seed": 3, "top_k": 1, "stop": ["\n"], "no_such_option": 1}
    assert client.generate("tiny2", "why?", options=options).done
    if server.version != "0.3.14":
        assert resident(client)["tiny2:latest"].context_length == 1024
    assert 'msg="invalid option provided"' in server.log.read_text()
    client.generate("tiny2", keep_alive=0)


@pytest.mark.parametrize("text", ["世界" * 900, "Grüße 😀\n\t\x01 <|im_end|> " * 150], ids=["wide", "mixed"])
def test_long_unicode_prompts(client: Any, written: int, text: str) -> None:
    answer = client.generate("tiny", text, options=FEW)
    assert_figures(answer, written)
    assert answer.prompt_eval_count > 100
    assert_figures(client.chat("tiny", [{"role": "user", "content": text}], options=FEW), written)


def test_a_lone_surrogate_is_replaced_as_in_go(post: Any) -> None:
    body = '{"model":"tiny","prompt":"\\ud800 x","stream":false,"options":{"num_predict":3}}'
    assert post("/api/generate", body).status_code == 200


def test_a_prompt_longer_than_the_context_is_cut(client: Any, server: DrillServer) -> None:
    answer = client.generate("tiny2", "word " * 3000, options={**FEW, "num_ctx": 512})
    kept = answer.prompt_eval_count
    assert 256 <= kept < 270 if server.version == "0.32.15" else kept == 512
    client.generate("tiny2", keep_alive=0)


@pytest.mark.parametrize("route", ["generate", "chat", "embed", "embeddings", "show"])
def test_an_unknown_model_is_404(client: Any, server: DrillServer, route: str) -> None:
    given = {"generate": ("why?",), "chat": (QUESTION,), "embed": ("x",), "embeddings": ("x",), "show": ()}[route]
    with pytest.raises(ollama.ResponseError) as refused:
        getattr(client, route)("nosuch", *given)
    older = server.version == "0.3.14" and route != "show"
    said = 'model "nosuch" not found, try pulling it first' if older else "model 'nosuch' not found"
    assert (refused.value.status_code, refused.value.error) == (404, said)


def test_an_unknown_model_is_404_in_a_stream_too(client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="not found") as refused:
        list(client.generate("nosuch", "why?", stream=True))
    assert refused.value.status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_pull_is_refused(client: Any, stream: bool) -> None:
    with pytest.raises(ollama.ResponseError, match="pulls none") as refused:
        list(client.pull("tiny", stream=stream))
    assert refused.value.status_code == 403


def test_tools_are_refused(client: Any, server: DrillServer) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("tiny", QUESTION, tools=[TOOL])
    named = "tiny" if server.version == "0.3.14" else "registry.ollama.ai/library/tiny:latest"
    assert (refused.value.status_code, refused.value.error) == (400, f"{named} does not support tools")


def test_images_are_ignored_by_models_of_text(client: Any, server: DrillServer, written: int) -> None:
    if server.version == "0.32.15":
        pytest.skip("what this version says of images is not known")
    assert_figures(client.generate("tiny", "what is it?", images=[PIXEL], options=FEW), written)
    seen = {"role": "user", "content": "what is it?", "images": [PIXEL]}
    assert_figures(client.chat("tiny", [seen], options=FEW), written)


def test_thinking_is_refused_by_versions_that_know_it(client: Any, server: DrillServer) -> None:
    if server.version == "0.3.14":
        assert client.generate("tiny", "why?", think=True, options=FEW).done
        return
    with pytest.raises(ollama.ResponseError) as refused:
        client.generate("tiny", "why?", think=True)
    assert (refused.value.status_code, refused.value.error) == (400, '"tiny" does not support thinking')


@pytest.mark.parametrize("route", ["generate", "chat"])
def test_a_model_of_embeddings_writes_no_text(client: Any, route: str) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        getattr(client, route)("embed", "why?" if route == "generate" else QUESTION, options=FEW)
    assert (refused.value.status_code, refused.value.error) == (400, f'"embed" does not support {route}')


# ---- what no client sends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/api/generate", {"prompt": "x"}),
        ("/api/chat", {"messages": QUESTION}),
        ("/api/embed", {"input": "x"}),
        ("/api/embeddings", {"prompt": "x"}),
    ],
)
def test_an_option_of_the_wrong_type(post: Any, path: str, given: dict[str, Any]) -> None:
    model = "embed" if "embed" in path else "tiny"
    answer = post(path, {"model": model, "options": {"num_ctx": "ten"}, **given})
    assert (answer.status_code, answer.json()) == (500, {"error": 'option "num_ctx" must be of type integer'})


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed"])
def test_a_keep_alive_that_is_none(post: Any, path: str) -> None:
    model = "embed" if "embed" in path else "tiny"
    answer = post(path, {"model": model, "prompt": "x", "input": "x", "messages": QUESTION, "keep_alive": "banana"})
    assert (answer.status_code, answer.json()) == (400, {"error": 'time: invalid duration "banana"'})


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/generate", "", "missing request body"),
        ("/api/generate", "{no", "invalid character 'n' looking for beginning of object key string"),
        ("/api/chat", {"model": "tiny", "messages": "x"}, "json: cannot unmarshal string into Go "),
        ("/api/chat", {"model": "tiny", "messages": [], "options": "x"}, "json: cannot unmarshal string into Go "),
        ("/api/generate", [], "json: cannot unmarshal array into Go "),
    ],
)
def test_bodies_that_are_no_request(post: Any, path: str, body: object, said: str) -> None:
    answer = post(path, body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


def test_pages_that_do_not_exist(server: DrillServer) -> None:
    answer = httpx.get(f"{server.url}/api/nosuch", trust_env=False, verify=False)
    assert (answer.status_code, answer.text) == (404, "404 page not found")


# ---- OpenAI's client -------------------------------------------------------------------------------------------


def test_openai_chat(openai_client: Any, written: int) -> None:
    answer = openai_client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=ASKED)
    choice = answer.choices[0]
    assert (answer.object, choice.message.role, choice.finish_reason) == ("chat.completion", "assistant", "length")
    assert len(choice.message.content.split()) == answer.usage.completion_tokens == written
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + written


def test_openai_chat_with_parts(openai_client: Any, written: int) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "why is the sky blue?"}]}]
    answer = openai_client.chat.completions.create(model="tiny", messages=parts, max_tokens=ASKED)
    assert answer.usage.completion_tokens == written


def test_openai_chat_streams_with_usage(openai_client: Any, written: int) -> None:
    wanted = {"include_usage": True}
    chunks = list(
        openai_client.chat.completions.create(
            model="mid", messages=QUESTION, max_tokens=ASKED, stream=True, stream_options=wanted
        )
    )
    *pieces, last = chunks
    assert len("".join(piece.choices[0].delta.content or "" for piece in pieces).split()) == written
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert (last.choices, last.usage.completion_tokens) == ([], written)
    assert {chunk.id for chunk in chunks} == {last.id}


def test_openai_chat_streams_without_usage(openai_client: Any) -> None:
    chunks = list(openai_client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=ASKED, stream=True))
    assert {chunk.usage for chunk in chunks} == {None}


def test_openai_completions(openai_client: Any, written: int) -> None:
    answer = openai_client.completions.create(model="tiny", prompt="the sky is", max_tokens=ASKED)
    assert (answer.object, answer.choices[0].finish_reason) == ("text_completion", "length")
    assert len(answer.choices[0].text.split()) == answer.usage.completion_tokens == written


def test_openai_completions_stream_with_usage(openai_client: Any, written: int) -> None:
    wanted = {"include_usage": True}
    chunks = list(
        openai_client.completions.create(
            model="mid", prompt="the sky is", max_tokens=ASKED, stream=True, stream_options=wanted
        )
    )
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert len("".join(texts).split()) == written
    assert chunks[-1].usage is not None, "the last chunk has no usage"
    assert chunks[-1].usage.completion_tokens == written


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openai_embeddings(openai_client: Any, client: Any, encoding: str) -> None:
    """In base64 too, which OpenAI's client asks for by itself where it is not told."""
    texts = ["the sky is blue", "bread and butter"]
    answer = openai_client.embeddings.create(model="embed", input=texts, encoding_format=encoding)
    assert [row.index for row in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    if encoding == "float":
        told = [row.embedding for row in answer.data]
        assert told == [pytest.approx(list(vector)) for vector in client.embed("embed", texts).embeddings]


def test_openai_embeddings_as_its_client_asks(openai_client: Any, client: Any) -> None:
    row = openai_client.embeddings.create(model="embed", input="the sky is blue").data[0]
    assert row.embedding == pytest.approx(list(client.embed("embed", "the sky is blue").embeddings[0]), rel=1e-5)


def test_openai_models(openai_client: Any) -> None:
    listed = [model.id for model in openai_client.models.list()]
    assert "tiny:latest" in listed
    assert openai_client.models.retrieve("tiny:latest").owned_by == "library"


def test_openai_unknown_model(openai_client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        openai_client.chat.completions.create(model="nosuch", messages=QUESTION)
    assert "nosuch" in refused.value.body["message"]
    for ask in (
        lambda: openai_client.completions.create(model="nosuch", prompt="x"),
        lambda: openai_client.embeddings.create(model="nosuch", input="x"),
        lambda: openai_client.models.retrieve("nosuch"),
        lambda: openai_client.chat.completions.create(model="nosuch", messages=QUESTION, stream=True),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_openai_refuses_tools(openai_client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        openai_client.chat.completions.create(model="tiny", messages=QUESTION, tools=[TOOL], max_tokens=ASKED)


def test_openai_chat_without_messages(openai_client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model="tiny", messages=[], max_tokens=ASKED)
    assert refused.value.body["message"] == "[] is too short - 'messages'"
    assert refused.value.body["type"] == "invalid_request_error"


def test_openai_body_of_wrong_types(post: Any) -> None:
    answer = post("/v1/chat/completions", {"model": "tiny", "messages": QUESTION, "max_tokens": "ten"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


# ---- curl ------------------------------------------------------------------------------------------------------


def curl(server: DrillServer, path: str, body: object = None, *more: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    sent = [] if body is None else ["-d", json.dumps(body)]
    command = [program, "-sS", "--noproxy", "*", "--max-time", "60", *more, *sent, server.url + path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_curl(server: DrillServer, written: int) -> None:
    """As in Ollama's own examples: `curl URL -d BODY`, whose content type is that of a form."""
    assert json.loads(curl(server, "/api/version")) == {"version": server.version}
    asked = {"model": "tiny", "prompt": "why?", "options": FEW}
    lines = [json.loads(line) for line in curl(server, "/api/generate", asked).splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["eval_count"] == written
    whole = json.loads(curl(server, "/api/chat", {"model": "tiny", "messages": QUESTION, "stream": False, **asked}))
    assert whole["message"]["role"] == "assistant"
    assert [model["name"] for model in json.loads(curl(server, "/api/ps"))["models"]]
    assert len(json.loads(curl(server, "/api/embed", {"model": "embed", "input": "x"}))["embeddings"]) == 1


def test_curl_sees_headers_and_status(server: DrillServer) -> None:
    refused = curl(server, "/api/generate", {"model": "nosuch", "prompt": "x"}, "-w", "\n%{http_code}")
    body, _, status = refused.rpartition("\n")
    assert status == "404"
    assert "not found" in json.loads(body)["error"]
    asked = {"model": "tiny", "messages": QUESTION, "max_tokens": 3, "stream": True}
    head, _, events = curl(server, "/v1/chat/completions", asked, "-i").partition("\n\n")
    assert "text/event-stream" in head.lower()
    assert events.rstrip().endswith("data: [DONE]")
    asked = {"model": "tiny", "prompt": "why?", "options": FEW}
    head = curl(server, "/api/generate", asked, "-i").partition("\n\n")[0].lower()
    assert "content-type: application/x-ndjson" in head
    assert "transfer-encoding: chunked" in head


def test_no_call_ended_in_a_fault_of_the_servers_own(server: DrillServer) -> None:
    """The last in this file: it is about all calls before it."""
    assert "Traceback" not in server.log.read_text()
