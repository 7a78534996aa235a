"""Process samples: a series of JSON lines with the server's process tree and what `/api/ps` answered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from .encodings import encodable


def is_process_samples(line: str) -> bool:
    """Whether this first line is one sample.

    >>> is_process_samples('{"ts": "2026-11-20T20:49:03+00:00", "procs": []}')
    True
    """
    return line.startswith("{") and '"ts"' in line and '"procs"' in line


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else _whole(value)


def parse_process_samples(lines: Iterable[str]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Rows of the processes table and of the resident_models table. Lines that do not parse are left out.

    processes: line, at, pid, parent_pid, role (serve or runner), state, cpu_percent, rss_bytes, command.
    resident_models: line, at, model, size_bytes, vram_bytes, expires_at.
    """
    processes: list[dict[str, object]] = []
    residents: list[dict[str, object]] = []
    for number, line in enumerate(lines, 1):
        try:
            sample = json.loads(line)
            at = datetime.fromisoformat(sample["ts"]).astimezone(UTC).replace(tzinfo=None)
            for process in sample.get("procs") or []:
                processes.append(
                    {
                        "line": number,
                        "at": at,
                        "pid": _whole(process.get("pid")),
                        "parent_pid": _whole(process.get("ppid")),
                        "role": encodable(str(process.get("role") or "")),
                        "state": encodable(str(process.get("state") or "")),
                        "cpu_percent": _number(process.get("cpu_pct")),
                        "rss_bytes": _whole(process.get("rss")),
                        "command": encodable(str(process.get("cmd") or process.get("comm") or "")),
                    }
                )
            for model in (sample.get("api_ps") or {}).get("models") or []:
                expires = model.get("expires_at")
                residents.append(
                    {
                        "line": number,
                        "at": at,
                        "model": encodable(str(model.get("name") or "")),
                        "size_bytes": _whole(model.get("size")),
                        "vram_bytes": _whole(model.get("size_vram")),
                        "expires_at": datetime.fromisoformat(expires).astimezone(UTC).replace(tzinfo=None)
                        if expires
                        else None,
                    }
                )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            continue
    return processes, residents
