"""Series and marks that share the axis of the requests: acts of runbooks, memory, processes, GPUs, other logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from ..case import Case
from .facts import MARKED, other_events, timed
from .memory import rates
from .mitigations import moments

# What a figure keeps in its picture, even where it came after the last request.
ACTS = "runbooks"


@dataclass(frozen=True)
class Lane:
    """One strip under the requests: lines by name (frames of at, value), or marks (at, label, text)."""

    title: str
    unit: str
    lines: dict[str, pd.DataFrame] = field(default_factory=dict)
    marks: pd.DataFrame = field(default_factory=pd.DataFrame)


def lanes(case: Case) -> list[Lane]:
    """The strips that this case has something for, in the order in which they are drawn."""
    makers = (_act_lane, _memory_lanes, _process_lanes, _gpu_lanes, _probe_lane, _event_lane)
    found = [lane for make in makers for lane in make(case)]
    return [lane for lane in found if lane.lines or len(lane.marks)]


def _act_lane(case: Case) -> list[Lane]:
    frame = moments(case)
    frame = frame[frame.event.isin(["step_started", "undo_started"])]
    return [Lane(ACTS, "", marks=pd.DataFrame({"at": frame["at"], "label": frame.runbook, "text": frame.what}))]


def _memory_lanes(case: Case) -> list[Lane]:
    frame = timed(case, "memory")
    frame = frame[~frame.origin.fillna("").str.startswith("cgroup")]
    levels: dict[str, pd.DataFrame] = {}
    paging: dict[str, pd.DataFrame] = {}
    for host, own in _by_host(frame):
        for column, name in (
            ("available_bytes", "available"),
            ("free_bytes", "free"),
            ("swap_used_bytes", "swap used"),
        ):
            levels |= _line(f"{name}{host}", own, column)
        rated = rates(own)
        for column, name in (("swapout_bytes_per_s", "swap-out"), ("swapin_bytes_per_s", "swap-in")):
            paging |= _line(f"{name}{host}", rated, column)
    return [Lane("memory", "bytes", levels), Lane("swapping", "bytes/s", paging)]


def _process_lanes(case: Case) -> list[Lane]:
    frame = timed(case, "processes")
    frame = frame[frame.role.fillna("") != ""]
    processor: dict[str, pd.DataFrame] = {}
    resident: dict[str, pd.DataFrame] = {}
    for host, own in _by_host(frame):
        for role, rows in own.groupby("role"):
            summed = rows.groupby("at")[["cpu_percent", "rss_bytes"]].sum(min_count=1).reset_index()
            processor |= _line(f"{role}{host}", summed, "cpu_percent")
            resident |= _line(f"{role}{host}", summed, "rss_bytes")
    return [Lane("CPU", "percent of a core", processor), Lane("RSS", "bytes", resident)]


def _gpu_lanes(case: Case) -> list[Lane]:
    frame = timed(case, "gpus")
    used: dict[str, pd.DataFrame] = {}
    busy: dict[str, pd.DataFrame] = {}
    for host, own in _by_host(frame):
        for gpu, rows in own.groupby("gpu"):
            used |= _line(f"GPU {gpu}{host}", rows, "used_bytes")
            busy |= _line(f"GPU {gpu}{host}", rows, "utilization_percent")
    return [Lane("VRAM used", "bytes", used), Lane("GPU busy", "percent", busy)]


def _probe_lane(case: Case) -> list[Lane]:
    frame = timed(case, "probes")
    failed = frame[frame.error.fillna("") != ""]
    marks = pd.DataFrame({"at": failed["at"], "label": failed.endpoint.fillna(""), "text": failed.error.fillna("")})
    answers = frame[(frame.endpoint == "/api/ps") & frame.wall_s.notna()]
    lines: dict[str, pd.DataFrame] = {}
    for host, own in _by_host(answers):
        lines |= _line(f"/api/ps{host}", own, "wall_s")
    return [Lane("answer of /api/ps", "s", lines), Lane("no answer", "", marks=marks)]


def _event_lane(case: Case) -> list[Lane]:
    frame = other_events(case)
    frame = frame[frame.key.isin(list(MARKED)) & frame["at"].notna()]
    labels = frame.key.map(MARKED)
    return [Lane("other logs", "", marks=pd.DataFrame({"at": frame["at"], "label": labels, "text": frame.what}))]


def _by_host(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each host's rows, with what its name adds to a label: nothing where there is only one."""
    several = frame.host.nunique() > 1
    for host, own in frame.groupby("host"):
        yield f" on {host}" if several else "", own


def _line(name: str, frame: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    """A line of at least two points; a single one is a number for a table."""
    if column not in frame:
        return {}
    points = frame[["at", column]].rename(columns={column: "value"}).dropna()
    return {name: points} if len(points) > 1 else {}
