"""What benchmarks measure with, and how they judge: a wrong contender is out, a goal is met only by what decides it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import arms
import goals
import ingest
import peers
import pytest
import results
from measuring import measure
from results import Result
from server_log import Shape, write_log

PYTHON = [sys.executable, "-S", "-c"]


# --- measuring ------------------------------------------------------------------------------------------------


def test_processor_time_is_that_of_the_process_and_its_children() -> None:
    burn = "import time\nwhile time.process_time() < {}: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {burn.format(0.3)!r}], check=True)"

    assert measure([*PYTHON, burn.format(0.2)]).cpu_s >= 0.2
    assert measure([*PYTHON, child]).cpu_s >= 0.3


def test_memory_is_the_most_that_all_processes_held_together() -> None:
    hold = "held = b'x' * 60_000_000; print(flush=True); import sys; sys.stdin.read()"
    family = (
        "import subprocess, sys\n"
        f"words = [sys.executable, '-S', '-c', {hold!r}]\n"
        "three = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]\n"
        "[one.stdout.readline() for one in three]\n"
        "import time; began = time.perf_counter()\n"
        "while time.perf_counter() - began < 0.6: pass\n"
        "[one.communicate() for one in three]\n"
    )

    assert measure([*PYTHON, family]).rss_bytes > 180_000_000
    assert measure([*PYTHON, "held = b'x' * 90_000_000"]).rss_bytes > 90_000_000


def test_what_holds_more_than_it_may_is_killed() -> None:
    greedy = "held = []\nwhile True: held.append(b'x' * 1_000_000)"
    found = measure([*PYTHON, greedy], rss_limit_bytes=150_000_000)

    assert found.failed == "held more than 150 MB and was killed"
    assert 150_000_000 < found.rss_bytes < 3_000_000_000


def test_a_failure_is_told_in_its_last_line() -> None:
    assert measure([*PYTHON, "raise SystemExit('no such\\nluck')"]).failed == "exit code 1: luck"
    assert measure([*PYTHON, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]).failed == "exit code -9: "


def test_the_moment_of_the_first_line_is_known() -> None:
    text = "print('soon', flush=True)\nimport time\nwhile time.process_time() < 0.5: pass\nprint('late')"
    found = measure([*PYTHON, text])

    assert found.output == "soon\nlate\n"
    assert found.first_line_s
    assert found.first_line_cpu_s < 0.5 <= found.cpu_s
    assert measure([*PYTHON, "pass"]).first_line_s is None


# --- contenders -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], dict[str, object]]:
    """One round of everyone on one megabyte."""
    folder = tmp_path_factory.mktemp("bench")
    truth = write_log(folder / "server.log", Shape(megabytes=1))
    return ingest.compete(ingest.contenders(folder / "server.log", folder, True), truth, 1, "run", 1), truth


def test_all_contenders_agree_with_the_truth(competition: tuple[list[Result], dict[str, object]]) -> None:
    found, _ = competition

    assert {result.arm: result.failed for result in found if result.failed} == {}
    ours = {"ingest, 1 worker", "ingest", "ingest of gzip", "append of 1 %", "nothing new"}
    assert ours | {"wc -l", "Python loop"} <= {result.arm for result in found}


def test_every_figure_is_told(competition: tuple[list[Result], dict[str, object]], tmp_path: Path,
                              capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    found, _ = competition
    results.append(tmp_path / "results.jsonl", found)
    with (tmp_path / "results.jsonl").open("a") as handle:
        handle.write("not a result\n{}\n")
    again = results.read(tmp_path / "results.jsonl")
    ingest.show(again, again)
    shown, page = capsys.readouterr().out, goals.page(again)

    assert again == found
    for result in found:
        assert result.arm in shown
        assert f"| {result.arm} |" in page
    assert "CPU 1.00 × that of" in shown


def test_who_counts_wrongly_is_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "server.log"
    truth = write_log(log, Shape(megabytes=0.2))
    found = ingest.compete(arms.tools(log, tmp_path), truth | {"access_lines": 7}, 2, "run", 1)

    assert [(each.arm, each.failed) for each in found if not each.failed] == [("wc -l", "")] * 2
    wrong = [each for each in found if each.failed]
    assert len(wrong) == len({each.arm for each in wrong})  # they do not take part again
    assert "Python loop: access_lines" in capsys.readouterr().err


@pytest.mark.parametrize("said", [{"lines": 9}, {"wall_ns": 1_000_000_002_000}, {"events": {"load_done": 1}}])
def test_a_disagreement_is_named(said: dict[str, object]) -> None:
    truth = {"lines": 10, "access_lines": 5, "wall_ns": 1_000_000_000_000, "events": {"load_done": 2}}

    assert arms.disagreement(truth, truth) == ""
    assert arms.disagreement({"wall_ns": 1_000_000_000_500.0}, truth) == ""  # as exact as awk can be
    assert next(iter(said)) in arms.disagreement(said, truth)


def test_durations_of_every_kind_are_summed(tmp_path: Path) -> None:
    """Go's units, hours and minutes; by the loop, by gawk, and by ingest."""
    log = tmp_path / "server.log"
    walls = {"35.2µs": 35_200, "1.5ms": 1_500_000, "2.25s": 2_250_000_000, "999ns": 999, "1m2s": 62 * 10**9,
             "1h0m5s": 3605 * 10**9, "2h3m0s": 7380 * 10**9}  # fmt: skip
    line = '[GIN] 2026/11/20 - 21:10:01 | 200 | {:>13} |       127.0.0.1 | POST     "/api/chat"\n'
    log.write_text("".join(line.format(wall) for wall in walls), encoding="utf-8")
    truth = {"lines": len(walls), "access_lines": len(walls), "wall_ns": sum(walls.values()), "events": {}}

    found = ingest.compete(arms.tools(log, tmp_path) + arms.ingests(log, tmp_path), truth, 1, "run", 1)

    assert peers.loop(log)["wall_ns"] == truth["wall_ns"]
    assert [each.failed for each in found if each.failed and each.arm != "lnav"] == []


# --- goals ----------------------------------------------------------------------------------------------------


def a(arm: str, wall_s: float, size: float = 1000, rss_mb: float = 100, run: str = "1", failed: str = "") -> Result:
    return Result(run, arm, size, "MB", wall_s, wall_s, int(rss_mb * 1e6), failed)


WELL = [
    a("rg -c", 0.5), a("ingest", 5), a("lnav", 30), a("Python loop", 60), a("append of 1 %", 0.3),
    a("nothing new", 0.2), a("ingest of gzip", 8), a("gzip -dc", 3), a("ingest of zstd", 6), a("zstd -dc", 0.5),
    a("rg -c", 1.5, 3000), a("ingest", 15.5, 3000), a("ingest", 51, 10000),
    a("verdicts", 12, 10e6), a("ingest before verdicts", 30, 10e6), a("verdicts", 1.3, 1e6),
    a("import and ingest", 1, 50), a("analyze until its answer", 1.4, 50), a("empty notebook", 1, 50),
    a("whole report", 2, 50), a("fleet, Dask", 6.5, 8), a("fleet, two processes", 5.5, 8),
    a("fleet, tiny hosts", 150, 20_000),
]  # fmt: skip


def states(found: list[Result]) -> dict[str, str]:
    return {goal.name: state for goal, state, _ in goals.judged(found)}


def test_goals_are_met() -> None:
    assert set(states(WELL).values()) == {"met"}


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (a("ingest", 7.1), "complete ingest of 1 GB"),
        (a("lnav", 24), "faster than lnav"),
        (a("Python loop", 17), "faster than a Python"),
        (a("ingest", 15.5, 3000, rss_mb=401), "most memory of ingest"),
        (a("ingest", 56, 10000), "ingest is linear"),
        (a("append of 1 %", 0.36), "1 % appended"),
        (a("ingest of gzip", 9.6), "gzip"),
        (a("ingest of zstd", 7.1), "zstd"),
        (a("verdicts", 15.1, 10e6), "verdicts of 10 M requests, of"),
        (a("verdicts", 12, 10e6, rss_mb=1501), "most memory of verdicts"),
        (a("verdicts", 1.0, 1e6), "verdicts are linear"),
        (a("analyze until its answer", 1.6, 50), "answer of analyze"),
        (a("whole report", 2.6, 50), "whole report"),
        (a("fleet, Dask", 7.2, 8), "Dask"),
        (a("fleet, tiny hosts", 201, 20_000), "a host of"),
        (a("append of 1 %", 0.3, 7, failed="held more than 1000 MB and was killed"), "runs of ours"),
    ],
)
def test_a_goal_is_missed_by_what_is_worse_than_its_bound(other: Result, name: str) -> None:
    found = states([each for each in WELL if (each.arm, each.size) != (other.arm, other.size)] + [other])

    assert next(state for goal, state in found.items() if goal.startswith(name)) == "not met"


def test_what_does_not_decide_a_goal_leaves_it_open() -> None:
    small = [replace(result, size=20) for result in WELL]
    assert states([])["faster than lnav"] == "not measured"
    assert states([each for each in small if each.unit == "MB"])["faster than lnav"] == "not measured"
    out = [*WELL, a("lnav", 30, failed="access_lines 0 instead of 9")]
    assert states(out)["faster than lnav"] == "not measured"
    apart = [each for each in WELL if each.arm != "lnav"] + [a("lnav", 30, run="0")]
    assert states(apart)["faster than lnav"] == "not measured"
    without = [each for each in WELL if each.size != 10000]
    assert states(without)["most memory of ingest at 1, 3 and 10 GB"] == "not measured"
    assert "20 MB" in goals.as_text(small)


def test_without_rg_others_are_multiples_of_grep() -> None:
    found = results.medians([a("grep -c", 2), a("ingest", 8)])

    base = goals.base_of(found, 1000)
    assert base
    assert base.arm == "grep -c"
    assert states([a("grep -c", 2), a("ingest", 8)])[goals.GOALS[0].name] == "not measured"


def test_medians_are_of_the_last_run() -> None:
    rounds = [a("lnav", wall_s, run=run) for run, wall_s in (("1", 9), ("2", 1), ("2", 5), ("2", 2))]
    other_size = a("lnav", 7, 3000, run="1")
    median = results.medians([*rounds, other_size])["lnav", 1000]

    assert (median.wall_s, median.rounds, median.run) == (2, 3, "2")
    assert results.of_last_runs([*rounds, other_size]) == rounds[1:]


def test_reasons_do_not_break_the_page() -> None:
    page = goals.page([a("lnav", 1, failed="exit code 1: <script>|\n| `x` | [a](b)"), a("rg -c", 1)])

    row = next(line for line in page.split("\n") if line.startswith("| lnav"))
    assert row.count("|") == 8
    assert "<" not in row
    assert "[" not in row
