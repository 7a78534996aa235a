"""A runner that hangs is ended and its model is back; one that works, however slowly, and every other is left alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import healthy_drills
import psutil
import pytest

from drill.awaiting import until
from warmstall.drill.injector import runner_pid
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable
from warmstall.errors import ActionFailed, ParameterError
from warmstall.remediate.actions import recover_stuck_runner, residency
from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome

from .killed import look_and_approve, run_and_kill
from .stuck import Streaming, post, resident, streaming, stuck_runner

NAME = "recover-stuck-runner"
# Less than the default of 20 s: in a drill nothing else holds an unload up.
FAST = {"target": "local", "look_s": 1.0, "leave_s": 0.3, "deadline_s": 30.0}
ERAS = ("0.3.14", "0.13.5", "0.32.15")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DrillServer]]:
    """One server of each era; every test leaves them without a model that hangs."""
    started = {}
    try:
        for version in ERAS:
            started[version] = DrillServer(tmp_path_factory.mktemp("drill"), version=version)
            started[version].start()
        yield started
    finally:
        for server in started.values():
            server.stop()


@pytest.fixture
def server(servers: dict[str, DrillServer]) -> DrillServer:
    return servers["0.13.5"]


def parameters(server: DrillServer, folder: Path, **more: Any) -> dict[str, Any]:
    return {**FAST, "port": server.port, "journal": str(folder / "journal.jsonl"), **more}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill lets a model go at once, or never."""
    monkeypatch.setattr(recover_stuck_runner, "_UNLOAD_S", 1.0)
    monkeypatch.setattr(residency, "_ANSWER_S", 1.0)


def dry(given: dict[str, Any]) -> tuple[Outcome, str]:
    with Book(NAME, given) as book:
        return book.outcome(), book.plan.id


act = partial(look_and_approve, NAME)


def is_asked(pid: int) -> bool:
    """Whether somebody waits for an answer of the runner."""
    connections = psutil.Process(pid).net_connections("tcp")
    return any(connection.status == psutil.CONN_ESTABLISHED for connection in connections)


def run_until_good(given: dict[str, Any]) -> list[str]:
    """Approve and run until there is nothing to do any more; how the runs ended."""
    statuses = []
    while not statuses or statuses[-1] != "nothing to do":
        statuses.append(act(given).status)
        assert len(statuses) < 4, statuses
    return statuses


@pytest.mark.parametrize("version", ERAS)
def test_a_stopped_runner_is_ended_and_its_model_is_back(servers, version, tmp_path):
    server = servers[version]
    given = parameters(server, tmp_path)
    with stuck_runner(server) as pid:
        serve = server.pid
        outcome = act(given)
        assert outcome.status == "done", outcome
        assert not psutil.pid_exists(pid)
    assert server.pid == serve, "the server itself is never ended"
    assert list(resident(server)) == ["mid:latest"]
    assert runner_pid(server, "mid") not in (None, pid)
    assert outcome.before == {"canary_wall_s": None, "models_past_their_time": 1.0}
    assert outcome.after["canary_wall_s"]
    assert outcome.after["models_past_their_time"] == 0.0
    assert act(given).status == "nothing to do", "a second run finds nothing"


def test_a_runner_that_waits_for_ever_is_ended(tmp_path):
    """It is not stopped, and on this version nothing tells of its tokens: it does not compute, and that is enough."""
    timetable = Timetable(float("inf"), (Fault("hang_rate", "mid", end_s=3600.0),))
    timetable.save(tmp_path / "timetable.json")
    with DrillServer(tmp_path / "drill", timetable=tmp_path / "timetable.json") as server:
        post(server, model="mid")
        Timetable(time.time(), timetable.faults).save(tmp_path / "timetable.json")
        pid = runner_pid(server, "mid")
        hangs = Streaming(server, "mid", 50)
        until(lambda: is_asked(pid))
        until(lambda: post(server, model="mid", keep_alive=0) and "mid:latest" in resident(server))
        outcome = act(parameters(server, tmp_path, deadline_s=1.0))
        # The new runner hangs as well, so nothing helps for good; the old one is gone, and nothing but it.
        assert outcome.status in ("rolled back", "failed")
        assert "was not loaded or did not answer" in str(outcome)
        assert not psutil.pid_exists(pid)
        assert server.pid
        hangs.close()


@pytest.mark.parametrize("version", ["0.13.5", "0.32.15"])
def test_a_dry_run_changes_nothing(servers, version, tmp_path):
    server = servers[version]
    given = parameters(server, tmp_path)
    with stuck_runner(server) as pid:
        before = (server.runner_pids(), server.pid, resident(server))
        outcome, _ = dry(given)
        assert outcome.status == "planned"
        assert (server.runner_pids(), server.pid, resident(server)) == before
        assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
        assert not list(tmp_path.rglob("journal*"))


def test_a_plan_for_another_runner_is_refused(server, tmp_path):
    """Between the plan and the act the runner has changed: its number is part of the plan."""
    given = parameters(server, tmp_path)
    with stuck_runner(server):
        stale = dry(given)[1]
    with stuck_runner(server) as pid:
        with Book(NAME, {**given, "dry_run": False, "approved_plan": stale}) as book:
            assert book.outcome().status == "refused"
        assert psutil.pid_exists(pid)


def test_an_answer_that_outlives_keep_alive_is_left_alone(servers, tmp_path):
    """It is past its time for as long as it writes, and it works: with slots that is seen, without it is not known."""
    for version, wanted in (("0.3.14", "cannot tell"), ("0.13.5", "cannot tell"), ("0.32.15", "nothing to do")):
        server = servers[version]
        with streaming(server, "mid", 2000, keep_alive="5m") as stream:
            post(server, model="mid", keep_alive=0)
            until(lambda: resident(server))  # noqa: B023
            outcome = act(parameters(server, tmp_path / version, look_s=3.0))
            assert outcome.status == wanted, (version, outcome)
            lines = stream.lines
            until(lambda: stream.lines > lines)  # noqa: B023


def test_a_slow_answer_is_left_alone_even_by_who_ends_busy_runners(tmp_path):
    Timetable(0.0, (Fault("slow_decode", "mid", intensity=8.0),)).save(tmp_path / "timetable.json")
    with (
        DrillServer(tmp_path / "drill", version="0.32.15", timetable=tmp_path / "timetable.json") as server,
        streaming(server, "mid", 2000, keep_alive="5m") as stream,
    ):
        post(server, model="mid", keep_alive=0)
        outcome = act(parameters(server, tmp_path, model="mid", end_busy=True))
        assert outcome.status == "nothing to do"
        assert "slots go on" in str(outcome)
        assert not stream.ended(0.0)


@pytest.mark.parametrize("version", ["0.13.5", "0.32.15"])
def test_a_runner_that_spins_is_known_by_its_slots_only(tmp_path, version):
    """Before 0.30 a long answer looks the same: only who names the model and says so may end it."""
    timetable = Timetable(float("inf"), (Fault("spinning_runner", "mid", end_s=3600.0),))
    timetable.save(tmp_path / "timetable.json")
    with (
        DrillServer(tmp_path / "drill", version=version, timetable=tmp_path / "timetable.json") as server,
        streaming(server, "mid", 2000, keep_alive="5m") as stream,
    ):
        Timetable(time.time(), timetable.faults).save(tmp_path / "timetable.json")
        until(stream.stands)
        post(server, model="mid", keep_alive=0)
        pid = runner_pid(server, "mid")
        given = parameters(server, tmp_path, deadline_s=1.0)
        if version == "0.13.5":
            outcome = act(given)
            assert outcome.status == "cannot tell"
            assert "end_busy" in str(outcome)
            assert not stream.ended(0.0)
            given |= {"model": "mid", "end_busy": True}
        outcome = act(given)
        # The new runner spins as well, so nothing helps for good; the old one is gone.
        assert outcome.status in ("rolled back", "failed"), outcome
        assert not psutil.pid_exists(pid)
        assert server.pid


def test_every_kill_is_recovered_from(server, tmp_path):
    """After each line of the journal: the next runs end well, with the model in memory and nothing left to do."""
    lines = 0
    while True:
        lines += 1
        given = parameters(server, tmp_path / str(lines), look_s=0.5, leave_s=0.1)
        with stuck_runner(server) as pid:
            killed = run_and_kill(lines, NAME, given)
            statuses = run_until_good(given)
            assert statuses[-2:] in (["done", "nothing to do"], ["nothing to do"]), (lines, statuses)
            assert not psutil.pid_exists(pid), (lines, statuses)
        assert "mid:latest" in resident(server), (lines, statuses)
        if not killed:
            break
    assert lines > 10


def test_a_healthy_server_is_left_alone(server, tmp_path):
    post(server, model="mid")
    outcome = act(parameters(server, tmp_path))
    assert outcome.status == "nothing to do"
    assert not list(tmp_path.rglob("*"))
    assert act(parameters(server, tmp_path, model="nobody")).status == "nothing to do"


def test_a_stopped_runner_that_is_not_past_its_time_is_told_of(server, tmp_path):
    post(server, model="tiny", prompt="why?", options={"num_predict": 1})
    pid = runner_pid(server, "tiny")
    os.kill(pid, signal.SIGSTOP)
    try:
        outcome = act(parameters(server, tmp_path))
        assert outcome.status == "cannot tell"
        assert f"kill -CONT {pid}" in str(outcome)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_another_process_of_the_same_number_is_never_signalled(server, tmp_path, monkeypatch):
    """Whichever part of its identity differs, nobody is killed."""
    built = recover_stuck_runner._steps
    with stuck_runner(server) as pid:
        for change in (
            {"started": "0:1"},
            {"parent_pid": 1},
            {"executable": "/bin/other"},
            {"command": "ollama runner"},
        ):

            def forged(stuck, settings, change=change):
                other = replace(stuck.runner, process=replace(stuck.runner.process, **change))
                return built(replace(stuck, runner=other), settings)

            monkeypatch.setattr(recover_stuck_runner, "_steps", forged)
            outcome = act(parameters(server, tmp_path / next(iter(change))))
            assert outcome.status in ("refused", "failed", "rolled back"), (change, outcome)
            assert psutil.Process(pid).status() == psutil.STATUS_STOPPED, change


def test_the_server_itself_is_refused(server, tmp_path, monkeypatch):
    """Even a plan that names the server's process as the runner ends nothing."""
    built = recover_stuck_runner._steps

    def forged(stuck, settings):
        return built(replace(stuck, runner=replace(stuck.runner, process=stuck.server)), settings)

    with stuck_runner(server) as pid:
        monkeypatch.setattr(recover_stuck_runner, "_steps", forged)
        outcome = act(parameters(server, tmp_path))
        assert outcome.status == "refused"
        assert "left alone" in str(outcome)
        assert server.pid
        assert psutil.pid_exists(pid)


def test_a_runner_that_goes_on_before_the_signal_is_left_alone(server, tmp_path, monkeypatch):
    """The last look is right before the signal."""
    with stuck_runner(server) as pid:
        leave = recover_stuck_runner._leave

        def leave_and_go_on(target, stuck, leave_s):
            os.kill(pid, signal.SIGCONT)
            return leave(target, stuck, leave_s)

        monkeypatch.setattr(recover_stuck_runner, "_leave", leave_and_go_on)
        outcome = act(parameters(server, tmp_path))
        assert outcome.status == "rolled back"
        assert "moves again" in str(outcome)
        assert psutil.pid_exists(pid)


def test_a_model_that_does_not_come_back_is_reported(server, tmp_path, monkeypatch):
    def fails(*_: object) -> str:
        raise ActionFailed("mid:latest was not loaded.")

    with stuck_runner(server):
        monkeypatch.setattr(recover_stuck_runner, "canary_s", fails)
        outcome = act(parameters(server, tmp_path))
    assert outcome.status == "rolled back"
    assert "cannot be undone" in str(outcome)
    assert "mid:latest" in resident(server), "taking back the first step has loaded it"


def test_ending_runners_over_and_over_is_refused(server, tmp_path):
    """What ending a runner did not cure, ending the next one does not cure either."""
    given = parameters(server, tmp_path)
    journal = Journal(Path(given["journal"]))
    with Book(NAME, given) as book:
        journal.write("run_started", "a1", runbook=NAME, target=book.target.key)
    journal.write("step_started", "a1", step="end its runner", restarts=True)
    journal.write("run_finished", "a1", outcome="done")
    with stuck_runner(server) as pid:
        outcome = act(given)
        assert outcome.status == "refused"
        assert "last restart" in str(outcome)
        assert psutil.pid_exists(pid)


def test_settings_that_would_end_what_works_are_refused():
    with Book(NAME, {"end_busy": True}) as book, pytest.raises(ParameterError, match="name the model"):
        book.outcome()
    with Book(NAME, {"look_s": 0.0}) as book, pytest.raises(ParameterError, match="look_s"):
        book.outcome()


def test_healthy_servers_are_left_alone():
    """Six of the drills of benchmarks/healthy_drills.py, looking for less long."""
    with ThreadPoolExecutor(3) as at_once:
        drilled = list(at_once.map(partial(healthy_drills.drill, look_s=3.0), (1, 2, 3, 4, 5, 8)))
    assert not [one for one in drilled if one.acted]
    assert {one.status for one in drilled} <= {"nothing to do", "cannot tell"}
