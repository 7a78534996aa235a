"""Texts recur in a log: what is made of them is made of each once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl


def each_once(texts: pl.Series, parse: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """What `parse` makes of texts, a row each, called with each of them once.

    >>> texts = pl.Series(["ab", "c", "ab"])
    >>> each_once(texts, lambda distinct: distinct.str.len_bytes().to_frame("bytes"))["bytes"].to_list()
    [2, 1, 2]
    """
    numbered = texts.cast(pl.Categorical(pl.Categories.random()))
    numbers = numbered.to_physical()  # from 0 on
    count = 1 + int(numbers.to_numpy().max()) if len(texts) else 0
    distinct = pl.Series(np.arange(count, dtype=np.uint32)).to_frame("number")
    return parse(distinct.select(pl.col("number").cat.to(numbered.dtype).cast(pl.String)).to_series())[numbers]
