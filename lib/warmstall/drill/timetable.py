"""Which fault acts when, and how strongly: one file that the server, its runners and the clients all read.

Seconds count from the epoch of the timetable, so that processes which start at different times agree. A file may
leave its epoch open until everything has started: until then nothing acts. Nothing here acts itself: each place asks
for the strength of its own faults and does what they mean there.

>>> faults = (Fault("slow_decode", "mid", start_s=10, end_s=30, ramp_s=10, intensity=6.0),)
>>> timetable = Timetable(1_790_000_000.0, faults, seed=7)
>>> [timetable.strength("slow_decode", "mid", at=1_790_000_000.0 + s) for s in (5, 15, 25, 35)]
[0.0, 3.0, 6.0, 0.0]
>>> timetable.strength("slow_decode", "tiny", at=1_790_000_025.0)
0.0
"""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One fault: from `start_s` to `end_s`, growing for `ramp_s`; `model` None means every model.

    `rate` is the share of requests that it meets. What `intensity` counts depends on the kind (faults.py).
    """

    kind: str
    model: str | None = None
    start_s: float = 0.0
    end_s: float = float("inf")
    ramp_s: float = 0.0
    intensity: float = 1.0
    rate: float = 1.0

    def concerns(self, model: str | None) -> bool:
        return self.model is None or model is None or _plain(self.model) == _plain(model)

    def strength(self, second: float) -> float:
        """0.0 while it does not act."""
        if not self.start_s <= second < self.end_s:
            return 0.0
        if second - self.start_s >= self.ramp_s:
            return self.intensity
        return self.intensity * (second - self.start_s) / self.ramp_s


@dataclass
class Timetable:
    """All faults of one run; `epoch` is its second 0 on the clock of the wall, infinite until it is known."""

    epoch: float = 0.0
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    _path: Path | None = field(default=None, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path | str | None) -> Timetable:
        """The timetable of a file; without a file one on which nothing stands."""
        if path is None:
            return cls()
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        # JSON has no infinity: a fault without an end has none there, and an epoch that is open.
        faults = tuple(Fault(**{k: v for k, v in row.items() if v is not None}) for row in said["faults"])
        return cls(_epoch(said), faults, int(said.get("seed", 0)), Path(path))

    def save(self, path: Path) -> None:
        """Write the file at one stroke: whoever reads it meanwhile reads the old one or the new one."""
        rows = [asdict(fault) for fault in self.faults]
        for row in rows:
            row["end_s"] = None if row["end_s"] == math.inf else row["end_s"]
        epoch = None if self.epoch == math.inf else self.epoch
        text = json.dumps({"epoch": epoch, "seed": self.seed, "faults": rows}, indent=1)
        new = path.with_name(path.name + ".new")
        new.write_text(text + "\n", encoding="utf-8")
        os.replace(new, path)

    def strength(self, kind: str, model: str | None, at: float | None = None) -> float:
        """How strongly faults of this kind act on a model at a moment (now); the strongest counts."""
        return max((strength for _, strength in self._acting(kind, model, at)), default=0.0)

    def meets(self, kind: str, model: str | None, number: int, at: float | None = None) -> bool:
        """Whether a fault that acts meets the model's request of this number: the same in every run of a seed."""
        rate = max((fault.rate for fault, _ in self._acting(kind, model, at)), default=0.0)
        return Random(f"{self.seed} {kind} {_plain(model or '')} {number}").random() < rate

    def _acting(self, kind: str, model: str | None, at: float | None) -> list[tuple[Fault, float]]:
        if self.epoch == math.inf and self._path and self.faults:
            with suppress(OSError, ValueError):
                self.epoch = _epoch(json.loads(self._path.read_text(encoding="utf-8")))
        second = (time.time() if at is None else at) - self.epoch
        named = [fault for fault in self.faults if fault.kind == kind and fault.concerns(model)]
        return [(fault, strength) for fault in named if (strength := fault.strength(second)) > 0]


def _epoch(said: dict[str, Any]) -> float:
    return math.inf if said["epoch"] is None else float(said["epoch"])


def _plain(model: str) -> str:
    """`mid` and `mid:latest` are one model."""
    return model.removesuffix(":latest")
