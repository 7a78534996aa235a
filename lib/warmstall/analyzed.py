"""The analysis of a case, made once in a process: a notebook that runs inside a command takes what the command has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .analysis import Analysis, analyze

_at_hand: dict[Path, Analysis] = {}


def analyzed(path: str | Path) -> Analysis:
    """`analyze`, but what this process has at hand is not computed again.

    >>> from warmstall.case import sample_incident
    >>> found = analyze(sample_incident())
    >>> with at_hand(found, sample_incident()):
    ...     analyzed(sample_incident()) is found
    True
    """
    return _at_hand.get(Path(path).resolve()) or analyze(path)


@contextmanager
def at_hand(found: Analysis, path: str | Path) -> Iterator[None]:
    """Meanwhile `analyzed(path)` is this very analysis."""
    place = Path(path).resolve()
    _at_hand[place] = found
    try:
        yield
    finally:
        del _at_hand[place]
