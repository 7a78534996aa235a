"""What the memory of a context takes: the KV cache by a model's own numbers, as `/api/show` tells them.

Each layer keeps a key and a value for every cell: kv heads × length of a head × bytes of an element. All cells of all
parallel slots are taken when the model is loaded, however short the prompts are. The numbers are GGUF metadata
(llama.cpp, gguf-py constants); the sums are those that loaders print (`KV buffer size`), which the tests compare.

Some models need less than that: with a sliding window (gemma3, gpt-oss) most layers keep only the newest cells; hybrid
models (qwen35, nemotron_h) have layers without a cache; latent attention (deepseek2) may keep a compressed form. How
much less differs by version, so the sum is then an upper bound, and `upper_bound_because` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...errors import CannotTell

# Bytes of one element. Quantized: blocks of 32 with a scale of 2 bytes (llama.cpp, ggml-common.h).
ELEMENT_BYTES = {"f32": Fraction(4), "f16": Fraction(2), "q8_0": Fraction(34, 32), "q4_0": Fraction(18, 32)}
# Loaders round the cells of a slot up to a multiple: 32 in old versions, 256 in new ones.
_CELLS_MULTIPLE = 256


@dataclass(frozen=True)
class CacheShape:
    """What one cell of a model's cache holds, over all layers; an upper bound where `upper_bound_because` says why."""

    architecture: str
    layers: int
    key_elements: int
    value_elements: int
    trained_context: int | None
    sliding_window: int | None = None
    upper_bound_because: str = ""

    def bytes_per_cell(self, cache_type: str = "f16") -> Fraction:
        """Of keys and values of all layers. Raises CannotTell for a type that is not known."""
        if cache_type not in ELEMENT_BYTES:
            raise CannotTell(f"KV cache type {cache_type[:40]!r}: expected one of {', '.join(ELEMENT_BYTES)}.")
        return (self.key_elements + self.value_elements) * ELEMENT_BYTES[cache_type]

    def is_upper_bound(self, num_ctx: int) -> str:
        """Why a cache of that context may be smaller than the sum; empty where the sum is exact."""
        if self.upper_bound_because:
            return self.upper_bound_because
        if self.sliding_window and self.sliding_window < num_ctx:
            return f"a sliding window of {self.sliding_window:,} tokens lets many layers keep less than the context"
        return ""


def cache_shape(model_info: Mapping[str, Any]) -> CacheShape:
    """The shape from the `model_info` of `/api/show`. Raises CannotTell naming what is missing.

    >>> shape = cache_shape({"general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096,
    ...                      "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8})
    >>> cache_bytes(shape, 4096) // 2**20  # MiB: 2 × 32 layers × 4,096 × 8 heads × 128 × 2 bytes
    512
    """
    architecture = str(model_info.get("general.architecture") or "")

    def said(name: str) -> Any:
        return model_info.get(f"{architecture}.{name}")

    layers = _count(said("block_count"))
    heads = _per_layer(said("attention.head_count"), layers)
    kv_heads = _per_layer(said("attention.head_count_kv"), layers) or heads
    key, value = (_count(said(f"attention.{name}_length")) for name in ("key", "value"))
    if not key or not value:
        embedding = _count(said("embedding_length"))
        of_a_head = embedding // max(heads) if embedding and heads and max(heads) else 0
        key, value = key or of_a_head, value or of_a_head
    if not layers or not kv_heads or not key or not value:
        raise CannotTell(
            f"The metadata of architecture {architecture[:40] or '(none)'!r} does not tell the size of its cache; "
            "expected in model_info: block_count, attention.head_count_kv or head_count, and attention.key_length and "
            "value_length or embedding_length."
        )
    return CacheShape(
        architecture, layers, sum(kv_heads) * key, sum(kv_heads) * value, _count(said("context_length")) or None,
        _count(said("attention.sliding_window")) or None, _why_less(model_info, architecture),
    )  # fmt: skip


def cells_of(num_ctx: int, parallel: int = 1) -> int:
    """Cells that are taken for a context of each of so many slots, rounded up as the newest loaders do.

    >>> cells_of(90_000), cells_of(4096, 4)
    (90112, 16384)
    """
    return -(-num_ctx // _CELLS_MULTIPLE) * _CELLS_MULTIPLE * max(parallel, 1)


def cache_bytes(shape: CacheShape, num_ctx: int, parallel: int = 1, cache_type: str = "f16") -> int:
    """What the cache of a context takes, for all parallel slots.

    >>> llama3_8b = CacheShape("llama", 32, 32 * 8 * 128, 32 * 8 * 128, 8192)
    >>> [cache_bytes(llama3_8b, 8192, 4, kind) // 2**20 for kind in ("f16", "q8_0", "q4_0")]
    [4096, 2176, 1152]
    """
    return int(cells_of(num_ctx, parallel) * shape.bytes_per_cell(cache_type))


def context_within(shape: CacheShape, memory_bytes: int, parallel: int = 1, cache_type: str = "f16") -> int:
    """The largest context whose cache fits, a multiple of 256; 0 where none does.

    >>> context_within(CacheShape("llama", 32, 32 * 8 * 128, 32 * 8 * 128, 8192), 600 * 2**20)
    4608
    """
    cells = int(max(memory_bytes, 0) / (shape.bytes_per_cell(cache_type) * max(parallel, 1)))
    return cells // _CELLS_MULTIPLE * _CELLS_MULTIPLE


def _why_less(model_info: Mapping[str, Any], architecture: str) -> str:
    names = {name.removeprefix(f"{architecture}.") for name in model_info}
    if "full_attention_interval" in names or any(name.startswith("ssm.") for name in names):
        return "not every layer of this hybrid model keeps a cache"
    if "attention.kv_lora_rank" in names:
        return "this model's latent attention may be kept in a compressed form"
    if "attention.shared_kv_layers" in names:
        return "some layers of this model share their cache"
    return ""


def _count(value: Any) -> int:
    """A whole number that is one; 0 for anything else. What a model's file says is not to be trusted further."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40 else 0


def _per_layer(value: Any, layers: int) -> list[int]:
    """A number for each layer; some models have a list of them, with zeros for layers without attention."""
    if isinstance(value, list) and len(value) == layers and all(isinstance(one, int) and one >= 0 for one in value):
        return [int(one) for one in value]
    return [_count(value)] * layers if _count(value) else []
