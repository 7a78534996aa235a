"""Trial tables: one call a row, as a client saw it, with Ollama's final-chunk metrics where it kept them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

_NEEDED = {"start_ts", "end_ts", "model", "endpoint", "status"}
_METRICS_NS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_LONGEST_FIELD = 16 * 1024 * 1024
_COUNTS = ("prompt_eval_count", "eval_count")


def is_trial_table(header: str) -> bool:
    """Whether this first line is the header of a trial table.

    >>> is_trial_table("start_ts,end_ts,model,endpoint,status,error,total_duration")
    True
    """
    return _NEEDED.issubset(name.strip() for name in header.strip().split(","))


def _utc(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.strip())
        return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    except (ValueError, OverflowError):
        return None


def parse_trials(text: str) -> list[dict[str, object]]:
    """The trials of a CSV table: times UTC, durations in seconds, absent values None.

    Columns: start_ts, end_ts, model, endpoint, status, error, and Ollama's metrics in nanoseconds.
    `status` empty means that no HTTP answer reached the client.

    >>> rows = parse_trials("start_ts,end_ts,model,endpoint,status,load_duration\\n"
    ...     "2026-11-20T20:49:03+00:00,2026-11-20T20:49:04+00:00,mid,/api/chat,200,290219730\\n")
    >>> rows[0]["wall_s"], rows[0]["load_duration_s"], rows[0]["line"]
    (1.0, 0.29021973, 2)
    """
    rows: list[dict[str, object]] = []
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        for record in reader:
            if row := _row(record, reader.line_num):
                rows.append(row)
    except csv.Error:  # not a table any more from here on; the lines count as unrecognized
        pass
    return rows


def _row(record: dict[str, str], line: int) -> dict[str, object] | None:
    started_at, ended_at = _utc(record.get("start_ts") or ""), _utc(record.get("end_ts") or "")
    if not started_at or not ended_at:
        return None
    row: dict[str, object] = {
        "line": line,
        "started_at": started_at,
        "ended_at": ended_at,
        "wall_s": (ended_at - started_at).total_seconds(),
        "model": record.get("model") or "",
        "path": record.get("endpoint") or "",
        "status": record.get("status") or "",
        "error": (record.get("error") or "")[:500],
    }
    for name in _METRICS_NS:
        value = _number(record.get(name))
        row[f"{name}_s"] = None if value is None else value / 1e9
    for name in _COUNTS:
        row[name] = _number(record.get(name))
    return row


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None
