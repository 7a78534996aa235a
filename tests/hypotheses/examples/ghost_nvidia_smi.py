"""Examples of `ghost_nvidia_smi`."""

import json

from hypotheses.example import Example, ServerLog

DEVICES = "==> /proc/bus/pci/devices <==\nvendors: {} 8086\nnodes:\n/dev/dri/renderD128\n"


def collection(outcome: str) -> str:
    """The record of a collection that asked the kernel and nvidia-smi."""
    rows = [
        {"collector": "GPU", "step": "GPU devices", "file": "gpu-devices.txt", "outcome": "captured", "reason": ""},
        {
            "collector": "GPU",
            "step": "nvidia-smi",
            "file": "nvidia-smi.txt",
            "outcome": outcome,
            "reason": "exit code 9",
        },
    ]
    return "".join(json.dumps(row | {"at": "2026-03-14T12:00:00Z", "wall_s": 0.1, "bytes": 9}) + "\n" for row in rows)


EXAMPLES = [
    Example(
        "the same GPU at each of two starts",
        "ruled_out",
        {"server.log": ServerLog().start().start(3600).text()},
        ("1 CUDA device at 2 of 2 starts",),
    ),
    Example(
        "an AMD GPU, and nvidia-smi fails",
        "confirmed",
        {"collection.jsonl": collection("failed"), "gpu-devices.txt": DEVICES.format("1002")},
        ("0 NVIDIA devices", "AMD"),
        "warning",
    ),
    Example(
        "ROCm serves nevertheless",
        "confirmed",
        {
            "collection.jsonl": collection("failed"),
            "gpu-devices.txt": DEVICES.format("1002"),
            "server.log": ServerLog().start(device="ROCm").text(),
        },
        (),
        "info",
    ),
    Example(
        "the tool fails, and the GPU is there",
        "ruled_out",
        {"collection.jsonl": collection("failed"), "gpu-devices.txt": DEVICES.format("10de")},
    ),
    Example(
        "it is not installed",
        "ruled_out",
        {"collection.jsonl": collection("missing"), "gpu-devices.txt": DEVICES.format("1002")},
        ("not there",),
    ),
    Example(
        "a server with CUDA",
        "ruled_out",
        {"server.log": ServerLog().start().text()},
        ("1 CUDA device at 1 of 1 start",),
    ),
    Example(
        "nobody asked", "not_observable", {"server.log": ServerLog().start(device="cpu").text()}, ("warmstall collect",)
    ),
]
