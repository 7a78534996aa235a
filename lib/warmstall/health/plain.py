"""A health report as plain JSON values, and back: what the notebook's kernel leaves for the command that concludes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import InputError
from .records import (
    Cause,
    Comparison,
    Drift,
    Exhaustion,
    HealthReport,
    Number,
    Objective,
    ObjectiveResult,
    Reason,
    Sli,
)

SCHEMA = 1
_PARTS: Mapping[str, type] = {
    "numbers": Number, "reasons": Reason, "slis": Sli, "objectives": ObjectiveResult, "comparisons": Comparison,
    "memory": Exhaustion, "drift": Drift, "causes": Cause,
}  # fmt: skip
_TIMES = ("from_at", "to_at", "written_at", "due_at")


def plain(value: Any) -> Any:
    """Records, mappings and sequences as what JSON holds: times as ISO 8601 with Z, what is no number as null.

    >>> plain(Number("requests", "1,039"))
    {'label': 'requests', 'text': '1,039'}
    >>> plain({"at": datetime(2026, 4, 7, 15, 30, tzinfo=UTC), "left_s": math.inf})
    {'at': '2026-04-07T15:30:00Z', 'left_s': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # numpy's numbers
        value = value.item()
    if isinstance(value, datetime):
        return _stamp(value) if value == value else None  # pandas' "not a time" is not equal to itself
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)


def report_of(values: Mapping[str, Any]) -> HealthReport:
    """The report that `plain` was made of. Raises InputError where the values are of another form."""
    try:
        if values["schema"] != SCHEMA:
            raise InputError(f"an assessment of schema {values['schema']}: expected {SCHEMA}. Run the report anew.")
        known = {field.name: values[field.name] for field in fields(HealthReport)}
        for name, kind in _PARTS.items():
            known[name] = tuple(_part(kind, item) for item in known[name])
        for name in _TIMES:
            known[name] = time_of(known[name])
        for name in ("hosts", "not_observed", "notes", "residency"):
            known[name] = tuple(known[name])
        return HealthReport(**known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"no assessment of a health report ({type(error).__name__}: {error}).") from error


def time_of(text: str) -> datetime:
    """An aware time, UTC. Raises ValueError where the text is none.

    >>> time_of("2026-04-07T15:30:00Z")
    datetime.datetime(2026, 4, 7, 15, 30, tzinfo=datetime.timezone.utc)
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text}: a time without a zone")
    return at.astimezone(UTC)


def _part(kind: type, item: Mapping[str, Any]) -> Any:
    values = {field.name: item[field.name] for field in fields(kind)}
    if kind is ObjectiveResult:
        values["objective"] = _part(Objective, values["objective"])
    if kind is Exhaustion:
        values["at"] = time_of(values["at"]) if values["at"] else None
        values["models"] = tuple(values["models"])
    return kind(**values)


def _stamp(at: datetime) -> str:
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
