"""The routes that OpenAI's clients use: chat completions, completions, embeddings, models."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .api import Api, Piece, rest
from .connection import Chunks, Json, compact, watched
from .inference import Call, ClientLeftError, RefusedError
from .models import MODELS, find_model
from .request_checks import check_abilities, check_types, model_of, read_body
from .runner import Runner

_KINDS = {400: "invalid_request_error", 404: "not_found_error"}


class OpenAiApi:
    """OpenAI's shapes over the same inference."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.answered(self.model), methods=["GET"]),
            Route("/v1/chat/completions", self.answered(self.chat), methods=["POST"]),
            Route("/v1/completions", self.answered(self.completions), methods=["POST"]),
            Route("/v1/embeddings", self.answered(self.embeddings), methods=["POST"]),
        ]

    def answered(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """The handler, with its refusals in OpenAI's shape."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)  # type: ignore[no-any-return]
            except RefusedError as refusal:
                request.scope["noted"].silent = refusal.silent
                kind = _KINDS.get(refusal.status, "api_error")
                error = {"message": refusal.message, "type": kind, "param": None, "code": None}
                return Json({"error": error}, refusal.status)
            except ClientLeftError:
                request.scope["noted"].status = 500
                return Json({"error": {"message": "context canceled"}}, 500)

        return answer

    async def models(self, _: Request) -> Response:
        return Json({"object": "list", "data": [_model(name) for name, model in MODELS.items() if not model.broken]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = find_model(name)
        if found is None:
            raise RefusedError(404, f"model '{name}' not found")
        return Json(_model(found.name))

    async def chat(self, request: Request) -> Response:
        body = await read_body(request)
        check_types(body, "ChatCompletionRequest")
        if not body.get("messages"):
            raise RefusedError(400, "[] is too short - 'messages'")
        prompt = "\n".join(_text_of(message.get("content")) for message in body.get("messages") or [])
        return await self.respond(request, body, prompt, _ChatShape(body))

    async def completions(self, request: Request) -> Response:
        body = await read_body(request)
        check_types(body, "CompletionRequest")
        given = body.get("prompt", "")
        return await self.respond(request, body, given[0] if isinstance(given, list) else str(given), _TextShape(body))

    async def respond(self, request: Request, body: Piece, prompt: str, shape: _ChatShape | _TextShape) -> Response:
        model = model_of(body, self.api.era)
        check_abilities(body, model, self.api.era, shape.route)
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        asked = {"model": body["model"], "options": {"num_predict": limit} if limit else {}}
        with contextlib.ExitStack() as stack:
            call = self.api.call(request, stack.enter_context(watched(request)), model, asked, None)
            runner = await self.api.inference.runner_for(call)
            stack.callback(self.api.inference.release, call, runner)
            if not body.get("stream"):
                text, last = "", {}
                async for chunk in self.api.inference.tokens(call, runner, prompt):
                    text, last = text + chunk["content"], chunk
                return Json(shape.whole(text, last))
            pieces = self.pieces(request, call, runner, prompt, shape)
            first = await anext(pieces, None)
            return Chunks(rest(first, pieces, stack.pop_all()), "text/event-stream")

    async def pieces(
        self, request: Request, call: Call, runner: Runner, prompt: str, shape: _ChatShape | _TextShape
    ) -> AsyncIterator[bytes]:
        begun = False
        try:
            async for chunk in self.api.inference.tokens(call, runner, prompt):
                begun = True
                for line in shape.parts(chunk):
                    yield b"data: " + compact(line) + b"\n\n"
            yield b"data: [DONE]\n\n"
        except RefusedError as refusal:
            if not begun:
                raise
            yield (
                b"data: " + json.dumps({"error": {"message": refusal.message, "type": "api_error"}}).encode() + b"\n\n"
            )
        except ClientLeftError:
            request.scope["noted"].status = 200

    async def embeddings(self, request: Request) -> Response:
        body = await read_body(request)
        given = body.get("input", "")
        texts = [str(text) for text in given] if isinstance(given, list) else [str(given)]
        _, rows = await self.api.vectors(request, {"model": body.get("model", "")}, texts)
        data = [
            {"object": "embedding", "embedding": row["embedding"][0], "index": index} for index, row in enumerate(rows)
        ]
        tokens = sum(int(row["tokens_evaluated"]) for row in rows)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Json({"object": "list", "data": data, "model": body["model"], "usage": usage})


class _Shape:
    prefix = ""
    route = ""

    def __init__(self, body: Piece) -> None:
        self.model = body.get("model", "")
        self.id = f"{self.prefix}-{random.randrange(1000)}"
        self.usage_wanted = bool((body.get("stream_options") or {}).get("include_usage"))

    def head(self, kind: str) -> Piece:
        return {
            "id": self.id, "object": kind, "created": int(time.time()), "model": self.model,
            "system_fingerprint": "fp_ollama",
        }  # fmt: skip

    def usage(self, chunk: Piece) -> Piece:
        asked, written = int(chunk.get("tokens_evaluated", 0)), int(chunk.get("tokens_predicted", 0))
        return {"usage": {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}}

    def reason(self, chunk: Piece) -> str:
        return "length" if chunk.get("stop_type") == "limit" else "stop"


class _ChatShape(_Shape):
    prefix = "chatcmpl"
    route = "chat"

    def whole(self, text: str, last: Piece) -> Piece:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.reason(last)}
        return self.head("chat.completion") | {"choices": [choice]} | self.usage(last)

    def parts(self, chunk: Piece) -> list[Piece]:
        head = self.head("chat.completion.chunk")
        delta = {"role": "assistant", "content": chunk["content"]}
        if not chunk.get("stop"):
            return [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]
        last = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": self.reason(chunk)}]}]
        return last + ([head | {"choices": []} | self.usage(chunk)] if self.usage_wanted else [])


class _TextShape(_Shape):
    prefix = "cmpl"
    route = "generate"

    def whole(self, text: str, last: Piece) -> Piece:
        choice = {"text": text, "index": 0, "finish_reason": self.reason(last)}
        return self.head("text_completion") | {"choices": [choice]} | self.usage(last)

    def parts(self, chunk: Piece) -> list[Piece]:
        reason = self.reason(chunk) if chunk.get("stop") else None
        head = self.head("text_completion")
        told = [head | {"choices": [{"text": chunk["content"], "index": 0, "finish_reason": reason}]}]
        return told + ([head | {"choices": []} | self.usage(chunk)] if self.usage_wanted and reason else [])


def _model(name: str) -> Piece:
    return {"id": f"{name}:latest", "object": "model", "created": 1_790_000_000, "owned_by": "library"}


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
