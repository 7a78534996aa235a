"""Slow disk: loads take long for the size of their model, because its weights come from a slow disk.

The first load of a model reads its file from the disk; later ones find it in the page cache as long as memory is free,
and are several times faster. An NVMe disk reads 2 to 7 GB/s and a SATA SSD 0.5; network volumes, SD cards and spinning
disks 0.02 to 0.2, which makes minutes of a model of 40 GB.

Shown by:
    - a first load far below the speed of an SSD, while a later one of the same model is several times faster
    - a runner that waits for the disk (state D) in most samples of its load
Ruled out by:
    - loads that took less than 10 s, or whose bytes per second are those of an SSD
Mistaken for it:
    - a load that waits until another model has left memory
    - memory that runs out: what was read is dropped again and read once more, and a large cache is swapped out
    - other options: a longer context, or fewer layers on the GPU, take longer without reading more
    - a file that a faster load before had already brought into the page cache
    - weights that are repacked for the processor, or copied over a narrow bus: every load is slow then, not the first
Severity: warning
Runbook: none
Mitigation: Keep the models on a local SSD, and preload them after each start so that no request waits for the disk.
Leads to: cold_start, load_timeout
References:
    - https://docs.ollama.com/faq (where models are stored, OLLAMA_MODELS; preloading)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..parse.go_values import size_bytes
from .facts import Facts, counted, places, seconds_text, size_text
from .facts.placements import placements
from .findings import Finding, hints, proves, refutes, supports, unseen

# What a SATA SSD reads; any slower disk is a network volume, an SD card or a spinning one.
_SSD_BYTES_PER_S = 500e6
# Slower than a spinning disk reads in a row.
_SLOWEST_BYTES_PER_S = 100e6
# Smaller models are read in less time than starting a runner takes.
_TELLING_BYTES = 2**30
# Starting a process, the GPU's context and a first pass take seconds anywhere.
_UNNOTICED_S = 10.0
# How much faster a load from memory is at least than one from a slow disk.
_CACHED_FACTOR = 3.0
_IOSTAT = "iostat -x 1 60 during a load of a model that was not used for long"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The slowest load of each model beside its fastest, and the bytes that it read a second."""
    loads = facts.loads[facts.loads["load_s"].notna()]
    if loads.empty:
        yield unseen("the server's whole log from its start on: it tells how long each load took, and of how much")
        return
    if facts.loads["outcome"].isin(["abandoned", "timed_out", "unfinished"]).any():
        yield unseen("a load that comes to its end, beside those that were given up: it tells how long the disk takes")
    loads = loads.assign(took_s=_took_s(loads))
    if facts.counts.get("load_progress") or not loads["took_s"].lt(_UNNOTICED_S).all():
        loads = _timed(facts, loads)
    slow = loads[loads["took_s"] >= _UNNOTICED_S]
    if slow.empty:
        worst = loads.sort_values("took_s", ascending=False)
        yield refutes(f"The longest of {counted(len(loads), 'load')} took {seconds_text(worst['took_s'].iloc[0])} to "
                      "read its weights.", *places(worst, 1))  # fmt: skip
        return
    first = loads.drop_duplicates(["host", "model"])
    fast = first[first["rate"].ge(_SSD_BYTES_PER_S) & first["weights_bytes"].ge(_TELLING_BYTES)]
    for (host, model), own in loads.groupby(["host", "model"], sort=False):
        if own["took_s"].ge(_UNNOTICED_S).any():
            yield from _judged(facts, own, fast[fast["host"].eq(host) & fast["model"].ne(model)])


def _took_s(loads: pd.DataFrame) -> pd.Series:
    """What each load took; one that had to evict others before it, since its request came."""
    began_s = (loads["ended_at"] - loads["began_at"]).dt.total_seconds()
    return loads["load_s"].where(~loads["evicted"].astype(bool), began_s).astype(float)


def _timed(facts: Facts, loads: pd.DataFrame) -> pd.DataFrame:
    """Completed loads: what they took until the weights were read, their bytes, their rate, and what else they needed.

    `options` are those that make loads comparable; `cramped` loads had less memory free than they took: what they
    waited for may have been swap.
    """
    loads["weights_bytes"] = _weights(facts, loads)
    placed = _placed(facts, loads)
    # At DEBUG the log tells when the last of the weights was on the GPU; what comes after it is not the disk. Those
    # of the processor are mapped, and read later.
    read_s = (_read_at(facts, loads) - loads["began_at"]).dt.total_seconds()
    on_gpu = placed["layers_gpu"].eq(placed["layers_total"]) & read_s.lt(loads["took_s"])
    loads["took_s"] = loads["took_s"].where(~on_gpu, read_s)
    loads["options"] = [f"{context} {layers}" for context, layers in zip(loads["context_length"], placed["layers_gpu"],
                                                                         strict=True)]  # fmt: skip
    kv_bytes, free_bytes = placed["kv_bytes"].fillna(0), placed["system_free_bytes"]
    room_bytes = free_bytes + placed["free_bytes"].fillna(0)
    loads["large_cache"] = kv_bytes > loads["weights_bytes"]
    loads["cramped"] = (
        (loads["large_cache"] & free_bytes.isna())
        | (free_bytes < loads["weights_bytes"])
        | (room_bytes < loads["weights_bytes"] + kv_bytes)
    )
    loads["rate"] = loads["weights_bytes"] / loads["took_s"].clip(lower=1e-3)
    return loads


def _of_loads(facts: Facts, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `load`: the first line of the load in whose lines they stand."""
    rows = rows.sort_values("line", ignore_index=True)
    load = np.full(len(rows), np.nan)
    for (host, source), own in facts.loads.groupby(["host", "source"]):
        there = np.flatnonzero(rows["host"].eq(host) & rows["source"].eq(source))
        starts = np.sort(own["line"].to_numpy(np.int64))
        before = np.searchsorted(starts, rows["line"].to_numpy(np.int64)[there], side="right")
        load[there[before > 0]] = starts[before[before > 0] - 1]
    return rows.assign(load=load)


def _read_at(facts: Facts, loads: pd.DataFrame) -> pd.Series:
    """When all weights of each load were read, where the log tells of the progress."""
    told = facts.events("load_progress")
    told = told[told["text"].str.contains("progress 1.00", regex=False)]
    first = _of_loads(facts, told).drop_duplicates(["host", "source", "load"])
    keys = ["host", "source", "load"]
    found = loads[["host", "source", "line"]].set_axis(keys, axis=1).merge(first[[*keys, "at"]], on=keys, how="left")
    return pd.to_datetime(pd.Series(found["at"].to_numpy(), loads.index), utc=True)


def _placed(facts: Facts, loads: pd.DataFrame) -> pd.DataFrame:
    """What each load says of its place, a row for each; empty cells where it says nothing."""
    keys = ["host", "source", "load"]
    columns = ["layers_gpu", "layers_total", "kv_bytes", "free_bytes", "system_free_bytes"]
    last = _of_loads(facts, placements(facts)).drop_duplicates(keys, keep="last")
    found = loads[["host", "source", "line"]].set_axis(keys, axis=1).merge(last[[*keys, *columns]], on=keys, how="left")
    return found[columns].astype(float).set_axis(loads.index)


def _weights(facts: Facts, loads: pd.DataFrame) -> pd.Series:
    """Bytes of weights by load: what its runner put on its devices, else the size of the model on disk."""
    told = facts.events("buffers", "mem_layout")
    kinds = [fields.get("kind", "model") if key == "buffers" else "model" if '"model weights"' in text else ""
             for key, fields, text in zip(told["key"], told["fields"], told["text"], strict=True)]  # fmt: skip
    told = told.assign(
        kind=kinds,
        device=[fields.get("device", "") for fields in told["fields"]],
        size=[float(fields["mib"]) * 2**20 if "mib" in fields else size_bytes(fields.get("size", ""))
              for fields in told["fields"]],
    )  # fmt: skip
    told = _of_loads(facts, told[told["kind"].eq("model")])
    # Probing for what fits prints them before; the last of each device counts. The two shapes tell of the same bytes.
    last = told.drop_duplicates(["source", "load", "key", "device"], keep="last")
    by_load = last.groupby(["source", "load", "key"])["size"].sum().groupby(["source", "load"]).max().to_dict()
    on_disk = facts.table("models").drop_duplicates("model", keep="last").set_index("model")["size_bytes"]
    found = [by_load.get(place) for place in zip(loads["source"], loads["line"], strict=True)]
    return pd.Series(found, loads.index, dtype=float).fillna(loads["model"].map(on_disk).astype(float))


def _judged(facts: Facts, own: pd.DataFrame, fast: pd.DataFrame) -> Iterator[Finding]:
    """One model: its slowest load, what it says of the disk, and what is still to be collected."""
    every, own = own, own[~own["cramped"]]
    if own["took_s"].lt(_UNNOTICED_S).all():
        longest = every.loc[every["took_s"].idxmax()]
        took = f"{_named(longest['model'])} took {seconds_text(longest['took_s'])} to load"
        yield hints(f"{took}, and its weights and cache may have been more than the memory that was free: swap, or the "
                    "disk.", *places([longest.to_dict()]))  # fmt: skip
        yield unseen(_IOSTAT)
        return
    slowest = own.loc[own["took_s"].idxmax()]
    before = every.loc[every["spawned_at"] < slowest["spawned_at"], "took_s"].min()
    own = own[own["options"].eq(slowest["options"])]
    quickest = own.loc[own["took_s"].idxmin()]
    rate, took_s, best_s = slowest["rate"], slowest["took_s"], quickest["took_s"]
    here = places([slowest.to_dict(), quickest.to_dict()], 1 if len(own) == 1 else 2)
    speed = f", {size_text(rate)}/s of its {size_text(slowest['weights_bytes'])}" if rate > 0 else ""
    sentence = f"{_named(slowest['model'])} took {seconds_text(took_s)} to load{speed}"
    when = (slowest["began_at"].to_pydatetime(), slowest["ended_at"].to_pydatetime())
    if rate >= _SSD_BYTES_PER_S:
        yield refutes(f"{sentence}: no slower than an SSD.", *here)
        return
    samples = _samples(facts, slowest)
    waits = samples[samples["state"].eq("D")]
    if len(waits) and len(waits) >= len(samples) / 2 and rate > 0:
        yield proves(f"{sentence}; its runner waited for the disk (state D) in {len(waits):,} of {len(samples):,} "
                     "samples.", *here, *places(waits, 1), span=when)  # fmt: skip
        return
    yield unseen(_IOSTAT)
    large = slowest["weights_bytes"] >= _TELLING_BYTES
    faster = took_s - best_s >= _UNNOTICED_S and took_s >= _CACHED_FACTOR * best_s
    if len(fast):
        other = fast.iloc[0]
        yield hints(f"{sentence}, but the first load of {_named(other['model'])} read {size_text(other['rate'])}/s: "
                    "the disk can.", *here, *places(fast, 1), span=when)  # fmt: skip
    elif before * _CACHED_FACTOR <= took_s:
        yield hints(f"{sentence}, after a load of {seconds_text(before)}: what had been read before was gone from "
                    "memory, or it was not the disk.", *here, span=when)  # fmt: skip
    elif faster and large:
        yield supports(f"{sentence}, and {seconds_text(best_s)} when its file was in the page cache.", *here,
                       span=when)  # fmt: skip
    elif faster:  # of a small model, or one whose size is not known
        yield hints(f"{sentence}, and {seconds_text(best_s)} when its file was in the page cache.", *here,
                    span=when)  # fmt: skip
        yield unseen("curl -s http://127.0.0.1:11434/api/tags: the size of each model on disk")
    elif large and rate < _SLOWEST_BYTES_PER_S and len(every) == 1 and not slowest["large_cache"]:
        yield supports(f"{sentence}, less than a spinning disk reads.", *here, span=when)
    else:  # what takes as long with the file in the page cache is not the disk, nor is the writing of a large cache
        others = f"; the fastest of {len(every):,} took {seconds_text(every['took_s'].min())}" if len(every) > 1 else ""
        yield hints(f"{sentence}{others}.", *here, span=when)


def _named(model: str) -> str:
    return model or "(a model without a name in the log)"


def _samples(facts: Facts, load: pd.Series) -> pd.DataFrame:
    """Samples of the runners during a load."""
    rows = facts.table("processes")
    rows = rows[rows["role"].eq("runner") & rows["host"].eq(load["host"]) & rows["state"].ne("")]
    return rows[rows["at"].between(load["began_at"], load["ended_at"])]
