"""The reference path's calls as the drill's server noted them: who asks questions keeps no record but its trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .traffic import Trial
from .truth import Interval

# Calls that were open then were not closed by their client.
_ENDS_THE_SERVER = ("restart", "server_down")


def path_calls(notes: Mapping[str, Mapping[str, Any]], intervals: Iterable[Interval]) -> list[Trial]:
    """One record for each note that has no number of the drill's clients.

    The trace is not asked: what is true may owe nothing to what is measured against it. A call that never arrived is
    in no note and has no truth; whether a call hung before its first token is taken from the fault alone.
    """
    ends = [each for each in intervals if each.fault.kind in _ENDS_THE_SERVER]
    found = []
    for identity, note in notes.items():
        if note.get("id"):
            continue
        began, ended = note["arrived_at"], note["ended_at"]
        left = note["outcome"] == "aborted"
        # Whoever left saw no status, whatever the access line says.
        status = str(note["status"] or "") if not left else ""
        trial = Trial(identity, note["model"], note["path"], began, ended, status)
        trial.error = "" if note["outcome"] == "done" else note["outcome"]
        trial.gave_up = left and not any(each.began <= ended <= each.ended for each in ends)
        found.append(trial)
    return found
