"""Bytes to text, for files that a shell, an editor or a dying disk has been at."""

from __future__ import annotations

import codecs

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def detect_encoding(head: bytes) -> str:
    """The encoding of a file from its first bytes: by its mark, else by where its zero bytes stand.

    >>> detect_encoding(b"[GIN]"), detect_encoding("[GIN]".encode("utf-16")), detect_encoding(b"[\\0G\\0I\\0N\\0")
    ('utf-8', 'utf-16-le', 'utf-16-le')
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    sample = head[:4096]
    # ASCII text in UTF-16 has a zero in nearly every second byte; stray zeros are elsewhere and rare.
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if half < 2:
        return "utf-8"
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return "utf-8"


def decode(block: bytes, encoding: str) -> str:
    """The text of a block of whole lines; bytes that mean nothing become U+FFFD, zeros vanish.

    >>> decode(b"a\\xffb\\0c", "utf-8")
    'a\\ufffdbc'
    """
    text = block.decode("utf-8" if encoding == "utf-8-sig" else encoding, "replace")
    text = text.removeprefix("\ufeff")
    return text.replace("\0", "") if "\0" in text else text


def encodable(text: str) -> str:
    r"""Text without zeros and without the halves of characters that JSON escapes can make.

    >>> encodable("a\ud800b\0c")
    'a?bc'
    """
    return text if text.isascii() and "\0" not in text else text.encode("utf-8", "replace").decode().replace("\0", "")
