"""A call that ends at its deadline: any function in a thread, or a POST whose connection is closed then.

A thread cannot be ended from outside. A function that is late is left behind, a daemon thread that holds what it
holds until it returns by itself; whoever waits for it goes on. A POST leaves nothing behind: at the deadline the
connection is shut down, whatever the server does meanwhile, and the server sees that its client has left.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..errors import InputError, WarmstallError

_T = TypeVar("_T")
_PIECE = 65536
JSON = {"Content-Type": "application/json"}


class CallTimedOut(WarmstallError, TimeoutError):
    """A call did not end within its deadline; `thread` is what was left behind of it, None when nothing was."""

    def __init__(self, deadline_s: float, thread: threading.Thread | None = None) -> None:
        super().__init__(f"timed out after {deadline_s:g}s")
        self.thread = thread


class CallFailed(WarmstallError, ConnectionError):
    """No whole answer came: refused (then it was never `connected`), reset, cut off, or something that is no HTTP."""

    def __init__(self, told: str, connected: bool = True) -> None:
        super().__init__(told)
        self.connected = connected


@dataclass(frozen=True)
class Answer:
    """What a server answered: `body` is the JSON document, a list of documents where it came in lines, or text.

    `ttft_s` is the time to the first byte of the body, and told only where the body came in lines.
    """

    status: int
    body: Any
    wall_s: float
    ttft_s: float | None = None

    @property
    def last(self) -> dict[str, Any]:
        """The last document, where Ollama puts its counts; empty when there is none."""
        found = self.body[-1] if isinstance(self.body, list) and self.body else self.body
        return found if isinstance(found, dict) else {}

    @property
    def error(self) -> str:
        """Why it is no success: the status, or an error within a stream that had begun with 200."""
        said = self.last.get("error")
        if said or self.status >= 400:
            return str(said or f"status {self.status}")
        return ""


def call_within(deadline_s: float, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """What the function returns; raises what it raises, and CallTimedOut at the deadline, with its thread left behind.

    >>> call_within(5.0, sum, [1, 2])
    3
    """
    told: list[tuple[bool, Any]] = []
    context = copy_context()

    def work() -> None:
        try:
            told.append((True, context.run(function, *args, **kwargs)))
        except BaseException as error:  # raised again below, where somebody waits for it
            told.append((False, error))

    thread = threading.Thread(target=work, daemon=True, name=f"guarded {getattr(function, '__name__', 'call')}")
    thread.start()
    thread.join(deadline_s)
    if not told:
        raise CallTimedOut(deadline_s, thread)
    well, found = told[0]
    if not well:
        raise found
    return found  # type: ignore[no-any-return]


class Exchange(NamedTuple):
    """An answer as it comes. What ends after `late` is set ended because the connection was shut down."""

    response: http.client.HTTPResponse
    late: threading.Event


@contextmanager
def answer_within(
    deadline_s: float, method: str, url: str, content: bytes = b"", headers: Mapping[str, str] | None = None,
    certificates: ssl.SSLContext | None = None,
) -> Iterator[Exchange]:  # fmt: skip
    """The answer to a request, to be read within the block; at the deadline its connection is shut down.

    The deadline holds for all of it, connecting and a server that trickles included. Raises InputError for what is no
    address, CallTimedOut at the deadline, CallFailed for what goes wrong before it, in the block as well.
    """
    connection, path = _connection(url, deadline_s, certificates)
    late = threading.Event()
    # Kept here: the connection gives its socket away when the server says that it will close it.
    connected: list[socket.socket] = []

    def leave() -> None:
        late.set()
        for each in connected:  # before it is connected its own timeout is as long
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes a read that waits; closing alone does not

    watchdog = threading.Timer(deadline_s, leave)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.connect()
        connected.append(connection.sock)
        if late.is_set():  # the watchdog came while there was nothing to shut down
            raise CallTimedOut(deadline_s)
        connection.request(method, path, content or None, dict(headers or {}))
        with closing(connection.getresponse()) as response:
            yield Exchange(response, late)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, CallTimedOut | CallFailed):
            raise
        if late.is_set() or isinstance(error, TimeoutError):
            raise CallTimedOut(deadline_s) from error
        raise CallFailed(f"{type(error).__name__}: {error}"[:300], bool(connected)) from error
    finally:
        watchdog.cancel()
        connection.close()
    if late.is_set():  # the end of a connection that we shut down looks like the end of an answer
        raise CallTimedOut(deadline_s)


def pieces_of(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The bytes of an answer as they arrive; raises IncompleteRead for one that was cut off."""
    while piece := response.read1(_PIECE):
        yield piece
    if response.length:  # read1 does not raise for it
        raise http.client.IncompleteRead(b"", response.length)


def post_within(deadline_s: float, url: str, body: object) -> Answer:
    """POST a JSON body and read the whole answer; raises CallTimedOut at the deadline, CallFailed without an answer."""
    began, first_s, text = time.monotonic(), None, bytearray()
    with answer_within(deadline_s, "POST", url, json.dumps(body).encode(), JSON) as (response, _):
        for piece in pieces_of(response):
            first_s = time.monotonic() - began if first_s is None else first_s
            text += piece
    wall_s = time.monotonic() - began
    in_lines = "ndjson" in (response.headers.get("Content-Type") or "")
    return Answer(response.status, _read(bytes(text)), wall_s, first_s if in_lines else None)


def _connection(
    url: str, timeout_s: float, certificates: ssl.SSLContext | None
) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and what to ask it for. Raises InputError."""
    try:
        parts = urlsplit(url)
        host, port, scheme = parts.hostname, parts.port, parts.scheme
    except ValueError:
        host, port, scheme = None, None, ""
    if scheme not in ("http", "https") or not host:
        raise InputError(f"an address of scheme {scheme!r} and host {host!r}: expected http://host:port/path.")
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=certificates), path
    return http.client.HTTPConnection(host, port, timeout=timeout_s), path


def _read(text: bytes) -> Any:
    """JSON, or a list of the lines' JSON, or the text as it is."""
    whole = text.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        return json.loads(whole)
    try:
        return [json.loads(line) for line in whole.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return whole
