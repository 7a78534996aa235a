"""Did clients get the same answers: statuses, errors, and the shape of the JSON?"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .differences import Difference, of_counts
from .recording import LEFT_OUT

Row = dict[str, Any]


def compare_answers(real: list[Row], drill: list[Row]) -> list[Difference]:
    """Rows of trials_raw.jsonl; the one of a number in either list is the same request."""
    found = []
    for where, numbers in groups(real).items():
        if any(n >= len(drill) or drill[n]["kind"] == "lost" for n in numbers):
            continue  # the replay tells that it was not sent
        here, there = ([_outcome(rows[n]) for n in numbers] for rows in (real, drill))
        found += of_counts(here, there, "api", where)
    here_shapes, there_shapes = _shapes(real), _shapes(drill)
    for where in sorted(here_shapes.keys() & there_shapes.keys()):
        here_all, there_all = (
            frozenset[str]().union(*shapes[where]) for shapes in (here_shapes, there_shapes)
        )  # fmt: skip
        found += of_counts(here_all, there_all, "api", f"keys of {where}")
    return found


def groups(rows: list[Row]) -> dict[str, list[int]]:
    """Numbers of the rows that are compared together: alone, or with others of the same sort that overlapped.

    Of requests that compete for one slot chance decides which waits and which is refused.
    """
    found: dict[str, list[int]] = {}
    timed = [n for n, row in enumerate(rows) if row.get("start_ts")]
    ends: dict[str, tuple[str, str]] = {}  # sort → (name of its open group, when that ends)
    for number in sorted(timed, key=lambda n: (rows[n]["start_ts"], n)):
        row = rows[number]
        sort = f"{row.get('path') or row.get('endpoint')} {re.sub(r'^worker.*', 'workers', str(row.get('tag') or ''))}"
        name, end = ends.get(sort, ("", ""))
        if not name or row["start_ts"] >= end:
            name, end = f"request {number} {sort}".strip(), ""
            found[name] = []
        found[name].append(number)
        ends[sort] = (name, max(end, row["end_ts"]))
    for number, row in enumerate(rows):
        if number not in timed:
            found[f"request {number} {row.get('path', row['kind'])}"] = [number]
    return found


def plain(error: str) -> str:
    """An error without numbers, digests, paths and model names that stand for another."""
    error = re.sub(r"/[\w./+@:-]{3,}", "PATH", error)
    error = re.sub(r"\b(?:sha256[-:])?[0-9a-f]{12,}\b", "#", error)
    return re.sub(r"\d+(?:\.\d+)*", "#", error)


def _outcome(row: Row) -> str:
    model = str((row.get("request") or {}).get("model", "")) if isinstance(row.get("request"), dict) else ""
    error = str(row.get("error") or "")
    if row["kind"] != "trial" and int(row.get("status") or 0) >= 400:
        error = str(row.get("body", ""))
    error = plain(error)
    for name in ("truncated", "bad_magic", "missing_blob", model):
        error = re.sub(rf"(?<=['\"]){name}(?=['\"])|^{name}(?= )", "MODEL", error) if name else error
    return f"{row.get('status')} {error[:300]}".strip()


def _shapes(rows: list[Row]) -> dict[str, set[frozenset[str]]]:
    found: dict[str, set[frozenset[str]]] = defaultdict(set)
    for row in rows:
        said: Any = row.get("final")
        if row["kind"] != "trial":
            try:
                said = json.loads(row.get("body") or "null")
            except ValueError:
                said = None
        if said and row.get("status"):
            reason = said.get("done_reason", "") if isinstance(said, dict) else ""
            where = f"{row.get('path') or row.get('endpoint')} {row['status']} {reason}".strip()
            found[where].add(frozenset(_paths(said)))
    return found


def _paths(said: Any, path: str = "") -> Iterator[str]:
    """Every key with the type of its value; what the recorder left out is left out."""
    if isinstance(said, dict):
        for name, value in said.items():
            if path or name not in LEFT_OUT:
                # A model's own facts have its architecture's names.
                yield from _paths(value, f"{path}.{name}" if path else name)
    elif isinstance(said, list):
        yield f"{path}: list"
        for value in said[:50]:
            yield from _paths(value, f"{path}[]")
    else:
        kinds = {bool: "true/false", int: "number", float: "number", str: "text", type(None): "null"}
        yield f"{path}: {kinds[type(said)]}"
