"""Reading a value where it stands: quoted at any depth of escaping, or bare.

A log line may stand inside a JSON string, a Go-quoted value inside that line, and a JSON body inside that value.
Each level doubles the backslashes before its quotes, so the number before an opening quote tells where the value
ends: at the next quote with just as many, or at the end of whatever encloses it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple


class Value(NamedTuple):
    """Where a value stands, what it says, and whether it ends in this line."""

    start: int
    end: int
    text: str
    quoted: bool = False
    closed: bool = True
    depth: int = 0


_OPENING = re.compile(r"(\\{0,15})([\"'])")
_ANY_QUOTE = re.compile("[\"']")
_DOUBLE_QUOTE = re.compile('"')
_SEPARATOR = re.compile(r"\s*,\s*")
_WORD_END = re.compile(r"[\s\"'\x00]")
_FIELD_END = re.compile(rf"{_WORD_END.pattern}|[;,&](?=\s|$|[A-Za-z_][\w.-]{{0,60}}=)|(?:\\u0026|&amp;|%26)[A-Za-z_]")
_LINE_END = re.compile(r"\\[nrt]")
_CLOSERS = {")": "(", "]": "[", "}": "{", ">": "<"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[\"'\\/bfnrtav])")
_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "a": "\a", "v": "\v"}


def depth_at(line: str, place: int) -> int:
    r"""How many quoted strings with their own escapes a place lies in; apostrophes do not count.

    >>> depth_at('msg="a b" x', 7), depth_at('msg="a b" x', 10), depth_at(r'{"log":"msg=\"a', 15)
    (1, 0, 2)
    """
    places, depths = _depths(line)
    return depths[bisect_left(places, place)]


@lru_cache(maxsize=8)
def _depths(line: str) -> tuple[list[int], list[int]]:
    """Where the quotes stand, and the depth before each of them and behind the last."""
    open_at: list[int] = []
    places, depths = [], []
    for quote in _DOUBLE_QUOTE.finditer(line):
        slashes = _slashes_before(line, quote.start(), 0)
        places.append(quote.start())
        depths.append(len(open_at))
        while open_at and slashes < open_at[-1]:
            open_at.pop()  # the enclosing string ended, and the inner one with it
        if open_at and slashes % (2 * (open_at[-1] + 1)) == open_at[-1]:
            open_at.pop()
        elif not open_at or slashes > open_at[-1]:
            open_at.append(slashes)
    return places, [*depths, len(open_at)]


def _slashes_before(line: str, place: int, start: int) -> int:
    slashes = 0
    while place - slashes > start and line[place - slashes - 1] == "\\":
        slashes += 1
    return slashes


def unescaped(text: str, levels: int) -> str:
    r"""The text without so many levels of escapes, as JSON, Go and Python write them.

    >>> unescaped(r'a \\\"b\\\"', 2), unescaped(r"\u00e9\n", 1)
    ('a "b"', 'é\n')
    """
    for _ in range(levels):
        if "\\" not in text:
            break
        text = _ESCAPE.sub(_said, text)
    if _HALVES.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _said(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) == 1:
        return _PLAIN.get(code, code)
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 else "\ufffd"


def quoted_at(line: str, at: int) -> Value | None:
    r"""The quoted value that begins here, or None. One whose quote is missing ends with the line or its frame.

    >>> quoted_at(r'prompt="say \"hi\"" images=[]', 7).text
    'say "hi"'
    >>> quoted_at(r'{"log":"prompt=\"cut off","stream":"stderr"}', 15)
    Value(start=17, end=24, text='cut off', quoted=True, closed=False, depth=1)
    """
    opening = _OPENING.match(line, at)
    if not opening:
        return None
    quote = opening[2]
    # Python escapes an apostrophe once; the strings around it double that.
    depth = len(opening[1]).bit_length() if quote == '"' else depth_at(line, at)
    return quoted_from(line, opening.end(), depth, quote)


def quoted_from(line: str, start: int, depth: int, quote: str = '"') -> Value:
    """The rest of a quoted value, from a place inside it."""
    for found in (_ANY_QUOTE if quote == "'" else _DOUBLE_QUOTE).finditer(line, start):
        # The depth of the string that this quote may close: this value's own, or that of its frame.
        level = depth if found[0] == quote else depth - 1
        if level < 0:
            continue
        place = found.start()
        left = _slashes_before(line, place, start) % 2 ** (level + 1)
        if left < 2**level:  # fewer backslashes than an escaped quote has in there
            end = place - left
            closed = found[0] == quote and (quote == "'" or left == 2**level - 1)
            return Value(start, end, unescaped(line[start:end], depth + 1), True, closed, depth)
    return Value(start, len(line), unescaped(line[start:], depth + 1), True, False, depth)


def bare_at(line: str, at: int, whole: bool = False) -> Value | None:
    r"""The unquoted value that begins here, without what can only belong to its surroundings.

    It ends before the next field (`;Server=db`), unless it is to be the whole word.

    >>> bare_at("PASSWORD=s3cret;Server=db", 9).text, bare_at("(token=abc123)", 7).text
    ('s3cret', 'abc123')
    >>> bare_at(r'{"log":"API_KEY=k3y\n"}', 16).text
    'k3y'
    """
    end = _end_of_word(line, at, _WORD_END if whole else _FIELD_END)
    text = line[at:end]
    if line[end : end + 1] in ("'", '"'):
        text = text.rstrip("\\")  # they belong to the quote
    levels = 0
    if "\\" in text and (levels := depth_at(line, at)) and (found := _LINE_END.search(text)):
        text = text[: found.start()].rstrip("\\")
    while text and text[-1] in ")]}>,;.:" and _CLOSERS.get(text[-1], "\0") not in text:
        text = text[:-1]
    return Value(at, at + len(text), unescaped(text, levels)) if text else None


_last_word: tuple[str, re.Pattern[str], int, int] = ("", _WORD_END, 0, 0)


def _end_of_word(line: str, at: int, pattern: re.Pattern[str]) -> int:
    """Where a word ends; a long one is asked for many times in a row, from further and further inside."""
    global _last_word
    same, by, start, end = _last_word
    if same is not line or by is not pattern or not start <= at <= end:
        found = pattern.search(line, at)
        end = found.start() if found else len(line)
        _last_word = (line, pattern, at, end)
    return end


def value_at(line: str, at: int, whole: bool = False) -> Value | None:
    """The value that begins here, quoted or bare; brackets of a Go list around it are no part of it.

    >>> value_at("X-Api-Key:[k3y]", 10).text, value_at("password='a b'", 9).text
    ('k3y', 'a b')
    """
    listed = line.startswith("[", at)
    value = quoted_at(line, at + listed) or bare_at(line, at + listed, whole)
    if value and listed and not value.quoted and value.text.endswith("]"):
        return Value(value.start, value.end - 1, value.text[:-1])
    return value


def texts_at(line: str, at: int) -> Iterator[Value]:
    """Every string of the quoted value or list that begins here.

    >>> [value.text for value in texts_at('"input": ["first text", "second"], "n": 1', 9)]
    ['first text', 'second']
    """
    listed = line.startswith("[", at)
    place = at + listed
    while place < len(line):
        while line[place : place + 1].isspace():
            place += 1
        value = quoted_at(line, place)
        if value is None:
            return
        yield value
        if not listed or not value.closed or (next_one := _SEPARATOR.match(line, _behind(line, value.end))) is None:
            return
        place = next_one.end()


def _behind(line: str, place: int) -> int:
    """The place behind a closing quote and its backslashes."""
    found = _OPENING.match(line, place)
    return found.end() if found else place + 1
