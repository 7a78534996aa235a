"""A table of trials before its columns are understood, whatever it was written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .trial_columns import recognise


@dataclass
class Table:
    """Records of one table: cells by column, the first and last line of each, and where it stood."""

    columns: list[str]
    records: list[dict[str, Any]] = field(default_factory=list)
    lines: list[tuple[int, int]] = field(default_factory=list)
    head: set[int] = field(default_factory=set)
    decimal_comma: bool = False
    ruled: bool = False
    # The name of the list that held the records, such as guidellm's `errored`.
    group: str = ""


def is_wanted(columns: Sequence[str], wanted: set[str], records: Sequence[Mapping[str, Any]] = ()) -> bool:
    """Whether these are columns of trials, or have among them all that the user named."""
    return bool(wanted and wanted <= set(columns)) or recognise(columns, records).is_trials
