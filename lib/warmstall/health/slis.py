"""Service level indicators: what the users of a server get, each as one number of one period.

    for sli in measured(within(analyze("case"), from_at, to_at)):
        print(sli.name, sli.host, sli.value, sli.why)

A quantile is a value that was measured, not one between two: p95 is at most x exactly where at most 5 % took longer,
so that a quantile and its objective (`objectives.py`) never contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..analysis import Analysis
from .records import Sli
from .samples import Samples, sampled

__all__ = ["SLIS", "Samples", "SliKind", "measured", "sampled"]


@dataclass(frozen=True)
class SliKind:
    """What an SLI is. `quantile` is None for a rate (unit "share") and for a quotient of two sums."""

    label: str
    unit: str
    good: Literal["lower", "higher"]
    how: str
    quantile: float | None = None

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of calls."""
        return self.unit == "share"


_WALL = (
    "Wall time of answered inference requests, by the server's access lines. One whose client left took at least as "
    "long as it was waited for; one that failed has none, and counts in availability."
)
_TTFT = "From sending to the first token, by the clients' own records; who gave up before it waited at least so long."

SLIS: Mapping[str, SliKind] = {
    "availability": SliKind(
        "Answered requests", "share", "higher",
        "Inference requests that were answered, of those that were answered or failed. Failed: an error of the server "
        "(5xx, 429), a load that failed, a runner that died, a call without any answer, and a client that left without "
        "one after it had waited longer than 95 % of the answers took. A call that was itself wrong (400, 404) is "
        "neither, nor is a client that left sooner, or in the midst of its answer.",
    ),
    "wall_p50_s": SliKind("Wall time, median", "s", "lower", _WALL, 0.5),
    "wall_p95_s": SliKind("Wall time, 95 % within", "s", "lower", _WALL, 0.95),
    "wall_p99_s": SliKind("Wall time, 99 % within", "s", "lower", _WALL, 0.99),
    "ttft_p50_s": SliKind("Time to the first token, median", "s", "lower", _TTFT, 0.5),
    "ttft_p95_s": SliKind("Time to the first token, 95 % within", "s", "lower", _TTFT, 0.95),
    "warm_stall_rate": SliKind(
        "Warm stalls", "share", "lower",
        "Requests that stood still although their model was in memory, of those with a verdict. Those whose client "
        "left may have been some: they are not counted, and said.",
    ),
    "cold_start_rate": SliKind(
        "Cold starts", "share", "lower",
        "Requests that waited for their model to be loaded, of those with a verdict. In quiet hours most requests are: "
        "a model leaves after its keep_alive.",
    ),
    "queue_wait_p95_s": SliKind(
        "Wait for a slot, 95 % within", "s", "lower",
        "Seconds before a request's own work began, by the client's final chunk, the slots, or what else was in "
        "flight for the same model.", 0.95,
    ),
    "truncation_rate": SliKind(
        "Truncated prompts", "share", "lower",
        "Prompts that the server cut to its context, of all requests that ran, by its warnings and its slots.",
    ),
    "decode_tokens_per_s": SliKind(
        "Tokens a second of one answer, median", "1/s", "higher",
        "Tokens of an answer by the seconds they took, by the slots of the log, else by the clients' final chunks; "
        "answers of fewer than 5 tokens are left out.", 0.5,
    ),
    "tokens_per_joule": SliKind(
        "Tokens for a joule", "1/J", "higher",
        "Tokens written, by what the GPUs drew while requests ran; not what the rest of the host drew.",
    ),
}  # fmt: skip


def measured(found: Analysis, samples: Mapping[tuple[str, str], Samples] | None = None) -> list[Sli]:
    """Each SLI of all hosts (''), and of each host where there are several, in the order of `SLIS`.

    `why` says, where there is no value, what to collect; where there is one, what it could not count. `samples` are
    those of `sampled(found)`, where they are at hand.
    """
    made = sampled(found) if samples is None else samples
    hosts = sorted({host for _, host in made})
    return [_sli(name, host, made[name, host]) for host in hosts for name in SLIS if (name, host) in made]


def _sli(name: str, host: str, samples: Samples) -> Sli:
    kind, of = SLIS[name], len(samples.values)
    if kind.is_rate:
        count = int(samples.values.sum())
        return Sli(name, host, count / of if of else None, kind.unit, count if of else None, of, samples.why)
    if kind.quantile is None:
        return Sli(name, host, samples.total, kind.unit, of=samples.of, why=samples.why)
    low, high = quantile_between(samples, kind.quantile, kind.good == "higher")
    every = of + len(samples.bounds)
    if low is None or low == high:
        return Sli(name, host, low, kind.unit, of=every, why="" if of else samples.why)
    if math.isfinite(high or math.inf):
        return Sli(name, host, high, kind.unit, of=every, why=f"at most so much, at least {low:.3g}: {samples.why}")
    # How long what was cut off would have taken is not known, but it was longer than this.
    return Sli(
        name, host, low or None, kind.unit, of=every, why=f"at least so much: {samples.why}" if low else samples.why
    )


def quantile_between(samples: Samples, share: float, upper: bool = False) -> tuple[float | None, float | None]:
    """The lowest and highest that a quantile may be, whatever the calls would have taken that were cut off.

    Of two middle values the lower one, or the upper one with `upper`. (None, None) where there is nothing.

    >>> quantile_between(Samples(np.array([1.0, 2.0, 3.0]), np.array([60.0])), 0.5)
    (2.0, 2.0)
    >>> quantile_between(Samples(np.array([1.0, 2.0, 3.0]), np.array([60.0])), 0.95)
    (60.0, inf)
    """
    every = len(samples.values) + len(samples.bounds)
    if not every:
        return None, None
    place = int(np.floor(share * every + 1e-9)) if upper else int(np.ceil(share * every - 1e-9)) - 1
    place = min(max(place, 0), every - 1)
    least = np.sort(np.concatenate([samples.values, samples.bounds]))
    most = np.sort(np.concatenate([samples.values, np.full(len(samples.bounds), np.inf)]))
    return float(least[place]), float(most[place])
