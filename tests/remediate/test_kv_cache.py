"""The arithmetic of the KV cache, against what real loaders printed below the metadata of the same model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from warmstall.errors import CannotTell
from warmstall.remediate.actions.kv_cache import cache_bytes, cache_shape, cells_of, context_within

MIB = 2**20
LLAMA3_8B = {
    "general.architecture": "llama", "llama.block_count": 32, "llama.context_length": 8192,
    "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8, "llama.embedding_length": 4096,
}  # fmt: skip

_METADATA = re.compile(r"llama_model_loader: - kv +\d+: +(\S+) (?:u32|u64|i32|str) += (.+?)\s*$")
_SIZE = re.compile(
    r"(?:KV self size +=|llama_kv_cache\w*: size =) +([\d.]+) MiB.*?K \((\w+)\): +[\d.]+ MiB, V \((\w+)\)"
)
_CELLS = re.compile(r"\( *(\d+) cells, +\d+ layers, +\d+/(\d+) seqs\)")
_N_CTX = re.compile(r"(?:llama_new_context_with_model|llama_context|llama_init_from_model): n_ctx += (\d+)")


class Printed(NamedTuple):
    """One cache as a loader printed it, with the metadata it had printed before."""

    where: str
    model_info: dict[str, Any]
    cells: int
    cache_type: str
    mib: float


def printed_caches(log: Path) -> Iterator[Printed]:
    info: dict[str, Any] = {}
    cells = 0
    for number, line in enumerate(log.read_text(errors="replace").splitlines(), 1):
        if "loaded meta data with" in line:
            info = {}
        elif found := _METADATA.search(line):
            info[found[1]] = int(found[2]) if found[2].isdigit() else found[2]
        elif found := _N_CTX.search(line):
            cells = int(found[1])
        elif (found := _SIZE.search(line)) and "general.architecture" in info:
            told = _CELLS.search(line)
            assert found[2] == found[3]
            cells = int(told[1]) * int(told[2]) if told else cells
            yield Printed(f"{log}:{number}", info, cells, found[2], float(found[1]))
            info = {}  # two loads at once: the second cache is of metadata further up


@pytest.mark.parametrize("folder", ["corpus/server-log", "real-ollama"])
def test_the_sum_is_what_real_loaders_print(shared, folder):
    caches = [cache for log in sorted((shared / folder).rglob("*.log")) for cache in printed_caches(log)]
    assert len(caches) > 50
    architectures = set()
    for cache in caches:
        shape = cache_shape(cache.model_info)
        architectures.add(shape.architecture)
        exact = cache.cells * shape.bytes_per_cell(cache.cache_type) / MIB
        assert float(exact) == pytest.approx(cache.mib, abs=0.005), cache.where
        # Whole cells of ours are at least those, since loaders round up less than we do.
        assert cache_bytes(shape, cache.cells, 1, cache.cache_type) / MIB >= cache.mib - 0.005
    assert len(architectures) >= {"corpus/server-log": 5, "real-ollama": 1}[folder]


def test_slots_multiply_the_context_and_quantizing_divides_it():
    shape = cache_shape(LLAMA3_8B)
    assert cache_bytes(shape, 8192) == 1024 * MIB
    assert cache_bytes(shape, 8192, 4) == 4096 * MIB
    assert cache_bytes(shape, 8192, 1, "q8_0") == 1024 * MIB * 34 // 64
    assert cache_bytes(shape, 8192, 1, "q4_0") == 1024 * MIB * 18 // 64


@pytest.mark.parametrize("parallel", [1, 2, 4])
@pytest.mark.parametrize("cache_type", ["f16", "q8_0", "q4_0"])
def test_what_fits_is_the_largest_that_fits(parallel, cache_type):
    shape = cache_shape(LLAMA3_8B)
    for memory_bytes in (0, 31 * MIB, 700 * MIB, 23 * 1024 * MIB):
        context = context_within(shape, memory_bytes, parallel, cache_type)
        assert cache_bytes(shape, context, parallel, cache_type) <= memory_bytes
        assert cache_bytes(shape, context + 256, parallel, cache_type) > memory_bytes
        assert cells_of(context, parallel) == context * parallel


def test_the_lengths_of_heads_may_differ_from_the_embedding():
    info = {"general.architecture": "gemma3", "gemma3.block_count": 26, "gemma3.embedding_length": 1152,
            "gemma3.attention.head_count": 4, "gemma3.attention.head_count_kv": 1, "gemma3.attention.key_length": 256,
            "gemma3.attention.value_length": 256, "gemma3.attention.sliding_window": 512,
            "gemma3.context_length": 32768}  # fmt: skip
    shape = cache_shape(info)
    assert cache_bytes(shape, 4096) == 2 * 26 * 4096 * 256 * 2
    assert "sliding window of 512" in shape.is_upper_bound(4096)
    assert shape.is_upper_bound(512) == ""


def test_layers_may_differ_and_some_have_no_cache():
    info = {"general.architecture": "h", "h.block_count": 4, "h.attention.head_count": 8,
            "h.attention.head_count_kv": [0, 2, 0, 2], "h.embedding_length": 512, "h.ssm.state_size": 16}  # fmt: skip
    shape = cache_shape(info)
    assert shape.key_elements == 4 * 64
    assert "hybrid" in shape.is_upper_bound(256)


@pytest.mark.parametrize(
    "missing", ["general.architecture", "llama.block_count", "llama.attention.head_count", "llama.embedding_length"]
)
def test_what_is_missing_is_not_guessed(missing):
    info = {key: value for key, value in LLAMA3_8B.items() if key != missing}
    with pytest.raises(CannotTell, match="does not tell the size of its cache"):
        cache_shape(info)


@pytest.mark.parametrize("value", [-1, 0, True, "32", 2**70, None, [1, 2], 1.5])
def test_hostile_numbers_are_refused(value):
    with pytest.raises(CannotTell):
        cache_shape({**LLAMA3_8B, "llama.block_count": value})


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(CannotTell, match="f16, q8_0, q4_0"):
        cache_bytes(cache_shape(LLAMA3_8B), 4096, 1, "q5_1")
