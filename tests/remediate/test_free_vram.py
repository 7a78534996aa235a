"""An idle model is unloaded and its memory is back; one that is used stays, and what does not leave is named."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from drill.awaiting import until
from warmstall.drill.injector import runner_pid
from warmstall.drill.server_process import DrillServer
from warmstall.errors import ParameterError
from warmstall.remediate.actions import free_vram, residency
from warmstall.remediate.book import Book

from .killed import UNTIL_IDLE, look_and_approve, run_and_kill
from .stuck import Streaming, post, resident, streaming

NAME = "free-vram"
ERAS = ("0.3.14", "0.13.5", "0.32.15")
GPU = "cuda:Drill GPU:6"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    with DrillServer(tmp_path_factory.mktemp("drill")) as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill's GPU is free at once, or never; its models leave at once, or never."""
    monkeypatch.setattr(free_vram, "_RECOVERY_S", 0.0)
    monkeypatch.setattr(residency, "_ANSWER_S", 1.0)


def parameters(server: DrillServer, folder: Path, **more: Any) -> dict[str, Any]:
    journal = str(folder / "journal.jsonl")
    return {"target": "local", "port": server.port, "journal": journal, "look_s": 0.8, "deadline_s": 5.0, **more}


# Approve whatever plan is shown, and do it.
act = partial(look_and_approve, NAME)


@pytest.mark.parametrize("version", ERAS)
def test_the_largest_idle_model_leaves(tmp_path, version):
    with DrillServer(tmp_path / "drill", version=version) as server:
        post(server, model="tiny")
        post(server, model="mid")
        pid = runner_pid(server, "mid")
        outcome = act(parameters(server, tmp_path))
        assert outcome.status == "done", outcome
        assert list(resident(server)) == ["tiny:latest"]
        assert not psutil.pid_exists(pid)
        assert (outcome.before["models_in_memory"], outcome.after["models_in_memory"]) == (2, 1)
        assert outcome.after["runners_rss_bytes"] < outcome.before["runners_rss_bytes"]


def test_a_model_that_is_named_leaves_once(server, tmp_path):
    post(server, model="tiny")
    post(server, model="mid")
    given = parameters(server, tmp_path, model="tiny")
    assert act(given).status == "done"
    assert list(resident(server)) == ["mid:latest"]
    again = act(given)
    assert again.status == "nothing to do"
    assert "not in memory" in str(again)


def test_a_dry_run_changes_nothing(server, tmp_path):
    post(server, model="mid")
    before = (server.runner_pids(), resident(server))
    with Book(NAME, parameters(server, tmp_path)) as book:
        assert book.outcome().status == "planned"
    assert (server.runner_pids(), resident(server)) == before
    assert not list(tmp_path.rglob("*"))


def test_a_plan_of_another_runner_is_refused(server, tmp_path):
    post(server, model="mid")
    given = parameters(server, tmp_path, model="mid")
    with Book(NAME, given) as book:
        stale = book.plan.id
    post(server, model="mid", keep_alive=0)
    until(lambda: "mid:latest" not in resident(server))
    post(server, model="mid")
    with Book(NAME, {**given, "dry_run": False, "approved_plan": stale}) as book:
        assert book.outcome().status == "refused"
    assert "mid:latest" in resident(server)


def test_a_model_at_work_stays(server, tmp_path):
    """Whether its first request runs, for which expires_at rolls, or a later one."""
    for body in ({}, {"keep_alive": "5m"}):
        with streaming(server, "mid", 3000, **body) as stream:
            outcome = act(parameters(server, tmp_path, model="mid"))
            assert outcome.status == "refused", outcome
            assert "at work" in str(outcome)
            assert not stream.ended(0.0)


def test_a_smaller_model_that_is_idle_goes_where_the_largest_works(server, tmp_path):
    post(server, model="tiny")
    with streaming(server, "mid", 3000):
        assert act(parameters(server, tmp_path)).status == "done"
        assert list(resident(server)) == ["mid:latest"]


def test_a_stopped_runner_is_not_idle(server, tmp_path):
    post(server, model="mid")
    pid = runner_pid(server, "mid")
    os.kill(pid, signal.SIGSTOP)
    try:
        outcome = act(parameters(server, tmp_path, model="mid"))
        assert outcome.status == "refused"
        assert "recover-stuck-runner" in str(outcome)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_does_not_leave_is_wanted_again(server, tmp_path, monkeypatch):
    """A request came in between: it is not broken off, the model stays, and the next runbook is named."""
    post(server, model="mid")
    ask, streams = free_vram.ask_to_leave, []

    def stream_first(target, model):
        streams.append(Streaming(server, "mid", 3000))
        assert streams[0].begun.wait(30.0)
        return ask(target, model)

    monkeypatch.setattr(free_vram, "ask_to_leave", stream_first)
    try:
        outcome = act(parameters(server, tmp_path, model="mid", deadline_s=0.5))
        assert outcome.status == "rolled back", outcome
        assert "recover-stuck-runner" in str(outcome)
        assert not streams[0].ended(0.0), "nobody's answer is broken off"
        assert "mid:latest" in resident(server)
    finally:
        streams[0].close()


def test_every_kill_is_recovered_from(server, tmp_path):
    """After each line of the journal: the model is unloaded in the end, by continuing or by beginning anew."""
    lines, killed = 0, True
    while killed:
        lines += 1
        post(server, model="mid")
        given = parameters(server, tmp_path / str(lines), model="mid", look_s=0.5)
        killed = run_and_kill(lines, NAME, given, UNTIL_IDLE)
        statuses = []
        while not statuses or statuses[-1] != "nothing to do":
            statuses.append(act(given, UNTIL_IDLE).status)
            assert len(statuses) < 4, (lines, statuses)
        assert "mid:latest" not in resident(server), (lines, statuses)
    assert lines > 6


@contextmanager
def on_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> Iterator[DrillServer]:
    """A server with a GPU, and a program nvidia-smi that tells of its memory by whether a runner lives."""
    with DrillServer(folder / "drill", gpu=GPU) as server:
        post(server, model="mid")
        pid = runner_pid(server, "mid")
        tool = folder / "bin" / "nvidia-smi"
        tool.parent.mkdir()
        tool.write_text(
            "#!/bin/sh\n"
            'case "$1" in\n'
            "--query-gpu=*) echo 'index, memory.total [MiB], memory.used [MiB]'\n"
            f"  if [ -d /proc/{pid} ]; then echo '0, 6144 MiB, 5900 MiB'; else echo '0, 6144 MiB, {after}'; fi;;\n"
            "*) echo 'gpu_uuid, pid, process_name, used_gpu_memory [MiB]'\n"
            "  echo 'GPU-1, 4711, /opt/other/train, 5100 MiB';;\n"
            "esac\n"
        )
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
        yield server


def test_memory_of_a_gpu_that_comes_back_is_seen(tmp_path, monkeypatch):
    with on_gpu(tmp_path, monkeypatch, after="1000 MiB") as server:
        outcome = act(parameters(server, tmp_path))
    assert outcome.status == "done", outcome
    assert ("see the GPU's memory back", "verified", "The GPU's memory came back.") in outcome.steps
    assert "GPU" in str(outcome)


def test_memory_of_a_gpu_that_stays_taken_is_told_with_its_holder(tmp_path, monkeypatch):
    with on_gpu(tmp_path, monkeypatch, after="5900 MiB") as server:
        outcome = act(parameters(server, tmp_path))
        assert not resident(server)
    by_hand = next(text for step, what, text in outcome.steps if what == "by hand")
    assert "process 4711 (/opt/other/train, 5,100 MiB)" in by_hand
    assert "systemctl restart ollama.service" in by_hand
    assert "left to do by hand" in str(outcome)


def test_a_span_too_short_to_tell_anything_is_refused():
    with Book(NAME, {"look_s": 0.0}) as book, pytest.raises(ParameterError, match="look_s"):
        book.outcome()
