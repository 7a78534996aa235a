"""Each experiment of the table against real servers: which way it goes, what it tells of few trials, what it leaves.

The servers are drills, whose loads, queues and faults take the time they are said to take. Nothing is asserted of
seconds, only of which arm needs more of them.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ROOT
from warmstall.analysis import analyze
from warmstall.drill.server_process import DrillServer
from warmstall.errors import OutputError, ParameterError, StepFailed
from warmstall.hypotheses import judge
from warmstall.observed.steps import steps
from warmstall.rag.settings import InferenceSettings, RagSettings
from warmstall.reproduce.experiment_result import ExperimentResult
from warmstall.reproduce.experiments import EXPERIMENTS, run_experiment
from warmstall.reproduce.experiments.page import experiments_markdown
from warmstall.reproduce.measurements import Measurements
from warmstall.reproduce.pictures import arms
from warmstall.reproduce.records import Profile
from warmstall.reproduce.wanted import Wanted


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction go where nobody else's are, and no server of this machine is asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("server")) as one:
        yield one


def wanted(folder: Path, calls: int, target: str = "", warm_up: int = 0, **profile: object) -> Wanted:
    load = Profile(calls=calls, warm_up=warm_up, **profile)  # type: ignore[arg-type]
    return Wanted(case=folder / "case", profile=load, target=target, model="tiny", watch_every_s=30.0)


def values(result: ExperimentResult, metric: str) -> list[float]:
    """The medians or rates of the arms, in their order."""
    frame = result.frame()
    return [float(value) for value in frame.loc[frame["metric"] == metric, "value"]]


def test_a_cold_call_waits_for_its_load_and_the_answer_has_an_interval_and_n(tmp_path, server, monkeypatch) -> None:
    """With OLLAMA_HOST in place of a target, as on a real host."""
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    result = run_experiment("cold_vs_warm", wanted(tmp_path, 8))
    by_metric = {one.metric: one for one in result.compared}
    load = by_metric["load_duration_s"].effect
    assert (load.n_control, load.n_treatment) == (8, 8)
    assert load.ratio is not None
    assert load.ratio.high < 1
    assert "warm is " in result.verdict
    assert "n = 8 and 8" in result.verdict
    assert "times as fast as cold (95 %: " in by_metric["load_duration_s"].sentence
    # What the server itself wrote down: each cold call was one, and no warm one.
    noted = json.loads((tmp_path / "case" / "case.json").read_text())
    assert noted["experiment"]["verdict"] == result.verdict


def test_its_case_is_read_as_any_other(tmp_path) -> None:
    """Three calls of each arm, without any server given: the log tells three cold starts by their loads."""
    result = run_experiment("cold_vs_warm", wanted(tmp_path, 3))
    assert "not enough data to tell warm (n = 3, 5 more are needed)" in result.verdict
    found = analyze(result.case)
    verdicts = found.requests()["verdict"].value_counts()
    # Where the machine stood still, the load of so small a model is next to nothing of its call.
    assert 2 <= verdicts["cold_start"] <= 3
    assert steps(found.case)["step"].to_list() == ["generate"]
    assert steps(found.case)["n"][0] >= 6


def test_a_short_keep_alive_loads_anew_after_each_pause(tmp_path, server) -> None:
    result = run_experiment("keep_alive", wanted(tmp_path, 1, server.url))
    short, long = values(result, "load_duration_s")
    assert short > long
    assert "not enough data" in result.verdict


def test_clients_at_once_wait_for_each_other(tmp_path, server) -> None:
    result = run_experiment("concurrency", wanted(tmp_path, 2, server.url, warm_up=1, levels=(1, 6)))
    alone, together = values(result, "call_s")
    assert together > alone
    assert [arm.name for arm in result.arms] == ["1 client", "6 clients"]
    assert values(result, "failed") == [0.0, 0.0]


def test_a_longer_context_takes_more_memory(tmp_path, server) -> None:
    result = run_experiment("context_sweep", wanted(tmp_path, 1, server.url))
    sizes = values(result, "size_bytes")
    assert sizes == sorted(set(sizes))
    assert "MiB" in str(result) or "not enough data" in str(result)


def test_flash_attention_needs_a_second_server_and_says_which(tmp_path, server) -> None:
    result = run_experiment("flash_attention", wanted(tmp_path, 3, server.url))
    assert result.verdict.startswith("Not enough data: give second_target (--second-target)")
    assert not Measurements(tmp_path / "case" / "measurements.csv").rows()


def test_flash_attention_is_tried_on_two_servers_that_differ_in_it(tmp_path) -> None:
    """Without a target both are drills, of which the first reads prompts as a GPU without the kernel does."""
    result = run_experiment("flash_attention", replace(wanted(tmp_path, 2, warm_up=1), model="mid"))
    with_it, without = values(result, "ttft_s")
    assert with_it > without
    logs = {path.name: path.read_text() for path in (tmp_path / "case" / "evidence").glob("*/*server.log")}
    found = {name: re.search(r"OLLAMA_FLASH_ATTENTION:\w+", log)[0] for name, log in logs.items()}
    assert found["server.log"] != found["second-server.log"]


def test_parallel_retrieval_embeds_once_for_each_embedder_and_finds_the_same(tmp_path, server) -> None:
    """The trace tells what each arm did: five searches with five embeddings, or with two."""
    result = run_experiment("retrieval", replace(wanted(tmp_path, 3, server.url), user="oncall"))
    assert values(result, "recall") == [1.0, 1.0]
    assert "not enough data" in result.verdict
    (trace,) = (tmp_path / "case" / "evidence").glob("*/trace.jsonl")
    spans = [json.loads(line) for line in trace.read_text().splitlines()]
    modes = {one["context"]["trace_id"]: one["attributes"]["warmstall.retrieval"]
             for one in spans if one["name"] == "retrieve"}  # fmt: skip
    embedded = Counter(one["context"]["trace_id"] for one in spans if one["name"] == "embed")
    searched = Counter(one["context"]["trace_id"] for one in spans if one["name"] == "search")
    counts = {(mode, embedded[trace_id], searched[trace_id]) for trace_id, mode in modes.items()}
    assert counts == {("sequential", 5, 5), ("parallel", 2, 5)}


def test_threads_without_a_lock_break_the_embedder_and_the_case_shows_the_race(tmp_path) -> None:
    result = run_experiment("embedder_lock", wanted(tmp_path, 8))
    assert values(result, "failed") == [1.0, 0.0]
    assert str(result).splitlines()[1] == "Measured on an embedder made to show the race, none of yours."
    assert "lock differs from no lock (0 % against 100 %" in result.verdict
    (race,) = [one for one in judge(analyze(result.case)) if one.id == "embedder_race"]
    assert race.state == "confirmed"


def test_retries_save_calls_and_cost_the_server_attempts(tmp_path) -> None:
    result = run_experiment("retries", wanted(tmp_path, 12, seed=5))
    once, again = values(result, "failed")
    assert once > again
    assert values(result, "attempts")[1] > values(result, "attempts")[0] == 1.0
    (note,) = result.as_json()["notes"]
    assert re.fullmatch(r"Measured on a drill at http\S+ \(tiny\), which has the fault broken_stream\.", note)
    assert "n = 12 and 12" in result.verdict


def test_what_was_stopped_is_gone_on_with_in_the_same_case(tmp_path, server) -> None:
    load, stop = wanted(tmp_path, 4, server.url, levels=(1, 2)), threading.Event()
    stopped = run_experiment(
        "concurrency", load, stop=stop, done=lambda done, of: stop.set() if done == 3 else None,
    )  # fmt: skip
    assert "it was stopped after 3 of 8 trials" in str(stopped)
    whole = run_experiment("concurrency", load)
    rows = Measurements(tmp_path / "case" / "measurements.csv").rows()
    assert sorted(row.number for row in rows) == list(range(1, 9))
    assert len(whole.measurements) == 8
    assert not whole.stopped
    assert run_experiment("concurrency", load).notes == whole.notes == (f"Measured on {server.url} (tiny).",)
    noted = json.loads((tmp_path / "case" / "case.json").read_text())["experiment"]
    assert (noted["target"], noted["drill"], noted["model"]) == (server.url, False, "tiny")
    with pytest.raises(OutputError, match="another plan"):
        run_experiment("keep_alive", load)


def test_what_cannot_be_is_refused_before_anything_is_sent(tmp_path, server) -> None:
    for name, load, error, told in (
        ("no_such", wanted(tmp_path, 3), ParameterError, "there are cold_vs_warm, keep_alive"),
        ("concurrency", wanted(tmp_path, 3, levels=(4,)), ParameterError, "two or more numbers of clients"),
        (
            "concurrency",
            wanted(tmp_path, 3, levels=(0, 50_000)),
            ParameterError,
            r"levels \(--levels\) are \(0, 50000\)",
        ),
        ("cold_vs_warm", wanted(tmp_path, 0), ParameterError, "trials of an arm: got 0"),
        ("cold_vs_warm", wanted(tmp_path, 3, "http://127.0.0.1:9"), StepFailed, "no server answers"),
    ):
        with pytest.raises(error, match=told):
            run_experiment(name, load)


def test_a_server_that_is_not_ollama_has_no_memory_to_be_asked_after(tmp_path, server) -> None:
    openai = RagSettings(inference=InferenceSettings("openai", "tiny", server.url + "/v1"))
    result = run_experiment("cold_vs_warm", replace(wanted(tmp_path, 3, server.url), settings=openai))
    assert "needs a server of Ollama" in result.verdict


def test_an_absent_model_is_a_failure_that_names_it(tmp_path, server) -> None:
    result = run_experiment("retries", replace(wanted(tmp_path, 1, server.url), model="nowhere"))
    assert values(result, "failed") == [1.0, 1.0]
    assert all("has no model 'nowhere'" in row.sent.error for row in result.measurements)


def test_every_experiment_has_a_control_and_can_be_drawn() -> None:
    for one in EXPERIMENTS.values():
        assert len(one.arms) >= 2
        assert one.question.endswith("?")
        empty = ExperimentResult(one.name, one.question, one.arms, one.metrics, ())
        assert "not enough data" in str(empty)
        assert arms(empty).layout.title.text


def test_the_page_is_that_of_the_table() -> None:
    """Otherwise: make docs."""
    assert (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8") == experiments_markdown()
