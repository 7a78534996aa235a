"""Whether a machine was asleep since the last look: what was due meanwhile first gets time to be done."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from ..errors import OutputError
from ..writing import state_folder


def stamp_path(words: list[str]) -> Path:
    """Where the time of the last look of this command is kept."""
    return state_folder() / "schedule" / f"{hashlib.sha256(' '.join(words).encode()).hexdigest()[:16]}.looked"


def was_asleep(stamp: Path, settle_s: float, now: float | None = None) -> bool:
    """Whether the last look is longer ago than `settle_s`, or there was none; notes that there was one now.

    `now` is in seconds since 1970. A clock that was set back counts as a sleep. Raises OutputError where the time
    cannot be noted, so that a check is never left out for ever.
    """
    now = time.time() if now is None else now
    try:
        looked = float(stamp.read_text(encoding="ascii"))
    except (OSError, ValueError):
        looked = None
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(f"{now:.0f}", encoding="ascii")
    except OSError as error:
        raise OutputError(f"{stamp}: the time of this look cannot be noted ({error.strerror}).") from error
    return looked is None or not 0 <= now - looked <= settle_s
