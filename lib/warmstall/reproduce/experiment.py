"""An experiment: one question, a control and one or more treatments, and the one runner of them all.

A machine that warms up, fills its memory or gets a neighbour changes from minute to minute. So the arms take turns:
every round tries each of them once, in an order that is drawn anew (by a seed), and whatever drifts meets all of them
alike. Trials for warming up come first, for each arm, and are told apart.

    result = run(experiment, experiment.prepare(bench, experiment.arms), Bounds(rounds=20), record=measurements.append)
    print(result)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CannotTell, ParameterError, WarmstallError
from .bench import Bench, Wished
from .experiment_result import Arm, ExperimentResult
from .metrics import Metric
from .records import Measurement, Phase, Sent

if TYPE_CHECKING:
    import pandas as pd

_MOST = 1_000_000


def _nothing() -> None: ...


class Trial(NamedTuple):
    """How an arm is tried: what is sent and measured, after what is done `before` and not measured.

    Both have deadlines of their own, and may raise WarmstallError: the trial has failed then.
    """

    send: Callable[[], Sent]
    before: Callable[[], None] = _nothing


Prepare = Callable[[Bench, tuple[Arm, ...]], AbstractContextManager[Mapping[str, Trial]]]


@dataclass(frozen=True)
class Experiment:
    """What is asked and how it is measured; the first arm is the control, the first metric decides.

    `prepare` opens what the trials need, for the time of the experiment, and gives a trial for each arm by its name;
    it raises CannotTell where something is missing, with a sentence that says what to give. `servers` are what a
    drill starts in place of the servers that nobody gave.
    """

    name: str
    question: str
    arms: tuple[Arm, ...]
    metrics: tuple[Metric, ...]
    prepare: Prepare
    needs: str = "a server with a model that writes text"
    servers: tuple[Wished, ...] = (Wished(),)

    def frame(self) -> pd.DataFrame:
        """What is going to be tried: a row for each arm, the control first."""
        import pandas as pd

        return pd.DataFrame([{"arm": arm.name, "what is different": arm.changes} for arm in self.arms])


@dataclass(frozen=True)
class Bounds:
    """How long an experiment may go on: rounds, of one trial for each arm, and seconds for all of it."""

    rounds: int = 20
    seconds: float = 300.0
    warm_up: int = 1
    seed: int = 1

    def check(self) -> None:
        """Raises ParameterError for what cannot be."""
        for name, value, least in (
            ("trials of an arm", self.rounds, 1),
            ("seconds", self.seconds, 0),
            ("warm_up", self.warm_up, 0),
        ):
            if not least <= value <= _MOST:
                raise ParameterError(f"{name}: got {value!r}, expected {least} to {_MOST:,}.")


class Turn(NamedTuple):
    """One trial that is due; of those measured, the number is the same in every run of a seed."""

    number: int
    phase: Phase
    arm: str


def turns(arms: Sequence[str], bounds: Bounds, first_warm_up: int = 0) -> list[Turn]:
    """All trials in their order: numbers go up from 1, those of the warm-up down from 0.

    >>> [(turn.number, turn.arm) for turn in turns(["a", "b"], Bounds(rounds=2, seed=4))]
    [(0, 'a'), (-1, 'b'), (1, 'a'), (2, 'b'), (3, 'a'), (4, 'b')]
    """
    warm_up = [arm for arm in arms for _ in range(bounds.warm_up)]
    random = Random(bounds.seed)
    measured = [arm for _ in range(bounds.rounds) for arm in random.sample(list(arms), len(arms))]
    return [
        *(Turn(first_warm_up - number, "warm-up", arm) for number, arm in enumerate(warm_up)),
        *(Turn(number, "measured", arm) for number, arm in enumerate(measured, 1)),
    ]


def run(
    experiment: Experiment, prepared: AbstractContextManager[Mapping[str, Trial]], bounds: Bounds,
    record: Callable[[Measurement], None] = lambda row: None, already: Iterable[Measurement] = (),
    stop: threading.Event | None = None, say: Callable[[int, int], None] = lambda done, of: None,
) -> ExperimentResult:  # fmt: skip
    """Run the trials that are not among `already` and compare the arms; Ctrl-C or `stop` ends it with what it has.

    `record` is given each measurement as soon as it ends, `say` how many trials are done and of how many.
    """
    stop = stop or threading.Event()
    before = [row for row in already if row.step == experiment.name]
    known = {row.number for row in before}
    measured = [row for row in before if row.phase == "measured"]
    planned = turns([arm.name for arm in experiment.arms], bounds, min(known | {1}) - 1)
    due = [turn for turn in planned if turn.number not in known]
    if all(turn.phase == "warm-up" for turn in due):
        due = []
    ends, ended, missing, interrupted = time.monotonic() + bounds.seconds, "", "", False
    try:
        with prepared if due else nullcontext({}) as trials:
            for done, turn in enumerate(due, 1):
                if stop.is_set() or time.monotonic() > ends:
                    ended = "it was stopped" if stop.is_set() else f"its {bounds.seconds:g} s were over"
                    break
                row = _measured(experiment.name, turn, trials[turn.arm])
                record(row)
                measured += [row] if turn.phase == "measured" else []
                say(done, len(due))
    except KeyboardInterrupt:
        ended, interrupted = "it was interrupted", True
    except CannotTell as error:
        missing = str(error)
    if ended:
        ended += f" after {len(measured):,} of {bounds.rounds * len(experiment.arms):,} trials"
    return ExperimentResult(
        experiment.name, experiment.question, experiment.arms, experiment.metrics, tuple(measured), ended, missing,
        bounds.seed, interrupted=interrupted,
    )  # fmt: skip


def _measured(experiment: str, turn: Turn, trial: Trial) -> Measurement:
    started_at, began = datetime.now(UTC), time.monotonic()
    try:
        trial.before()
        started_at, began = datetime.now(UTC), time.monotonic()
        sent = trial.send()
    except CannotTell:
        raise
    except WarmstallError as error:
        sent = Sent(ok=False, error=str(error))
    wall_s = time.monotonic() - began
    started, ended = (at.isoformat(timespec="microseconds") for at in (started_at, datetime.now(UTC)))
    # A trial is due when the one before it has ended: none is ever late.
    return Measurement(
        turn.number, turn.phase, experiment, turn.arm, started, started, ended, wall_s, 0.0, wall_s, sent
    )
