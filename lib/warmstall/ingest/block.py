"""One block of a server log to the rows of two tables: every line accounted for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from ..parse.log_events import FAMILIES
from ..schema import STORED, TABLES
from .access import ACCESS_MARK, other_requests, plain_requests
from .blocks import Block
from .counts import Counts, iso
from .distinct import each_once, with_more
from .events import found_events
from .families import without_family
from .lines import read_lines
from .parts import write_part
from .slog import cut_times

_TYPES: dict[str, Any] = {
    "VARCHAR": pl.String, "BIGINT": pl.Int64, "INTEGER": pl.Int32, "DOUBLE": pl.Float64,
    "TIMESTAMP": pl.Datetime("us"), "BOOLEAN": pl.Boolean,
}  # fmt: skip
_ACCESS = FAMILIES[0]


def parse_block(block: Block, tables: Path) -> tuple[Counts, list[Path]]:
    """Write the parts of one block; return its counts and the provisional names of the parts.

    Depends on nothing but its arguments, so that threads, processes or other machines can run it.
    """
    counts, rows = _rows_of(block)  # the lines are gone before the parts are made
    return counts, [write_part(tables, table, block.part, rows[table]) for table in rows]


def _rows_of(block: Block) -> tuple[Counts, dict[str, pl.DataFrame]]:
    lines = read_lines(block)
    requests, others = plain_requests(lines)
    searched, slog = cut_times(others)  # where an event or a time may stand
    searched = searched.hstack(each_once(searched["rest"], _found))
    accesses = _other_accesses(others, searched.filter("is_marked"))
    if len(accesses):
        requests = with_more(requests, other_requests(accesses)).sort("line")
    stamps = _stamps(lines, slog)
    requests = _between(requests, stamps).collect()
    events = searched.filter(pl.col("key").is_not_null()).sort("line")
    own = pl.when(pl.col("line") == pl.col("before_line")).then("before_at")
    events = _between(events, stamps.drop("offset_s")).with_columns(at=own).collect()
    others = searched.filter(pl.col("offset_s").is_null())
    if len(accesses):
        others = others.join(accesses, on="line", how="anti")
    nameless = without_family(others["rest"])
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
    return counts, {table: _typed(table, rows, block) for table, rows in (("requests", requests), ("events", events))}


def _found(texts: pl.Series) -> pl.DataFrame:
    """The event of each text, and whether an access line may stand in it."""
    found = found_events(texts).cast(pl.Categorical(pl.Categories.random()))  # of this block, and gone with it
    return found.with_columns(is_marked=texts.str.contains(ACCESS_MARK, literal=True))


def _other_accesses(lines: pl.DataFrame, marked: pl.DataFrame) -> pl.DataFrame:
    """Those of the marked lines that are access lines."""
    if marked.is_empty():
        return lines.clear()
    lines = lines.join(marked, on="line", how="semi")
    return lines.filter(lines["text"].str.contains(_ACCESS.pattern))


def _stamps(lines: pl.DataFrame, slog: pl.DataFrame) -> pl.DataFrame:
    """The clock of the block: `line` and `stamp_at` of every line with an absolute time, the record's own first, and
    `offset_s`, the last zone that was told until then."""
    if lines["wrapper_at"].null_count() == len(lines):
        stamps = slog.lazy().select("line", "offset_s", stamp_at="slog_at")
    else:
        stamps = (
            lines.lazy()
            .join(slog.lazy(), on="line", how="left", maintain_order="left")
            .select("line", pl.col("offset_s").forward_fill(), stamp_at=pl.coalesce("slog_at", "wrapper_at"))
        )
    return stamps.filter(pl.col("stamp_at").is_not_null()).collect().set_sorted("line")


def _between(rows: pl.DataFrame, stamps: pl.DataFrame) -> pl.LazyFrame:
    """Rows with the nearest times before (or at) and after their lines, and what else is known of the time before."""
    before = stamps.lazy().rename({"stamp_at": "before_at"}).with_columns(before_line="line")
    after = stamps.lazy().select("line", after_at="stamp_at")
    known = rows.lazy().set_sorted("line").join_asof(before, on="line")
    return known.join_asof(after, on="line", strategy="forward", allow_exact_matches=False)


def _typed(table: str, rows: pl.DataFrame, block: Block) -> pl.DataFrame:
    """Rows with the columns and types of their table, where recurring texts may be told by number."""
    named = {"host": block.evidence.host, "source": block.evidence.name}
    constants = {name: pl.lit(value, dtype=pl.Enum([value])).alias(name) for name, value in named.items()}
    kinds = {name: kind for name, kind in _types(table).items() if name in rows.columns}
    kept = {name: pl.col(name) if kind == pl.String else pl.col(name).cast(kind) for name, kind in kinds.items()}
    return rows.select((_unknown(table) | kept | constants).values())


@cache
def _types(table: str) -> dict[str, Any]:
    return {name: _TYPES[kind] for name, kind in (TABLES[table] | STORED.get(table, {})).items()}


@cache
def _unknown(table: str) -> dict[str, pl.Expr]:
    """The columns of a table where nothing is known of them."""
    return {name: pl.lit(None, dtype=kind).alias(name) for name, kind in _types(table).items()}
