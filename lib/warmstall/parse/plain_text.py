"""Log text made safe to show."""

from __future__ import annotations

import re

# Control characters steer terminals; formatting characters reorder what is read; halves of characters
# (a file name that is not UTF-8) cannot be printed.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Text on one line, without control characters.

    >>> printable("a\x1b[31mb\nc")
    'a[31mb c'
    """
    return _STEERING.sub("", text.replace("\n", " ").replace("\r", " ").replace("\t", " "))
