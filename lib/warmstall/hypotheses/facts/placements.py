"""Where each load put its model: layers, weights, caches and devices, read from the lines of one load together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from ...parse.go_values import size_bytes
from ...timeline import model_key
from .facts import Facts

_SPAWNS = ("runner_spawn", "engine1_load")  # before 0.1.32 the server itself loads
_KEYS = (*_SPAWNS, "loading_model", "load_params", "layers_offloaded", "buffers", "mem_layout", "kv_total",
         "device_free", "gpumem", "offload_est", "sysmem")  # fmt: skip
_ESTIMATES = ("offload_est", "sysmem")
_GPU = re.compile(r"((?:CUDA|ROCm|Vulkan|Metal|MTL|SYCL|MUSA|CANN|OpenCL)\d*)(?:_Mapped|_Private|_Split)?$")
_KINDS = {"model": "weights", "model weights": "weights", "KV": "kv", "kv cache": "kv", "compute": "compute",
          "compute graph": "compute"}  # fmt: skip
_CONTEXT = re.compile(r"(?: -c|--ctx-size) (\d{1,9})")
_NO_GPU = re.compile(r"(?: -ngl|--n-gpu-layers) 0\b")
_MIB = 2**20
COLUMNS = (
    "host", "source", "line", "at", "model", "layers_gpu", "layers_total", "gpus", "weights_bytes", "kv_bytes",
    "compute_bytes", "free_bytes", "system_free_bytes", "context_length", "asked_for_cpu",
)  # fmt: skip
_found: WeakKeyDictionary[Facts, pd.DataFrame] = WeakKeyDictionary()


def placements(facts: Facts) -> pd.DataFrame:
    """One row a load that says something of its place: COLUMNS; what a version does not print is NaN.

    `gpus` are the GPU devices that got weights, `line` is where the layers stand (or the first line of the load).
    `weights_bytes`, `kv_bytes`, `compute_bytes` count all devices, `free_bytes` what the GPUs had free before the
    load, `system_free_bytes` what the machine had.
    """
    if facts not in _found:
        _found[facts] = _placements(facts)
    return _found[facts].copy()


def _placements(facts: Facts) -> pd.DataFrame:
    rows = facts.events(*_KEYS).sort_values(["host", "source", "line"])
    spawns = rows["key"].isin(_SPAWNS)
    counted = spawns.groupby([rows["host"], rows["source"]]).cumsum()
    # Until 0.11.4 estimates stand before the spawn that they belong to, later after it.
    said = pd.Series([fields.get("msg") for fields in rows["fields"]], rows.index, dtype=object).where(spawns)
    following = said.groupby([rows["host"], rows["source"]]).bfill()
    rows["load"] = counted + (rows["key"].isin(_ESTIMATES) & following.eq("starting llama server"))
    loads: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    columns = ["host", "source", "load", "line", "at", "key", "fields"]
    for values in zip(*(rows[name].tolist() for name in columns), strict=True):
        loads.setdefault(values[:3], []).append(dict(zip(columns, values, strict=True)))
    found = [_placement(facts, own) for own in loads.values()]
    frame = pd.DataFrame([row for row in found if row], columns=list(COLUMNS))
    numbers = ["layers_gpu", "layers_total", *(name for name in COLUMNS if name.endswith("_bytes")), "context_length"]
    frame[numbers] = frame[numbers].astype(float)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame


def _placement(facts: Facts, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    fields: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        fields.setdefault(row["key"], []).append(row["fields"])
    sizes = _sizes([*fields.get("buffers", ()), *fields.get("mem_layout", ())])
    estimate = fields.get("offload_est", [{}])[-1]
    layers = fields.get("layers_offloaded", [{}])[-1]
    if not layers and not sizes and not estimate:
        return None
    spawn = fields.get("runner_spawn", [{}])[0]
    command = str(spawn.get("cmd", ""))
    kv_total = sum(float(each["mib"]) for each in fields.get("kv_total", ()) if each.get("mib")) * _MIB
    contexts = [*_CONTEXT.findall(command), *(each.get("kv_size") for each in fields.get("load_params", ()))]
    place = next((row for row in reversed(rows) if row["key"] == "layers_offloaded"), rows[0])
    requested = [each.get("requested") for each in fields.get("loading_model", ())]
    return {
        "host": place["host"], "source": place["source"], "line": int(place["line"]),
        "at": min((row["at"] for row in rows if pd.notna(row["at"])), default=None),
        "model": _name(facts, str(spawn.get("model", ""))),
        "layers_gpu": layers.get("layers_gpu") or estimate.get("layers.offload"),
        "layers_total": layers.get("layers_total") or estimate.get("layers.model"),
        "gpus": tuple(sorted({gpu for (kind, gpu), size in sizes.items() if kind == "weights" and gpu and size})),
        "weights_bytes": _total(sizes, "weights") or size_bytes(estimate.get("memory.weights.total", "")),
        "kv_bytes": _total(sizes, "kv") or kv_total or size_bytes(estimate.get("memory.required.kv", "")),
        "compute_bytes": _total(sizes, "compute"),
        "free_bytes": _free(fields, estimate),
        "system_free_bytes": size_bytes(fields.get("sysmem", [{}])[-1].get("free", "")),
        "context_length": next((context for context in reversed(contexts) if context), None),
        "asked_for_cpu": bool(_NO_GPU.search(command)) or "0" in requested or estimate.get("layers.requested") == "0",
    }  # fmt: skip


def _sizes(rows: Iterable[dict[str, str]]) -> dict[tuple[str, str], float]:
    """Bytes by kind and GPU (empty for the processor): fitting prints them more than once, and the last counts."""
    last: dict[tuple[str, str], float] = {}
    for row in rows:
        device = row.get("device") or row.get("backend") or row.get("buffer") or ""
        # Old runners say only "buffer size" of the weights.
        kind = _KINDS.get(row.get("kind") or row.get("msg") or "model", "")
        size = float(row["mib"]) * _MIB if "mib" in row else size_bytes(row.get("size", ""))
        if kind and size is not None:
            last[kind, device] = float(size)
    found: dict[tuple[str, str], float] = {}
    for (kind, device), size in last.items():
        gpu = _GPU.match(device)
        name = gpu[1] if gpu else ""
        found[kind, name] = found.get((kind, name), 0.0) + size
    return found


def _total(sizes: dict[tuple[str, str], float], wanted: str) -> float | None:
    return sum(size for (kind, _), size in sizes.items() if kind == wanted) or None


def _free(fields: dict[str, list[dict[str, str]]], estimate: dict[str, str]) -> float | None:
    """What the GPUs had free before the load, by the runner, the scheduler or the estimate."""
    if free := {each["device"]: float(each["mib"]) * _MIB for each in fields.get("device_free", ()) if "mib" in each}:
        return sum(free.values())
    if found := {each.get("id", ""): size_bytes(each.get("available", "")) for each in fields.get("gpumem", ())}:
        return float(sum(size or 0 for size in found.values()))
    shown = estimate.get("memory.available", "").strip("[]") if estimate.get("library") not in (None, "cpu") else ""
    parts = [size_bytes(part) for part in re.findall(r"[\d.]+ [KMGT]?i?B", shown)]
    return float(sum(part or 0 for part in parts)) if parts else None


def _name(facts: Facts, path: str) -> str:
    """The model's name where it is known, else the short digest of its file."""
    short = model_key(path)
    return facts.found.names.get(short, short) or "a model"
