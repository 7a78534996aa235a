"""Which models were in memory in a period, for how much of it, and how often each was loaded, again, or put out."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from ..analysis import Analysis
from ..hypotheses.facts import Facts
from ..observed.facts import observed_residencies

# How `Analysis.residencies` says that a model left by itself, or is still there.
_BY_ITSELF = "keep_alive|started anew|still loaded"
_SEEN = " (/api/ps)"


def churn(found: Analysis, from_at: datetime, to_at: datetime) -> list[dict[str, object]]:
    """A row for each host and model that was in memory or was loaded, those with the most loads first.

    `in_memory_share` of the period (None where nothing tells it), by the log's loads, else by looks at /api/ps
    (`seen_by`); `loads` that came to an end, `failed_loads`, `reloads` of a model that had been there before, by the
    evidence of the period; `evictions`: how often it left for another model; `load_s`, the median of the loads;
    `context`, of the last one. Times are aware; a model that leaves while another one is loaded was put out for it.
    """
    facts = Facts(found)
    loads, stays = facts.loads, _stays(found, facts)
    models = sorted(
        {*zip(loads["host"], loads["model"], strict=True), *zip(stays["host"], stays["model"], strict=True)}
    )
    rows = [_row(host, model, loads, stays, from_at, to_at) for host, model in models]
    return sorted(rows, key=lambda row: (-int(str(row["loads"])), str(row["host"]), str(row["model"])))


def _stays(found: Analysis, facts: Facts) -> pd.DataFrame:
    """Residencies by the log, and by looks for the hosts' models that the log does not know."""
    told = facts.residencies.assign(seen_by="log")
    looked = observed_residencies(found.case).assign(seen_by="/api/ps")
    looked["model"] = looked["model"].str.removesuffix(_SEEN)
    # The log may know a model by its digest only: where it knows any, the looks would tell of the same ones again.
    looked = looked[~looked["host"].isin(set(told["host"]))]
    return pd.concat([told, looked], ignore_index=True) if len(looked) else told


def _row(
    host: str, model: str, loads: pd.DataFrame, stays: pd.DataFrame, from_at: datetime, to_at: datetime
) -> dict[str, object]:
    own = loads[(loads["host"] == host) & (loads["model"] == model)]
    stayed = stays[(stays["host"] == host) & (stays["model"] == model)]
    done = own[own["outcome"] == "completed"]
    load_s, context = done["load_s"].dropna(), own["context_length"].dropna()
    others = loads[(loads["host"] == host) & (loads["model"] != model)]
    left = stayed["unloaded_at"][~stayed["unload_evidence"].fillna("").str.contains(_BY_ITSELF)].dropna()
    left = left[left.between(pd.Timestamp(from_at), pd.Timestamp(to_at))]
    return {
        "host": host,
        "model": model,
        "in_memory_share": _share(stayed, from_at, to_at) if len(stayed) else None,
        "seen_by": str(stayed["seen_by"].iloc[0]) if len(stayed) else "",
        "loads": len(own),
        "failed_loads": int(own["outcome"].isin(["failed", "timed_out"]).sum()),
        "reloads": int(own["reload"].astype(bool).sum()),
        "evictions": sum(bool(((others["spawned_at"] <= at) & (others["ended_at"] >= at)).any()) for at in left),
        "load_s": float(load_s.median()) if len(load_s) else None,
        "context": int(context.iloc[-1]) if len(context) else None,
    }


def _share(stays: pd.DataFrame, from_at: datetime, to_at: datetime) -> float:
    """The share of the period in which one of the spans lay; they may overlap."""
    begin, end = pd.Timestamp(from_at), pd.Timestamp(to_at)
    unloaded_at = stays["unloaded_at"].astype("datetime64[us, UTC]")  # looks tell seconds, and `end` may be finer
    spans = zip(stays["loaded_at"], unloaded_at.fillna(end), strict=True)
    total, until = pd.Timedelta(0), begin
    for first, last in sorted((max(first, begin), min(last, end)) for first, last in spans):
        if last > max(first, until):
            total += last - max(first, until)
            until = last
    return float(total / (end - begin))
