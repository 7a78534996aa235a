"""A file that asks clients to wait: `warmstall.guard` honours it until it is gone or its time is over.

It carries the time until which it holds, never later than an hour after it was written, so that a run that was
killed, or an operator who forgot, leaves nobody waiting for ever. Any program may write one or heed one: it is one
JSON object, `{"pause": 1, "at": "…Z", "until": "…Z", "by": "…", "why": "…"}`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..parse.plain_text import printable

MOST_PAUSE_S = 3600.0
_CLOCK_SLACK_S = 60.0


@dataclass(frozen=True)
class Pause:
    """Who asked clients to wait, since when, until when and why; `notes` are further words of the writer's own."""

    at: datetime
    until: datetime
    by: str
    why: str
    notes: dict[str, str]

    def holds(self, now: datetime) -> bool:
        """Whether it is in force; one that ends later than an hour from now was dated in the future, and is not."""
        return now < self.until <= now + timedelta(seconds=MOST_PAUSE_S + _CLOCK_SLACK_S)


def pause_path(port: int) -> str:
    """Where the pause of the clients of a server's port lies, unless another place was agreed on."""
    return f"/tmp/warmstall-{port}.pause"


def pause_text(now: datetime, seconds: float, by: str, why: str, **notes: str) -> str:
    """What to write into the file. The seconds are cut to an hour.

    >>> text = pause_text(datetime(2026, 9, 25, 18, tzinfo=UTC), 90.0, "ana", "memory is short")
    >>> read_pause(text).until.isoformat()
    '2026-09-25T18:01:30+00:00'
    """
    until = now + timedelta(seconds=min(max(seconds, 0.0), MOST_PAUSE_S))
    return json.dumps({"pause": 1, "at": _text(now), "until": _text(until), "by": by, "why": why, **notes}) + "\n"


def read_pause(text: str) -> Pause | None:
    """The pause that a file asks for; None for anything that is not one, which is then not honoured.

    >>> read_pause("stop!") is None
    True
    """
    try:
        said = json.loads(text[:4096])
        at, until = (datetime.fromisoformat(said[name]).astimezone(UTC) for name in ("at", "until"))
        latest = at + timedelta(seconds=MOST_PAUSE_S)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    notes = {name: printable(str(value))[:200] for name, value in said.items()}
    return Pause(at, min(until, latest), notes.get("by", ""), notes.get("why", ""), notes)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
