"""What a model's way into memory costs: cold or warm, kept or not, with how long a context."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ..bench import Bench, plain
from ..experiment import Trial
from ..experiment_result import Arm
from ..records import Sent

# The pause is longer than the short one, and shorter than anyone's patience.
_SHORT, _LONG, _PAUSE_S = "300ms", "5m", 1.0

COLD_OR_WARM = (
    Arm("cold", "the model is sent from memory (keep_alive 0) before each call"),
    Arm("warm", "the model is in memory"),
)
KEPT = (
    Arm("short keep_alive", f"keep_alive {_SHORT}; the call comes {_PAUSE_S:g} s after one that did the same"),
    Arm("long keep_alive", f"keep_alive {_LONG}; the call comes {_PAUSE_S:g} s after one that did the same"),
)
CONTEXTS = tuple(
    Arm(f"num_ctx {size}", f"the model is loaded with num_ctx {size}", size) for size in (1024, 2048, 4096)
)


@contextmanager
def cold_or_warm(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Each call finds the model where its arm wants it, whatever the one before did."""
    bench.resident()  # a server that cannot be asked is told of before anything is measured
    inference = bench.inference()
    cold, warm = (arm.name for arm in arms)
    yield {
        cold: Trial(lambda: bench.call(inference, cold), before=lambda: bench.unload(inference)),
        warm: Trial(lambda: bench.call(inference, warm), before=lambda: bench.load(inference, warm)),
    }


@contextmanager
def kept(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Two calls with a pause between them, of which the second is measured."""
    bench.resident()

    def trial(arm: Arm, keep_alive: str) -> Trial:
        inference = bench.inference(keep_alive=keep_alive)

        def before() -> None:
            bench.answered(inference, arm.name)
            time.sleep(_PAUSE_S)  # the pause is what is tried

        return Trial(lambda: bench.call(inference, arm.name), before)

    yield {arm.name: trial(arm, keep_alive) for arm, keep_alive in zip(arms, (_SHORT, _LONG), strict=True)}


@contextmanager
def contexts(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Each call loads the model with its own context; what it then holds, /api/ps tells."""
    bench.resident()

    def trial(arm: Arm) -> Trial:
        inference = bench.inference(num_ctx=arm.number)

        def send() -> Sent:
            sent = bench.call(inference, arm.name)
            row = bench.resident().get(plain(inference.model), {})
            sizes = {f"{name}_bytes": float(row[name]) for name in ("size", "size_vram") if name in row}
            return replace(sent, measures=sizes)

        return Trial(send, before=lambda: bench.unload(inference))

    yield {arm.name: trial(arm) for arm in arms}
