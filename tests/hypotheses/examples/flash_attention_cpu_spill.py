"""Examples of `flash_attention_cpu_spill`."""

import json
from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog


def log(version: str = "0.20.2", device: str = "Metal", flash: str = "true", named: str = "gemma4:31b") -> str:
    """A load, calls that go well, and ten that are cut after a minute."""
    found = ServerLog().start(version=version, device=device, OLLAMA_FLASH_ATTENTION=flash).load(5, 2.0)
    if named:
        found.add(NOON + timedelta(seconds=8), slog(NOON, "INFO", "sched.go:517", "loaded runners", runner__name=named,
                                                    runner__model=BLOB, count=1))  # fmt: skip
    for number in range(20):
        found.request(10 + 10 * number, 3.0)
    for number in range(10):
        found.request(300 + 61 * number, 60.0, 500)
    return found.text()


def samples(cpu_percent: float, model: str = "gemma4:31b", fraction: float = 1.0) -> str:
    """Looks every 10 s: the runner at 15 % while all is well, then at `cpu_percent`; another runner rests."""
    lines = []
    for at_s in range(0, 900, 10):
        cpu = cpu_percent if at_s >= 300 else 15.0
        size = 20_000_000_000
        rows = {
            "processes": [
                {"pid": 7, "role": "runner", "state": "R" if cpu > 50 else "S", "cpu_percent": cpu},
                {"pid": 8, "role": "runner", "state": "S", "cpu_percent": 0.0},
            ],
            "resident_models": [{"model": model, "size_bytes": size, "vram_bytes": int(size * fraction),
                                 "vram_fraction": fraction}],
        }  # fmt: skip
        lines.append(json.dumps({"at": (NOON + timedelta(seconds=at_s)).isoformat(), "rows": rows}))
    return "\n".join(lines) + "\n"


EXAMPLES = [
    Example(
        "gemma on a Mac, one core busy",
        "supported",
        {"server.log": log(), "samples.jsonl": samples(99.7)},
        ("99.7 % of a core", "15.0 % at other times", "gemma4 100 % on the GPU"),
        "critical",
    ),
    Example(
        "the default of a later version is on",
        "supported",
        {"server.log": log("0.21.0", flash="false"), "samples.jsonl": samples(99.7)},
        ("on by default for gemma4",),
    ),
    Example(
        "the runner does nothing",
        "ruled_out",
        {"server.log": log(), "samples.jsonl": samples(0.0)},
        ("did not compute",),
    ),
    Example(
        "false was off before 0.12.4",
        "ruled_out",
        {"server.log": log("0.12.3", flash="false"), "samples.jsonl": samples(99.7)},
        ("does not turn it on",),
    ),
    Example("a server without a GPU", "ruled_out", {"server.log": log(device="cpu"), "samples.jsonl": samples(99.7)}),
    Example(
        "another family",
        "ruled_out",
        {"server.log": log(named="llama3.1:8b"), "samples.jsonl": samples(99.7, "llama3.1:8b")},
        ("llama3.1:8b",),
    ),
    Example(
        "layers on the processor",
        "not_observable",
        {"server.log": log(), "samples.jsonl": samples(99.7, fraction=0.5)},
        ("0 of 90 looks",),
    ),
    Example(
        "a GPU that works keeps a core busy too",
        "not_observable",
        {"server.log": log("0.21.0", "CUDA"), "samples.jsonl": samples(99.7)},
        ("OLLAMA_FLASH_ATTENTION=0",),
    ),
    Example(
        "which model it was is not known", "not_observable", {"server.log": log("0.13.0", flash="false", named="")}
    ),
    Example("no samples", "not_observable", {"server.log": log()}, ("warmstall watch",)),
]
