"""The tables that captures fill. A case has few of them, and of one that nothing was captured for nothing is asked."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from ..case import Case
from ..once import once
from ..schema import TABLES

# As DuckDB gives the columns of a table without rows.
_NOTHING = {
    "VARCHAR": np.empty(0, dtype=object), "BIGINT": np.empty(0, dtype=np.int64), "DOUBLE": np.empty(0),
    "BOOLEAN": np.empty(0, dtype=bool), "TIMESTAMP": pd.array([], dtype="datetime64[us, UTC]"),
}  # fmt: skip


def is_captured(case: Case, *tables: str) -> bool:
    """Whether anything was read into one of these tables of `schema.TABLES`."""
    return any(case.parts(table) for table in tables)


def captured_table(case: Case, name: str) -> pd.DataFrame:
    """One table of `schema.TABLES` in order of host, time and place, its times in UTC."""
    if not is_captured(case, name):
        return _without_rows(name).copy(deep=False)
    tables = _read_before(case)
    if name not in tables:
        tables[name] = _read(case, name)
    return tables[name].copy(deep=False)


@once
def _read_before(case: Case) -> dict[str, pd.DataFrame]:
    return {}


def _read(case: Case, name: str) -> pd.DataFrame:
    order = '"at", ' if "at" in TABLES[name] else ""
    frame = case.sql(f"FROM {name} ORDER BY host, {order}source, line")
    for column, kind in TABLES[name].items():
        if kind == "TIMESTAMP":
            frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


@cache
def _without_rows(name: str) -> pd.DataFrame:
    return pd.DataFrame({column: _NOTHING[kind] for column, kind in TABLES[name].items()}, copy=False)
