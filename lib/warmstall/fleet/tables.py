"""What a run has left, opened read-only: a view for each table of the fleet, and the summaries that compare hosts.

    with open_fleet("warmstall-fleet") as fleet:
        fleet.sql("SELECT verdict, count(*) FROM requests GROUP BY ALL")

Only the partitions that a query names by `host` and `date` are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..parse.plain_text import printable
from .columns import TABLES
from .landing import note_of
from .summaries import Summary

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


class FleetTables:
    """The tables of one fleet. Made by `open_fleet`."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.connection = connection

    def __enter__(self) -> FleetTables:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def sql(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The answer to a query over the views `hosts`, `requests`, `loads`, `findings`, `settings`, `versions`."""
        return self.connection.sql(query, params=parameters or None).df()

    def view(self, name: str) -> pd.DataFrame:
        """The answer to one of the queries in `sql/`."""
        return self.sql((files("warmstall") / "sql" / f"{name}.sql").read_text(encoding="utf-8"))

    def summaries(self) -> Iterator[Summary]:
        """The summary of each host of `hosts`, as `unlike` compares them; of one that was not read, its error."""
        for host, error in self.connection.sql("SELECT host, error FROM hosts ORDER BY host").fetchall():
            yield {"path": host, "error": error, "hosts": []} if error else self._summary(host)

    def _summary(self, host: str) -> Summary:
        note = note_of(self.folder, host)
        gone: Summary = {"path": host, "error": "its parts are not there any more; run the analysis again.",
                         "hosts": []}  # fmt: skip
        return dict(note["summary"]) if note else gone


def open_fleet(folder: str | Path) -> FleetTables:
    """Open what `warmstall fleet analyze` has left in a folder. Raises InputError where that is nothing."""
    import duckdb

    path = Path(folder)
    if not (path / "hosts.parquet").is_file():
        raise InputError(f"{printable(str(path))}: no run was finished there; make one with: warmstall fleet analyze.")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE VIEW hosts AS FROM read_parquet({_pattern(path, 'hosts.parquet')})")
    for table, columns in TABLES.items():
        if next((path / table).glob("host=*/date=*/part.parquet"), None):
            connection.execute(
                f"CREATE VIEW {table} AS FROM read_parquet({_pattern(path, table, 'host=*/date=*/part.parquet')}, "
                "hive_partitioning = true, hive_types = {'host': VARCHAR, 'date': DATE})"
            )
        else:
            described = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            connection.execute(f'CREATE TABLE {table} ({described}, "date" DATE, host VARCHAR)')
    return FleetTables(path, connection)


def _pattern(folder: Path, *inside: str) -> str:
    """Files of a folder as SQL text; the folder's own name may hold what DuckDB takes for a pattern."""
    own = re.sub(r"([*?\[])", r"[\1]", str(folder))
    return "'" + "/".join([own, *inside]).replace("'", "''") + "'"
