"""Every hypothesis on every capture: python benchmarks/captures.py FOLDER > docs/captures.md.

FOLDER holds `corpus/` (captures with labels, `index.jsonl`) and `real-ollama/` (recorded scenarios). A healthy
capture must show nothing of severity warning or above; of a faulty one the cause that its label names must be
confirmed, supported, or not observable with what to collect. What breaks this is told on stderr, with exit code 1.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from warmstall.analysis import analyze
from warmstall.hypotheses import catalogue, judge
from warmstall.hypotheses.judging import BROKEN

# What a label of a capture means as a cause; of several one is enough. Labels that name no cause are left out.
CAUSES = {
    "cold_start": ("cold_start",),
    "cpu_fallback": ("cpu_fallback",),
    "cpu_spill": ("cpu_fallback",),
    "eviction_thrash": ("reload_thrash",),
    "load_timeout": ("load_timeout",),
    "client_abort": ("client_timeout_too_short", "load_timeout", "warm_stall"),
    "runner_crash": ("runner_crash",),
    "vram_not_recovered": ("unload_not_freeing",),
    "oom": ("oom_kill", "context_too_large", "memory_pressure"),
    "warm_stall": ("warm_stall",),
    "context_truncation": ("context_truncation",),
    "memory_pressure": ("memory_pressure",),
    "queue_wait": ("parallel_queue",),
    "queue_full": ("parallel_queue",),
    "rocm_mismatch": ("rocm_mismatch",),
    "multi_gpu": ("multi_gpu_split",),
    "memlock": ("memlock_limit",),
    "vulkan": ("vulkan_backend",),
    "flash_attention": ("flash_attention_cpu_spill",),
}
# What was done in the recorded scenarios, as labels of the same kind.
SCENARIOS = {
    "healthy": ("healthy",), "debug_healthy": ("healthy",), "timezone_new_york": ("healthy",),
    "context_truncation": ("context_truncation",), "debug_context_truncation": ("context_truncation",),
    "eviction_thrash": ("eviction_thrash",), "debug_eviction": ("eviction_thrash",),
    "num_ctx_flapping": ("eviction_thrash",), "options_mismatch_reload": ("eviction_thrash",),
    "keep_alive_short": ("eviction_thrash",), "load_timeout": ("load_timeout",),
    "client_abort": ("client_abort",), "debug_client_abort": ("client_abort",), "runner_crash": ("runner_crash",),
    "debug_runner_crash": ("runner_crash",), "queue_wait": ("queue_wait",), "queue_full": ("queue_full",),
    "warm_stall": ("warm_stall",), "warm_stall_between_requests": ("cold_start",), "memlock_limit": ("memlock",),
    "stopping_deadlock": ("stopping_deadlock",), "debug_stopping_deadlock": ("stopping_deadlock",),
    "slow_load": ("cold_start",),
}  # fmt: skip
CAUSES["stopping_deadlock"] = ("stopping_deadlock",)
# By hypothesis: state, severity, what to collect.
States = dict[str, tuple[str, str, list[str]]]
LETTERS = {"confirmed": "C", "supported": "S", "ruled_out": "–", "not_observable": "?"}


@dataclass(frozen=True)
class Capture:
    """One capture or scenario: where it lies and what is known to be true of it."""

    name: str
    path: Path
    labels: tuple[str, ...]


def captures(folder: Path) -> list[Capture]:
    """The captures of the corpus, then the recorded scenarios."""
    found = []
    for line in (folder / "corpus" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        found.append(Capture(entry["file"], folder / "corpus" / entry["file"], tuple(entry["labels"])))
    for path in sorted(folder.glob("real-ollama/v*/*")):
        if (path / "server.log").exists():
            found.append(Capture(f"{path.parent.name}/{path.name}", path, SCENARIOS.get(path.name, ())))
    return found


def states_in(summary: dict[str, Any]) -> States:
    """The same as `states`, from the summary of an analysis."""
    return {one["id"]: (one["state"], one["severity"], one["collect"]) for one in summary["hypotheses"]}


def states(path: Path) -> States:
    """State, severity and what to collect of every hypothesis."""
    warnings.simplefilter("ignore")
    return {one.id: (one.state, one.severity, list(one.collect)) for one in judge(analyze(path))}


def broken_promises(capture: Capture, found: States) -> list[str]:
    """What is wrong with these states, given what is known to be true."""
    told = [f"{name}: {order}" for name, (_, _, orders) in found.items() for order in orders if BROKEN in order]
    if "healthy" in capture.labels:
        told += [f"{name} is {state} with severity {severity} on a healthy capture"
                 for name, (state, severity, _) in found.items() if state in ("confirmed", "supported")
                 and severity != "info"]  # fmt: skip
    for label in capture.labels:
        wanted = [found[name] for name in CAUSES.get(label, ()) if name in found]
        if wanted and all(state == "ruled_out" or (state == "not_observable" and not orders)
                          for state, _, orders in wanted):  # fmt: skip
            told.append(f"labelled {label}, but {' and '.join(CAUSES[label])} came out as {wanted[0][0]}")
    return [f"{capture.name}: {sentence}" for sentence in told]


def markdown(judged: dict[str, States], known: dict[str, tuple[str, ...]]) -> str:
    """The tables: hypotheses with their counts, captures with what was found, and each hypothesis on each capture."""
    total = {name: Counter(found[name][0] for found in judged.values()) for name in catalogue()}
    lines = [
        "# Every hypothesis on every capture",
        "",
        f"{len(judged)} captures: public ones of other people's machines, each with the labels of whoever collected",
        "it, and recorded scenarios whose truth is known (`vVERSION/…`). Made by `make captures`.",
        "",
        "| hypothesis | confirmed | supported | ruled out | not observable |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| [{name}](hypotheses.md#{name}) | {' | '.join(str(total[name][state]) for state in LETTERS)} |"
              for name in total]  # fmt: skip
    lines += ["", "## What was found, capture by capture", "", "Severity info in brackets.", "",
              "| capture | labels | confirmed | supported |", "|---|---|---|---|"]  # fmt: skip
    for capture, found in judged.items():
        cells = []
        for wanted in ("confirmed", "supported"):
            own = [(name, severity) for name, (state, severity, _) in found.items() if state == wanted]
            cells.append(", ".join(f"({name})" if severity == "info" else name for name, severity in own) or "·")
        lines.append(f"| {capture} | {', '.join(known[capture])} | {' | '.join(cells)} |")
    names = list(catalogue())
    lines += ["", "## Hypothesis × capture", ""]
    lines += ["C confirmed, S supported, – ruled out, ? not observable; lower case: severity info. Columns:", ""]
    lines += [f"{number}. {name}" for number, name in enumerate(names, 1)]
    lines += ["", "| capture | " + " | ".join(str(n) for n in range(1, len(names) + 1)) + " |",
              "|---|" + ":-:|" * len(names)]  # fmt: skip
    for capture, found in judged.items():
        letters = [LETTERS[found[name][0]].lower() if found[name][1] == "info" else LETTERS[found[name][0]]
                   for name in names]  # fmt: skip
        lines.append(f"| {capture} | " + " | ".join(letters) + " |")
    return "\n".join(lines) + "\n"


def main(folder: Path) -> int:
    """Print the tables; return 1 when a promise is broken."""
    known = captures(folder)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        judged = dict(zip(known, pool.map(states, [capture.path for capture in known]), strict=True))
    print(markdown({capture.name: found for capture, found in judged.items()},
                   {capture.name: capture.labels for capture in known}), end="")  # fmt: skip
    told = [sentence for capture, found in judged.items() for sentence in broken_promises(capture, found)]
    print("\n".join(told), file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
