"""A graphics card that is not there: what the log and `/api/ps` would say of it. Its name says that it is simulated."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

# From this memory on the default context is larger (v0.15.5 and later).
LARGE_VRAM_GIB, LARGE_NUM_CTX = 23.0, 32768
_LIBRARIES = {
    "cuda": ("CUDA", "CUDA0"), "rocm": ("ROCm", "ROCm0"), "metal": ("Metal", "Metal"), "vulkan": ("Vulkan", "Vulkan0"),
}  # fmt: skip


@dataclass(frozen=True)
class SimulatedGpu:
    """One card: its library (`cuda`, `rocm`, `metal`, `vulkan`), its name and its memory."""

    library: str
    name: str
    total_gib: float

    @classmethod
    def read(cls, text: str | None) -> SimulatedGpu | None:
        """The card of `library:name:GiB`, None without text. Raises InputError for anything else.

        >>> SimulatedGpu.read("cuda:Drill GPU:24").name
        'Drill GPU (simulated)'
        """
        if not text:
            return None
        library, _, rest = text.partition(":")
        name, _, size = rest.rpartition(":")
        if library not in _LIBRARIES or not name or not size.replace(".", "", 1).isdigit():
            raise InputError(
                f"{text!r} is no simulated GPU; expected LIBRARY:NAME:GIB with one of {', '.join(_LIBRARIES)}, "
                "such as 'cuda:NVIDIA GeForce RTX 4090:24'"
            )
        return cls(library, f"{name} (simulated)", float(size))

    @property
    def device(self) -> str:
        """What a loader calls the card."""
        return _LIBRARIES[self.library][1]


def gpu_fields(gpu: SimulatedGpu | None, n_layer: int = 0) -> dict[str, object]:
    """The wording's fields for a card, or for its absence: `device` is where weights and cache lie."""
    if gpu is None:
        return {"gpu": False, "device": "CPU", "gpu_layers": "[]", "total_vram": "0 B", "default_num_ctx": 4096}
    layers = f"{n_layer + 1}[ID:0 Layers:{n_layer + 1}(0..{n_layer})]"
    return {
        "gpu": True, "device": gpu.device, "gpu_layers": layers, "gpu_library": _LIBRARIES[gpu.library][0],
        "gpu_library_small": gpu.library, "gpu_name": gpu.name, "total_vram": f"{gpu.total_gib:.1f} GiB",
        "free_vram": f"{gpu.total_gib * 0.97:.1f} GiB", "weights_buffer": gpu.device,
        "default_num_ctx": LARGE_NUM_CTX if gpu.total_gib >= LARGE_VRAM_GIB else 4096,
        "small_vram": gpu.total_gib < 20,
    }  # fmt: skip
