"""Evidence to Parquet tables: every line accounted for, only new bytes read again.

The unit of work is a block: some megabytes of whole lines, with the number of its first line. A block
is parsed by DuckDB in one thread (`sql/ingest_*.sql`) and becomes one part file per table, so blocks can
run side by side and a later run continues where the last one stopped. `tables/ingest.json` remembers,
per file, how far it was read and what stood there (a fingerprint of its first and last bytes): a file
that was cut, replaced or rotated is read anew.

Only candidate lines, those that hold the anchor of an event, ever reach Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from threading import local
from typing import IO, TYPE_CHECKING, Any

from .errors import InputError, OutputError
from .evidence import Evidence, is_compressed, open_bytes
from .parse.encodings import decode, detect_encoding
from .parse.log_events import ANCHOR_PATTERN, FAMILIES, event_in
from .parse.process_samples import parse_process_samples
from .parse.trials import parse_trials
from .parse.wrappers import (
    ANSI,
    Wrapper,
    is_json_wrapped,
    is_powershell_capture,
    join_powershell_lines,
    prefixes_in,
    unwrap_json,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow

SCHEMA = 1
BLOCK_BYTES = 8 * 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024 * 1024
_FINGERPRINT_BYTES = 4096
_SAMPLED_LINES = 2000
_ISO = r"^\S*?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:?\d\d))"
_threads = local()


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: their text, and the number of the first."""

    evidence: Evidence
    part: str
    first_line: int
    data: bytes
    encoding: str


def ingest(evidence: list[Evidence], tables: Path, workers: int | None = None) -> list[dict[str, Any]]:
    """Bring the tables up to date with the evidence; return one account per file.

    An account holds path, kind, host, stream, encoding, lines, recognized, unrecognized, undecodable,
    first_at, last_at, offsets_s. Raises InputError for a damaged file and OutputError when the tables
    cannot be written, after taking back what was written in this run.
    """
    manifest = _read_manifest(tables)
    accounts, written = [], []
    wanted = {item.name for item in evidence}
    try:
        tables.mkdir(parents=True, exist_ok=True)
        for name in set(manifest) - wanted:
            _drop_parts(tables, manifest.pop(name))
        with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
            for item in evidence:
                account = _ingest_one(item, tables, manifest.get(item.name), pool, written)
                manifest[item.name] = account
                accounts.append(account)
        _write_manifest(tables, manifest)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise OutputError(f"{tables}: cannot write the tables ({error.strerror or error}).") from error
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return accounts


def _ingest_one(
    item: Evidence, tables: Path, before: dict[str, Any] | None, pool: ThreadPoolExecutor, written: list[Path]
) -> dict[str, Any]:
    if before is not None and not item.is_stdin and _fingerprint(item.path, before["size"]) == before["fingerprint"]:
        if item.path.stat().st_size == before["size"]:
            return before
        if item.kind == "server-log" and before["encoding"] == "utf-8" and not before["compressed"]:
            return _ingest_log(item, tables, before, pool, written)
    if before is not None:
        _drop_parts(tables, before)
    if item.kind == "server-log":
        return _ingest_log(item, tables, None, pool, written)
    return _ingest_small(item, tables, written)


def _ingest_log(
    item: Evidence, tables: Path, before: dict[str, Any] | None, pool: ThreadPoolExecutor, written: list[Path]
) -> dict[str, Any]:
    account: dict[str, Any] = before or {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": item.stream, "age": item.age,
        "encoding": "", "compressed": False, "parts": [], "size": 0, "fingerprint": "",
        "whole": {"offset": 0, "lines": 0, "counts": _no_counts()},
    }  # fmt: skip
    # The last line may have been read before it was complete; its part is always made anew.
    resume = account["whole"]
    tail = _part_name(item, "tail")
    whole = dict(resume["counts"])
    parts = [part for part in account["parts"] if part != tail]
    offset, lines = resume["offset"], resume["lines"]
    with _open_log(item) as handle:
        if not item.is_stdin:
            account["compressed"] = is_compressed(item.path)
            if offset:
                handle.seek(offset)
        head, encoding = b"", account["encoding"]
        if not encoding:
            head = handle.read(64 * 1024)
            encoding = account["encoding"] = detect_encoding(head)
        blocks = _blocks(item, handle, head, offset, lines, encoding)
        counts_of_tail = _no_counts()
        for block, end, complete, counts in _in_order(pool, blocks, tables, written):
            parts.append(block.part)
            if complete:
                whole = _add_counts(whole, counts)
                offset, lines = end, block.first_line - 1 + counts["lines"]
            else:
                counts_of_tail = counts
    account["whole"] = {"offset": offset, "lines": lines, "counts": whole}
    account["parts"] = parts
    account |= _add_counts(whole, counts_of_tail)
    if not item.is_stdin:
        account["size"] = item.path.stat().st_size
        account["fingerprint"] = _fingerprint(item.path, account["size"])
    return account


@contextmanager
def _open_log(item: Evidence) -> Iterator[IO[bytes]]:
    try:
        with open_bytes(item.path) as handle:
            yield handle
    except (EOFError, zlib.error) as error:
        raise InputError(f"{item.path}: the compressed file is cut short or damaged ({error}).") from None
    except Exception as error:
        if type(error).__name__ in ("ZstdError", "BadGzipFile"):
            raise InputError(f"{item.path}: the compressed file is cut short or damaged ({error}).") from None
        raise


def _blocks(
    item: Evidence, handle: IO[bytes], head: bytes, offset: int, lines: int, encoding: str
) -> Iterator[tuple[Block, int, bool]]:
    """Blocks with the offset where each ends and whether it ends with a complete line."""
    if encoding.startswith("utf-16"):
        # Newlines are two bytes there; such captures are small, and are read in one piece.
        text = decode(head + handle.read(), encoding)
        data = text.encode()
        complete = data.endswith(b"\n")
        yield Block(item, _part_name(item, "0" if complete else "tail"), 1, data, "utf-8"), len(data), complete
        return
    carry = head
    while True:
        fresh = handle.read(BLOCK_BYTES)
        data = carry + fresh
        cut = data.rfind(b"\n") + 1
        if not fresh:
            break
        if not cut and len(data) < LONGEST_LINE_BYTES:
            carry = data
            continue
        cut = cut or len(data)
        block = Block(item, _part_name(item, str(offset)), lines + 1, data[:cut], encoding)
        offset += cut
        lines += data.count(b"\n", 0, cut) or 1
        yield block, offset, True
        carry = data[cut:]
    if cut:
        block = Block(item, _part_name(item, str(offset)), lines + 1, data[:cut], encoding)
        offset += cut
        lines += data.count(b"\n", 0, cut)
        yield block, offset, True
    if data[cut:]:
        yield Block(item, _part_name(item, "tail"), lines + 1, data[cut:], encoding), offset + len(data) - cut, False


def _in_order(
    pool: ThreadPoolExecutor, blocks: Iterator[tuple[Block, int, bool]], tables: Path, written: list[Path]
) -> Iterator[tuple[Block, int, bool, dict[str, Any]]]:
    """Parse blocks side by side, a few at a time, and give them back in the order of the file."""
    waiting: list[Any] = []
    for block, end, complete in blocks:
        waiting.append((block, end, complete, pool.submit(parse_block, block, tables, written)))
        if len(waiting) > 4:
            block, end, complete, future = waiting.pop(0)
            yield block, end, complete, future.result()
    for block, end, complete, future in waiting:
        yield block, end, complete, future.result()


def parse_block(block: Block, tables: Path, written: list[Path]) -> dict[str, Any]:
    """Write the parts of one block and return its counts. Depends on nothing but its arguments."""
    import pyarrow

    text = decode(block.data, block.encoding)
    lines = text.removesuffix("\n").split("\n")
    times: list[str | None] | None = None
    if is_json_wrapped(lines[:50]):
        unwrapped = [unwrap_json(line) for line in lines]
        lines, times = [pair[0] for pair in unwrapped], [pair[1] for pair in unwrapped]
    elif is_powershell_capture(lines):
        lines = join_powershell_lines([line.rstrip("\r") for line in lines])
    step = max(1, len(lines) // _SAMPLED_LINES)
    wrappers = prefixes_in(line[:400] for line in lines[::step])
    raw = pyarrow.table(
        {
            "line": pyarrow.array(range(block.first_line, block.first_line + len(lines)), pyarrow.int64()),
            "raw": pyarrow.array(lines, pyarrow.large_string()),
            "time": pyarrow.array(times or [None] * len(lines), pyarrow.string()),
        }
    )
    connection = _connection()
    connection.register("raw_lines", raw)
    for statement in _block_sql(wrappers).split(";\n"):
        connection.execute(statement, {"ansi": ANSI} if "$ansi" in statement else None)
    identity = {"host": block.evidence.host, "source": block.evidence.name}
    requests = connection.sql(_sql("ingest_requests"), params=identity).to_arrow_table()
    candidates = connection.sql(_sql("ingest_candidates"), params={"anchors": ANCHOR_PATTERN}).fetchall()
    counted = connection.sql(_sql("ingest_counts")).to_arrow_table().to_pylist()[0]
    connection.unregister("raw_lines")
    _write_part(tables, "requests", block.part, requests, written)
    _write_part(tables, "events", block.part, _event_rows(candidates, identity), written)
    return {
        "lines": counted["lines"],
        "recognized": counted["recognized"],
        "unrecognized": counted["unrecognized"],
        "undecodable": counted["undecodable"],
        "first_at": _iso(counted["first_at"]),
        "last_at": _iso(counted["last_at"]),
        "offsets_s": sorted(counted["offsets_s"] or []),
    }


def _event_rows(candidates: list[tuple[Any, ...]], identity: dict[str, str]) -> pyarrow.Table:
    import pyarrow

    rows = []
    for line, text, anchor, slog_at, wrapper_at, before_at, after_at in candidates:
        if event := event_in(text, anchor):
            at = slog_at or wrapper_at
            rows.append((line, event.key, at, before_at, after_at, json.dumps(event.fields), text[:2000]))
    columns = list(zip(*rows, strict=True)) or [[]] * 7
    stamp = pyarrow.timestamp("us")
    types = (pyarrow.int64(), pyarrow.string(), stamp, stamp, stamp, pyarrow.string(), pyarrow.string())
    names = ("line", "key", "at", "before_at", "after_at", "fields", "text")
    arrays = {name: pyarrow.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)}
    constant = {name: pyarrow.array([value] * len(rows), pyarrow.string()) for name, value in identity.items()}
    return pyarrow.table({**constant, **arrays})


def _block_sql(wrappers: list[Wrapper]) -> str:
    """The block statement with its wrappers and families written in; both are tables of ours, not input."""
    source = "SELECT line, rtrim(raw, chr(13)) AS raw, try_cast(time AS TIMESTAMPTZ)::TIMESTAMP AS wrapper_at FROM raw_lines"
    if wrappers:
        # Colours come off first: compose paints its prefix.
        source = f"SELECT line, regexp_replace(raw, {_quoted(ANSI)}, '', 'g') AS raw, wrapper_at FROM ({source})"
    for wrapper in wrappers:
        source = (
            "SELECT line, substr(raw, length(prefix) + 1) AS raw, "
            f"coalesce(wrapper_at, try_cast(nullif(regexp_extract(prefix, {_quoted(_ISO)}, 1), '') AS TIMESTAMPTZ)"
            f"::TIMESTAMP) AS wrapper_at FROM (SELECT *, regexp_extract(raw, {_quoted(wrapper.pattern)}) AS prefix "
            f"FROM ({source}))"
        )
    families = " ".join(
        f"WHEN regexp_matches(text, {_quoted(family.pattern)}) THEN '{family.name}'" for family in FAMILIES
    )
    return _sql("ingest_block").replace("{unwrapped}", source).replace("{families}", families)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ingest_small(item: Evidence, tables: Path, written: list[Path]) -> dict[str, Any]:
    """Trial tables and process samples: read whole, one part each."""
    import pyarrow

    with _open_log(item) as handle:
        data = handle.read()
    encoding = detect_encoding(data)
    text = decode(data, encoding)
    part = _part_name(item, "0")
    if item.kind == "trials":
        results = {"trials": parse_trials(text)}
    else:
        processes, residents = parse_process_samples(text.splitlines())
        results = {"processes": processes, "resident_models": residents}
    for table, rows in results.items():
        for row in rows:
            row |= {"host": item.host, "source": item.name}
        if rows:
            _write_part(tables, table, part, pyarrow.Table.from_pylist(rows), written)
    lines = len(text.splitlines())
    recognized = len({row["line"] for rows in results.values() for row in rows})
    recognized += item.kind == "trials"  # its header
    times = [at for rows in results.values() for row in rows if (at := row.get("ended_at") or row.get("at"))]
    return {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": "", "age": 0, "encoding": encoding,
        "compressed": False, "parts": [part], "size": item.path.stat().st_size,
        "fingerprint": _fingerprint(item.path, item.path.stat().st_size),
        "lines": lines, "recognized": min(recognized, lines), "unrecognized": lines - min(recognized, lines),
        "undecodable": 0, "first_at": _iso(min(times, default=None)), "last_at": _iso(max(times, default=None)),
        "offsets_s": [0] if times else [],
    }  # fmt: skip


def _connection() -> duckdb.DuckDBPyConnection:
    """One single-threaded DuckDB per worker thread, kept between blocks."""
    import duckdb

    if not hasattr(_threads, "connection"):
        _threads.connection = duckdb.connect(config={"threads": 1, "allocator_background_threads": False})
        _threads.connection.execute("SET TimeZone = 'UTC'")
    connection: duckdb.DuckDBPyConnection = _threads.connection
    return connection


def _sql(name: str) -> str:
    return (files("warmstall") / "sql" / f"{name}.sql").read_text()


def _part_name(item: Evidence, suffix: str) -> str:
    """Part files are named by a digest, because a path of the evidence may hold anything."""
    return f"{hashlib.sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-{suffix}"


def _write_part(tables: Path, table: str, part: str, rows: pyarrow.Table, written: list[Path]) -> None:
    import pyarrow.parquet

    path = tables / f"{table}-{part}.parquet"
    written.append(path)
    temporary = path.with_suffix(".partial")
    try:
        pyarrow.parquet.write_table(rows, temporary, compression="zstd")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _drop_parts(tables: Path, account: dict[str, Any]) -> None:
    for part in account["parts"]:
        for path in tables.glob(f"*-{part}.parquet"):
            path.unlink()


def _read_manifest(tables: Path) -> dict[str, dict[str, Any]]:
    path = tables / "ingest.json"
    try:
        saved = json.loads(path.read_text())
        if saved["schema"] == SCHEMA and saved["rows"] == _table_digest():
            sources: dict[str, dict[str, Any]] = saved["sources"]
            return sources
    except (OSError, ValueError, KeyError):
        pass
    for stale in tables.glob("*.parquet"):  # of another version, or half written: derived data, made anew
        stale.unlink()
    return {}


def _write_manifest(tables: Path, sources: dict[str, dict[str, Any]]) -> None:
    path = tables / "ingest.json"
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps({"schema": SCHEMA, "rows": _table_digest(), "sources": sources}, indent=1))
    temporary.replace(path)


def _table_digest() -> str:
    """Changes when the log table does, so that tables made with an older one are not mixed with new ones."""
    text = ANCHOR_PATTERN + "".join(family.pattern for family in FAMILIES)
    text += "".join(_sql(name) for name in ("ingest_block", "ingest_requests", "ingest_candidates"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fingerprint(path: Path, size: int) -> str:
    """A digest of the first bytes of a file and of those before `size`: has what was read stayed as it was?"""
    with path.open("rb") as handle:
        head = handle.read(min(_FINGERPRINT_BYTES, size))
        handle.seek(max(0, size - _FINGERPRINT_BYTES))
        tail = handle.read(min(_FINGERPRINT_BYTES, size))
    return hashlib.sha256(head + b"|" + tail).hexdigest()[:24]


def _no_counts() -> dict[str, Any]:
    return {
        "lines": 0, "recognized": 0, "unrecognized": 0, "undecodable": 0,
        "first_at": None, "last_at": None, "offsets_s": [],
    }  # fmt: skip


def _add_counts(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    total = {name: one[name] + two[name] for name in ("lines", "recognized", "unrecognized", "undecodable")}
    first = [at for at in (one["first_at"], two["first_at"]) if at]
    last = [at for at in (one["last_at"], two["last_at"]) if at]
    offsets = sorted({*one["offsets_s"], *two["offsets_s"]})
    return {
        **total, "first_at": min(first, default=None), "last_at": max(last, default=None), "offsets_s": offsets,
    }  # fmt: skip


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") + "Z" if at else None
