"""Log text made safe to show."""

from __future__ import annotations

import re

# Control characters steer terminals; formatting characters reorder what is read.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Text on one line, without control characters.

    >>> printable("a\x1b[31mb\nc")
    'a[31mb c'
    """
    return _STEERING.sub("", text.replace("\n", " ").replace("\r", " ").replace("\t", " "))
