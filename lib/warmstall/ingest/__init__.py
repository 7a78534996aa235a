"""Evidence to Parquet tables: every line accounted for, only new bytes read again.

The unit of work is a block: some megabytes of whole lines, with the number of its first line. A block is parsed by
Polars (`block.py`), many lines at a time, and becomes one part file per table, so blocks can run side by side and a
later run continues where the last one stopped. `tables/ingest.json` remembers, per file, how far it was read and what
stood there (a fingerprint of samples of its bytes): a file that was cut, replaced or rotated is read anew. New parts
take the place of old ones at the end of a run, all at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..evidence import Evidence, reading
from .captures import ingest_capture
from .log import ingest_log
from .manifest import is_continued, read_manifest, stat_of
from .parts import Staging, writing

__all__ = ["ingest"]


def ingest(
    evidence: list[Evidence], tables: Path, workers: int | None = None, trial_columns: Mapping[str, str] | None = None,
    pool: Executor | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Bring the tables up to date with the evidence; return one account per file.

    `trial_columns` says which column of a trial table plays which role, where its names do not tell.
    Blocks are parsed by `workers` threads, one more than there are processors if nothing is said, or by `pool`, whose
    workers must see `tables` as this process does. If those are processes, they must not be forked from this one:
    Polars has threads, and would hang in them.
    An account holds path, kind, host, stream, encoding, lines, recognized, unrecognized, undecodable,
    first_at, last_at, offsets_s. Raises InputError for a damaged file and OutputError when the tables
    cannot be written; the tables are then as they were before.
    """
    with writing(tables):
        tables.mkdir(parents=True, exist_ok=True)
        staging = Staging(tables)
    columns = dict(trial_columns or {})
    before = read_manifest(tables, columns)
    try:
        own = ThreadPoolExecutor(workers or _default_workers()) if pool is None else nullcontext(pool)
        with own as executor:
            after = {
                item.name: _ingest_one(item, before.get(item.name), columns, executor, staging) for item in evidence
            }
        if staging.written or after != before:
            staging.commit(after, columns)
    except BaseException:
        staging.discard()
        raise
    return list(after.values())


def _default_workers() -> int:
    """One more than processors, as now and then a thread waits for Python; more than four have nothing to do."""
    return min(4, 1 + (os.cpu_count() or 1))


def _ingest_one(
    item: Evidence, before: dict[str, Any] | None, trial_columns: dict[str, str], pool: Executor,
    staging: Staging,
) -> dict[str, Any]:  # fmt: skip
    with reading(item.path):
        if before is not None and is_continued(item, before):
            if before["stat"] == stat_of(item.path):
                return before
            if before["appendable"] and item.path.stat().st_size > before["size"]:
                return ingest_log(item, before, pool, staging)
        if item.kind == "server-log":
            return ingest_log(item, None, pool, staging)
        return ingest_capture(item, trial_columns, staging)
