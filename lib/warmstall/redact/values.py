"""The values that are known to be secret, and the token of each: the map that stays outside of the case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .findings import Found, parts_of
from .forms import forms_of
from .judging import can_go_everywhere, is_person
from .kinds import KINDS, prefix_of
from .known import Known
from .tokens import Tokens

# What a person's or a machine's name is called does not depend on its capitals.
_CASELESS = frozenset(("user", "host", "email"))
_WORDS = frozenset(("user", "host", "home", "address", "email", "serial"))
_OF_THE_HOST = frozenset(("user", "host", "address", "serial"))
_MOST_TEXTS = 5_000
_LONGEST_TEXT = 4_000
_COUNTED_TOKEN = re.compile(r"(prompt-[0-9a-f]+) \(\d+ characters\)")
_USUAL_HOME = re.compile(r"(?:/home|/Users|[A-Za-z]:\\Users)[/\\][^/\\]+")


def checked_kind(kind: str) -> str:
    """The kind, if it is one. Raises InputError."""
    if kind not in KINDS:
        raise InputError(f"{kind!r}: there is no such kind of secret; there are {', '.join(KINDS)}.")
    return kind


class Values:
    """Secrets by value. Those that may go wherever they stand are also looked for in every line.

    >>> values = Values(b"salt")
    >>> values.token("hunter22", "password") == values.token("hunter22", "environment")
    True
    >>> values.remember("hunter22", "password")
    >>> values.in_lines(["x hunter22", "y root"])[0][0].text
    'hunter22'
    """

    def __init__(self, salt: bytes) -> None:
        self._tokens = Tokens(salt)
        self._by_value: dict[str, tuple[str, str]] = {}  # kind and token
        self._told: dict[str, str] = {}
        self._texts = 0
        self._known = Known()

    def __len__(self) -> int:
        return len(self._by_value)

    def __contains__(self, found: Found) -> bool:
        """Whether this value is looked for in every line."""
        return _key(found.text, found.kind) in self._by_value

    def tell(self, value: str, kind: str) -> None:
        """A value that the host itself told."""
        name = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
        if kind == "home":
            if not is_person(name):
                return  # the home of a service
            if _USUAL_HOME.fullmatch(value.rstrip("/\\")):
                value, kind = name, "user"
        self._told[_key(value, kind)] = kind
        self.remember(value, kind)

    def told_kind(self, text: str) -> str | None:
        """The kind of a value that the host told, be it too short or too common to be replaced everywhere."""
        return self._told.get(text) or self._told.get(text.casefold())

    def learn(self, found: Found, keep: frozenset[str] = frozenset(), in_a_text: bool = False) -> None:
        """Remember a finding and what it is made of. What people write about is not what this host is."""
        if in_a_text and found.kind in _OF_THE_HOST:
            return
        if found.text and not self.is_token(found.text):
            self.remember(found.text, found.kind)
        for text, kind in parts_of(found):
            if kind not in keep:
                self.remember(text, kind)

    def remember(self, text: str, kind: str) -> None:
        """Look for this value from now on, if it is one that may go wherever it stands."""
        key = _key(text, kind)
        if key in self._by_value or not can_go_everywhere(text, kind):
            return
        if kind == "prompt":
            self._texts += 1
            if self._texts > _MOST_TEXTS or len(text) > _LONGEST_TEXT:
                return
        token = self._tokens.of(key, prefix_of(kind))
        self._keep(key, kind, f"/{token}" if kind == "home" and text.startswith("/") else token)

    def token(self, text: str, kind: str) -> str:
        """The token of a value; the same value has the same one, whatever it was found as."""
        key = _key(text, kind)
        known = self._by_value.get(key) or self._by_value.get(text)
        return known[1] if known else self._tokens.of(key, prefix_of(kind))

    def is_token(self, text: str) -> bool:
        """Whether this text is nothing but a token of ours."""
        counted = _COUNTED_TOKEN.fullmatch(text) if text.startswith("prompt-") else None
        return self._tokens.is_token(counted[1] if counted else text)

    def token_places(self, line: str) -> list[tuple[int, int]]:
        """Where tokens of ours stand in a line."""
        return self._tokens.places(line)

    def in_lines(self, lines: list[str]) -> dict[int, list[Found]]:
        """Every known value in every form, by line."""
        found: dict[int, list[Found]] = {}
        for number, forms in self._known.lines_with(lines).items():
            for form in forms:
                for start, end in form.places(lines[number]):
                    one = Found(start, end, form.whole, form.kind, f"known {form.kind}")
                    found.setdefault(number, []).append(one)
        return found

    def note(self) -> dict[str, Any]:
        """All of it, for a JSON file."""
        return {
            "salt": self._tokens.salt.hex(),
            "values": [[value, kind, token] for value, (kind, token) in self._by_value.items()],
            "told": self._told,
            "tokens": self._tokens.given,
        }

    @classmethod
    def of_note(cls, note: Mapping[str, Any]) -> Values:
        """What was noted. Raises ValueError, KeyError, TypeError, AttributeError or InputError when it is no note."""
        values = cls(bytes.fromhex(note["salt"]))
        values._tokens.given.update({str(token): str(digest) for token, digest in note["tokens"].items()})
        values._told.update({str(value): checked_kind(kind) for value, kind in note["told"].items()})
        for value, kind, token in note["values"]:
            values._keep(str(value), checked_kind(kind), str(token))
        return values

    def _keep(self, key: str, kind: str, token: str) -> None:
        self._by_value[key] = (kind, token)
        for form in forms_of(key, kind, token, word=kind in _WORDS or (len(key) < 8 and key.isalnum())):
            self._known.add(form)


def _key(text: str, kind: str) -> str:
    return text.casefold() if kind in _CASELESS else text
