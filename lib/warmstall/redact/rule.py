r"""What a rule is.

Its `hint` is the cheap test, read alike by RE2 and Python, without regard to case: a line without it holds nothing
for the rule. `pattern` is Python's. A group named like a kind (or `user_too`) holds a value of that kind, `value` one
of the rule's own kind, `nothing` what goes without a token. `reads` says what to read behind the match instead: a
value (quoted at any depth, or bare up to the next field), a word (bare up to the next space) or texts (a quoted
string or a list of them). `accepts` may refuse what is only like it. Every sample is found by its rule; a test holds
the tables to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

# Of a value: what it says, the match that led to it, and whether it is quoted.
Judge = Callable[[str, re.Match[str], bool], bool]


@dataclass(frozen=True)
class Rule:
    """One way in which a secret shows itself. `sample` is a line and the value that must be found in it."""

    name: str
    kind: str
    hint: str
    pattern: str
    sample: tuple[str, str]
    reads: Literal["groups", "value", "word", "texts"] = "groups"
    accepts: Judge = lambda value, match, quoted: True
    caseless: bool = False

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def search(self, line: str, place: int = 0) -> re.Match[str] | None:
        """The next match. A caseless pattern is in small letters: that is far faster than re.IGNORECASE."""
        return self._regex.search(_in_small_letters(line) if self.caseless else line, place)


@lru_cache(maxsize=4)
def _in_small_letters(line: str) -> str:
    small = line.lower()
    return small if len(small) == len(line) else re.sub("[A-Z]+", lambda found: found[0].lower(), line)
