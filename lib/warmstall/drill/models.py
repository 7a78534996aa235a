"""The models that a drill serves: shapes that a loader prints, sizes that `/api/ps` tells, speeds of a small CPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

MIB = 1024 * 1024
VOCABULARY = 728


@dataclass(frozen=True)
class DrillModel:
    """One model: what its file says and how fast it runs.

    `load_s` is the time its runner takes until ready; rates are tokens per second for one sequence.
    """

    name: str
    general_name: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_ctx_train: int
    file_bytes: int
    params_millions: float
    quantization: str
    load_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    compute_mib: float
    compute_base_mib: float
    architecture: str = "llama"
    embedding: bool = False
    broken: str = ""

    @property
    def digest(self) -> str:
        """What `/api/tags` calls the model by: the digest of its manifest."""
        return hashlib.sha256(f"warmstall drill manifest {self.name}".encode()).hexdigest()

    @property
    def blob(self) -> str:
        """The name of its file among the blobs."""
        return "sha256-" + hashlib.sha256(f"warmstall drill blob {self.name}".encode()).hexdigest()

    @property
    def n_embd_head(self) -> int:
        return self.n_embd // self.n_head

    @property
    def tensors_bytes(self) -> int:
        """All weights, embeddings too: the file without its header."""
        return self.n_layer * self.layer_bytes + self.output_bytes + int(VOCABULARY * self.n_embd * self._bytes_each)

    def kv_bytes(self, cells: int) -> int:
        """Room of an f16 key-value cache of that many cells."""
        return cells * self.n_layer * self.n_head_kv * self.n_embd_head * 2 * 2

    @property
    def layer_bytes(self) -> int:
        """Weights of one layer: attention, feed-forward, two norms."""
        attention = 2 * self.n_embd**2 + 2 * self.n_embd * self.n_head_kv * self.n_embd_head
        return int((attention + 3 * self.n_embd * self.n_ff) * self._bytes_each) + 8 * self.n_embd

    @property
    def output_bytes(self) -> int:
        return int(VOCABULARY * self.n_embd * self._bytes_each) + 4 * self.n_embd

    @property
    def _bytes_each(self) -> float:
        return 2.0 if self.quantization == "F16" else 1.0625

    def weights_bytes(self) -> int:
        """Weights without the token embeddings, which the device table does not count."""
        return self.n_layer * self.layer_bytes + self.output_bytes


_TINY = {
    "n_layer": 4, "n_embd": 256, "n_ff": 512, "n_head": 4, "n_head_kv": 2, "n_ctx_train": 4096,
    "file_bytes": 5_495_638, "params_millions": 2.73, "quantization": "F16",
    "load_s": 0.03, "prefill_tokens_per_s": 9000.0, "decode_tokens_per_s": 2200.0, "compute_mib": 14.01,
    "compute_base_mib": 4.51,
}  # fmt: skip
_MID = {
    "n_layer": 8, "n_embd": 1024, "n_ff": 2816, "n_head": 8, "n_head_kv": 4, "n_ctx_train": 4096,
    "file_bytes": 101_948_344, "params_millions": 95.88, "quantization": "Q8_0",
    "load_s": 0.10, "prefill_tokens_per_s": 700.0, "decode_tokens_per_s": 220.0, "compute_mib": 30.51,
    "compute_base_mib": 24.51,
}  # fmt: skip
_BIG = {
    "n_layer": 14, "n_embd": 2048, "n_ff": 8192, "n_head": 16, "n_head_kv": 8, "n_ctx_train": 8192,
    "file_bytes": 1_767_836_728, "params_millions": 883.85, "quantization": "F16",
    "load_s": 2.6, "prefill_tokens_per_s": 120.0, "decode_tokens_per_s": 17.0, "compute_mib": 64.01,
    "compute_base_mib": 64.01,
}  # fmt: skip

# As long as the vectors of the models of those names, and no more like them than that.
_ALL_MINILM = {
    **_TINY, "n_embd": 384, "n_ff": 768, "n_head": 12, "n_head_kv": 12, "file_bytes": 12_950_870,
    "params_millions": 6.46,
}  # fmt: skip
_NOMIC = {
    **_TINY, "n_embd": 768, "n_ff": 1536, "n_head": 12, "n_head_kv": 12, "file_bytes": 49_472_354,
    "params_millions": 24.72,
}  # fmt: skip

MODELS: dict[str, DrillModel] = {
    model.name: model
    for model in (
        DrillModel("tiny", "Tiny Random", **_TINY),  # type: ignore[arg-type]
        DrillModel("tiny2", "Tiny Random", **_TINY),  # type: ignore[arg-type]
        DrillModel("mid", "Mid Random", **_MID),  # type: ignore[arg-type]
        DrillModel("big", "Big Random", **_BIG),  # type: ignore[arg-type]
        DrillModel("hugectx", "Huge Context Random", **{**_MID, "n_ctx_train": 4_000_000}),  # type: ignore[arg-type]
        DrillModel("fooarch", "Unknown Arch", **_TINY, architecture="fooarch", broken="unknown_architecture"),  # type: ignore[arg-type]
        DrillModel("truncated", "Mid Random", **_MID, broken="truncated_file"),  # type: ignore[arg-type]
        DrillModel("bad_magic", "Tiny Random", **_TINY, broken="bad_magic"),  # type: ignore[arg-type]
        DrillModel("missing_blob", "Big Random", **_BIG, broken="missing_blob"),  # type: ignore[arg-type]
        DrillModel("gemma3", "Gemma Random", **_MID, architecture="gemma3"),  # type: ignore[arg-type]
        DrillModel("embed", "Tiny Random", **_TINY, embedding=True),  # type: ignore[arg-type]
        DrillModel("all-minilm", "Small Random", **_ALL_MINILM, embedding=True),  # type: ignore[arg-type]
        DrillModel("nomic-embed-text", "Large Random", **_NOMIC, embedding=True),  # type: ignore[arg-type]
    )
}


def find_model(name: str) -> DrillModel | None:
    """The model of that name, with or without `:latest`."""
    return MODELS.get(name.removesuffix(":latest"))
