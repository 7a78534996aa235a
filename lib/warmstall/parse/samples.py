"""Samples of `warmstall watch`: one JSON object a line, with rows of the case's tables as they were seen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..schema import TABLES
from .encodings import encodable
from .parsed import Parsed

# What a watch looks at; anything else in such a file is not its.
_SAMPLED = ("processes", "resident_models", "probes", "memory", "gpus", "trials")


def is_samples(lines: list[str]) -> bool:
    """Whether these lines are samples.

    >>> is_samples(['{"at": "2026-11-21T09:00:00+00:00", "rows": {}}'])
    True
    """
    return any(line.startswith('{"at": "') and ('"rows": {' in line or '"gap": {' in line) for line in lines[:5])


def parse_samples(text: str) -> Parsed:
    """All rows of all samples, at the time of their sample; gaps become rows of `probes` (endpoint `watch`).

    A line that is cut short, as by a kill, is left out.

    >>> sample = '{"at": "2026-11-21T09:00:00Z", "rows": {"processes": [{"pid": 7}]}}'
    >>> parse_samples(sample).tables["processes"][0]["pid"]
    7
    """
    parsed = Parsed()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            sample = json.loads(line)
            at = _utc(sample["at"])
            rows = [(table, row) for table, found in (sample.get("rows") or {}).items() for row in found]
            if gap := sample.get("gap"):
                detail = {"endpoint": "watch", "error": str(gap["reason"]), "wall_s": gap.get("seconds")}
                rows.append(("probes", detail))
            for problem in sample.get("problems") or ():
                rows.append(("probes", {"endpoint": "sample", "error": str(problem)}))
            clean = [(table, _row(table, row)) for table, row in rows if table in _SAMPLED]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        parsed.lines.add(number)
        for table, row in clean:
            columns = {"at": at, **row} if "at" in TABLES[table] else row
            parsed.add(table, number, **columns)
    return parsed


def _row(table: str, row: dict[str, Any]) -> dict[str, Any]:
    columns = TABLES[table]
    return {name: _value(row[name], columns[name]) for name in columns if name in row and name not in ("line", "at")}


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "TIMESTAMP":
        return _utc(value) if isinstance(value, str) else None
    if kind == "VARCHAR":
        return encodable(value if isinstance(value, str) else json.dumps(value))
    if isinstance(value, bool):
        return value if kind == "BOOLEAN" else None
    if kind == "DOUBLE":
        return float(value) if isinstance(value, int | float) else None
    return value if kind in ("BIGINT", "INTEGER") and isinstance(value, int) and abs(value) < 2**63 else None


def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
