"""What the wording's fields are for one model, started with some options: the figures that a loader prints."""

from __future__ import annotations

import os
import time
from functools import lru_cache

import psutil

from .go_text import binary_size
from .models import MIB, VOCABULARY, DrillModel


def model_fields(model: DrillModel, blob: str) -> dict[str, object]:
    """The fields that the model's file alone decides."""
    tensors = 9 * model.n_layer + 3
    tensors_f32 = 2 * model.n_layer + 1
    is_f16 = model.quantization == "F16"
    file_mib = model.tensors_bytes / MIB
    return {
        "blob": blob,
        "model": model.name,
        "truncated_file": model.broken == "truncated_file",
        "architecture": model.architecture,
        "general_name": model.general_name,
        "tensor_count": tensors,
        "tensor_count_f32": tensors_f32,
        "tensor_count_weights": tensors - tensors_f32,
        "weight_type": "f16" if is_f16 else "q8_0",
        "file_type": model.quantization,
        "file_type_id": 1 if is_f16 else 7,
        "file_size": f"{file_mib:.2f} MiB" if file_mib < 1024 else f"{file_mib / 1024:.2f} GiB",
        "file_size_mib": f"{file_mib:.2f}",
        "buffer_bytes": model.file_bytes,
        "bits_per_weight": f"{model.tensors_bytes * 8 / model.params_millions / 1e6:.2f}",
        "params": f"{model.params_millions:.2f} M",
        "n_ctx_train": model.n_ctx_train,
        "n_layer": model.n_layer,
        "n_layer_and_output": model.n_layer + 1,
        "n_embd": model.n_embd,
        "n_ff": model.n_ff,
        "n_head": model.n_head,
        "n_head_kv": model.n_head_kv,
        "n_embd_head": model.n_embd_head,
        "n_gqa": model.n_head // model.n_head_kv,
        "n_embd_k_gqa": model.n_head_kv * model.n_embd_head,
        "weights_size": binary_size(model.weights_bytes()),
        "ggml_ctx_mib": f"{tensors * 0.00053:.2f}",
        "tensor": f"blk.{model.n_layer - 1}.ffn_down.weight",
    }


def load_fields(
    version: str, model: DrillModel, num_ctx: int, parallel: int, num_thread: int, num_batch: int
) -> dict[str, object]:
    """The fields that the options decide: cache, buffers, graph."""
    cells = num_ctx * parallel
    kv = model.kv_bytes(cells)
    tensors = 9 * model.n_layer + 3
    compute_mib = _compute_mib(version, model, num_ctx, cells, num_batch)
    context_mib, model_mib = kv / MIB, model.tensors_bytes / MIB
    total_mib = psutil.virtual_memory().total // MIB
    projected = int(model_mib + context_mib + compute_mib)
    return {
        "num_ctx": num_ctx,
        "parallel": parallel,
        "kv_cells": cells,
        "num_thread": num_thread,
        "num_batch": num_batch,
        "n_batch": num_batch * parallel,
        "mmap": "false",
        "load_mode": "none",
        "weights_buffer": "CPU",
        "small_context": num_ctx < model.n_ctx_train,
        "kv_bytes": kv,
        "kv_mib": f"{kv / MIB:.2f}",
        "kv_mib_whole": kv // MIB,
        "kv_half_mib": f"{kv / MIB / 2:.2f}",
        "kv_size": binary_size(kv),
        "total_size": binary_size(resident_bytes(version, model, num_ctx, parallel)),
        "weights_by_layer": " ".join([str(model.layer_bytes)] * model.n_layer + [str(model.output_bytes)]),
        "kv_by_layer": " ".join([str(kv // model.n_layer)] * model.n_layer + ["0"]),
        "output_mib": f"{(VOCABULARY + (0 if version == '0.32.15' else model.n_embd)) * 4 * parallel / MIB:.2f}",
        "compute_mib": f"{compute_mib:.2f}",
        "max_nodes": max(1024, 8 * tensors),
        "graph_nodes": _graph_nodes(version, model, parallel),
        "projected_mib": projected,
        "model_mib": int(model_mib),
        "context_mib": int(context_mib),
        "compute_whole_mib": int(compute_mib),
        "host_left_mib": total_mib - projected,
        "http_threads": parallel + 4,
        **estimate_fields(model, cells),
    }


def _graph_nodes(version: str, model: DrillModel, parallel: int) -> int:
    if version == "0.3.14":
        return 32 * model.n_layer + 6
    each = 33 if parallel > 1 else 31
    return each * model.n_layer + (7 if version == "0.13.5" else 6)


def _compute_mib(version: str, model: DrillModel, num_ctx: int, cells: int, num_batch: int) -> float:
    if version == "0.3.14":
        return Estimate(model, cells).graph_bytes / MIB + 0.006
    if version == "0.13.5":
        return model.compute_mib
    return (model.compute_base_mib + num_ctx / 1024) * num_batch / 512


def resident_bytes(version: str, model: DrillModel, num_ctx: int, parallel: int) -> int:
    """What `/api/ps` tells: an estimate in 0.3.14, weights and cache in 0.13.5, all buffers in 0.32.15."""
    cells = num_ctx * parallel
    if version == "0.3.14":
        return Estimate(model, cells).required_bytes
    if version == "0.13.5":
        return model.weights_bytes() + model.kv_bytes(cells)
    compute = _compute_mib(version, model, num_ctx, cells, 512 * (2 if parallel > 1 else 1))
    return model.tensors_bytes + model.kv_bytes(cells) + int(compute * MIB)


def estimate_fields(model: DrillModel, cells: int) -> dict[str, object]:
    """What 0.3.14 estimates before a load; its `/api/ps` tells the same sum."""
    estimate = Estimate(model, cells)
    return {
        "weights_total_size": binary_size(estimate.weights_and_cache_bytes),
        "weights_repeating_size": binary_size(estimate.weights_and_cache_bytes - model.output_bytes),
        "weights_nonrepeating_size": binary_size(model.output_bytes),
        "graph_full_size": binary_size(estimate.graph_bytes),
        "graph_partial_size": binary_size(estimate.partial_graph_bytes),
        "required_size": binary_size(estimate.required_bytes),
        "required_bytes": estimate.required_bytes,
    }


def needed_fields(version: str, model: DrillModel, num_ctx: int, parallel: int) -> dict[str, object]:
    """Memory that a version expects to need before it loads, and whether this machine is too small for it.

    All its memory counts, not what is free: whether a drill refuses shall not depend on what else runs.
    """
    cells = num_ctx * parallel
    estimate = Estimate(model, cells).weights_and_cache_bytes
    needed = estimate if version == "0.3.14" else resident_bytes(version, model, num_ctx, parallel)
    too_large = needed > psutil.virtual_memory().total + _free_swap_bytes()
    return {"too_large": too_large, "required_bytes": needed, "required_size": binary_size(needed)}


class Estimate:
    """Memory that 0.3.14 expects a model to need with a cache of that many cells."""

    def __init__(self, model: DrillModel, cells: int) -> None:
        kv = model.kv_bytes(cells)
        layer, heads, embd = model.layer_bytes, model.n_head, model.n_embd
        self.weights_and_cache_bytes = model.n_layer * layer + kv
        self.graph_bytes = 2048 * (1 + 4 * embd + cells * (1 + heads))
        attention = 4 * cells * (512 * heads + model.n_embd_head * model.n_head_kv)
        with_attention = 2048 * (1 + embd + max(cells, embd)) + embd**2 * 9 // 16 + attention
        with_output = 2048 * (embd + VOCABULARY) + embd * VOCABULARY * 105 // 128
        self.partial_graph_bytes = 2048 * embd + max(with_attention, with_output)
        each = layer + kv // model.n_layer
        self.required_bytes = (model.n_layer + 1) * each + model.output_bytes + self.graph_bytes


def host_fields() -> dict[str, object]:
    """This machine now, and what no reader compares: elapsed times of the server's own housekeeping."""
    memory = psutil.virtual_memory()
    return {
        "total_memory": binary_size(memory.total),
        "free_memory": binary_size(memory.available),
        "free_memory_before": binary_size(memory.available),
        "free_bytes": memory.available,
        "available_bytes": memory.available,
        "free_swap": binary_size(_free_swap_bytes()),
        "total_memory_mib": memory.total // MIB,
        "free_memory_mib": memory.available // MIB,
        "cpu_name": "Drill CPU",
        "cpu_count": os.cpu_count() or 1,
        "start_date": time.strftime("%Y/%m/%d %H:%M:%S"),
        "elapsed": "17.220755ms",
        "list_elapsed": "792.292µs",
        "discovery_elapsed": "31.447µs",
        "fit_seconds": "0.00",
        "reserve_ms": "1.38",
        "sampler_ms": "0.01",
        "cache_ms": "0.14",
        "default_max_loaded_models": "0x7ffa00",
        "subprocess_environment": "PATH=/usr/bin:/bin",
    }


@lru_cache(maxsize=1)
def _free_swap_bytes() -> int:
    return int(psutil.swap_memory().free)
