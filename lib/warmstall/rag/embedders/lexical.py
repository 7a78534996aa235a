"""Vectors without a model: hashed words, weighed so that a question finds the text that answers it.

Nothing is learned. Two texts are near each other where they share words, never where they merely mean the same; so
everything that shows a result of it says lexical.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..parts import Vectors
from ..settings import EmbedderSettings
from .vectors import check_texts, checked_vectors

_WORD = re.compile(r"\w+")
# Words that stand in every English question and tell nothing of what it is about.
_STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before but by can could did do does doing for
    from get had has have having he her here him his how i if in into is it its just may me more most my no nor
    not of on one only or other our out over own say she should so some such tell than that the their them then
    there these they this those through to too under until up us use very was we were what when where which
    while who whom why will with would you your
    """.split()  # noqa: SIM905
)
_ENDINGS = re.compile(r"(?<=\w{4})(?:ing|ed|es|s|e)$")


class LexicalEmbedder:
    """Counts each word of a text by the logarithm, without its ending; works on any machine, offline."""

    provider = "lexical"
    model = "hashed-words"
    name = "hashed words (lexical: nothing is learned)"
    lexical = True

    def __init__(self, settings: EmbedderSettings) -> None:
        self.dimensions = settings.dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        check_texts(texts, self.name)
        found = np.zeros((len(texts), self.dimensions))
        places: list[tuple[int, int]] = []
        weights: list[float] = []
        for row, text in enumerate(texts):
            for word, count in _words(text).items():
                bucket, sign = _place(word)
                places.append((row, bucket % self.dimensions))
                weights.append(sign * (1.0 + math.log(count)))
        if places:
            np.add.at(found, tuple(np.array(places).T), weights)
        # Two words of opposite sign in one place leave nothing of a text that has no other word.
        for empty in map(int, np.flatnonzero(~found.any(axis=1))):
            found[empty, _place(texts[empty])[0] % self.dimensions] = 1.0
        return checked_vectors(found, len(texts), self.dimensions, self.name)


def _words(text: str) -> Counter[str]:
    """The words that tell something, or all of them where none does."""
    words = _WORD.findall(text.lower())
    telling = [word for word in words if word not in _STOP_WORDS] or words
    return Counter(_ENDINGS.sub("", word) for word in telling)


@lru_cache(maxsize=100_000)
def _place(word: str) -> tuple[int, float]:
    """Where a word counts and with which sign: the same everywhere."""
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), 1.0 if digest[4] & 1 else -1.0
