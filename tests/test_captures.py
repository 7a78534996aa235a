"""Every hypothesis on every capture: nothing on healthy ones, and never the labelled cause ruled out."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import captures
import pytest


@pytest.fixture(scope="module")
def judged(shared: Path) -> dict[captures.Capture, captures.States]:
    known = captures.captures(shared)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return dict(zip(known, pool.map(captures.states, [one.path for one in known]), strict=True))


@pytest.mark.timeout(900)
def test_no_promise_is_broken(judged: dict[captures.Capture, captures.States]) -> None:
    told = [sentence for capture, found in judged.items() for sentence in captures.broken_promises(capture, found)]
    assert not told, "\n".join(told)


def test_labels_that_name_a_cause_are_mostly_found(judged: dict[captures.Capture, captures.States]) -> None:
    labelled = [(capture, label) for capture in judged for label in capture.labels if label in captures.CAUSES]
    found = [
        any(judged[capture][name][0] in ("confirmed", "supported") for name in captures.CAUSES[label])
        for capture, label in labelled
    ]
    assert sum(found) > len(found) / 2


def test_a_broken_promise_is_told() -> None:
    capture = captures.Capture("x.log", Path("x.log"), ("healthy", "runner_crash"))
    found = {"oom_kill": ("supported", "critical", []), "runner_crash": ("ruled_out", "critical", [])}
    told = captures.broken_promises(capture, found)
    assert len(told) == 2, told
    assert "oom_kill is supported" in told[0]
    assert "labelled runner_crash" in told[1]
