"""What differs between a recorded scenario and its replay: a list that can be read, counted and excused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


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
    missing: Counter[str] = Counter()
    extra: Counter[str] = Counter()
    for tag, a, b, c, d in SequenceMatcher(None, real, drill, autojunk=False).get_opcodes():
        if tag != "equal":
            missing.update(real[a:b])
            extra.update(drill[c:d])
    moved = missing & extra
    found = [(moved, "moved"), (missing - moved, "missing"), (extra - moved, "extra")]
    return [Difference(area, kind, where, key, n) for counts, kind in found for key, n in counts.items()]


def of_counts(real: Iterable[str], drill: Iterable[str], area: str, where: str) -> list[Difference]:
    """What is missing or extra, whatever the order."""
    here, there = Counter(real), Counter(drill)
    found = [(here - there, "missing"), (there - here, "extra")]
    return [Difference(area, kind, where, key, n) for counts, kind in found for key, n in counts.items()]
