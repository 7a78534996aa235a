"""Examples of `cpu_fallback`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog

TABLE = "NAME  ID            SIZE   PROCESSOR        UNTIL\nbig   a418f5838eaf  21 GB  {}  4 minutes from now\n"
GPU = "==> /proc/bus/pci/devices <==\nvendors: 1002 1022\nnodes:\n/dev/kfd\n/dev/dri/renderD128\n"


def log(layers: int, device: str = "CUDA", status: int = 200, wall_s: float = 30.0) -> ServerLog:
    """One load of a model of 33 layers, and a request that may fail."""
    found = ServerLog().start(device=device).load(5, 2.0).request(4, wall_s, status)
    name = "CPU" if device == "cpu" else "CUDA0"
    found.add(NOON + timedelta(seconds=6), f"load_tensors: offloaded {layers}/33 layers to GPU",
              f"load_tensors:        {name} model buffer size =  5000.00 MiB")  # fmt: skip
    return found


def lost() -> str:
    """A GPU that was there at the start and is gone when a model is loaded, against what was planned."""
    found, at = ServerLog().start(version="0.6.5"), NOON + timedelta(seconds=60)
    found.add(at, "cuda driver library failed to get device context 999"
              + slog(at, "WARN", "gpu.go:434", "error looking up nvidia GPU memory"))  # fmt: skip
    plan = {"library": "cuda", "layers.requested": "-1", "layers.model": "33", "layers.offload": "33"}
    found.add(at, slog(at, "INFO", "server.go:138", "offload", **plan))
    cmd = f"/usr/local/bin/ollama runner --model {BLOB} --ctx-size 8192 --n-gpu-layers 33 --port 40001"
    found.add(at, slog(at, "INFO", "server.go:405", "starting llama server", cmd=cmd))
    found.add(at, "ggml_cuda_init: failed to initialize CUDA: unknown error",
              "load_tensors:   CPU_Mapped model buffer size =  5000.00 MiB")  # fmt: skip
    ready = at + timedelta(seconds=5)
    found.add(ready, slog(ready, "INFO", "server.go:619", "llama runner started in 5.00 seconds"))
    return found.request(60, 90.0).text()


def searched(device: str) -> str:
    """A start whose search for GPUs did not end in time."""
    found = ServerLog().start(device=device)
    fields = {"OLLAMA_LIBRARY_PATH": "[/usr/lib/ollama /usr/lib/ollama/cuda_v12]", "extra_envs": "map[]",
              "error": "failed to finish discovery before timeout"}  # fmt: skip
    found.add(NOON, slog(NOON, "INFO", "runner.go:464", "failure during GPU discovery", **fields))
    return found.text()


def planned_blind() -> str:
    """A load that is planned with what the GPU had free before its last model left."""
    stale = slog(NOON, "WARN", "runner.go:358", "unable to refresh free memory, using old values")
    return stale + "\n" + log(5).text()


DRIVER = slog(NOON, "WARN", "gpu.go:604", "unknown error initializing cuda driver library /usr/lib/libcuda.so: "
              "cuda driver library init failure: 999. see https://example.org")  # fmt: skip
NO_DEVICE = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n"
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
    Example(
        "the GPU is lost before a load",
        "confirmed",
        {"server.log": lost()},
        ("1 of 1 load put the whole model", "could not be started (CUDA: unknown error)", "(CUDA: error 999, unknown"),
        "warning",
    ),
    Example(
        "the search for GPUs did not end",
        "confirmed",
        {"server.log": searched("cpu")},
        ("failed 1 time (failed to finish discovery before timeout)", "nvidia-smi"),
        "warning",
    ),
    Example(
        "a setting hides the GPU",
        "confirmed",
        {"server.log": ServerLog().start(device="cpu", CUDA_VISIBLE_DEVICES="1").text()},
        ("while CUDA_VISIBLE_DEVICES is 1", "nvidia-smi"),
        "warning",
    ),
    Example(
        "the processor is wished for",
        "confirmed",
        {"server.log": ServerLog().start(device="cpu", CUDA_VISIBLE_DEVICES="-1").text()},
        (),
        "info",
    ),
    Example("a search failed, and a GPU serves", "not_observable", {"server.log": searched("CUDA")}),
    Example(
        "the driver fails at the start",
        "confirmed",
        {"server.log": DRIVER + "\n" + ServerLog().start(version="0.9.6", device="cpu").text()},
        ("by 1 line there is a GPU; its driver could not be started (CUDA: error 999",),
        "warning",
    ),
    Example(
        "a runner without a GPU says so",
        "confirmed",
        {"server.log": NO_DEVICE + log(0, "cpu").text()},
        ("whole model on the processor",),
        "info",
    ),
    Example(
        "a driver that does not tell its memory, and serves",
        "ruled_out",
        {"server.log": slog(NOON, "WARN", "gpu.go:434", "error looking up nvidia GPU memory") + "\n" + log(33).text()},
        ("did not tell its memory", "every layer on a GPU"),
    ),
    Example(
        "the lines of a driver alone",
        "supported",
        {"server.log": "ggml_cuda_init: failed to initialize CUDA: unknown error\n" + CUT.text()},
        ("runs on the processor",),
        "warning",
    ),
    Example(
        "a split that was planned without a look at the GPU",
        "confirmed",
        {"server.log": planned_blind()},
        ("could not be read before 1 of these",),
        "warning",
    ),
    Example("a split that serves well", "confirmed", {"server.log": log(20).text()}, ("20 of 33 layers",), "info"),
    Example(
        "a split, and requests fail",
        "confirmed",
        {"server.log": log(20).text() + CUT.text()},
        ("Slow, failed or lost: 8 requests",),
        "warning",
    ),
    Example(
        "a split, and a first answer that takes minutes after its load",
        "confirmed",
        {"server.log": log(11, wall_s=300.0).text()},
        ("11 of 33 layers", "Slow, failed or lost: 1 request"),
        "warning",
    ),
    Example(
        "ollama ps shows a share of CPU", "supported", {"ps.txt": TABLE.format("25%/75% CPU/GPU")}, ("25 %",), "warning"
    ),
    Example("all layers on the GPU", "ruled_out", {"server.log": log(33).text()}, ("put every layer on a GPU",)),
    Example("100 % GPU, and no log", "not_observable", {"ps.txt": TABLE.format("100% GPU")}, ("the server's log",)),
    Example(
        "a log without layers", "not_observable", {"server.log": ServerLog().start().load(5).text()}, ("ollama ps",)
    ),
]
