"""What earlier reports measured: one Parquet part per report, one file per month once the month is over.

    append(folder, report)
    rows, notes = read(folder)

A part is named by the time its period begins, so a period that is reported again takes the place of its part.
Compaction writes the file of a month first and takes the parts away after it; whoever reads in between, or after a
kill, finds a report twice and counts it once. A file that cannot be read is left where it is, and told.

| kind | name | value | count, of | text |
| --- | --- | --- | --- | --- |
| sli | the SLI's | its value, in its unit | as measured | why there is no value |
| objective | the SLI's | the SLI's value | bad requests of all | the target: `at most 30` |
| memory | memory, swap, `memory|group` | bytes available | -, bytes in all | when it was looked at; the models |
| cause | the hypothesis | - | - | its state |
| configuration | `kind|name` | - | - | the value |
| status | the report's status | its exit code | - | its sentence |
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import OutputError
from ..parse.plain_text import printable
from ..writing import whole_file
from .overlaps import apart
from .records import EXIT_CODES, HealthReport

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# A part is opened in about a millisecond: so many are read without being waited for.
MOST_PARTS = 200
# A verdict tells its times to the second or better; so much is no overlap of two periods.
_SLACK_US = 1_000_000
_LOCK_S = 30.0


class Read(NamedTuple):
    """The rows of a history, report after report, and what a reader of them has to know."""

    rows: pd.DataFrame
    notes: list[str]


def append(folder: Path, report: HealthReport) -> Path:
    """Keep what a report measured, as one part in `folder`; return the part.

    Parts of months that are over are compacted before. Raises OutputError where the part cannot be written.
    """
    part = folder / f"{_stamp(report.from_at)}.parquet"
    with _alone(folder):
        with suppress(OutputError):  # a full disk is told below; parts that stay are read as well
            _compact(folder, report.to_at)
        _write(part, _table(report))
    return part


def compact(folder: Path, now: datetime) -> None:
    """Put the parts of each month that is over into one file; of this month too, where there are many parts.

    Raises OutputError where it cannot be written; nothing is lost then.
    """
    with _alone(folder):
        _compact(folder, now)


def read(folder: Path, kinds: Collection[str] | None = None, since: datetime | None = None) -> Read:
    """Every report once, the earliest first: of all kinds or some, and of all times or those that begin at `since`.

    Columns: report_from, report_to (UTC), host, kind, name, value, count (float, NaN is none), of (0 is none), text.
    Where periods overlap, as after a killed report or one that looked back over a day, those are kept that tell more:
    several short ones rather than a long one over them.
    """
    import pyarrow as pa
    from pyarrow import compute

    files = [path for path in _files(folder) if since is None or path.stem[:7] >= f"{since.astimezone(UTC):%Y-%m}"]
    table, notes = _read(files)
    if since is not None:
        table = table.filter(compute.greater_equal(table["report_from"], since))
    table = _once(table)
    if kinds is not None:
        table = table.filter(compute.is_in(table["kind"], pa.array(list(kinds))))
    if (parts := sum(map(_is_part, files))) > 2 * MOST_PARTS:
        notes.append(f"The history lies in {parts} parts: they could not be put together (is its disk full?).")
    return Read(table.to_pandas(), notes)


def last_report(folder: Path) -> pd.DataFrame:
    """The rows of the report whose period ended last; no rows where there is none."""
    files = _files(folder)
    for month in sorted({path.stem[:7] for path in files}, reverse=True):
        rows = _read([path for path in files if path.stem[:7] == month])[0].to_pandas()
        if len(rows):
            return rows[rows["report_to"] == rows["report_to"].max()].reset_index(drop=True)
    return _schema().empty_table().to_pandas()


def _table(report: HealthReport) -> pa.Table:
    """A report as rows; each of them carries the period."""
    import pyarrow as pa

    rows: list[tuple[Any, ...]] = [
        ("", "status", report.status, EXIT_CODES[report.status], None, 0, report.sentence),
        *((sli.host, "sli", sli.name, sli.value, sli.count, sli.of, sli.why) for sli in report.slis),
        *(("", "objective", each.objective.sli, each.value, each.bad, each.of,
           f"{each.objective.direction} {each.objective.target:g}") for each in report.objectives),
        *((look.host, "memory", memory_name(look.what, look.group), look.available_bytes, None, look.total_bytes,
           "|".join(((look.at or report.to_at).astimezone(UTC).isoformat(), *look.models))) for look in report.memory),
        *(("", "cause", cause.id, None, None, 0, cause.state) for cause in report.causes),
        *((key.partition("|")[0], "configuration", key.partition("|")[2], None, None, 0, value)
          for key, value in report.configuration.items()),
    ]  # fmt: skip
    period = report.from_at.astimezone(UTC), report.to_at.astimezone(UTC)
    names = _schema().names
    plain = [dict(zip(names, (*period, *(_plain(value) for value in row)), strict=True)) for row in rows]
    for row in plain:
        row |= {"value": _float(row["value"]), "count": _float(row["count"]), "of": int(row["of"] or 0)}
    return pa.Table.from_pylist(plain, _schema())


def memory_name(what: str, group: str) -> str:
    """The name under which looks at memory are kept: those at a control group are not those at its machine."""
    return f"{what}|{group}" if group else what


def _schema() -> pa.Schema:
    import pyarrow as pa

    stamp = pa.timestamp("us", "UTC")
    return pa.schema({
        "report_from": stamp, "report_to": stamp, "host": pa.string(), "kind": pa.string(), "name": pa.string(),
        "value": pa.float64(), "count": pa.float64(), "of": pa.int64(), "text": pa.string(),
    })  # fmt: skip


def _plain(value: Any) -> Any:
    # A name in a log may hold what no encoding can write.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _stamp(at: datetime) -> str:
    """The name of a time: sorted as times are, with a fraction only where there is one."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H%M%S}{f'.{at.microsecond:06}' if at.microsecond else ''}Z"


def _files(folder: Path) -> list[Path]:
    """Months first and parts after them: what is read later takes the place of what was read before."""
    return sorted(folder.glob("[0-9]*.parquet"), key=lambda path: (_is_part(path), path.name))


def _is_part(path: Path) -> bool:
    return "T" in path.stem


def _read(files: list[Path]) -> tuple[pa.Table, list[str]]:
    """The rows of all files that can be read, each report from the last file that holds it."""
    import pyarrow as pa

    tables: dict[Path, pa.Table] = {}
    notes: list[str] = []
    for path in files:
        try:
            tables[path] = _rows_of(path)
        except FileNotFoundError:  # compacted since the folder was listed: it is in the file of its month
            month = path.with_name(f"{path.stem[:7]}.parquet")
            with suppress(OSError, pa.ArrowException):
                tables[month] = _rows_of(month)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            notes.append(f"{printable(path.name)} of the history cannot be read and is left out ({printable(reason)}).")
    return _merged(sorted(tables.items(), key=lambda item: _is_part(item[0]))), notes


def _rows_of(path: Path) -> pa.Table:
    from pyarrow import parquet

    with path.open("rb") as handle:
        table = parquet.ParquetFile(handle).read()
    schema = _schema()
    return table.select(schema.names).cast(schema)


def _merged(tables: Iterable[tuple[Path, pa.Table]]) -> pa.Table:
    """One table, the earliest report first; of a report that several files hold, the last file's rows."""
    import pyarrow as pa
    from pyarrow import compute

    kept: list[pa.Table] = []
    seen: set[Any] = set()
    for _, table in reversed(list(tables)):
        froms = set(table["report_from"].unique().to_pylist())
        if repeated := froms & seen:
            held = compute.is_in(table["report_from"], pa.array(list(repeated), table["report_from"].type))
            table = table.filter(compute.invert(held))
        seen |= froms
        kept.append(table)
    merged = pa.concat_tables([_schema().empty_table(), *kept])
    return merged.sort_by("report_from")


def _once(table: pa.Table) -> pa.Table:
    """No second of the past in two reports."""
    import pyarrow as pa
    from pyarrow import compute

    pairs = table.select(["report_from", "report_to"]).group_by(["report_from", "report_to"]).aggregate([])
    starts, ends = (pairs[name].cast(pa.int64()).to_pylist() for name in ("report_from", "report_to"))
    counted = apart(list(zip(starts, ends, strict=True)), _SLACK_US)
    if len(counted) == len(starts):
        return table
    kept = pa.array([start for start, _ in counted], pa.int64())
    return table.filter(compute.is_in(table["report_from"].cast(pa.int64()), kept))


def _compact(folder: Path, now: datetime) -> None:
    for left_over in folder.glob("*.partial"):  # by a report that was killed
        left_over.unlink(missing_ok=True)
    parts = [path for path in _files(folder) if _is_part(path)]
    months: dict[str, list[Path]] = defaultdict(list)
    for part in parts:
        months[part.stem[:7]].append(part)
    for month, paths in months.items():
        if month == f"{now.astimezone(UTC):%Y-%m}" and len(parts) <= MOST_PARTS:
            continue
        tables = {path: rows for path in paths if (rows := _rows_or_none(path)) is not None}
        whole = folder / f"{month}.parquet"
        so_far = _rows_or_none(whole) if whole.exists() else _schema().empty_table()
        if not tables or so_far is None:
            continue  # what cannot be read stays for a person to look at: nothing is written over it
        _write(whole, _merged([(whole, so_far), *tables.items()]))
        for part in tables:
            part.unlink()


def _rows_or_none(path: Path) -> pa.Table | None:
    import pyarrow as pa

    try:
        return _rows_of(path)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None


def _write(path: Path, table: pa.Table) -> None:
    """A whole file, on the disk before its name: the parts it was made of are taken away after this."""
    from pyarrow import parquet

    with whole_file(path) as partial, partial.open("wb") as handle:
        parquet.write_table(table, handle, compression="zstd")
        handle.flush()
        os.fsync(handle.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems of a network cannot
            os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time; the lock of a killed one is free. Readers need none."""
    from filelock import FileLock

    lock = FileLock(folder / "lock", timeout=_LOCK_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OutputError(f"{folder}: the history cannot be written to ({error.strerror or error}).") from error
    try:
        yield
    finally:
        lock.release()
