"""The journal of a runbook's runs: one JSON line an event, on the clock of the host that the runbook acted on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .encodings import encodable
from .parsed import Parsed

# Where the sentence of an event stands, and what its outcome is called.
_SENTENCES = ("sentence", "result", "reason", "does", "why", "summary")
_OUTCOMES = ("outcome", "when", "mode")
# What only the first line of a run tells holds for all its lines.
_OF_THE_RUN = ("runbook", "target", "operator")


def is_mitigation_journal(lines: list[str]) -> bool:
    """Whether these lines are a journal: the first is an entry or, where that one is torn, most of them are.

    >>> is_mitigation_journal(['{"journal": 1, "at": "2026-11-21T02:14:00Z", "run": "a1", "event": "run_started"}'])
    True
    """
    entries = [_entry(line) is not None for line in lines[:50] if line.strip()]
    return any(entries[:1]) or 2 * sum(entries) > len(entries)


def parse_mitigation_journal(text: str) -> Parsed:
    """Rows of `mitigations`, one an event; a line that is no whole entry is left out.

    >>> line = '{"journal": 1, "at": "2026-11-21T02:14:00Z", "run": "a1", "event": "undo_done", "step": "restart"}'
    >>> parse_mitigation_journal(line).tables["mitigations"][0]["step"]
    'restart'
    """
    parsed = Parsed()
    runs: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if (found := _entry(line)) is None:
            continue
        entry, at = found
        run, event = _text(entry["run"]), _text(entry["event"])
        if event == "run_started":
            runs[run] = {name: _text(entry.get(name)) for name in _OF_THE_RUN}
        measures = {_text(name): float(value) for name, value in _object(entry.get("measures")).items()
                    if isinstance(value, int | float) and not isinstance(value, bool)}  # fmt: skip
        parsed.add(
            "mitigations", number, at=at, run=run, event=event, step=_text(entry.get("step")),
            does=_text(entry.get("does")), sentence=_first(entry, _SENTENCES), outcome=_first(entry, _OUTCOMES),
            restarts=entry.get("restarts") is True, measures=json.dumps(measures) if measures else None,
            found=_text(entry.get("found")),
            **runs.get(run, dict.fromkeys(_OF_THE_RUN, "")),
        )  # fmt: skip
    return parsed


def _entry(line: str) -> tuple[dict[str, Any], datetime] | None:
    """A line's entry and its time in UTC, or None for anything else."""
    if '"journal"' not in line:
        return None
    try:
        entry = json.loads(line)
        at = datetime.fromisoformat(entry["at"])
        at = at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return (entry, at) if isinstance(entry, dict) and {"journal", "run", "event"} <= entry.keys() else None


def _first(entry: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((_text(entry[name]) for name in names if entry.get(name)), "")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return "" if value is None else encodable(str(value))
