"""Texts that no family of log lines knows, many at a time."""

from __future__ import annotations

import re

import polars as pl

from ..parse.log_events import FAMILIES
from .distinct import each_once

_, *_FAMILIES = FAMILIES  # all but access lines
_FAMILIES.sort(key=lambda family: family.name not in ("runner", "runner_short"))  # most texts are of these
# Polars compiles a pattern anew for every block; so little text is looked at by Python before it is done.
_LITTLE_BYTES = 100_000


def without_family(texts: pl.Series) -> pl.Series:
    """The texts in which no family is found."""
    return texts.filter(each_once(texts, _are_nameless)["is_nameless"])


def _are_nameless(texts: pl.Series) -> pl.DataFrame:
    left = pl.DataFrame({"text": texts}).with_row_index("place")
    for family in _FAMILIES:
        if left.is_empty():
            break
        left = left.filter(~_found(family.pattern, left["text"]))
    is_nameless = pl.repeat(False, len(texts), eager=True).scatter(left["place"], True)
    return is_nameless.to_frame("is_nameless")


def _found(pattern: str, texts: pl.Series) -> pl.Series:
    if texts.str.len_bytes().sum() > _LITTLE_BYTES:
        return texts.str.contains(pattern)
    search = re.compile(pattern).search
    return pl.Series([search(text) is not None for text in texts], dtype=pl.Boolean)
