"""limit-concurrency on a real service: requests that come at once, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from remediate.service import DrillService, act, drill_service
from remediate.settings_killed import LINES, killed_and_run_again
from warmstall.drill.timetable import Fault, Timetable
from warmstall.remediate.actions.concurrent_canaries import percentile, slower
from warmstall.remediate.actions.limit_concurrency import _helped
from warmstall.remediate.book import Book
from warmstall.remediate.run import Outcome
from warmstall.remediate.services import systemd

NAME = "limit-concurrency"
# Eight at once are answered together by four slots in two turns, by one slot in eight: nobody takes one for the other.
AT_ONCE = {"model": "mid", "at_once": 8, "tries": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillService]:
    folder = tmp_path_factory.mktemp("concurrency")
    Timetable(0.0, (Fault("slow_decode", intensity=4.0),)).save(folder / "slow")
    with pytest.MonkeyPatch.context() as patch, drill_service(
        folder / "service", patch, environment={"OLLAMA_NUM_PARALLEL": "4"},
        arguments=("--timetable", str(folder / "slow")),
    ) as service:  # fmt: skip
        yield service


@pytest.fixture
def service(made: DrillService, monkeypatch: pytest.MonkeyPatch) -> DrillService:
    made.reset()
    monkeypatch.setattr(systemd, "_PATIENCE_S", 10.0)  # for a server that starts in moments
    return made


def run(service: DrillService, **settings: Any) -> Outcome:
    return act(NAME, {**service.parameters, **AT_ONCE, **settings})


def slots(service: DrillService) -> str:
    return service.environment().get("OLLAMA_NUM_PARALLEL", "")


def test_fewer_slots_that_make_clients_wait_are_taken_back(service):
    files, pid = service.files(), service.pid
    with Book(NAME, {**service.parameters, "model": "mid"}) as book:
        assert book.outcome().status == "planned"
    assert (service.files(), service.pid, service.journal.exists()) == (files, pid, False)

    outcome = run(service)
    assert outcome.status == "rolled back", outcome
    assert "waits" in outcome.sentence
    assert (slots(service), service.files()) == ("4", files)


def test_one_slot_is_kept_where_waiting_is_accepted(service):
    outcome = run(service, at_once=2, tries=1, accept_slower=True, max_queue=64, max_loaded_models=1)
    assert outcome.status == "done", outcome
    assert (outcome.before["slots"], outcome.after["slots"]) == (4, 1)
    assert outcome.after["success_rate"] == 1.0
    there = service.environment()
    assert [there[f"OLLAMA_{name}"] for name in ("NUM_PARALLEL", "MAX_QUEUE", "MAX_LOADED_MODELS")] == ["1", "64", "1"]

    pid = service.pid
    assert run(service, at_once=2, tries=1, max_queue=64, max_loaded_models=1).status == "nothing to do"
    assert service.pid == pid
    assert run(service, at_once=2, undo=True).status == "done"
    assert slots(service) == "4"
    assert "OLLAMA_MAX_QUEUE" not in service.environment()


def test_more_slots_are_given_where_memory_allows_them(service):
    small = {"model": "mid", "at_once": 2, "tries": 1}
    with Book(NAME, {**service.parameters, **small, "parallel": 8, "memory_bytes": 200 * 2**20}) as book:
        assert book.outcome().status == "refused"
        assert "Take fewer slots" in book.outcome().sentence
    outcome = act(NAME, {**service.parameters, **small, "parallel": 8, "accept_slower": True})
    assert (outcome.status, slots(service)) == ("done", "8"), outcome


def test_what_does_not_come_into_force_is_taken_back(service):
    service.fault("ignore-drop-ins")
    outcome = run(service, at_once=1, tries=1)
    assert (outcome.status, slots(service)) == ("rolled back", "4"), outcome


@pytest.mark.parametrize("line", LINES)
def test_a_run_killed_after_any_line_is_recovered(made, line):
    settings = {"model": "tiny", "parallel": 8 + line, "at_once": 1, "tries": 1, "accept_slower": True}
    outcome = killed_and_run_again(NAME, made, "OLLAMA_NUM_PARALLEL", settings, line)
    assert outcome.plan.mode != "undo", "its steps are the same, so it goes on where it was"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"parallel": 0}, "nothing to set"),
        ({"parallel": -1}, "expected 0 (leave it) or a number above it"),
        ({"parallel": 9, "model": ""}, "give the model"),
    ],
)
def test_what_cannot_be_set_is_refused(service, settings, told):
    service.restart()  # no model in memory
    with Book(NAME, {**service.parameters, **settings}) as book:
        outcome = book.outcome()
    assert outcome.exit_code in (2, 3)
    assert told in outcome.sentence


def test_another_plan_is_refused(service):
    pid = service.pid
    with Book(NAME, {**service.parameters, "dry_run": False, "approved_plan": "0123456789ab"}) as book:
        assert book.outcome().status == "refused"
    assert (service.pid, slots(service)) == (pid, "4")


def test_without_a_model_nothing_is_sent_and_nothing_is_claimed(service):
    service.restart()
    outcome = act(NAME, service.parameters)
    assert outcome.status == "done", outcome
    assert "nothing was measured" in outcome.sentence
    assert httpx.get(f"{service.url}/api/ps", timeout=10, trust_env=False, verify=False).json()["models"] == []


ROUNDS = {"success_rate": 1.0, "requests": 8.0, "wall_p95_s": 2.0, "round_lowest_s": 1.0, "round_highest_s": 2.0,
          "slots": 1.0}  # fmt: skip
SLOWER = {**ROUNDS, "round_lowest_s": 2.5, "round_highest_s": 3.0}


@pytest.mark.parametrize(
    ("before", "after", "accept_slower", "ok"),
    [
        (ROUNDS, ROUNDS, False, True),
        (ROUNDS, SLOWER, False, False),
        (ROUNDS, SLOWER, True, True),
        (ROUNDS, {**ROUNDS, "round_lowest_s": 1.9, "round_highest_s": 9.0}, False, True),
        (ROUNDS, {**ROUNDS, "success_rate": 0.9}, True, False),
        ({**ROUNDS, "success_rate": 0.5}, ROUNDS, False, True),
        (ROUNDS, {**ROUNDS, "slots": 4.0}, True, False),
        (ROUNDS, {**ROUNDS, "slots": None}, False, True),
        ({}, dict.fromkeys(ROUNDS), False, None),
    ],
)
def test_it_is_kept_only_where_no_client_fares_worse(before, after, accept_slower, ok):
    assert _helped(before, after, {"parallel": 1}, accept_slower).ok is ok


def test_a_percentile_is_a_value_that_was_seen():
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.25, 0.5, 0.51, 1.0)] == [1.0, 2.0, 3.0, 4.0]
    assert slower({}, ROUNDS) is None


def test_the_recording_is_planned():
    with Book(NAME, {}) as book:
        assert [row.wanted for row in book.plan.rows][:1] == ["OLLAMA_NUM_PARALLEL=1"]
