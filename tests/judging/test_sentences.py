"""Sentences made for many requests at once are those that are made for each of them."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import INCIDENTS
from warmstall.analysis import analyze
from warmstall.judging.sentences import _as_they_read, sentences

CASES = sorted(path.name for path in INCIDENTS.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_each_request(name: str) -> None:
    judged = analyze(INCIDENTS / name)._judged
    rows = np.arange(len(judged))
    judged.reworded = dict.fromkeys(rows[:2].tolist(), "somebody did it")

    assert sentences(judged, rows, judged.facts(rows)).to_pylist() == judged.reasons(rows, judged.facts(rows))
    some = rows[::3]
    assert sentences(judged, some, judged.facts(some)).to_pylist() == judged.reasons(some, judged.facts(some))


@pytest.mark.parametrize("form", [".0f", ".1f", ".2f", ".3f", ""])
def test_numbers_read_as_they_are(form: str) -> None:
    """Also those in the middle between two texts, tiny and huge ones, and the two zeros."""
    steps = np.arange(-3000, 3000) / 4000
    values = np.concatenate([steps, steps * 100, np.nextafter(steps, 1), [-0.0, 1e-9, -1e-9, 1e15 / 7, 3e22]])

    assert [format(value, form) for value in _as_they_read(values, form).tolist()] == [
        format(value, form) for value in values.tolist()
    ]


def test_few_of_them_are_different() -> None:
    """Each that is costs a text of its own."""
    assert len(np.unique(_as_they_read(np.random.default_rng(1).random(5000), ".1f"))) < 50
