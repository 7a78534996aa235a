"""fit-context on a real service of a drill: what prompts need, what memory allows, and who says num_ctx."""

from __future__ import annotations

import json
import shlex
from typing import Any

import httpx
import psutil
import pytest

from remediate.service import DrillService, act, drill_service
from remediate.settings_killed import LINES, killed_and_run_again
from warmstall.remediate.actions.fit_context import _helped
from warmstall.remediate.book import Book
from warmstall.remediate.run import Outcome
from warmstall.remediate.services import systemd

NAME = "fit-context"
# Of `mid`, which was trained for 4,096 tokens, and whose cache takes 16 KiB a token.
LONG_TOKENS = 2600


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("fit") / "service"
        with drill_service(folder, patch, environment={"OLLAMA_CONTEXT_LENGTH": "2048"}) as made:
            yield made


@pytest.fixture
def cut(service):
    """The service with `mid` in memory and a prompt that was cut."""
    service.reset()
    if in_memory(service) != [("mid:latest", 2048)]:
        service.restart()
        ask(service, prompt="word " * LONG_TOKENS)
    assert in_memory(service) == [("mid:latest", 2048)]
    return service


def ask(service: DrillService, model: str = "mid", **body: Any) -> dict[str, Any]:
    asked = {"model": model, "prompt": "why?", "stream": False, "options": {"num_predict": 1}, **body}
    answer = httpx.post(f"{service.url}/api/generate", json=asked, timeout=60, trust_env=False, verify=False)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def in_memory(service: DrillService) -> list[tuple[str, int]]:
    models = httpx.get(f"{service.url}/api/ps", timeout=10, trust_env=False, verify=False).json()["models"]
    return [(model["name"], model["context_length"]) for model in models]


def context(service: DrillService) -> int:
    ((_, tokens),) = in_memory(service)
    return tokens


def run(service: DrillService, **settings: Any) -> Outcome:
    return act(NAME, {**service.parameters, "model": "mid", "tries": 1, **settings})


def finding(service: DrillService, **settings: Any) -> tuple[str, str]:
    with Book(NAME, {**service.parameters, "model": "mid", **settings}) as book:
        found = [one for one in book.plan.preconditions if one.state != "met"]
        return (found[0].state, found[0].sentence) if found else ("met", "")


def test_a_dry_run_tells_and_changes_nothing(cut):
    files, pid = cut.files(), cut.pid
    children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
    with Book(NAME, {**cut.parameters, "model": "mid"}) as book:
        outcome = book.outcome()
        steps = book.steps()
    assert outcome.status == "planned"
    assert "OLLAMA_CONTEXT_LENGTH=4096" in steps.iloc[0]["does"]
    assert (cut.files(), cut.pid) == (files, pid)
    assert [child.pid for child in psutil.Process(pid).children(recursive=True)] == children
    assert not cut.journal.exists()


def test_the_cut_prompt_fits_afterwards_and_a_second_run_does_nothing(cut):
    outcome = run(cut)
    assert outcome.status == "done", outcome
    assert cut.environment()["OLLAMA_CONTEXT_LENGTH"] == "4096"
    assert (outcome.before["context_tokens"], outcome.after["context_tokens"]) == (2048, 4096)
    assert context(cut) == 4096
    was_cut = cut.log.read_text().count("truncating input prompt")
    ask(cut, prompt="word " * LONG_TOKENS)
    assert cut.log.read_text().count("truncating input prompt") == was_cut
    pid = cut.pid
    again = run(cut)
    assert (again.status, cut.pid) == ("nothing to do", pid)


def test_a_wrong_plan_is_refused(cut):
    files, pid = cut.files(), cut.pid
    with Book(NAME, {**cut.parameters, "model": "mid", "dry_run": False, "approved_plan": "0123456789ab"}) as book:
        assert book.outcome().status == "refused"
    assert (cut.files(), cut.pid) == (files, pid)


def test_what_does_not_come_into_force_is_taken_back(cut, monkeypatch):
    monkeypatch.setattr(systemd, "_PATIENCE_S", 10.0)  # for a server that starts in moments
    files = cut.files()
    cut.fault("ignore-drop-ins")
    outcome = run(cut)
    assert outcome.status == "rolled back", outcome
    assert cut.files() == files
    assert cut.environment()["OLLAMA_CONTEXT_LENGTH"] == "2048"


@pytest.mark.parametrize("line", LINES)
def test_a_run_killed_after_any_line_is_recovered(service, line):
    settings = {"model": "hugectx", "prompt_tokens": 3000 + 1024 * line, "tries": 1}
    outcome = killed_and_run_again(NAME, service, "OLLAMA_CONTEXT_LENGTH", settings, line)
    assert outcome.plan.mode != "undo", "its steps are the same, so it goes on where it was"
    assert context(service) == int(service.environment()["OLLAMA_CONTEXT_LENGTH"])


def test_a_run_whose_model_cannot_be_told_any_more_is_taken_back(cut):
    """Nobody named it, and after the restart none is in memory."""
    outcome = killed_and_run_again(NAME, cut, "OLLAMA_CONTEXT_LENGTH", {"tries": 1}, 7)
    assert outcome.plan.mode == "undo"


def test_undo_puts_the_old_context_back(cut):
    assert run(cut).status == "done"
    assert run(cut, undo=True).status == "done"
    assert cut.environment()["OLLAMA_CONTEXT_LENGTH"] == "2048"


def test_a_context_that_memory_does_not_allow_is_not_set(cut):
    state, sentence = finding(cut, memory_bytes=160 * 2**20)
    assert state == "not met"
    assert "kv_cache_type q8_0" in sentence
    assert "smaller or more quantized model" in sentence
    assert finding(cut, memory_bytes=160 * 2**20, kv_cache_type="q8_0")[0] == "met"


def test_prompts_beyond_what_the_model_was_trained_for_are_not_helped(cut):
    state, sentence = finding(cut, prompt_tokens=9000)
    assert state == "not met"
    assert "trained for 4,096" in sentence


def test_a_context_larger_than_memory_is_made_smaller(service):
    service.reset()
    service.restart()
    ask(service, model="hugectx")
    with Book(NAME, {**service.parameters, "model": "hugectx", "memory_bytes": 130 * 2**20}) as book:
        plan = book.plan
    assert [one.state for one in plan.preconditions] == ["met", "met", "met"]
    wanted = int(plan.rows[0].wanted.removeprefix("OLLAMA_CONTEXT_LENGTH="))
    assert 256 <= wanted < 2048


@pytest.mark.parametrize("num_ctx", [1024])
def test_a_clients_own_num_ctx_is_for_the_client_to_change(cut, num_ctx):
    ask(cut, options={"num_ctx": num_ctx, "num_predict": 1})
    with Book(NAME, {**cut.parameters, "model": "mid"}) as book:
        outcome, plan = book.outcome(), book.plan
    assert outcome.status == "by hand"
    commands = [shlex.split(line) for line in plan.rows[0].by_hand if not line.startswith("#")]
    assert [json.loads(words[-1])["model"] for words in commands] == ["mid", "mid-ctx4096"]
    # What is to be pasted does what it says.
    request = json.loads(commands[0][-1])
    ask(cut, **request)
    assert context(cut) == 4096
    with Book(NAME, {**cut.parameters, "model": "mid"}) as book:
        assert book.outcome().status == "nothing to do"


def test_without_a_model_in_memory_one_is_to_be_named(service):
    service.reset()
    service.restart()
    with Book(NAME, service.parameters) as book:
        outcome = book.outcome()
    assert (outcome.status, outcome.exit_code) == ("cannot tell", 3)


@pytest.mark.parametrize(
    ("before", "after", "ok"),
    [
        ({"share_on_gpu": 1.0}, {"share_on_gpu": 1.0, "context_tokens": 8192.0}, True),
        ({"share_on_gpu": 1.0}, {"share_on_gpu": 0.8, "context_tokens": 8192.0}, False),
        ({"share_on_gpu": 0.8}, {"share_on_gpu": 1.0, "context_tokens": 8192.0}, True),
        ({"share_on_gpu": None}, {"share_on_gpu": 1.0, "context_tokens": 4096.0}, False),
        ({"share_on_gpu": None}, {"share_on_gpu": None, "context_tokens": None}, None),
        ({"success_rate": 1.0, "tries": 2.0}, {"success_rate": 0.5, "tries": 2.0}, False),
    ],
)
def test_spilling_for_a_context_is_no_help(before, after, ok):
    nothing = dict.fromkeys(("share_on_gpu", "context_tokens", "success_rate", "tries"))
    assert _helped({**nothing, **before}, {**nothing, **after}, 8192).ok is ok


def test_the_recording_is_planned_for_what_its_log_tells():
    with Book(NAME, {}) as book:
        plan = book.plan
    assert "6,726 tokens" in " ".join(one.sentence for one in plan.preconditions)  # the longest prompt, and 512
    assert [row.effect for row in plan.rows] == ["act", "act"]
    assert "OLLAMA_CONTEXT_LENGTH=7168" in plan.rows[0].does


def test_a_cache_type_that_ollama_does_not_know_is_refused(cut):
    with Book(NAME, {**cut.parameters, "model": "mid", "kv_cache_type": "q5_1"}) as book:
        assert "f16, q8_0 or q4_0" in str(book.outcome())
