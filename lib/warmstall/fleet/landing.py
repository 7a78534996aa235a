"""How the results of one host come into the folder of a fleet: whole, and the same however often.

    OUT/requests/host=gpu-1/date=2026-03-14/part.parquet    likewise loads, findings, settings, versions
    OUT/hosts/host=gpu-1/summary.json                       written last: what was read, which parts there are

Parts are written aside and renamed into place. The same evidence makes the same bytes, so it does no harm when two
workers do the same host, or one of them is killed. What a full disk or a kill leaves is made anew by the next run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..errors import OutputError
from .columns import DAY, TABLES, schema
from .inputs import File
from .names import encoded

if TYPE_CHECKING:
    import pyarrow

SCHEMA = 1
ASIDE = ".landing"
# What DuckDB and its like read as "no date".
_NO_DATE = "__HIVE_DEFAULT_PARTITION__"
_ROWS_OF_A_GROUP = 122_880


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{out}: cannot write the tables ({error.strerror or error}).") from error


def note_of(out: Path, host: str) -> dict[str, Any] | None:
    """What was noted when the host landed last; nothing where it never did, or a part of it is not there any more."""
    try:
        note = json.loads(_note(out, host).read_text(encoding="utf-8"))
        whole = note["schema"] == SCHEMA and all((out / part).stat().st_size == size
                                                 for part, size in note["parts"].items())  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return dict(note) if whole else None


def signature(files: Sequence[File], code: str) -> dict[str, Any]:
    """What a host's results depend on: the state of each of its files, and the code that reads them."""
    return {"code": code, "files": [[file.relative, file.size_bytes, file.stamp] for file in files]}


def land(out: Path, host: str, tables: Mapping[str, Iterable[pyarrow.Table]], row: dict[str, Any],
         summary: dict[str, Any], depends_on: dict[str, Any]) -> dict[str, Any]:  # fmt: skip
    """Put the results of a host in the place of its earlier ones; return its row, which then counts its parts.

    The rows of a table come in its order (`columns.py`), some at a time. Raises OutputError where they cannot be
    written; what was there before then still is.
    """
    # A duplicate of this task may be landing the same parts.
    aside = out / ASIDE / uuid4().hex
    try:
        with _writing(out):
            aside.mkdir(parents=True)
            parts = {}
            for table, pieces in tables.items():
                for date in _write_by_day(aside / table / f"host={encoded(host)}", table, pieces):
                    part = Path(table, f"host={encoded(host)}", f"date={date}", "part.parquet")
                    parts[part.as_posix()] = (aside / part).stat().st_size
            row = row | {"parts": len(parts), "part_bytes": sum(parts.values())}
            note = {"schema": SCHEMA, "row": row, "parts": parts, "depends_on": depends_on, "summary": summary}
            noted = aside / "summary.json"
            noted.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            # From here on it is renaming only. Without its note a host counts as not done.
            _note(out, host).unlink(missing_ok=True)
            for name in parts:
                _move(aside / name, out / name)
            for left_over in _parts_of(out, host) - {out / name for name in parts}:
                left_over.unlink(missing_ok=True)
                with suppress(OSError):  # it may hold what is not ours
                    left_over.parent.rmdir()
            _move(noted, _note(out, host))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return row


def clear_aside(out: Path) -> None:
    """Take away what tasks that were killed have left half written."""
    shutil.rmtree(out / ASIDE, ignore_errors=True)


def _note(out: Path, host: str) -> Path:
    return out / "hosts" / f"host={encoded(host)}" / "summary.json"


def _parts_of(out: Path, host: str) -> set[Path]:
    return {part for table in TABLES for part in (out / table / f"host={encoded(host)}").glob("date=*/part.parquet")}


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _write_by_day(folder: Path, table: str, pieces: Iterable[pyarrow.Table]) -> list[str]:
    """Write a part for each day, so that the same rows are the same bytes; return the days."""
    import pyarrow.parquet

    # Lines and moments follow each other: as differences they are a third smaller, and faster to write.
    columns = schema(table)
    steady = {one.name: "DELTA_BINARY_PACKED" for one in columns if str(one.type) in ("int64", "timestamp[us]")}
    others = [name for name in columns.names if name not in steady]
    with ExitStack() as open_parts:
        parts: dict[str, pyarrow.parquet.ParquetWriter] = {}
        for piece in pieces:
            for day, rows in _by_day(table, piece):
                if day not in parts:
                    path = folder / f"date={day}" / "part.parquet"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    parts[day] = open_parts.enter_context(
                        pyarrow.parquet.ParquetWriter(
                            path, columns, compression="zstd", column_encoding=steady, use_dictionary=others
                        )
                    )
                parts[day].write_table(rows, _ROWS_OF_A_GROUP)
    return sorted(parts)


def _by_day(table: str, rows: pyarrow.Table) -> Iterator[tuple[str, pyarrow.Table]]:
    """The rows of each day."""
    import pyarrow
    import pyarrow.compute as pc

    days = rows[DAY[table]].cast(pyarrow.date32(), safe=False)
    different = pc.unique(days)
    for day in different:
        own = pc.equal(days, day) if day.is_valid else pc.is_null(days)
        yield str(day.as_py()) if day.is_valid else _NO_DATE, rows.filter(own) if len(different) > 1 else rows
