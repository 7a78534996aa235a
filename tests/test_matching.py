"""Which trial belongs to which request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from judging.made import START, request
from warmstall.matching import match_trials


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
