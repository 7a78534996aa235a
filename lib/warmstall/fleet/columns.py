"""The tables of a fleet: their columns with DuckDB's types, their order, and the time that says of which day a row is.

Beside these, every row has `host` and `date`, which are in the paths of its part. `host` is the name of the input;
`server` is what the evidence itself calls the host, "local" where it does not. Times are UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

_PLACE = {"server": "VARCHAR", "source": "VARCHAR", "line": "BIGINT"}

TABLES: dict[str, dict[str, str]] = {
    "requests": _PLACE
    | {
        "started_at": "TIMESTAMP", "ended_at": "TIMESTAMP", "uncertainty_s": "DOUBLE", "wall_s": "DOUBLE",
        "status": "VARCHAR", "method": "VARCHAR", "path": "VARCHAR", "client": "VARCHAR", "model": "VARCHAR",
        "inference": "BOOLEAN", "verdict": "VARCHAR", "flags": "VARCHAR", "queue_s": "DOUBLE", "load_s": "DOUBLE",
        "prefill_s": "DOUBLE", "decode_s": "DOUBLE", "unexplained_s": "DOUBLE", "reason": "VARCHAR",
    },
    "loads": _PLACE
    | {
        "model": "VARCHAR", "spawned_at": "TIMESTAMP", "ready_at": "TIMESTAMP", "load_s": "DOUBLE",
        "outcome": "VARCHAR", "reload": "BOOLEAN", "reason": "VARCHAR", "parallel": "BIGINT",
        "context_length": "BIGINT",
    },
    # One row for each hypothesis and server, as of the last line that was read.
    "findings": {
        "server": "VARCHAR", "id": "VARCHAR", "title": "VARCHAR", "severity": "VARCHAR", "state": "VARCHAR",
        "sentence": "VARCHAR", "at": "TIMESTAMP",
    },
    # What each start of a server printed: its settings that are not empty, and its version.
    "settings": _PLACE | {"at": "TIMESTAMP", "name": "VARCHAR", "value": "VARCHAR"},
    "versions": _PLACE | {"at": "TIMESTAMP", "version": "VARCHAR"},
}  # fmt: skip
ORDER = {"requests": ("server", "source", "line"), "loads": ("server", "source", "line"), "findings": ("server", "id"),
         "settings": ("server", "source", "line", "name"), "versions": ("server", "source", "line")}  # fmt: skip
DAY = {"requests": "ended_at", "loads": "spawned_at", "findings": "at", "settings": "at", "versions": "at"}

# One row for each host of a run: what it was asked for, and what came of it.
HOST = {
    "host": "VARCHAR", "error": "VARCHAR", "servers": "BIGINT", "requests": "BIGINT", "failed": "BIGINT",
    "loads": "BIGINT", "verdicts": "MAP(VARCHAR, BIGINT)", "versions": "VARCHAR[]", "first_at": "VARCHAR",
    "last_at": "VARCHAR", "files": "BIGINT", "input_bytes": "BIGINT", "lines": "BIGINT", "unrecognized": "BIGINT",
    "parts": "BIGINT", "part_bytes": "BIGINT",
}  # fmt: skip


def schema(table: str) -> pyarrow.Schema:
    """The columns of a table as Parquet keeps them, the same whatever their rows hold."""
    import pyarrow

    types = {
        "VARCHAR": pyarrow.string(), "BIGINT": pyarrow.int64(), "DOUBLE": pyarrow.float64(),
        "BOOLEAN": pyarrow.bool_(), "TIMESTAMP": pyarrow.timestamp("us"),
    }  # fmt: skip
    return pyarrow.schema([(name, types[kind]) for name, kind in TABLES[table].items()])


def rows_of(table: str, frame: pd.DataFrame) -> pyarrow.Table:
    """A frame as rows of a table, in its order; times without a zone, in UTC."""
    import pyarrow

    naive = {name: frame[name].dt.tz_convert("UTC").dt.tz_localize(None) for name, kind in TABLES[table].items()
             if kind == "TIMESTAMP" and getattr(frame[name].dtype, "tz", None)}  # fmt: skip
    rows = pyarrow.Table.from_pandas(frame.assign(**naive)[[*TABLES[table]]], schema(table), preserve_index=False)
    return rows.replace_schema_metadata(None).sort_by([(name, "ascending") for name in ORDER[table]])
