"""What does a health report cost beside an empty notebook? `python benchmarks/health_report.py [--rounds 3]`.

An hour of a busy server's log, reported on as `warmstall report` does it: notebook, page, history, verdict; and beside
it papermill's own command on a notebook of one empty cell. They take turns, each in a process of its own, so that
whatever else the machine does meets both alike. Told are the ratios of wall and of processor time, the most memory that
processes of a report held at once, the page's size, and where a report's seconds go. Ends with exit code 1 where the
median ratio of wall times is beyond its bound, or the page is too large.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from empty_notebook import empty_notebook
from measuring import measure

BOUND = 2.5
MOST_BYTES = 6_000_000
_TIMED = """
import json, sys, time
began = time.perf_counter()
from pathlib import Path
from warmstall.health.run import Wanted, report
told = [("imports", time.perf_counter() - began)]
outcome = report(Wanted((sys.argv[1],), folder=Path(sys.argv[2]), until="end"),
                 lambda text: told.append((text, time.perf_counter() - began)))
told.append(("ended", time.perf_counter() - began))
page = outcome.page.stat().st_size if outcome.page else 0
print(json.dumps({"told": told, "exit_code": outcome.exit_code, "error": outcome.verdict["error"], "page": page}))
"""


def an_hour_of_log(path: Path, requests: int) -> None:
    """A server that starts, loads a model, and answers so many requests within an hour, a few of them slowly."""
    start = datetime(2026, 11, 20, 16, tzinfo=UTC)
    settings = 'msg="server config" env="map[OLLAMA_HOST:http://127.0.0.1:11434 OLLAMA_NUM_PARALLEL:1]"'
    lines = [
        (0.0, f"level=INFO source=routes.go:1544 {settings}"),
        (0.1, 'level=INFO source=routes.go:1597 msg="Listening on 127.0.0.1:11434 (version 0.13.5)"'),
        (5.0, 'level=INFO source=server.go:392 msg="starting runner" cmd="/usr/bin/ollama runner --model '
              '/models/blobs/sha256-aa --port 40001"'),
        (8.0, 'level=INFO source=server.go:1332 msg="llama runner started in 3.00 seconds"'),
    ]  # fmt: skip
    text = [f"time={start + timedelta(seconds=at):%Y-%m-%dT%H:%M:%S.%fZ} {said}" for at, said in lines]
    for number in range(requests):
        at = start + timedelta(seconds=10 + number * 3580 / requests)
        took = "1m0s" if number % 997 == 0 else f"{0.8 + number % 13 / 10:.6f}s"
        status = 500 if took == "1m0s" else 200
        text.append(f'[GIN] {at:%Y/%m/%d - %H:%M:%S} | {status} | {took:>13} |  127.0.0.1 | POST     "/api/chat"')
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1200, help="in the hour of log that is made")
    parser.add_argument("--log", type=Path, help="a log or case of your own; its last hour is reported on")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = asked.log.absolute() if asked.log else folder / "server.log"
        if not asked.log:
            an_hour_of_log(log, asked.requests)
        papermill = empty_notebook(folder)
        reporting = [sys.executable, "-W", "ignore", "-c", _TIMED, str(log), str(folder / "reports")]
        walls, shares, told = [], [], {}
        for number in range(asked.rounds + 1):
            shutil.rmtree(folder / "reports", ignore_errors=True)
            empty, reported = measure(papermill, folder), measure(reporting, folder)
            if failed := empty.failed or reported.failed:
                print(f"A process failed: {failed}")
                return 1
            told = json.loads(reported.output)
            if told["error"]:
                print(f"The report failed: {told['error']}")
                return 1
            if not number:
                continue  # the first of each compiles modules and fills the page cache
            walls.append(reported.wall_s / empty.wall_s)
            shares.append(reported.cpu_s / empty.cpu_s)
            print(f"round {number}: empty notebook {empty.wall_s:.1f} s ({empty.cpu_s:.1f} s of a processor), report "
                  f"{reported.wall_s:.1f} s ({reported.cpu_s:.1f} s); {reported.rss_bytes / 1e6:.0f} MB at most; "
                  f"page {told['page'] / 1e6:.2f} MB")  # fmt: skip
    print("the last report: " + ", ".join(f"{what.rstrip(' …')} at {at:.1f} s" for what, at in told["told"]))
    ratio = statistics.median(walls)
    print(f"wall time: {ratio:.2f} × an empty notebook ({min(walls):.2f} to {max(walls):.2f}), bound {BOUND}; "
          f"processor time {statistics.median(shares):.2f} ×")  # fmt: skip
    return int(ratio > BOUND or told["page"] > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
