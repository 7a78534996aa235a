"""Examples of `vulkan_backend`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

HEAD = "started_at,ended_at,model,endpoint,status,wall_s,eval_count,eval_duration\n"
AMD = "==> /proc/bus/pci/devices <==\nvendors: 1002 1022\nnodes:\n/dev/kfd\n"


def log(*libraries: str, version: str = "0.17.7") -> str:
    """Starts with these backends of the same GPU, an hour apart."""
    found = ServerLog()
    for number, library in enumerate(libraries):
        at = NOON + timedelta(hours=number)
        fields = {"id": library, "library": library, "description": library if library == "cpu" else "Radeon 7900",
                  "pci_id": "" if library == "cpu" else "0000:03:00.0", "total": "24.0 GiB"}  # fmt: skip
        found.add(at, slog(at, "INFO", "routes.go:1607", f"Listening on 127.0.0.1:11434 (version {version})"))
        found.add(at, slog(at, "INFO", "types.go:42", "inference compute", **fields))
    return found.text()


def trials(*rates: float) -> str:
    """Four calls after each start, of 200 tokens at this rate; the third of them hangs."""
    lines = []
    for number, rate in enumerate(rates):
        for call in range(4):
            at = NOON + timedelta(hours=number, seconds=60 + 100 * call)
            took_s = 60.0 if call == 2 else 200 / rate
            status = "" if call == 2 else "200"
            ended, told = at + timedelta(seconds=took_s), "," if call == 2 else f"200,{int(took_s * 1e9)}"
            lines.append(f"{at.isoformat()},{ended.isoformat()},m,/api/chat,{status},{took_s},{told}\n")
    return HEAD + "".join(lines)


def beside(library: str, name: str) -> str:
    """A start that finds two GPUs, each by its own backend and both with id 0."""
    found = ServerLog().start(device="Vulkan")
    found.add(NOON, slog(NOON, "INFO", "types.go:32", "inference compute", id=0, library=library, description=name,
                         pci_id="0000:01:00.0"))  # fmt: skip
    return found.text()


LOST = "ggml_vulkan: device lost on Vulkan0\n"

EXAMPLES = [
    Example(
        "ROCm serves the same GPU six times faster",
        "confirmed",
        {"server.log": log("Vulkan", "ROCm"), "trials.csv": trials(20, 122)},
        ("20 tokens a second", "against 122", "no clear difference"),
        "warning",
    ),
    Example(
        "ROCm serves it no faster",
        "supported",
        {"server.log": log("Vulkan", "ROCm"), "trials.csv": trials(100, 110)},
        (),
        "info",
    ),
    Example(
        "Vulkan loses its device", "supported", {"server.log": log("Vulkan") + LOST}, ("lost its device",), "critical"
    ),
    Example(
        "an integrated GPU beside one with CUDA",
        "supported",
        {"server.log": beside("CUDA", "NVIDIA GeForce RTX 2050")},
        ("Vulkan drives 1 device at 1 of 1 start; CUDA drives others, 1 device at 1 of 1 start",),
        "info",
    ),
    Example(
        "the only backend of this GPU", "supported", {"server.log": log("Vulkan")}, ("0 devices of another",), "info"
    ),
    Example(
        "Vulkan serves where only the processor did",
        "supported",
        {"server.log": log("cpu", "Vulkan"), "trials.csv": trials(5, 60)},
        ("3.3 s with Vulkan and 40.0 s",),
        "info",
    ),
    Example(
        "Vulkan is off and might serve",
        "supported",
        {"server.log": log("cpu"), "gpu-devices.txt": AMD},
        ("might serve",),
        "info",
    ),
    Example("ROCm serves", "ruled_out", {"server.log": log("ROCm")}, ("rocm serves",)),
    Example("a version without Vulkan", "ruled_out", {"server.log": log("cpu", version="0.9.6")}),
    Example("Vulkan was looked for and found nothing", "ruled_out", {"server.log": log("cpu", version="0.32.1")}),
    Example(
        "only the processor, and nobody asked the kernel", "not_observable", {"server.log": log("cpu")}, ("kernel",)
    ),
    Example("no start in the log", "not_observable", {"server.log": ServerLog().request(10, 3.0).text()}),
]
