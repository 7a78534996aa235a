"""A POST whose answer is read line by line as it comes, with one deadline for all of it.

A socket's own deadline begins anew with every byte, so a server that trickles would never be late. A timer shuts the
connection down at the deadline, whatever the server does meanwhile, and the server sees that its client has left.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...errors import ParameterError
from .failures import InferenceFailed, told

_LONGEST_ERROR_BYTES = 65536
_LONGEST_ANSWER_BYTES = 64 << 20
_LISTING_S = 10.0


class Server:
    """One server, as several threads and processes may ask it: each call has a connection of its own."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, secret: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(
                f"[inference] url has scheme {parts.scheme!r} and host {parts.hostname!r}; expected http://host:port."
            )
        standard = 443 if parts.scheme == "https" else 80
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{host}:{parts.port or standard}"
        # What stands before every path where a proxy leads to the server.
        self.prefix = parts.path.rstrip("/")
        self._base = f"{parts.scheme}://{self.name}"
        self._headers, self._secret = headers, secret
        # Made before any thread asks: of many that ask at once, each would make one of its own.
        self._clients = {os.getpid(): self._new_client()}

    def _new_client(self) -> httpx.Client:
        # No connection is kept: one that the server closed meanwhile would fail a call that nothing is wrong with.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        # To read the certificates takes longer than all the rest, and nobody shows one over http.
        verify = self._base.startswith("https:")
        return httpx.Client(
            base_url=self._base, headers=self._headers, limits=limits, trust_env=False, verify=verify
        )  # fmt: skip

    def _client(self) -> httpx.Client:
        """The client of this process: one that was forked off may not use its parent's locks."""
        if (client := self._clients.get(os.getpid())) is None:
            client = self._new_client()
            self._clients = {os.getpid(): client}
        return client

    def lines(self, path: str, body: Mapping[str, Any], timeout_s: float, private: str) -> Generator[str]:
        """The lines of the answer to a POST. Raises InferenceFailed: refused, a status other than 200, reset, late.

        Closing the iterator closes the connection. `private` is what no error may quote.
        """
        return self._lines("POST", path, json.dumps(body).encode(), timeout_s, private)

    def document(self, path: str, timeout_s: float = _LISTING_S) -> Any:
        """The JSON that a GET answers. Raises InferenceFailed."""
        text = "\n".join(self._lines("GET", path, b"", timeout_s, ""))
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise InferenceFailed(f"{self.name}{path} answered something that is no JSON.", "no_json", 200) from None

    def _lines(self, method: str, path: str, content: bytes, timeout_s: float, private: str) -> Generator[str]:
        sockets: list[socket.socket] = []
        late = threading.Event()
        begun = False

        def noticed(event: str, info: Mapping[str, Any]) -> None:
            stream = info.get("return_value")
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")) and stream is not None:
                sockets.append(stream.get_extra_info("socket"))
                if late.is_set():  # the timer came while there was nothing to shut down
                    leave()

        def leave() -> None:
            late.set()
            for each in sockets[-1:]:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)  # wakes a read that waits; closing alone does not

        watchdog = threading.Timer(timeout_s, leave)
        watchdog.daemon = True
        watchdog.start()
        asked = self._client().build_request(
            method, path, content=content, headers={"Content-Type": "application/json"}, timeout=timeout_s,
            extensions={"trace": noticed},
        )  # fmt: skip
        try:
            with closing(self._client().send(asked, stream=True)) as response:
                if not response.is_success:
                    raise self._refused(response, private)
                for line in _lines(response, self.name):
                    if late.is_set():  # half a line may be left of a connection that was shut down
                        break
                    begun = True
                    yield line
        except (httpx.HTTPError, OSError) as error:
            if late.is_set() or isinstance(error, httpx.TimeoutException):
                raise self._late(timeout_s, begun) from error
            if isinstance(error, httpx.ConnectError):
                raise self.absent() from error
            raise InferenceFailed(
                f"{self.name}: the connection ended {'within' if begun else 'before'} the answer "
                f"({type(error).__name__}); see the server's log.",
                "cut",
            ) from error
        finally:
            watchdog.cancel()
        if late.is_set():  # the end of a connection that we shut down looks like the end of an answer
            raise self._late(timeout_s, begun)

    def absent(self) -> InferenceFailed:
        return InferenceFailed(
            f"{self.name}: no server answers there; start it, or say where it is ([inference] url, OLLAMA_HOST).",
            "connection_refused",
        )

    def _late(self, timeout_s: float, begun: bool) -> InferenceFailed:
        came = "the answer began and did not end" if begun else "nothing of the answer came"
        return InferenceFailed(
            f"{self.name}: {came} within {timeout_s:g} s; give it longer "
            "([path] attempt_timeout_s), or see what the server does meanwhile.",
            "timeout",
        )

    def _refused(self, response: httpx.Response, private: str) -> InferenceFailed:
        """What a status of no success says, with at most 64 KiB of its body."""
        text = bytearray()
        for piece in response.iter_bytes():
            text += piece
            if len(text) > _LONGEST_ERROR_BYTES:
                break
        said = bytes(text).decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            said = error_of(json.loads(said)) or said
        status = response.status_code
        return InferenceFailed(
            f"{self.name} answered {status}: {told(said, private, self._secret)}", f"{status}", status,
            again=status in (408, 429) or status >= 500,
        )  # fmt: skip

    def refused_within(self, said: object, private: str) -> InferenceFailed:
        """An error that came within an answer which had begun with status 200."""
        return InferenceFailed(
            f"{self.name} ended the answer with an error: {told(said, private, self._secret)}", "error_in_stream", 200
        )


def _lines(response: httpx.Response, name: str) -> Generator[str]:
    """The lines of an answer, cut at line feeds alone: within JSON, Unicode's other ends of lines are text."""
    waiting, received = b"", 0
    for piece in response.iter_bytes():
        received += len(piece)
        if received > _LONGEST_ANSWER_BYTES:
            raise InferenceFailed(
                f"{name}: the answer is longer than {_LONGEST_ANSWER_BYTES >> 20} MiB.", "too_long", 200
            )
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode("utf-8", "replace")
    if waiting:
        yield waiting.decode("utf-8", "replace")


def error_of(document: object) -> str:
    """The error in a document, as Ollama or as OpenAI writes it; empty where there is none.

    >>> error_of({"error": "model not found"}), error_of({"error": {"message": "no"}}), error_of({"done": True})
    ('model not found', 'no', '')
    """
    said = document.get("error") if isinstance(document, Mapping) else None
    if isinstance(said, Mapping):
        return str(said.get("message") or said)
    return str(said) if said else ""
