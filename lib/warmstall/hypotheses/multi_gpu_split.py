"""Split over several GPUs: one model on two or more GPUs that talk over PCIe answers slower than on one.

A model that fits no single GPU is split by layers, and every token then crosses the link between them. Over NVLink
this costs little; over PCIe, or from one socket to the other, it can cost several times the speed. It is a cause
where a single GPU would have done, as when memory was still taken at the moment of the load.

Shown by:
    - weights of one load on several GPUs, beside a topology without NVLink
    - calls to the same model that are much slower where its load was split than where it was not
Ruled out by:
    - loads that each put their weights on one GPU, or a machine with one GPU
    - a split over links that are all NVLink
Mistaken for it:
    - several models, each on a GPU of its own
    - a model that needs all of them: the split is the only way it runs at all
Severity: warning
Runbook: free-vram
Mitigation: Let the model fit on one GPU: free its memory, shorten the context, or pin it with CUDA_VISIBLE_DEVICES.
Leads to: client_timeout_too_short, warm_stall
References:
    - https://docs.ollama.com/faq (how models are loaded on several GPUs)
    - https://github.com/ollama/ollama/issues/1656
    - https://github.com/ollama/ollama/issues/7253
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from .facts import Facts, counted, places, seconds_text
from .facts.devices import found_devices, found_text
from .facts.placements import placements
from .findings import Finding, Place, hints, proves, refutes, supports, unseen, weakens

# Calls of each kind below which a middle is chance.
_FEW = 3
# Between calls of the same model on one GPU and on several, less than this is prompts and luck.
_SLOWER = 1.5
_LOG = "the server's log of the load: it says which GPU got which part of the model"
_LINKS = "how the GPUs are linked: nvidia-smi topo -m"


@dataclass(frozen=True)
class _Cost:
    """What calls to one model took, split and on one GPU: the middle of each, how many, and a place of each."""

    model: str
    split_s: float
    whole_s: float
    n_split: int
    n_whole: int
    places: tuple[Place, ...]

    @property
    def times(self) -> float:
        """How many times as long it took split."""
        return self.split_s / self.whole_s


def findings_in(facts: Facts) -> Iterator[Finding]:
    """How many GPUs each load used, what links them, and what calls took with the same model on one and on several."""
    devices, loads, links = found_devices(facts), placements(facts), facts.table("gpu_links")
    gpus = devices[devices["library"].ne("cpu")]
    if len(devices) and not gpus.groupby(["host", "source", "start"]).size().gt(1).any():
        yield refutes(f"No start of the server found more than 1 GPU ({found_text(gpus, 'GPU', devices)}).",
                      *places(devices))  # fmt: skip
        return
    known = loads[loads["gpus"].map(len).gt(0)]
    split = known[known["gpus"].map(len).gt(1)]
    fast = len(links) > 0 and bool(links["nvlink"].eq(True).all())
    if split.empty:
        if len(links):
            whole = f"{int(links['nvlink'].eq(True).sum()):,} of {counted(len(links), 'link')} between the GPUs"
            show = weakens if fast else hints
            yield show(f"By NVLink go {whole}, and 0 loads over several are known.", *places(links))
        if len(known) and len(known) >= len(facts.loads):
            yield refutes(f"Of {counted(len(known), 'load')}, each put its weights on 1 GPU.", *places(known))
        else:
            yield unseen(_LOG)
        return
    if fast:
        yield refutes(f"By NVLink go all of {counted(len(links), 'link')} between the GPUs.", *places(links))
    most = split.iloc[split["gpus"].map(len).argmax()]
    sentence = f"{len(split):,} of {counted(len(known), 'load')} spread one model over up to {len(most['gpus'])} GPUs"
    if fast:
        yield hints(f"{sentence}, over NVLink.", *places(split))
        return
    slow = links[links["nvlink"].ne(True)]
    kinds = ", ".join(sorted(slow["link"].dropna().unique()))
    is_slow = f"{'is' if len(slow) == 1 else 'are'} PCIe or slower"
    linked = f"; {len(slow):,} of {counted(len(links), 'link')} between GPUs {is_slow} ({kinds})" if len(slow) else ""
    if len(links) == 0:
        yield unseen(_LINKS)
    costs = list(_costs(facts, known))
    dear = [cost for cost in costs if cost.times >= _SLOWER]
    # That a model is split is no fault; that it is slow for it must be seen.
    yield supports(f"{sentence}{linked}.", *places(split, 2), *places(slow, 1), severity="info")
    for cost in dear:
        yield proves(
            f"{cost.model} took {seconds_text(cost.split_s)} (median of {counted(cost.n_split, 'call')}) split over "
            f"several GPUs and {seconds_text(cost.whole_s)} (of {cost.n_whole:,}) on one: {cost.times:.1f} times "
            f"as long{linked}.",
            *places(split, 2), *cost.places, *places(slow, 1),
        )  # fmt: skip
    if costs and not dear:
        best = max(costs, key=lambda cost: cost.times)
        yield weakens(f"{best.model} took {best.times:.1f} times as long split as on one GPU "
                      f"({counted(best.n_split, 'call')} against {best.n_whole:,}).", *best.places)  # fmt: skip


def _costs(facts: Facts, loads: pd.DataFrame) -> Iterator[_Cost]:
    """By model: what an answered call took while its load was split, and while it was not."""
    trials = facts.table("trials").dropna(subset=["started_at", "wall_s"])
    trials = trials[trials["status"].eq("200") & trials["wall_s"].gt(0)]
    loads = loads.dropna(subset=["at"]).assign(split=loads["gpus"].map(len).gt(1)).sort_values("at")
    for model, own in loads.groupby("model", sort=True):
        if own["split"].nunique() < 2:
            continue
        calls = trials[trials["model"].eq(model)].sort_values("started_at")
        calls = calls.assign(began=calls["started_at"].astype("datetime64[us, UTC]"))
        begun = own[["at", "split"]].assign(at=own["at"].astype("datetime64[us, UTC]"))
        calls = pd.merge_asof(calls, begun, left_on="began", right_on="at").dropna(subset=["split"])
        # A call that loads the model itself is slow for that.
        calls = calls[~(calls["load_duration_s"].fillna(0) > calls["wall_s"] / 2)]
        on_several = calls["split"].astype(bool)
        split, whole = calls[on_several], calls[~on_several]
        if min(len(split), len(whole)) >= _FEW:
            yield _Cost(str(model), float(split["wall_s"].median()), float(whole["wall_s"].median()), len(split),
                        len(whole), (*places(split, 1), *places(whole, 1)))  # fmt: skip
