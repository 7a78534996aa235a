"""The race of threads that all find the embedder not yet loaded, with a lock around the load and without."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from ...errors import WarmstallError
from ...rag.embedders.opening import forget, open_embedder
from ...rag.settings import EmbedderSettings, RagSettings
from ..bench import Bench
from ..experiment import Trial
from ..experiment_result import Arm
from ..records import Sent

_THREADS = 8
_PATIENCE_S = 120.0
LOCK = (
    Arm("no lock", f"{_THREADS} threads load the embedder at once, each for itself"),
    Arm("lock", f"{_THREADS} threads ask at once, the first loads and the others wait"),
)
# What the answer is about where the settings have no embedder of their own that is loaded.
DEMONSTRATION = "an embedder made to show the race, none of yours"
# Those that are loaded into this process; the others are servers, and nothing can race.
_LOADED = ("sentence-transformers", "two-phase")


@contextmanager
def embedder_lock(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Each trial begins as a process does that has loaded nothing. It has failed when one of its threads has.

    The embedder is the first of the settings that is loaded into the process, or else a demonstration of one.
    """
    settings = raced(bench.settings)
    yield {
        arm.name: Trial(partial(_race, one), before=partial(forget, one))
        for arm in arms
        for one in [replace(settings, lock=arm.name == "lock")]
    }


def raced(settings: RagSettings) -> EmbedderSettings:
    """The embedder that is loaded by many threads at once.

    >>> raced(RagSettings()).kind
    'two-phase'
    """
    loaded = (one for one in settings.embedders.values() if one.kind in _LOADED)
    return next(loaded, EmbedderSettings(kind="two-phase"))


def measured_on(settings: RagSettings) -> str:
    """What it was measured on, as a sentence."""
    one = raced(settings)
    return f"Measured on {DEMONSTRATION if one.kind == 'two-phase' else f'{one.model} ({one.kind})'}."


def _race(settings: EmbedderSettings) -> Sent:
    errors: list[str] = []
    together = threading.Barrier(_THREADS)

    def ask() -> None:
        together.wait(_PATIENCE_S)
        try:
            open_embedder(settings).embed(["Which thread was the first?"])
        except WarmstallError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, name=f"race-{number}", daemon=True) for number in range(1, _THREADS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S)
    late = sum(thread.is_alive() for thread in threads)
    errors += [f"no embedder within {_PATIENCE_S:g} s"] * late
    share = len(errors) / _THREADS
    return Sent(not errors, error=errors[0] if errors else "", measures={"failed_threads_share": share})
