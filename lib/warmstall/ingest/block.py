"""One block of a server log to the rows of two tables: every line accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from ..parse.log_events import FAMILIES
from ..schema import STORED, TABLES
from .access import ACCESS_MARK, other_requests, plain_requests
from .blocks import Block
from .counts import Counts, iso
from .events import found_events
from .lines import read_lines
from .moments import moments
from .parts import write_part

_TYPES: dict[str, Any] = {
    "VARCHAR": pl.String, "BIGINT": pl.Int64, "INTEGER": pl.Int32, "DOUBLE": pl.Float64,
    "TIMESTAMP": pl.Datetime("us"), "BOOLEAN": pl.Boolean,
}  # fmt: skip
_ACCESS, *_OTHERS = FAMILIES
_OTHERS.sort(key=lambda family: family.name not in ("slog", "runner", "runner_short"))  # most lines are of these
_SLOG_TIME = "time=([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[0-9.]*(?:Z|[+-][0-9]{2}:[0-9]{2}))"


def parse_block(block: Block, tables: Path) -> tuple[Counts, list[Path]]:
    """Write the parts of one block; return its counts and the provisional names of the parts.

    Depends on nothing but its arguments, so that threads, processes or other machines can run it.
    """
    lines = read_lines(block)
    marked = lines["text"].str.contains(ACCESS_MARK, literal=True)
    access, others = lines.filter(marked), lines.filter(~marked)
    recurring = pl.Categorical(pl.Categories.random())  # of this block, and gone with it
    requests, odd = plain_requests(access, recurring)
    is_access = odd["text"].str.contains(_ACCESS.pattern)
    if is_access.any():
        more = other_requests(odd.filter(is_access)).select(requests.columns).cast(requests.schema)
        requests = pl.concat([requests, more]).sort("line")
    searched = pl.concat([others, odd]).sort("line") if len(odd) else others  # where an event or a time may stand
    slog = _slog_times(searched)
    stamps = _stamps(lines, slog)
    zones = slog.filter(pl.col("offset_s").is_not_null()).select("line", "offset_s")
    requests = _between(requests, stamps).join_asof(zones, on="line")
    events = _between(found_events(searched), stamps).join(stamps.rename({"stamp_at": "at"}), on="line", how="left")
    nameless = _without_family(pl.concat([others, odd.filter(~is_access)])["text"])
    undecodable = int(nameless.str.contains("\ufffd", literal=True).sum())
    first_at, last_at = stamps.select(pl.min("stamp_at").alias("first"), pl.max("stamp_at").alias("last")).row(0)
    counts = {
        "lines": len(lines),
        "recognized": len(lines) - len(nameless),
        "unrecognized": len(nameless) - undecodable,
        "undecodable": undecodable,
        "first_at": iso(first_at),
        "last_at": iso(last_at),
        "offsets_s": sorted(slog["offset_s"].drop_nulls().unique()),
    }
    rows = {"requests": requests, "events": events}
    return counts, [
        write_part(tables, table, block.part, _rows(table, rows[table], block, recurring)) for table in rows
    ]


def _slog_times(lines: pl.DataFrame) -> pl.DataFrame:
    """The lines that carry the time of a slog record: `line`, `slog_at` (UTC) and `offset_s`, its zone."""
    slog = lines.filter(pl.col("text").str.contains("time=2", literal=True))
    return slog.select("line").hstack(moments(slog["text"].str.extract(_SLOG_TIME))).rename({"at": "slog_at"})


def _stamps(lines: pl.DataFrame, slog: pl.DataFrame) -> pl.DataFrame:
    """The clock of the block: `line` and `stamp_at` of every line with an absolute time, the record's own first."""
    if lines["wrapper_at"].null_count() == len(lines):
        stamps = slog.select("line", stamp_at="slog_at")
    else:
        stamps = lines.join(slog, on="line", how="left", maintain_order="left").select(
            "line", stamp_at=pl.coalesce("slog_at", "wrapper_at")
        )
    return stamps.filter(pl.col("stamp_at").is_not_null()).set_sorted("line")


def _between(rows: pl.DataFrame, stamps: pl.DataFrame) -> pl.DataFrame:
    """Rows with the nearest times before (or at) and after their lines."""
    rows = rows.set_sorted("line").join_asof(stamps.rename({"stamp_at": "before_at"}), on="line")
    after = stamps.rename({"stamp_at": "after_at"})
    return rows.join_asof(after, on="line", strategy="forward", allow_exact_matches=False)


def _without_family(texts: pl.Series) -> pl.Series:
    for family in _OTHERS:
        if texts.is_empty():
            break
        texts = texts.filter(~texts.str.contains(family.pattern))
    return texts


def _rows(table: str, rows: pl.DataFrame, block: Block, recurring: pl.Categorical) -> pl.DataFrame:
    """Rows with the columns and types of their table."""
    named = {"host": block.evidence.host, "source": block.evidence.name}
    columns = TABLES[table] | STORED.get(table, {})
    missing = {name: pl.lit(None, dtype=_TYPES[kind]) for name, kind in columns.items() if name not in rows.columns}
    constants = {name: pl.lit(value).cast(recurring) for name, value in named.items()}
    rows = rows.with_columns(**missing | constants).select(*columns)
    return rows.cast({name: _TYPES[kind] for name, kind in columns.items() if rows.schema[name] != recurring})
