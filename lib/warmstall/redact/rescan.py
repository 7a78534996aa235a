"""Looks through a finished case for every known secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..parse.encodings import decode, detect_encoding
from .redactor import Redactor

_PIECE_BYTES = 8 * 1024 * 1024


class FileLeak(NamedTuple):
    """A secret that is still in a case. `path` is relative to it; `offset` in bytes, -1 for the file's own name.

    The path of a file whose name leaks is the file's own: show `redactor.redact(path)` instead.
    """

    path: str
    kind: str
    offset: int


def rescan(folder: Path, redactor: Redactor) -> list[FileLeak]:
    """Every known secret in a folder: in files, in their names, and in where links point to.

    A file that cannot be read is a leak of the kind "unreadable", because nothing is known about it.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(parent, name)
            shown = path.relative_to(folder).as_posix()
            found += [FileLeak(shown, leak.kind, -1) for leak in redactor.leaks(name)]
            try:
                if path.is_symlink():
                    found += [FileLeak(shown, leak.kind, -1) for leak in redactor.leaks(os.readlink(path))]
                elif path.is_file():
                    found += _in_file(path, shown, redactor)
            except OSError:
                found.append(FileLeak(shown, "unreadable", 0))
    return found


def _in_file(path: Path, shown: str, redactor: Redactor) -> list[FileLeak]:
    found, offset, rest = [], 0, b""
    with path.open("rb") as handle:
        head = handle.read(4096)
        encoding = detect_encoding(head)
        handle.seek(0)
        if not encoding.startswith("utf-8"):
            return [FileLeak(shown, leak.kind, leak.offset) for leak in redactor.leaks(decode(handle.read(), encoding))]
        while data := handle.read(_PIECE_BYTES):
            data = rest + data
            cut = data.rfind(b"\n") + 1 or len(data)
            rest = data[cut:]
            found += [FileLeak(shown, leak.kind, offset + leak.offset) for leak in redactor.leaks(data[:cut])]
            offset += cut
    return found + [FileLeak(shown, leak.kind, offset + leak.offset) for leak in redactor.leaks(rest)]
