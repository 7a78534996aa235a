"""The text of a PDF, page by page."""

from __future__ import annotations

import io
import logging
import time

from pypdf import PasswordType, PdfReader

from ...errors import InputError
from .records import Section

MAX_PAGES = 2000
_LONGEST_S = 120.0
# pypdf logs what it puts right in a damaged file, and with it pieces of the file.
logging.getLogger("pypdf").addHandler(logging.NullHandler())
logging.getLogger("pypdf").propagate = False


def pdf_sections(content: bytes) -> list[Section]:
    """One section a page, with `page 3` as its place; pages without text have none.

    Raises InputError, with half a sentence, for a file that is encrypted, damaged, too long or nothing but pictures.
    """
    try:
        reader = PdfReader(io.BytesIO(content))
        locked = reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED
        pages = 0 if locked else len(reader.pages)
    except Exception as error:  # whatever a damaged file makes a parser stumble over
        if type(error).__name__ == "DependencyError":  # a cipher that takes another package to undo
            raise InputError("encrypted; save a copy without a password") from None
        raise InputError(f"damaged, or not a PDF ({type(error).__name__})") from None
    if locked:
        raise InputError("encrypted; save a copy without a password")
    if pages > MAX_PAGES:
        raise InputError(f"{pages} pages; at most {MAX_PAGES} are read, so split it")
    ends = time.monotonic() + _LONGEST_S
    sections = []
    for number in range(pages):
        if time.monotonic() > ends:
            raise InputError(f"page {number + 1} of {pages} was not reached in {_LONGEST_S:.0f} s; split it")
        try:
            text = reader.pages[number].extract_text()
        except Exception as error:
            raise InputError(f"damaged on page {number + 1} ({type(error).__name__})") from None
        if text.strip():
            sections.append(Section(text, f"page {number + 1}"))
    if not sections:
        raise InputError("no text in it, only pictures of pages; run OCR on it first")
    return sections
