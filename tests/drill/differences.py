"""What differs between a recorded scenario and its replay: a list that can be read, counted and excused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Difference:
    """One difference. `area`: events, raw, api, verdicts. `kind`: missing, extra, moved, fields, other."""

    area: str
    kind: str
    where: str
    what: str
    count: int = 1

    def __str__(self) -> str:
        times = f" ×{self.count}" if self.count > 1 else ""
        return f"{self.area:8} {self.kind:7} {self.where}: {self.what}{times}"


def of_sequences(real: Sequence[str], drill: Sequence[str], area: str, where: str) -> list[Difference]:
    """What is missing, extra, or there but elsewhere."""
    common = _longest_common(real, drill)
    missing, extra = Counter(real) - common, Counter(drill) - common
    moved = missing & extra
    found = [(moved, "moved"), (missing - moved, "missing"), (extra - moved, "extra")]
    return [Difference(area, kind, where, key, n) for counts, kind in found for key, n in counts.items()]


def of_counts(real: Iterable[str], drill: Iterable[str], area: str, where: str) -> list[Difference]:
    """What is missing or extra, whatever the order."""
    here, there = Counter(real), Counter(drill)
    found = [(here - there, "missing"), (there - here, "extra")]
    return [Difference(area, kind, where, key, n) for counts, kind in found for key, n in counts.items()]


def _longest_common(one: Sequence[str], two: Sequence[str]) -> Counter[str]:
    """How often each item is in the longest common subsequence. (difflib aligns what repeats badly.)"""
    start = 0
    while start < min(len(one), len(two)) and one[start] == two[start]:
        start += 1
    common = Counter(one[:start])
    one, two = one[start:], two[start:]
    lengths = [[0] * (len(two) + 1)]
    for item in reversed(one):
        below, row = lengths[-1], [0] * (len(two) + 1)
        for at in range(len(two) - 1, -1, -1):
            row[at] = below[at + 1] + 1 if item == two[at] else max(below[at], row[at + 1])
        lengths.append(row)
    lengths.reverse()
    here = there = 0
    while here < len(one) and there < len(two):
        if one[here] == two[there]:
            common[one[here]] += 1
            here, there = here + 1, there + 1
        elif lengths[here + 1][there] >= lengths[here][there + 1]:
            here += 1
        else:
            there += 1
    return common
