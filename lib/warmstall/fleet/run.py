"""A run over a whole fleet: a task for each host, and one small row of each, kept on disk and not in memory.

    OUT/journal.jsonl    a row as soon as a host is done, the newest of a host last
    OUT/hosts.parquet    the newest row of each host, by name

Who runs it holds the names of the hosts and nothing that grows with what they logged.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import OutputError
from ..writing import whole_file
from .columns import HOST
from .engines import TaskKilled, outcomes
from .host_task import ANALYZED, AS_BEFORE, FAILED, Task, analyze_host, code_digest, failed
from .inputs import hosts_in
from .landing import clear_aside, note_of

_MOST_ERRORS = 5


@dataclass(frozen=True)
class FleetRun:
    """What came of a run: hosts by outcome, their requests and bytes, and the first errors in full."""

    out: Path
    hosts: int
    analyzed: int
    as_before: int
    failed: int
    requests: int
    input_bytes: int
    part_bytes: int
    errors: tuple[tuple[str, str], ...]


def analyze_fleet(
    inputs: Sequence[str | Path], out: str | Path, engine: str = "local", workers: int | None = None,
    say: Callable[[dict[str, Any]], None] = lambda _: None,
) -> FleetRun:  # fmt: skip
    """Analyze every host that the inputs name into the folder `out`, which all workers must see under this name.

    A host that cannot be read is a row with its error; one whose evidence is as it was stays as it is. `say` is given
    each row as it comes. Raises InputError for inputs and engines that cannot be used, OutputError for a folder that
    cannot be written.
    """
    folder = Path(out).absolute()
    # Results that lie in the folder of hosts are no host.
    hosts = [host for host in hosts_in([str(given) for given in inputs]) if host.paths != (str(folder),)]
    code, counts, sums = code_digest(), Counter[str](), Counter[str]()
    errors: list[tuple[str, str]] = []
    tasks = (Task(host, str(folder), code) for host in hosts)
    with _only_run_in(folder), _journal(folder) as journal, _progress(len(hosts)) as progress:
        for task, result in outcomes(analyze_host, tasks, engine, workers):
            row = _row(task, result)
            journal.write(json.dumps(row) + "\n")
            counts[row["outcome"]] += 1
            sums.update({name: row.get(name, 0) for name in ("requests", "input_bytes", "part_bytes")})
            if row["error"] and len(errors) < _MOST_ERRORS:
                errors.append((row["host"], row["error"]))
            say(row)
            progress()
        journal.flush()
        _write_hosts(folder)
    return FleetRun(folder, len(hosts), counts[ANALYZED], counts[AS_BEFORE], counts[FAILED], sums["requests"],
                    sums["input_bytes"], sums["part_bytes"], tuple(errors))  # fmt: skip


def _row(task: Task, result: dict[str, Any] | Exception) -> dict[str, Any]:
    if isinstance(result, TaskKilled):
        return failed(task.host.name, str(result))
    if isinstance(result, Exception):
        return failed(task.host.name, f"its task ended with {type(result).__name__}: {result}")
    if not result["error"] and note_of(Path(task.out), task.host.name) is None:
        return failed(task.host.name, f"it was analyzed, but not into {task.out}; all workers must see that folder.")
    return result


@contextmanager
def _only_run_in(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            clear_aside(folder)
            yield
            clear_aside(folder)
    except Timeout:
        raise OutputError(f"{folder}: another run is writing there.") from None


@contextmanager
def _journal(folder: Path) -> Iterator[IO[str]]:
    path = folder / "journal.jsonl"
    try:
        with path.open("a+b") as handle:  # a run that was killed may have left half a row
            if handle.tell() and (handle.seek(-1, os.SEEK_END), handle.read(1))[1] != b"\n":
                handle.write(b"\n")
        with path.open("a", encoding="utf-8", buffering=1) as lines:
            yield lines
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    from tqdm import tqdm

    with tqdm(total=total, unit="host", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


def _write_hosts(folder: Path) -> None:
    """The newest row of each host as a table, made by DuckDB from the journal without holding it."""
    import duckdb

    columns = {"host": "VARCHAR"} | HOST
    with duckdb.connect(config={"threads": 1}) as connection, whole_file(folder / "hosts.parquet") as partial:
        connection.execute(
            "COPY (SELECT * EXCLUDE (n) FROM (SELECT *, row_number() OVER () AS n FROM read_json($journal, "
            "format = 'newline_delimited', columns = $columns, ignore_errors = true) WHERE host IS NOT NULL) "
            "QUALIFY row_number() OVER (PARTITION BY host ORDER BY n DESC) = 1 ORDER BY host) "
            f"TO {_quoted(str(partial))} (FORMAT parquet, COMPRESSION zstd)",
            {"journal": str(folder / "journal.jsonl"), "columns": columns},
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
