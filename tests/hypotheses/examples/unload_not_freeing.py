"""Examples of `unload_not_freeing`."""

import json
from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog

GIB = 2**30
BLOBS = (BLOB, BLOB.replace("ab", "cd"))


UNREAD = "cuda driver library failed to get device context 800"


def log(version: str, warned: int = 0, device: str = "CUDA", ticks: int = 1, unread: bool = False) -> str:
    """Two models that take turns, six times; some of the unloads are warned of, once or at each tick of 250 ms."""
    found = ServerLog().start(version=version, device=device, OLLAMA_KEEP_ALIVE="10s")
    for turn in range(6):
        at_s = 10 + 100 * turn
        found.load(at_s, 6.0, BLOBS[turn % 2], 40001 + turn).request(at_s - 6, 40.0)
        if turn < warned:
            for tick in range(ticks):
                at = NOON + timedelta(seconds=at_s - 1 + tick / 4)
                message, waited = "gpu VRAM usage didn't recover within timeout", f"{5.2 + tick / 4:.3f}"
                found.add(at, slog(at, "WARN", "sched.go:687", message, seconds=waited, model=BLOBS[turn % 2]))
                if unread:
                    found.add(at, UNREAD + slog(at, "WARN", "gpu.go:434", "error looking up nvidia GPU memory"))
    return found.text()


def samples(stays: bool, others_gib: int = 0) -> str:
    """Looks every 10 s: one model at a time, the GPU's memory between them, and what another program holds there."""
    lines = []
    for at_s in range(0, 620, 10):
        turn, within_s = divmod(at_s - 16, 100)
        loaded = at_s >= 16 and within_s < 60
        left = 5 if stays and turn >= 0 and not loaded else 0
        model = {"model": f"m{turn % 2}", "size_bytes": 6 * GIB, "vram_bytes": 6 * GIB, "vram_fraction": 1.0}
        rows = {
            "resident_models": [model] if loaded else [],
            "probes": [{"endpoint": "/api/ps", "status": "200", "wall_s": 0.001}],
            "gpus": [{"gpu": "0", "vendor": "NVIDIA", "total_bytes": 24 * GIB,
                      "used_bytes": (others_gib + left + 6 * loaded) * GIB}],
        }  # fmt: skip
        lines.append(json.dumps({"at": (NOON + timedelta(seconds=at_s)).isoformat(), "rows": rows}))
    return "\n".join(lines) + "\n"


EXAMPLES = [
    Example(
        "memory stays on the GPU",
        "confirmed",
        {"server.log": log("0.13.5"), "samples.jsonl": samples(True)},
        ("6 of 6", "5.0 GiB of 6.0 GiB"),
        "warning",
    ),
    Example("the server warns of it", "supported", {"server.log": log("0.9.6", 5)}, ("5 times in vain", "26.0 s")),
    Example(
        "each wait is warned of three times",
        "supported",
        {"server.log": log("0.9.6", 5, ticks=3)},
        ("5 times in vain", "26.0 s"),
        "warning",
    ),
    Example(
        "one wait, of three ticks", "supported", {"server.log": log("0.9.6", 1, ticks=3)}, ("1 time in vain",), "info"
    ),
    Example(
        "the driver does not tell the memory",
        "not_observable",
        {"server.log": log("0.9.6", 5, unread=True)},
        ("In 5 waits the GPU's driver did not tell its memory",),
    ),
    Example(
        "it comes back",
        "ruled_out",
        {"server.log": log("0.13.5"), "samples.jsonl": samples(False)},
        ("after 6 unloads, and stayed after 0",),
    ),
    Example(
        "another program holds the memory",
        "ruled_out",
        {"server.log": log("0.13.5"), "samples.jsonl": samples(False, 9)},
    ),
    Example("a version that would warn does not", "ruled_out", {"server.log": log("0.9.6")}, ("warns 0 times",)),
    Example("a machine without a GPU", "ruled_out", {"server.log": log("0.13.5", device="cpu")}),
    Example(
        "a version that says it only at DEBUG", "not_observable", {"server.log": log("0.13.5")}, ("OLLAMA_DEBUG=1",)
    ),
]
