"""Profiles to arrivals: what a described load sends, in what order, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, get_args

from ..errors import InputError, ParameterError
from .records import Arrival, Kind, Profile

KINDS: tuple[str, ...] = get_args(Kind)
# Due at times of their own, whoever still waits.
OPEN = ("rate", "ramp", "soak", "replay")
MOST_CALLS = 1_000_000
_MOST_SECONDS = 7 * 86400.0
_MOST_CLIENTS = 512
_MOST_RATE = 10_000.0
_PARTS_OF_A_SOAK = 10
_OPTIONS = {
    "calls": "--calls", "seconds": "--for", "concurrency": "--clients", "rate_per_s": "--rate",
    "to_rate_per_s": "--to-rate", "pace": "--pace", "warm_up": "--warm-up",
}  # fmt: skip


def arrivals_of(profile: Profile) -> Iterator[Arrival]:
    """The calls of a profile in their order, warm-up first: its numbers go down from 0, those measured up from 1.

    Raises ParameterError for a profile that cannot be sent, InputError for a table that holds no times of calls.

    >>> [(one.number, one.due_s) for one in arrivals_of(Profile("rate", calls=3, rate_per_s=2))]
    [(0, None), (1, 0.0), (2, 0.5), (3, 1.0)]
    """
    check(profile)
    kinds = {"rate": _rate, "soak": _soak, "ramp": _ramp, "sweep": _sweep, "replay": _replay}
    measured = kinds.get(profile.kind, _closed)(profile)
    if profile.kind == "replay":
        measured = iter(list(measured))  # the table is read, and refused, before anything is sent
    return _warm_up_and(profile, measured)


def _warm_up_and(profile: Profile, measured: Iterator[Arrival]) -> Iterator[Arrival]:
    first = next(measured, None)
    wanted = first.wanted if first else {}
    for number in range(profile.warm_up):
        yield Arrival(-number, phase="warm-up", clients=1, wanted=wanted)
    if first:
        yield first
    yield from measured


def check(profile: Profile) -> None:
    """Raises ParameterError with one sentence for the first thing of a profile that cannot be."""
    if profile.kind not in KINDS:
        raise ParameterError(f"profile {profile.kind!r}: there is none of this name; there are {', '.join(KINDS)}.")
    for name, least, most in (
        ("calls", 0 if profile.kind in OPEN else 1, MOST_CALLS), ("seconds", 0.1, _MOST_SECONDS),
        ("concurrency", 1, _MOST_CLIENTS), ("rate_per_s", 0.001, _MOST_RATE), ("to_rate_per_s", 0.001, _MOST_RATE),
        ("pace", 0.001, 1000.0), ("warm_up", 0, 1000),
    ):  # fmt: skip
        value = getattr(profile, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            expected = f"{least:.10g} to {most:.10g} for a {profile.kind} load"
            raise ParameterError(f"{name} ({_OPTIONS[name]}) is {value!r}; expected {expected}.")
    levels = profile.levels
    if not levels or not all(isinstance(one, int) and 1 <= one <= _MOST_CLIENTS for one in levels):
        raise ParameterError(
            f"levels (--levels) are {levels!r}; expected numbers of clients, each 1 to {_MOST_CLIENTS}."
        )
    if profile.kind == "replay" and not profile.table:
        raise ParameterError("a replay needs a table of calls: name a file (trials as CSV, JSONL, Parquet …).")


def remaining(arrivals: Iterator[Arrival], done: set[int]) -> Iterator[Arrival]:
    """What is still to be sent when the numbers in `done` are: warm-up anew under new numbers, the first one at once.

    >>> plan = arrivals_of(Profile("rate", calls=4, rate_per_s=2))
    >>> [(one.number, one.due_s) for one in remaining(plan, {0, 1, 2})]
    [(-1, None), (3, 0.0), (4, 0.5)]
    """
    fresh = count(min((number for number in done if number <= 0), default=1) - 1, -1)
    shift_s: float | None = None
    warm_up: list[Arrival] = []
    for arrival in arrivals:
        if arrival.phase == "warm-up":
            warm_up.append(replace(arrival, number=next(fresh)))
        elif arrival.number not in done:
            yield from warm_up
            warm_up = []
            if arrival.due_s is not None:
                shift_s = arrival.due_s if shift_s is None and done else shift_s or 0.0
                arrival = replace(arrival, due_s=arrival.due_s - shift_s)
            yield arrival


def _closed(profile: Profile) -> Iterator[Arrival]:
    clients = 1 if profile.kind == "sequential" else profile.concurrency
    return (Arrival(number, clients=clients) for number in range(1, profile.calls + 1))


def _sweep(profile: Profile) -> Iterator[Arrival]:
    numbers = count(1)
    for clients in profile.levels:
        step = f"{clients} client{'s' * (clients != 1)}"
        for number in islice(numbers, profile.calls):
            yield Arrival(number, step=step, clients=clients)


def _rate(profile: Profile) -> Iterator[Arrival]:
    # The last is due within the time; a billionth more, because 0.1 × 30 is not quite 3.
    fitting = math.ceil(profile.seconds * profile.rate_per_s - 1e-9)
    calls = min(profile.calls or MOST_CALLS, fitting, MOST_CALLS)
    return (Arrival(number, due_s=(number - 1) / profile.rate_per_s) for number in range(1, calls + 1))


def _soak(profile: Profile) -> Iterator[Arrival]:
    """The rate for all of the time, in parts, because what a soak shows is what changes."""
    part_s = profile.seconds / _PARTS_OF_A_SOAK
    for one in _rate(replace(profile, calls=0)):
        part = min(int((one.due_s or 0.0) / part_s) + 1, _PARTS_OF_A_SOAK)
        yield replace(one, step=f"part {part} of {_PARTS_OF_A_SOAK}")


def _ramp(profile: Profile) -> Iterator[Arrival]:
    """From one rate to the other, which is reached with the last call: at the end of the calls or of the time."""
    low, high = profile.rate_per_s, profile.to_rate_per_s
    mean = (low + high) / 2
    whole_s = min(profile.seconds, profile.calls / mean if profile.calls else profile.seconds)
    slope = (high - low) / whole_s
    for number in range(1, min(math.floor(mean * whole_s + 1e-9), MOST_CALLS) + 1):
        before = number - 1  # so many calls are due by then: low × t + slope × t² / 2
        due_s = before / low if not slope else (math.sqrt(low * low + 2 * slope * before) - low) / slope
        yield Arrival(number, due_s=due_s)


def _replay(profile: Profile) -> Iterator[Arrival]:
    rows = _calls_of(Path(profile.table), profile.calls or MOST_CALLS)
    for number, (at_s, wanted) in enumerate(rows, 1):
        if at_s / profile.pace < profile.seconds:
            yield Arrival(number, due_s=at_s / profile.pace, wanted=wanted)


def _calls_of(table: Path, most: int) -> list[tuple[float, dict[str, Any]]]:
    """When each call of a table began, in seconds from the first, and what it was made of."""
    from pandas import isna

    from ..case import open_case

    rows = open_case(table).sql(
        f"""
        SELECT epoch(started_at - min(started_at) OVER ()) AS at_s, nullif(model, '') AS model,
               prompt_eval_count AS prompt_tokens, eval_count AS output_tokens
        FROM trials WHERE started_at IS NOT NULL ORDER BY started_at, line LIMIT {most}
        """
    )
    if rows.empty:
        raise InputError(f"{table}: holds no calls with the time at which each began; expected a table of trials.")
    told = rows[["model", "prompt_tokens", "output_tokens"]].to_dict("records")
    wanted = [
        {name: int(value) if name != "model" else value for name, value in row.items() if not isna(value)}
        for row in told
    ]
    return list(zip(rows["at_s"].astype(float), wanted, strict=True))
