"""Open a case: what an Ollama host left behind, as tables that can be asked.

A case is a folder; a bare log or a folder of captures is treated as one. Evidence becomes Parquet tables
(`ingest/`), and the tables are views of an in-memory DuckDB. Times are UTC.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .archives import unpacked
from .errors import OutputError
from .event_fields import fields_in
from .evidence import JOURNAL_KIND, Evidence, discover
from .ingest import ingest
from .schema import TABLES

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# Requests that run a model; everything else is bookkeeping.
INFERENCE_PATHS = (
    r"^/(api/(generate|chat|embed|embeddings)|v1/(completions|chat/completions|embeddings|messages|responses))/?$"
)


def sample_incident() -> Path:
    """The folder of the incident that ships with the project: a runner that stands still while its model is warm."""
    package = Path(__file__).resolve().parent
    in_repository = package.parents[1] / "data" / "incidents" / "warm-stall-runner-stopped"
    return in_repository if in_repository.is_dir() else package / "sample_incident"


def write_case(
    evidence: list[Evidence], folder: Path, tables: Path, clocks: Clocks | None = None,
    trial_columns: Mapping[str, str] | None = None,
) -> Case:  # fmt: skip
    """Bring the tables up to date with the evidence, and leave a case.json in `folder` that names both.

    `trial_columns` says which column of a trial table plays which role, where its names do not tell.
    Raises OutputError when the folder cannot be written.
    """
    clocks = clocks or Clocks()
    accounts = ingest(evidence, tables, trial_columns=trial_columns)
    evidence_of = _case_folder(evidence)
    note = {
        "schema": 1,
        "tables": os.path.relpath(tables, folder),
        "case": os.path.relpath(evidence_of, folder) if evidence_of else "",
        "clocks": asdict(clocks),
        "evidence": [{"path": str(item.path), "kind": item.kind, "host": item.host} for item in evidence],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "case.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    return Case(tables, accounts, clocks, evidence_of)


def _case_folder(evidence: list[Evidence]) -> Path | None:
    """The case that all of this lies in, where it is the evidence of one case."""
    paths = [item.path for item in evidence if item.kind != JOURNAL_KIND]
    folders = {next((folder for folder in reversed(path.parents) if path.is_relative_to(folder / "evidence")), None)
               for path in paths}  # fmt: skip
    return folders.pop() if len(folders) == 1 else None


def open_case(path: str | Path, assumed_offset_s: int | None = None) -> Case:
    """Open a case, a folder of captures, an archive of one, or a single log.

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
    if note and "tables" in note and (manifest := path / note["tables"] / "ingest.json").exists():
        accounts = list(json.loads(manifest.read_text(encoding="utf-8"))["sources"].values())
        clocks = Clocks(**note.get("clocks", {}))
        return Case(
            manifest.parent,
            accounts,
            replace(clocks, stated_s=assumed_offset_s) if assumed_offset_s is not None else clocks,
            (path / str(note["case"])).resolve() if note.get("case") else None,
        )
    scratch = tempfile.TemporaryDirectory(prefix="warmstall-")
    [path] = unpacked([path], Path(scratch.name, "unpacked"))
    evidence = discover([path])
    tables = Path(scratch.name, "tables")
    accounts = ingest(evidence, tables)
    case = Case(tables, accounts, clocks_of(path, assumed_offset_s), _case_folder(evidence))
    case._scratch = scratch
    return case


def clocks_of(folder: Path, stated_s: int | None = None) -> Clocks:
    """The zones and clocks that the note of a case tells; what is not of its form is passed over."""
    note = _read_note(folder)
    zones = {host: int(offset) for host, offset in _numbers(note.get("zones_s")) if abs(offset) <= 86400}
    ahead = note.get("clock_ahead_s")
    pairs = {str(host): dict(_numbers(dict(enumerate(pair)))) for host, pair in ahead.items()
             if isinstance(pair, list)} if isinstance(ahead, dict) else {}  # fmt: skip
    measured = {host: (pair["0"], pair["1"]) for host, pair in pairs.items() if {"0", "1"} <= pair.keys()}
    hosts = note.get("hosts")
    if isinstance(hosts, list) and (found := re.fullmatch(r"([+-])(\d\d):(\d\d)", str(note.get("zone") or ""))):
        seconds = (-1 if found[1] == "-" else 1) * (3600 * int(found[2]) + 60 * int(found[3]))
        zones = {str(host): seconds for host in hosts} | zones
    return Clocks(stated_s, zones, measured)


def _numbers(values: object) -> list[tuple[str, float]]:
    """The entries of a JSON object that are numbers."""
    if not isinstance(values, dict):
        return []
    return [(str(name), value) for name, value in values.items() if type(value) in (int, float) and isfinite(value)]


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


@dataclass(frozen=True)
class Clocks:
    """What is known of the hosts' clocks beside the evidence itself: a zone that the user states (seconds east of
    UTC), zones by host as a collection noted them, how far a host's clock was ahead of the collector's, ± s, and
    what the user states is to be added to a host's times to get the server's."""

    stated_s: int | None = None
    zones_s: Mapping[str, int] = field(default_factory=dict)
    measured_s: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    offsets_s: Mapping[str, float] = field(default_factory=dict)

    def assumed_s(self, host: str) -> int:
        """The zone of local times where the evidence tells none."""
        return self.stated_s if self.stated_s is not None else self.zones_s.get(host, 0)

    def zone_from(self, host: str) -> str:
        """Whether the case notes it, or it is assumed (as the user states it, or for want of anything better)."""
        return "case" if self.stated_s is None and host in self.zones_s else "assumed"


@dataclass(frozen=True)
class Period:
    """After `from_at` up to and with `to_at`, naive UTC. `kept` are stretches of lines from before that still hold,
    as (source, first line, last line): how the server was started, and the loads of models that were in memory."""

    from_at: datetime
    to_at: datetime
    kept: tuple[tuple[str, int, int], ...] = ()


# What was seen at a moment belongs to the period of that moment; what was found set stays so until another look.
_LOOKS = ("processes", "resident_models", "probes", "gpus", "gpu_processes", "slots")
_STATES = ("limits", "settings", "models", "containers", "gpu_links", "collection")
# When each row was known, where its table has no "at" that says so.
_KNOWN_AT = {
    "events": 'coalesce("at", before_at, after_at)',
    "trials": "coalesce(ended_at, started_at + to_microseconds((coalesce(wall_s, 0) * 1e6)::BIGINT))",
    "spans": "coalesce(ended_at, started_at)",
    "mitigations": '"at"',
    **dict.fromkeys((*_LOOKS, *_STATES, "memory"), '"at"'),
}


def _narrow(connection: duckdb.DuckDBPyConnection, period: Period, tables: Collection[str]) -> None:
    """Put a view that tells only of the period before the view of each of these tables."""
    connection.execute("CREATE TABLE kept_lines (source VARCHAR, first_line BIGINT, last_line BIGINT)")
    if period.kept:
        connection.executemany("INSERT INTO kept_lines VALUES (?, ?, ?)", [list(lines) for lines in period.kept])
    after, until = (f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}'" for at in (period.from_at, period.to_at))
    for table in _KNOWN_AT.keys() & tables:
        known_at = _KNOWN_AT[table]
        within = f"{known_at} > {after} AND {known_at} <= {until}"
        if table in _STATES:
            within = f"{known_at} <= {until}"
        elif table == "memory":
            # Counters tell by how they differ from the look before.
            before = f'SELECT host, origin, max("at") FROM every_memory WHERE "at" <= {after} GROUP BY host, origin'
            within = f'({within}) OR (host, origin, "at") IN ({before})'
        elif table == "events":
            within = f"({within}) OR EXISTS (FROM kept_lines AS kept WHERE kept.source = every_events.source "
            within += "AND every_events.line BETWEEN first_line AND last_line)"
        kind = connection.execute("SELECT table_type FROM information_schema.tables WHERE table_name = ?", [table])
        kind_name = "VIEW" if (kind.fetchone() or [""])[0] == "VIEW" else "TABLE"
        connection.execute(f"ALTER {kind_name} {table} RENAME TO every_{table}")
        connection.execute(f"CREATE VIEW {table} AS FROM every_{table} WHERE {known_at} IS NULL OR {within}")


def _as_stored(table: str) -> str:
    """The rows of a table as its files have them, or what makes up for the columns that they leave out."""
    query = files("warmstall") / "sql" / f"stored_{table}.sql"
    return f"({query.read_text().strip()})" if query.is_file() else "{parts}"


class Case:
    """One incident's tables, and what is computed from them. Made by `open_case`."""

    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def __init__(
        self, tables: Path, accounts: list[dict[str, Any]], clocks: Clocks | None = None, folder: Path | None = None
    ) -> None:
        self.tables = tables
        self.folder = folder  # of the case that the evidence lies in; None for a bare log or a folder of captures
        self.clocks = clocks or Clocks()
        self.period: Period | None = None  # set by `narrowed`
        self.accounts = sorted(accounts, key=lambda a: (a["stream"], -a["age"], a["first_at"] or "", a["path"]))

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view per table: read-only, and no lock on the files."""
        return self.connect(*TABLES)

    def connect(self, *tables: str) -> duckdb.DuckDBPyConnection:
        """The same with a view of these tables only. What a big sort took is given back when it is closed."""
        import duckdb
        from duckdb.func import ARROW

        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.create_function("fields_in", fields_in, ["VARCHAR", "VARCHAR"], "VARCHAR", type=ARROW)
        connection.execute("CREATE TABLE zones (host VARCHAR, offset_s INTEGER)")
        connection.executemany(
            "INSERT INTO zones VALUES (?, ?)", [list(zone) for zone in self.zones().items()] or [[None, 0]]
        )
        for table in tables:
            columns = TABLES[table]
            view = "access_lines" if table == "requests" else table
            if self.parts(table):
                # The folder's own name may hold what DuckDB takes for a pattern.
                folder = re.sub(r"([*?\[])", r"[\1]", str(self.tables))
                quoted = f"{folder}/{table}-*.parquet".replace("'", "''")
                rows = _as_stored(table).replace("{parts}", f"read_parquet('{quoted}', union_by_name = true)")
                if "local_at" in columns:
                    # What a capture shows in its host's own time.
                    moment = 'coalesce("at", local_at - to_seconds(coalesce(zones.offset_s, 0)))'
                    rows = f'(SELECT t.* REPLACE ({moment} AS "at") FROM {rows} AS t LEFT JOIN zones USING (host))'
                connection.execute(f"CREATE VIEW {view} AS FROM {rows}")
            else:
                described = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
                connection.execute(f"CREATE TABLE {view} ({described})")
        if self.period:
            _narrow(connection, self.period, tables)
        return connection

    def parts(self, table: str) -> list[Path]:
        """The Parquet files of a table."""
        return sorted(self.tables.glob(f"{table}-*.parquet"))

    def narrowed(self, period: Period) -> Case:
        """The same case with nothing in its views but what was written in that period, and what it keeps from before.

        Access lines are not narrowed here: when a request ended is known only once its clock is.
        """
        case = Case(self.tables, self.accounts, self.clocks, self.folder)
        case._scratch, case.period = self._scratch, period
        return case

    def zones(self) -> dict[str, int]:
        """Seconds east of UTC by host: as stated, as the host's logs show, as the case notes, or taken for UTC."""
        shown = {account["host"]: account["offsets_s"][-1] for account in self.accounts
                 if account["kind"] == "server-log" and account["offsets_s"]}  # fmt: skip
        hosts = {account["host"] for account in self.accounts}
        noted = self.clocks.zone_from
        # A server in a container may write in UTC where its host does not.
        return {host: self.clocks.assumed_s(host) if noted(host) == "case" or self.clocks.stated_s is not None
                else shown.get(host, 0) for host in sorted(hosts)}  # fmt: skip

    @cached_property
    def event_counts(self) -> Mapping[str, int]:
        """How many events of each kind the evidence holds."""
        return dict(self.connection.sql("SELECT key, count(*) FROM events GROUP BY key").fetchall())

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
        if table in TABLES and not self.parts(table):
            return []
        order = {account["path"]: number for number, account in enumerate(self.accounts)}
        found = self.connection.sql(f"FROM {table} WHERE {where} ORDER BY source, line").to_arrow_table()
        rows: list[dict[str, Any]] = found.to_pylist()
        return sorted(rows, key=lambda row: (order.get(row["source"], 0), row["line"]))
