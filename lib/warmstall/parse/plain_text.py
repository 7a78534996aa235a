"""Log text made safe to show."""

from __future__ import annotations

import re

# Control characters steer terminals; formatting characters reorder what is read.
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


def printable(text: str) -> str:
    r"""Text on one line, a space where control characters were; lone surrogates become question marks.

    >>> printable("a\x1b[31mb\nc")
    'a [31mb c'
    """
    return _STEERING.sub(" ", text).encode("utf-8", "replace").decode("utf-8")


def printable_lines(text: str) -> str:
    r"""The same for text of several lines, which stay lines.

    >>> printable_lines("a\x1b[31mb\nc")
    'a [31mb\nc'
    """
    return "\n".join(printable(line) for line in text.split("\n"))


def markdown_escaped(text: object) -> str:
    r"""Text that Markdown shows as it is: nothing in it becomes markup, a link, HTML or a formula.

    >>> markdown_escaped("a_b <img> [x](y)")
    'a\\_b \\<img\\> \\[x\\](y)'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", printable(str(text)))
