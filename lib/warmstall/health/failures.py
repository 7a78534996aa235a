"""What came to nothing in a period: how many requests, on which servers, and in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..analysis import Analysis
from .records import Sli
from .words import counted_verb, listed, wall

# How it is said that requests ended so, by verdict.
_HOW = {
    "client_abort": "given up after {middle}",
    "warm_stall": "given up after {middle}",
    "load_failure": "lost because their model could not be loaded",
    "runner_crash": "lost as the runner died",
}
# The client's own fault: what it asked for does not exist, or cannot be read.
_REFUSED = ("400", "404")


@dataclass(frozen=True)
class Failures:
    """Requests to models in a period. `bad` counts as availability does; `refused` are those that were wrong
    themselves; `how` says in words how the bad ones ended, and `where`, if there are several servers, on which."""

    asked: int
    bad: int
    refused: int
    how: str
    where: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The failures as a clause.

        >>> Failures(1039, 12, 0, "given up after 60 s").sentence
        '12 of 1,039 requests were given up after 60 s'
        >>> Failures(40, 1, 0, "", ("alpha",)).sentence
        '1 of 40 requests failed on alpha'
        """
        ended = f"{counted_verb(self.bad)} {self.how}" if self.how else "failed"
        on = f" on {listed(list(self.where))}" if self.where else ""
        return f"{self.bad:,} of {self.asked:,} request{'s' * (self.asked != 1)} {ended}{on}"


def failures(period: Analysis, slis: Sequence[Sli]) -> Failures:
    """The failures of the period, counted as the SLIs of it count them."""
    asked = period.inferences()
    refused = int(asked["status"].isin(_REFUSED).sum())
    total = len(asked) - refused + len(period.unmatched_trials)
    available = {one.host: one.of - one.count for one in slis if one.name == "availability" and one.count is not None}
    bad = available.pop("", 0)
    where = tuple(host for host, count in available.items() if count)
    return Failures(total, bad, refused, _how(asked, bad), where)


def _how(asked: pd.DataFrame, bad: int) -> str:
    """How they ended, where all of them ended so: one word for several ends would be wrong of some."""
    ended = asked[asked["verdict"].isin(_HOW) & ~asked["status"].str.startswith("2")]
    words = ended["verdict"].map(_HOW).unique()
    if len(words) != 1 or len(ended) < bad:
        return ""
    return str(words[0]).format(middle=wall(float(ended["wall_s"].median())))
