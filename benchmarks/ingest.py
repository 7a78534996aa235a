"""How ingest compares with its peers, in one run: `make bench` (MEGABYTES=200 for more).

Peers: a plain Python loop (a regular expression for access lines, and the log table for events), `wc -l`,
and `rg -c` where it is installed. Each must count the same access lines. Ratios are to the loop that finds
what ingest finds; seconds depend on the machine, ratios hardly do.
"""

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from warmstall.evidence import discover
from warmstall.ingest import ingest
from warmstall.parse.log_events import event_in

SLOG = 'time={at}.000Z level=INFO source=sched.go:517 msg="loaded runners" count=1'
RAW = "llama_model_loader: - kv {n:3d}:                      tokenizer.ggml.model str              = gpt2"
SLOT = "slot print_timing: id  0 | task {n} |        eval time =     711.00 ms /   150 tokens (    4.74 ms per token)"
GIN = '[GIN] {at} | 200 | {wall:>12.6f}s |       127.0.0.1 | POST     "/api/chat"'
ACCESS = re.compile(r'\[GIN\] (\S+ - \S+) \| (\d+) \| +(\S+) \| +(\S+) \| (\w+) +"([^"]*)"')


def write_log(path: Path, megabytes: int, seed: int = 1) -> int:
    """A log with the mixture of a busy server (six tenths access lines); returns how many those are."""
    rng, at, written, access = random.Random(seed), datetime(2026, 1, 1), 0, 0
    with path.open("w", encoding="utf-8") as handle:
        while written < megabytes * 1_000_000:
            lines = []
            for n in range(10_000):
                at += timedelta(seconds=rng.expovariate(5))
                kind = rng.random()
                if kind < 0.62:
                    access += 1
                    lines.append(GIN.format(at=f"{at:%Y/%m/%d - %H:%M:%S}", wall=rng.lognormvariate(0, 1)))
                elif kind < 0.77:
                    lines.append(SLOG.format(at=f"{at:%Y-%m-%dT%H:%M:%S}"))
                else:
                    lines.append((RAW if kind < 0.95 else SLOT).format(n=n))
            written += handle.write("\n".join(lines) + "\n")
    return access


def with_ingest(log: Path, workers: int) -> int:
    with tempfile.TemporaryDirectory() as tables:
        ingest(discover([log]), Path(tables), workers)
        import duckdb

        counted = duckdb.sql(f"SELECT count(*) FROM read_parquet('{tables}/requests-*.parquet')").fetchall()
        return int(counted[0][0])


def with_loop(log: Path, events: bool) -> int:
    found, others = [], []
    with log.open(encoding="utf-8") as handle:
        for line in handle:
            if match := ACCESS.search(line):
                found.append(match.groups())
            elif events and (event := event_in(line)):
                others.append(event)
    return len(found)


def with_command(*command: str) -> int:
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def main(megabytes: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        access = write_log(log, megabytes)
        contenders: dict[str, Callable[[], int]] = {
            "python loop, access lines only": lambda: with_loop(log, events=False),
            "python loop, access lines and events": lambda: with_loop(log, events=True),
            "ingest, 1 worker: every line accounted for, to Parquet": lambda: with_ingest(log, 1),
            "ingest, 2 workers: the same": lambda: with_ingest(log, 2),
            "wc -l": lambda: with_command("wc", "-l", str(log)) and access,
        }
        if shutil.which("rg"):
            contenders["rg -c"] = lambda: with_command("rg", "-c", r"\[GIN\] 2", str(log))
        best: dict[str, float] = {}
        for _ in range(3):  # interleaved, so that a busy moment hits them all
            for name, run in contenders.items():
                began = time.perf_counter()
                counted = run()
                took = time.perf_counter() - began
                if counted != access:
                    print(f"{name}: counted {counted}, the log holds {access}: disqualified", file=sys.stderr)
                    return 1
                best[name] = min(took, best.get(name, took))
    loop = best["python loop, access lines and events"]
    print(f"{megabytes} MB, {access:,} access lines, best of 3; times as a multiple of the loop's")
    for name, seconds in sorted(best.items(), key=lambda item: item[1]):
        print(f"{seconds / loop:6.2f}  {name}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
