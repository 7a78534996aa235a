"""A call that ends at its deadline: any function in a thread, or a POST whose connection is closed then.

A thread cannot be ended from outside. A function that is late is left behind, a daemon thread that holds what it
holds until it returns by itself; whoever waits for it goes on. A POST leaves nothing behind: at the deadline the
connection is shut down, whatever the server does meanwhile, and the server sees that its client has left.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import InputError, WarmstallError

_T = TypeVar("_T")
_PIECE = 65536


class CallTimedOut(WarmstallError, TimeoutError):
    """A call did not end within its deadline; `thread` is what was left behind of it, None when nothing was."""

    def __init__(self, deadline_s: float, thread: threading.Thread | None = None) -> None:
        super().__init__(f"timed out after {deadline_s:g}s")
        self.thread = thread


class CallFailed(WarmstallError, ConnectionError):
    """No whole answer came: refused, reset, cut off, or something that is no HTTP."""


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


def post_within(deadline_s: float, url: str, body: object) -> Answer:
    """POST a JSON body and read the whole answer; raises CallTimedOut at the deadline, CallFailed without an answer.

    The deadline holds for all of it, connecting and a server that trickles included.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url}: expected http://host:port/path.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=deadline_s)
    began, late = time.monotonic(), threading.Event()

    def leave() -> None:
        late.set()
        with suppress(OSError, AttributeError):  # not connected yet: its own timeout is as long
            connection.sock.shutdown(socket.SHUT_RDWR)  # wakes a read that waits; closing alone does not

    watchdog = threading.Timer(deadline_s, leave)
    watchdog.daemon = True
    watchdog.start()
    try:
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection.connect()
        if late.is_set():  # the watchdog came while there was nothing to shut down
            raise CallTimedOut(deadline_s)
        connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text, first_s = bytearray(), None
        while piece := response.read1(_PIECE):
            first_s = time.monotonic() - began if first_s is None else first_s
            text += piece
        if response.length:  # read1 does not raise for an answer that was cut off
            raise http.client.IncompleteRead(bytes(text), response.length)
    except CallTimedOut:
        raise
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise CallTimedOut(deadline_s) from error
        raise CallFailed(f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        watchdog.cancel()
        connection.close()
    if late.is_set():
        raise CallTimedOut(deadline_s)
    wall_s = time.monotonic() - began
    in_lines = "ndjson" in (response.headers.get("Content-Type") or "")
    return Answer(response.status, _read(bytes(text)), wall_s, first_s if in_lines else None)


def _read(text: bytes) -> Any:
    """JSON, or a list of the lines' JSON, or the text as it is."""
    whole = text.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        return json.loads(whole)
    try:
        return [json.loads(line) for line in whole.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return whole
