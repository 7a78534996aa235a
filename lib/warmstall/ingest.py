"""Evidence to Parquet tables: every line accounted for, only new bytes read again.

The unit of work is a block: some megabytes of whole lines, with the number of its first line. A block
is parsed by DuckDB in one thread (`sql/ingest_*.sql`) and becomes one part file per table, so blocks can
run side by side and a later run continues where the last one stopped. `tables/ingest.json` remembers,
per file, how far it was read and what stood there (a fingerprint of samples of its bytes): a file that was
cut, replaced or rotated is read anew. New parts take the place of old ones at the end of a run, all at once.

Only candidate lines, those that hold the anchor of an event, ever reach Python.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from threading import local
from typing import IO, TYPE_CHECKING, Any

from .errors import InputError, OutputError
from .evidence import HEAD_BYTES, Evidence, checked_kind, is_compressed, open_bytes, reading
from .parse.application_log import holds_application_lines, parse_application_log
from .parse.captures import parse_captures
from .parse.encodings import decode, detect_encoding
from .parse.log_events import ANCHOR_PATTERN, FAMILIES, event_in
from .parse.trial_files import read_trial_file
from .parse.wrappers import (
    ANSI,
    WRAPPERS,
    Wrapper,
    end_of_whole_lines,
    is_json_wrapped,
    is_powershell_capture,
    join_cri_lines,
    join_powershell_lines,
    prefixes_in,
    unwrap_json_lines,
)
from .schema import TABLES

if TYPE_CHECKING:
    import duckdb
    import pyarrow

SCHEMA = 3
BLOCK_BYTES = 8 * 1024 * 1024
LONGEST_LINE_BYTES = 64 * 1024 * 1024
_LARGEST_CAPTURE_BYTES = 512 * 1024 * 1024
# Wrappers under which several services write into one log.
_MIXING = {"compose", "kubectl"}
_FINGERPRINT_BYTES = 4096
_FINGERPRINT_SPOTS = 16
_SAMPLED_LINES = 2000
_ISO = r"^\S*?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(?:Z|[+-]\d\d:?\d\d))"
_threads = local()


@dataclass(frozen=True)
class Block:
    """Whole lines of one file: their bytes, the number of the first, and the wrappers at the head of the file."""

    evidence: Evidence
    part: str
    first_line: int
    data: bytes
    encoding: str
    wrappers: list[str]


class _Staging:
    """Part files under provisional names: the tables stay as they were until a whole run has gone well."""

    def __init__(self, tables: Path) -> None:
        self.tables = tables
        self.written: dict[Path, Path] = {}
        for left_over in tables.glob("*.partial"):  # by a run that was killed
            left_over.unlink()

    def write(self, table: str, part: str, rows: pyarrow.Table) -> None:
        import pyarrow.parquet

        final = self.tables / f"{table}-{part}.parquet"
        provisional = final.with_suffix(".partial")
        self.written[provisional] = final
        with _writing(self.tables):
            pyarrow.parquet.write_table(rows, provisional, compression="zstd")

    def commit(self, sources: dict[str, dict[str, Any]], trial_columns: dict[str, str]) -> None:
        """Put the new parts in the place of the old ones. While that lasts there is no manifest: a run that
        is killed here leaves tables that the next one makes anew."""
        manifest = self.tables / "ingest.json"
        provisional = manifest.with_suffix(".partial")
        self.written[provisional] = manifest
        text = json.dumps({"schema": SCHEMA, "rows": _table_digest(trial_columns), "sources": sources}, indent=1)
        kept = {part for account in sources.values() for part in account["parts"]}
        kept -= {_part_of(final) for final in self.written.values()}
        with _writing(self.tables):
            provisional.write_text(text)
            manifest.unlink(missing_ok=True)
            for path in self.tables.glob("*.parquet"):
                if _part_of(path) not in kept:
                    path.unlink()
            for source, final in self.written.items():
                source.replace(final)

    def discard(self) -> None:
        for provisional in self.written:
            provisional.unlink(missing_ok=True)


@contextmanager
def _writing(tables: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise OutputError(f"{tables}: cannot write the tables ({reason}).") from error


def ingest(
    evidence: list[Evidence], tables: Path, workers: int | None = None, trial_columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Bring the tables up to date with the evidence; return one account per file.

    `trial_columns` says which column of a trial table plays which role, where its names do not tell.
    An account holds path, kind, host, stream, encoding, lines, recognized, unrecognized, undecodable,
    first_at, last_at, offsets_s. Raises InputError for a damaged file and OutputError when the tables
    cannot be written; the tables are then as they were before.
    """
    with _writing(tables):
        tables.mkdir(parents=True, exist_ok=True)
        staging = _Staging(tables)
    columns = dict(trial_columns or {})
    before = _read_manifest(tables, columns)
    try:
        with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
            after = {item.name: _ingest_one(item, before.get(item.name), columns, pool, staging) for item in evidence}
        if staging.written or after != before:
            staging.commit(after, columns)
    except BaseException:
        staging.discard()
        raise
    return list(after.values())


def _ingest_one(
    item: Evidence, before: dict[str, Any] | None, trial_columns: dict[str, str], pool: ThreadPoolExecutor,
    staging: _Staging,
) -> dict[str, Any]:  # fmt: skip
    with reading(item.path):
        if before is not None and _is_continued(item, before):
            if before["stat"] == _stat(item.path):
                return before
            if before["appendable"] and item.path.stat().st_size > before["size"]:
                return _ingest_log(item, before, pool, staging)
        if item.kind == "server-log":
            return _ingest_log(item, None, pool, staging)
        return _ingest_small(item, trial_columns, staging)


def _is_continued(item: Evidence, before: dict[str, Any]) -> bool:
    """Whether the file still begins with the bytes that were read before, and means the same."""
    same = all(before[name] == getattr(item, name) for name in ("kind", "host", "stream", "age"))
    return same and not item.is_stdin and _fingerprint(item.path, before["size"]) == before["fingerprint"]


def _stat(path: Path) -> list[int]:
    """What the file system says of a file; a change of its bytes changes one of these."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _ingest_log(
    item: Evidence, before: dict[str, Any] | None, pool: ThreadPoolExecutor, staging: _Staging
) -> dict[str, Any]:
    account: dict[str, Any] = dict(before) if before else {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": item.stream, "age": item.age,
        "encoding": "", "wrappers": [], "appendable": False, "parts": [], "size": 0, "stat": [], "fingerprint": "",
        "whole": {"offset": 0, "lines": 0, "counts": _no_counts()},
    }  # fmt: skip
    # The last line may have been read before it was complete; its part is always made anew.
    resume = account["whole"]
    tail = _part_name(item, "tail")
    whole, counts_of_tail = dict(resume["counts"]), _no_counts()
    parts = [part for part in account["parts"] if part != tail]
    offset, lines = resume["offset"], resume["lines"]
    if not item.is_stdin:  # before it is read: what is written meanwhile is for the next run
        account["stat"] = _stat(item.path)
        account["size"] = account["stat"][0]
    with open_bytes(item.path) as handle:
        head = b""
        if before:
            handle.seek(offset)
        else:
            head = handle.read(HEAD_BYTES)
            if item.is_stdin and checked_kind(head, "standard input") != "server-log":
                raise InputError("standard input: only a server log is read from it; give the file's name.")
            account |= _manner(item, head)
        pieces = _blocks if account["appendable"] or not _in_one_piece(account["encoding"], head) else _one_block
        for block, end, complete, counts in _in_order(pool, pieces(item, handle, head, account), staging):
            parts.append(block.part)
            if complete:
                whole = _add_counts(whole, counts)
                offset, lines = end, block.first_line - 1 + counts["lines"]
            else:
                counts_of_tail = counts
            if account["appendable"]:
                account["size"] = end
    account["whole"] = {"offset": offset, "lines": lines, "counts": whole}
    account["parts"] = parts
    account |= _add_counts(whole, counts_of_tail)
    if not item.is_stdin and _MIXING & set(account["wrappers"]):
        _ingest_neighbours(item, account, staging)
    if not item.is_stdin:
        account["fingerprint"] = _fingerprint(item.path, account["size"])
    return account


def _ingest_neighbours(item: Evidence, account: dict[str, Any], staging: _Staging) -> None:
    """Events of the other services whose lines stand between those of the server, as in a log of compose."""
    with open_bytes(item.path) as handle:
        data = handle.read(_LARGEST_CAPTURE_BYTES)
    text = decode(data, account["encoding"])
    if not holds_application_lines(text.split("\n")):
        return
    parsed = parse_application_log(text)
    rows = [row | {"host": item.host, "source": item.name} for row in parsed.tables["events"]]
    part = _part_name(item, "neighbours")
    if rows:
        staging.write("events", part, _arrow_table("events", rows))
        account["parts"] = [*(known for known in account["parts"] if known != part), part]
    # They were counted as lines that the server's table does not know.
    known_lines = min(len(parsed.lines), account["unrecognized"])
    account["recognized"] += known_lines
    account["unrecognized"] -= known_lines


def _manner(item: Evidence, head: bytes) -> dict[str, Any]:
    """How a log was written, judged by its first bytes."""
    encoding = detect_encoding(head)
    lines = decode(head, encoding).split("\n")
    if is_json_wrapped(lines[:50]):
        lines = unwrap_json_lines(lines)[0]
    appendable = not (item.is_stdin or is_compressed(item.path) or _in_one_piece(encoding, head))
    return {
        "encoding": encoding,
        "wrappers": [wrapper.name for wrapper in _wrappers_of(lines)],
        "appendable": appendable and encoding == "utf-8",
    }


def _in_one_piece(encoding: str, head: bytes) -> bool:
    """Newlines are two bytes in UTF-16, and records go over several lines in PowerShell; such captures are small."""
    return encoding.startswith("utf-16") or is_powershell_capture(decode(head, encoding).split("\n"))


def _one_block(
    item: Evidence, handle: IO[bytes], head: bytes, account: dict[str, Any]
) -> Iterator[tuple[Block, int, bool]]:
    data = decode(head + handle.read(), account["encoding"]).encode()
    if data:
        yield Block(item, _part_name(item, "0"), 1, data, "utf-8", account["wrappers"]), len(data), True


def _blocks(
    item: Evidence, handle: IO[bytes], head: bytes, account: dict[str, Any]
) -> Iterator[tuple[Block, int, bool]]:
    """Blocks with the offset where each ends and whether it ends with a complete line."""
    offset, lines = account["whole"]["offset"], account["whole"]["lines"]

    def block(part: str, data: bytes) -> Block:
        return Block(item, _part_name(item, part), lines + 1, data, account["encoding"], account["wrappers"])

    carry, fresh = b"", b"-"
    while fresh:
        fresh, head = head[:BLOCK_BYTES] or handle.read(BLOCK_BYTES), head[BLOCK_BYTES:]
        data = carry + fresh
        cut = end_of_whole_lines(data)
        if not cut and len(data) >= LONGEST_LINE_BYTES:
            cut = data.rfind(b"\n") + 1 or len(data)
        if cut and (len(data) >= BLOCK_BYTES or not fresh):
            whole = data[:cut]
            yield block(str(offset), whole), offset + cut, True
            offset += cut
            lines += whole.count(b"\n") or 1
            carry = data[cut:]
        else:
            carry = data
    if carry:
        yield block("tail", carry), offset + len(carry), False


def _in_order(
    pool: ThreadPoolExecutor, blocks: Iterator[tuple[Block, int, bool]], staging: _Staging
) -> Iterator[tuple[Block, int, bool, dict[str, Any]]]:
    """Parse blocks side by side, a few at a time, and give them back in the order of the file."""
    waiting: list[Any] = []
    for block, end, complete in blocks:
        waiting.append((block, end, complete, pool.submit(parse_block, block, staging)))
        if len(waiting) > 4:
            block, end, complete, future = waiting.pop(0)
            yield block, end, complete, future.result()
    for block, end, complete, future in waiting:
        yield block, end, complete, future.result()


def parse_block(block: Block, staging: _Staging) -> dict[str, Any]:
    """Write the parts of one block and return its counts. Depends on nothing but its arguments."""
    import pyarrow

    # The last newline goes first: a line of nothing but zeros is empty once it is decoded.
    lines = decode(block.data.removesuffix(b"\n"), block.encoding).split("\n")
    times: list[str | None] | None = None
    if is_json_wrapped(lines[:50]):
        lines, times = unwrap_json_lines(lines)
    elif is_powershell_capture(lines):
        lines = join_powershell_lines([line.rstrip("\r") for line in lines])
    # A block may hold no line whose content is known; it is then wrapped as the head of its file.
    wrappers = _wrappers_of(lines) or [wrapper for wrapper in WRAPPERS if wrapper.name in block.wrappers]
    if any(wrapper.name == "cri" for wrapper in wrappers):
        lines = join_cri_lines(lines)
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
    staging.write("requests", block.part, requests)
    staging.write("events", block.part, _event_rows(candidates, identity))
    return {
        "lines": counted["lines"],
        "recognized": counted["recognized"],
        "unrecognized": counted["unrecognized"],
        "undecodable": counted["undecodable"],
        "first_at": _iso(counted["first_at"]),
        "last_at": _iso(counted["last_at"]),
        "offsets_s": sorted(counted["offsets_s"] or []),
    }


def _wrappers_of(lines: list[str]) -> list[Wrapper]:
    return prefixes_in(line[:400] for line in lines[:: max(1, len(lines) // _SAMPLED_LINES)])


def _event_rows(candidates: list[tuple[Any, ...]], identity: dict[str, str]) -> pyarrow.Table:
    import pyarrow

    rows = []
    for line, text, anchor, slog_at, wrapper_at, before_at, after_at in candidates:
        if event := event_in(text, anchor):
            at = slog_at or wrapper_at
            rows.append((line, event.key, at, before_at, after_at, json.dumps(event.fields), text[:2000]))
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * 7
    stamp = pyarrow.timestamp("us")
    types = (pyarrow.int64(), pyarrow.string(), stamp, stamp, stamp, pyarrow.string(), pyarrow.string())
    names = ("line", "key", "at", "before_at", "after_at", "fields", "text")
    arrays = {name: pyarrow.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)}
    constant = {name: pyarrow.array([value] * len(rows), pyarrow.string()) for name, value in identity.items()}
    return pyarrow.table({**constant, **arrays, "local_at": pyarrow.nulls(len(rows), stamp)})


def _block_sql(wrappers: list[Wrapper]) -> str:
    """The block statement with its wrappers and families written in; both are tables of ours, not input."""
    source = (
        "SELECT line, rtrim(raw, chr(13)) AS raw, try_cast(time AS TIMESTAMPTZ)::TIMESTAMP AS wrapper_at FROM raw_lines"
    )
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


def _ingest_small(item: Evidence, trial_columns: Mapping[str, str], staging: _Staging) -> dict[str, Any]:
    """Everything but server logs: read whole, one part of each table. Nothing of it is lost: lines are counted."""
    stat = _stat(item.path)
    with open_bytes(item.path) as handle:
        data = handle.read(_LARGEST_CAPTURE_BYTES + 1)
    if len(data) > _LARGEST_CAPTURE_BYTES:
        raise InputError(f"{item.path}: a capture of kind {item.kind} is read up to {_LARGEST_CAPTURE_BYTES} bytes.")
    encoding = detect_encoding(data)
    if item.kind == "trial-file":
        parsed = read_trial_file(item.path, trial_columns or None)
        lines = max(parsed.lines, default=0)
    else:
        # Zeros separate the entries of an environment, so they stay here; parsers leave them out elsewhere.
        text = data.decode("utf-8", "replace") if encoding == "utf-8" else decode(data, encoding)
        parsed = parse_captures(item.kind, text, trial_columns or None)
        lines = text.removesuffix("\n").count("\n") + 1
    part = _part_name(item, "0")
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
            staging.write(table, part, _arrow_table(table, rows))
    recognized = len([number for number in parsed.lines if number <= lines])
    return {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": item.stream, "age": item.age,
        "encoding": encoding, "wrappers": [], "appendable": False,
        "parts": [part] if any(parsed.tables.values()) else [],
        "size": stat[0], "stat": stat, "fingerprint": _fingerprint(item.path, stat[0]),
        "lines": lines, "recognized": recognized, "unrecognized": lines - recognized,
        "undecodable": 0, "first_at": _iso(min(times, default=None)), "last_at": _iso(max(times, default=None)),
        "offsets_s": [0] if times else [],
    }  # fmt: skip


def _arrow_table(table: str, rows: list[dict[str, Any]]) -> pyarrow.Table:
    """Rows with the columns and types of their table, whatever they hold: what does not fit is left empty."""
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

    return pyarrow.table({name: column(name, kind) for name, kind in TABLES[table].items()})


def _fitting(value: Any, kind: Any) -> Any:
    import pyarrow

    try:
        return pyarrow.scalar(value, kind)
    except (pyarrow.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
        return None


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


def _part_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def _read_manifest(tables: Path, trial_columns: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What was read before; nothing when the tables are of another version or not all there."""
    try:
        saved = json.loads((tables / "ingest.json").read_text())
        if saved["schema"] != SCHEMA or saved["rows"] != _table_digest(trial_columns):
            return {}
        sources: dict[str, dict[str, Any]] = saved["sources"]
        wanted = {part for account in sources.values() for part in account["parts"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # derived data, made anew
    return sources if wanted <= {_part_of(path) for path in tables.glob("*.parquet")} else {}


def _table_digest(trial_columns: dict[str, str]) -> str:
    """Changes when the code that makes tables does, so that tables made with older code are not mixed with new ones."""
    digest = hashlib.sha256(json.dumps([TABLES, trial_columns]).encode())
    for folder in ("parse", "sql"):
        for file in sorted((files("warmstall") / folder).iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".sql")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _fingerprint(path: Path, size: int) -> str:
    """A digest of samples of the first `size` bytes: has what was read stayed as it was?"""
    digest = hashlib.sha256()
    last = max(0, size - _FINGERPRINT_BYTES)
    with path.open("rb") as handle:
        for spot in range(_FINGERPRINT_SPOTS + 1):
            handle.seek(last * spot // _FINGERPRINT_SPOTS)
            digest.update(handle.read(min(_FINGERPRINT_BYTES, size)))
    return digest.hexdigest()[:24]


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
