"""The nouns of a reproduction: what load is wanted, what is due when, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["sequential", "concurrency", "rate", "ramp", "sweep", "soak", "replay"]
Phase = Literal["warm-up", "measured"]


@dataclass(frozen=True)
class Profile:
    """A described load, bounded in count and in time.

    `concurrency` clients that each send their next call when the last one ended (sequential: one); or calls at
    `rate_per_s` whoever still waits (rate, soak), from it to `to_rate_per_s` (ramp); or one step of `calls` for each
    of `levels` clients (sweep); or the calls of a `table` at the times it tells, `pace` times as fast (replay).
    `warm_up` calls come first and are told apart.
    """

    kind: Kind = "sequential"
    calls: int = 20
    seconds: float = 300.0
    concurrency: int = 1
    rate_per_s: float = 1.0
    to_rate_per_s: float = 10.0
    levels: tuple[int, ...] = (1, 2, 4, 8)
    table: str = ""
    pace: float = 1.0
    warm_up: int = 1
    seed: int = 1


@dataclass(frozen=True)
class Arrival:
    """One call that is to be sent. `due_s` is when, from the start of the load; None: when a client is free."""

    number: int
    due_s: float | None = None
    phase: Phase = "measured"
    # The step of a sweep ("4 clients"), the arm of an experiment ("treatment"); empty where there is but one.
    step: str = ""
    arm: str = ""
    # How many clients may be open at once in its step; 0: as many as there are.
    clients: int = 0
    # What the call is made of where the load tells: model, prompt_tokens, output_tokens (replay).
    wanted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """What came of one call, as its sender tells it."""

    ok: bool
    error: str = ""
    ttft_s: float | None = None
    output_tokens: int | None = None
    tokens_per_s: float | None = None
    load_duration_s: float | None = None
    attempts: int = 1
    trace_id: str = ""
    # Numbers that an experiment asks for beside these: recall, documents found …
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One row of measurements.csv. Times are UTC, ISO with microseconds; `wall_s` = ended − started.

    `late_s` is how much later than it was due the call was really sent, and `latency_s` is counted from when it was
    due: whoever leaves out the calls that had to wait for others measures a server that nobody met (coordinated
    omission). In a closed loop both agree with the start.
    """

    number: int
    phase: Phase
    step: str
    arm: str
    due_at: str
    started_at: str
    ended_at: str
    wall_s: float
    late_s: float
    latency_s: float
    sent: Sent
