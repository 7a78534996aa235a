"""Trials: calls to a model as a client recorded them, in whatever table or log it keeps.

The shapes of tables are in `trial_shapes`, the meaning of their columns in `trial_columns`, a record as a row
in `trial_rows`, the lines of client logs in `trial_log_lines`, and tables that are no text in `trial_files`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ..errors import InputError
from .parsed import Parsed
from .trial_columns import Columns, recognise, role_named
from .trial_log_lines import add_log_lines
from .trial_rows import reading_of_single_times, row_of
from .trial_shapes import tables_in
from .trial_table import Table
from .trial_values import text_of
from .wrappers import ANSI

_ANSI = re.compile(ANSI)
_HEAD_LINES = 4000
_CUT_HEAD = 256 * 1024
_FIELD = re.compile(r'"([\w. -]{1,60})"\s{0,4}:')
# The lists in which guidellm's report holds its requests, by how they went.
_OUTCOME_GROUPS = {"successful", "errored", "incomplete"}


def is_trials(lines: list[str], mapping: Mapping[str, str] | None = None) -> bool:
    """Whether a table of calls to a model, or a client's log of them, stands anywhere in these lines.

    A table that has all columns of a `mapping` is one. Raises InputError when that names an unknown role.

    >>> is_trials(["run_id,status,claimed_at,completed_at,latency_ms"])
    True
    >>> is_trials(['[GIN] 2026/11/20 - 20:49:03 | 200 | 1.2s | 127.0.0.1 | POST "/api/chat"'])
    False
    """
    head = lines[:_HEAD_LINES]
    found, ruled = Parsed(), Parsed()
    add_log_lines(head, found)
    for table in tables_in(head, (mapping or {}).values()):
        add_table(ruled if table.ruled else found, table, mapping or {})
        # A header without rows is a table too, but words of prose with commas between them are not.
        if (
            not table.records
            and len(recognise(table.columns).of) > 2
            and not any(" " in name for name in table.columns)
        ):
            return True
    # A document may hold a table of measurements; what holds little else is a capture.
    mostly_ruled = 2 * len(ruled.lines) >= sum(bool(line.strip()) for line in head)
    return bool(found.tables or (ruled.tables and mostly_ruled)) or _is_cut_json(head)


def _is_cut_json(head: list[str]) -> bool:
    """Whether this is the beginning of a JSON document whose fields are those of trials."""
    text = "\n".join(head)[:_CUT_HEAD].strip("\ufeff \t\r\n")
    if not text.startswith(("{", "[")) or text.endswith(("}", "]")):
        return False
    return recognise(list(dict.fromkeys(_FIELD.findall(text)))).is_trials


def parse_trials(text: str, mapping: Mapping[str, str] | None = None) -> Parsed:
    """The trials of a text: table `trials`, times UTC, durations in seconds, absent numbers None.

    `status` is the HTTP status, empty when no answer came or the client kept none; words such as `ok` are
    `outcome`. `time_from` says how start and end are known: "start and end", "start + wall", "end - wall",
    "assumed end - wall" and "assumed end" (a single time that may be either), "start only", "end only" or
    "none"; behind it ", zone unknown" for times without zone (they are given as they stand) and ", seconds
    assumed" for a latency whose unit nothing tells. A table whose rows have no name gets one from its first
    column, where that differs in every row.
    `mapping` (role -> column) overrides what is recognised; raises InputError for an unknown role or column.

    >>> text = "start_ts,end_ts,model,status\\n2026-11-20T20:49:03+00:00,2026-11-20T20:49:04+00:00,mid,200\\n"
    >>> row = parse_trials(text).tables["trials"][0]
    >>> row["wall_s"], row["time_from"], row["line"]
    (1.0, 'start and end', 2)
    """
    parsed = Parsed()
    lines = [_ANSI.sub("", line.rstrip("\r")) for line in text.split("\n")]
    mapping = mapping or {}
    for key in mapping:
        role_named(key)
    seen: list[Table] = []
    for table in tables_in(lines, mapping.values()):
        seen.append(table)
        add_table(parsed, table, mapping)
    check_mapping(mapping, seen)
    add_log_lines(lines, parsed)
    return parsed


def check_mapping(mapping: Mapping[str, str], tables: list[Table]) -> None:
    """Raise InputError, with the nearest column, when no table has the columns that the user named."""
    missing = [[role for role, column in mapping.items() if column not in table.columns] for table in tables]
    if mapping and not any(not roles for roles in missing):
        known = [column for table in tables for column in table.columns]
        role = min(missing, key=len)[0] if missing else next(iter(mapping))
        near = difflib.get_close_matches(mapping[role], known, 1, 0.0)
        hint = f'the nearest is "{near[0]}".' if near else "no table of trials was found."
        raise InputError(f'there is no column "{mapping[role]}" for {role}; {hint}')


def add_table(parsed: Parsed, table: Table, mapping: Mapping[str, str]) -> None:
    """Add the trials of one table; records that tell nothing of a call stay out, their lines uncounted."""
    stated = mapping if set(mapping.values()) <= set(table.columns) else {}
    columns = recognise(table.columns, table.records, stated, table.decimal_comma)
    if not stated and not columns.is_trials:
        return
    reading = reading_of_single_times(table.records, columns)
    naming = _naming_column(table, columns)
    for record, (first, last) in zip(table.records, table.lines, strict=True):
        if row := row_of(record, columns, reading):
            if naming:
                row["run_id"] = f"{naming}={text_of(record.get(naming))}"
            if not row["outcome"] and table.group in _OUTCOME_GROUPS:
                row["outcome"] = table.group
            parsed.add("trials", first, **row)
            parsed.understood(range(first, last + 1))
    if parsed.tables.get("trials") or not table.records:
        parsed.understood(table.head)


def _naming_column(table: Table, columns: Columns) -> str:
    """The first column, where no other names the rows, nothing else is known of it, and no two cells are alike."""
    first = table.columns[0]
    if "run_id" in columns.of or first in columns.of.values() or len(table.records) < 2:
        return ""
    cells = [text_of(record.get(first)) for record in table.records]
    return first if first and all(cells) and len(set(cells)) == len(cells) else ""
