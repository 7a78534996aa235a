"""Tokens: what stands in the place of a secret. The same value gives the same token as long as the salt is the same."""

from __future__ import annotations

import hmac
import re

_DIGITS = 8
_SHAPE = re.compile(r"(?:secret|prompt|email|address|user|home|host|serial)-[0-9a-f]{8,64}")


class Tokens:
    """Gives every value its token, and knows the tokens that it gave.

    >>> tokens = Tokens(b"salt")
    >>> tokens.of("alice", "user"), tokens.of("alice", "user") == tokens.of("alice", "user")
    ('user-dc663a1d', True)
    >>> tokens.is_token("user-dc663a1d"), tokens.is_token("user-00000000")
    (True, False)
    """

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self.given: dict[str, str] = {}  # token -> digest of its value

    def of(self, value: str, prefix: str) -> str:
        """The token of a value; longer by two digits wherever a shorter one is another value's already."""
        digest = hmac.new(self.salt, value.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
        for length in range(_DIGITS, 65, 2):
            token = f"{prefix}-{digest[:length]}"
            if self.given.setdefault(token, digest) == digest:
                break
        return token

    def is_token(self, text: str) -> bool:
        """Whether this is a token that was given out here; a host may well be called `host-12345678`."""
        return text in self.given

    def places(self, line: str) -> list[tuple[int, int]]:
        """Where tokens of ours stand in a line."""
        return [found.span() for found in _SHAPE.finditer(line) if found[0] in self.given]
