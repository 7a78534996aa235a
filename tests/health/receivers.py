"""Servers that messages are sent to: of the web, to answer, refuse, redirect, hang or trickle, and of mail."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """What a web server got, and how it answers: a status, or hang (until `released`), or trickle."""

    port: int = 0
    answers: int | str = 200
    location: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.port}"


@contextmanager
def web(answers: int | str = 200, location: str = "") -> Iterator[Web]:
    """A web server on a free port for the time of the block."""
    seen = Web(answers=answers, location=location)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.asked.append(f"GET {self.path}")
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.asked.append(f"POST {self.path}")
            seen.headers.append(dict(self.headers))
            seen.got.append(json.loads(body))
            seen.came.set()
            if seen.answers == "hang":
                seen.released.wait(60)
                return
            if seen.answers == "trickle":
                self._trickle()
                return
            self.send_response(int(seen.answers))
            if seen.location:
                self.send_header("Location", seen.location)
            self.end_headers()

        def _trickle(self) -> None:
            try:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not seen.released.wait(0.1):
                    self.wfile.write(b"X-More: yes\r\n")
                    self.wfile.flush()
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield seen
        finally:
            seen.released.set()
            server.shutdown()
            thread.join()


@dataclass
class Mail:
    """What a mail server got."""

    port: int = 0
    to: list[str] = field(default_factory=list)
    got: list[EmailMessage] = field(default_factory=list)


@contextmanager
def mail() -> Iterator[Mail]:
    """A mail server that takes everything, on a free port for the time of the block."""
    seen = Mail()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 box ESMTP\r\n")
            for line in self.rfile:
                word = line.split(b" ")[0].strip().upper()
                if word == b"RCPT":
                    seen.to.append(line.decode().partition(":")[2].strip().strip("<>"))
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    self._letter()
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 box\r\n")
                if word == b"QUIT":
                    return

        def _letter(self) -> None:
            lines = []
            for line in self.rfile:
                if line == b".\r\n":
                    break
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            found = message_from_bytes(b"".join(lines), policy=policy.default)
            assert isinstance(found, EmailMessage)
            seen.got.append(found)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
