"""Examples of `cpu_fallback`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

TABLE = "NAME  ID            SIZE   PROCESSOR        UNTIL\nbig   a418f5838eaf  21 GB  {}  4 minutes from now\n"
GPU = "==> /proc/bus/pci/devices <==\nvendors: 1002 1022\nnodes:\n/dev/kfd\n/dev/dri/renderD128\n"


def log(layers: int, device: str = "CUDA", status: int = 200) -> ServerLog:
    """One load of a model of 33 layers, and a request that may fail."""
    found = ServerLog().start(device=device).load(5, 2.0).request(10, 30.0, status)
    name = "CPU" if device == "cpu" else "CUDA0"
    found.add(NOON + timedelta(seconds=6), f"load_tensors: offloaded {layers}/33 layers to GPU",
              f"load_tensors:        {name} model buffer size =  5000.00 MiB")  # fmt: skip
    return found


MISSING = ServerLog()
MISSING.add(NOON, slog(NOON, "WARN", "amd_linux.go:443", "amdgpu detected, but no compatible rocm library found."))
CUT = ServerLog()
for number in range(8):
    CUT.request(60 + 61 * number, 60.0, 500)

EXAMPLES = [
    Example(
        "a machine without a GPU",
        "confirmed",
        {"server.log": log(0, "cpu").text()},
        ("whole model on the processor",),
        "info",
    ),
    Example(
        "the kernel has a GPU",
        "confirmed",
        {"server.log": log(0, "cpu").text(), "gpu-devices.txt": GPU},
        ("by 1 line there is a GPU",),
        "warning",
    ),
    Example("a GPU was left out", "confirmed", {"server.log": MISSING.text() + log(0, "cpu").text()}, (), "warning"),
    Example("a split that serves well", "confirmed", {"server.log": log(20).text()}, ("20 of 33 layers",), "info"),
    Example(
        "a split, and requests fail",
        "confirmed",
        {"server.log": log(20).text() + CUT.text()},
        ("Slow, failed or lost: 8 requests",),
        "warning",
    ),
    Example(
        "ollama ps shows a share of CPU", "supported", {"ps.txt": TABLE.format("25%/75% CPU/GPU")}, ("25%",), "info"
    ),
    Example("all layers on the GPU", "ruled_out", {"server.log": log(33).text()}, ("put every layer on a GPU",)),
    Example("100 % GPU, and no log", "not_observable", {"ps.txt": TABLE.format("100% GPU")}, ("the server's log",)),
    Example(
        "a log without layers", "not_observable", {"server.log": ServerLog().start().load(5).text()}, ("ollama ps",)
    ),
]
