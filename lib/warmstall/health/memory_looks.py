"""What was available at each look: of the period's evidence, and before it of the reports' history."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..observed.facts import observed_residencies, timed
from ..observed.memory import rates
from .history import memory_name

if TYPE_CHECKING:
    from ..analysis import Analysis

# A month of reports shows what a host does every day and every week; what is older tells of another time.
_HISTORY = pd.Timedelta(days=30)
# A look of the history is of the same thing where its total is; firmware and the kernel keep a little more or less.
_SAME_TOTAL = 0.05
_EPOCH = pd.Timestamp("1970-01-01")


@dataclass(frozen=True)
class Looks:
    """What was available of one thing at each look: the memory of a host or a control group, or the swap.

    `at_s` are seconds since 1970 in order, `available` bytes of `total`. Two looks can be compared where their `models`
    are equal: the same models were in memory, at the newest look `models_now`. `memory` is all the memory there is,
    also where `what` is the swap.
    """

    host: str
    what: Literal["memory", "swap"]
    group: str  # the path of the control group; "" for the whole machine
    at_s: np.ndarray
    available: np.ndarray
    models: np.ndarray
    total: float
    memory: float
    models_now: tuple[str, ...] = ()


def all_looks(found: Analysis, history: pd.DataFrame, at: datetime) -> Iterator[Looks]:
    """The looks up to `at` of each host's memory, of its control groups that have a limit, and of its swap.

    What is available is on Linux MemAvailable, the kernel's own estimate (filesystems/proc in its Documentation). On
    macOS it is all but what Activity Monitor calls memory used: app memory (anonymous pages that cannot be purged),
    wired and compressed (Apple, "View memory usage in Activity Monitor on Mac"). By vm_stat those are free,
    file-backed and purgeable pages, for active, inactive and speculative pages are together the anonymous and the
    file-backed ones. Free pages alone are too few: cache can be given back. Free and inactive pages are too many:
    anonymous inactive pages can only be compressed or swapped. Of a control group it is the limit less what is used,
    without its file cache; where memory.stat was not captured, cache cannot be told from use, and there are no looks.
    The swap of macOS is left out: it makes files as it needs them, so that their total is no end to run towards.
    """
    frame = found.case.sql('FROM memory WHERE "at" IS NULL OR "at" <= $at ORDER BY host, "at", source, line',
                           at=_naive(at))  # fmt: skip
    past = _past(history, at)
    for host in sorted({*frame["host"], *past["host"]}):
        looks, before = _rates_of(frame[frame["host"] == host]), past[past["host"] == host]
        stays = _stays(found, host)
        machine = looks[looks["group"] == ""]
        memory = float(machine["memory_bytes"].max())
        for group, own in looks.groupby("group"):
            level = own[["at", "available_bytes"]].dropna()
            if len(level):
                total = float(own["memory_bytes"].max())
                yield _looks(host, "memory", str(group), level, before, stays, total, total)
        if machine["available_bytes"].isna().all() and "memory" in set(before["name"]):
            nothing = pd.DataFrame({"at": pd.to_datetime([]), "available_bytes": []})
            memory = float(before["of"][before["name"] == "memory"].iloc[-1])
            yield _looks(host, "memory", "", nothing, before, stays, memory, memory)
        swap = machine[["at"]].assign(free=machine["swap_total_bytes"] - machine["swap_used_bytes"]).dropna()
        total = float(machine["swap_total_bytes"].max())
        if len(swap) and total > 0 and machine["origin"].eq("linux").any():
            yield _looks(host, "swap", "", swap, before, stays, total, memory if memory > 0 else total)


def _rates_of(own: pd.DataFrame) -> pd.DataFrame:
    """The looks of a host with their times; `group` is the control group, "" for the machine."""
    own = own.reset_index(drop=True)
    limit = pd.to_numeric(own["limit_bytes"], errors="coerce").astype(float)
    free = limit.where(limit < math.inf) - own["used_bytes"].astype(float) + own["file_backed_bytes"].astype(float)
    of_group = own["origin"].fillna("").str.startswith("cgroup:")
    own["available_bytes"] = own["available_bytes"].astype(float).where(~of_group, free)
    looks = rates(own)
    looks = looks[looks["at"].notna()]
    return looks.assign(
        group=looks["origin"].where(looks["origin"].str.startswith("cgroup:"), "").str[len("cgroup:") :]
    )


def _looks(
    host: str, what: Literal["memory", "swap"], group: str, level: pd.DataFrame, before: pd.DataFrame,
    stays: list[tuple[str, pd.Timestamp, pd.Timestamp]], total: float, memory: float,
) -> Looks:  # fmt: skip
    """One series: what the history has of the same thing up to the first look of the evidence, and that evidence."""
    level = level.set_axis(["at", "available"], axis=1)
    level = level.assign(models=_models_at(level["at"], stays))
    same = before[(before["name"] == memory_name(what, group)) & ((before["of"] - total).abs() <= _SAME_TOTAL * total)]
    past = same[["at", "value", "models"]].set_axis(["at", "available", "models"], axis=1)
    if len(level):
        past = past[past["at"] < level["at"].min()]
    rows = pd.concat([part for part in (past, level) if len(part)]).sort_values("at").drop_duplicates("at", keep="last")
    at_s = ((rows["at"] - _EPOCH) / pd.Timedelta(seconds=1)).to_numpy(float)
    # More used than there is happens where the two were read one after the other.
    available = rows["available"].to_numpy(float).clip(min=0.0)
    numbers = {models: number for number, models in enumerate(dict.fromkeys(rows["models"]))}
    models = np.array([numbers[held] for held in rows["models"]], dtype=int)
    return Looks(host, what, group, at_s, available, models, total, memory, tuple(sorted(rows["models"].iloc[-1])))


def _past(history: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """What earlier reports saw: host, name, at (when it was looked at, naive UTC), models, value, of (the total)."""
    rows = history[history["kind"] == "memory"] if "kind" in history else history.iloc[:0]
    rows = rows.reindex(columns=["host", "name", "text", "report_to", "value", "of"])
    ended = pd.to_datetime(rows["report_to"], utc=True)
    moments = rows["text"].astype("string").str.split("|").str[0]
    looked = pd.to_datetime(moments, utc=True, errors="coerce", format="ISO8601").fillna(ended)
    models = [frozenset(str(text).split("|")[1:]) for text in rows["text"]]
    rows = rows.assign(at=looked.dt.tz_localize(None).astype("datetime64[us]"), models=models)
    until = pd.Timestamp(_naive(at))
    rows = rows[rows["at"].between(until - _HISTORY, until) & rows["value"].notna()]
    return rows.sort_values("at")


def _stays(found: Analysis, host: str) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    """Which model was in memory from when to when; and each load, while it lasts, as a thing of its own."""
    residencies = found.residencies()
    residencies = residencies[residencies["host"].isin([host, ""])]
    if residencies.empty:
        residencies = observed_residencies(found.case)
        residencies = residencies[residencies["host"] == host]
        looks = timed(found.case, "probes")
        first = looks["at"][looks["host"] == host].min()
        # What the first look shows was there before it, nobody knows since when.
        residencies = residencies.assign(loaded_at=residencies["loaded_at"].where(residencies["loaded_at"] > first))
    stays = [(row.model, _edge(row.loaded_at, pd.Timestamp.min), _edge(row.unloaded_at, pd.Timestamp.max))
             for row in residencies.itertuples()]  # fmt: skip
    for number, load in enumerate(found.loads_of_period):
        if load.host in (host, ""):
            began = min(load.began_at, load.spawned_at)
            stays.append((f"load {number}", pd.Timestamp(began), _edge(load.ended_at, pd.Timestamp(began))))
    return stays


def _models_at(at: pd.Series, stays: list[tuple[str, pd.Timestamp, pd.Timestamp]]) -> list[frozenset[str]]:
    """The models that were in memory at each look."""
    return [frozenset(model for model, start, end in stays if start <= moment < end) for moment in at]


def _edge(at: object, otherwise: pd.Timestamp) -> pd.Timestamp:
    moment = pd.Timestamp(at) if at is not None else pd.NaT
    if pd.isna(moment):
        return otherwise
    return moment.tz_convert(None) if moment.tzinfo else moment


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)
