"""Names of hosts as names of files: a host's name comes from whoever named its log, and may hold anything."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote, unquote

# File systems refuse names of more than 255 bytes; `host=` and a partial file's ending stand beside it.
_LONGEST = 200


def told(name: str) -> str:
    r"""A name as text that every table can hold: bytes of a file's name that are no text become escapes.

    >>> told("gpu-1"), told("gpu-\udcff")
    ('gpu-1', 'gpu-\\xff')
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def encoded(name: str) -> str:
    """A name of a host as part of a file's name, percent-encoded as DuckDB decodes it; `decoded` gives it back.

    A name that is too long for a file system is cut and ends with ~ and a digest, which no other name holds.

    >>> encoded("gpu-1.rack_2"), encoded("../a b=~"), decoded(encoded("../a b=~"))
    ('gpu-1.rack_2', '..%2Fa%20b%3D%7E', '../a b=~')
    >>> len(encoded("x" * 300)), encoded("x" * 300)[-18:-16]
    (200, 'x~')
    """
    text = quote(name, safe="", encoding="utf-8").replace("~", "%7E")
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    cut = text[: _LONGEST - 17]
    whole = cut[: cut.rfind("%")] if "%" in cut[-2:] else cut  # half an escape is none
    return f"{whole}~{digest}"


def decoded(part: str) -> str:
    """The name that `encoded` made this of, or, of one that was cut, what tables call its host."""
    return unquote(part, encoding="utf-8", errors="replace")
