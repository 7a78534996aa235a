"""Which slot task belongs to which request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from judging.made import START, columns, request, task
from warmstall.judging.tasks import match_tasks
from warmstall.matching import Request
from warmstall.records import SlotTask


def lines_of(requests: Sequence[Request], tasks: Sequence[SlotTask]) -> list[int | None]:
    """The line of the task of each of the requests."""
    found = dict(match_tasks(columns(requests), range(len(requests)), tasks))
    return [tasks[found[row]].line if row in found else None for row in range(len(requests))]


def access(line: int, start: float, wall_s: float) -> Request:
    return replace(request(line, start, wall_s), line=line)


def test_a_timing_before_its_access_line_is_its_requests() -> None:
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 5.0)

    found = lines_of([first, second], [task(12, 18, 4.9), task(32, 38, 4.8)])

    assert found == [12, 32]


@pytest.mark.parametrize("finished_line", [21, 22, 24])
def test_an_access_line_among_the_lines_of_its_timing_takes_it(finished_line: int) -> None:
    """Two processes write one log: the request may be through before its runner's timing is."""
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 9.0)

    found = lines_of([first, second], [task(12, finished_line, 4.9), task(32, 38, 4.8)])

    assert found == [12, 32]


def test_a_timing_without_a_request_is_not_carried_forward() -> None:
    """One that began before an access line cannot be of a request that came after it."""
    first, second = access(20, 0.0, 1.0), access(40, 10.0, 9.0)

    found = lines_of([first, second], [task(12, 18, 4.9)])

    assert found == [None, None]


def test_a_request_keeps_its_own_of_two_timings() -> None:
    """The second answer of a request that took two is left over, and not the next request's."""
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 5.0)

    found = lines_of([first, second], [task(5, 9, 2.0), task(12, 18, 2.0), task(32, 38, 4.8)])

    assert found == [5, 32]


def test_a_timing_that_came_too_soon_for_the_next_request_does_not_disturb_those_after_it() -> None:
    """One odd timing is gone through by itself; all others are the requests' that stand after them."""
    requests = [access(20 * n + 20, 10.0 * n, 5.0) for n in range(50)]
    tasks = [task(20 * n + 12, 20 * n + 18, 4.9) for n in range(50)]
    odd = replace(tasks[20], total_s=60.0)

    found = lines_of(requests, [*tasks[:20], odd, *tasks[21:]])

    assert found == [None if n == 20 else 20 * n + 12 for n in range(50)]


def test_a_task_that_was_cut_is_the_requests_that_ended_while_it_was_open() -> None:
    first, second = access(20, 0.0, 5.0), access(40, 10.0, 5.0)
    cut = replace(task(32, 0, 0.0), total_s=None, started_to=START + timedelta(seconds=11), released_line=38)

    assert lines_of([first, second], [task(12, 18, 4.9), cut]) == [12, 32]


def test_an_embedding_takes_the_released_tasks_before_it_from_all_others() -> None:
    embedding = replace(access(20, 0.0, 5.0), path="/api/embed", embedding=True)
    chat = access(40, 10.0, 5.0)
    released = replace(task(12, 0, 0.0), total_s=None, released_line=18)

    assert lines_of([embedding, chat], [released]) == [None, None]
    assert lines_of([access(20, 0.0, 5.0), chat], [released]) == [12, None]


def test_a_timing_that_went_to_the_request_before_it_is_not_given_out_again() -> None:
    """Its access line stood among the lines of the timing; the next request is long enough for it, and there too."""
    first, second = access(20, 0.0, 5.0), access(40, 2.0, 6.0)

    assert lines_of([first, second], [task(12, 22, 4.9)]) == [12, None]
