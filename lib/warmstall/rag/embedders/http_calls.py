"""One JSON call to an embedding server: a deadline for all of it, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from typing import NamedTuple

import httpx

from ...errors import StepFailed

_log = logging.getLogger(__name__)
_JSON = {"Content-Type": "application/json"}
_MOST_BYTES = 256 * 1024 * 1024


class Reply(NamedTuple):
    """Status and body; `body` is text where it is no JSON."""

    status: int
    body: object

    @property
    def said(self) -> str:
        """What the server says is wrong, in 200 characters."""
        words = self.body
        if isinstance(words, dict):
            words = words.get("error") or words.get("detail") or words.get("message") or words
        return " ".join(str(words).split())[:200] or "nothing more"


class Caller:
    """Calls one server. It keeps no connection, so threads and forked processes have nothing to share."""

    def __init__(self, name: str, base_url: str, timeout_s: float) -> None:
        self.name, self.base_url, self.timeout_s = name, base_url, timeout_s
        self._trusted = ssl.create_default_context() if base_url.startswith("https:") else False

    def post(self, path: str, asked: object) -> Reply:
        return self._call("POST", path, asked)

    def get(self, path: str) -> Reply:
        return self._call("GET", path, None)

    def failed(self, sentence: str) -> StepFailed:
        """The failure to raise; it is logged here, without a word of what was asked."""
        _log.error("%s: %s", self.name, sentence)
        return StepFailed(f"{self.name}: {sentence}")

    def _call(self, method: str, path: str, asked: object) -> Reply:
        came: list[Reply | Exception] = []
        # A thread, because a server that sends a byte now and then never lets a socket's own deadline come.
        thread = threading.Thread(
            target=self._ask, args=(came, method, path, asked), name=f"call of {self.name}"[:40], daemon=True
        )
        thread.start()
        thread.join(self.timeout_s + 0.2)
        answer = came[0] if came else TimeoutError()
        if isinstance(answer, Reply):
            return answer
        raise self.failed(self._sentence(answer)) from answer

    def _ask(self, came: list[Reply | Exception], method: str, path: str, asked: object) -> None:
        ends = time.monotonic() + self.timeout_s
        received = bytearray()
        # In ASCII: a half of a surrogate pair, as a broken PDF has it, cannot be sent as UTF-8.
        sent = None if asked is None else json.dumps(asked)
        try:
            with (
                httpx.Client(verify=self._trusted, trust_env=False, timeout=self.timeout_s) as client,
                client.stream(method, self.base_url + path, content=sent, headers=_JSON) as response,
            ):
                for piece in response.iter_bytes():
                    received += piece
                    if time.monotonic() > ends:
                        raise TimeoutError
                    if len(received) > _MOST_BYTES:
                        raise StepFailed(
                            f"its answer is longer than {_MOST_BYTES >> 20} MiB; send fewer texts at once."
                        )
            came.append(Reply(response.status_code, _read(bytes(received))))
        except Exception as error:  # whatever it is, the thread that waits is told
            came.append(error)

    def _sentence(self, error: Exception) -> str:
        where = self.base_url
        match error:
            case StepFailed():
                return str(error)
            case TimeoutError() | httpx.TimeoutException():
                return f"no answer from {where} within {self.timeout_s:g} s; look at its load, or raise timeout_s."
            case httpx.ConnectError():
                return f"nothing listens at {where} (connection refused: {error}); start it, or correct its address."
            case httpx.NetworkError() | httpx.ProtocolError():
                return (
                    f"the connection to {where} was reset before the answer was whole ({error}); its process may have "
                    "crashed: read its log."
                )
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                return f"{where!r} is no address of a service; expected one like http://127.0.0.1:8001/embed."
        return f"the call to {where} failed ({type(error).__name__}: {error}); read the server's log."


def _read(received: bytes) -> object:
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        return received.decode("utf-8", "replace")
