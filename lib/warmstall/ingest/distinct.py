"""Texts recur in a log: what is made of them is made of each once."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def each_once(texts: pl.Series, parse: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """What `parse` makes of texts, a row each, called with each of them once. Of no text nothing is made.

    >>> texts = pl.Series(["ab", "c", None, "ab"])
    >>> each_once(texts, lambda distinct: distinct.str.len_bytes().alias("bytes").to_frame())["bytes"].to_list()
    [2, 1, None, 2]
    """
    categories = pl.Categories.random()
    numbered = texts.cast(pl.Categorical(categories))
    return parse(categories.to_series())[numbered.to_physical()]
