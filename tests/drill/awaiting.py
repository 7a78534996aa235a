"""Waiting for what announces itself to nobody, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE_S = 60.0


def until(question: Callable[[], Found], within_s: float = PATIENCE_S) -> Found:
    """Ask until the answer is true, and return it. Raises AssertionError with the last answer."""
    ends = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < ends, f"still {answer!r} after {within_s:.0f} s"
        time.sleep(0.02)  # between two questions to another process
