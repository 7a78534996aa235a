"""Everything but server logs: read whole, one part of each table. Nothing of it is lost: lines are counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..evidence import Evidence, open_bytes
from ..parse.captures import parse_captures
from ..parse.encodings import decode, detect_encoding
from ..parse.trial_files import read_trial_file
from ..schema import STORED, TABLES
from .counts import iso
from .manifest import fingerprint, part_name, stat_of
from .parts import Staging, write_part

if TYPE_CHECKING:
    import polars
    import pyarrow

LARGEST_CAPTURE_BYTES = 512 * 1024 * 1024


def ingest_capture(item: Evidence, trial_columns: Mapping[str, str], staging: Staging) -> dict[str, Any]:
    """Bring the tables up to date with one capture; return its account."""
    stat = stat_of(item.path)
    with open_bytes(item.path) as handle:
        data = handle.read(LARGEST_CAPTURE_BYTES + 1)
    if len(data) > LARGEST_CAPTURE_BYTES:
        raise InputError(f"{item.path}: a capture of kind {item.kind} is read up to {LARGEST_CAPTURE_BYTES} bytes.")
    encoding = detect_encoding(data)
    if item.kind == "trial-file":
        parsed = read_trial_file(item.path, trial_columns or None)
        lines = max(parsed.lines, default=0)
    else:
        # Zeros separate the entries of an environment, so they stay here; parsers leave them out elsewhere.
        text = data.decode("utf-8", "replace") if encoding == "utf-8" else decode(data, encoding)
        parsed = parse_captures(item.kind, text, trial_columns or None)
        lines = text.removesuffix("\n").count("\n") + 1
    part = part_name(item, "0")
    captured_at = datetime.fromisoformat(item.captured_at) if item.captured_at else None
    times: list[datetime] = []
    for table, rows in parsed.tables.items():
        for row in rows:
            row |= {"host": item.host, "source": item.name}
            known = any(row.get(time) for time in ("at", "local_at", "before_at", "after_at"))
            if captured_at and "local_at" in TABLES[table] and not known:
                row["at"] = captured_at
            times += [at for at in (row.get("ended_at"), row.get("at")) if at]
        if rows:
            staging.add(write_part(staging.tables, table, part, typed_rows(table, rows)))
    recognized = len([number for number in parsed.lines if number <= lines])
    return {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": item.stream, "age": item.age,
        "encoding": encoding, "wrappers": [], "appendable": False,
        "parts": [part] if any(parsed.tables.values()) else [],
        "size": stat[0], "stat": stat, "fingerprint": fingerprint(item.path, stat[0]),
        "lines": lines, "recognized": recognized, "unrecognized": lines - recognized,
        "undecodable": 0, "first_at": iso(min(times, default=None)), "last_at": iso(max(times, default=None)),
        "offsets_s": [0] if times else [],
    }  # fmt: skip


def typed_rows(table: str, rows: list[dict[str, Any]]) -> polars.DataFrame:
    """Rows with the columns and types of their table, whatever they hold: what does not fit is left empty."""
    import polars
    import pyarrow

    types = {
        "VARCHAR": pyarrow.string(), "BIGINT": pyarrow.int64(), "INTEGER": pyarrow.int32(),
        "DOUBLE": pyarrow.float64(), "TIMESTAMP": pyarrow.timestamp("us"), "BOOLEAN": pyarrow.bool_(),
    }  # fmt: skip

    def column(name: str, kind: str) -> pyarrow.Array:
        values = [row.get(name) for row in rows]
        try:
            return pyarrow.array(values, types[kind])
        except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
            return pyarrow.array([_fitting(value, types[kind]) for value in values], types[kind])

    columns = TABLES[table] | STORED.get(table, {})
    return polars.DataFrame(pyarrow.table({name: column(name, kind) for name, kind in columns.items()}))


def _fitting(value: Any, kind: Any) -> Any:
    import pyarrow

    try:
        return pyarrow.scalar(value, kind)
    except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        return None
