"""Tables of trials that are no text: Parquet, SQLite and DuckDB files, opened so that nothing is written.

Which of a database's tables hold trials is told by their columns, as in a text.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InputError
from .parsed import Parsed
from .trial_columns import role_named
from .trial_documents import flattened
from .trial_table import Table, is_wanted
from .trials import add_table, check_mapping

# Prompts and answers may stand beside what is read; more rows than these are not read by hand either.
MOST_ROWS = 1_000_000
# Steps of SQLite's machine for one table: a damaged or hostile file must come to an end.
_MOST_STEPS = 2_000_000_000
_SAMPLED_ROWS = 200
_SQLITE_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"


def is_trial_file(head: bytes) -> bool:
    """Whether a file that begins like this is Parquet, SQLite or DuckDB, any of which may hold trials.

    >>> is_trial_file(b"PAR1..."), is_trial_file(b"SQLite format 3\\0"), is_trial_file(b"run_id,status")
    (True, True, False)
    """
    return _reader_of(head) is not None


def read_trial_file(path: str | Path, mapping: Mapping[str, str] | None = None) -> Parsed:
    """The trials of a Parquet, SQLite or DuckDB file, as `parse_trials` gives them; a row's number is its line.

    All tables whose columns are those of trials are read, in the order of their names. Beside a SQLite file
    its write-ahead log (`-wal`) is read too, where it was captured with it.
    Raises InputError when the file cannot be read as what it begins like, or `mapping` does not fit it.
    """
    path, mapping = Path(path), mapping or {}
    for key in mapping:
        role_named(key)
    try:
        with path.open("rb") as handle:
            reader = _reader_of(handle.read(64))
        tables = list(reader(path, set(mapping.values()))) if reader else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or _first_line(error)}).") from None
    if reader is None:
        raise InputError(f"{path}: neither Parquet nor SQLite nor DuckDB; text is read as it is.")
    parsed, before = Parsed(), 0
    for table in tables:
        table.lines = [(before + number, before + number) for number in range(1, len(table.records) + 1)]
        before += len(table.records)
        add_table(parsed, table, mapping)
    check_mapping(mapping, tables)
    return parsed


def _reader_of(head: bytes) -> Callable[[Path, set[str]], Iterator[Table]] | None:
    if head.startswith(b"PAR1"):
        return _parquet
    if head.startswith(b"SQLite format 3\0"):
        return _sqlite
    return _duckdb if head[8:12] == b"DUCK" else None


def _table(columns: list[str], rows: list[dict[str, Any]]) -> Table:
    records = [flattened(row) for row in rows]
    nested = (key for record in records[:_SAMPLED_ROWS] for key in record)
    return Table(list(dict.fromkeys(nested)) or columns, records)


def _parquet(path: Path, wanted: set[str]) -> Iterator[Table]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = []
            names = file.schema_arrow.names
            for batch in file.iter_batches(batch_size=_SAMPLED_ROWS):
                rows += _in_microseconds(batch).to_pylist()
                if len(rows) == batch.num_rows and not is_wanted((first := _table(names, rows)).columns, wanted):
                    yield Table(first.columns)  # what it holds is not read on
                    return
                if len(rows) >= MOST_ROWS:
                    break
            yield _table(names, rows)
    except (pyarrow.ArrowException, ValueError, OverflowError, OSError) as error:
        raise InputError(f"{path}: the Parquet file is cut short or damaged ({_first_line(error)}).") from None


def _in_microseconds(batch: Any) -> Any:
    """Nanoseconds do not fit Python's times."""
    import pyarrow

    for place, field in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            coarse = batch.column(place).cast(pyarrow.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, coarse)
    return batch


def _sqlite(path: Path, wanted: set[str]) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as scratch:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            # What the log holds belongs to the tables. Reading it writes beside the file, so a copy is read.
            copy = Path(scratch, "copy")
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name("copy-wal"))
            yield from _sqlite_tables(path, f"file:{quote(str(copy))}?mode=ro", wanted)
        else:
            # Immutable: no lock, no journal, no -shm file beside the evidence.
            uri = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro&immutable=1"
            yield from _sqlite_tables(path, uri, wanted)


def _sqlite_tables(path: Path, uri: str, wanted: set[str]) -> Iterator[Table]:
    try:
        connection = sqlite3.connect(uri, uri=True)
        try:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            steps = iter(range(_MOST_STEPS // 100_000))
            connection.set_progress_handler(lambda: next(steps, None) is None, 100_000)
            for (name,) in connection.execute(_SQLITE_TABLES).fetchall():
                cursor = connection.execute(f"SELECT * FROM {_quoted(name)} LIMIT {MOST_ROWS}")
                columns = [column[0] for column in cursor.description]
                rows = cursor if is_wanted(columns, wanted) else ()
                yield _table(columns, [dict(zip(columns, row, strict=True)) for row in rows])
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, OverflowError) as error:
        raise InputError(f"{path}: the SQLite file is damaged or locked ({_first_line(error)}).") from None


def _duckdb(path: Path, wanted: set[str]) -> Iterator[Table]:
    import duckdb
    import pyarrow

    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS evidence (READ_ONLY)")
        # What the file holds may be views and macros of others: they reach nothing but the file.
        connection.execute("SET enable_external_access = false")
        names = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'evidence' ORDER BY ALL"
        ).fetchall()
        for schema, name in names:
            rows = connection.sql(f"FROM evidence.{_quoted(schema)}.{_quoted(name)} LIMIT {MOST_ROWS}")
            batches = rows.to_arrow_table().to_batches() if is_wanted(rows.columns, wanted) else []
            yield _table(rows.columns, [row for batch in batches for row in _in_microseconds(batch).to_pylist()])
    except (duckdb.Error, pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: the DuckDB file is damaged, locked or of another version ({_first_line(error)})."
        ) from None
    finally:
        connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
