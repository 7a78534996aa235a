"""How long a synthetic model thinks: times drawn from a seed, slowed by the timetable's faults."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from random import Random

from .models import DrillModel
from .timetable import Timetable

# A machine's tokens vary by about this much from one to the next (the standard deviation of the logarithm).
_SPREAD = 0.08
# What a template adds, and characters that one token holds, in the models that stand in for real ones.
_TEMPLATE_TOKENS = 24
CHARACTERS_PER_TOKEN = 4.9
# The share of its working time in which a runner really computes: samples of the host show a process at work, and
# several drills fit on one machine.
BUSY_SHARE = 0.2
# A model that spilled to the CPU keeps it busy.
SPILLED_SHARE = 1.0


def count_tokens(prompt: str) -> int:
    """Tokens of a prompt with its template around it."""
    return _TEMPLATE_TOKENS + math.ceil(len(prompt) / CHARACTERS_PER_TOKEN)


def end_of(prompt: str, tokens: int) -> str:
    """The end of a prompt that has so many tokens with its template."""
    return prompt[-max(1, int((tokens - _TEMPLATE_TOKENS) * CHARACTERS_PER_TOKEN)) :]


@dataclass
class TokenTiming:
    """The times of one request: `prompt_s` for its prompt, `token_s()` for each next token.

    Both are the times the model usually takes; `slowness` is the factor by which a fault stretches them just now.
    """

    model: DrillModel
    timetable: Timetable
    random: Random

    def prompt_s(self, new_tokens: int) -> float:
        return new_tokens / self.model.prefill_tokens_per_s * self._jitter()

    def token_s(self) -> float:
        return self._jitter() / self.model.decode_tokens_per_s

    def slowness(self, kind: str) -> float:
        """Factor of `slow_prefill` or `slow_decode`; 1.0 when nothing acts."""
        return max(1.0, self.timetable.strength(kind, self.model.name))

    def _jitter(self) -> float:
        return math.exp(self.random.gauss(0.0, _SPREAD))


def work(seconds: float, busy_share: float = BUSY_SHARE) -> None:
    """Take that long, computing for a share of it."""
    ends = time.monotonic() + seconds
    busy_until = time.monotonic() + seconds * busy_share
    while time.monotonic() < busy_until:
        pass
    rest = ends - time.monotonic()
    if rest > 0:
        time.sleep(rest)
