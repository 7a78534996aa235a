"""A case as it was in one period: what a report of the last hour is made of, although the log reaches back for weeks.

    found = within(analyze("server.log"), from_at, to_at)

Everything that is asked of the narrowed analysis tells of what was written in the period alone, so that nothing old is
reported twice and nothing later is known. What still holds is kept: how the server was started last, and how the models
were loaded that were in memory when the period began.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .analysis import Analysis
from .case import Period
from .errors import InputError

# What a server prints as it starts (settings, devices) is written within seconds, unless a GPU is slow to answer.
_START_S = 60.0
# What is said of a load after it: how many layers went where, or the slots.
_AFTER_LOAD_S = 2.0


def within(found: Analysis, from_at: datetime, to_at: datetime) -> Analysis:
    """The same evidence, of the period after `from_at` up to `to_at` (aware times).

    Raises InputError where a time has no zone or the period is empty.
    """
    if from_at.tzinfo is None or to_at.tzinfo is None or from_at >= to_at:
        raise InputError(f"a period from {from_at} to {to_at}: expected two times with a zone, the first one earlier.")
    start, end = (at.astimezone(UTC).replace(tzinfo=None) for at in (from_at, to_at))
    return Analysis(found.case.narrowed(Period(start, end, tuple(_kept(found, start)))), found.clock_offsets_s)


def _kept(found: Analysis, start: datetime) -> list[tuple[str, int, int]]:
    """Stretches of lines from before the period that still hold when it begins, each within one file."""
    stretches: list[tuple[str, datetime, datetime]] = []
    for timeline in found.timelines.values():
        runs = [run for run in timeline.runs if run.started_at and run.started_at <= start]
        began = datetime.min
        if runs and runs[-1].started_at:
            began = runs[-1].started_at
            stretches.append((runs[-1].source, began, min(start, began + timedelta(seconds=_START_S))))
        for residency in timeline.residencies:
            if residency.loaded_at > start or (residency.unloaded_at and residency.unloaded_at <= start):
                continue
            loads = [load for load in timeline.loads if load.model == residency.model and load.ended_at
                     and began <= load.spawned_at and load.ended_at <= residency.loaded_at <= start]  # fmt: skip
            if loads:
                ended = residency.loaded_at + timedelta(seconds=_AFTER_LOAD_S)
                stretches.append((loads[-1].source, loads[-1].spawned_at, min(start, ended)))
    return [lines for source, first, last in stretches if (lines := _lines(found, source, first, last))]


def _lines(found: Analysis, source: str, first: datetime, last: datetime) -> tuple[str, int, int] | None:
    frame = found.case.sql(
        "SELECT min(line) AS first, max(line) AS last FROM events "
        'WHERE source = $source AND coalesce("at", before_at) BETWEEN $first AND $last',
        source=source, first=first, last=last,
    )  # fmt: skip
    row = frame.iloc[0]
    return None if row.isna().any() else (source, int(row["first"]), int(row["last"]))
