"""GPU idle but held: a model holds the GPU's memory and the GPU does nothing, while requests wait.

A GPU that works on a request is busy most of the time; one at 0 % with its memory taken, while a request has been
waiting for long, has been given no work: its runner stands still, or what should compute there computes elsewhere.

Shown by:
    - samples of the GPU at 0 % with the model's memory taken, most of the time while requests hang
Ruled out by:
    - samples of the GPU at work while requests hang
Mistaken for it:
    - a load: the memory is taken bit by bit, and the GPU has nothing to do yet
    - a model that is kept in memory between requests (keep_alive), as it should be
    - one GPU of several that holds layers of a split model and waits for the other
    - memory that another program holds
Severity: critical
Runbook: recover-stuck-runner
Mitigation: Restart a runner whose GPU stays at 0 % for longer than a load while a request waits.
References:
    - https://github.com/ollama/ollama/issues/7779
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from .facts import Facts, clock_text, counted, places, seconds_text, size_text, span
from .facts.hangs import hangs_of
from .findings import Finding, hints, proves, refutes, supports, unseen

_COLLECT = "GPU samples (use and memory) while requests hang: warmstall watch CASE --every 5s, or nvidia-smi/rocm-smi"
# Less is what the driver and a desktop keep for themselves.
_HELD_BYTES = 2**30
# A GPU at work is seen at 0 % now and then, between two prompts.
_NEARLY_ALL = 0.9
_HARDLY_ANY = 0.5
# A look every few seconds: fewer are chance.
_FEWEST_LOOKS = 3


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the GPUs did, by samples, while requests hung."""
    looks = _looks(facts)
    if looks.empty:
        yield unseen(_COLLECT)
        return
    hangs = hangs_of(facts)
    waits = hangs[hangs["how"].ne("long")]
    if waits.empty:
        yield from _without_hangs(facts, looks)
        return
    during = _within(looks, waits)
    # Of a split model one GPU works at a time, so the busiest counts; it is held if any of its memory is.
    each = during.groupby(["host", "at"], as_index=False).agg(
        busy=("utilization_percent", "max"), held=("used_bytes", "max"), source=("source", "first"),
        line=("line", "first"), call=("call", "first"),
    )  # fmt: skip
    if each.empty:
        yield unseen(_COLLECT)
        return
    idle = each[each["busy"].eq(0) & each["held"].ge(_HELD_BYTES)]
    calls = during["call"].nunique()
    sentence = (
        f"While {calls:,} of {counted(len(waits), 'request')} hung, the GPUs were at 0 % in {len(idle):,} of "
        f"{counted(len(each), 'look')}"
    )
    when = span(idle if len(idle) else each, "at", "at")
    if len(idle) < _HARDLY_ANY * len(each):
        free = each["held"].lt(_HELD_BYTES).mean() > _HARDLY_ANY
        told = (
            f"{size_text(each['held'].median())} was taken" if free else f"their use was {each['busy'].median():.0f} %"
        )
        yield refutes(f"While {calls:,} of {counted(len(waits), 'request')} hung, in {counted(len(each), 'look')} at "
                      f"the GPUs, {told} (median).", *places(each))  # fmt: skip
        if calls < _HARDLY_ANY * len(waits):
            yield unseen(_COLLECT)
        return
    held = f"{sentence}, with {size_text(idle['held'].median())} of the memory of one taken"
    shown = len(idle) >= _NEARLY_ALL * len(each)
    if shown and len(idle) >= _FEWEST_LOOKS and _is_ours(facts, idle):
        yield proves(f"{held}; /api/ps showed a model in GPU memory meanwhile.", *places(idle), span=when)
    elif shown and len(idle) >= _FEWEST_LOOKS:
        yield supports(f"{held}.", *places(idle), span=when)
    else:
        yield hints(f"{held}.", *places(idle), span=when)
        yield unseen(_COLLECT)


def _looks(facts: Facts) -> pd.DataFrame:
    """Looks at GPUs with a time and a use; those of processors that no model is on tell nothing."""
    looks = facts.table("gpus")
    return looks.dropna(subset=["at", "utilization_percent", "used_bytes"]).sort_values("at")


def _within(looks: pd.DataFrame, waits: pd.DataFrame) -> pd.DataFrame:
    """The looks while a request hung, each with the row of that request as `call`."""
    # The first second is the prompt's; at the end the client has left.
    calls = waits.assign(call=range(len(waits)), from_at=waits["started_at"] + pd.Timedelta(seconds=1))
    calls = calls[["from_at", "ended_at", "call"]].sort_values("from_at")
    found = pd.merge_asof(looks, calls, left_on="at", right_on="from_at")
    return found[found["at"] < found["ended_at"]]


def _is_ours(facts: Facts, idle: pd.DataFrame) -> bool:
    """Whether the memory is a model's: /api/ps shows one in GPU memory, or a runner is among the GPU's processes."""
    began, ended = idle["at"].min(), idle["at"].max()
    shown = facts.table("resident_models")
    inside = shown["at"].between(began, ended) & shown["vram_bytes"].gt(0)
    owners = facts.table("gpu_processes")
    named = owners["command"].fillna("").str.contains("ollama|llama-server|llama_server") & owners["at"].between(
        began, ended
    )
    return bool(inside.any() or named.any())


def _without_hangs(facts: Facts, looks: pd.DataFrame) -> Iterator[Finding]:
    """No request is known to have hung: then nothing waited for a GPU, as far as the requests can be told."""
    requests = facts.requests
    if requests.empty:
        yield unseen("the server's log and the clients' records: they tell whether requests waited at that time")
        return
    first, last = looks["at"].min(), looks["at"].max()
    if requests["verdict"].isin(["unknown", "client_abort"]).any() or len(facts.lost_trials):
        yield unseen("the clients' records (tokens, durations, errors): they tell which of the slow requests hung")
    if first > requests["ended_at"].max() or last < requests["started_at"].min():
        yield unseen(_COLLECT)
    yield refutes(f"Of {counted(len(requests), 'request')} 0 hung, with {counted(len(looks), 'look')} at GPUs from "
                  f"{clock_text(first)} on, over {seconds_text((last - first).total_seconds())}.",
                  *places(looks, 1))  # fmt: skip
