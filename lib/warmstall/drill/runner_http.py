"""llama-server's endpoints over a synthetic runner; `serve` answers until the process is ended."""

from __future__ import annotations

import http.server
import json
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

from ..rag.embedders.hashed_words import embed
from .runner_client import ClientGoneError, Connection, PromptTooLongError

if TYPE_CHECKING:
    from .synthetic_runner import SyntheticRunner


def serve(port: int, runner: SyntheticRunner) -> None:
    """Answer on loopback."""
    _Server(("127.0.0.1", port), handler_for(runner)).serve_forever()


def handler_for(runner: SyntheticRunner) -> type[http.server.BaseHTTPRequestHandler]:
    """llama-server's endpoints over a runner."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                runner.asked.set()
                if runner.loaded:
                    self._answer({"status": "ok"})
                else:
                    self._answer({"status": "loading model", "progress": runner.progress}, 503)
            elif self.path == "/slots":
                self._answer(runner.lines.slots())
            else:
                self._answer({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, 404)

        def do_POST(self) -> None:
            ask = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                if self.path == "/embedding":
                    self._embed(ask)
                else:
                    self._stream(ask)
            except (ClientGoneError, BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
                self.close_connection = True

        def _stream(self, ask: dict[str, Any]) -> None:
            chunks = runner.completion(ask, Connection(self.connection))
            try:
                first = next(chunks)
            except PromptTooLongError as error:
                self._answer(error.body, 400)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for chunk in chain([first], chunks):
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        def _embed(self, ask: dict[str, Any]) -> None:
            answers = []
            tokens = ask.get("prompt_tokens") or [0] * len(ask["content"])
            for index, (text, count) in enumerate(zip(ask["content"], tokens, strict=True)):
                asked = {"prompt": text, "prompt_tokens": count, "embedding": True}
                figures = list(runner.completion(asked, Connection(self.connection)))[-1]
                vector = embed(text, runner.model.n_embd)
                answers.append({"index": index, "embedding": [vector], **figures})
            self._answer(answers)

        def _answer(self, body: object, status: int = 200) -> None:
            data = json.dumps(body, separators=(",", ":")).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: object) -> None:
            pass

    return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is nothing that llama-server writes about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    request_queue_size = 128
