"""How long requests waited for a slot."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.made import columns, request
from warmstall.judging.queues import Queues, queue_by_overlap
from warmstall.matching import Request

SPANS = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), min_size=1, max_size=40)


def queues_of(requests: Sequence[Request], slots: int) -> Queues:
    found = Queues.empty(len(requests))
    never = np.full(len(requests), -np.inf)
    queue_by_overlap(columns(requests), np.arange(len(requests)), slots, never, found)
    return found


def of_spans(spans: Sequence[tuple[float, float]]) -> list[Request]:
    return [request(n, start, wall_s) for n, (start, wall_s) in enumerate(spans)]


def test_one_slot_serves_in_order_of_arrival() -> None:
    """Three at once on one slot: the second waits for the first, the third for both."""
    found = queues_of(of_spans([(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]), slots=1)

    assert found.queue_s.tolist() == pytest.approx([0, 1, 2])
    assert found.in_flight.tolist() == [3, 3, 3]


def test_one_that_overtakes_another_was_not_in_its_queue() -> None:
    """Came later, ended first: two such requests do not share one slot, so neither is said to have waited."""
    found = queues_of(of_spans([(0.0, 60.0), (10.0, 5.0)]), slots=1)

    assert found.queue_s.tolist() == [0, 0]


def test_enough_slots_make_no_queue() -> None:
    assert not queues_of(of_spans([(0.0, 1.0 + n) for n in range(4)]), slots=4).queue_s.any()


@given(SPANS, st.integers(1, 5))
def test_a_queue_is_never_longer_than_its_request(spans: list[tuple[int, int]], slots: int) -> None:
    found = queues_of(of_spans(spans), slots)

    assert all(0 <= queue_s <= wall_s + 1e-6 for queue_s, (_, wall_s) in zip(found.queue_s, spans, strict=True))


@given(SPANS, st.integers(2, 4))
def test_several_slots_serve_as_one_would_by_hand(spans: list[tuple[int, int]], slots: int) -> None:
    """What is worked out only for the spells in which slots were short is what following everyone would tell."""
    order = sorted(range(len(spans)), key=lambda n: (spans[n][0], sum(spans[n]), n))
    waits_s, serving = [0.0] * len(spans), []
    for n in order:
        start, end = spans[n][0], sum(spans[n])
        while serving and serving[0] <= start:
            heappop(serving)
        begins = max(start, heappop(serving)) if len(serving) >= slots else start
        heappush(serving, end)
        waits_s[n] = max(0.0, min(begins, end) - start)

    assert queues_of(of_spans(spans), slots).queue_s.tolist() == pytest.approx(waits_s)


@given(SPANS)
def test_on_one_slot_who_was_overtaken_or_overtook_waited_for_nobody(spans: list[tuple[int, int]]) -> None:
    found = queues_of(of_spans(spans), slots=1)

    for n, (start, wall_s) in enumerate(spans):
        others = [(begin, begin + wall) for begin, wall in spans]
        if any(begin > start and end < start + wall_s for begin, end in others) or any(
            begin < start and end > start + wall_s for begin, end in others
        ):
            assert found.queue_s[n] == 0


def test_counts_beyond_what_a_column_holds_make_it_wider() -> None:
    """Columns are as narrow as their numbers; none of them is ever cut."""
    found = Queues.empty(3)

    for greatest in (127, 128, 70_000, 3_000_000_000):
        found.put("in_flight", np.array([0, 2]), np.array([greatest, 3]))
        found.put("beside", np.array([greatest % 3]), np.array([greatest]))
        assert found.in_flight.tolist() == [greatest, 1, 3]
    found.put("slots", np.array([1, 2]), 300)

    assert found.beside.tolist() == [3_000_000_000, 70_000, 128]
    assert found.slots.tolist() == [1, 300, 300]
