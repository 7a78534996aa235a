"""The task of one host: its evidence to requests with verdicts, loads and findings, landed in the folder of the fleet.

It needs nothing but its arguments and the folder, so that it may run anywhere, and twice.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, WarmstallError
from ..parse.plain_text import printable
from .columns import TABLES, rows_of, schema
from .inputs import Host, files_of
from .landing import land, note_of, signature

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

    from ..analysis import Analysis
    from ..judging.words import Numbers, Words
    from .summaries import Summary

ANALYZED, AS_BEFORE, FAILED = "analyzed", "as before", "failed"
# So many are a group of rows in Parquet.
_ROWS_OF_A_PIECE = 122_880


@dataclass(frozen=True)
class Task:
    """What a worker is told: the host, the folder where results land, and the code that the run was begun with."""

    host: Host
    out: str
    code: str


def analyze_host(task: Task) -> dict[str, Any]:
    """Read, judge and land one host; return its small row and its `outcome`. Never raises: `error` says what was wrong.

    A host whose evidence is as it was, and whose parts are there, is not read again.
    """
    host, out = task.host.name, Path(task.out)
    with tempfile.TemporaryDirectory(prefix="warmstall-fleet-", ignore_cleanup_errors=True) as scratch:
        try:
            if task.code != code_digest():
                raise OutputError("its worker has another warmstall than who asks; install the same on all.")
            listing = files_of(task.host)
            depends_on = signature(listing.files, task.code)
            before = note_of(out, host)
            if before and before["depends_on"] == depends_on:
                return {**before["row"], "outcome": AS_BEFORE}
            found, lines = _analysis(listing.here(Path(scratch, "evidence")), Path(scratch, "tables"))
            row, summary, tables = _results(host, found)
            size_bytes = sum(file.size_bytes for file in listing.files)
            row |= lines | {"files": len(listing.files), "input_bytes": size_bytes}
            return land(out, host, tables, row, summary, depends_on) | {"outcome": ANALYZED}
        except WarmstallError as error:
            return failed(host, str(error).replace(scratch, ""))
        except Exception as error:
            why = f"a fault of warmstall's own while reading it ({type(error).__name__}: {error}); please report it."
            return failed(host, why.replace(scratch, ""))


def failed(host: str, error: str) -> dict[str, Any]:
    """The row of a host that could not be read."""
    return {"host": host, "error": printable(error), "outcome": FAILED}


@cache
def code_digest() -> str:
    """Changes when any of the library's code does: results of different code are not mixed in one fleet."""
    digest = hashlib.sha256()
    root = Path(str(files("warmstall")))
    for path in sorted(path for ending in ("py", "sql") for path in root.rglob(f"*.{ending}")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _analysis(paths: list[Path], tables: Path) -> tuple[Analysis, dict[str, int]]:
    """The analysis of one host's evidence, and how many lines that had. Names in it do not tell where it was read."""
    from ..analysis import Analysis
    from ..case import Case, clocks_of
    from ..evidence import discover
    from ..ingest import ingest

    evidence = discover(paths)
    clocks = clocks_of(paths[0])
    if not paths[0].is_dir():
        evidence = [replace(item, name=item.path.name) for item in evidence]
    # Each worker reads a host by itself: more threads than workers only contend for the same cores.
    accounts = ingest(evidence, tables, workers=1)
    lines = {name: sum(account[name] for account in accounts) for name in ("lines", "unrecognized")}
    return Analysis(Case(tables, accounts, clocks)), lines


def _results(host: str, found: Analysis) -> tuple[dict[str, Any], Summary, dict[str, Iterable[pyarrow.Table]]]:
    """The small row of a host, the summary that compares it with others, and its tables, each in pieces."""
    import pandas as pd

    from .summaries import hosts_of

    servers = list(hosts_of(found))
    loads = found.loads()
    starts = [{"server": run.host, "source": run.source, "line": run.line, "at": run.started_at,
               "version": run.version} for timeline in found.timelines.values() for run in timeline.runs]  # fmt: skip
    versions = pd.DataFrame(starts, columns=["server", "source", "line", "at", "version"])
    versions["at"] = pd.to_datetime(versions["at"], utc=True)
    whole = {
        "loads": loads.rename(columns={"host": "server"}),
        "findings": pd.DataFrame(list(_findings(servers, found))),
        "settings": found.settings().rename(columns={"host": "server"}),
        "versions": versions,
    }
    tables: dict[str, Iterable[pyarrow.Table]] = {
        "requests": _in_pieces(found), **{name: [rows_of(name, frame)] for name, frame in whole.items()},
    }  # fmt: skip
    asked = found.inferences()["verdict"]
    failures = [server["rates"]["failed"][0] for server in servers if "failed" in server["rates"]]
    by_verdict = {verdict: int(count) for verdict, count in asked.value_counts().items() if count}
    row = {
        "host": host, "error": "", "servers": len(servers), "requests": len(asked), "failed": sum(failures),
        "loads": len(loads), "verdicts": dict(sorted(by_verdict.items())), "versions": found.versions(),
        "first_at": min((server["from_at"] for server in servers if server["from_at"]), default=""),
        "last_at": max((server["to_at"] for server in servers if server["to_at"]), default=""),
    }  # fmt: skip
    return row, {"path": host, "error": "", "hosts": servers}, tables


def _in_pieces(found: Analysis) -> Iterator[pyarrow.Table]:
    """The requests with their sentences, in the order of their table: those of a gigabyte of log at once are many."""
    import numpy as np
    import pyarrow

    def rank(column: pd.Series) -> Any:
        return column.cat.categories.argsort().argsort()[column.cat.codes]

    requests = found.verdicts()
    rows = np.lexsort((requests["line"], rank(requests["source"]), rank(requests["host"])))
    del requests
    for begin in range(0, max(1, len(rows)), _ROWS_OF_A_PIECE):
        columns, reasons = found.columns(rows[begin : begin + _ROWS_OF_A_PIECE])
        told = {"server": columns["host"], **columns}
        arrays = [reasons if name == "reason" else _array(told[name]) for name in TABLES["requests"]]
        yield pyarrow.Table.from_arrays(arrays, schema=schema("requests"))


def _array(column: Numbers | Words) -> pyarrow.Array:
    """A column as Parquet keeps it; numbers and times that are not known are null."""
    import pyarrow

    from ..judging.words import Words

    if not isinstance(column, Words):
        return pyarrow.array(column, from_pandas=True)
    names = pyarrow.array([*column.names, ""], pyarrow.string())
    return names.take(pyarrow.array(column.codes % len(names)))


def _findings(servers: list[Summary], found: Analysis) -> Iterator[dict[str, Any]]:
    at = found.newest_at
    for server in servers:
        for cause in server["causes"]:
            yield {"server": server["host"], "at": at.replace(tzinfo=None) if at else None} | cause
