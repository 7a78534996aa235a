"""Documents into chunks: where the text itself has a seam, and never longer than the limit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from ..records import Chunk
from .records import Section

# The end of what belongs together, the strongest first: a paragraph, a sentence, a line, a word.
_SEAMS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"(?<=[.!?:;])\s+"), re.compile(r"\n\s*"), re.compile(r"\s+"))
_WORD = re.compile(r"(?<=\s)\S")
# A part of the limit that is said again at the start of the next chunk, for sentences that lean on the last one.
_OVERLAP = 0.1


def chunk_document(
    sections: Sequence[Section], source: str, collection: str, limit: int, user: str = ""
) -> list[Chunk]:
    """The chunks of a document, each of at most `limit` characters and with the place of its section.

    An id tells collection, user, source, position, place and text: the same document gives the same ids.
    """
    chunks: list[Chunk] = []
    for section in sections:
        for begin, end in spans(section.text, limit):
            text = section.text[begin:end]
            said = "\0".join((collection, user, source, str(len(chunks)), section.place, text))
            digest = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
            chunks.append(Chunk(digest, text, source, section.place, user))
    return chunks


def spans(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Where each chunk begins and ends: together they hold all but white space, and no word is cut that fits one.

    >>> text = "One is short. Two follows it.\\n\\nThree is a paragraph of its own."
    >>> [text[begin:end] for begin, end in spans(text, 40)]
    ['One is short. Two follows it.', 'Three is a paragraph of its own.']
    """
    begin, length, said_until = _past_space(text, 0), len(text.rstrip()), 0
    while length - begin > limit:
        cut = _cut(text, begin, begin + limit)
        end = begin + len(text[begin:cut].rstrip())
        if end > said_until:  # else it is the overlap alone, before a word as long as a chunk
            yield begin, end
        said_until = end
        following = _past_space(text, cut)
        # Back by whole words only, never as far as this chunk began, and not into another paragraph.
        word = _WORD.search(text, max(begin + limit // 2, cut - int(limit * _OVERLAP)), cut)
        begin = word.start() if word and not _SEAMS[0].fullmatch(text, end, following) else following
    if begin < length:
        yield begin, length


def _cut(text: str, begin: int, end: int) -> int:
    """The last strong seam in the second half of what fits; a word that is longer than the limit is cut."""
    for seam in _SEAMS[:-1]:
        if places := [found.start() for found in seam.finditer(text, begin + (end - begin) // 2, end + 1)]:
            return places[-1]
    places = [found.start() for found in _SEAMS[-1].finditer(text, begin + 1, end + 1)]
    return places[-1] if places else end


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
