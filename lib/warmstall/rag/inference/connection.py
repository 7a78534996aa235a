"""A POST whose answer is read line by line as it comes, with one deadline for all of it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from ...errors import ParameterError
from ...guarding.bounded_call import JSON, CallFailed, CallTimedOut, answer_within, pieces_of
from ..records import Prompt
from ..server_words import refuse_user_information, told
from .failures import InferenceFailed

_LONGEST_ERROR_BYTES = 65536
_LONGEST_ANSWER_BYTES = 64 << 20
_LISTING_S = 10.0


class Server:
    """One server, as several threads and processes may ask it: each call has a connection of its own."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, secret: str = "") -> None:
        refuse_user_information(url, "[inference] url")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ParameterError(f"[inference] url is no address ({error}); expected http://host:port.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParameterError(
                f"[inference] url has scheme {parts.scheme!r} and host {parts.hostname!r}; expected http://host:port."
            )
        standard = 443 if parts.scheme == "https" else 80
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{host}:{port or standard}"
        self._address = f"{parts.scheme}://{self.name}"
        # What stands before every path where a proxy leads to the server.
        self.prefix = parts.path.rstrip("/")
        self._headers = {**JSON, **(headers or {})}
        self._secret = secret
        # To read the certificates takes longer than all the rest of a call: once.
        self._certificates = ssl.create_default_context() if parts.scheme == "https" else None

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
        begun = False
        try:
            with answer_within(timeout_s, method, self._address + path, content, self._headers, self._certificates) as (
                response,
                late,
            ):
                if not 200 <= response.status < 300:
                    raise self._refused(response, private)
                for line in _lines(response, self.name):
                    if late.is_set():  # half a line may be left of a connection that was shut down
                        break
                    begun = True
                    yield line
        except CallTimedOut as error:
            raise self._late(timeout_s, begun) from error
        except CallFailed as error:
            if not error.connected:
                raise self.absent() from error
            raise InferenceFailed(
                f"{self.name}: the connection ended {'within' if begun else 'before'} the answer "
                f"({type(error.__cause__).__name__}); see the server's log.",
                "cut",
            ) from error

    def absent(self) -> InferenceFailed:
        return InferenceFailed(
            f"{self.name}: no server answers there; start it, or say where it is ([inference] url, OLLAMA_HOST).",
            "connection_refused",
        )

    def _late(self, timeout_s: float, begun: bool) -> InferenceFailed:
        came = "the answer began and did not end" if begun else "nothing of the answer came"
        return InferenceFailed(
            f"{self.name}: client timeout, {came} within {timeout_s:g} s; give it longer "
            "([path] attempt_timeout_s), or see what the server does meanwhile.",
            "timeout",
        )

    def _refused(self, response: http.client.HTTPResponse, private: str) -> InferenceFailed:
        """What a status of no success says, with at most 64 KiB of its body."""
        said = response.read(_LONGEST_ERROR_BYTES).decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            said = error_of(json.loads(said)) or said
        status = response.status
        return InferenceFailed(
            f"{self.name} answered {status}: {told(said, private, self._secret)}", f"{status}", status,
            again=status in (408, 429) or status >= 500,
        )  # fmt: skip

    def refused_within(self, said: object, private: str) -> InferenceFailed:
        """An error that came within an answer which had begun with status 200."""
        return InferenceFailed(
            f"{self.name} ended the answer with an error: {told(said, private, self._secret)}", "error_in_stream", 200
        )


def _lines(response: http.client.HTTPResponse, name: str) -> Generator[str]:
    """The lines of an answer, cut at line feeds alone: within JSON, Unicode's other ends of lines are text."""
    waiting, received = b"", 0
    for piece in pieces_of(response):
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


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """The prompt as both APIs want it."""
    rules = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*rules, {"role": "user", "content": prompt.user}]


def object_in(line: str, server: str) -> dict[str, Any]:
    """The JSON object of a line of an answer. Raises InferenceFailed."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise InferenceFailed(
            f"{server}: a line of the answer is no JSON object: it is of another API, or was cut.", "cut", 200
        )
    return said


def error_of(document: object) -> str:
    """The error in a document, as Ollama or as OpenAI writes it; empty where there is none.

    >>> error_of({"error": "model not found"}), error_of({"error": {"message": "no"}}), error_of({"done": True})
    ('model not found', 'no', '')
    """
    said = document.get("error") if isinstance(document, Mapping) else None
    if isinstance(said, Mapping):
        return str(said.get("message") or said)
    return str(said) if said else ""
