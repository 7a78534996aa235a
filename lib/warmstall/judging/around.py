"""What can be said of a request only with the others in view: what is usual, who was slow alone, who ended together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..timeline import Event, Stop
from .endings import cut_by_stops, ended_by, shared_timeouts
from .matched import Matched
from .parts import Parts
from .usual import LEAST_FACTOR, Usuals
from .words import Mask, Numbers, chunks, rows_among

# Rates of very short runs say more about start-up costs than about speed.
_RATE_MIN_TOKENS = 5


class Speeds:
    """Seconds per token of one phase, and what is usual of them by runner."""

    def __init__(self, runner: Numbers, rates: Numbers, runners: int) -> None:
        known = ~np.isnan(rates)
        self.usual = Usuals(runner[known], rates[known], runners)

    def factor(self, seconds: Numbers, tokens: Numbers, runner: Numbers) -> Numbers:
        """How many times slower than usual; NaN where it cannot be told."""
        factor: Numbers = rate(seconds, tokens) / self.usual.middle[runner]
        return factor

    def excess_s(self, seconds: Numbers, tokens: Numbers, runner: Numbers) -> Numbers:
        """The seconds beyond what its tokens usually take."""
        known = ~np.isnan(self.factor(seconds, tokens, runner))
        return np.where(known, np.maximum(0.0, seconds - tokens * self.usual.middle[runner]), 0.0)

    def beyond(self, seconds: Numbers, tokens: Numbers, runner: Numbers) -> Mask:
        """Whether it is slower than anything usual."""
        slower: Mask = rate(seconds, tokens) > self.usual.limit[runner]
        return slower


def rate(seconds: Numbers, tokens: Numbers) -> Numbers:
    """Seconds per token; NaN for runs too short to tell a speed."""
    found = np.full(len(seconds), np.nan)
    np.divide(seconds, tokens, out=found, where=(seconds != 0) & (tokens >= _RATE_MIN_TOKENS))
    return found


class Around:
    """What is usual in a case, and which requests what happened there ended."""

    def __init__(
        self, matched: Matched, crashes: Sequence[Event], aborts: Sequence[Event], stops: Sequence[Stop]
    ) -> None:
        requests = matched.requests
        # Of ten million requests, their walls are a good part of all that is held: no copies of them.
        nobodys = 2 * matched.runners
        kinds = np.empty(len(requests), dtype=np.min_scalar_type(-nobodys - 1))
        for chunk in chunks(slice(None), len(requests)):
            kinds[chunk] = _kinds(matched, Parts(matched, chunk, lone=True), nobodys)
        speeds = []
        told = _any_of(len(requests), matched.task_rows, matched.trial_rows)
        for some in chunks(told, len(requests)):
            parts = Parts(matched, some)
            kinds[some] = _kinds(matched, parts, nobodys)
            speeds.append(_speeds(matched, parts))
        self.crashes, self.aborts = ended_by(matched, crashes, "crash"), ended_by(matched, aborts, "abort")
        self.stops = cut_by_stops(matched.requests, stops)
        # What was cut short does not tell how long such a request takes.
        kinds[self.crashes.rows] = kinds[self.aborts.rows] = kinds[self.stops.rows] = nobodys
        self.walls = Usuals(kinds, requests.wall_s, nobodys)
        del kinds
        measured, decode_rates, prefill_rates = (_joined([found[part] for found in speeds]) for part in range(3))
        runner = matched.runner(measured)
        self.decode = Speeds(runner, decode_rates, matched.runners)
        self.prefill = Speeds(runner, prefill_rates, matched.runners)
        slowest = np.fmax(decode_rates / self.decode.usual.middle[runner],
                          prefill_rates / self.prefill.usual.middle[runner])  # fmt: skip
        self.alone = _alone(measured, runner, requests.ended(measured), slowest)
        self.shared_timeouts = shared_timeouts(matched, self.crashes.rows)
        waits = matched.waits
        own_loads = waits.row[waits.triggered | waits.waited]
        ended = (self.crashes.rows, self.aborts.rows, self.shared_timeouts[0])
        # Requests of which more is known than their access lines and how many loads they met.
        self.not_lone = _any_of(len(requests), own_loads, told, *ended)


def _kinds(matched: Matched, parts: Parts, nobodys: int) -> Numbers:
    """The kind of each of the requests, `nobodys` of those whose wall tells nothing of it."""
    rows, requests = parts.rows, matched.requests
    unhindered = (parts.loads_seen == 0) & (parts.queue_s < 0.1 * parts.wall_s)
    return np.where(unhindered & requests.ran[rows] & (requests.status[rows] == "200"), matched.kind(rows), nobodys)


def _speeds(matched: Matched, parts: Parts) -> tuple[Numbers, Numbers, Numbers]:
    """Which of the requests were measured, with their speeds."""
    # Several models: their speeds are not one speed.
    of_one = parts.measured & (matched.model[parts.rows] != matched.models.code(""))
    decode_rates = rate(parts.decode_s[of_one], parts.decode_tokens[of_one])
    prefill_rates = rate(parts.prefill_s[of_one], parts.prompt_tokens[of_one])
    return rows_among(parts.rows, of_one), decode_rates, prefill_rates


def _any_of(total: int, *rows: Numbers) -> Numbers:
    """The rows that are among any of these, in order."""
    among = np.zeros(total, dtype=bool)
    for some in rows:
        among[some] = True
    return np.flatnonzero(among)


def _joined(parts: Sequence[Numbers]) -> Numbers:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _alone(rows: Numbers, runner: Numbers, ended: Numbers, factor: Numbers) -> Numbers:
    """The measured requests whose neighbours on the same runner are fast: a pause comes alone, slowness does not."""
    order = np.lexsort((ended, runner))
    runner, factor = runner[order], factor[order]
    same = runner[1:] == runner[:-1]
    around = np.full(len(rows), np.nan)
    around[1:][same] = factor[:-1][same]
    around[:-1][same] = np.fmax(around[:-1][same], factor[1:][same])
    return np.sort(rows[order][around < LEAST_FACTOR])
