"""Texts recur in a log: what is made of them is made of each once."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import polars as pl

_FEW = 1000


def each_once(texts: pl.Series, parse: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """What `parse` makes of texts, a row each, called with each of them once. Of no text nothing is made.

    >>> texts = pl.Series(["ab", "c", None, "ab"])
    >>> each_once(texts, lambda distinct: distinct.str.len_bytes().alias("bytes").to_frame())["bytes"].to_list()
    [2, 1, None, 2]
    """
    numbers = texts.cast(pl.Categorical(pl.Categories.random()))
    return parse(_distinct(numbers))[numbers.to_physical()]


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts as numbers of those that occur in their column.

    Where these are few, Polars writes the numbers to Parquet as they are: in half the time of categories, and in a
    quarter of that of texts. (It also writes the few once more, with the schema.)
    """
    return pl.DataFrame([each.cast(_numbers_of(each)) if each.dtype == pl.String else each for each in frame])


def with_more(rows: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """Rows whose texts are `numbered`, and behind them some with other texts.

    >>> with_more(numbered(pl.DataFrame({"text": ["a", "b"]})), pl.DataFrame({"text": ["c"]}))["text"].to_list()
    ['a', 'b', 'c']
    """
    for name, kind in rows.schema.items():
        if isinstance(kind, pl.Enum):
            rows = rows.with_columns(pl.col(name).cast(_numbers_of(pl.concat([kind.categories, more[name]]))))
    return pl.concat([rows, more.select(rows.columns).cast(rows.schema)])


def _numbers_of(texts: pl.Series) -> pl.DataType:
    """A type of these texts."""
    numbers = texts.cast(pl.Categorical(pl.Categories.random()))
    distinct = _distinct(numbers)
    return pl.Enum(distinct) if len(distinct) <= _FEW else numbers.dtype


def _distinct(texts: pl.Series) -> pl.Series:
    """The categories in the order of their numbers. (`Categories.to_series` asks Python for one after the other.)"""
    last = cast("int | None", texts.to_physical().max())
    numbers = pl.Series(range(0 if last is None else last + 1), dtype=pl.UInt32)
    return numbers.cat.to(texts.dtype).cast(pl.String)
