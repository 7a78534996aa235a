"""Open a case: what an Ollama host left behind, as tables that can be asked.

A case is a folder; a bare log or a folder of captures is treated as one. Evidence becomes Parquet tables
(`ingest.py`), and the tables are views of an in-memory DuckDB. Times are UTC.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import OutputError
from .evidence import Evidence, discover
from .ingest import ingest

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# Requests that run a model; everything else is bookkeeping.
INFERENCE_PATHS = (
    r"^/(api/(generate|chat|embed|embeddings)|v1/(completions|chat/completions|embeddings|messages|responses))/?$"
)
# The tables that ingest writes, with the columns of each, so that a view exists where there is no part.
_EMPTY_TABLES = {
    "requests": "host VARCHAR, source VARCHAR, line BIGINT, ended_local TIMESTAMP, wrapper_at TIMESTAMP, "
    "offset_s INTEGER, before_at TIMESTAMP, after_at TIMESTAMP, wall_s DOUBLE, status VARCHAR, client VARCHAR, "
    "method VARCHAR, path VARCHAR, text VARCHAR",
    "events": 'host VARCHAR, source VARCHAR, line BIGINT, key VARCHAR, "at" TIMESTAMP, before_at TIMESTAMP, '
    "after_at TIMESTAMP, fields VARCHAR, text VARCHAR",
    "trials": "line BIGINT, started_at TIMESTAMP, ended_at TIMESTAMP, wall_s DOUBLE, model VARCHAR, path VARCHAR, "
    "status VARCHAR, error VARCHAR, total_duration_s DOUBLE, load_duration_s DOUBLE, prompt_eval_duration_s DOUBLE, "
    "eval_duration_s DOUBLE, prompt_eval_count BIGINT, eval_count BIGINT, host VARCHAR, source VARCHAR",
    "processes": 'line BIGINT, "at" TIMESTAMP, pid BIGINT, parent_pid BIGINT, role VARCHAR, state VARCHAR, '
    "cpu_percent DOUBLE, rss_bytes BIGINT, command VARCHAR, host VARCHAR, source VARCHAR",
    "resident_models": 'line BIGINT, "at" TIMESTAMP, model VARCHAR, size_bytes BIGINT, vram_bytes BIGINT, '
    "expires_at TIMESTAMP, host VARCHAR, source VARCHAR",
}


def sample_incident() -> Path:
    """The folder of the incident that ships with the project: a runner that stands still while its model is warm."""
    package = Path(__file__).resolve().parent
    in_repository = package.parents[1] / "data" / "incidents" / "warm-stall-runner-stopped"
    return in_repository if in_repository.is_dir() else package / "sample_incident"


def write_case(evidence: list[Evidence], folder: Path, tables: Path, assumed_offset_s: int = 0) -> Case:
    """Bring the tables up to date with the evidence, and leave a case.json in `folder` that names both.

    Raises OutputError when the folder cannot be written.
    """
    accounts = ingest(evidence, tables)
    note = {
        "schema": 1,
        "tables": os.path.relpath(tables, folder),
        "zone_offset_s": assumed_offset_s,
        "evidence": [{"path": str(item.path), "kind": item.kind, "host": item.host} for item in evidence],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "case.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    return Case(tables, accounts, assumed_offset_s)


def open_case(path: str | Path, assumed_offset_s: int = 0) -> Case:
    """Open a case, a folder of captures or a single log.

    What `analyze` has left (a folder whose case.json names its tables) is opened read-only, as it is.
    Anything else is ingested first, into a temporary folder that lives as long as the case.
    `assumed_offset_s` is the zone of local times where the evidence tells none, in seconds east of UTC.
    Raises InputError when the path cannot be used.

    >>> case = open_case(sample_incident())
    >>> case.sql("SELECT count(*) AS n FROM access_lines WHERE path = '/api/generate'")["n"][0] > 40
    np.True_
    """
    path = Path(path)
    note = _read_note(path)
    if note and "tables" in note and (tables := path / note["tables"] / "ingest.json").exists():
        accounts = list(json.loads(tables.read_text(encoding="utf-8"))["sources"].values())
        return Case(tables.parent, accounts, assumed_offset_s or note["zone_offset_s"])
    scratch = tempfile.TemporaryDirectory(prefix="warmstall-")
    case = Case(Path(scratch.name), ingest(discover([path]), Path(scratch.name)), assumed_offset_s)
    case._scratch = scratch
    return case


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note


class Case:
    """One incident's tables, and what is computed from them. Made by `open_case`."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def __init__(self, tables: Path, accounts: list[dict[str, Any]], assumed_offset_s: int = 0) -> None:
        self.tables = tables
        self.accounts = sorted(accounts, key=lambda a: (a["stream"], -a["age"], a["first_at"] or "", a["path"]))
        self.assumed_offset_s = assumed_offset_s

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view per table: read-only, and no lock on the files."""
        import duckdb

        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        for table, columns in _EMPTY_TABLES.items():
            view = "access_lines" if table == "requests" else table
            pattern = str(self.tables / f"{table}-*.parquet")
            if next(self.tables.glob(f"{table}-*.parquet"), None):
                quoted = pattern.replace("'", "''")
                connection.execute(f"CREATE VIEW {view} AS FROM read_parquet('{quoted}', union_by_name = true)")
            else:
                connection.execute(f"CREATE TABLE {view} ({columns})")
        return connection

    def sql(self, query: str, **parameters: object) -> pd.DataFrame:
        """The answer to a query over the case's views, as a DataFrame."""
        return self.connection.sql(query, params=parameters or None).df()

    def view(self, name: str, **parameters: object) -> pd.DataFrame:
        """The answer to one of the queries in `sql/`."""
        return self.sql((files("warmstall") / "sql" / f"{name}.sql").read_text(), **parameters)

    def streams(self) -> dict[str, str]:
        """The log that each source is a part of: rotations of one log share a stream."""
        return {account["path"]: account["stream"] or account["path"] for account in self.accounts}

    def rows(self, table: str, where: str = "true") -> list[dict[str, Any]]:
        """A table's rows as plain values, in the order of the sources and their lines."""
        order = {account["path"]: number for number, account in enumerate(self.accounts)}
        found = self.connection.sql(f"FROM {table} WHERE {where} ORDER BY source, line").to_arrow_table()
        rows: list[dict[str, Any]] = found.to_pylist()
        return sorted(rows, key=lambda row: (order.get(row["source"], 0), row["line"]))
