"""Examples of `rocm_mismatch`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

AMD = "==> /proc/bus/pci/devices <==\nvendors: 1002 1022\nnodes:\n/dev/kfd\n/dev/dri/renderD128\n"
RECORD = '{"collector": "GPU", "at": "2026-03-14T12:00:00Z", "step": "GPU devices", "file": "gpu-devices.txt", '
RECORD += '"outcome": "captured", "reason": "", "wall_s": 0.1, "bytes": 9}\n'
DROP_IN = '[Service]\nEnvironment="OLLAMA_HOST=0.0.0.0"\nEnvironment="HSA_OVERRIDE_GFX_VERSION={}"\n'


def log(device: str, *lines: str, version: str = "0.16.1", **settings: str) -> str:
    """A start, then these lines as they are."""
    found = ServerLog().start(version=version, device=device, **settings)
    found.add(NOON + timedelta(seconds=1), *lines)
    return found.text()


CRASHED = slog(NOON, "INFO", "runner.go:464", "failure during GPU discovery", error="runner crashed",
               OLLAMA_LIBRARY_PATH="[/usr/local/lib/ollama /usr/local/lib/ollama/rocm]")  # fmt: skip
CUDA_FAILED = CRASHED.replace("rocm", "cuda_v13")
DROPPED = slog(NOON, "WARN", "amd.go:88", "dropping ROCm device — no rocblas support for gfx target", device="ROCm0",
               gfx_target="gfx1103")  # fmt: skip
MISSING = slog(NOON, "WARN", "amd_linux.go:443", "amdgpu detected, but no compatible rocm library found.  Either "
               "install rocm v6, or follow manual install instructions of the documentation")  # fmt: skip
ASIDE = slog(NOON, "INFO", "amd_linux.go:297", "unsupported Radeon iGPU detected skipping", id=0, total="512.0 MiB")

EXAMPLES = [
    Example(
        "the search for GPUs crashes",
        "supported",
        {"server.log": log("cpu", CRASHED), "gpu-devices.txt": AMD},
        ("failed 1 time ", "runner crashed"),
        "warning",
    ),
    Example(
        "a gfx target without libraries",
        "confirmed",
        {"server.log": log("cpu", DROPPED, version="0.32.1")},
        ("gfx1103 is not on its list",),
        "warning",
    ),
    Example(
        "libraries that are not there",
        "confirmed",
        {"server.log": log("cpu", MISSING, version="0.9.6")},
        ("amdgpu detected, but no compatible rocm library found.",),
        "warning",
    ),
    Example(
        "invalid device function",
        "confirmed",
        {"server.log": log("ROCm", "ROCm error: invalid device function")},
        ("no code for this GPU",),
        "critical",
    ),
    Example(
        "an override that cannot work",
        "confirmed",
        {"ollama.service.d/override.conf": DROP_IN.format("gfx1030")},
        ("'gfx1030'",),
        "warning",
    ),
    Example(
        "an override that works",
        "supported",
        {"server.log": log("ROCm", HSA_OVERRIDE_GFX_VERSION="11.0.2")},
        ("11.0.2",),
        "info",
    ),
    Example(
        "an override without effect",
        "supported",
        {"server.log": log("cpu", HSA_OVERRIDE_GFX_VERSION="11.0.2")},
        ("no effect",),
        "warning",
    ),
    Example(
        "an integrated GPU is passed over beside the real one",
        "ruled_out",
        {"server.log": log("CUDA", ASIDE, version="0.9.6")},
        ("another GPU serves",),
    ),
    Example("ROCm serves", "ruled_out", {"server.log": log("ROCm")}, ("1 ROCm device,",)),
    Example("the search for CUDA devices crashes", "ruled_out", {"server.log": log("CUDA", CUDA_FAILED)}, ("cuda",)),
    Example(
        "the kernel has no AMD GPU",
        "ruled_out",
        {"server.log": log("cpu"), "collection.jsonl": RECORD, "gpu-devices.txt": AMD.replace("1002", "8086")},
        ("0 AMD GPUs",),
    ),
    Example(
        "only the processor, and nobody asked the kernel", "not_observable", {"server.log": log("cpu")}, ("rocm-smi",)
    ),
]
