"""Compressed files as the bytes that they hold, and archives; both are told by how they begin, not by their names."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import IO, Any


class _Zstd(io.RawIOBase):
    """The bytes of a zstd file. The reader of the library takes a file that is cut short for a whole one."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: Any = None
        self._compressed = b""
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        import zstandard

        while not self._ready:
            self._compressed = self._compressed or self._raw.read(4096)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(self._compressed)
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _bz2(raw: IO[bytes]) -> Any:
    import bz2

    return bz2.open(raw)


def _xz(raw: IO[bytes]) -> Any:
    import lzma

    return lzma.open(raw)


# How the compressed files of each suffix begin, and what reads them.
_READERS: dict[str, tuple[bytes, Callable[[IO[bytes]], Any]]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".zst": (b"\x28\xb5\x2f\xfd", lambda raw: io.BufferedReader(_Zstd(raw))),
    ".xz": (b"\xfd7zXZ\0", _xz),
    ".bz2": (b"BZh", _bz2),
}
SUFFIXES = tuple(_READERS)
MAGIC_BYTES = 6


def suffix_of(head: bytes) -> str:
    """The suffix that a compressed file of this beginning usually has; nothing for what is not compressed.

    >>> suffix_of(gzip.compress(b"a log")), suffix_of(b"a log")
    ('.gz', '')
    """
    return next((suffix for suffix, (magic, _) in _READERS.items() if head.startswith(magic)), "")


def decompressed(raw: io.BufferedReader) -> Any:
    """A context manager of the bytes in a file, decompressed where it is compressed; see `is_damage`."""
    suffix = suffix_of(raw.peek(MAGIC_BYTES))
    return _READERS[suffix][1](raw) if suffix else nullcontext(raw)


def is_damage(error: Exception) -> bool:
    """Whether an error while bytes are read says that the compressed file is cut short or damaged.

    What bz2 and gzip raise are errors of the system without a number. Modules of other errors may not be imported.
    """
    unnumbered = isinstance(error, OSError) and error.errno is None
    return unnumbered or isinstance(error, EOFError | zlib.error) or type(error).__name__ in ("ZstdError", "LZMAError")


def archive_of(head: bytes) -> str:
    """`zip` or `tar` for the beginning of an archive (of a compressed one: decompressed), else nothing.

    >>> archive_of(b"PK\\x03\\x04"), archive_of(bytes(257) + b"ustar"), archive_of(b"time=2026-11-20T21:00:24Z")
    ('zip', 'tar', '')
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else ""
