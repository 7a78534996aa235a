"""What the hypotheses ask of a case, and how sentences say it."""

from .facts import (
    Facts,
    clock_text,
    counted,
    holds,
    moment,
    places,
    seconds_text,
    size_text,
    span,
    version_numbers,
)

__all__ = [
    "Facts",
    "clock_text",
    "counted",
    "holds",
    "moment",
    "places",
    "seconds_text",
    "size_text",
    "span",
    "version_numbers",
]
