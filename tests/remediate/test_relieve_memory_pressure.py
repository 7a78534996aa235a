"""relieve-memory-pressure on a real server: clients wait, an idle model leaves, and all ends well or is undone."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

import warmstall
from drill.awaiting import until
from warmstall.drill.server_process import DrillServer
from warmstall.errors import ParameterError
from warmstall.guarding.pause_file import pause_text, read_pause
from warmstall.host import LocalHost
from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome

from . import short_memory
from .stuck import Streaming, post, resident

NAME = "relieve-memory-pressure"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with DrillServer(tmp_path_factory.mktemp("memory"), "0.32.15") as running:
        yield running


@pytest.fixture
def short(server, monkeypatch):
    """Both models in memory, which is one too many; returns what tells the machine to behave otherwise."""
    for model in ("tiny", "mid"):
        post(server, model=model, prompt="hi", keep_alive=-1, options={"num_predict": 2})
    assert set(resident(server)) == {"tiny:latest", "mid:latest"}
    monkeypatch.setattr(LocalHost, "read", short_memory.read)
    monkeypatch.setenv("SHORT_MEMORY_PID", str(server.pid))
    monkeypatch.setenv("SHORT_MEMORY", "stalls")
    return lambda behaviour: monkeypatch.setenv("SHORT_MEMORY", behaviour)


@pytest.fixture
def given(server, tmp_path) -> dict[str, Any]:
    return {"target": "local", "port": server.port, "journal": str(tmp_path / "journal.jsonl"),
            "pause_file": str(tmp_path / "pause"), "looks_apart_s": 0.2, "wait_s": 20.0}  # fmt: skip


def act(given: dict[str, Any], **more: Any) -> Outcome:
    """As an operator does: look, then approve what was shown."""
    with Book(NAME, {**given, **more, "dry_run": False}) as book:
        book.approved_plan = book.plan.id
        return book.outcome()


def footprint(folder: Path, server: DrillServer) -> tuple[dict[str, str], list[int], dict[str, Any]]:
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    return files, server.runner_pids(), {name: one["expires_at"] for name, one in resident(server).items()}


def test_a_dry_run_changes_nothing(server, short, given, tmp_path):
    before = footprint(tmp_path, server)
    with Book(NAME, given) as book:
        outcome = book.outcome()
        assert [row.effect for row in book.plan.rows] == ["act", "act", "act"]
    assert outcome.status == "planned"
    assert footprint(tmp_path, server) == before


def test_a_plan_that_was_not_approved_is_refused(server, short, given, tmp_path):
    before = footprint(tmp_path, server)
    with Book(NAME, {**given, "dry_run": False, "approved_plan": "0123456789ab"}) as book:
        assert book.outcome().status == "refused"
    assert footprint(tmp_path, server) == before


@pytest.mark.parametrize("behaviour", ["stalls", "swaps"])
def test_it_relieves_and_a_second_run_does_nothing(server, short, given, behaviour):
    short(behaviour)
    heard: set[str] = set()
    done = threading.Event()

    def client() -> None:
        with warmstall.guard(server.port, pause_file=given["pause_file"]) as guard:
            while not done.is_set():
                heard.add(guard.hold().partition(" until")[0])
                done.wait(0.01)

    watching = threading.Thread(target=client)
    watching.start()
    try:
        outcome = act(given)
    finally:
        done.set()
        watching.join(30)
    assert outcome.status == "done", outcome.sentence
    assert [what for _, what, _ in outcome.steps] == ["applied", "verified"] * 3
    assert len(resident(server)) == 1
    assert len(server.runner_pids()) == 1
    assert not Path(given["pause_file"]).exists()
    assert f"warmstall {NAME} asks clients to wait" in heard  # and a client that heeds it waited meanwhile
    assert outcome.before["memory_is_short"] == 1.0
    assert outcome.after["memory_is_short"] == 0.0
    assert outcome.after["available_bytes"] - outcome.before["available_bytes"] == 7_500_000 * 1024
    if behaviour == "swaps":
        assert outcome.before["swapped_out_bytes_per_s"] > 1e9
        assert outcome.after["swapped_out_bytes_per_s"] == 0
    again = act(given)
    assert again.status == "nothing to do"
    assert len(resident(server)) == 1


def test_what_works_is_left_and_the_idle_one_goes(server, short, given):
    """mid writes a long answer; it holds no less than tiny, and stays."""
    answer = Streaming(server, "mid", 4000)
    answer.begun.wait(30)
    try:
        with Book(NAME, given) as book:
            assert [row.step for row in book.plan.rows] == ["pause clients", "unload tiny:latest", "let clients go on"]
    finally:
        answer.close()


def test_a_request_at_work_is_answered_before_the_model_that_was_named_leaves(server, short, given):
    answer = Streaming(server, "mid", 300)
    answer.begun.wait(30)
    outcome = act(given, model="mid")
    assert answer.ended(30)
    assert answer.whole
    assert outcome.status == "done", outcome.sentence
    assert set(resident(server)) == {"tiny:latest"}


def test_when_nothing_comes_back_all_is_taken_back(server, short, given):
    short("never")
    outcome = act(given, model="mid", wait_s=1.0)
    assert outcome.status == "rolled back"
    assert "as short as before" in outcome.sentence
    assert set(resident(server)) == {"tiny:latest", "mid:latest"}
    assert not Path(given["pause_file"]).exists()


def test_when_another_program_takes_it_the_model_stays_out_and_that_is_said(server, short, given):
    short("other")
    outcome = act(given, model="mid", wait_s=1.0)
    assert outcome.status == "done"
    assert "another program" in outcome.sentence
    assert set(resident(server)) == {"tiny:latest"}


def test_undo_loads_the_model_again(server, short, given):
    assert act(given, model="mid").status == "done"
    undone = act(given, model="mid", undo=True)
    assert undone.status == "done", undone.sentence
    assert set(resident(server)) == {"tiny:latest", "mid:latest"}
    assert not Path(given["pause_file"]).exists()


@pytest.mark.timeout(900)
def test_a_run_killed_after_any_line_is_taken_up(server, short, given, tmp_path):
    """Whatever line it was, the next run ends well: clients go on, and nothing begun is left without its end."""
    lines, endings = 0, set()
    given |= {"model": "mid", "looks_apart_s": 0.1}
    with Book(NAME, given) as looked:
        plan = looked.plan.id
    while True:
        lines += 1
        post(server, model="mid", prompt="hi", keep_alive=-1, options={"num_predict": 2})
        journal = tmp_path / f"journal-{lines}.jsonl"
        asked = {**given, "journal": str(journal)}
        killed = short_memory.run_and_kill(lines, NAME, {**asked, "approved_plan": plan})
        if pause := read_pause(_text(given["pause_file"])):
            assert killed
            assert pause.until <= datetime.now(UTC) + timedelta(seconds=2 * 20 + 120 + 60)
        outcome = act(asked)
        endings.add(outcome.status)
        assert outcome.status in ("done", "nothing to do"), (lines, outcome.sentence)
        assert not Path(given["pause_file"]).exists(), lines
        assert "tiny:latest" in resident(server)
        runs = Journal(journal).runs(NAME, f"{LocalHost().name}:{server.port}")
        assert runs[-1].finished or not runs[-1].started, lines
        if not killed:
            break
    assert lines > 12
    assert "done" in endings


def test_memory_that_is_not_short_is_left_alone(server, short, given, tmp_path):
    short("calm")
    before = footprint(tmp_path, server)
    outcome = act(given)
    assert outcome.status == "nothing to do"
    assert "not running out" in outcome.sentence
    assert footprint(tmp_path, server) == before


def test_what_an_operator_paused_stays_paused(server, short, given):
    text = pause_text(datetime.now(UTC), 600, "ana", "maintenance")
    Path(given["pause_file"]).write_text(text)
    outcome = act(given)
    assert outcome.status == "done", outcome.sentence
    assert Path(given["pause_file"]).read_text() == text


def test_a_model_that_is_not_there_is_not_unloaded(server, short, given):
    with Book(NAME, {**given, "model": "big"}) as book:
        outcome = book.outcome()
    assert outcome.status == "refused"
    assert "big is not in memory; there are" in outcome.sentence


def test_without_a_model_in_memory_other_programs_are_named(server, short, given):
    for model in ("tiny", "mid"):
        post(server, model=model, keep_alive=0)
    until(lambda: not server.runner_pids() and not resident(server))
    short("never")
    with Book(NAME, given) as book:
        assert "other programs" in book.outcome().sentence


# On the recording


def test_the_plan_of_the_recording_names_the_model_that_holds_most():
    with Book(NAME, {}) as book:
        assert [row.step for row in book.plan.rows] == ["pause clients", "unload mistral-nemo:12b", "let clients go on"]
        assert [one.state for one in book.plan.preconditions] == ["met", "met"]


def test_one_request_at_a_time_is_a_step_of_its_own():
    with Book(NAME, {"parallel": 1}) as book:
        rows = {row.step: row for row in book.plan.rows}
        limit = next(row for row in rows.values() if "NUM_PARALLEL" in f"{row.does} {row.wanted}")
    assert limit.effect == "by hand"  # nothing in the recording tells who started the server
    assert any("OLLAMA_NUM_PARALLEL" in command for command in limit.by_hand)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("parallel", -1), ("wait_s", 0.0), ("wait_s", 7200.0), ("looks_apart_s", -1.0), ("pause_file", "pause"),
     ("pause_file", "/tmp/"), ("pause_file", "/tmp/a\nb")],
)  # fmt: skip
def test_settings_that_no_run_can_have_are_refused(setting, value):
    with Book(NAME, {setting: value}) as book, pytest.raises(ParameterError, match=setting):
        book.outcome()


def test_a_model_that_was_forged_into_a_pause_file_is_never_asked_for(tmp_path):
    """Anybody may write into /tmp: what stands there is shown, and unloads nothing."""
    with Book(NAME, {"pause_file": "/tmp/p"}) as book:
        now = book.target.now()
        book.target.host.contents["/tmp/p"] = pause_text(now, 60, f"warmstall {NAME}", "x", model="$(reboot)\x1b[2J")
        assert [row.effect for row in book.plan.rows] == ["already so", "already so", "act"]
        assert "\x1b" not in book.plan.summary


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def test_the_stand_in_counts_real_processes(server, short):
    assert len(psutil.Process(server.pid).children(recursive=True)) == 2
    assert "MemAvailable:     500000 kB" in short_memory.files(server.pid, "stalls")["/proc/meminfo"]
