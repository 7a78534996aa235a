"""The sentences of many requests at once: each text that a number or a name reads as is made once, then put together.

They are those of `Judged.reasons`, which makes them one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from .facts import Facts
from .judged import Judged
from .rules import EVERY_RULE, PHRASES
from .words import Numbers, Rows, Words

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMALS = re.compile(r"\.(\d)f")
# Further from the middle between two texts than this, no rounding of a product leads from one to the other.
_SURE = 0.499
_MOST_SURE = 1e9


def sentences(judged: Judged, rows: Rows, facts: Facts) -> pa.Array:
    """The sentence of each of the rows, of which these are the facts."""
    import pyarrow as pa

    rules = judged.rule(rows)
    parts: list[pa.Array] = []
    places: list[Numbers] = []
    for number in np.unique(rules).tolist():
        own = np.flatnonzero(rules == number)
        parts.append(_filled(EVERY_RULE[number].because, _Some(facts, own)))
        places.append(own)
    if not parts:
        return pa.array([], pa.string())
    told = pa.concat_arrays(parts)
    if len(parts) > 1:
        of_row = np.empty(len(rules), dtype=np.int64)
        of_row[np.concatenate(places)] = np.arange(len(rules))
        told = told.take(pa.array(of_row))
    if not judged.reworded:
        return told
    numbers = np.arange(len(judged))[rows].tolist()
    return pa.array(list(map(judged.reworded.get, numbers, told.to_pylist())), pa.string())


class _Some:
    """The facts of some of the rows; numbers that are not known are 0, as sentences show them."""

    def __init__(self, facts: Facts, own: Numbers) -> None:
        self._facts, self._own = facts, own

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, name: str) -> Any:
        column = self._facts[name][self._own]
        return column if isinstance(column, Words) or column.dtype.kind != "f" else np.nan_to_num(column)


def _filled(template: str, facts: _Some, of: Numbers | None = None) -> pa.Array:
    """A text with what its names stand for in each row; `of` is what {0} stands for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pieces = list(_pieces(template, facts, of))
    texts = pc.binary_join_element_wise(*pieces, "") if pieces else pa.scalar("")
    return texts if isinstance(texts, pa.Array) else pa.repeat(texts, len(facts))


def _pieces(template: str, facts: _Some, of: Numbers | None) -> Iterator[Any]:
    """What stands between names, and for each name the texts of all rows."""
    for literal, name, form, _ in Formatter().parse(template):
        if literal:
            yield literal
        if name is None:
            continue
        name = name.removeprefix("facts[").removesuffix("]")
        if name in PHRASES:
            yield _phrase(name, facts)
        else:
            yield _texts(facts[name] if of is None or name != "0" else of, form or "", name.endswith("_tokens"))


def _phrase(name: str, facts: _Some) -> pa.Array:
    """How a turn of phrase reads in each row."""
    import pyarrow.compute as pc

    phrase = PHRASES[name]
    of = np.broadcast_to(np.asarray(phrase.of(facts), dtype=float), len(facts))
    if_so, if_not = (_filled(text, facts, of) for text in (phrase.if_so, phrase.if_not))
    return pc.if_else(np.asarray(phrase.when(facts), dtype=bool), if_so, if_not)


def _texts(column: Any, form: str, whole: bool) -> pa.Array:
    """How each value of a column reads in that form."""
    import pyarrow as pa

    if isinstance(column, Words):
        names, codes = [format(name, form) for name in column.names], column.codes
    elif column.dtype.kind == "f" and not whole:
        # By their bits, for two zeros are equal that read differently.
        bits, codes = np.unique(_as_they_read(column, form).view(np.int64), return_inverse=True)
        names = [format(value, form) for value in bits.view(float).tolist()]
    else:
        values, codes = np.unique(column.astype(np.int64), return_inverse=True)
        names = [format(value, form) for value in values.tolist()]
    return pa.array(names, pa.string()).take(pa.array(codes))


def _as_they_read(values: Numbers, form: str) -> Numbers:
    """Numbers with no more digits than are shown of them, so that few are different; as they are in case of doubt."""
    if not (decimals := _DECIMALS.fullmatch(form)):
        return np.ascontiguousarray(values)
    scale = 10 ** int(decimals[1])
    scaled = values * scale
    nearest = np.rint(scaled)
    sure = (np.abs(scaled - nearest) < _SURE) & (np.abs(scaled) < _MOST_SURE) & ((scaled >= 0) | (nearest != 0))
    return np.where(sure, nearest / scale, values)
