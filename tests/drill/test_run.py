"""A run leaves a case and its truth, joins what client and server know of each request, and leaves no process."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from warmstall.drill import run
from warmstall.drill.run import EVIDENCE, Outcome, run_scenario
from warmstall.drill.scenario import Scenario, checked
from warmstall.errors import InputError, OutputError
from warmstall.evidence import discover

# The stop is long enough to be the largest part of whatever it meets.
SHORT: dict[str, Any] = {
    "name": "short", "about": "A runner stands still for a while.", "versions": ["0.13.5"], "duration_s": 8,
    "models": ["tiny"], "gpu": "cuda:Drill GPU:24",
    "traffic": [{"model": "tiny", "clients": 1, "pause_s": 0.05, "num_predict": 1000}],
    "faults": [{"kind": "stopped_runner", "model": "tiny", "start_s": 2, "end_s": 6}],
}  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Two runs of it, side by side."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda folder: run_scenario(checked(SHORT, "short"), folder), folders))


def test_the_folder_is_a_case_with_its_truth_beside_it(outcomes):
    folder = outcomes[0].folder
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    evidence = {"server.log", "trials.csv", "samples/ps.jsonl", "samples/simulated.jsonl"}
    assert files - {"evidence/drill/limits.txt"} == {
        "truth.jsonl", "scenario.toml", *(f"evidence/drill/{name}" for name in evidence),
    }  # fmt: skip


def test_an_analysis_reads_the_evidence_and_never_the_truth(outcomes):
    read = {str(one.path) for one in discover([outcomes[0].folder])}
    assert any(path.endswith("server.log") for path in read)
    assert not [path for path in read if "truth" in path or "scenario" in path]


def test_client_and_server_tell_of_the_same_requests(outcomes):
    for outcome in outcomes:
        with (outcome.folder / EVIDENCE / "trials.csv").open(newline="", encoding="utf-8") as handle:
            trials = list(csv.DictReader(handle))
        requests = [row for row in rows_of(outcome.folder / "truth.jsonl") if "id" in row]
        assert len(requests) == len(trials) == len(outcome.truths) >= 3
        # On a machine that is late, the first one is still being answered when its runner is stopped.
        assert requests[0]["verdict"] in ("cold_start", "warm_stall")
        assert requests[0]["budget"]["load_s"] > 0
        for row in requests:
            assert sum(row["budget"].values()) == pytest.approx(row["wall_s"], rel=0.25, abs=0.25)


def test_what_was_done_is_found_in_the_truth(outcomes):
    for outcome in outcomes:
        assert outcome.problems == ()
        rows = rows_of(outcome.folder / "truth.jsonl")
        (fault,) = [row for row in rows if "fault" in row]
        assert (fault["fault"], fault["hypotheses"]) == ("stopped_runner", ["warm_stall"])
        stalled = [row for row in rows if row.get("verdict") == "warm_stall" and "id" in row]
        assert [row["status"] for row in stalled] == ["200"]
        assert stalled[0]["budget"]["unexplained_s"] > 2


def test_what_is_simulated_says_so(outcomes):
    first, *rows = rows_of(outcomes[0].folder / EVIDENCE / "samples" / "simulated.jsonl")
    assert first["gap"]["reason"].startswith("simulated:")
    assert {gpu["name"] for row in rows for gpu in row["rows"]["gpus"]} == {"Drill GPU (simulated)"}


def test_samples_are_of_this_drill_alone(outcomes):
    pids = [
        {
            process["pid"]
            for row in rows_of(outcome.folder / EVIDENCE / "samples" / "ps.jsonl")
            for process in row["procs"]
        }
        for outcome in outcomes
    ]
    assert pids[0]
    assert not pids[0] & pids[1]


def test_nothing_is_left_behind(outcomes):
    for outcome in outcomes:
        for row in rows_of(outcome.folder / EVIDENCE / "samples" / "ps.jsonl"):
            assert not [process["pid"] for process in row["procs"] if psutil.pid_exists(process["pid"])]


def scenario_that_grows() -> Scenario:
    return checked(SHORT | {"faults": [{"kind": "growing_memory", "model": "tiny", "intensity": 1000000}]}, "x")


def test_memory_does_not_grow_where_there_is_no_room(tmp_path, monkeypatch):
    class Short:
        available = run.CAP_BYTES + run.HEADROOM_BYTES - 1

    monkeypatch.setattr(run.psutil, "virtual_memory", lambda: Short)
    with pytest.raises(InputError, match=r"its runner's memory grows, and this machine has less than 1\.25 GiB"):
        run_scenario(scenario_that_grows(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="it is not empty"):
        run_scenario(checked(SHORT, "x"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
