"""What the wording's fields are for one model, started with some options: the figures that a loader prints."""

from __future__ import annotations

from functools import lru_cache

import psutil

from .go_text import binary_size
from .models import MIB, DrillModel

_VOCABULARY = 728


def model_fields(model: DrillModel, blob: str) -> dict[str, object]:
    """The fields that the model's file alone decides."""
    tensors = 9 * model.n_layer + 3
    tensors_f32 = 2 * model.n_layer + 1
    is_f16 = model.quantization == "F16"
    file_mib = (model.file_bytes - 20_000) / MIB
    return {
        "blob": blob,
        "model": model.name,
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
        "bits_per_weight": "16.00" if is_f16 else "8.50",
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
        "tensor": f"blk.{model.n_layer - 1}.ffn_down.weight",
    }


def load_fields(model: DrillModel, num_ctx: int, parallel: int, num_thread: int, num_batch: int) -> dict[str, object]:
    """The fields that the options decide: cache, buffers, graph."""
    cells = num_ctx * parallel
    kv = model.kv_bytes(cells)
    layer = (model.weights_bytes() - _VOCABULARY * model.n_embd) // model.n_layer
    tensors = 9 * model.n_layer + 3
    return {
        "num_ctx": num_ctx,
        "parallel": parallel,
        "kv_cells": cells,
        "num_thread": num_thread,
        "num_batch": num_batch,
        "n_batch": num_batch * parallel,
        "mmap": "false",
        "weights_buffer": "CPU",
        "small_context": num_ctx < model.n_ctx_train,
        "kv_bytes": kv,
        "kv_mib": f"{kv / MIB:.2f}",
        "kv_mib_whole": kv // MIB,
        "kv_half_mib": f"{kv / MIB / 2:.2f}",
        "kv_size": binary_size(kv),
        "total_size": binary_size(model.weights_bytes() + kv),
        "weights_by_layer": " ".join([str(layer)] * model.n_layer + [str(_VOCABULARY * model.n_embd)]),
        "kv_by_layer": " ".join([str(kv // model.n_layer)] * model.n_layer + ["0"]),
        "output_mib": f"{(_VOCABULARY + model.n_embd) * 4 * parallel / MIB:.2f}",
        "compute_mib": f"{model.compute_mib:.2f}",
        "max_nodes": max(1024, 8 * tensors),
        "graph_nodes": (33 if parallel > 1 else 31) * model.n_layer + 7,
    }


def host_fields() -> dict[str, object]:
    """Memory of this machine, now."""
    memory = psutil.virtual_memory()
    return {
        "total_memory": binary_size(memory.total),
        "free_memory": binary_size(memory.available),
        "free_swap": binary_size(_free_swap_bytes()),
        "total_memory_mib": memory.total // MIB,
        "free_memory_mib": memory.available // MIB,
        "elapsed": "17.220755ms",
        "discovery_elapsed": "31.447µs",
    }


@lru_cache(maxsize=1)
def _free_swap_bytes() -> int:
    return int(psutil.swap_memory().free)
