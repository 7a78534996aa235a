"""What was measured, a JSON object a line, so that another commit's results can stand beside it."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One round of one arm. `failed` says why it is out; `run` is shared by the arms that took turns."""

    run: str
    arm: str
    size: float
    unit: str
    wall_s: float
    cpu_s: float
    rss_bytes: int
    failed: str = ""
    round: int = 0
    commit: str = ""
    machine: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Median:
    """An arm's rounds of one run in one size: medians of time, the most memory, and the first failure."""

    run: str
    arm: str
    size: float
    unit: str
    rounds: int
    wall_s: float
    cpu_s: float
    rss_bytes: int
    failed: str
    commit: str
    machine: dict[str, str]


def new_run() -> str:
    """A name for the run that begins now."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{os.getpid()}"


def append(path: Path, results: Iterable[Result]) -> None:
    """Add them to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        handle.writelines(json.dumps(asdict(result), ensure_ascii=False) + "\n" for result in results)


def read(path: Path) -> list[Result]:
    """All results of a file; lines of another form are passed over."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(Result(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def of_last_runs(results: Iterable[Result]) -> list[Result]:
    """What each arm did when it last took part: sizes of another run, perhaps of another commit, are left out."""
    results = list(results)
    last: dict[str, str] = {}
    for result in results:
        last[result.arm] = max(result.run, last.get(result.arm, ""))
    return [result for result in results if result.run == last[result.arm]]


def medians(results: Iterable[Result]) -> dict[tuple[str, float], Median]:
    """By arm and size, each from the last run in which it took part."""
    rounds: dict[tuple[str, float], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        rounds[result.arm, result.size][result.run].append(result)
    found = {}
    for (arm, size), runs in rounds.items():
        last = runs[max(runs)]
        found[arm, size] = Median(
            last[0].run, arm, size, last[0].unit, len(last),
            statistics.median(each.wall_s for each in last), statistics.median(each.cpu_s for each in last),
            max(each.rss_bytes for each in last), next((each.failed for each in last if each.failed), ""),
            last[-1].commit, last[-1].machine,
        )  # fmt: skip
    return found


def commit() -> str:
    """The commit that is measured, with a + where files differ from it; empty outside a repository."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=10", "--dirty=+"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() if not done.returncode else ""


def machine() -> dict[str, str]:
    """The machine without its name: cores, memory, and the versions that matter."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    total = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    found = {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        "cpu": cpu or platform.machine(),
        "memory": f"{total / 2**20:.0f} GiB" if total else "",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }
    found |= {name: version(name) for name in ("duckdb", "pyarrow", "numpy")}
    found |= {program: told for program in ("rg", "lnav", "gawk", "zstd") if (told := _told_version(program))}
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []


def _told_version(program: str) -> str:
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d+(?:\.\d+)?", told)
    return match[0] if match else "?"
