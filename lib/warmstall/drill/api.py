"""Ollama's own routes: generate, chat, embed, embeddings, ps, tags, show, version; pull is refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .connection import Chunks, Json, Noted, compact, watched
from .go_text import nanoseconds_text
from .inference import Call, ClientLeftError, Inference, RefusedError, Truth
from .model_pages import listed, resident, shown
from .models import DrillModel, find_model
from .request_checks import check_abilities, check_options, check_types, keep_alive_of, model_of, read_body
from .runner import Runner
from .scheduler import find_blob
from .token_timing import count_tokens

Piece = dict[str, Any]


class Api:
    """The routes over one server's inference."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.era = inference.era

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET", "HEAD"]),
            Route("/api/version", self.version, methods=["GET", "HEAD"]),
            Route("/api/tags", self.tags, methods=["GET", "HEAD"]),
            Route("/api/ps", self.ps, methods=["GET"]),
            Route("/api/show", self.answered(self.show), methods=["POST"]),
            Route("/api/pull", self.answered(self.pull), methods=["POST"]),
            Route("/api/generate", self.answered(self.generate), methods=["POST"]),
            Route("/api/chat", self.answered(self.chat), methods=["POST"]),
            Route("/api/embed", self.answered(self.embed), methods=["POST"]),
            Route("/api/embeddings", self.answered(self.embeddings), methods=["POST"]),
        ]

    def answered(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler, with its refusals as JSON."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except RefusedError as refusal:
                noted: Noted = request.scope["noted"]
                noted.silent = refusal.silent
                return Json({"error": refusal.message}, refusal.status)
            except ClientLeftError:
                request.scope["noted"].status = 500
                return Json({"error": "context canceled"}, 500)

        return answer

    async def root(self, _: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, _: Request) -> Response:
        return Json({"version": self.era.version})

    async def tags(self, _: Request) -> Response:
        return Json({"models": listed(self.era)})

    async def ps(self, _: Request) -> Response:
        on_gpu = self.inference.settings.gpu is not None
        return Json({"models": resident(self.era, await self.inference.scheduler.resident(), on_gpu)})

    async def pull(self, _: Request) -> Response:
        raise RefusedError(403, "a drill serves the models it has and pulls none")

    async def show(self, request: Request) -> Response:
        body = await read_body(request)
        name = str(body.get("model") or body.get("name") or "")
        model = find_model(name)
        if model is None:
            raise RefusedError(404, f"model '{name}' not found")
        return Json(shown(self.era, model, self.inference.settings))

    async def generate(self, request: Request) -> Response:
        body = await read_body(request)
        check_types(body, "GenerateRequest")
        prompt = str(body.get("prompt") or "")

        def piece(text: str) -> Piece:
            return {"response": text}

        return await self.respond(request, body, prompt, piece, with_context=True)

    async def chat(self, request: Request) -> Response:
        body = await read_body(request)
        check_types(body, "ChatRequest")
        messages = body.get("messages") or []
        prompt = "\n".join(str(message.get("content", "")) for message in messages)

        def piece(text: str) -> Piece:
            return {"message": {"role": "assistant", "content": text}}

        return await self.respond(request, body, prompt if messages else "", piece, with_context=False)

    async def respond(
        self, request: Request, body: Piece, prompt: str, piece: Callable[[str], Piece], with_context: bool
    ) -> Response:
        """Tokens for a prompt, streamed unless the body says no; without a prompt the model is loaded or sent away."""
        model = model_of(body, self.era)
        self.inference.check_format(body.get("format"), loaded=False)
        check_abilities(body, model, self.era, "chat" if "chat" in request.url.path else "generate")
        check_options(body, self.inference.log)
        keep_alive_s = keep_alive_of(body)
        streams = body.get("stream") is not False
        if not prompt and keep_alive_s is not None and keep_alive_s <= 0:
            self.inference.scheduler.expire_now(find_blob(self.inference.settings, model))
            return Json(self.head(body, piece("")) | {"done": True, "done_reason": "unload"})
        with contextlib.ExitStack() as stack:
            call = self.call(request, stack.enter_context(watched(request)), model, body, keep_alive_s)
            runner = await self.inference.runner_for(call)
            stack.callback(self.inference.release, call, runner)
            if not prompt:
                return Json(self.head(body, piece("")) | {"done": True, "done_reason": "load"})
            if not streams:
                return await self.whole(call, runner, body, prompt, piece, with_context)
            pieces = self.pieces(request, call, runner, body, prompt, piece, with_context)
            first = await anext(pieces, None)  # an error before the first line is the answer's status
            staying = stack.pop_all()
            return Chunks(rest(first, pieces, staying), "application/x-ndjson")

    async def whole(
        self, call: Call, runner: Runner, body: Piece, prompt: str, piece: Callable[[str], Piece], with_context: bool
    ) -> Response:
        text, last = "", {}
        async for chunk in self.inference.tokens(call, runner, prompt):
            text += chunk["content"]
            last = chunk
        return Json(self.head(body, piece(text)) | self.figures(call, last, prompt, with_context))

    async def pieces(
        self, request: Request, call: Call, runner: Runner, body: Piece, prompt: str,
        piece: Callable[[str], Piece], with_context: bool,
    ) -> AsyncIterator[bytes]:  # fmt: skip
        """The lines of a stream; a runner that ends makes the last one an error."""
        begun = False
        try:
            async for chunk in self.inference.tokens(call, runner, prompt):
                begun = True
                line = self.head(body, piece(chunk["content"]))
                line |= self.figures(call, chunk, prompt, with_context) if chunk.get("stop") else {"done": False}
                yield compact(line) + b"\n"
        except RefusedError as refusal:
            if not begun and (self.era.fails_before_first_chunk or refusal.status == 400):
                raise
            yield compact({"error": refusal.message}) + b"\n"
        except ClientLeftError:
            noted: Noted = request.scope["noted"]
            noted.status = 200 if begun or not self.era.fails_before_first_chunk else 500

    async def embed(self, request: Request) -> Response:
        body = await read_body(request)
        given = body.get("input", "")
        texts = [str(text) for text in given] if isinstance(given, list) else [str(given)] if given else []
        call, rows = await self.vectors(request, body, texts)
        if not texts:
            return Json({"model": body["model"], "embeddings": []})
        return Json({
            "model": body["model"], "embeddings": [row["embedding"][0] for row in rows],
            "total_duration": nanoseconds(time.perf_counter() - call.started),
            "load_duration": nanoseconds(call.loaded - call.started),
            "prompt_eval_count": sum(int(row["tokens_evaluated"]) for row in rows),
        })  # fmt: skip

    async def embeddings(self, request: Request) -> Response:
        body = await read_body(request)
        prompt = str(body.get("prompt") or "")
        _, rows = await self.vectors(request, body, [prompt] if prompt else [])
        return Json({"embedding": rows[0]["embedding"][0] if rows else []})

    async def vectors(self, request: Request, body: Piece, texts: list[str]) -> tuple[Call, list[Piece]]:
        model = model_of(body, self.era)
        check_options(body, self.inference.log)
        with watched(request) as gone:
            call = self.call(request, gone, model, body, keep_alive_of(body))
            runner = await self.inference.runner_for(call)
            try:
                return call, await self.inference.vectors(call, runner, texts)
            finally:
                self.inference.release(call, runner)

    def call(
        self, request: Request, gone: asyncio.Event, model: DrillModel, body: Piece, keep_alive_s: float | None
    ) -> Call:
        identity = request.headers.get("x-drill-request", "")
        truth = request.scope["noted"].truth = Truth(identity, request.url.path, model.name, time.time())
        if model.broken == "missing_blob":
            truth.outcome = "load_failed"
            self.inference.log.say("blob_missing", blob=find_blob(self.inference.settings, model))
            status, text = self.era.missing_blob
            route = "chat" if "chat" in request.url.path else "generate"
            raise RefusedError(status, text.format(model=body["model"], route=route))
        beside = {key: body.get(key) for key in ("truncate", "shift", "format", "raw")}
        options = {**(body.get("options") or {}), **beside}
        messages = [str(message.get("content", "")) for message in body.get("messages") or []]
        return Call(model, options, keep_alive_s, gone, truth, messages=messages)

    def head(self, body: Piece, piece: Piece) -> Piece:
        return {"model": body["model"], "created_at": nanoseconds_text(time.time())} | piece

    def figures(self, call: Call, chunk: Piece, prompt: str, with_context: bool) -> Piece:
        """The end of an answer: why it ended, and how long each part took."""
        timings = chunk.get("timings", {})
        grain = self.era.duration_grain_ns
        told: Piece = {"done": True, "done_reason": "length" if chunk.get("stop_type") == "limit" else "stop"}
        if with_context:
            told["context"] = [random.Random(prompt).randrange(728) for _ in range(min(count_tokens(prompt), 64))]
        durations = {
            "total_duration": nanoseconds(time.perf_counter() - call.started),
            "load_duration": nanoseconds(call.loaded - call.started),
            "prompt_eval_count": chunk.get("tokens_evaluated", 0),
            "prompt_eval_duration": nanoseconds(timings.get("prompt_ms", 0) / 1000) // grain * grain,
            "eval_count": chunk.get("tokens_predicted", 0),
            "eval_duration": nanoseconds(timings.get("predicted_ms", 0) / 1000) // grain * grain,
        }
        return told | {key: value for key, value in durations.items() if value}


async def rest(
    first: bytes | None, pieces: AsyncIterator[bytes], staying: contextlib.ExitStack
) -> AsyncIterator[bytes]:
    """A stream from its first line on; what the call holds is given back at its end."""
    with staying:
        if first is not None:
            yield first
        async for piece in pieces:
            yield piece


def nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
