"""Are the events of two logs the same: their order, and the fields of each?"""

from __future__ import annotations

from dataclasses import dataclass

from .differences import Difference, of_counts, of_sequences
from .log_streams import Said, Streams, fields_by_key
from .recording import Recording

# What one part of a process says while others go on beside: at its start, and when something ends.
_RACING = ("gpu_discovery_start", "model_cache_hydrated", "runner_listen", "runner_stopped", "sched_stopped")
# What is said after so many seconds, as long as something lasts, or when for a moment there is nothing to do: how
# often is chance, and a slower machine may say what a faster one did not.
_TIMED = ("load_progress", "load_status", "ls_gen_progress", "ls_prompt_progress", "ls_idle")


@dataclass(frozen=True)
class Events:
    """What differs, and the share of events that are the same."""

    differences: list[Difference]
    similarity: float


def compare_events(real: Streams, drill: Streams, concurrent: bool) -> Events:
    """Server against server and runner against runner, load by load.

    With `concurrent` requests the order of lines is chance, so counts are compared.
    """
    compare = of_counts if concurrent else of_sequences
    found = compare(_keys(real.access), _keys(drill.access), "events", "access lines")
    found += compare(_ordered(real.server), _ordered(drill.server), "events", "server")
    found += of_counts(_racing(real.server), _racing(drill.server), "events", "server")
    if concurrent:  # and so is which load a line of a runner stands behind
        for part in (_ordered, _racing):
            found += of_counts(part(_all(real)), part(_all(drill)), "events", "runners")
    else:
        longest = max(len(real.runners), len(drill.runners))
        for number in range(longest):
            here, there = (s.runners[number] if number < len(s.runners) else [] for s in (real, drill))
            where = f"runner of load {number}" if number else "before any load"
            found += of_sequences(_ordered(here), _ordered(there), "events", where)
            found += of_counts(_racing(here), _racing(there), "events", where)
    found += [one for one in of_counts(_timed(real), _timed(drill), "events", "log") if one.kind == "missing"]
    total = sum(len(s.server) + len(s.access) + len(_runner_keys(s)) for s in (real, drill))
    unlike = sum((2 if one.kind == "moved" else 1) * one.count for one in found)
    found += _fields([*real.server, *_all(real)], [*drill.server, *_all(drill)])
    return Events(sorted(found), 1.0 - unlike / total if total else 1.0)


def compare_shapes(real: Streams, drill: Streams) -> list[Difference]:
    """Lines that mean no event, by what they look like."""
    return of_counts(set(real.shapes), set(drill.shapes), "raw", "log")


def is_concurrent(recording: Recording) -> bool:
    """Whether requests of the same sort overlapped, so that chance decides who is first."""
    posts = sorted((a for a in recording.acts if a.kind == "trial"), key=lambda act: act.start_s)
    return any(
        (two.start_s < one.end_s and one.row.get("tag") == two.row.get("tag")) or (one.lane and two.lane)
        for number, one in enumerate(posts)
        for two in posts[number + 1 :]
    )


def _keys(events: list[Said]) -> list[str]:
    return [event.key for event in events]


def _ordered(events: list[Said]) -> list[str]:
    return [event.key for event in events if event.key not in (*_RACING, *_TIMED)]


def _racing(events: list[Said]) -> list[str]:
    return [event.key for event in events if event.key in _RACING]


def _timed(streams: Streams) -> set[str]:
    return {event.key for event in (*streams.server, *_all(streams)) if event.key in _TIMED}


def _all(streams: Streams) -> list[Said]:
    return [event for load in streams.runners for event in load]


def _runner_keys(streams: Streams) -> list[str]:
    return _keys(_all(streams))


def _fields(real: list[Said], drill: list[Said]) -> list[Difference]:
    """Of events that both have: fields that only one has, and fields whose types differ."""
    found = []
    here, there = fields_by_key(real), fields_by_key(drill)
    for key in (here.keys() & there.keys()).difference(_TIMED):
        for name in here[key].keys() | there[key].keys():
            one, two = here[key].get(name, set()), there[key].get(name, set())
            if not one & two:
                told = f"{key}.{name}: {'/'.join(sorted(one)) or 'absent'}, drill {'/'.join(sorted(two)) or 'absent'}"
                found.append(Difference("events", "fields", "fields", told))
    return found
