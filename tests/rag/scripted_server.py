"""A server that answers as it is told, for what no server that is whole would do."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


@dataclass
class Scripted:
    """What it was asked, and whether a client left before its answer ended."""

    url: str
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[Scripted]:
    """Each POST or GET gets the next of the answers, the last of them for ever."""
    waiting = list(answers)

    class OneHandler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            scripted.asked.append((self.path, dict(self.headers), body))
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            try:
                answer(self)
            except OSError:
                scripted.left.set()
            self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneHandler)
    server.daemon_threads = True
    scripted = Scripted(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        server.server_close()


def lines(*texts: str, status: int = 200, kind: str = "application/x-ndjson") -> Answer:
    """An answer of these lines; it ends with the connection."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        for text in texts:
            handler.wfile.write(text.encode() + b"\n")

    return answer


def chat(*words: str, thinking: str = "", **final: Any) -> Answer:
    """Ollama's answer to a chat."""
    rows: list[dict[str, Any]] = [{"message": {"content": word}, "done": False} for word in words]
    if thinking:
        rows.insert(0, {"message": {"content": "", "thinking": thinking}, "done": False})
    rows.append({"message": {"content": ""}, "done": True, "done_reason": "stop", **final})
    return lines(*(json.dumps(row, ensure_ascii=False) for row in rows))


def refusal(status: int, error: Any) -> Answer:
    return lines(json.dumps({"error": error}), status=status, kind="application/json")


def trickling(line: str, pause: threading.Event, headers_first: bool = True) -> Answer:
    """A line every 50 ms, or a header, until the client leaves or `pause` is set."""

    def answer(handler: Handler) -> None:
        head = b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if headers_first else b"")
        handler.wfile.write(head)
        while not pause.wait(0.05):
            handler.wfile.write(f"{line}\r\n".encode())

    return answer
