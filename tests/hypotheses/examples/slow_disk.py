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

    def says(self, at_s: float, level: str, message: str, **fields: object) -> Log:
        at = NOON + timedelta(seconds=at_s)
        self.add(at, slog(at, level, "server.go:455", message, **fields))
        return self

    def takes(self, at_s: float, load_s: float, context: int, free: str = "30.0 GiB", kv: str = "1.0 GiB") -> Log:
        """A load of 8 GiB with these options, and the memory that was free before it."""
        self.says(at_s, "INFO", "system memory", total="31.1 GiB", free=free, free_swap="2.3 GiB")
        self.reads(at_s, load_s).request(at_s, load_s + 1)
        asked = f"{{Operation:commit LoraPath:[] Parallel:1 BatchSize:512 KvSize:{context} NumThreads:4}}"
        self.says(at_s + 0.05, "INFO", "load", request=asked)
        return self.says(at_s + 0.2, "INFO", "kv cache", device="CUDA0", size=kv)


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

OTHER_OPTIONS = Log().start().takes(10, 60.0, 131072).takes(500, 5.0, 8192)
CRAMPED = Log().start().takes(10, 200.0, 131072, free="1.4 GiB", kv="14.0 GiB")
READ_AT_ONCE = Log().start(OLLAMA_DEBUG="DEBUG").reads(10, 60.0).request(10, 61.0)
READ_AT_ONCE.says(10.2, "INFO", "offloaded 33/33 layers to GPU").says(11.3, "DEBUG", "model load progress 1.00")
MAPPED = Log().start(OLLAMA_DEBUG="DEBUG").reads(10, 60.0).request(10, 61.0)
MAPPED.says(10.2, "INFO", "offloaded 1/33 layers to GPU").says(11.3, "DEBUG", "model load progress 1.00")

EXAMPLES = [
    Example(
        "the first load is slow, the second comes from the page cache",
        "supported",
        {"server.log": log((10, 60.0), (500, 5.0))},
        ("took 60.0 s to load, 136.5 MiB/s of its 8.0 GiB, and 5.0 s when its file was in the page cache", "iostat"),
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
    Example("the later, faster load has other options", "not_observable", {"server.log": OTHER_OPTIONS.text()}),
    Example(
        "less memory than the load needs", "not_observable", {"server.log": CRAMPED.text()}, ("may have been more",)
    ),
    Example("as long with its file in the page cache", "not_observable", {"server.log": log((10, 200), (300, 190))}),
    Example("the weights were read at once", "ruled_out", {"server.log": READ_AT_ONCE.text()}, ("took 1.3 s to read",)),
    Example("weights that are mapped, not read", "not_observable", {"server.log": MAPPED.text()}, ("took 60.0 s",)),
    Example("another model was read fast", "not_observable", {"server.log": FAST_DISK.text()}, ("the disk can",)),
    Example("no log of loads", "not_observable", {"server.log": ServerLog().request(10, 9.0).text()}, ("whole log",)),
]
