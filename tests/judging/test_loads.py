"""Which request caused a load, which it held up, and which model a request ran on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from judging.made import START, columns, load, request
from warmstall.judging.loads import LoadPairs, Loads, match_loads
from warmstall.judging.models import attribute_models
from warmstall.judging.words import Vocabulary
from warmstall.matching import Request
from warmstall.records import Load, Residency


def pairs_of(requests: Sequence[Request], loads: Sequence[Load]) -> LoadPairs:
    return match_loads(columns(requests), slice(None), Loads(loads, Vocabulary("")), range(len(loads)), {})


def roles(requests: Sequence[Request], loads: Sequence[Load]) -> list[list[str]]:
    """What each of the requests was to the loads."""
    pairs = pairs_of(requests, loads)
    return [["trigger" if trigger else "overlap" for trigger in pairs.trigger[pairs.row == row].tolist()]
            for row in range(len(requests))]  # fmt: skip


def test_the_request_that_was_waiting_when_the_runner_was_spawned_caused_the_load() -> None:
    first, later = request(0, 0.0, 10.0), request(1, 6.0, 1.0)

    found = roles([first, later], [load(0.1, 5.0)])

    assert found == [["trigger"], []]


def test_a_long_request_on_another_model_did_not_cause_the_load() -> None:
    """Of two that were there, the one that came just before the spawn needed it."""
    busy, needing = request(0, 0.0, 60.0), request(1, 30.0, 10.0)

    found = roles([busy, needing], [load(30.1, 5.0)])

    assert found == [["overlap"], ["trigger"]]


def test_a_request_shorter_than_the_load_cannot_have_caused_it() -> None:
    """A tenth of a second in the same second as a load of half a second was served by somebody else's load."""
    cause, quick = request(0, 0.0, 0.9, unsure_s=1.0), request(1, 0.2, 0.1, unsure_s=1.0)

    found = roles([cause, quick], [load(0.3, 0.5)])

    assert found == [["trigger"], ["overlap"]]


def test_a_request_that_failed_with_its_load_caused_it() -> None:
    failed, served = request(0, 0.0, 11.0, status="500"), request(1, 0.0, 40.0)

    found = roles([failed, served], [load(0.2, 10.7, outcome="timed_out")])

    assert found[0] == ["trigger"]
    assert "trigger" not in found[1]


def test_of_two_that_came_at_once_neither_is_named_where_there_are_several_models() -> None:
    """Either may have meant the other model; where the log knows one model only, the first is taken."""
    first, second = request(0, 0.0, 10.0), request(1, 0.0, 10.0)

    assert roles([first, second], [load(0.1, 5.0)]) == [["trigger"], ["overlap"]]
    assert roles([first, second], [load(0.1, 5.0), load(30.0, 1.0, "other")]) == [["overlap"], ["overlap"]]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from([0.5, 3.0, 20.0, 500.0])), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 30)), min_size=1, max_size=8),
)
def test_every_request_that_was_there_as_a_load_ended_is_found(
    spans: list[tuple[int, float]], loads: list[tuple[int, int]]
) -> None:
    """However long the one is beside the other: nobody is missed, and nobody else is taken in."""
    spans.sort(key=lambda span: span[0] + span[1])
    requests = [request(row, start, wall_s) for row, (start, wall_s) in enumerate(spans)]

    pairs = pairs_of(requests, [load(start, seconds) for start, seconds in sorted(loads)])

    for number, (begin, seconds) in enumerate(sorted(loads)):
        end = begin + seconds
        there = {row for row, (start, wall_s) in enumerate(spans) if start < end and start + wall_s >= end - 0.25}
        assert set(pairs.row[pairs.load == number].tolist()) == there


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=20),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(1, 30)), max_size=8),
)
def test_a_request_ran_on_the_only_model_that_was_there(
    spans: list[tuple[int, int]], stays: list[tuple[str, int, int]]
) -> None:
    """Told by a look at every stay, request by request: one model alone, or none is named."""
    requests = columns([request(row, start, wall_s) for row, (start, wall_s) in enumerate(spans)])
    residencies = [
        Residency("box", "server.log", 1, model, *(START + timedelta(seconds=at) for at in (begin, begin + stay)), "")
        for model, begin, stay in stays
    ]
    models, model = Vocabulary(""), np.zeros(len(spans), dtype=np.int32)

    attribute_models(
        requests, slice(None), LoadPairs.joined([]), Loads([], models), models, residencies, range(0), {}, {}, model
    )

    for row, (start, wall_s) in enumerate(spans):
        there = {name for name, begin, stay in stays if begin <= start + wall_s and begin + stay > start}
        assert models.names[model[row]] == (there.pop() if len(there) == 1 else "")
