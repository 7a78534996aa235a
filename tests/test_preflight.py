"""The preflight and the doctor: what they say of real servers and of recorded ones, and that they only read."""

from __future__ import annotations

import json
import re
from typing import Any

import psutil
import pytest
import typer
from typer.testing import CliRunner

from conftest import ROOT
from warmstall.doctor import ESSENTIAL, abilities, doctor
from warmstall.drill.server_process import DrillServer
from warmstall.errors import InputError
from warmstall.host import LocalHost, RecordedHost
from warmstall.known_settings import TABLE, known_bad, version_of, without_effect
from warmstall.preflight import Preflight, preflight
from warmstall.remediate.target import Target, open_target

CALM = {
    "/proc/meminfo": "MemTotal: 16000000 kB\nMemFree: 8000000 kB\nMemAvailable: {available} kB\n"
    "AnonPages: 5000000 kB\nMapped: 400000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "/proc/vmstat": "nr_free_pages 1\nnr_anon_pages 1250000\nnr_mapped 100000\npswpin 0\npswpout 0\noom_kill 0\n",
    "/proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
}
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units\n"
    "Max locked memory         {memlock}            {memlock}            bytes\n"
    "Max open files            1024                 {nofile}             files\n"
)
WEIGHTS = "sha256-" + "6a" * 32


def recorded(available: int = 8_000_000, nofile: str = "524288", memlock: str = "8388608", **more: Any) -> Target:
    """The recorded healthy server, on a machine with memory and limits that are told."""
    target = open_target("recorded:healthy")
    host = target.host
    assert isinstance(host, RecordedHost)
    calm = {path: text.replace("{available}", str(available)) for path, text in CALM.items()}
    host.contents |= calm | {"/proc/1203/limits": LIMITS.format(nofile=nofile, memlock=memlock)} | more
    return target


def states(looked: Preflight) -> dict[str, str]:
    return {item.name: item.state for item in looked.items}


def sentence(looked: Preflight, name: str) -> str:
    return next(item.sentence for item in looked.items if item.name == name)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"OLLAMA_NUM_CTX": "8192", "OLLAMA_KEEP_ALIVE": "0"}
    with DrillServer(tmp_path_factory.mktemp("preflight"), environment=settings) as running:
        yield running


# The preflight


def test_a_run_for_which_there_is_headroom_is_a_go():
    looked = preflight(recorded(), 1000, "llama3:8b", prompt_tokens=3000, answer_tokens=500)
    assert looked.answer == "go", str(looked)
    assert looked.exit_code == 0
    assert set(states(looked).values()) <= {"go"}


def test_memory_that_is_short_is_no_go():
    pressed = {"/proc/pressure/memory": CALM["/proc/pressure/memory"].replace("avg10=0.00", "avg10=44.00")}
    looked = preflight(recorded(**pressed), 10, "llama3:8b")
    assert states(looked)["memory now"] == "no go"
    assert looked.exit_code == 1


def test_memory_that_cannot_be_read_is_not_known_and_nothing_is_made_up():
    looked = preflight(open_target("recorded:healthy"), 10, "llama3:8b")
    assert states(looked)["memory now"] == "cannot tell"
    assert looked.exit_code == 3


def not_in_memory(available: int) -> Target:
    """The same server with its model on the disk only, 4.7 GB of it."""
    target = recorded(available)
    answers = [dict(row) for row in target.recording.answers if row["endpoint"] != "/api/ps"]
    answers.append({"endpoint": "/api/ps", "body": '{"models": []}'})
    listed = {"models": [{"name": "llama3:8b", "model": "llama3:8b", "size": 4_661_224_676}]}
    answers.append({"endpoint": "/api/tags", "body": json.dumps(listed)})
    object.__setattr__(target.recording, "answers", tuple(answers))
    return target


@pytest.mark.parametrize(("available", "state"), [(8_000_000, "go"), (5_000_000, "no go")])
def test_a_model_that_is_not_loaded_must_fit_with_its_context(available, state):
    looked = preflight(not_in_memory(available), 10, "llama3:8b")
    assert states(looked)["room for the model"] == state, str(looked)
    assert "5.2 GB with a context of 4,096" in sentence(looked, "room for the model")  # 4.66 GB and 512 MiB of cache


def test_prompts_that_do_not_fit_the_context_are_no_go():
    looked = preflight(recorded(), 10, "llama3:8b", prompt_tokens=4000, answer_tokens=200)
    assert states(looked)["context"] == "no go"
    assert "needs 4,200 tokens" in sentence(looked, "context")


def test_a_context_that_nobody_asked_about_is_told_and_stops_nobody():
    assert states(preflight(recorded(), 10, "llama3:8b"))["context"] == "mind"


def test_files_that_are_nearly_all_open_are_no_go():
    opened = {f"/proc/1203/fd/{number}": "" for number in range(62)}
    looked = preflight(recorded(nofile="64", **opened), 10, "llama3:8b")
    assert states(looked)["open files"] == "no go"
    assert states(preflight(recorded(nofile="512"), 1000, "llama3:8b"))["open files"] == "mind"


def test_a_small_memory_lock_matters_on_an_amd_card_alone():
    assert states(preflight(recorded(), 10, "llama3:8b"))["memory lock"] == "go"
    assert states(preflight(recorded(**{"/dev/kfd": ""}), 10, "llama3:8b"))["memory lock"] == "mind"
    assert states(preflight(recorded(memlock="unlimited", **{"/dev/kfd": ""}), 10, "llama3:8b"))["memory lock"] == "go"


def test_a_disk_that_is_too_small_is_no_go(tmp_path):
    looked = preflight(recorded(), 10**9, "llama3:8b", folder=tmp_path / "not" / "there" / "yet")
    assert states(looked)["disk"] == "no go"


def test_nobody_at_the_port_is_no_go(tmp_path):
    from warmstall.drill.runner import free_port

    looked = preflight(open_target("local", free_port()), 10, "tiny", folder=tmp_path)
    assert (looked.answer, states(looked)["server"]) == ("no go", "no go")


@pytest.mark.parametrize(("requests", "model", "tokens"), [(0, "a", 0), (-1, "a", 0), (1, " ", 0), (1, "a", -5)])
def test_numbers_that_no_run_has_are_refused(requests, model, tokens):
    with pytest.raises(InputError):
        preflight(recorded(), requests, model, prompt_tokens=tokens)


def test_of_a_real_server_it_tells_the_settings_in_force_and_only_reads(server):
    target = open_target("local", server.port)
    assert not target.writing
    before = sorted(psutil.Process(server.pid).children(recursive=True), key=lambda one: one.pid)
    try:
        looked = preflight(target, 50, "tiny", looks_apart_s=0.2)
    finally:
        target.close()
    told = [(item.state, item.sentence) for item in looked.items if item.name == "settings"]
    assert ("no go", next(text for _, text in told if "KEEP_ALIVE is 0" in text)) in told
    assert any("OLLAMA_NUM_CTX is read by no version" in text for _, text in told)
    assert states(looked)["open files"] == "go"
    assert sorted(psutil.Process(server.pid).children(recursive=True), key=lambda one: one.pid) == before
    assert '"/api/generate"' not in server.log.read_text()


def test_a_model_that_the_server_does_not_have_is_no_go(server):
    looked = preflight(open_target("local", server.port), 50, "no-such-model", looks_apart_s=0.2)
    assert states(looked)["model"] == "no go"
    assert "ollama pull no-such-model" in sentence(looked, "model")


def test_what_a_target_says_steers_no_terminal():
    text = str(preflight(recorded(), 10, "llama3:8b\x1b[2J"))
    assert "\x1b" not in text


# Settings known to be bad


@pytest.mark.parametrize(
    ("environment", "version", "system", "model", "found"),
    [
        ({"OLLAMA_FLASH_ATTENTION": "1"}, "0.20.3", "Darwin", "gemma4:12b", ["no go"]),
        ({"OLLAMA_FLASH_ATTENTION": "1"}, "0.20.4", "Darwin", "gemma4:12b", []),
        ({"OLLAMA_FLASH_ATTENTION": "1"}, "0.20.3", "Linux", "gemma4:12b", []),
        ({"OLLAMA_FLASH_ATTENTION": "0"}, "0.20.3", "Darwin", "gemma4:12b", []),
        ({}, "0.13.5", "Darwin", "gemma3:4b", ["mind"]),
        ({}, "0.12.5", "Darwin", "gemma3:4b", []),
        ({}, "0.13.5", "Darwin", "qwen3:8b", []),
        ({"OLLAMA_KEEP_ALIVE": "0s"}, "0.13.5", "Linux", "qwen3:8b", ["no go"]),
        ({"OLLAMA_KEEP_ALIVE": "-1"}, "0.13.5", "Linux", "qwen3:8b", []),
        ({}, "0.30.0", "Linux", "qwen3:8b", ["mind"]),
        ({}, "0.30.1", "Linux", "qwen3:8b", []),
        ({"OLLAMA_LOAD_TIMEOUT": "30m"}, "0.30.0", "Linux", "qwen3:8b", []),
        ({"OLLAMA_DEBUG_LOG_REQUESTS": "true"}, "0.32.15", "Linux", "qwen3:8b", ["mind"]),
        ({"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "0"}, "0.13.5", "Linux", "qwen3:8b", ["mind"]),
        ({"OLLAMA_KEEP_ALIVE": "0"}, "a build of one's own", "Linux", "qwen3:8b", []),
    ],
)  # fmt: skip
def test_what_is_known_against_a_setting(environment, version, system, model, found):
    assert [row.state for row in known_bad(environment, version, system, model)] == found


def test_every_row_has_a_reason_a_source_and_a_range_that_is_one():
    from warmstall.remediate.catalogue import NAMES

    for row in TABLE:
        assert row.why
        assert row.source
        assert not row.before or row.since < row.before
        assert not row.runbook or row.runbook in NAMES


def test_versions_and_values_that_are_none():
    assert version_of("") == version_of("dev") == ()
    assert list(without_effect({"OLLAMA_KEEP_ALIVE": "1d", "PATH": "/bin", "OLLAMA_HOST": "127.0.0.1"})) == [
        'OLLAMA_KEEP_ALIVE: "1d" is no duration of Go\'s (such as 10m or 24h): the default, 5m, holds.'
    ]


# The doctor


def run(*words: str) -> Any:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, list(words))


def test_the_doctor_tries_every_collector_and_keeps_nothing(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from warmstall.collect.run import COLLECTORS

    able = {one.collector: one for one in abilities(LocalHost(), server.port)}
    assert set(able) == {"processes", *COLLECTORS}
    assert set(ESSENTIAL) <= set(able)
    assert able["processes"].state == able["memory"].state == "works"
    assert "api.jsonl" in able["Ollama's API"].captured
    assert all(one.reasons for one in able.values() if one.state == "nothing")
    assert not list(tmp_path.iterdir())


def test_a_machine_that_shows_nothing_cannot_be_collected_from():
    able = {one.collector: one for one in abilities(RecordedHost(system="Plan 9"))}
    assert {able[name].state for name in ESSENTIAL} == {"nothing"}


def test_the_command_prints_an_answer_and_its_exit_code_is_the_answer():
    done = run("--run-plan", "100", "--model", "mistral-nemo:12b", "--target", "recorded:memory-pressure")
    assert done.exit_code == 1, done.output
    assert done.output.startswith("no go: 100 requests to mistral-nemo:12b")
    assert "Runbook: relieve-memory-pressure." in done.output


def test_the_command_as_json():
    done = run("--run-plan", "100", "--model", "mistral-nemo:12b", "--target", "recorded:memory-pressure", "--json")
    told = json.loads(done.stdout)
    assert told["preflight"]["answer"] == "no go"
    assert {"name", "state", "sentence", "runbook"} == told["preflight"]["items"][0].keys()


def test_a_plan_needs_both_its_parts():
    assert isinstance(run("--run-plan", "5").exception, InputError)
    assert isinstance(run("--model", "tiny").exception, InputError)


def test_the_command_on_this_machine(server):
    done = run("--port", str(server.port), "--json")
    told = json.loads(done.stdout)
    assert told["preflight"] is None
    assert done.exit_code == int(bool(told["missing"]))


# The page


PAGE = ROOT / "docs" / "guard.md"


def test_the_python_on_the_page_runs(tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert blocks
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block.replace("port=11434", f"port={server.port}"), str(PAGE), "exec"), names)
    rows = (tmp_path / "run" / "trials.csv").read_text().splitlines()
    assert len(rows) == 4


def test_the_commands_on_the_page_are_ours():
    commands = re.findall(r"^\.venv/bin/warmstall doctor ?(.*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert len(commands) == 2
    (planned,) = (words.split() for words in commands if words)
    done = run(*planned, "--target", "recorded:memory-pressure")
    assert done.exit_code == 1, done.output
