"""Process samples: a series of JSON lines with the server's process tree and what `/api/ps` answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .api_probes import resident
from .encodings import encodable
from .parsed import Parsed
from .tolerant import blank, number, whole, words


def is_process_samples(lines: list[str]) -> bool:
    """Whether one of these lines is a sample.

    >>> is_process_samples(['{"ts": "2026-11-20T20:49:03+00:00", "procs": []}'])
    True
    """
    return any(line.startswith("{") and '"ts"' in line and '"procs"' in line for line in lines)


def parse_process_samples(text: str) -> Parsed:
    """One look at the processes a line, and every few lines one at /api/ps. Lines that are no sample are left out.

    processes: `cpu_percent` is of one core, since the sample before. resident_models: one row a model.
    probes: endpoint /api/ps with status and wall_s, or the error when no answer came.

    >>> parsed = parse_process_samples('{"ts": "2026-11-20T20:49:03Z", "procs": [{"pid": 7, "vsz": 99}]}')
    >>> [(row["pid"], row["virtual_bytes"]) for row in parsed.tables["processes"]]
    [(7, 99)]
    """
    parsed = Parsed()
    for line_number, line in enumerate(text.split("\n"), 1):
        try:
            sample = json.loads(line)
            at = datetime.fromisoformat(sample["ts"]).astimezone(UTC).replace(tzinfo=None)
            processes = sample["procs"]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if not isinstance(processes, list) or not all(isinstance(process, dict) for process in processes):
            continue
        parsed.lines.add(line_number)
        for process in processes:
            parsed.add("processes", line_number, **blank("processes") | {"at": at} | _process(process))
        _add_answer(parsed, line_number, at, sample)
    return parsed


def _process(process: dict[str, Any]) -> dict[str, Any]:
    return {
        "pid": whole(process.get("pid")),
        "parent_pid": whole(process.get("ppid")),
        "role": encodable(str(process.get("role") or "")),
        "state": encodable(str(process.get("state") or "")),
        "cpu_percent": number(process.get("cpu_pct")),
        "rss_bytes": whole(process.get("rss")),
        "virtual_bytes": whole(process.get("vsz")),
        "threads": whole(process.get("threads")),
        "command": encodable(str(process.get("cmd") or process.get("comm") or "")),
    }


def _add_answer(parsed: Parsed, line_number: int, at: datetime, sample: dict[str, Any]) -> None:
    """What /api/ps answered, where it was asked."""
    latency_ms, status = number(sample.get("api_ps_latency_ms")), whole(sample.get("api_ps_status"))
    error = words(sample.get("api_ps_error"))
    if latency_ms is not None or status is not None or error:
        row = {
            "at": at, "endpoint": "/api/ps", "status": None if status is None else str(status), "error": error,
            "wall_s": None if latency_ms is None else latency_ms / 1000,
        }  # fmt: skip
        parsed.add("probes", line_number, **blank("probes") | row)
    answer = sample.get("api_ps")
    models = answer.get("models") if isinstance(answer, dict) else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict):
            parsed.add("resident_models", line_number, **blank("resident_models") | {"at": at} | resident(model))
