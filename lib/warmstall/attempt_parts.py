"""What lies inside a trial that was sent more than once: its attempts, the waits between them, and the rest.

A client that loses patience sends its request again, and its table shows one long call: four timeouts of a
minute and eight seconds of waiting are not one answer of 248 s. The server's log has a line per attempt, at
the attempt's end as the server saw it: at once when the client hung up (500, 200 when it streamed, 499 while
the model loaded), later when the server stood still, never when the request was still waiting for a runner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .matching import Request, epoch

# The longest wait that clients take between attempts: Retry-After is obeyed up to a minute by the SDKs of
# OpenAI and Anthropic; tenacity's usual cap is the same.
LONGEST_WAIT_S = 60.0
# Waits double from half a second (OpenAI's SDK) to some seconds (tenacity with min=4).
_LONGEST_FIRST_WAIT_S = 4.0
# A client's clock runs a little over: connecting, noticing the timeout, closing.
LATE_S = 1.0
MOST_ATTEMPTS = 10

Kind = Literal["attempt", "wait", "unexplained"]


@dataclass(frozen=True)
class Part:
    """A stretch of a trial, in seconds since the epoch, its bounds true to `plus_minus_s`.

    `attempt` counts from 1; of a wait it is the attempt before. `status` is the server's, empty when its log
    has no line of the attempt.
    """

    kind: Kind
    attempt: int
    from_at: float
    to_at: float
    plus_minus_s: float = 0.0
    request: Request | None = None
    note: str = ""

    @property
    def wall_s(self) -> float:
        return self.to_at - self.from_at

    @property
    def status(self) -> str:
        return self.request.status if self.request else ""


@dataclass(frozen=True)
class Split:
    """A trial in its parts, which touch one another and fill it; `doubt` says why they cannot be told."""

    trial: Mapping[str, Any]
    parts: tuple[Part, ...]
    doubt: str = ""

    @property
    def attempts(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.kind == "attempt")

    def seconds(self, kind: Kind) -> float:
        """How much of the trial went into parts of this kind."""
        return math.fsum(part.wall_s for part in self.parts if part.kind == kind)


@dataclass(frozen=True)
class LikelyAttempts:
    """How many attempts a wall may hold. `waits_s`: what is left for the waits if all of the fewest timed out."""

    fewest: int
    most: int
    timeout_s: float
    waits_s: float | None

    @property
    def sentence(self) -> str:
        count = f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"
        if self.waits_s is None:
            return f"{count} attempts of at most {self.timeout_s:g} s"
        return f"{count} attempts, {self.fewest} × {self.timeout_s:g} s and {self.waits_s:.3g} s of waiting"


def likely_attempts(wall_s: float, timeout_s: float | None, retries: int | None = None) -> LikelyAttempts | None:
    """How many attempts a wall holds when no server's log tells: no attempt outlives the client's timeout.

    None when the timeout is unknown, when one attempt explains the wall, or when not even all `retries` with
    their waits do (then the timeout is of another kind: between chunks of a stream, or of the connection).

    >>> likely_attempts(248, 60, 3).sentence
    '4 attempts, 4 × 60 s and 8 s of waiting'
    >>> likely_attempts(45, 60, 3), likely_attempts(248, 60, 0)
    (None, None)
    """
    if not timeout_s or timeout_s <= 0 or not math.isfinite(wall_s) or wall_s <= timeout_s + LATE_S:
        return None
    limit = MOST_ATTEMPTS if retries is None else max(0, retries) + 1
    # All but the last of n attempts timed out; the last took no longer.
    fit = [
        n
        for n in range(1, min(limit, 1000) + 1)
        if (n - 1) * timeout_s <= wall_s <= n * (timeout_s + LATE_S) + longest_waits_s(n - 1)
    ]
    if not fit:
        return None
    left_s = wall_s - fit[0] * timeout_s
    return LikelyAttempts(fit[0], fit[-1], timeout_s, left_s if left_s >= 0 else None)


def longest_waits_s(waits: int) -> float:
    """The longest that clients wait in all, over so many waits that double."""
    return math.fsum(min(LONGEST_WAIT_S, _LONGEST_FIRST_WAIT_S * 2.0 ** min(n, 10)) for n in range(waits))


def split_trial(
    trial: Mapping[str, Any],
    requests: Iterable[Request],
    timeout_s: float | None = None,
    clock: tuple[float, float] = (0.0, 0.0),
) -> Split:
    """A trial in attempts, waits and what nothing explains; the parts add up to its span from start to end.

    `requests` are those of its attempts that the server logged, in any order. An attempt ends when the server
    ended it, when the client's timeout (`timeout_s`, else the trial's own) had passed, or at the latest when
    the next began. Where a gap holds a whole timeout, it holds an attempt that the server never logged.
    `clock`: what to add to the trial's times to have the server's, and ± what.
    """
    begin, end = (epoch(trial[name]) + clock[0] for name in ("started_at", "ended_at"))
    limit_s = timeout_s or trial.get("timeout_s") or 0.0
    logged = sorted(requests, key=lambda request: (request.started, request.ended))
    parts = _Parts(begin, max(begin, end), limit_s, clock[1], min(trial.get("attempts") or MOST_ATTEMPTS, 1000))
    for place, request in enumerate(logged):
        following = logged[place + 1].started if place + 1 < len(logged) else math.inf
        parts.add_attempt(request, following)
    return Split(trial, tuple(parts.closed()))


class _Parts:
    """Parts that are laid one after the other, from the trial's start to its end."""

    def __init__(self, begin: float, end: float, limit_s: float, unsure_s: float, most: int) -> None:
        self.parts: list[Part] = []
        self.at, self.end, self.limit_s, self.unsure_s = begin, end, limit_s, unsure_s
        self.count, self.most = 0, most

    def add_attempt(self, request: Request, following: float) -> None:
        """One attempt that the server logged; `following` is when the next such one began."""
        unsure_s = self.unsure_s + request.uncertainty_s
        begun = min(max(request.started, self.at), self.end)
        if not self.count and begun - self.at <= LATE_S + unsure_s:
            begun = self.at  # on its way to the server
        self._add_gap(begun, unsure_s)
        ends = {
            "": request.ended,
            "the client's timeout had passed": begun + self.limit_s if self.limit_s else math.inf,
            "the next attempt had begun": following,
            "the client had given up": self.end,
        }
        why = min(ends, key=lambda reason: ends[reason])
        ended = max(begun, ends[why])
        late_s = request.ended - ended
        note = f"the server ended it {late_s:.1f} s after {why}" if why and late_s > LATE_S + unsure_s else ""
        if math.isinf(following) and self.end - ended <= LATE_S + unsure_s:
            ended = self.end  # the answer on its way to the client
        self.count += 1
        self._lay("attempt", ended, unsure_s, request, note)

    def closed(self) -> list[Part]:
        """All parts, the last of them up to the trial's end."""
        self._add_gap(self.end, self.unsure_s, closing=True)
        return self.parts

    def _lay(self, kind: Kind, until: float, unsure_s: float, request: Request | None = None, note: str = "") -> None:
        if until > self.at or request:
            self.parts.append(Part(kind, self.count, self.at, until, unsure_s, request, note))
        self.at = max(self.at, until)

    def _add_gap(self, until: float, unsure_s: float, closing: bool = False) -> None:
        """What lies beside the logged attempts: others, if there is time for them, a wait, or it is unknown."""
        gap_s = until - self.at
        if gap_s <= 0:
            return
        fit = (gap_s + LATE_S + self.unsure_s) / self.limit_s if self.limit_s > 0 else 0.0
        unlogged = int(max(0.0, min(fit, self.most - self.count)))
        # Waits stand between attempts: none before the first, none after the last.
        waits = unlogged + (self.count > 0) - closing
        left_s = max(0.0, gap_s - unlogged * self.limit_s)
        done = max(0, self.count - 1)
        longest_s = longest_waits_s(done + waits) - longest_waits_s(done) if waits > 0 else 0.0
        if waits == 1 and not unlogged:
            longest_s = LONGEST_WAIT_S
        if waits < 0 or (waits == 0 and not unlogged) or left_s > longest_s + LATE_S + unsure_s:
            self._lay("unexplained", until, unsure_s)
            return
        wait_s = left_s / waits if waits else 0.0
        if unlogged:
            unsure_s += left_s  # when exactly they began is not known, only that they fit
        kinds: list[Kind] = ["wait"] if self.count else []
        kinds += ["attempt", "wait"] * unlogged
        for place, kind in enumerate(kinds[: len(kinds) - closing], 1):
            whole = place == len(kinds) - closing
            self.count += kind == "attempt"
            note = "the server logged no such request" if kind == "attempt" else ""
            end = until if whole else min(until, self.at + (self.limit_s if kind == "attempt" else wait_s))
            self._lay(kind, end, unsure_s, note=note)
