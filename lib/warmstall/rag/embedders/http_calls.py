"""One JSON call to an embedding server: a deadline for all of it, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import logging
import ssl
from typing import NamedTuple

from ...errors import InputError, StepFailed
from ...guarding.bounded_call import JSON, CallFailed, CallTimedOut, answer_within, pieces_of
from ..server_words import refuse_user_information, told

_log = logging.getLogger(__name__)
_MOST_BYTES = 256 * 1024 * 1024


class Reply(NamedTuple):
    """Status and body; `body` is text where it is no JSON, `private` what was sent and must not be told again."""

    status: int
    body: object
    private: str = ""

    @property
    def said(self) -> str:
        """What the server says is wrong, in 200 characters, without what it quotes of the texts that it was sent."""
        words = self.body
        if isinstance(words, dict):
            words = words.get("error") or words.get("detail") or words.get("message") or words
        if isinstance(words, list) and all(isinstance(one, dict) and "msg" in one for one in words):
            # FastAPI repeats in each of these, beside what is wrong, the whole of what it was given.
            words = "; ".join(str(one["msg"]) for one in words)
        return told(words, self.private) or "nothing more"


class Caller:
    """Calls one server. It keeps no connection, so threads and forked processes have nothing to share."""

    def __init__(self, name: str, base_url: str, timeout_s: float) -> None:
        refuse_user_information(base_url, f"the address of {name}")
        self.name, self.base_url, self.timeout_s = name, base_url, timeout_s
        # To read them takes longer than all the rest of a call: once.
        self._certificates = ssl.create_default_context() if base_url.startswith("https:") else None

    def post(self, path: str, asked: object, private: str) -> Reply:
        """`private` is what no error may quote."""
        return self._call("POST", path, asked)._replace(private=private)

    def get(self, path: str) -> Reply:
        return self._call("GET", path, None)

    def failed(self, sentence: str) -> StepFailed:
        """The failure to raise; it is logged here, without a word of what was asked."""
        _log.error("%s: %s", self.name, sentence)
        return StepFailed(f"{self.name}: {sentence}")

    def _call(self, method: str, path: str, asked: object) -> Reply:
        # In ASCII: a half of a surrogate pair, as a broken PDF has it, cannot be sent as UTF-8.
        sent = b"" if asked is None else json.dumps(asked).encode()
        received = bytearray()
        try:
            with answer_within(self.timeout_s, method, self.base_url + path, sent, JSON, self._certificates) as (
                response,
                _,
            ):
                for piece in pieces_of(response):
                    received += piece
                    if len(received) > _MOST_BYTES:
                        raise self.failed(
                            f"its answer is longer than {_MOST_BYTES >> 20} MiB; send fewer texts at once."
                        )
        except (CallTimedOut, CallFailed, InputError) as error:
            raise self.failed(self._sentence(error)) from error
        return Reply(response.status, _read(bytes(received)))

    def _sentence(self, error: Exception) -> str:
        where = self.base_url
        match error:
            case CallTimedOut():
                return (
                    f"client timeout, no answer from {where} within {self.timeout_s:g} s; look at its load, or raise "
                    "timeout_s."
                )
            case CallFailed(connected=False):
                return f"nothing listens at {where} (connection refused: {error}); start it, or correct its address."
            case CallFailed():
                return (
                    f"the connection to {where} was reset before the answer was whole ({error}); its process may have "
                    "crashed: read its log."
                )
        return f"{where!r} is no address of a service; expected one like http://127.0.0.1:8001/embed."


def _read(received: bytes) -> object:
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        return received.decode("utf-8", "replace")
