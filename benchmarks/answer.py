"""How soon `warmstall analyze` answers: python benchmarks/answer.py --megabytes 50.

The moment when its answer is printed, beside a process that only imports and ingests; and the time from there until the
report is drawn, beside papermill's own command on a notebook of one empty cell.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import goals
import results
from empty_notebook import empty_notebook
from fresh_log import fresh_log
from measuring import Measured, measure

_PEERS = str(Path(__file__).with_name("peers.py"))


def one_round(log: Path, folder: Path, number: int, run: str, megabytes: float) -> list[results.Result]:
    """Each of the three processes once."""
    told, machine = results.commit(), results.machine()

    def result(arm: str, wall_s: float, cpu_s: float, took: Measured) -> results.Result:
        print(f"  round {number + 1}: {arm}: {wall_s:.2f} s {took.failed}", file=sys.stderr)
        return results.Result(
            run, arm, megabytes, "MB", wall_s, cpu_s, took.rss_bytes, took.failed, number, told, machine
        )

    tables, out = folder / "tables", folder / "out"
    for path in (tables, out):
        shutil.rmtree(path, ignore_errors=True)
    ingested = measure([sys.executable, _PEERS, "ingest", str(log), str(tables), "2"])
    empty = measure(empty_notebook(folder), folder)
    analyzed = measure([sys.executable, "-W", "ignore", "-m", "warmstall.cli", "analyze", str(log), "--out", str(out)])
    answered_s = analyzed.first_line_s or analyzed.wall_s
    report_s, report_cpu_s = analyzed.wall_s - answered_s, analyzed.cpu_s - analyzed.first_line_cpu_s
    return [
        result(goals.IMPORT_AND_INGEST, ingested.wall_s, ingested.cpu_s, ingested),
        result(goals.EMPTY_NOTEBOOK, empty.wall_s, empty.cpu_s, empty),
        result(goals.ANSWER, answered_s, analyzed.first_line_cpu_s, analyzed),
        result(goals.REPORT, report_s, report_cpu_s, analyzed),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--folder", type=Path, help="where log and tables lie meanwhile")
    asked = parser.parse_args()
    run, found = results.new_run(), []
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="warmstall-bench-") as name:
        log = Path(name) / "server.log"
        fresh_log(log, "--megabytes", str(asked.megabytes), "--seed", str(asked.seed))
        for number in range(asked.rounds):
            found += one_round(log, Path(name), number, run, asked.megabytes)
    if asked.results:
        results.append(asked.results, found)
    print("\n".join(line for line in goals.as_text(found).split("\n") if "analyze" in line or "notebook" in line))
    return int(any(result.failed for result in found))


if __name__ == "__main__":
    sys.exit(main())
