"""The runner with real inference: loads, answers, writes lines that warmstall reads, and never outlives its parent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from live import await_answer
from llama_process import PROGRAM, Runner, chunks, events, spec_of, started
from warmstall.drill.random_gguf import random_gguf

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed (extra `drill`)")
pytest.importorskip("gguf", reason="the writer of models is not installed (extra `drill`)")

# A parent of the runner that does nothing else; it tells the runner's pid.
_PARENT = """
import json, os, subprocess, sys
spec = json.dumps(json.loads(sys.argv[1]) | {"parent_pid": os.getpid()})
runner = subprocess.Popen([*sys.argv[2:], spec], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
print(runner.pid, flush=True)
runner.wait()
"""


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_gguf(tmp_path_factory.mktemp("models"))


@pytest.fixture
def runner(blob: Path) -> Iterator[Runner]:
    with started(spec_of(blob)) as runner:
        assert await_answer(f"{runner.url}/health") == {"status": "ok"}
        yield runner


def test_same_seed_same_bytes_and_written_once(tmp_path: Path):
    one, two, other = (random_gguf(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]
    assert 400_000 < one.stat().st_size < 600_000
    before = one.stat().st_mtime_ns
    assert random_gguf(tmp_path / "a") == one
    assert one.stat().st_mtime_ns == before
    assert list(one.parent.iterdir()) == [one]


def test_it_loads_and_answers_any_text(runner: Runner):
    with urllib.request.urlopen(f"{runner.url}/slots", timeout=5) as answer:
        assert [slot["n_ctx"] for slot in json.load(answer)] == [1024, 1024]
    with runner.complete("Grüße, 世界 😀\n<|im_end|>", 12) as answer:
        said = chunks(answer.read())
    assert [chunk["stop"] for chunk in said] == [False] * (len(said) - 1) + [True]
    last = said[-1]
    assert (last["stop_type"], last["tokens_predicted"], last["truncated"]) == ("limit", 12, False)
    assert last["tokens_evaluated"] == last["timings"]["prompt_n"] > 20
    assert last["timings"]["predicted_n"] == 12
    assert min(last["timings"]["prompt_ms"], last["timings"]["predicted_ms"]) > 0


def test_its_lines_are_read_as_those_of_ollama(runner: Runner):
    loaded = runner.lines_until("ls_idle")
    assert {"model_file", "kv_total", "ls_model_loaded", "ls_listening"} <= events(loaded).keys()
    with runner.complete("the first question", 9) as answer:
        last = chunks(answer.read())[-1]
    lines = runner.lines_until("ls_idle")
    assert not [line for line in loaded + lines if line[0].isdigit()], "llama.cpp's own prefix is still there"
    told = events(lines)
    assert list(told) == [
        "ls_task_start", "ls_prompt_new", "ls_prompt_cached", "ls_prompt_timing", "ls_eval_timing", "ls_total_timing",
        "ls_task_end", "ls_idle",
    ]  # fmt: skip
    assert told["ls_prompt_new"].fields["n_ctx_slot"] == "1024"
    assert int(told["ls_prompt_new"].fields["n_tokens"]) == last["tokens_evaluated"]
    assert int(told["ls_eval_timing"].fields["tokens"]) == 9
    assert float(told["ls_eval_timing"].fields["ms"]) == pytest.approx(last["timings"]["predicted_ms"], abs=0.01)


def test_a_client_that_goes_cancels_its_task(runner: Runner):
    runner.lines_until("ls_idle")
    with runner.complete("the question", 1_000_000) as answer:
        answer.read(10)
    assert "ls_cancel" in events(runner.lines_until("ls_idle"))


def test_a_prompt_longer_than_its_context_is_refused(runner: Runner):
    with pytest.raises(urllib.error.HTTPError) as refused:
        runner.complete("x" * 2000, 1)
    error = json.load(refused.value)["error"]
    assert (error["type"], error["n_ctx"], error["n_prompt_tokens"]) == ("exceed_context_size_error", 1024, 2001)


def test_sigterm_ends_it_at_once_even_in_an_answer(runner: Runner):
    with runner.complete("the question", 1_000_000) as answer:
        answer.read(10)
        runner.process.terminate()
        assert runner.process.wait(5) == 0


def test_a_broken_model_is_a_failed_load(blob: Path, tmp_path: Path):
    short = tmp_path / "short.gguf"
    short.write_bytes(blob.read_bytes()[:200_000])
    with started(spec_of(short)) as runner:
        lines = runner.process.stderr.read().splitlines()
        assert runner.process.wait(10) == 1
    assert "ls_load_error" in events(lines)
    assert "is corrupted or incomplete" in " ".join(lines)
    assert lines[-1].startswith("error: ")


@pytest.mark.skipif(sys.platform != "linux", reason="a process without its parent is awaited by a Linux descriptor")
@pytest.mark.parametrize("stopped", [False, True])
def test_it_dies_with_its_parent(blob: Path, stopped: bool):
    spec = replace(spec_of(blob), parent_pid=0)
    command = [sys.executable, "-c", _PARENT, spec.write(), *PROGRAM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        runner = os.pidfd_open(pid)
        try:
            await_answer(f"http://127.0.0.1:{spec.port}/health")
            if stopped:
                signal.pidfd_send_signal(runner, signal.SIGSTOP)
            assert select.select([runner], [], [], 0) == ([], [], []), "it lives as long as its parent"
            parent.kill()
            assert select.select([runner], [], [], 10) == ([runner], [], []), "it outlives its parent"
        finally:
            parent.kill()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(runner, signal.SIGKILL)
            os.close(runner)
