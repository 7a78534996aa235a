"""Processes of this machine: few tasks under way, and one that dies costs no other."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fleet.small_fleet import dies_at_two
from warmstall.errors import InputError
from warmstall.fleet.engines import TaskKilled, outcomes


def test_a_task_that_kills_its_process_costs_no_other() -> None:
    found = dict(outcomes(dies_at_two, range(7), "local", 2))

    assert isinstance(found.pop(2), TaskKilled)
    assert found == {number: 10 * number for number in (0, 1, 3, 4, 5, 6)}


def test_tasks_are_made_as_they_are_needed() -> None:
    made = 0

    def numbers() -> Iterator[int]:
        nonlocal made
        for number in range(10, 60):
            made += 1
            yield number

    ahead = [made - number for number, _ in enumerate(outcomes(dies_at_two, numbers(), "local", 2))]

    assert len(ahead) == 50
    assert max(ahead) <= 4


def test_one_worker_is_this_process() -> None:
    pids = {result for _, result in outcomes(_pid, range(3), "local", 1)}

    assert pids == {os.getpid()}


def test_an_exception_is_that_of_its_task() -> None:
    found = dict(outcomes(_reciprocal, [0, 2], "local", 2))

    assert found[2] == 0.5
    assert isinstance(found[0], ZeroDivisionError)


@pytest.mark.parametrize(("engine", "workers"), [("spark://a:1", None), ("", 2), ("dask://a:1", 2)])
def test_engines_that_there_are_not(engine: str, workers: int | None) -> None:
    with pytest.raises(InputError, match=r"--engine|--workers"):
        list(outcomes(_pid, [1], engine, workers))


def _pid(_: int) -> int:
    return os.getpid()


def _reciprocal(number: int) -> float:
    return 1 / number
