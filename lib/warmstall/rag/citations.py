"""The sources that an answer cites, by number, and those of them that were never there."""

from __future__ import annotations

import re

# Fenced blocks, then code within a line: what looks like a citation there is an index.
_CODE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# Directly behind a letter of code it is an index: list[0]. Other scripts have no space there in plain text.
# [1]  [1, 2]  [1-3]  [^1]  [source 1]  [Sources 1 and 2]  【1】  【1†L3-L9】
_SPACE = r"\s{0,3}"  # bounded: an answer of spaces must not take long to read
_NUMBER = r"\d{1,3}(?!\d)"
_CITATION = re.compile(
    rf"(?:(?<![A-Za-z0-9_])\[|【){_SPACE}\^?(?:(?:sources?|docs?|documents?|quellen?)\b)?{_SPACE}"
    rf"({_NUMBER}(?:{_SPACE}(?:[,;&–—-]|and|und){_SPACE}(?:\^|sources?{_SPACE})?{_NUMBER})*){_SPACE}"
    r"(?:†[^\]】]{0,80})?[\]】]",
    re.IGNORECASE,
)
# No prompt has so many sources: a bracket that has a larger number among others, or a 0, is an interval or an array.
_MOST_SOURCES = 99
_PART = re.compile(r"(\d+)(?:\s*[–—-]\s*(\d+))?")
# A range of more than this is no list of sources.
_WIDEST = 50


def cited_numbers(text: str) -> tuple[int, ...]:
    """The numbers that a text cites, each once, in the order of their first mention.

    >>> cited_numbers("Models leave after 5 minutes [2], or never [1, 4-6][^2]; see 【7†L1】 and `row[9]`.")
    (2, 1, 4, 5, 6, 7)
    """
    numbers: dict[int, None] = {}
    for citation in _CITATION.finditer(_CODE.sub(" ", text)):
        parts = [(int(first), int(last or first)) for first, last in _PART.findall(citation.group(1))]
        named = {number for part in parts for number in part}
        if len(named) > 1 and not 1 <= min(named) <= max(named) <= _MOST_SOURCES:
            continue
        for start, end in parts:
            numbers |= dict.fromkeys(range(start, end + 1) if start <= end <= start + _WIDEST else (start, end))
    return tuple(numbers)


def unfounded_numbers(cited: tuple[int, ...], sources: int) -> tuple[int, ...]:
    """Those of the cited numbers that none of so many sources has.

    >>> unfounded_numbers((1, 2, 9, 0), 8)
    (9, 0)
    """
    return tuple(number for number in cited if not 1 <= number <= sources)
