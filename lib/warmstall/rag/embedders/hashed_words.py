"""Embeddings that need no model: hashed words, so that texts that share words lie close together. Labelled lexical."""

from __future__ import annotations

import hashlib
import math
import re


def embed(text: str, dimensions: int = 256) -> list[float]:
    """A vector of length one; the same text gives the same vector everywhere.

    >>> near, far = embed("warm stall of a runner"), embed("quarterly sales")
    >>> asked = embed("runner stall")
    >>> dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    >>> dot(asked, near) > dot(asked, far)
    True
    """
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % dimensions] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]
