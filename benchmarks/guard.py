"""What the guard costs a trial, as a ratio to the bare call: `python benchmarks/guard.py [--trials 300]`.

Three clients take turns at one drill server, so that whatever else the machine does meets all of them alike: the bare
call (http.client, no guard), the guarded one (ready and post, a row for each trial), and one whose guard looks at
memory before every single trial, which is the most that it can cost. Told is the median over rounds of the ratio of
their times, with the range between the lowest and the highest quarter.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import warmstall
from warmstall.drill.server_process import DrillServer

_ROUND = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="of each client")
    parser.add_argument("--tokens", type=int, default=200, help="of each answer; fewer make the bare call shorter")
    asked = parser.parse_args()
    body = {"model": "tiny", "prompt": "Count on.", "stream": False, "options": {"num_predict": asked.tokens}}
    with tempfile.TemporaryDirectory() as name, DrillServer(Path(name)) as server:
        folder = Path(name)
        pause = str(folder / "pause")
        with (
            warmstall.guard(server.port, trials=folder / "a.csv", pause_file=pause) as usual,
            warmstall.guard(server.port, trials=folder / "b.csv", pause_file=pause, every_s=1e-9) as eager,
        ):
            clients: dict[str, Callable[[], object]] = {
                "bare": lambda: _bare(server.port, body),
                "guarded": lambda: (usual.ready(), usual.post("/api/generate", body, deadline_s=60)),
                "a look at memory each time": lambda: (eager.ready(), eager.post("/api/generate", body, deadline_s=60)),
            }
            for call in clients.values():
                call()
            rounds = [{name: _seconds(call) for name, call in clients.items()} for _ in range(asked.trials // _ROUND)]
            ready_us = 1e6 * _seconds(usual.ready, 2000) / 2000
            look_us = 1e6 * _seconds(eager.ready, 200) / 200
    bare_s = statistics.median(one["bare"] for one in rounds) / _ROUND
    print(f"bare call: {bare_s * 1e3:.2f} ms (median of {len(rounds)} rounds of {_ROUND})")
    for name in list(clients)[1:]:
        ratios = sorted(one[name] / one["bare"] for one in rounds)
        low, _, high = statistics.quantiles(ratios, n=4)
        print(f"{name}: {statistics.median(ratios):.3f} × the bare call (quarters {low:.3f} to {high:.3f})")
    print(f"ready() alone: {ready_us:.0f} µs, with a look each time {look_us:.0f} µs")


def _bare(port: int, body: object) -> object:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/api/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _seconds(call: Callable[[], object], times: int = _ROUND) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
