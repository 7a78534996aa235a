"""Makes the recordings of the month anew: `PYTHONPATH=tests python -m health.record [NAME …]`, ten minutes for all.

Each is a run of a drill: eighteen real runs, one after the other, so that nothing but what is planted disturbs them.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

from conftest import ROOT
from warmstall.drill.run import run_scenario
from warmstall.drill.scenario import find_scenario

from .month import RECORDINGS

OLD, NEW = "0.13.5", "0.32.15"
# Name: scenario, version, seed.
RUNS = {
    **{f"healthy-{seed}": ("healthy", OLD, seed) for seed in (1, 2, 3)},
    "healthy-new-1": ("healthy", NEW, 4),
    "healthy-new-2": ("healthy", NEW, 5),
    **{name: (name, OLD, 1) for name in (
        "warm_stall", "runner_crash", "slow_decode", "queue_full", "context_truncation", "stopping_deadlock",
        "eviction_thrash", "growing_memory", "failed_load",
    )},
    "warm_stall-new": ("warm_stall", NEW, 2),
    "runner_crash-new": ("runner_crash", NEW, 2),
    "load_timeout-new": ("load_timeout", NEW, 2),
    "slow_decode-new": ("slow_decode", NEW, 2),
}  # fmt: skip
FILES = {"server.log": "server.log", "trials.csv": "trials.csv", "ps.jsonl": "samples/ps.jsonl"}


def record(name: str, folder: Path) -> None:
    """Play one drill in `folder`, and keep what it left."""
    scenario, version, seed = RUNS[name]
    run_scenario(find_scenario(scenario), folder, version, seed)
    keep(name, folder)


def keep(name: str, folder: Path) -> None:
    """The evidence of a drill's case as a recording: packed, the same bytes for the same text."""
    (RECORDINGS / name).mkdir(parents=True, exist_ok=True)
    for file, place in FILES.items():
        text = (folder / "evidence" / "drill" / place).read_bytes()
        # A process that is seen as it is started still has the command line of what starts it.
        for machine in (sys.prefix, str(ROOT)):
            text = text.replace(machine.encode(), b"/opt/warmstall")
        (RECORDINGS / name / f"{file}.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    for name in sys.argv[1:] or RUNS:
        with tempfile.TemporaryDirectory() as scratch:
            record(name, Path(scratch) / name)
        print(name)
