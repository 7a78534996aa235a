"""Canaries that come at once: rounds of so many small requests, and how long the clients of a round waited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from ..services.canary import canary_model
from ..step import Measures, Verified
from ..target import Target

# What a probe may put on a server that people use.
MOST_AT_ONCE, MOST_REQUESTS = 16, 64
_TOKENS = 16
# A load of a large model from a slow disk; the server itself gives up after five minutes.
_LOAD_S = 320.0


def concurrent_measures(target: Target, model: str, at_once: int, rounds: int, deadline_s: float) -> Measures:
    """Send `rounds` times `at_once` requests together; success_rate, requests, walls, and the slowest of each round.

    A model that is in memory is asked, unless one is named; without any, all is None and nothing is sent. At most 16
    at once, and 64 in all.
    """
    names = ("success_rate", "requests", "wall_p50_s", "wall_p95_s", "round_lowest_s", "round_highest_s")
    name = canary_model(target, model)
    if not name:
        return dict.fromkeys(names)
    at_once = max(1, min(at_once, MOST_AT_ONCE))
    rounds = max(1, min(rounds, MOST_REQUESTS // at_once))
    _ask(target, name, 0, max(deadline_s, _LOAD_S))  # the load is not what is compared
    walls: list[float] = []
    slowest: list[float] = []
    with ThreadPoolExecutor(at_once) as clients:
        for number in range(rounds):
            tries = range(1 + number * at_once, 1 + (number + 1) * at_once)
            answered = [wall_s for wall_s in clients.map(lambda n: _ask(target, name, n, deadline_s), tries)
                        if wall_s is not None]  # fmt: skip
            walls += answered
            # Who did not come back waited at least to the deadline.
            slowest.append(max(answered) if len(answered) == at_once else deadline_s)
    sent = rounds * at_once
    return {
        "success_rate": len(walls) / sent, "requests": float(sent), "wall_p50_s": median(walls) if walls else None,
        "wall_p95_s": percentile(walls, 0.95), "round_lowest_s": min(slowest), "round_highest_s": max(slowest),
    }  # fmt: skip


def _ask(target: Target, model: str, number: int, deadline_s: float) -> float | None:
    """Seconds until a small answer was there whole; None where it did not come."""
    options = {"num_predict": _TOKENS, "temperature": 0}
    body = {"model": model, "prompt": f"Try {number}. Count on.", "stream": False, "options": options}
    answer = target.send("/api/generate", body, deadline_s)
    whole = answer["status"] == "200" and isinstance(answer["body"], dict) and answer["body"].get("done") is True
    return float(answer["wall_s"]) if whole else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """By nearest rank: a value that was seen.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.95), percentile([], 0.95)
    (4.0, None)
    """
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else None


def slower(before: Measures, after: Measures) -> Verified | None:
    """Not ok when every round after the change was slower than every one before; None when they overlap.

    Of four rounds each this comes about by chance in one of 70 cases.
    """
    was, is_now = before.get("round_highest_s"), after.get("round_lowest_s")
    if was is None or is_now is None or is_now <= was:
        return None
    return Verified(False, f"The slowest client of each round now waits {is_now:.2f} s or more, before it was "
                    f"{was:.2f} s or less.")  # fmt: skip
