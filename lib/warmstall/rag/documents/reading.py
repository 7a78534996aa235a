"""A document's text, whatever its kind."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import InputError
from ...parse.encodings import decode, detect_encoding, encodable
from .finding import KINDS
from .html_text import html_sections
from .pdf_text import pdf_sections
from .records import Section
from .sections import markdown_sections

MAX_BYTES = 50_000_000
# A page's tree takes a hundred times its bytes in memory.
MAX_HTML_BYTES = 5_000_000
MAX_CHARS = 20_000_000


def read_document(path: Path) -> list[Section]:
    """The sections of a text, Markdown, HTML or PDF file, each with text in it.

    Raises InputError, with half a sentence, for what cannot be read, holds no text, or is too large.
    """
    kind = KINDS[path.suffix.lower()]
    limit = MAX_HTML_BYTES if kind == "html" else MAX_BYTES
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})") from None
    if len(content) > limit:
        raise InputError(f"more than {limit // 1_000_000} MB; split it")
    if kind == "pdf":
        sections = pdf_sections(content)
    elif kind == "html":
        # Without a mark of UTF-16, the page itself says what it is written in.
        plain = detect_encoding(content) == "utf-8"
        sections = html_sections(content if plain else text_of(content))
    elif kind == "markdown":
        sections = markdown_sections(text_of(content))
    else:
        sections = [Section(text_of(content))]
    cleaned = [Section(_clean(section.text), section.place) for section in sections]
    cleaned = [section for section in cleaned if section.text.strip()]
    if not cleaned:
        raise InputError("no text in it")
    if sum(len(section.text) for section in cleaned) > MAX_CHARS:
        raise InputError(f"more than {MAX_CHARS // 1_000_000} million characters; split it")
    return cleaned


def text_of(content: bytes) -> str:
    r"""The text of a file: UTF-16 or UTF-8, and what is neither is Windows' Latin. Raises InputError for other bytes.

    >>> text_of("Größe".encode("utf-16")), text_of("Größe".encode("cp1252"))
    ('Größe', 'Größe')
    >>> text_of(b"\x7fELF\x02\x01\x01\x00\x00\x01")
    Traceback (most recent call last):
    warmstall.errors.InputError: not text: it holds zero bytes
    """
    encoding = detect_encoding(content)
    if encoding.startswith("utf-8"):
        if b"\0" in content:
            raise InputError("not text: it holds zero bytes")
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            encoding = "cp1252"
    return decode(content, encoding)


def _clean(text: str) -> str:
    """Line ends as \\n, and nothing that steers a terminal: form feeds, escapes."""
    text = encodable(text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", " ", text)
