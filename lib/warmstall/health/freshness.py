"""Whether the newest verdict can still be believed: a report that does not come any more is an alert of its own.

Only the time of the verdict is judged, not what it says: a fresh verdict that is critical is fresh. A verdict of a
report that failed is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..parse.plain_text import printable
from .folder import BEGUN

if TYPE_CHECKING:
    from .delivery import AlertSettings
    from .delivery.delivering import Sender

VERDICT = "verdict.json"
STALE = "report:stale"  # the key under which it is alerted
# A verdict has a few hundred lines; what is larger is not ours, and would fill the memory of who reads it.
_MOST_BYTES = 32 * 2**20
# Timers add random delays, machines sleep, and a report takes its time: half an interval late is not late yet, and a
# quarter of an hour never is.
_LATE_SHARE = 0.5
_LATE_S = 900.0
# Clocks of two machines that share a folder may differ; by more than this one of them is wrong.
_AHEAD_S = 300.0
# A report takes seconds, one of a day a few minutes, and a schedule ends it after ten.
_LONGEST_RUN_S = 3600.0


@dataclass(frozen=True)
class Freshness:
    """Whether there is a verdict to rely on, why (not), and the exit code that says it: 0 or 3 (could not tell)."""

    fresh: bool
    sentence: str

    @property
    def exit_code(self) -> int:
        """0 for a fresh verdict, 3 for every other."""
        return 0 if self.fresh else 3


def check(folder: Path, now: datetime, older_than_s: float | None = None) -> Freshness:
    """Judge the age of `folder`/verdict.json at `now` (aware).

    A verdict says itself when the next one is due; `older_than_s` says instead how old it may be. Never raises for what
    the folder holds: missing, unreadable, without its times, of the future, of a report that failed and stale are all
    not fresh, each with its sentence.
    """
    try:
        verdict = read_verdict(folder / VERDICT)
        written_at, from_due = _time(verdict, "written_at"), _time(verdict, "due_at")
    except InputError as error:
        return Freshness(False, str(error))
    age = now - written_at
    when = f"the newest verdict is of {_clock(written_at)}"
    if age < -timedelta(seconds=_AHEAD_S):
        return Freshness(False, f"Cannot tell: {when}, which is in the future; a clock was set. Run the report again.")
    if verdict.get("error"):
        told = " ".join(printable(str(verdict["error"])[:1200]).split())[:300]
        return Freshness(False, f"The newest report failed, at {_clock(written_at)}: {told}")
    begun_at = _begun_at(folder)
    if begun_at and begun_at > written_at and (now - begun_at).total_seconds() > _LONGEST_RUN_S:
        return Freshness(
            False,
            f"The report that began at {_clock(begun_at)} has not ended; {when}. Look at what it wrote, or at the cell "
            "of the notebook that failed.",
        )
    if older_than_s is not None:
        late_at = written_at + timedelta(seconds=older_than_s)
    else:
        interval_s = max(0.0, (from_due - written_at).total_seconds())
        late_at = from_due + timedelta(seconds=max(_LATE_S, _LATE_SHARE * interval_s))
    if now > late_at:
        return Freshness(
            False,
            f"No report came: {when}, and the next one had to be there by {_clock(late_at)}. Look at the timer and at "
            "what it wrote.",
        )
    return Freshness(True, f"Fresh: {when}, and the next one is due at {_clock(from_due)}.")


def tell(
    found: Freshness, folder: Path, settings: AlertSettings | None, now: datetime, sender: Sender | None = None
) -> dict[str, list[Any]]:
    """Alert about a verdict that is not fresh, as `deliver` does and returns; once, however often it is checked.

    Nothing is said of what is fresh: the next report itself tells that reports come again.
    """
    from .delivery import deliver
    from .delivery.sending import send

    if found.fresh:
        return deliver({}, folder, None, now)
    reason = {"key": STALE, "status": "could not tell", "sentence": found.sentence}
    # One that could not tell: it ends no other trouble.
    verdict = {"status": "could not tell", "reasons": [reason], "from": now.isoformat(), "to": now.isoformat()}
    return deliver(verdict, folder, settings, now, sender or send)


def read_verdict(path: Path) -> dict[str, Any]:
    """A verdict as it was written. Raises InputError for what is missing, unreadable or no verdict."""
    try:
        with path.open("rb") as handle:
            text = handle.read(_MOST_BYTES + 1)
        verdict = json.loads(text) if len(text) <= _MOST_BYTES else None
    except FileNotFoundError:
        raise InputError(f"{path}: there is no verdict; no report has ended here yet.") from None
    except (OSError, ValueError, RecursionError) as error:
        told = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: the verdict cannot be read ({told}). Run the report again.") from None
    if not isinstance(verdict, dict) or "status" not in verdict:
        raise InputError(f"{path}: it is no verdict of a report. Run the report again.")
    return verdict


def _time(verdict: Mapping[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(verdict[name])
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"The verdict has no time {name} that can be read. Run the report again.") from None


def _begun_at(folder: Path) -> datetime | None:
    try:
        with (folder / BEGUN).open(encoding="utf-8") as handle:
            return _time({BEGUN: handle.read(40)}, BEGUN)
    except (OSError, ValueError, InputError):
        return None


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
