"""How many lines there were, and of which kinds, and the span and the zones of their clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

Counts = dict[str, Any]


def no_counts() -> Counts:
    return {
        "lines": 0, "recognized": 0, "unrecognized": 0, "undecodable": 0,
        "first_at": None, "last_at": None, "offsets_s": [],
    }  # fmt: skip


def add_counts(one: Counts, two: Counts) -> Counts:
    total = {name: one[name] + two[name] for name in ("lines", "recognized", "unrecognized", "undecodable")}
    first = [at for at in (one["first_at"], two["first_at"]) if at]
    last = [at for at in (one["last_at"], two["last_at"]) if at]
    offsets = sorted({*one["offsets_s"], *two["offsets_s"]})
    return {
        **total, "first_at": min(first, default=None), "last_at": max(last, default=None), "offsets_s": offsets,
    }  # fmt: skip


def iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") + "Z" if at else None
