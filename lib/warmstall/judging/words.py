"""Texts of many rows of which few differ, as numbers into a list of names: a column of ten million hosts is ten MB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[Any]
# Which rows: a stretch of them, their numbers in rising order, or a mask.
Rows: TypeAlias = slice | Numbers
_FEW = 6
# So many numbers stay in the cache of a processor.
_CHUNK_ROWS = 65_536
_KEYS_AT_ONCE = 16_384
T = TypeVar("T")


class Words:
    """One column of texts. Whatever is asked of a text is asked once of each different one.

    >>> status = Words.of(["200", "500", "200"])
    >>> status == "500", status.where(lambda name: name < "300")
    (array([False,  True, False]), array([ True, False,  True]))
    """

    def __init__(self, codes: Numbers, names: Sequence[str]) -> None:
        self.codes, self.names = codes, names

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """A column of these texts."""
        known: dict[str, int] = {}
        codes = [known.setdefault(text, len(known)) for text in texts]
        return cls(np.array(codes, dtype=np.int32), list(known))

    def where(self, holds: Callable[[str], object]) -> Mask:
        """Which rows hold a text of which this is true."""
        true = [bool(holds(name)) for name in self.names]
        # To compare is much faster than to look up, where there is little to compare with.
        rare = 2 * sum(true) <= len(true)
        codes = [code for code, held in enumerate(true) if held == rare]
        if len(codes) > _FEW:
            return np.array(true, dtype=bool)[self.codes]
        found = np.zeros(len(self.codes), dtype=bool)
        for code in codes:
            found |= self.codes == code
        return found if rare else ~found

    def __eq__(self, other: object) -> Mask:  # type: ignore[override]
        return self.where(lambda name: name == other)

    def __ne__(self, other: object) -> Mask:  # type: ignore[override]
        return self.where(lambda name: name != other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, rows: Rows) -> Words:
        return Words(self.codes[rows], self.names)

    def __len__(self) -> int:
        return len(self.codes)

    def at(self, row: int) -> str:
        return self.names[int(self.codes[row])]

    def tolist(self) -> list[str]:
        return [self.names[code] for code in self.codes]


class Vocabulary:
    """Texts that get their numbers as they come up."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(names)}

    def code(self, name: str) -> int:
        """The number of a text, a new one where it has none yet."""
        if (code := self._codes.get(name)) is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
        return code

    def codes(self, names: Iterable[str]) -> Numbers:
        names = list(names)
        for name in dict.fromkeys(names):
            self.code(name)
        return np.array(list(map(self._codes.__getitem__, names)), dtype=np.int32)


def spread(first: Numbers, beyond: Numbers) -> tuple[Numbers, Numbers]:
    """Every place of many stretches: which stretch, and which place.

    >>> spread(np.array([3, 9]), np.array([5, 10]))
    (array([0, 0, 1]), array([3, 4, 9]))
    """
    lengths = np.maximum(0, beyond - first)
    which = np.repeat(np.arange(len(first)), lengths)
    return which, np.arange(len(which)) + np.repeat(first - np.cumsum(lengths) + lengths, lengths)


def ranks(ordered: Numbers, keys: Numbers, side: Literal["left", "right"] = "left") -> Numbers:
    """What `np.searchsorted` gives, for keys that are nearly in order: a search goes no further than its neighbours'.

    No key may be NaN.

    >>> ranks(np.array([1, 3, 3, 5]), np.array([2, 3, 4]), "right")
    array([1, 3, 3])
    """
    ordered = ordered.astype(np.result_type(ordered, keys), copy=False)
    found = np.empty(len(keys), dtype=np.intp)
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[begin : begin + _KEYS_AT_ONCE]
        first, beyond = ordered.searchsorted((some.min(), some.max()), side)
        np.add(ordered[first:beyond].searchsorted(some, side), first, out=found[begin : begin + _KEYS_AT_ONCE])
    return found


def epochs(times: Sequence[datetime | None]) -> Numbers:
    """Seconds since the epoch of naive UTC times; NaN where there is none."""
    moments = pd.DatetimeIndex(times, dtype="datetime64[us]").to_numpy()  # numpy would take ten times as long
    seconds: Numbers = np.where(np.isnat(moments), np.nan, moments.view(np.int64) / 1e6)
    return seconds


def chunks(rows: Rows, total: int) -> Iterator[Rows]:
    """Rows, some at a time: what is worked out for all of them at once would not fit into memory."""
    if not isinstance(rows, slice):
        yield from (rows[begin : begin + _CHUNK_ROWS] for begin in range(0, len(rows), _CHUNK_ROWS))
        return
    first, beyond, _ = rows.indices(total)
    yield from (slice(begin, min(begin + _CHUNK_ROWS, beyond)) for begin in range(first, beyond, _CHUNK_ROWS))


def by_chunks(worked_out: Callable[[Rows], T], total: int) -> Iterator[tuple[Rows, T]]:
    """What a function tells of all rows, some of them at a time."""
    for rows in chunks(slice(None), total):
        yield rows, worked_out(rows)


def in_parts(worked_out: Callable[[Rows], Numbers], rows: Rows, total: int) -> Numbers:
    """What a function tells of rows, asked for some of them at a time."""
    parts = [worked_out(some) for some in chunks(rows, total)]
    return np.concatenate(parts) if parts else worked_out(rows)


def rows_among(rows: Rows, mask: Mask) -> Numbers:
    """The numbers of those rows for which the mask holds."""
    some = np.flatnonzero(mask)
    return some + (rows.start or 0) if isinstance(rows, slice) else rows[some]


def stretches(codes: Numbers, breaks: Mask | bool = False) -> list[int]:
    """Where each stretch of equal numbers begins, and where the last one ends; `breaks` is before which but the first
    another one begins as well."""
    return [0, *(np.flatnonzero((codes[1:] != codes[:-1]) | breaks) + 1).tolist(), len(codes)] if len(codes) else [0]
