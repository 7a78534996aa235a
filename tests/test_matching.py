"""Which load, task and trial belongs to which request, and how long it queued."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.matching import Request, epoch, match_loads, match_tasks, match_trials, queue_by_overlap
from warmstall.records import Load, SlotTask

START = datetime(2026, 1, 1)
ZERO = epoch(START)


def request(
    row: int, start: float, wall_s: float, status: str = "200", unsure_s: float = 0.0, model: str = "m"
) -> Request:
    begin, end = ZERO + start, ZERO + start + wall_s
    return Request(
        row, "box", "server.log", row + 1, status, "/api/chat", wall_s, begin, begin + unsure_s, end, end + unsure_s,
        True, False, model=model,
    )  # fmt: skip


def load(start: float, seconds: float, model: str = "m", outcome: Any = "completed") -> Load:
    began, ended = START + timedelta(seconds=start), START + timedelta(seconds=start + seconds)
    return Load("box", "server.log", 1, model, began, ended, seconds, outcome, False, "", None, None, False, began)


def roles(found: Request) -> list[str]:
    return [role for _, role in found.loads]


def test_the_request_that_was_waiting_when_the_runner_was_spawned_caused_the_load() -> None:
    first, later = request(0, 0.0, 10.0), request(1, 6.0, 1.0)

    match_loads([first, later], [load(0.1, 5.0)])

    assert (roles(first), roles(later)) == (["trigger"], [])


def test_a_long_request_on_another_model_did_not_cause_the_load() -> None:
    """Of two that were there, the one that came just before the spawn needed it."""
    busy, needing = request(0, 0.0, 60.0), request(1, 30.0, 10.0)

    match_loads([busy, needing], [load(30.1, 5.0)])

    assert (roles(busy), roles(needing)) == (["overlap"], ["trigger"])


def test_a_request_shorter_than_the_load_cannot_have_caused_it() -> None:
    """A tenth of a second in the same second as a load of half a second was served by somebody else's load."""
    cause, quick = request(0, 0.0, 0.9, unsure_s=1.0), request(1, 0.2, 0.1, unsure_s=1.0)

    match_loads([cause, quick], [load(0.3, 0.5)])

    assert (roles(cause), roles(quick)) == (["trigger"], ["overlap"])


def test_a_request_that_failed_with_its_load_caused_it() -> None:
    failed, served = request(0, 0.0, 11.0, status="500"), request(1, 0.0, 40.0)

    match_loads([failed, served], [load(0.2, 10.7, outcome="timed_out")])

    assert roles(failed) == ["trigger"]
    assert "trigger" not in roles(served)


def test_one_slot_serves_in_order_of_arrival() -> None:
    """Three at once on one slot: the second waits for the first, the third for both."""
    found = [request(2, 0.0, 1.0), request(1, 0.0, 2.0), request(0, 0.0, 3.0)]

    queue_by_overlap(found, slots=1)

    assert [r.queue_s for r in found] == pytest.approx([0, 1, 2])
    assert [r.in_flight for r in found] == [3, 3, 3]


def test_one_that_overtakes_another_was_not_in_its_queue() -> None:
    """Came later, ended first: two such requests do not share one slot, so neither is said to have waited."""
    found = [request(0, 0.0, 60.0), request(1, 10.0, 5.0)]

    queue_by_overlap(found, slots=1)

    assert [r.queue_s for r in found] == [0, 0]


def test_enough_slots_make_no_queue() -> None:
    found = [request(n, 0.0, 1.0 + n) for n in range(4)]

    queue_by_overlap(found, slots=4)

    assert [r.queue_s for r in found] == [0, 0, 0, 0]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 50)), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_a_queue_is_never_longer_than_its_request(spans: list[tuple[float, float]], slots: int) -> None:
    found = [request(n, start, wall) for n, (start, wall) in enumerate(spans)]

    queue_by_overlap(found, slots)

    assert all(0 <= r.queue_s <= r.wall_s + 1e-6 for r in found)


def test_a_trial_finds_its_request_and_a_lost_one_stays_over() -> None:
    """A call that never reached the server has no access line; it must not take another's."""
    found = [request(0, 0.0, 1.0), request(1, 5.0, 2.0)]

    def trial(start: float, wall_s: float) -> dict[str, Any]:
        began = START + timedelta(seconds=start)
        return {
            "started_at": began, "ended_at": began + timedelta(seconds=wall_s), "wall_s": wall_s, "path": "/api/chat",
            "status": "200", "model": "m",
        }  # fmt: skip

    trials = [trial(5.01, 2.01), trial(60.0, 1.0)]

    left = match_trials(found, trials)

    assert found[0].trial is None
    assert found[1].trial is trials[0]
    assert left == [trials[1]]


def task(line: int, finished_line: int, total_s: float) -> SlotTask:
    """A task of slot 0; its lines have no stamps, as those of llama-server have none."""
    return SlotTask(
        "box", "server.log", line, 0, line, None, None, finished_line, finished_line + 2, False, total_s / 4, 40,
        3 * total_s / 4, 60, total_s, False,
    )  # fmt: skip


def access(line: int, start: float, wall_s: float) -> Request:
    return replace(request(line, start, wall_s), line=line)


def lines_of(found: Request) -> list[int]:
    return [task.line for task in found.tasks]


def test_a_timing_before_its_access_line_is_its_requests() -> None:
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 5.0)

    match_tasks([first, second], [task(12, 18, 4.9), task(32, 38, 4.8)])

    assert (lines_of(first), lines_of(second)) == ([12], [32])


@pytest.mark.parametrize("finished_line", [21, 22, 24])
def test_an_access_line_among_the_lines_of_its_timing_takes_it(finished_line: int) -> None:
    """Two processes write one log: the request may be through before its runner's timing is."""
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 9.0)

    match_tasks([first, second], [task(12, finished_line, 4.9), task(32, 38, 4.8)])

    assert (lines_of(first), lines_of(second)) == ([12], [32])


def test_a_timing_without_a_request_is_not_carried_forward() -> None:
    """One that began before an access line cannot be of a request that came after it."""
    first, second = access(20, 0.0, 1.0), access(40, 10.0, 9.0)

    match_tasks([first, second], [task(12, 18, 4.9)])

    assert (lines_of(first), lines_of(second)) == ([], [])


def test_a_request_keeps_its_own_of_two_timings() -> None:
    """The second answer of a request that took two is left over, and not the next request's."""
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 5.0)

    match_tasks([first, second], [task(5, 9, 2.0), task(12, 18, 2.0), task(32, 38, 4.8)])

    assert (lines_of(first), lines_of(second)) == ([5], [32])
