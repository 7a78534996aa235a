"""What a parser of a small capture gives back: rows by table, and the lines that it understood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Parsed:
    """Rows by table (columns: `schema.TABLES`), and the numbers of all lines that were understood, from 1."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    lines: set[int] = field(default_factory=set)

    def add(self, table: str, line: int, **columns: Any) -> None:
        """One row, first seen in this line."""
        self.tables[table].append({"line": line, **columns})
        self.lines.add(line)

    def understood(self, lines: Iterable[int]) -> None:
        """Lines that belong to rows added already, such as headers."""
        self.lines.update(lines)
