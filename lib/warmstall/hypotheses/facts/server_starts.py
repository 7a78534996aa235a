"""The starts of the server, what each of them found, and how much trouble there was before and after it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from ...judging.words import Numbers
from ...once import once
from ...parse.plain_text import printable
from ...proportions import clearly_more
from .facts import Facts, counted, holds

# Two rates that differ by chance this seldom are taken to differ, as is usual.
_BY_CHANCE = 0.05
# What the start of a server, not what came before or after it, makes slow.
_OF_THE_START = ("cold_start",)
_AFTER_ALL = pd.Timestamp.max.tz_localize("UTC").as_unit("us")


@once
def server_starts(facts: Facts) -> pd.DataFrame:
    """One row per start that the log shows, in order of time: host, source, line, at, version."""
    # Both lines belong to one start; the older of them has no version.
    key = "server_listening" if facts.counts.get("server_listening") else "server_config"
    found = facts.events(key)
    found = found.assign(version=[fields.get("version", "") for fields in found["fields"]])
    found = found[["host", "source", "line", "at", "version"]].sort_values(["host", "at", "line"], kind="stable")
    return found.reset_index(drop=True)


@once
def trouble_by_start(facts: Facts) -> pd.DataFrame:
    """The starts with columns until, requests and troubled: what began before the next start of that host.

    Cold starts are no trouble here: every start makes some.
    """
    starts = server_starts(facts)
    troubled = facts.troubled[~facts.troubled["verdict"].isin(_OF_THE_START)]
    lost = pd.to_datetime(facts.lost_trials["started_at"], utc=True)
    only_host = starts["host"].nunique() == 1
    rows = []
    for host, own in starts.groupby("host", sort=False):
        began = [frame["started_at"] if only_host else frame.loc[holds(frame["host"], host.__eq__), "started_at"]
                 for frame in (facts.requests, troubled)]  # fmt: skip
        edges = pd.DatetimeIndex([*own["at"], _AFTER_ALL]).as_unit("us")
        requests, in_trouble, lost_ones = (_between(moments, edges) for moments in (*began, lost))
        own = own.assign(until=edges[1:], requests=requests + lost_ones, troubled=in_trouble + lost_ones)
        rows += own.to_dict("records")
    return pd.DataFrame(rows, columns=[*starts.columns, "until", "requests", "troubled"])


def _between(moments: pd.Series, edges: pd.DatetimeIndex) -> Numbers:
    """How many of the moments lie from each edge to before the next one; 0 where one of them is not known."""
    known = edges.notna()
    begun = np.searchsorted(edges.asi8[known], pd.DatetimeIndex(moments.dropna()).as_unit("us").asi8, side="right")
    before = np.zeros(len(edges), dtype=np.int64)
    before[known] = np.bincount(begun, minlength=int(known.sum()) + 1).cumsum()[:-1]
    return np.where(known[1:] & known[:-1], np.diff(before), 0)


def libraries_of(facts: Facts, start: pd.Series) -> set[str]:
    """The libraries through which this start found devices; none where the log does not tell."""
    lines = _lines_of_starts(facts).get(start["source"], [])
    found: set[str] = set()
    for line, library in lines:
        if line > start["line"]:
            if library is None:
                break
            found.add(library)
    return found


@once
def _lines_of_starts(facts: Facts) -> dict[str, list[tuple[int, str | None]]]:
    """By source, the lines that tell of a device, with its library, and those that begin a start, without one."""
    rows = facts.events("gpu_inventory", "server_listening", "server_config")
    found: dict[str, list[tuple[int, str | None]]] = defaultdict(list)
    for source, line, key, fields in rows[["source", "line", "key", "fields"]].itertuples(index=False):
        library = printable(str(fields.get("library", "")))[:20].lower()
        found[source].append((line, library if key == "gpu_inventory" else None))
    for lines in found.values():
        lines.sort(key=lambda told: (told[0], told[1] is None))
    return found


def change_of_rate(before: pd.Series, after: pd.Series) -> int:
    """1 if there was clearly more trouble after than before, -1 if clearly less, 0 if the counts do not tell.

    >>> change_of_rate(pd.Series({"requests": 40, "troubled": 0}), pd.Series({"requests": 40, "troubled": 10}))
    1
    """
    was, now = ((int(run["troubled"]), int(run["requests"])) for run in (before, after))
    return int(clearly_more(now, was, _BY_CHANCE)) - int(clearly_more(was, now, _BY_CHANCE))


def counts_text(run: pd.Series) -> str:
    """How much trouble a run had: 12 of 40 requests."""
    return f"{run['troubled']:,} of {counted(run['requests'], 'request')}" if run["requests"] else "0 requests"
