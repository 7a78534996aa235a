"""What the rules find in lines: where it stands, what it says, and what else it tells."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from .blocks import continued, named_values, private_key_lines, text_columns
from .gate import Gate
from .kinds import KINDS
from .reading import Value, texts_at, value_at
from .rule import Rule
from .rules import RULES

_BLOCKS = (
    ("private-key", "private key", private_key_lines),
    ("environment", "value behind its name", named_values),
    ("prompt", "column of a table", text_columns),
)
_ENCODED_KINDS = frozenset(("user", "email", "host", "url", "query"))
_LONG_VALUE = 1_000
_TEMPLATE_MARK = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?[a-z_]{1,20}>|<(?:start|end)_of_turn>|\[/?INST\]|\n")


class Found(NamedTuple):
    """One secret in one line. `text` is the secret without escapes; an empty one goes without leaving a token."""

    start: int
    end: int
    text: str
    kind: str
    rule: str
    quoted: bool = False

    def holds(self, other: Found) -> bool:
        return self is not other and self.start <= other.start and other.end <= self.end


class Finder:
    """All rules but those of the kinds to keep.

    >>> [(one.text, one.kind) for one in Finder().in_lines(["ok", "PGPASSWORD=hunter22"], [0, 1])[1]]
    [('hunter22', 'environment'), ('hunter22', 'password')]
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self._keep = keep
        self._gate = Gate([rule.hint for rule in RULES])

    def in_lines(self, lines: list[str], numbers: list[int]) -> dict[int, list[Found]]:
        """What the rules find in the lines of these numbers, by line; findings may overlap."""
        found: dict[int, list[Found]] = {}
        asked = lines if len(numbers) == len(lines) else [lines[number] for number in numbers]
        for place, rules in self._gate.open_for(asked).items():
            for rule in rules:
                for line, one in self._by_rule(RULES[rule], lines, numbers[place]):
                    found.setdefault(line, []).append(one)
        for kind, name, read in _BLOCKS:
            if kind not in self._keep:
                for number, value in read(lines):
                    one = Found(value.start, value.end, value.text, kind, name, value.quoted)
                    found.setdefault(number, []).append(one)
        return found

    def _by_rule(self, rule: Rule, lines: list[str], number: int) -> Iterator[tuple[int, Found]]:
        for value, kind in matches(rule, lines[number]):
            one = _canonical(Found(value.start, value.end, value.text, kind, rule.name, value.quoted))
            if one.kind in self._keep:
                continue
            yield number, one
            if kind == "prompt" and value.quoted and not value.closed and not value.text.startswith("prompt-"):
                for line, piece in continued(lines, number, value.depth):
                    yield line, Found(piece.start, piece.end, piece.text, kind, rule.name, True)


def matches(rule: Rule, line: str) -> Iterator[tuple[Value, str]]:
    """The values that a rule finds in a line, with their kinds."""
    place = 0
    while found := rule.search(line, place):
        place = max(found.end(), found.start() + 1)
        if rule.reads == "groups":
            for name in found.groupdict():
                start, end = found.span(name)
                own = name.startswith(("value", "nothing"))
                kind, text = rule.kind if own else name.partition("_")[0], line[start:end]
                if name == "nothing" and start < end:
                    yield Value(start, end, ""), kind
                elif start < end and kind in KINDS and rule.accepts(text, found, False):
                    yield Value(start, end, text), kind
            continue
        end = found.end()
        read = texts_at(line, end) if rule.reads == "texts" else (value_at(line, end, rule.reads == "word"),)
        for value in read:
            if value is None or not value.text:
                continue
            accepted = rule.accepts(value.text, found, value.quoted)
            if accepted or len(value.text) > _LONG_VALUE:  # nobody hides a second value in junk that long
                place = max(place, value.end)
            if accepted:
                yield value, rule.kind


def _canonical(one: Found) -> Found:
    """A finding with its value as it is written everywhere: without percent-encoding; of credentials the password."""
    text = one.text
    if one.kind == "url":
        user, colon, password = text.partition(":")
        text = password if colon and password else user
    if one.kind in _ENCODED_KINDS and "%" in text:
        text = unquote(text, errors="replace")
    return one if text == one.text else one._replace(text=text)


def parts_of(found: Found) -> Iterator[tuple[str, str]]:
    """Values inside a value that may stand elsewhere by themselves, with their kinds.

    >>> list(parts_of(Found(0, 0, "c3ZjOmh1bnRlcjIy", "header", "")))
    [('hunter22', 'password'), ('svc:hunter22', 'password')]
    """
    text = found.text
    if found.kind in ("environment", "password") and (first := re.match(r"(.{4,}?)[;,&][A-Za-z_][\w.-]{0,60}=", text)):
        yield first[1], found.kind
    elif found.kind == "header":
        try:
            user, colon, password = base64.b64decode(text + "==", validate=False).decode().partition(":")
        except (binascii.Error, ValueError):
            return
        if colon and password.isprintable():
            yield password, "password"
            yield f"{user}:{password}", "password"
    elif found.kind == "cookie":
        yield from ((value, "cookie") for value in re.findall(r"=([^;\s]{8,})", text))
    elif found.kind == "private-key":
        lines = re.split(r"\\+[nr]|\s", text)
        yield from ((run, "private-key") for line in lines for run in re.findall(r"[A-Za-z0-9+/=]{16,}", line))
    elif found.kind == "prompt" and len(text) <= 100_000:
        pieces = (piece.strip(" []") for piece in _TEMPLATE_MARK.split(text))
        yield from ((piece, "prompt") for piece in pieces if 10 <= len(piece) <= 1000)
