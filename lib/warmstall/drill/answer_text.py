"""What a synthetic model writes: words without a meaning, and behind them what the prompt or a fault wants there.

A prompt with numbered sources is answered with the first of them cited, as a model does that keeps to its rules. Two
faults change that: `reasoning_leak` lets the model think aloud for the first half of its answer, between tags that
belong to nobody's eyes, and `ungrounded_citation` lets it cite a source that it was never given.
"""

from __future__ import annotations

import re
from random import Random

from .timetable import Timetable

_WORDS = ("the", "model", "answers", "with", "words", "that", "mean", "nothing", "and", "take", "time", "as", "real")
# As the reference path numbers them.
_SOURCE = re.compile(r'^<source number="(\d{1,3})"', re.MULTILINE)
# Fewer tokens have no room for a thought.
_FEWEST_TO_THINK = 6


class AnswerText:
    """The words of one answer of about `tokens` tokens, in turn; a model that is cut short cites nothing.

    >>> text = AnswerText('<sources>\\n<source number="1" from="faq.md">', 3, Timetable(), "mid")
    >>> text.word(2, Random(1))
    'answers [1].'
    >>> AnswerText("hello", 3, Timetable(), "mid").word(2, Random(1))
    'answers'
    """

    def __init__(self, prompt: str, tokens: int, timetable: Timetable, model: str) -> None:
        sources = [int(number) for number in _SOURCE.findall(prompt)]
        self._last = tokens - 1
        self._cited = sources[:1]
        if sources and timetable.strength("ungrounded_citation", model):
            self._cited = [max(sources) + 4]
        thinks = tokens >= _FEWEST_TO_THINK and timetable.strength("reasoning_leak", model)
        self._thought_ends = tokens // 2 if thinks else 0

    def word(self, number: int, random: Random) -> str:
        """The token of that number, from 0."""
        word = _WORDS[random.randrange(len(_WORDS))]
        if self._thought_ends and number == 0:
            return f"<think> {word}"
        if self._thought_ends and number == self._thought_ends:
            return f"{word} </think>"
        if number == self._last and self._cited:
            return f"{word} [{self._cited[0]}]."
        return word
