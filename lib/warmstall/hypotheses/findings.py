"""What a hypothesis yields about a case: evidence for it, evidence against it, and what could not be seen.

    yield supports("1,240 of 5,000 requests stood still for 60 s with the model in memory.", place)
    yield refutes("No model was loaded between 17:58 and 18:04; the last load ended at 09:00:04.", place)
    yield unseen("samples of /api/ps while it hangs: warmstall watch CASE")

Of what is yielded, `state_of` makes the state. It keeps one promise: evidence that is taken away never turns a
state into ruled_out. So a hypothesis yields `unseen` for every source that could have shown it and is not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["confirmed", "supported", "ruled_out", "not_observable"]
Strength = Literal["decisive", "strong", "weak"]
Severity = Literal["info", "warning", "critical"]

STATES: tuple[State, ...] = ("confirmed", "supported", "ruled_out", "not_observable")
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True, order=True)
class Place:
    """Where a sentence can be checked: a line of a file of the evidence, or a stretch of lines."""

    host: str
    source: str
    line: int
    to_line: int = 0

    def __str__(self) -> str:
        lines = f"{self.line:,}–{self.to_line:,}".replace(",", "") if self.to_line > self.line else str(self.line)
        return f"{self.source}:{lines}"


@dataclass(frozen=True)
class Evidence:
    """One sentence with its number, which way it points, how strongly, and where it comes from.

    Between `from_at` and `to_at` (UTC) is when it was so, where that can be said. `severity` is that of the
    hypothesis unless this evidence shows a milder case of it.
    """

    direction: Literal["for", "against"]
    strength: Strength
    sentence: str
    places: tuple[Place, ...]
    from_at: datetime | None = None
    to_at: datetime | None = None
    severity: Severity | None = None


@dataclass(frozen=True)
class Unseen:
    """A source that could have shown the cause and was not captured: what to collect, as an order."""

    collect: str


Finding = Evidence | Unseen
Span = tuple[datetime | None, datetime | None]


def proves(
    sentence: str, *places: Place, span: Span = (None, None), severity: Severity | None = None
) -> Evidence:  # fmt: skip
    """Decisive evidence for: what is seen can hardly be anything else."""
    return Evidence("for", "decisive", sentence, places, *span, severity)


def supports(
    sentence: str, *places: Place, span: Span = (None, None), severity: Severity | None = None
) -> Evidence:  # fmt: skip
    """Strong evidence for: expected if it is so, and seldom otherwise."""
    return Evidence("for", "strong", sentence, places, *span, severity)


def hints(sentence: str, *places: Place, span: Span = (None, None)) -> Evidence:
    """Weak evidence for: told to the reader, and decides nothing."""
    return Evidence("for", "weak", sentence, places, *span)


def excludes(sentence: str, *places: Place) -> Evidence:
    """Decisive evidence against: it cannot be so, whatever sources that are not here might show."""
    return Evidence("against", "decisive", sentence, places)


def refutes(sentence: str, *places: Place) -> Evidence:
    """Strong evidence against: a source that would show it was read and shows otherwise."""
    return Evidence("against", "strong", sentence, places)


def weakens(sentence: str, *places: Place) -> Evidence:
    """Weak evidence against: told to the reader, and decides nothing."""
    return Evidence("against", "weak", sentence, places)


def unseen(collect: str) -> Unseen:
    """A source that could have shown it is not in the evidence; `collect` says how to get it."""
    return Unseen(collect)


def state_of(findings: Iterable[Finding]) -> State:
    """The state that findings amount to.

    What cannot be is ruled out; what is proved or supported is so; and what was not shown is ruled out only where
    every source that could have shown it was read.

    >>> from warmstall.hypotheses.findings import Place, refutes, supports, unseen
    >>> here = Place("box", "server.log", 1)
    >>> state_of([refutes("0 of 40 requests hung.", here)])
    'ruled_out'
    >>> state_of([refutes("0 of 40 requests hung.", here), unseen("vm_stat")])
    'not_observable'
    >>> state_of([supports("8 of 40 requests hung.", here), unseen("vm_stat")])
    'supported'
    """
    findings = list(findings)
    found = {(item.direction, item.strength) for item in findings if isinstance(item, Evidence)}
    if ("against", "decisive") in found:
        return "ruled_out"
    if ("for", "decisive") in found:
        return "confirmed"
    if ("for", "strong") in found:
        return "supported"
    if ("against", "strong") in found and not any(isinstance(item, Unseen) for item in findings):
        return "ruled_out"
    return "not_observable"
