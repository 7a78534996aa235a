"""The tables that a text holds, whatever they are written in: CSV and its kin, JSON, JSON lines, Markdown.

A table's first line is found anywhere in the text, so that one capture may hold several, with prose between.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from .trial_documents import Documents, begins_json
from .trial_table import Table, is_wanted

_LONGEST_FIELD = 16 * 1024 * 1024
_LONGEST_HEADER = 4000
_SEPARATORS = ",;\t|"
_RULE = frozenset(" \t\r|:+-")
_DECIMAL_COMMA = re.compile(r"[+-]?\d{1,9}(?:\.\d{3})*,\d{1,9}")
_ENDS_A_TABLE = ("```", "{", "| ")


def tables_in(lines: Sequence[str], wanted: Iterable[str] = ()) -> Iterator[Table]:
    """Every table of trials in these lines; with `wanted`, also any table that has all of these columns.

    >>> [table.records for table in tables_in(["# run 1", "model,latency_ms", "mid,850", "", "done"])]
    [[{'model': 'mid', 'latency_ms': '850'}]]
    """
    wanted = set(wanted)
    documents = Documents(lines)
    at = 0
    while at < len(lines):
        line = lines[at]
        table = None
        if begins_json(line):
            found, at = documents.read(at, wanted)
            yield from found
            continue
        if "|" in line and at + 1 < len(lines) and "-" in lines[at + 1] and set(lines[at + 1]) <= _RULE:
            table, at = _ruled(lines, at, wanted)
        elif separated := _header(lines[at], wanted):
            table, at = _delimited(lines, at, *separated)
        else:
            at += 1
        if table:
            yield table


def _header(line: str, wanted: set[str]) -> tuple[list[str], str] | None:
    """The column names in a line that heads a table of trials, and what separates them."""
    line = line.strip("\ufeff\r\n ")
    if len(line) > _LONGEST_HEADER:
        return None
    for separator in _SEPARATORS:
        if separator not in line:
            continue
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
        except (csv.Error, StopIteration):
            continue
        if len(names) > 1 and all(_is_name(name) for name in names) and is_wanted(names, wanted):
            return names, separator
    return None


def _is_name(text: str) -> bool:
    # An index column has no name.
    return len(text) <= 60 and not any(char in text for char in '={}"') and (not text or any(map(str.isalpha, text)))


def _delimited(lines: Sequence[str], at: int, names: list[str], separator: str) -> tuple[Table, int]:
    table = Table(names, head={at + 1})
    csv.field_size_limit(_LONGEST_FIELD)
    quotes, end = 0, at + 1

    def body() -> Iterator[str]:
        nonlocal quotes, end
        for line in lines[at + 1 :]:
            if quotes % 2 == 0 and line.startswith(_ENDS_A_TABLE):
                return
            quotes += line.count('"')
            end += 1
            # A carriage return within a line is no end of a line.
            yield line[:-1].replace("\r", " ") + line[-1:] + "\n"

    reader = csv.reader(body(), delimiter=separator, skipinitialspace=f"{separator} " in lines[at])
    first = at + 2
    try:
        for cells in reader:
            last = at + 1 + reader.line_num
            if len(cells) > 1:
                if all(_is_name(cell.strip()) for cell in cells) and (other := _header(lines[first - 1], set())):
                    if other[0] != names:  # another table begins
                        end = first - 1
                        break
                    table.head.add(first)
                else:
                    table.records.append(dict(zip(names, cells, strict=False)))
                    table.lines.append((first, last))
            first = last + 1
    except csv.Error:  # not a table any more from here on; the lines count as unrecognized
        pass
    table.decimal_comma = _has_decimal_comma(table, separator)
    return table, end


def _has_decimal_comma(table: Table, separator: str) -> bool:
    return separator == ";" and any(
        isinstance(cell, str) and len(cell) < 40 and _DECIMAL_COMMA.fullmatch(cell.strip())
        for record in table.records[:500]
        for cell in record.values()
    )


def _ruled(lines: Sequence[str], at: int, wanted: set[str]) -> tuple[Table | None, int]:
    """A Markdown table, or one that psql has drawn: a header, a rule, rows."""
    names = _cells(lines[at])
    table = Table(names, head={at + 1, at + 2}, ruled=True)
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        if len(cells := _cells(lines[end])) == len(names):
            table.records.append(dict(zip(names, cells, strict=True)))
            table.lines.append((end + 1, end + 1))
        end += 1
    return (table if is_wanted(names, wanted, table.records) else None), end


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().strip("*`").strip() for cell in line.split("|")]
