"""The one who asked a runner: whether it is still there, and what it is told instead of an answer."""

from __future__ import annotations

import select
import socket


class ClientGoneError(Exception):
    """The other end of the connection was closed."""


class PromptTooLongError(Exception):
    """A prompt longer than a slot's context, which llama-server refuses."""

    def __init__(self, prompt_tokens: int, num_ctx: int) -> None:
        message = (
            f"request ({prompt_tokens} tokens) exceeds the available context size ({num_ctx} tokens), try increasing it"
        )
        super().__init__(message)
        self.body = {
            "error": {
                "code": 400, "message": message, "type": "exceed_context_size_error",
                "n_prompt_tokens": prompt_tokens, "n_ctx": num_ctx,
            }
        }  # fmt: skip


class Connection:
    """Whether the one who asked is still there."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def check(self) -> None:
        """Raises ClientGoneError when the other end was closed."""
        self.wait_closed(0.0)

    def wait_closed(self, seconds: float) -> None:
        readable, _, _ = select.select([self._socket], [], [], seconds)
        if readable and not self._socket.recv(1):
            raise ClientGoneError
