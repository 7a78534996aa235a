"""A server log to parts of tables: only what is new in it is read again."""

from __future__ import annotations

import re
from concurrent.futures import Executor
from datetime import datetime
from typing import Any

from ..errors import InputError
from ..evidence import HEAD_BYTES, Evidence, checked_kind, is_compressed, open_bytes
from ..parse.application_log import holds_application_lines, parse_application_log
from ..parse.encodings import decode, detect_encoding
from ..parse.wrappers import is_json_wrapped, is_powershell_capture, unwrap_json_lines
from .blocks import blocks_of, in_order, one_block
from .captures import LARGEST_CAPTURE_BYTES, typed_rows
from .counts import add_counts, no_counts
from .manifest import fingerprint, part_name, stat_of
from .parts import Staging, write_part

# Wrappers under which several services may write into one log.
_MIXING = {"compose", "kubectl", "journald", "journald-iso", "journald-full"}
# The server's own lines in a journal, which are most of it.
_OF_THE_SERVER = re.compile(r"^[^\[\n]{0,120} ollama\[[0-9]+\]: .*", re.MULTILINE)


def ingest_log(item: Evidence, before: dict[str, Any] | None, pool: Executor, staging: Staging) -> dict[str, Any]:
    account: dict[str, Any] = dict(before) if before else {
        "path": item.name, "kind": item.kind, "host": item.host, "stream": item.stream, "age": item.age,
        "encoding": "", "wrappers": [], "appendable": False, "parts": [], "size": 0, "stat": [], "fingerprint": "",
        "whole": {"offset": 0, "lines": 0, "counts": no_counts()},
    }  # fmt: skip
    # The last line may have been read before it was complete; its part is always made anew.
    resume = account["whole"]
    tail = part_name(item, "tail")
    whole, counts_of_tail = dict(resume["counts"]), no_counts()
    parts = [part for part in account["parts"] if part != tail]
    offset, lines = resume["offset"], resume["lines"]
    if not item.is_stdin:  # before it is read: what is written meanwhile is for the next run
        account["stat"] = stat_of(item.path)
        account["size"] = account["stat"][0]
    with open_bytes(item.path) as handle:
        head = b""
        if offset:
            handle.seek(offset)
        else:  # of a file that held no whole line nothing was known
            head = handle.read(HEAD_BYTES)
            if item.is_stdin and checked_kind(head, "standard input") != "server-log":
                raise InputError("standard input: only a server log is read from it; give the file's name.")
            account |= _manner(item, head)
        pieces = blocks_of if account["appendable"] or not _in_one_piece(account["encoding"], head) else one_block
        for block, end, complete, counts in in_order(pool, pieces(item, handle, head, account), staging):
            parts.append(block.part)
            if complete:
                whole = add_counts(whole, counts)
                offset, lines = end, block.first_line - 1 + counts["lines"]
            else:
                counts_of_tail = counts
            if account["appendable"]:
                account["size"] = end
    account["whole"] = {"offset": offset, "lines": lines, "counts": whole}
    account["parts"] = parts
    account |= add_counts(whole, counts_of_tail)
    if not item.is_stdin and _MIXING & set(account["wrappers"]) and account["unrecognized"]:
        _ingest_neighbours(item, account, staging)
    if not item.is_stdin:
        account["fingerprint"] = fingerprint(item.path, account["size"])
    return account


def _ingest_neighbours(item: Evidence, account: dict[str, Any], staging: Staging) -> None:
    """Events of the other services whose lines stand between those of the server, as in a log of compose."""
    with open_bytes(item.path) as handle:
        data = handle.read(HEAD_BYTES)
        if not holds_application_lines(decode(data, account["encoding"]).split("\n")):
            return
        data += handle.read(LARGEST_CAPTURE_BYTES - len(data))
    last = datetime.fromisoformat(account["last_at"]) if account["last_at"] else None  # tells the year of the others
    text = _OF_THE_SERVER.sub("", decode(data, account["encoding"]))
    parsed = parse_application_log(text, last and last.replace(tzinfo=None))
    rows = [row | {"host": item.host, "source": item.name} for row in parsed.tables["events"]]
    part = part_name(item, "neighbours")
    if rows:
        staging.add(write_part(staging.tables, "events", part, typed_rows("events", rows)))
        account["parts"] = [*(known for known in account["parts"] if known != part), part]
    # They were counted as lines that the server's table does not know.
    known_lines = min(len(parsed.lines), account["unrecognized"])
    account["recognized"] += known_lines
    account["unrecognized"] -= known_lines


def _manner(item: Evidence, head: bytes) -> dict[str, Any]:
    """How a log was written, judged by its first bytes."""
    import polars

    from .lines import wrappers_of

    encoding = detect_encoding(head)
    lines = decode(head, encoding).split("\n")
    if is_json_wrapped(lines[:50]):
        lines = unwrap_json_lines(lines)[0]
    appendable = not (item.is_stdin or is_compressed(item.path) or _in_one_piece(encoding, head))
    return {
        "encoding": encoding,
        "wrappers": [wrapper.name for wrapper in wrappers_of(polars.Series(lines))],
        "appendable": appendable and encoding == "utf-8",
    }


def _in_one_piece(encoding: str, head: bytes) -> bool:
    """Newlines are two bytes in UTF-16, and records go over several lines in PowerShell; such captures are small."""
    return encoding.startswith("utf-16") or is_powershell_capture(decode(head, encoding).split("\n"))
