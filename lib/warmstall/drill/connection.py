"""The HTTP side of a call: its access line, whether its client is still there, chunks as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .inference import Truth
from .server_log import ServerLog


@dataclass
class Noted:
    """What the access line says other than the answer's own status; `silent` where there is none."""

    status: int | None = None
    silent: bool = False
    truth: Truth | None = None


class AccessLog:
    """Writes GIN's line when a call has ended, and the truth about it."""

    def __init__(self, app: ASGIApp, log: ServerLog, truth_file: Path | None) -> None:
        self.app = app
        self.log = log
        self.truth_file = truth_file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        noted = scope["noted"] = Noted()
        sent = 200

        async def sending(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.start":
                sent = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:  # a fault of the drill's own
            sent = 500
            traceback.print_exception(error)
        finally:
            if noted.truth:
                noted.truth.finish(0 if noted.silent else noted.status or sent, self.truth_file)
            if not noted.silent:
                query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
                client = scope["client"][0] if scope.get("client") else "127.0.0.1"
                wall_s = time.perf_counter() - started
                self.log.access(noted.status or sent, wall_s, client, scope["method"], scope["path"] + query)


@contextlib.contextmanager
def watched(request: Request) -> Iterator[asyncio.Event]:
    """An event that is set when the client closes its connection."""
    gone = asyncio.Event()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    watching = asyncio.ensure_future(watch())
    try:
        yield gone
    finally:
        watching.cancel()


class Chunks(Response):
    """An answer sent piece by piece, as the pieces come."""

    def __init__(self, pieces: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Json(Response):
    """JSON in Go's compact writing."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        return compact(content)


def compact(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
