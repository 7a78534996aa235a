"""Where each load put its model: layers, weights, caches and devices, read from the lines of one load together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pandas as pd

from ...once import once
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


@once
def placements(facts: Facts) -> pd.DataFrame:
    """One row a load that says something of its place: COLUMNS; what a version does not print is NaN.

    `gpus` are the GPU devices that got weights, `line` is where the layers stand (or the first line of the load).
    `weights_bytes`, `kv_bytes`, `compute_bytes` count all devices, `free_bytes` what the GPUs had free before the
    load, `system_free_bytes` what the machine had.
    """
    rows = facts.events(*_KEYS)
    names = facts.found.names
    found = [
        {"host": host, "source": source} | placement
        for (host, source), own in rows.groupby(["host", "source"])
        for load in _by_load(own.sort_values("line", kind="stable"))
        if (placement := _placement(load, names))
    ]
    frame = pd.DataFrame(found, columns=list(COLUMNS))
    numbers = ["layers_gpu", "layers_total", *(name for name in COLUMNS if name.endswith("_bytes")), "context_length"]
    frame[numbers] = frame[numbers].astype(float)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame


@dataclass
class _Load:
    """The lines of one load: the fields by their keys, the line of each key's last, and the first line and time."""

    line: int
    at: pd.Timestamp | None = None
    fields: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    last_lines: dict[str, int] = field(default_factory=dict)


def _by_load(rows: pd.DataFrame) -> Iterable[_Load]:
    """The lines of one log, load by load."""
    keys, fields, lines = (rows[name].tolist() for name in ("key", "fields", "line"))
    # Until 0.11.4 estimates stand before the spawn that they belong to, later after it: the next message tells.
    said = [told.get("msg") for key, told in zip(keys, fields, strict=True) if key in _SPAWNS]
    following: list[Any] = [*accumulate(reversed(said), lambda later, own: later if own is None else own)][::-1]
    loads: dict[int, _Load] = {}
    begun = 0
    for key, told, line, at in zip(keys, fields, lines, rows["at"], strict=True):
        begun += key in _SPAWNS
        early = key in _ESTIMATES and begun < len(following) and following[begun] == "starting llama server"
        load = loads.setdefault(begun + early, _Load(line))
        load.fields.setdefault(key, []).append(told)
        load.last_lines[key] = line
        if at is not pd.NaT and (load.at is None or at < load.at):
            load.at = at
    return loads.values()


def _placement(load: _Load, names: Mapping[str, str]) -> dict[str, Any] | None:
    fields = load.fields
    sizes = _sizes([*fields.get("buffers", ()), *fields.get("mem_layout", ())])
    estimate = fields.get("offload_est", [{}])[-1]
    layers = fields.get("layers_offloaded", [{}])[-1]
    if not layers and not sizes and not estimate:
        return None
    spawn = fields.get("runner_spawn", [{}])[0]
    command = str(spawn.get("cmd", ""))
    kv_total = sum(float(each["mib"]) for each in fields.get("kv_total", ()) if each.get("mib")) * _MIB
    contexts = [*_CONTEXT.findall(command), *(each.get("kv_size") for each in fields.get("load_params", ()))]
    requested = [each.get("requested") for each in fields.get("loading_model", ())]
    model = model_key(str(spawn.get("model", "")))
    gpus = tuple(sorted({gpu for (kind, gpu), size in sizes.items() if kind == "weights" and gpu and size}))
    if _total(sizes, "weights") and not gpus and not layers:
        layers = {"layers_gpu": "0"}  # the runner found no GPU, whatever was estimated
    return {
        "line": load.last_lines.get("layers_offloaded", load.line),
        "at": load.at,
        "model": names.get(model, model) or "a model",
        "layers_gpu": layers.get("layers_gpu") or estimate.get("layers.offload"),
        "layers_total": layers.get("layers_total") or estimate.get("layers.model"),
        "gpus": gpus,
        "weights_bytes": _total(sizes, "weights") or _bytes(estimate.get("memory.weights.total", "")),
        "kv_bytes": _total(sizes, "kv") or kv_total or _bytes(estimate.get("memory.required.kv", "")),
        "compute_bytes": _total(sizes, "compute"),
        "free_bytes": _free(fields, estimate),
        "system_free_bytes": _bytes(fields.get("sysmem", [{}])[-1].get("free", "")),
        "context_length": next((context for context in reversed(contexts) if context), None),
        "asked_for_cpu": bool(_NO_GPU.search(command)) or "0" in requested or estimate.get("layers.requested") == "0",
    }


def _sizes(rows: Iterable[Mapping[str, str]]) -> dict[tuple[str, str], float]:
    """Bytes by kind and GPU (empty for the processor): fitting prints them more than once, and the last counts."""
    last: dict[tuple[str, str], float] = {}
    for row in rows:
        device = row.get("device") or row.get("backend") or row.get("buffer") or ""
        # Old runners say only "buffer size" of the weights.
        kind = _KINDS.get(row.get("kind") or row.get("msg") or "model", "")
        size = float(row["mib"]) * _MIB if "mib" in row else _bytes(row.get("size", ""))
        if kind and size is not None:
            last[kind, device] = float(size)
    found: dict[tuple[str, str], float] = {}
    for (kind, device), size in last.items():
        name = _gpu(device)
        found[kind, name] = found.get((kind, name), 0.0) + size
    return found


@lru_cache(maxsize=1024)
def _gpu(device: str) -> str:
    gpu = _GPU.match(device)
    return gpu[1] if gpu else ""


_bytes = lru_cache(maxsize=4096)(size_bytes)


def _total(sizes: dict[tuple[str, str], float], wanted: str) -> float | None:
    return sum(size for (kind, _), size in sizes.items() if kind == wanted) or None


def _free(fields: Mapping[str, list[Mapping[str, Any]]], estimate: Mapping[str, Any]) -> float | None:
    """What the GPUs had free before the load, by the runner, the scheduler or the estimate."""
    if free := {each["device"]: float(each["mib"]) * _MIB for each in fields.get("device_free", ()) if "mib" in each}:
        return sum(free.values())
    if found := {each.get("id", ""): _bytes(each.get("available", "")) for each in fields.get("gpumem", ())}:
        return float(sum(size or 0 for size in found.values()))
    shown = estimate.get("memory.available", "").strip("[]") if estimate.get("library") not in (None, "cpu") else ""
    parts = [_bytes(part) for part in re.findall(r"[\d.]+ [KMGT]?i?B", shown)]
    return float(sum(part or 0 for part in parts)) if parts else None
