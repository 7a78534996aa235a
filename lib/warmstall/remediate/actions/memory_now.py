"""What a target's memory is doing now, by two looks: one cannot tell a gradient."""

from __future__ import annotations

from dataclasses import dataclass

from ...guarding.memory_look import WINDOW_S, Look, look_at, shortage
from ...observed.memory import MemoryFinding, pressure
from ..target import Target


@dataclass(frozen=True)
class MemoryNow:
    """The judgement of a pair of looks, and the newer one."""

    finding: MemoryFinding
    newest: Look

    @property
    def is_short(self) -> bool:
        # A warning counts as long as the newest look has it; what an earlier one had is over.
        return self.finding.state == "growing" or bool(shortage([self.newest]))


def memory_now(target: Target, apart_s: float) -> MemoryNow:
    """The newest look beside one that is at least so much older; one of the last minute will do, else this waits.

    Raises CannotTell where memory cannot be read.
    """
    import pandas as pd

    looks: list[Look] = target.seen.setdefault("memory", [])

    def looked() -> tuple[Look, list[Look]]:
        newest = look_at(target.host, target.now())
        ages = [(look, (newest.at - look.at).total_seconds()) for look in looks]
        looks.append(newest)
        return newest, [look for look, age_s in ages if apart_s <= age_s <= WINDOW_S + apart_s]

    newest, older = looked()
    if not older:
        target.wait(apart_s)
        newest, older = looked()
    before = older[-1] if older else looks[-2]
    return MemoryNow(pressure(pd.DataFrame([*before.rows, *newest.rows])), newest)
