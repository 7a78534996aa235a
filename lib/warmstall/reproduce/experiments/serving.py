"""How a server serves: many at once, with flash attention or without, with failures that are tried again or not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from statistics import median

from ...drill.timetable import Fault
from ...errors import CannotTell, ParameterError
from ..bench import Bench, Wished
from ..experiment import Trial
from ..experiment_result import Arm
from ..records import Sent

FLASH_ATTENTION = (
    Arm("flash attention", "the first server, with flash attention in force"),
    Arm("no flash attention", "the second server, with OLLAMA_FLASH_ATTENTION=0"),
)
# As a GPU whose flash attention has no kernel for the model: the prompt is read on the processor.
FLASH_ATTENTION_SERVERS = (
    Wished({"OLLAMA_FLASH_ATTENTION": "1"}, (Fault("slow_prefill", intensity=4.0),)),
    Wished({"OLLAMA_FLASH_ATTENTION": "0"}),
)
_LONG_PROMPT = 100
RETRIES = (
    Arm("no retries", "one attempt a call", 1),
    Arm("retries", "up to three attempts a call", 3),
)
RETRIES_SERVERS = (Wished(faults=(Fault("broken_stream", rate=0.4),)),)


def clients_of(levels: Sequence[int]) -> tuple[Arm, ...]:
    """An arm for each number of clients, the first of them the control; raises ParameterError for fewer than two.

    >>> [arm.name for arm in clients_of((1, 2, 4))]
    ['1 client', '2 clients', '4 clients']
    """
    if len(set(levels)) < 2:
        raise ParameterError(
            f"levels (--levels) are {tuple(levels)!r}; expected two or more numbers of clients to compare."
        )
    return tuple(
        Arm(f"{n} client{'s' * (n > 1)}", f"{n:,} call{'s' * (n > 1)} at once", n) for n in dict.fromkeys(levels)
    )


@contextmanager
def clients(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """Every trial sends one call from each client at the same moment, and ends with the last answer."""
    inference = bench.inference()

    def one(arm: Arm) -> tuple[Sent, float]:
        began = time.monotonic()
        return bench.call(inference, arm.name), time.monotonic() - began

    def send(arm: Arm, pool: ThreadPoolExecutor) -> Sent:
        began = time.monotonic()
        calls = list(pool.map(one, [arm] * arm.number))
        wall_s = time.monotonic() - began
        answered = [call_s for sent, call_s in calls if sent.ok]
        errors = [sent.error for sent, _ in calls if not sent.ok]
        measures = {"calls_per_s": len(answered) / wall_s}
        if answered:
            measures["call_s"] = median(answered)
        return Sent(not errors, error=errors[0] if errors else "", measures=measures)

    with ThreadPoolExecutor(max(arm.number for arm in arms), thread_name_prefix="client") as pool:
        yield {arm.name: Trial(partial(send, arm, pool)) for arm in arms}


@contextmanager
def flash_attention(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """The same model on two servers that differ in nothing else."""
    if not bench.second_target:
        raise CannotTell(
            "give second_target (--second-target), the address of a second server of the same version with the same "
            "models that was started with OLLAMA_FLASH_ATTENTION=0; flash attention is a setting of the whole server."
        )
    first = bench.inference()
    second = bench.inference(url=bench.second_target, model=first.model)
    yield {
        arm.name: Trial(partial(bench.call, inference, arm.name, prompt_tokens=_LONG_PROMPT))
        for arm, inference in zip(arms, (first, second), strict=True)
    }


@contextmanager
def retries(bench: Bench, arms: tuple[Arm, ...]) -> Iterator[Mapping[str, Trial]]:
    """What is gained in answers is paid in calls to the server."""
    inference = bench.inference()

    def send(arm: Arm) -> Sent:
        return bench.call(inference, arm.name, attempts=arm.number)

    yield {arm.name: Trial(partial(send, arm)) for arm in arms}
