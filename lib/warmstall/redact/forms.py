"""The shapes in which a known value turns up again: escaped, percent-encoded, inside base64."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from urllib.parse import quote, quote_plus, unquote

# What may stand right before a word although it is a letter or a digit: the end of an escape or of a colour.
WORD_STARTS = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
_ESCAPE_BEFORE = re.compile(r"(?:%[0-9A-Fa-f]{2}|\\[nrtbf]|\\u[0-9A-Fa-f]{4}|\x1b\[[0-9;]{1,12}m)$")
WORD_ENDS = r"(?![A-Za-z0-9])"
_BASE64_REST = re.compile(r"[A-Za-z0-9+/_-]*(?:=|%3[dD])*")
_RUN = re.compile(r"[A-Za-z0-9._~-]{4,}")
_LONG_TEXT = 200
# Five characters of base64 hardly ever stand anywhere by chance.
_SHORTEST_CORE = 5
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&(?:quot|#34);", "'": "&(?:apos|#39);"}
_CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Form:
    """One value as it may be written: literals of which one is there wherever the value is, and its pattern.

    >>> form = Form("p@ss/w0rd!x", "password", "secret-1")
    >>> [list(form.places(text)) != [] for text in ("p%40ss%2Fw0rd!x", r"p@ss\\/w0rd!x", "p@ss w0rd!x")]
    [True, True, False]
    >>> form.anchors
    ['w0rd']
    """

    __slots__ = ("__dict__", "anchors", "kind", "token", "value", "whole", "written")

    def __init__(self, value: str, kind: str, token: str, written: str = "plain", whole: str = "") -> None:
        self.value = value
        self.whole = whole or value  # what it is a form of
        self.kind = kind
        self.token = token
        self.written = written  # plain, word (no letter or digit may touch it), base64
        runs = _RUN.findall(value)
        # These are written as they are by every encoding, so their longest run always shows.
        self.anchors = [max(runs, key=len).lower()] if runs else _anchors_of_signs(value)

    @cached_property
    def regex(self) -> re.Pattern[str]:
        body = "".join(map(_any_writing, re.findall(r"\\+|[^\\]", self.value)))
        return re.compile(body + WORD_ENDS, re.IGNORECASE) if self.written == "word" else re.compile(body)

    def places(self, line: str) -> Iterator[tuple[int, int]]:
        """Where the value stands in a line; for base64, the whole run that holds it."""
        for found in self.regex.finditer(line):
            start, end = found.span()
            if self.written == "base64":
                while start and (line[start - 1].isalnum() or line[start - 1] in "+/_-"):
                    start -= 1
                end = _BASE64_REST.match(line, end).end()  # type: ignore[union-attr]
            elif self.written == "word" and line[start - 1 : start].isalnum():
                before = line[max(0, start - 16) : start]
                if before.isascii() and not _ESCAPE_BEFORE.search(before):
                    continue
            yield start, end


def _anchors_of_signs(value: str) -> list[str]:
    """A value without four letters or digits in a row is looked for in each of its usual writings."""
    writings = {
        value,
        quote(value, safe="", errors="replace"),
        quote(value, errors="replace"),
        quote_plus(value, errors="replace"),
    }
    for as_ascii in (True, False):
        text = value
        for _ in range(3):
            text = json.dumps(text, ensure_ascii=as_ascii)[1:-1]
            writings |= {text, text.replace("/", "\\/")}
    return sorted(text.lower() for text in writings if len(text.encode("utf-8", "surrogatepass")) >= 4)


def _any_writing(char: str) -> str:
    """A pattern for one character, or for backslashes in a row, in any encoding and at any depth of escaping."""
    if char[0] == "\\":
        return rf"(?:\\{{{len(char)},{8 * len(char)}}}|(?:%(?:25)*5[cC]){{{len(char)}}})"
    if char.isascii() and (char.isalnum() or char in "._~-"):
        return re.escape(char)
    code = char.encode("utf-8", "surrogatepass")
    percent = "".join(f"%(?:25)*{''.join(_hex_digit(digit) for digit in f'{byte:02x}')}" for byte in code)
    units = char.encode("utf-16-be", "surrogatepass").hex()
    unicode = "".join(rf"\\{{1,8}}u{''.join(map(_hex_digit, units[at : at + 4]))}" for at in range(0, len(units), 4))
    ways = [re.escape(char), percent, unicode]
    if char in "\"'/":
        ways[0] = rf"\\{{0,8}}{char}"
    if char in _CONTROLS:
        ways.append(rf"\\{{1,8}}{_CONTROLS[char]}")
    if char == " ":
        ways.append(r"\+")
    if char in _ENTITIES:
        ways.append(_ENTITIES[char])
    return f"(?:{'|'.join(ways)})"


def _hex_digit(digit: str) -> str:
    return digit if digit.isdigit() else f"[{digit}{digit.upper()}]"


def base64_cores(value: str) -> list[str]:
    """What of a value's base64 does not depend on its neighbours, for each of the three ways it can fall.

    >>> core = base64_cores("s3cret-password")[2]
    >>> core in base64.b64encode(b"u:s3cret-password").decode()
    True
    """
    data = value.encode("utf-8", "surrogatepass")
    cores = set()
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        first = (shift * 8 + 5) // 6  # characters that hold bits of what stands before
        last = (shift + len(data)) * 8 // 6
        core = text[first:last]
        cores |= {core, core.replace("+", "-").replace("/", "_")}
    return sorted(core for core in cores if len(core) >= _SHORTEST_CORE)


def forms_of(value: str, kind: str, token: str, word: bool) -> list[Form]:
    """Every form in which a value is looked for; capitals of a word do not matter."""
    shown = value[:_LONG_TEXT]  # a text that long is told by its beginning
    forms = [Form(shown, kind, token, "word" if word else "plain", value)]
    spellings = {shown, shown.capitalize(), shown.upper()} if word else {shown}
    cores = {core for spelling in spellings for core in base64_cores(spelling)}
    return forms + [Form(core, kind, token, "base64", value) for core in sorted(cores)]


_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|\\|[A-Za-z0-9+/_-]{16}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")


def undone(line: str) -> list[str]:
    """A line without its encodings, and the texts that its base64 holds; nothing for a line without any.

    >>> undone("plain text"), undone("a%20b"), undone("YWxpY2U6aHVudGVyMjIh")
    ([], ['a b'], ['alice:hunter22!'])
    """
    if not _ENCODED.search(line):
        return []
    views = set()
    if "%" in line:
        views.add(unquote(line, errors="replace"))
    if "\\" in line:
        views.add(re.sub(r'\\+(["/\\])', r"\1", line))
    for run in _BASE64.findall(line):
        views.update(_texts_of_base64(run))
    return sorted(view.replace("\n", " ") for view in views - {line})


@lru_cache(maxsize=4096)
def _texts_of_base64(run: str) -> tuple[str, ...]:
    """What a run of base64 says, wherever in it the text may begin."""
    if run.islower() or run.isupper():  # a path or a digest; text gives capitals and small letters
        return ()
    text = run.replace("-", "+").replace("_", "/")
    pieces = (base64.b64decode(text[shift : shift + (len(text) - shift) // 4 * 4]) for shift in range(4))
    return tuple(
        data.decode("latin-1")
        for data in pieces
        if sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in data) > 0.9 * len(data)
    )
