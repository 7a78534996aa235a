"""The record of a collection: what was tried, what came of it, and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from .encodings import encodable
from .parsed import Parsed

_WORDS = ("collector", "step", "file", "outcome", "reason")


def is_collection_record(lines: list[str]) -> bool:
    """Whether these lines are the record of a collection.

    >>> is_collection_record(['{"collector": "memory", "step": "memory", "file": "memory.txt", "outcome": "captured"}'])
    True
    """
    return lines[0].startswith('{"collector": "') and '"outcome": "' in lines[0]


def parse_collection_record(text: str) -> Parsed:
    """Rows of `collection`, one a step; lines that are no record are left out.

    >>> parse_collection_record('{"collector": "GPU", "step": "rocm-smi", "outcome": "missing"}').tables["collection"]
    [{'line': 1, 'at': None, 'collector': 'GPU', 'step': 'rocm-smi', 'file': '', 'outcome': 'missing', 'reason': ''}]
    """
    parsed = Parsed()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            step = json.loads(line)
            at = datetime.fromisoformat(step["at"]).astimezone(UTC).replace(tzinfo=None) if step.get("at") else None
            words = {name: encodable(str(step.get(name) or "")) for name in _WORDS}
            numbers = {name: step[name] for name in ("wall_s", "bytes") if isinstance(step.get(name), int | float)}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
        parsed.add("collection", number, at=at, **words, **numbers)
    return parsed


def captured_at(text: str) -> dict[str, datetime]:
    """When each file of a collection was captured, by its name.

    >>> captured_at('{"collector": "GPU", "step": "x", "file": "a.txt", "at": "2026-11-21T09:00:00Z"}')["a.txt"].hour
    9
    """
    rows = parse_collection_record(text).tables["collection"]
    return {row["file"]: row["at"] for row in rows if row["file"] and row["at"]}
