"""Examples of `slow_disk`."""

from __future__ import annotations

import json
from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog

OTHER = BLOB.replace("ab" * 32, "cd" * 32)


class Log(ServerLog):
    """Loads of which the log tells how much was read."""

    def reads(self, at_s: float, load_s: float, size: str = "8.0 GiB", blob: str = BLOB) -> Log:
        self.load(at_s, load_s, blob)
        at = NOON + timedelta(seconds=at_s + 0.1)
        self.add(at, slog(at, "INFO", "device.go:240", "model weights", device="CUDA0", size=size))
        return self


def log(*loads: tuple[float, float]) -> str:
    """A log of one model that is loaded at these moments for so many seconds."""
    lines = Log()
    lines.start()
    for at_s, load_s in loads:
        lines.reads(at_s, load_s).request(at_s, load_s + 1)
    return lines.text()


def samples(state: str) -> str:
    """Samples of the runner every 5 s in the first minute."""
    lines = []
    for at_s in range(10, 70, 5):
        at = NOON + timedelta(seconds=at_s)
        runner = {"pid": 42, "role": "runner", "state": state, "cpu_pct": 1.0, "rss_kb": 1000, "vsz_kb": 2000,
                  "comm": "ollama", "cmdline": "ollama runner --model m"}  # fmt: skip
        lines.append(json.dumps({"ts": at.isoformat(), "procs": [runner]}))
    return "\n".join(lines) + "\n"


UNKNOWN_SIZE = ServerLog().start().load(10, 60.0).request(10, 61.0).load(500, 5.0).request(500, 6.0)

FAST_DISK = Log()
FAST_DISK.start()
FAST_DISK.reads(10, 4.0, blob=OTHER).reads(100, 60.0).reads(500, 5.0).request(100, 61.0)

EXAMPLES = [
    Example(
        "the first load is slow, the second comes from the page cache",
        "supported",
        {"server.log": log((10, 60.0), (500, 5.0))},
        ("took 60.0 s to load, 136.5 MiB/s of its 8.0 GiB, and 5.0 s later", "iostat"),
        "warning",
    ),
    Example(
        "the runner waits for the disk",
        "confirmed",
        {"server.log": log((10, 60.0)), "ps.jsonl": samples("D")},
        ("state D) in 12 of 12 samples",),
    ),
    Example("slower than any disk", "supported", {"server.log": log((10, 200.0))}, ("less than a spinning disk",)),
    Example("a large model from an SSD", "ruled_out", {"server.log": log((10, 12.0))}, ("no slower than an SSD",)),
    Example("loads of a few seconds", "ruled_out", {"server.log": log((10, 9.0), (500, 2.0))}, ("took 9.0 s",)),
    Example("once, and the size is unknown", "not_observable", {"server.log": UNKNOWN_SIZE.text()}, ("/api/tags",)),
    Example(
        "a later load is the slow one", "not_observable", {"server.log": log((10, 5.0), (500, 60.0))}, ("was gone",)
    ),
    Example("another model was read fast", "not_observable", {"server.log": FAST_DISK.text()}, ("the disk can",)),
    Example("no log of loads", "not_observable", {"server.log": ServerLog().request(10, 9.0).text()}, ("whole log",)),
]
