"""Events by their kinds, as the hypotheses ask for them: each is read once, and so are the fields of lines alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ...case import Case
from ...judging.words import Numbers
from ...parse.log_events import EVENTS, fields_of
from ...schema import TEXT_CHARACTERS

_Place = tuple[str, int, str]
_Fields = Mapping[str, Any]
# Kinds with so many events in all are read at once, the rarest first: a query costs more than its rows.
_READ_AT_ONCE = 30_000
_ORDER = ["at", "source", "line"]
_COLUMNS = ["host", "source", "line", "key", "at", "fields", "text"]
_DTYPES = {"line": "int64", "at": "datetime64[us, UTC]"}
_NONE = pd.DataFrame({name: pd.array([], _DTYPES.get(name, "object")) for name in _COLUMNS})
# The fields of a line of the server stand in it; only of one that is cut, or of another program, it takes the table.
_OF_SERVER = frozenset(event.key for event in EVENTS)
_WHOLE = f"list_contains($logs, source) AND list_contains($of_server, key) AND strlen(text) < {TEXT_CHARACTERS}"
_ROWS = f"""
    SELECT host, source, line, key, coalesce("at", before_at) AS "at", {_WHOLE} AS whole, text
    FROM events WHERE list_contains($kinds, key) ORDER BY 5, source, line"""
_FIELDS = f"SELECT source, line, key, fields FROM events WHERE list_contains($kinds, key) AND NOT ({_WHOLE})"


class Events:
    """Frames of host, source, line, key, at (UTC; its earliest where it has none), fields, text in order of time.

    `fields` of a record of the server are without its time, so that records alike share them.
    """

    def __init__(self, case: Case, counts: Mapping[str, int]) -> None:
        self._case, self._counts = case, counts
        self._blocks: list[_Block] = []
        self._found: dict[frozenset[str], pd.DataFrame] = {}

    def of(self, keys: Iterable[str]) -> pd.DataFrame:
        """The events of these kinds."""
        wanted = frozenset(key for key in keys if self._counts.get(key))
        if wanted not in self._found:
            self._read(wanted)
            parts = [block.of(wanted) for block in self._blocks if wanted & block.kinds]
            rows = pd.concat(parts) if parts else _NONE
            self._found[wanted] = rows if len(parts) < 2 else rows.sort_values(_ORDER, ignore_index=True)
        return self._found[wanted]

    def _read(self, wanted: frozenset[str]) -> None:
        """Read those of these kinds that are not here yet, the first time with all that are rare."""
        missing = wanted.difference(*(block.kinds for block in self._blocks))
        if missing:
            kinds = missing if self._blocks else missing | self._rare
            logs = [account["path"] for account in self._case.accounts if account["kind"] == "server-log"]
            asked = {"logs": logs, "kinds": sorted(kinds), "of_server": sorted(kinds & _OF_SERVER)}
            rows = self._case.connection.sql(_ROWS, params=asked).to_arrow_table().to_pandas()
            told = [] if rows["whole"].all() else self._case.connection.sql(_FIELDS, params=asked).fetchall()
            self._blocks.append(_Block(kinds, rows, {tuple(place): json.loads(text or "{}") for *place, text in told}))

    @cached_property
    def _rare(self) -> frozenset[str]:
        rarest = sorted(self._counts, key=lambda key: self._counts[key])
        in_all = np.cumsum([self._counts[key] for key in rarest])
        return frozenset(rarest[: int(np.searchsorted(in_all, _READ_AT_ONCE, side="right"))])


class _Block:
    """The events of some kinds, in order of time; `told` are the fields of those lines in which they do not stand."""

    def __init__(self, kinds: frozenset[str], rows: pd.DataFrame, told: Mapping[_Place, _Fields]) -> None:
        self.kinds = kinds
        self._rows = rows.drop(columns="whole").assign(at=pd.to_datetime(rows["at"], utc=True))
        self._codes, self._names = pd.factorize(rows["key"])
        places = zip(*(rows[name].tolist() for name in ("source", "line", "key")), strict=True) if told else ()
        self._told = {row: told[place] for row, place in enumerate(places) if place in told}
        self._alike, self._different = _without_times(rows["text"])
        self._known: dict[int, _Fields] = {}

    def of(self, wanted: frozenset[str]) -> pd.DataFrame:
        """Those of these kinds."""
        is_wanted = np.array([name in wanted for name in self._names], dtype=bool)
        own = np.flatnonzero(is_wanted[self._codes])
        rows = self._rows.take(own).reset_index(drop=True)
        rows.insert(rows.columns.get_loc("text"), "fields", pd.Series(self._fields(own), dtype=object))
        return rows

    def _fields(self, own: Numbers) -> list[_Fields]:
        """The fields of lines as they stand in them; those of lines that differ in their time alone are read once."""
        pairs = self._alike[own] * len(self._names) + self._codes[own]
        return [self._told[row] if row in self._told else self._read(pair) for row, pair in
                zip(own.tolist(), pairs.tolist(), strict=True)]  # fmt: skip

    def _read(self, pair: int) -> _Fields:
        if pair not in self._known:
            line, name = divmod(pair, len(self._names))
            self._known[pair] = fields_of(self._names[name], self._different[line])
        return self._known[pair]


def _without_times(lines: pd.Series) -> tuple[Numbers, pd.Index]:
    """The number of each line without its time, and by these numbers the lines that differ in more than it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    timeless = pc.replace_substring_regex(pa.array(lines), r"^time=[^ ]* ", "")
    numbers, different = pd.factorize(pd.Series(timeless.to_pandas(), dtype="str"))
    return numbers, different
