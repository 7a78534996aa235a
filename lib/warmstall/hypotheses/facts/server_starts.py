"""The starts of the server, what each of them found, and how much trouble there was before and after it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...judging.words import Numbers
from ...parse.plain_text import printable
from ...proportions import clearly_more
from .facts import Facts, counted

# Two rates that differ by chance this seldom are taken to differ, as is usual.
_BY_CHANCE = 0.05
# What the start of a server, not what came before or after it, makes slow.
_OF_THE_START = ("cold_start",)


def server_starts(facts: Facts) -> pd.DataFrame:
    """One row per start that the log shows, in order of time: host, source, line, at, version."""
    # Both lines belong to one start; the older of them has no version.
    key = "server_listening" if facts.counts.get("server_listening") else "server_config"
    found = facts.events(key)
    found = found.assign(version=[fields.get("version", "") for fields in found["fields"]])
    found = found[["host", "source", "line", "at", "version"]].sort_values(["host", "at", "line"], kind="stable")
    return found.reset_index(drop=True)


def trouble_by_start(facts: Facts) -> pd.DataFrame:
    """The starts with columns until, requests and troubled: what began before the next start of that host.

    Cold starts are no trouble here: every start makes some.
    """
    starts = server_starts(facts)
    troubled = facts.troubled[~facts.troubled["verdict"].isin(_OF_THE_START)]
    lost = _in_order(pd.to_datetime(facts.lost_trials["started_at"], utc=True))
    only_host = starts["host"].nunique() == 1
    rows = []
    for host, own in starts.groupby("host", sort=False):
        began = [_in_order(frame["started_at"][frame["host"].eq(host) | only_host])
                 for frame in (facts.requests, troubled)]  # fmt: skip
        ends = [*own["at"].iloc[1:], pd.Timestamp.max.tz_localize("UTC")]
        for start, until in zip(own.to_dict("records"), ends, strict=True):
            counts = [_between(moments, start["at"], until) for moments in (*began, lost)]
            told = {"requests": counts[0] + counts[2], "troubled": counts[1] + counts[2]}
            rows.append(start | {"until": until} | told)
    return pd.DataFrame(rows, columns=[*starts.columns, "until", "requests", "troubled"])


def _in_order(moments: pd.Series) -> Numbers:
    known: Numbers = np.sort(moments.dropna().dt.tz_convert(None).to_numpy("datetime64[us]"))
    return known


def _between(moments: Numbers, first: pd.Timestamp, beyond: pd.Timestamp) -> int:
    """How many moments, which are in order, lie from the first one to before the last one."""
    if pd.isna(first) or pd.isna(beyond):
        return 0
    edges = [at.tz_convert(None).to_datetime64().astype("datetime64[us]") for at in (first, beyond)]
    begin, end = (int(np.searchsorted(moments, edge)) for edge in edges)
    return max(0, end - begin)


def libraries_of(facts: Facts, start: pd.Series) -> set[str]:
    """The libraries through which this start found devices; none where the log does not tell."""
    rows = facts.events("gpu_inventory", "server_listening", "server_config")
    rows = rows[rows["source"].eq(start["source"]) & rows["line"].gt(start["line"])]
    following = rows["line"][rows["key"] != "gpu_inventory"].min()
    rows = rows[rows["key"].eq("gpu_inventory") & ~rows["line"].gt(following)]
    return {printable(str(fields.get("library", "")))[:20].lower() for fields in rows["fields"]}


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
