"""Chunks: nothing is lost, nothing is longer than the limit, and the same document gives the same chunks."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.rag.documents.chunking import chunk_document, spans
from warmstall.rag.documents.records import Section

# Words of any length, of which some are longer than a chunk, and all that may stand between two words.
_WORDS = st.one_of(st.text("ab.é漢#", min_size=1, max_size=8), st.integers(1, 120).map("x".__mul__))
_SEAMS = st.sampled_from([" ", " ", "  ", "\n", ". ", "? ", "\n\n", "\t\n \n", "\u00a0"])
_TEXTS = st.lists(st.tuples(_WORDS, _SEAMS), max_size=60).map(lambda parts: "".join(map("".join, parts)))
_LIMITS = st.integers(1, 100)


@given(_TEXTS, _LIMITS)
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_but_white_space(text: str, limit: int) -> None:
    held = [False] * len(text)
    for begin, end in spans(text, limit):
        held[begin:end] = [True] * (end - begin)

    assert all(holds or character.isspace() for holds, character in zip(held, text, strict=True))


@given(_TEXTS, _LIMITS)
@settings(max_examples=150, deadline=None)
def test_no_chunk_is_longer_than_the_limit_or_empty_or_the_end_of_the_last_one(text: str, limit: int) -> None:
    ended = 0
    for begin, end in spans(text, limit):
        assert 0 < end - begin <= limit
        assert text[begin:end].strip() == text[begin:end]
        assert end > ended
        ended = end


@given(_TEXTS, _LIMITS)
@settings(max_examples=150, deadline=None)
def test_no_word_is_cut_that_fits_into_a_chunk(text: str, limit: int) -> None:
    words = {found.span() for found in re.finditer(r"\S+", text)}
    for begin, end in spans(text, limit):
        for first, last in words:
            whole = begin <= first and last <= end
            assert whole or last <= begin or first >= end or last - first > limit


@given(_TEXTS, st.integers(20, 80))
@settings(deadline=None)
def test_the_same_document_has_the_same_chunks_and_each_an_id_of_its_own(text: str, limit: int) -> None:
    sections = [Section(text, "one"), Section(text, "two")]
    chunks = chunk_document(sections, "a.md", "faq", limit)

    assert chunks == chunk_document(sections, "a.md", "faq", limit)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert {chunk.place for chunk in chunks} <= {"one", "two"}


def test_an_id_tells_collection_user_source_and_text() -> None:
    section = [Section("The same text.")]
    ids = {
        chunk_document(section, "a.md", "faq", 600)[0].id,
        chunk_document(section, "a.md", "terms", 600)[0].id,
        chunk_document(section, "b.md", "faq", 600)[0].id,
        chunk_document(section, "a.md", "faq", 600, "operator")[0].id,
        chunk_document([Section("Another text.")], "a.md", "faq", 600)[0].id,
    }

    assert len(ids) == 5


def test_what_is_said_twice_is_two_chunks() -> None:
    chunks = chunk_document([Section("The same.\n\nThe same.")], "a.md", "faq", 12)

    assert [chunk.text for chunk in chunks] == ["The same.", "The same."]
    assert chunks[0].id != chunks[1].id


def test_paragraphs_stay_whole_where_they_can() -> None:
    paragraphs = [" ".join([f"word{number}"] * 20) + "." for number in range(6)]
    texts = [chunk.text for chunk in chunk_document([Section("\n\n".join(paragraphs))], "a", "faq", 300)]

    assert texts == ["\n\n".join(paragraphs[at : at + 2]) for at in (0, 2, 4)]


def test_a_long_paragraph_is_cut_after_a_sentence_and_leans_on_it() -> None:
    sentences = [f"Sentence number {number} says a little." for number in range(40)]
    texts = [chunk.text for chunk in chunk_document([Section(" ".join(sentences))], "a", "faq", 300)]

    assert all(text.endswith(".") for text in texts)
    # The next chunk begins with the last words of the one before.
    assert all(later[:18] in before[-40:] for before, later in pairwise(texts))


def test_the_overlap_is_no_chunk_of_its_own() -> None:
    """Before a word that fills a chunk, the last words of the one before would come once more, alone."""
    text = "one two three four five six seven eight nine ten " * 2 + "x" * 98

    assert [text[begin:end] for begin, end in spans(text, 100)] == [text[:97].strip(), "x" * 98]


def test_a_word_longer_than_a_chunk_is_cut_and_kept() -> None:
    text = "key " + "x" * 1000 + " end"
    texts = [chunk.text for chunk in chunk_document([Section(text)], "a", "faq", 300)]

    assert texts[0] == "key"
    assert "".join(texts[1:]).count("x") == 1000
