"""A reproduction against a drill: what it sends, what it leaves, and how it goes on after a kill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from warmstall.analysis import analyze
from warmstall.drill.server_process import DrillServer
from warmstall.errors import InputError, OutputError, ParameterError, StepFailed
from warmstall.rag.settings import EmbedderSettings, InferenceSettings, RagSettings
from warmstall.reproduce.records import Profile
from warmstall.reproduce.run import Wanted, reproduce
from warmstall.reproduce.targets import Target, open_target, pick_model, settings_for

LONG_S = 120


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """Maps of redaction and a drill's own files go where nobody else's are; no server of the machine is asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OLLAMA_HOST", raising=False)


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    with DrillServer(tmp_path_factory.mktemp("drill")) as server:
        yield server


def rows_of(case: Path) -> list[dict[str, str]]:
    with (case / "measurements.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_rate_against_a_drill_leaves_a_case_that_the_analysis_reads(tmp_path) -> None:
    """Without a target a drill is started and said so; its log, the trace and samples are the case's evidence."""
    said = []
    case = tmp_path / "case"
    done = []
    told = reproduce(
        Wanted(case, Profile("rate", calls=12, rate_per_s=20)), said.append, done=lambda *of: done.append(of)
    )
    assert done == [(number, 12) for number in range(1, 13)]
    assert "no target and no OLLAMA_HOST: a drill's server is started in place of a real one" in said
    assert (told.figures.calls, told.figures.failed, told.missing, told.model) == (12, 0, 0, "tiny")
    assert told.figures.latency_max_s >= told.figures.latency_p50_s > (told.figures.ttft_p50_s or 0) > 0
    text = str(told)
    assert text.startswith(f"Call load on {told.target} (tiny).\n12 calls, 0 failed: latency p50 ")
    assert text.endswith(f"Case: {case}\n\nNext: warmstall analyze {case}")
    assert json.loads(json.dumps(told.as_json()))["figures"]["calls"] == 12
    (host,) = (case / "evidence").iterdir()
    assert {path.name for path in host.iterdir()} >= {
        "server.log", "trace.jsonl", "application.log", "samples-0001.jsonl",
    }  # fmt: skip
    spans = [json.loads(line) for line in (host / "trace.jsonl").read_text().splitlines()]
    assert {row["trace_id"] for row in rows_of(case)} == {span["context"]["trace_id"][2:] for span in spans}
    paths = analyze(case).case.sql("SELECT path, count(*) AS n FROM access_lines GROUP BY path")
    assert dict(paths.values)["/api/chat"] == 13  # the warm-up is one


def test_the_samples_are_those_of_the_server_that_is_asked(tmp_path, drill) -> None:
    """/api/ps of the target's port, with the model in memory, and no canary of its own."""
    reproduce(Wanted(tmp_path / "case", Profile(calls=3), target=drill.url, watch_every_s=0.1))
    (samples,) = (tmp_path / "case").rglob("samples-0001.jsonl")
    rows = [json.loads(line)["rows"] for line in samples.read_text().splitlines()]
    assert {probe["status"] for one in rows for probe in one["probes"]} == {"200"}
    assert not any(one.get("trials") for one in rows)


def test_a_sweep_tells_each_level(tmp_path, drill) -> None:
    """One line of figures for each number of clients."""
    told = reproduce(Wanted(tmp_path / "case", Profile("sweep", calls=4, levels=(1, 2)), target=drill.url))
    assert [(step, figures.calls) for step, figures in told.steps.items()] == [("1 client", 4), ("2 clients", 4)]
    assert "\n  2 clients: 4 calls, 0 failed: latency p50 " in str(told)


def test_embeddings_are_sent_without_a_model_that_writes(tmp_path, drill) -> None:
    """Their spans are those of an embedder."""
    told = reproduce(Wanted(tmp_path / "case", Profile(calls=3), target=drill.url, what="embed"))
    assert (told.figures.calls, told.figures.failed, told.model) == (3, 0, "all-minilm")
    named = Wanted(tmp_path / "other", Profile(calls=1), drill.url, "nomic-embed-text", "embed")
    assert (reproduce(named).model, reproduce(named).figures.failed) == ("nomic-embed-text", 0)
    (trace,) = (tmp_path / "case").rglob("trace.jsonl")
    spans = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {span["attributes"].get("gen_ai.operation.name") for span in spans if span["name"] == "embed"} == {
        "embeddings"
    }


def test_a_replay_asks_for_the_model_and_the_tokens_of_its_table(tmp_path, drill) -> None:
    """Two models in turn, 4 and 9 tokens."""
    table = tmp_path / "trials.csv"
    table.write_text(
        "started_at,wall_s,model,path,status,prompt_eval_count,eval_count\n"
        "2026-01-01T00:00:00Z,1,tiny,/api/chat,200,20,4\n2026-01-01T00:00:00.2Z,1,tiny2,/api/chat,200,400,9\n"
    )
    told = reproduce(Wanted(tmp_path / "case", Profile("replay", calls=0, table=str(table)), target=drill.url))
    assert told.figures.calls == 2
    measured = [row for row in rows_of(tmp_path / "case") if row["phase"] == "measured"]
    assert sorted(int(float(row["output_tokens"])) for row in measured) == [4, 9]
    (trace,) = (tmp_path / "case").rglob("trace.jsonl")
    spans = [json.loads(line)["attributes"] for line in trace.read_text().splitlines()]
    read = {span["gen_ai.request.model"]: span["gen_ai.usage.input_tokens"] for span in spans}
    assert read["tiny2"] > 5 * read["tiny"]
    one = reproduce(
        Wanted(tmp_path / "one", Profile("replay", calls=0, table=str(table)), target=drill.url, model="tiny")
    )
    (trace,) = (tmp_path / "one").rglob("trace.jsonl")
    assert one.figures.failed == 0
    assert "tiny2" not in trace.read_text()


def test_calls_that_fail_are_measured_and_told(tmp_path, drill) -> None:
    """A model that the server does not have: every call failed, with the sentence and its trace."""
    wanted = Wanted(tmp_path / "case", Profile(calls=3, warm_up=0), target=drill.url, model="no-such-model")
    told = reproduce(wanted)
    assert (told.figures.calls, told.figures.failed) == (3, 3)
    ((error, count),) = told.errors.items()
    assert count == 3
    assert "no-such-model" in error
    assert all(len(row["trace_id"]) == 32 for row in rows_of(tmp_path / "case"))
    assert "3 calls, 3 failed.\n  3 × " in str(told)


def test_what_was_measured_is_not_measured_again(tmp_path, drill) -> None:
    """The same plan in the same folder: the rest of it, and then nothing; another plan is refused."""
    wanted = Wanted(tmp_path / "case", Profile(calls=6), target=drill.url)
    assert reproduce(wanted).missing == 0
    before = rows_of(wanted.case)
    kept = [row for row in before if int(row["number"]) not in (2, 5)]
    with (wanted.case / "measurements.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, before[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    again = reproduce(wanted)
    assert Counter(int(row["number"]) for row in rows_of(wanted.case)) == Counter([0, -1, 1, 2, 3, 4, 5, 6])
    assert again.figures.calls == 6
    assert "nothing was sent" in str(reproduce(wanted))
    with pytest.raises(OutputError, match="another plan"):
        reproduce(replace(wanted, prompt_tokens=50))


def test_a_load_that_is_stopped_tells_what_is_missing(tmp_path, drill) -> None:
    """Stopped before its first call: nothing was measured, and the sentence counts it."""
    stop = threading.Event()
    stop.set()
    told = reproduce(Wanted(tmp_path / "case", Profile(calls=5), target=drill.url), stop=stop)
    assert told.missing == 5
    assert "5 of 5 calls were not measured." in str(told)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"what": "sing"}, ParameterError, "what is 'sing'; expected question, call, embed"),
        ({"target": "not an address"}, InputError, "expected an address such as http"),
        ({"target": "http://127.0.0.1:9"}, StepFailed, "no server answers"),
        ({"profile": Profile("rate", rate_per_s=-1)}, ParameterError, r"rate_per_s \(--rate\) is -1"),
        ({"logs": ("/no/such/server.log",)}, InputError, "there is no such file"),
        ({"output_tokens": 0}, ParameterError, r"output_tokens \(--output-tokens\) is 0"),
        ({"what": "embed", "model": "tiny"}, ParameterError, r"model \(--model\) is 'tiny'; no embedder of"),
        ({"keep": ("everything",)}, InputError, "there is no such kind"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(tmp_path, change, error, told) -> None:
    """Before anything is sent."""
    with pytest.raises(error, match=told):
        reproduce(replace(Wanted(tmp_path / "case", Profile(calls=2)), **change))


def test_the_target_is_the_one_that_is_named_then_the_environments_then_a_drill(tmp_path, drill, monkeypatch) -> None:
    """--target, OLLAMA_HOST without a scheme, and the word drill."""
    with open_target("http://127.0.0.1:1/", tmp_path) as target:
        assert (target.url, target.is_drill) == ("http://127.0.0.1:1", False)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{drill.port}")
    with open_target("", tmp_path) as target:
        assert (target.url, target.is_drill) == (drill.url, False)
        assert pick_model(target) == "tiny:latest"
    with open_target("drill", tmp_path / "own") as target:
        assert target.is_drill
        assert target.log
        assert target.log.exists()
        assert pick_model(target) == "tiny"
    monkeypatch.setenv("OLLAMA_HOST", "gpu-box")
    plans = [Wanted(tmp_path, target=one).plan()["target"] for one in ("", "http://other:1/", "drill")]
    assert plans == ["http://gpu-box:11434", "http://other:1", "drill"]
    monkeypatch.delenv("OLLAMA_HOST")
    assert Wanted(tmp_path).plan()["target"] == "drill"
    assert not Target("http://[2001:db8::1]:11434").is_local


def test_embedders_of_ollama_are_not_looked_for_at_a_server_of_another_kind() -> None:
    """vLLM answers no /api/embed: their server stays the one of OLLAMA_HOST. A drill answers both."""
    openai = RagSettings(inference=InferenceSettings("openai", "m"))
    for settings, target, url in (
        (openai, Target("http://vllm:8000/v1"), ""), (openai, Target("http://drill:1", True), "http://drill:1"),
        (RagSettings(), Target("http://ollama:1"), "http://ollama:1"),
    ):  # fmt: skip
        assert {one.url for one in settings_for(settings, target).embedders.values()} == {url}


REPRODUCE = """
import sys
from pathlib import Path
from warmstall.reproduce.records import Profile
from warmstall.reproduce.run import Wanted, reproduce
profile = Profile("concurrency", calls=30, concurrency=3)
print(reproduce(Wanted(Path(sys.argv[1]), profile, target="drill", output_tokens=200)))
"""


def begin(case: Path) -> subprocess.Popen[str]:
    """A reproduction in a process of its own, with some calls measured."""
    child = subprocess.Popen(
        [sys.executable, "-c", REPRODUCE, str(case)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    tick = threading.Event()
    while not (case / "measurements.csv").exists() or (case / "measurements.csv").read_bytes().count(b"\n") < 6:
        assert child.poll() is None, child.communicate()
        tick.wait(0.02)
    return child


def test_a_kill_leaves_a_case_that_is_gone_on_with_each_number_once(tmp_path) -> None:
    """kill -9 in the middle: the case can be read; the same command measures the rest, and the log is of both runs."""
    case = tmp_path / "case"
    child = begin(case)
    child.kill()
    child.communicate()
    before = len(rows_of(case))
    assert json.loads((case / "case.json").read_text())["hosts"]
    assert before < 31
    done = subprocess.run(
        [sys.executable, "-c", REPRODUCE, str(case)], capture_output=True, text=True, timeout=LONG_S, check=True
    )
    assert "30 calls, 0 failed" in done.stdout
    counted = Counter(int(row["number"]) for row in rows_of(case))
    assert set(counted.values()) == {1}
    assert {number for number in counted if number > 0} == set(range(1, 31))
    (log,) = case.rglob("server.log")
    assert log.read_text(errors="replace").count("Listening on 127.0.0.1") == 2
    (host,) = (case / "evidence").iterdir()
    assert all(json.loads(line)["name"] for line in (host / "trace.jsonl").read_text().splitlines()[:-1])
    assert not list((Path(os.environ["XDG_STATE_HOME"]) / "warmstall" / "reproduce").glob("*"))


def test_questions_go_through_the_whole_path(tmp_path, drill) -> None:
    """The knowledge that ships is taken in, its questions are asked, and measures tell what was found."""
    settings = RagSettings(
        inference=InferenceSettings(url=drill.url), embedders={"small": EmbedderSettings("lexical"),
                                                               "large": EmbedderSettings("lexical")},
    )  # fmt: skip
    wanted = Wanted(tmp_path / "case", Profile(calls=4), settings=settings, lexical=True, what="question")
    told = reproduce(wanted)
    assert (told.figures.calls, told.figures.failed) == (4, 0), told.errors
    (trace,) = (tmp_path / "case").rglob("trace.jsonl")
    names = Counter(json.loads(line)["name"] for line in trace.read_text().splitlines())
    assert names["question"] == 5
    assert names["generate"] == 5
    assert "documents_found" in rows_of(tmp_path / "case")[-1]["measures"]
