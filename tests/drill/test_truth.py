"""The truth is what was done and measured inside: whose seconds they were, and which verdicts are right."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from warmstall.drill import truth as truth_module
from warmstall.drill.path_calls import path_calls
from warmstall.drill.timetable import Fault
from warmstall.drill.traffic import Trial
from warmstall.drill.truth import PARTS, Interval, read_notes, truth_of, write_truth

T = 1_790_000_000.0


def trial(wall_s: float, status: str = "200", **more: Any) -> Trial:
    return Trial("r0001", "mid", "/api/generate", T, T + wall_s, status, **more)


def note(**seconds: Any) -> dict[str, Any]:
    usual = {"usual_prefill_s": 0.1, "usual_decode_s": 0.4}
    return {"id": "r0001", "arrived_at": T, "prefill_s": 0.1, "decode_s": 0.4, "outcome": "done", **usual, **seconds}


def interval(kind: str, began_s: float, ended_s: float, model: str | None = "mid") -> Interval:
    return Interval(Fault(kind, model), T + began_s, T + ended_s, ("warm_stall",))


SLOW = interval("slow_decode", -60, 60)


def test_what_a_busy_machine_makes_slower_is_no_fault():
    truth = truth_of(trial(2.5), note(decode_s=2.4, ended_at=T + 2.5), [])
    assert (truth.verdict, truth.accept) == ("warm_ok", ("slow_decode", "warm_ok"))


def test_a_request_that_took_what_it_usually_takes_is_warm():
    truth = truth_of(trial(0.51), note(ended_at=T + 0.5), [])
    assert (truth.verdict, truth.accept) == ("warm_ok", ("warm_ok",))


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ({"queue_s": 3.0}, "queue_wait"),
        ({"slot_wait_s": 3.0}, "queue_wait"),
        ({"load_s": 3.0, "spawned": True}, "cold_start"),
        ({"prefill_s": 3.1}, "slow_prefill"),
        ({"decode_s": 3.4}, "slow_decode"),
    ],
)
def test_the_largest_part_beyond_the_usual_is_the_verdict(seconds, verdict):
    slow = [interval("slow_prefill", 0, 9), interval("slow_decode", 0, 9)]
    truth = truth_of(trial(3.5), note(**seconds, ended_at=T + 3.5), slow)
    assert truth.verdict == verdict
    assert "warm_ok" not in truth.accept


def test_a_client_that_is_late_to_read_is_no_stall_of_the_runner():
    truth = truth_of(trial(3.5), note(ended_at=T + 0.5), [])
    assert (truth.verdict, truth.budget["unexplained_s"]) == ("warm_ok", pytest.approx(3.0))


def test_the_log_alone_may_take_a_stream_that_was_cut_for_a_whole_one():
    crashed = truth_of(trial(0.8, error="unexpected EOF"), note(outcome="crashed"), [])
    assert crashed.accept_log_only("200") == ("runner_crash", "unknown", "warm_ok")
    assert crashed.accept_log_only("500") == ("runner_crash", "unknown")


def test_the_parts_add_up_to_the_wall():
    truth = truth_of(trial(4.0), note(queue_s=1.0, load_s=1.0, ended_at=T + 4), [interval("stopped_runner", 2.2, 3)])
    assert sum(truth.budget.values()) == pytest.approx(4.0)
    assert set(truth.budget) == set(PARTS)


def test_a_part_that_comes_near_the_largest_is_right_too():
    near = truth_of(trial(4.0), note(queue_s=2.0, decode_s=1.9, ended_at=T + 4), [SLOW])
    assert (near.verdict, near.accept) == ("queue_wait", ("queue_wait", "slow_decode"))
    far = truth_of(trial(4.0), note(queue_s=3.0, decode_s=0.9, ended_at=T + 4), [SLOW])
    assert far.accept == ("queue_wait",)


def test_what_nobody_minds_may_be_called_warm():
    minded = truth_of(trial(2.5), note(decode_s=2.4, ended_at=T + 2.5), [SLOW])
    hardly = truth_of(trial(1.2), note(decode_s=1.1, ended_at=T + 1.2), [SLOW])
    unnoticed = truth_of(trial(0.58), note(decode_s=0.48, ended_at=T + 0.58), [SLOW])
    assert minded.accept == ("slow_decode",)
    assert hardly.accept == ("slow_decode", "warm_ok")
    assert unnoticed.accept == ("warm_ok",)


def test_a_load_of_its_own_is_a_cold_start_however_short():
    assert truth_of(trial(0.8), note(load_s=0.3, spawned=True), []).accept == ("cold_start",)


def test_of_several_that_came_at_once_one_caused_the_load_by_chance(tmp_path):
    notes = {"r0001": note(load_s=3.0, spawned=True, ended_at=T + 3.5), "r0002": note(load_s=3.0, ended_at=T + 3.5)}
    both = [trial(3.5), Trial("r0002", "mid", "/api/generate", T, T + 3.5, "200")]
    truths = write_truth(tmp_path / "truth.jsonl", both, notes, [])
    assert {truth.accept for truth in truths} == {("cold_start", "queue_wait")}
    (alone,) = write_truth(tmp_path / "truth.jsonl", both[:1], notes, [])
    assert alone.accept == ("cold_start",)


def test_who_waits_for_the_load_of_another_waits_in_a_queue_and_for_a_load():
    assert truth_of(trial(3.5), note(load_s=3.0), []).accept == ("cold_start", "queue_wait")


def test_time_in_which_the_runner_was_stopped_is_a_stall_wherever_it_was_measured():
    """The server's clock runs on: it finds the pause in the answer that was being written."""
    stop = interval("stopped_runner", 0.3, 12.3)
    truth = truth_of(trial(12.5), note(decode_s=12.4, ended_at=T + 12.5), [stop])
    assert (truth.verdict, truth.accept) == ("warm_stall", ("warm_stall",))
    assert truth.budget["unexplained_s"] == pytest.approx(12.0)
    assert truth.budget["decode_s"] == pytest.approx(0.4)


def test_a_stop_of_another_model_is_none_of_its_business():
    truth = truth_of(trial(12.5), note(decode_s=12.4), [interval("stopped_runner", 0.3, 12.3, "tiny")])
    assert "warm_stall" not in truth.accept


def test_who_waits_behind_one_that_stands_still_waits():
    stop = interval("stopped_runner", -1, 10)
    truth = truth_of(trial(10.5), note(slot_wait_s=10.0, ended_at=T + 10.5), [stop])
    assert (truth.verdict, truth.budget["queue_s"]) == ("queue_wait", 10.0)
    assert truth.accept == ("queue_wait", "warm_stall")


def test_two_stops_at_once_count_once():
    stops = [interval("stopped_runner", 1, 5), interval("spinning_runner", 3, 7)]
    truth = truth_of(trial(7.5), note(decode_s=7.4, ended_at=T + 7.5), stops)
    assert truth.budget["unexplained_s"] == pytest.approx(6.0)


def test_a_client_that_left_because_nothing_came_was_stalled():
    stop = interval("stopped_runner", 0.5, 30)
    left = trial(10.0, error="client timeout: closed connection after 10s", gave_up=True)
    truth = truth_of(left, note(decode_s=9.9, outcome="aborted", ended_at=T + 10), [stop])
    assert (truth.verdict, truth.accept) == ("warm_stall", ("client_abort", "warm_stall"))


def test_a_client_that_left_an_ordinary_answer_gave_it_up():
    truth = truth_of(trial(2.0, gave_up=True), note(decode_s=1.9, outcome="aborted", ended_at=T + 2), [])
    assert (truth.verdict, truth.accept) == ("client_abort", ("client_abort",))


def test_a_client_that_left_the_queue_gave_up_waiting():
    truth = truth_of(trial(4.0, gave_up=True), note(slot_wait_s=4.0, prefill_s=0, decode_s=0, outcome="aborted"), [])
    assert truth.accept == ("client_abort", "queue_wait")


@pytest.mark.parametrize("seconds", [{"prefill_s": 9.9, "decode_s": 0.0}, {"prefill_s": 0.0, "decode_s": 9.9}])
def test_a_request_that_hung_until_its_client_left_was_stalled(seconds):
    """The server cannot tell what it waited for; no token came, and a hang was on."""
    hang = interval("hang_rate", 0, 30)
    hung = truth_of(trial(10.0, gave_up=True), note(**seconds, outcome="aborted", ended_at=T + 10), [hang])
    assert hung.verdict == "warm_stall"
    assert hung.budget["unexplained_s"] >= 9.9
    # Of the same time, but one that was not met by the fault.
    assert truth_of(trial(0.52), note(ended_at=T + 0.52), [hang]).verdict == "warm_ok"
    waited = note(slot_wait_s=9.9, prefill_s=0.0, decode_s=0.0, outcome="aborted", ended_at=T + 10)
    assert truth_of(trial(10.0, gave_up=True), waited, [hang]).verdict == "client_abort"


def test_an_answer_of_500_is_never_well():
    truth = truth_of(trial(1.8, "500"), note(queue_s=1.3, prefill_s=0, decode_s=0, outcome="aborted"), [])
    assert truth.accept == ("load_failure", "runner_crash")


@pytest.mark.parametrize(
    ("outcome", "status", "error", "accept"),
    [
        ("crashed", "200", "an error was encountered while running the model: unexpected EOF", ("runner_crash",)),
        ("load_failed", "500", "model requires more system memory", ("load_failure",)),
        ("rejected", "503", "server busy", ("rejected",)),
        ("done", "404", "model 'x' not found", ("rejected",)),
    ],
)
def test_what_failed_is_what_ended_it(outcome, status, error, accept):
    truth = truth_of(trial(0.5, status, error=error), note(outcome=outcome), [])
    assert truth.accept == accept


def test_a_runner_that_stood_still_until_it_was_killed_did_both():
    stop = interval("stopping_deadlock", 0.3, 29.9)
    truth = truth_of(
        trial(30.0, error="unexpected EOF"), note(decode_s=29.9, outcome="crashed", ended_at=T + 30), [stop]
    )
    assert (truth.verdict, truth.accept) == ("runner_crash", ("runner_crash", "warm_stall"))


def test_a_server_that_ends_takes_its_requests_with_it():
    """Its own note cannot tell who closed first; the client knows that it did not."""
    cut = trial(0.6, error="stream ended without done")
    truth = truth_of(cut, note(decode_s=0.5, outcome="aborted"), [interval("restart", 0.5, 3, None)])
    assert truth.accept == ("runner_crash",)


def test_a_stream_that_broke_off_died_with_status_200():
    broken = trial(0.2, error="stream ended without done")
    assert truth_of(broken, note(decode_s=0.01), [interval("broken_stream", -5, 5)]).verdict == "runner_crash"


def test_what_never_arrived_was_never_run():
    assert truth_of(trial(0.01, "", error="ConnectError"), None, []).verdict == "rejected"


def test_a_cut_prompt_is_a_flag_and_no_verdict():
    truth = truth_of(trial(0.5), note(truncated=True), [])
    assert (truth.verdict, truth.flags) == ("warm_ok", ("truncated",))


def test_the_file_holds_a_row_for_each_request_and_each_fault(tmp_path):
    stop = interval("stopped_runner", 1, 13)
    write_truth(tmp_path / "truth.jsonl", [trial(0.5)], {"r0001": note(ended_at=T + 0.5)}, [stop])
    request, fault = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert (request["id"], request["verdict"], request["accept"]) == ("r0001", "warm_ok", ["warm_ok"])
    assert (fault["fault"], fault["model"], fault["hypotheses"]) == ("stopped_runner", "mid", ["warm_stall"])
    assert fault["from"] == "2026-09-21T14:13:21.000000+00:00"


def test_notes_of_a_server_that_was_killed_are_read_as_far_as_they_go(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"id": "r0001", "queue_s": 1.0}\n{"id": "r00', encoding="utf-8")
    assert set(read_notes(path)) == {"r0001"}
    assert read_notes(tmp_path / "none.jsonl") == {}


def test_calls_of_the_reference_path_are_those_without_a_number(tmp_path):
    """Their client left, unless the server was just ended: then it was the server."""
    rows = [
        note(id=identity, path="/api/chat", model="mid", ended_at=T + ended_s, outcome=outcome, status=status)
        for identity, ended_s, outcome, status in (
            ("r0001", 1.0, "done", 200), ("", 1.0, "done", 200), ("", 2.0, "aborted", 500), ("", 6.0, "aborted", 200),
            ("injector", 3.0, "done", 200),
        )
    ]  # fmt: skip
    path = tmp_path / "notes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    calls = path_calls(read_notes(path), [interval("restart", 5.5, 9, None)])
    assert [(call.status, call.error, call.gave_up) for call in calls] == [
        ("200", "", False), ("", "aborted", True), ("", "aborted", False),
    ]  # fmt: skip
    verdicts = [truth_of(call, read_notes(path)[call.id], []).verdict for call in calls]
    assert verdicts == ["warm_ok", "client_abort", "runner_crash"]


def test_the_truth_knows_nothing_of_the_analysis():
    """It is what the analysis is measured against: it may share the names of verdicts, and no more."""
    tree = ast.parse(Path(truth_module.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
    assert imported == {"records", "faults", "timetable", "traffic"}
