"""Captures damaged as shells, editors and dying disks do it, and what must hold of whatever a parser makes of them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from warmstall.parse.parsed import Parsed
from warmstall.schema import TABLES

NOISE = st.sampled_from(
    ["", "\0", "\ud800", "{", "[", "]}", "|", "+---", "-", "9" * 25, "1e999", "NaN", "N/A", "...", "\t", "  ",
     "\x1b[31m", "null", '"', "²", "٣", "€", "=" * 80, "GPU", ":", ", ", "%", "\r", "[" * 5000, "0x1", "-1", "1.2.3"]
)  # fmt: skip
TYPES: dict[str, Any] = {"BIGINT": int, "DOUBLE": float, "VARCHAR": str, "TIMESTAMP": datetime, "BOOLEAN": bool}


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with a few lines cut, doubled, lost, moved, or with noise in them."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        within = draw(st.integers(0, len(lines[at])))
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["cut", "double", "lose", "move", "insert", "replace", "end"])):
            case "cut":
                lines[at] = lines[at][:within]
            case "double":
                lines.insert(other, lines[at])
            case "lose" if len(lines) > 1:
                del lines[at]
            case "move":
                lines[at], lines[other] = lines[other], lines[at]
            case "insert":
                lines[at] = lines[at][:within] + draw(NOISE | st.text(max_size=5)) + lines[at][within:]
            case "replace":
                words = lines[at].split(" ")
                words[within % len(words)] = draw(NOISE)
                lines[at] = " ".join(words)
            case "end":
                del lines[at + 1 :]
    return "\n".join(lines)


def check(parsed: Parsed, text: str) -> None:
    """Rows have the columns of their tables, values their types, and every row's line is among those understood."""
    assert parsed.lines <= set(range(1, text.count("\n") + 2))
    for table, rows in parsed.tables.items():
        columns = {name: kind for name, kind in TABLES[table].items() if name not in ("host", "source", "line")}
        for row in rows:
            assert row["line"] in parsed.lines
            assert set(row) == {"line", *columns}
            for name, kind in columns.items():
                value = row[name]
                if value is None:
                    continue
                assert type(value) is TYPES[kind], (table, name, value)
                if kind == "BIGINT":
                    assert -(2**63) <= value < 2**63
                if kind == "DOUBLE":
                    assert math.isfinite(value)
                if kind == "VARCHAR":
                    assert "\0" not in value.encode().decode()
                if kind == "TIMESTAMP":
                    assert value.tzinfo is None
