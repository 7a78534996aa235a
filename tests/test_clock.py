"""The offset between two hosts' clocks is found where both saw the same requests, and only there."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warmstall.analysis import Analysis, analyze
from warmstall.answer import answer, summarize
from warmstall.clock import ClockOffset, estimate_offset, offsets
from warmstall.errors import ParameterError
from warmstall.matching import Request, epoch, match_trials

START = datetime(2026, 1, 5, 10)
SCENARIOS = [
    "v0.3.14/warm_stall", "v0.3.14/runner_crash", "v0.3.14/server_down", "v0.3.14/eviction_thrash",
    "v0.13.5/queue_wait", "v0.13.5/parallel_4", "v0.13.5/stopping_deadlock", "v0.13.5/options_mismatch_reload",
    "v0.32.15/client_abort", "v0.32.15/cpu_contention", "v0.32.15/queue_full", "v0.32.15/timezone_new_york",
]  # fmt: skip


class Workload:
    """What a server logged and what its client noted, the client's clock behind by `offset_s` and drifting."""

    def __init__(self, seed: int, offset_s: float, drift_ppm: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.offset_s, self.drift = offset_s, drift_ppm * 1e-6
        self.requests: list[Request] = []
        self.trials: list[dict[str, Any]] = []
        self.began: dict[int, float] = {}

    def serve(self, end: float, wall_s: float, status: str = "200", host: str = "server") -> None:
        """One access line: it ends in a whole second, and its wall is cut to one above a minute."""
        seen_s, cut_s = (wall_s, 0.0) if wall_s < 60 else (float(math.floor(wall_s)), 1.0)
        row, second = len(self.requests), epoch(START) + math.floor(end)
        self.began[row] = epoch(START) + end - wall_s
        self.requests.append(
            Request(row, host, host, row, status, "/api/chat", seen_s, second - seen_s - cut_s, second + 1 - seen_s,
                    second, second + 1, True, False)
        )  # fmt: skip

    def call(self, start: float, end: float, status: str = "200", grain_s: float = 0.0) -> None:
        begin, stop = (START + timedelta(seconds=at - self.off(at)) for at in (start, end))
        if grain_s:
            begin, stop = begin.replace(microsecond=0), stop.replace(microsecond=0)
        self.trials.append(
            {
                "host": "client",
                "started_at": begin,
                "ended_at": stop,
                "status": status,
                "path": "/api/chat",
                "model": "",
            }
        )

    def off(self, at: float) -> float:
        return self.offset_s + self.drift * at

    def offset_at_trials(self) -> list[float]:
        times = [epoch(trial[name]) - epoch(START) for trial in self.trials for name in ("started_at", "ended_at")]
        return [self.off(at + self.offset_s) for at in (min(times), max(times))]

    def wall_s(self) -> float:
        return min(300.0, self.random.lognormvariate(0, 1) + 0.05)

    def run(self, calls: int, others: int, span_s: float, network_s: float = 0.03, grain_s: float = 0.0) -> Workload:
        """Calls among the requests of others; some clients leave early, some calls are tried twice."""
        for _ in range(others):
            self.serve(self.random.uniform(0, span_s), self.wall_s())
        for _ in range(calls):
            start, wall_s, kind = self.random.uniform(0, span_s), self.wall_s(), self.random.random()
            there_s, back_s = (self.random.uniform(0.001, network_s) for _ in range(2))
            if kind < 0.1 and wall_s > 2:
                end = start + there_s + wall_s / 2
                late_s = self.random.choice((0.001, 0.05, 0.2))
                self.serve(end + late_s, end + late_s - start - there_s, "499")
                self.call(start, end, "")
            elif kind < 0.2:
                again_s = self.wall_s()
                self.serve(start + there_s + wall_s, wall_s, "500")
                end = start + there_s + wall_s + 1 + again_s
                self.serve(end, again_s)
                self.call(start, end + back_s)
            else:
                self.serve(start + there_s + wall_s, wall_s)
                self.call(start, start + there_s + wall_s + back_s, grain_s=grain_s)
        return self


def holds(found: ClockOffset, truths: list[float]) -> bool:
    return found.uncertainty_s is not None and all(
        abs(found.offset_s - truth) <= found.uncertainty_s for truth in truths
    )


@pytest.mark.parametrize(
    ("calls", "others", "span_s", "offset_s", "drift_ppm", "network_s"),
    [
        (40, 200, 3600, 12.3, 0, 0.03),
        (40, 200, 3600, -3607.25, 50, 0.03),
        (40, 100, 3600, 0.2, 0, 0.25),
        (100, 2000, 1800, -0.4, -50, 0.01),
        (60, 1000, 86400, 86400.5, 80, 0.03),
    ],
)
def test_the_offset_lies_within_its_uncertainty(
    calls: int, others: int, span_s: float, offset_s: float, drift_ppm: float, network_s: float
) -> None:
    """Whatever the workload, for the first trial as for the last."""
    for seed in range(5):
        work = Workload(seed, offset_s, drift_ppm).run(calls, others, span_s, network_s)

        found = estimate_offset(work.requests, work.trials)

        assert holds(found, work.offset_at_trials()), (seed, found)
        assert found.uncertainty_s is not None
        assert found.uncertainty_s < 0.6 + span_s * 100e-6


def test_a_table_in_whole_seconds_gives_a_coarser_offset() -> None:
    work = Workload(3, -37.0)
    for at in range(0, 3000, 75):
        wall_s = work.random.uniform(5, 55)
        start = at + work.random.random() * 20
        work.serve(start + wall_s, wall_s)
        work.call(start, start + wall_s, grain_s=1.0)

    found = estimate_offset(work.requests, work.trials)

    assert holds(found, [-37.0])


def test_calls_of_another_time_do_not_blur_the_offset() -> None:
    """A clock that had not been set yet: the call is nowhere in the log, whatever the offset."""
    work = Workload(4, 8.0).run(calls=40, others=100, span_s=3600)
    blurred = work.trials[0] | {"started_at": datetime(1970, 1, 1), "ended_at": datetime(1970, 1, 1, 0, 0, 3)}

    found = estimate_offset(work.requests, [*work.trials, blurred])

    assert holds(found, [8.0])
    assert found.uncertainty_s is not None
    assert found.uncertainty_s < 1


def test_walls_above_a_minute_are_compared_although_the_log_cuts_them() -> None:
    work = Workload(4, 8.0)
    for number in range(20):
        start, wall_s = 200 * number + work.random.random(), work.random.uniform(60, 180)
        work.serve(start + wall_s, wall_s)
        work.call(start, start + wall_s + 0.003)

    found = estimate_offset(work.requests, work.trials)

    assert holds(found, [8.0])
    assert found.pairs == 20


def test_one_false_pair_does_not_move_the_offset() -> None:
    """A call that was lost, and another client's request with the same wall a moment later."""
    work = Workload(4, 8.0)
    for number in range(10):
        wall_s = 1.0 + 0.37 * number
        work.serve(20 * number + 10.5, wall_s)
        work.call(20 * number + 10.5 - wall_s, 20 * number + 10.5)
    work.serve(300.0, 5.0)
    work.call(294.697, 299.7)

    found = estimate_offset(work.requests, work.trials)

    assert holds(found, [8.0])


def test_calls_that_the_log_should_show_speak_against_an_offset() -> None:
    """The same script at the same pace on another server: some of its calls happen to take as long."""
    work = Workload(4, 8.0)
    for number in range(30):
        wall_s = work.random.uniform(2, 25)
        work.serve(30 * number + 20, wall_s)
        work.call(30 * number + 20 - wall_s, 30 * number + 20 - (0.3 if number % 3 else 0))

    found = estimate_offset(work.requests, work.trials)

    assert found.uncertainty_s is None
    assert "20 of 29 calls that the log should show are not where the others fit" in found.sentence


def test_trials_of_another_server_give_no_offset() -> None:
    """As many requests, alike walls, and not one of them the client's."""
    for seed in range(60):
        work = Workload(seed, 0.0)
        few = seed % 2
        for _ in range(50 if few else 300):
            work.serve(work.random.uniform(0, 900), work.wall_s())
        for _ in range(4 if few else 40):
            start = work.random.uniform(0, 900)
            work.call(start, start + work.wall_s())

        found = estimate_offset(work.requests, work.trials)

        assert found.uncertainty_s is None, (seed, found)


@pytest.mark.parametrize("count", [3, 5, 12, 60])
@pytest.mark.parametrize("period_s", [1.7, 31.0, 60.0])
def test_equal_walls_at_equal_intervals_are_ambiguous(count: int, period_s: float) -> None:
    """Each timeout could as well be the one before it."""
    work = Workload(1, -5.0)
    for number in range(count):
        work.serve(number * period_s + 30, 30.0)
        work.call(number * period_s, number * period_s + 30.001)

    found = estimate_offset(work.requests, work.trials)

    assert (found.source, found.offset_s, found.uncertainty_s) == ("assumed equal", 0.0, None)
    assert "no call is matched" in found.sentence


def test_equal_walls_at_unequal_intervals_are_not() -> None:
    """The order of the gaps tells which is which."""
    work = Workload(1, -5.0)
    for number in range(12):
        at = 90 * number + work.random.uniform(0, 50)
        work.serve(at + 30, 30.0)
        work.call(at, at + 30.001)

    assert holds(estimate_offset(work.requests, work.trials), [-5.0])


def test_each_server_has_its_own_offset_and_takes_only_its_own_calls() -> None:
    """A client that calls two servers in turn, whose clocks are 90 s apart."""
    work = Workload(5, 12.0)
    for number in range(60):
        start, wall_s = 20 * number + work.random.random(), work.wall_s()
        there = number % 2
        work.serve(start + wall_s + 90 * there, wall_s, host=f"gpu-{there}")
        work.call(start, start + wall_s + 0.004)

    found = offsets(["client"], work.requests, work.trials, {}, {})
    clocks = {(f.host, f.reference): (f.offset_s, f.uncertainty_s) for f in found if f.uncertainty_s is not None}
    left = match_trials(work.requests, work.trials, clocks)

    by_pair = {(f.host, f.reference): f for f in found}
    assert holds(by_pair["client", "gpu-0"], [12.0])
    assert holds(by_pair["client", "gpu-1"], [102.0])
    assert left == []
    assert [r.trial for r in work.requests] == work.trials


def test_times_are_not_made_finer_than_the_offset_is_known() -> None:
    """The true start of each request stays inside its bounds, which the client's times may only narrow."""
    work = Workload(7, 12.3).run(calls=40, others=40, span_s=3600)
    found = estimate_offset(work.requests, work.trials)
    assert found.uncertainty_s is not None
    before = {r.row: r.started_to - r.started_from for r in work.requests}

    match_trials(work.requests, work.trials, {("client", "server"): (found.offset_s, found.uncertainty_s)})

    matched = [r for r in work.requests if r.trial]
    assert len(matched) > 20
    assert any(r.started_to - r.started_from < before[r.row] for r in matched)
    for request in matched:
        assert request.started_to > request.started_from
        assert request.started_from - 0.03 <= work.began[request.row] <= request.started_to + 0.03


def test_whole_seconds_of_a_client_are_not_taken_for_exact() -> None:
    """On one host, too: the log's own bounds stay; and a table without paths is one of calls to models."""
    work = Workload(1, 0.0)
    work.serve(10.0, 4.0)
    work.call(6.0, 10.0)
    work.trials[0]["path"] = ""

    assert match_trials(work.requests, work.trials) == []

    found = work.requests[0]
    assert (found.started_to - found.started_from, found.ended_to - found.ended_from) == (1.0, 1.0)


def test_what_is_stated_wins_over_what_was_measured_and_that_over_an_estimate() -> None:
    work = Workload(2, 12.3).run(calls=40, others=40, span_s=3600)
    hosts, measured = ["client", "server"], {"client": (-10.0, 0.1), "server": (2.2, 0.2)}

    def of_client(stated: dict[str, float], measured: dict[str, tuple[float, float]]) -> tuple[str, float]:
        found = {f.host: f for f in offsets(hosts, work.requests, work.trials, stated, measured)}
        assert (found["server"].source, found["server"].offset_s) == ("same host", 0.0)
        return found["client"].source, round(found["client"].offset_s, 3)

    assert of_client({"client": 9.0}, measured) == ("stated", 9.0)
    assert of_client({}, measured) == ("measured at collection", 12.2)
    assert of_client({}, {})[0] == "the same requests"


def test_where_no_call_fits_the_measured_clock_the_requests_are_asked() -> None:
    """The clock was right and the table is in local time."""
    work = Workload(2, 3600.0).run(calls=40, others=40, span_s=3600)
    measured = {"client": (0.0, 0.1), "server": (0.0, 0.1)}

    found = [f for f in offsets(["client"], work.requests, work.trials, {}, measured) if f.host == "client"]

    assert [f.source for f in found] == ["the same requests"]
    assert holds(found[0], [3600.0])
    assert "another zone" in found[0].sentence


def test_a_host_that_is_not_there_cannot_be_stated() -> None:
    work = Workload(2, 0.0).run(calls=2, others=2, span_s=60)

    with pytest.raises(
        ParameterError,
        match=r"the clock of .klient. is stated, but no host is called that; the case has client, server",
    ):
        offsets(["client"], work.requests, work.trials, {"klient": 1.0}, {})


# Whole cases, of the captures beside the checkout and of invented ones.


def table(rows: list[dict[str, str]], shift: Callable[[datetime], datetime] = lambda at: at) -> str:
    """A trial table as CSV, its times moved."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    for row in rows:
        times = {
            name: row[name] and shift(datetime.fromisoformat(row[name])).isoformat() for name in ("start_ts", "end_ts")
        }
        writer.writerow(row | times)
    return out.getvalue()


def write_case(folder: Path, log: str, trials: str, client: str = "client") -> Path:
    for host in {"server", client}:
        (folder / "evidence" / host).mkdir(parents=True)
    (folder / "evidence" / "server" / "server.log").write_text(log, encoding="utf-8")
    (folder / "evidence" / client / "trials.csv").write_text(trials, encoding="utf-8")
    return folder


def captured(shared: Path, scenario: str) -> tuple[str, list[dict[str, str]]]:
    folder = shared / "real-ollama" / scenario
    rows = list(csv.DictReader((folder / "trials.csv").open(newline="", encoding="utf-8")))
    return (folder / "server.log").read_text(encoding="utf-8"), rows


def of_client(found: Analysis) -> dict[str, Any]:
    clocks = found.clocks().set_index("host")
    return dict(clocks.loc["client"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_shifted_client_gets_the_verdicts_of_one_host(scenario: str, shared: Path, tmp_path: Path) -> None:
    """Coarser times may leave a request open; they never give it another verdict."""
    log, rows = captured(shared, scenario)
    first = datetime.fromisoformat(rows[0]["start_ts"])
    alone = analyze(write_case(tmp_path / "one", log, table(rows), client="server"))
    verdicts = alone.requests()["verdict"].tolist()
    for ahead_s, drift_ppm in ((0.4, 0), (-37.0, 0), (3600.0, 50), (3607.25, -50)):

        def shift(at: datetime, ahead_s: float = ahead_s, drift_ppm: float = drift_ppm) -> datetime:
            return at + timedelta(seconds=ahead_s + drift_ppm * 1e-6 * (at - first).total_seconds())

        found = analyze(write_case(tmp_path / f"{ahead_s}", log, table(rows, shift)))

        clock = of_client(found)
        if clock["source"] == "assumed equal":
            assert scenario.endswith("timezone_new_york"), clock
        else:
            ends = [datetime.fromisoformat(row["end_ts"]) for row in rows]
            for at in (min(ends), max(ends)):
                assert abs(clock["offset_s"] + (shift(at) - at).total_seconds()) <= clock["uncertainty_s"]
            assert len(found.unmatched_trials) == len(alone.unmatched_trials)
        others = [(a, b) for a, b in zip(verdicts, found.requests()["verdict"], strict=True) if a != b]
        assert len(others) <= 1
        assert {b for _, b in others} <= {"unknown"}


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("v0.3.14/warm_stall", "v0.3.14/healthy"),
        ("v0.13.5/queue_wait", "v0.13.5/parallel_4"),
        ("v0.32.15/queue_full", "v0.13.5/queue_full"),
        ("v0.32.15/cpu_contention", "v0.3.14/cpu_contention"),
        ("v0.32.15/healthy", "v0.3.14/healthy"),
    ],
)
def test_the_calls_of_another_run_are_not_matched(server: str, client: str, shared: Path, tmp_path: Path) -> None:
    """The same script on another version, too."""
    found = analyze(write_case(tmp_path, captured(shared, server)[0], table(captured(shared, client)[1])))

    assert of_client(found)["source"] == "assumed equal"
    assert found.unmatched_trials == []
    assert "is assumed to be that of server" in answer(found)


HEADER = {"start_ts": "", "end_ts": "", "model": "m", "endpoint": "/api/chat", "status": "200", "error": ""}


def invented(walls: list[float], gap_s: float, ahead_s: float = 0.0) -> tuple[str, str]:
    """A log and a table of the same calls, one after another."""
    lines, rows, at = [], [], START
    for wall_s in walls:
        end = at + timedelta(seconds=wall_s)
        lines.append(f'[GIN] {end:%Y/%m/%d - %H:%M:%S} | 200 | {wall_s:.6f}s | 192.0.2.7 | POST     "/api/chat"\n')
        begin, stop = ((t + timedelta(seconds=ahead_s)).replace(tzinfo=UTC).isoformat() for t in (at, end))
        rows.append(HEADER | {"start_ts": begin, "end_ts": stop})
        at = end + timedelta(seconds=gap_s)
    return "".join(lines), table(rows)


WALLS = [1.3101, 4.082, 2.7713, 9.4504, 0.6605, 3.3416]


def test_the_summary_tells_each_clock_and_the_answer_only_what_was_done(tmp_path: Path) -> None:
    moved = analyze(write_case(tmp_path / "moved", *invented(WALLS, 3.37, ahead_s=37.0)))
    alone = analyze(write_case(tmp_path / "alone", *invented(WALLS, 3.37), client="server"))

    clocks = json.loads(json.dumps(summarize(moved)))["clocks"]
    assert [(clock["host"], clock["reference"], clock["source"]) for clock in clocks] == [
        ("client", "server", "the same requests"),
        ("server", "server", "same host"),
    ]
    assert abs(clocks[0]["offset_s"] + 37) <= clocks[0]["uncertainty_s"]
    told = [line for line in answer(moved).splitlines() if "clock of" in line]
    assert len(told) == 1
    assert "ahead of that of server" in told[0]
    assert len(answer(moved).splitlines()) <= 25
    assert [clock["source"] for clock in summarize(alone)["clocks"]] == ["same host"]
    assert "clock" not in answer(alone)


def test_calls_on_an_unknown_clock_are_neither_matched_nor_called_lost(tmp_path: Path) -> None:
    """Five equal timeouts at equal intervals; whoever knows the offset can state it."""
    case = write_case(tmp_path, *invented([30.0] * 5, 30.0, ahead_s=-3600.0))

    found = analyze(case)

    assert found.clocks()["uncertainty_s"].isna().tolist() == [True, False]
    assert found.unmatched_trials == []
    assert "have no line in the server's log" not in answer(found)
    assert summarize(found)["clocks"][0]["uncertainty_s"] is None
    stated = analyze(case, clock_offsets_s={"client": 3600.0})
    assert stated.requests()["model"].tolist() == ["m"] * 5
    assert "3,600.00 s behind that of server, as stated" in answer(stated)


def test_a_table_in_another_zone_beside_its_log_is_put_right(tmp_path: Path) -> None:
    found = analyze(write_case(tmp_path, *invented(WALLS, 3.37, ahead_s=-18000.0), client="server"))

    assert found.requests()["model"].tolist() == ["m"] * len(WALLS)
    assert "another zone" in answer(found)


def test_trials_without_times_are_left_alone(tmp_path: Path) -> None:
    log, trials = invented(WALLS, 3.37)
    rows = list(csv.DictReader(io.StringIO(trials)))
    rows[2] |= {"start_ts": "", "end_ts": ""}

    found = analyze(write_case(tmp_path, log, table(rows), client="server"))

    assert found.unmatched_trials == []
    assert found.requests()["model"].tolist().count("m") == len(WALLS) - 1
