"""What verdicts cost beside the ingest that produced them: python benchmarks/verdicts.py --requests 1000000.

A log of so many requests, polls among them, with a load for each hundred, is ingested as a case; then another process
opens the case and gives every request its verdict. Import counts on both sides.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import goals
import results
from fresh_log import fresh_log
from measuring import measure

_PEERS = str(Path(__file__).with_name("peers.py"))
_SAMPLE_MB = 8


def log_of(log: Path, requests: int, requests_per_load: float, seed: int, slots: int) -> dict[str, object]:
    """A log of at least so many access lines, by what a small one of its kind has of them; gives its truth."""
    options = ["--seed", str(seed), "--requests-per-load", str(requests_per_load), "--slots", str(slots)]
    sample = fresh_log(log, "--megabytes", str(_SAMPLE_MB), *options)
    share = sample["access_lines"] / sample["bytes"]
    return fresh_log(log, "--megabytes", str(1.03 * requests / share / 1e6), *options)


def one_round(
    log: Path, case: Path, truth: dict[str, object], requests: int, number: int, run: str, limit_bytes: int
) -> list[results.Result]:
    """Ingest into a fresh case, then verdicts of it."""
    shutil.rmtree(case, ignore_errors=True)
    found = []
    for arm, words in (
        (goals.VERDICTS_INGEST, ["case", str(log), str(case)]),
        (goals.VERDICTS, ["verdicts", str(case)]),
    ):
        took = measure([sys.executable, "-W", "ignore", _PEERS, *words], rss_limit_bytes=limit_bytes)
        told = json.loads(took.output) if not took.failed else {}
        wrong = next((f"{name} {told[name]} instead of {truth[name]}" for name in ("lines", "access_lines")
                      if name in told and told[name] != truth[name]), "")  # fmt: skip
        print(f"  {requests} requests: {arm}: {took.wall_s:.2f} s, {took.cpu_s:.2f} s of a processor, "
              f"{took.rss_bytes / 1e6:.0f} MB {took.failed or wrong}", file=sys.stderr)  # fmt: skip
        found.append(results.Result(run, arm, requests, "requests", took.wall_s, took.cpu_s, took.rss_bytes,
                                    took.failed or wrong, number, results.commit(), results.machine()))  # fmt: skip
        if found[-1].failed:
            break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, nargs="+", default=[100_000])
    parser.add_argument("--requests-per-load", type=float, default=80)
    parser.add_argument("--slots", type=int, default=0, help="runners tell of each request on this many slots")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rss-limit-mb", type=int, default=6000, help="what holds more is killed, and out")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--folder", type=Path, help="where logs and tables lie meanwhile")
    asked = parser.parse_args()
    run, found = results.new_run(), []
    for requests in asked.requests:
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="warmstall-bench-") as name:
            log = Path(name) / "server.log"
            truth = log_of(log, requests, asked.requests_per_load, asked.seed, asked.slots)
            for number in range(asked.rounds):
                limit_bytes = asked.rss_limit_mb * 1_000_000
                found += one_round(log, Path(name) / "case", truth, requests, number, run, limit_bytes)
    if asked.results:
        results.append(asked.results, found)
    print("\n".join(line for line in goals.as_text(found).split("\n") if "verdicts" in line))
    return int(any(result.failed for result in found))


if __name__ == "__main__":
    sys.exit(main())
