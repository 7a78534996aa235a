"""Examples of `integrated_gpu_dropped`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

MESSAGE = "dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1"


def log(*starts: tuple[str, str], drops: bool = True, name: str = "Radeon 780M") -> str:
    """Starts of these versions and devices, an hour apart; those from 0.30.0 on drop the integrated GPU."""
    found = ServerLog()
    for number, (version, device) in enumerate(starts):
        at = NOON + timedelta(hours=number)
        if version >= "0.30" and drops:
            line = slog(at, "INFO", "runner.go:150", MESSAGE, id=0, library="Vulkan", description=name)
            found.add(at + timedelta(seconds=0.5), line)
        found.start(3600 * number, version, device)
    return found.text()


EXAMPLES = [
    Example(
        "after an upgrade",
        "confirmed",
        {"server.log": log(("0.24.0", "Vulkan"), ("0.32.1", "cpu"))},
        ("Radeon 780M", "0.24.0 had found 1 GPU at 1 of 2 starts", "0 other GPUs are left"),
        "warning",
    ),
    Example(
        "a discrete GPU serves",
        "confirmed",
        {"server.log": log(("0.32.1", "CUDA"))},
        ("what serves is 1 other GPU",),
        "info",
    ),
    Example(
        "Vulkan's view of a GPU that CUDA drives",
        "ruled_out",
        {"server.log": log(("0.32.1", "CUDA"), name="a GPU")},
        ("one backend's view of a GPU was dropped",),
    ),
    Example(
        "0.30 or later that drops none",
        "ruled_out",
        {"server.log": log(("0.32.1", "CUDA"), drops=False)},
        ("At the starts of 0.32.1 0 lines",),
    ),
    Example("an older version", "ruled_out", {"server.log": log(("0.13.5", "cpu"))}),
    Example(
        "no start in the log",
        "not_observable",
        {"server.log": ServerLog().load(5).request(10, 3.0).text()},
        ("from its start on",),
    ),
]
