"""CPU instead of GPU: the model runs on the processor, or a part of its layers does, and is slow for that.

Without a GPU that it may use, Ollama runs on the processor and says so in one line at its start. A model that does
not fit is split, and each token then waits for the layers on the processor. On a machine without a GPU this is how
things are; where a GPU is there, it is a cause.

Shown by:
    - fewer layers offloaded than the model has, or weights on the processor alone, by the lines of a load
    - a device list that holds nothing but the processor
    - /api/ps: size_vram below size; `ollama ps`: a share of CPU
    - a GPU whose driver cannot be started ("failed to initialize CUDA"), as after a sleep of the machine, or in a
      container that has lost its devices; a search for GPUs that fails or takes too long
    - no device but the processor while a setting names the GPUs to use (CUDA_VISIBLE_DEVICES)
Ruled out by:
    - every load put all its layers on a GPU
Mistaken for it:
    - flash attention that falls back to the processor: /api/ps says 100 % GPU there
    - a processor that is asked for (num_gpu 0, OLLAMA_LLM_LIBRARY=cpu, CUDA_VISIBLE_DEVICES=-1)
    - the sizes of /api/ps from 0.30.0 on where the runner printed no buffer sizes: they say 100 % GPU of anything
Severity: warning
Runbook: switch-gpu-backend
Mitigation: Make the GPU serve again (its backend, its driver, its permissions), or take a model that fits.
Leads to: warm_stall, client_timeout_too_short, load_timeout
References:
    - https://docs.ollama.com/gpu
    - https://docs.ollama.com/faq (how to tell whether a model was loaded onto the GPU)
    - https://github.com/ollama/ollama/issues/16690
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..judging.words import Mask
from ..parse.plain_text import printable
from ..proportions import rate_text
from .facts import Facts, counted, places, size_text
from .facts.devices import DROPS, failed_drivers, found_devices, gpus_of_hosts
from .facts.placements import placements
from .facts.trouble import covers, trouble_times
from .findings import Finding, Severity, hints, proves, refutes, supports, unseen, weakens

_LOG = "the server's log from its start on: it names the devices, and how many layers of each model went to them"
_GPU = "whether there is a GPU, and whether its driver answers: nvidia-smi or rocm-smi, in the container if it is one"
_PS = "`ollama ps` (or /api/ps) while a model is loaded: its PROCESSOR column tells where it runs"
# What a partial offload can be blamed for. Loads and queues are slow for reasons of their own.
_SLOW = ("slow_prefill", "slow_decode", "warm_stall", "client_abort", "load_failure", "runner_crash")
_SEARCH_FAILED = ("discovery_failed", "discovery_timeout")
_CHOICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
            "GGML_VK_VISIBLE_DEVICES")  # fmt: skip
_LONG_S = 60.0
# What is free is asked for right before a load.
_PLANNED = pd.Timedelta(seconds=30)
# From a second GPU on, one that was left out matters less than that one serves.
_ALL = 1.0


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the start, the loads and the looks at /api/ps say of where the models ran."""
    devices, loads = found_devices(facts), placements(facts)
    gpu_there = _gpu_there(facts, devices)
    yield from _by_devices(facts, devices, gpu_there)
    yield from _by_loads(facts, loads, gpu_there)
    yield from _by_looks(facts, gpu_there, len(loads) > 0)
    yield from _by_driver(facts, devices, loads)
    done = facts.loads[facts.loads["outcome"].eq("completed")]
    if not facts.has_server_log or not (len(loads) or len(devices)):
        yield unseen(_LOG)
    if not facts.has("resident_models") and (loads.empty or len(loads) < len(done)):
        yield unseen(_PS)


def _gpu_there(facts: Facts, devices: pd.DataFrame) -> pd.DataFrame:
    """Rows that show a GPU on the machine: one that was dropped, that served once, or that the kernel has."""
    rows = [
        facts.events(*DROPS), failed_drivers(facts), devices[devices["library"].ne("cpu")], gpus_of_hosts(facts),
    ]  # fmt: skip
    return pd.concat([part[["host", "source", "line"]] for part in rows if len(part)] or [facts.events()[:0]])


def _severity(gpu_there: pd.DataFrame) -> Severity:
    return "warning" if len(gpu_there) else "info"


def _by_devices(facts: Facts, devices: pd.DataFrame, gpu_there: pd.DataFrame) -> Iterator[Finding]:
    """Starts that found nothing but the processor."""
    starts = devices.groupby(["host", "source", "start"], sort=False)
    only_cpu = [own for _, own in starts if own["library"].eq("cpu").all()]
    none = facts.events("gpu_none")
    if devices.empty and len(none):
        yield proves(f"The server found 0 compatible GPUs at {counted(len(none), 'start')}.", *places(none),
                     *places(gpu_there, 2), span=(_first(none), None), severity=_severity(gpu_there))  # fmt: skip
    if not only_cpu:
        return
    began = pd.concat(only_cpu)
    sentence = (
        f"{len(only_cpu):,} of {counted(starts.ngroups, 'start')} of the server found no device but the processor"
    )
    if len(gpu_there):
        sentence += f", though by {counted(len(gpu_there), 'line')} there is a GPU{_why(facts)}"
    elif len(failed := facts.events(*_SEARCH_FAILED)):
        error = printable(str(failed["fields"].iloc[0].get("error", "")))[:80]
        sentence += f", and the search for GPUs failed {counted(len(failed), 'time')} ({error})"
        yield unseen(_GPU)
        gpu_there = failed
    elif len(chosen := _chosen(facts)):
        name, value = chosen[["name", "value"]].iloc[-1]
        sentence += f", while {name} is {printable(str(value))[:40]}, which hides every GPU but those"
        yield unseen(_GPU)
        gpu_there = chosen
    yield proves(f"{sentence}.", *places(began), *places(gpu_there, 2), span=(_first(began), None),
                 severity=_severity(gpu_there))  # fmt: skip


def _chosen(facts: Facts) -> pd.DataFrame:
    """Settings that name the GPUs to use; -1 names none, which is a wish for the processor."""
    rows = facts.printed_settings
    return rows[rows["name"].isin(_CHOICES) & ~rows["value"].fillna("").isin(["", "-1"])]


def _why(facts: Facts) -> str:
    """What the driver of the GPU said when it could not be started, if it did."""
    failed = failed_drivers(facts)
    failed = failed[failed["key"].eq("gpu_init_failed")]
    return f"; its driver could not be started ({failed['reason'].iloc[-1]})" if len(failed) else ""


def _by_driver(facts: Facts, devices: pd.DataFrame, loads: pd.DataFrame) -> Iterator[Finding]:
    """A driver that fails: where loads tell where they went, they decide."""
    failed = failed_drivers(facts)
    started = failed["key"].eq("gpu_init_failed")
    for rows, what in ((failed[started], "could not be started"), (failed[~started], "did not tell its memory")):
        if rows.empty:
            continue
        sentence = f"By {counted(len(rows), 'line')}, the driver of a GPU {what} ({rows['reason'].iloc[-1]})"
        if len(devices) + len(loads) or what != "could not be started":
            yield hints(f"{sentence}.", *places(rows), span=(_first(rows), None))
        else:
            yield supports(f"{sentence}: what is loaded then runs on the processor.", *places(rows),
                           span=(_first(rows), None))  # fmt: skip
        if loads.empty:
            yield unseen(_GPU)


def _by_loads(facts: Facts, loads: pd.DataFrame, gpu_there: pd.DataFrame) -> Iterator[Finding]:
    known = loads[loads["layers_total"].gt(0) | loads["weights_bytes"].gt(0)]
    if known.empty:
        return
    on_gpu = known["gpus"].map(len).gt(0) | known["layers_gpu"].gt(0)
    asked, none = known[known["asked_for_cpu"]], known[~on_gpu & ~known["asked_for_cpu"]]
    part = known[on_gpu & known["layers_gpu"].lt(known["layers_total"])]
    if len(asked):
        yield supports(f"With num_gpu 0, {len(asked):,} of {counted(len(known), 'load')} had to stay on the "
                       "processor.", *places(asked), severity="info")  # fmt: skip
    if len(none):
        yield proves(f"{len(none):,} of {counted(len(known), 'load')} put the whole model on the processor "
                     f"({', '.join(none['model'].unique()[:3])}){_why(facts)}.", *places(none),
                     span=(_first(none), None), severity=_severity(gpu_there))  # fmt: skip
    if len(part):
        worst = part.assign(share=part["layers_gpu"] / part["layers_total"]).sort_values("share")
        first = worst.iloc[0]
        slow = facts.requests[facts.is_verdict(*_SLOW) | _long_beside_loads(facts)]
        many = len(slow) + len(facts.lost_trials)
        rate = f" Slow, failed or lost: {counted(many, 'request')}." if many else ""
        stale = _planned_blind(facts, part)
        if len(stale):
            rate = f" The GPU's free memory could not be read before {len(stale):,} of these.{rate}"
        yield proves(f"{len(part):,} of {counted(len(known), 'load')} left layers on the processor; at worst "
                     f"{first['layers_gpu']:.0f} of {first['layers_total']:.0f} layers of {first['model']} on the "
                     f"GPU.{rate}", *places(worst), *places(slow, 1), *places(stale, 1), span=(_first(part), None),
                     severity="warning" if many or len(stale) else "info")  # fmt: skip
    if not (len(asked) or len(none) or len(part)):
        yield refutes(f"Of {counted(len(known), 'load')}, each put every layer on a GPU "
                      f"(at least {known['layers_total'].min():.0f} layers each).", *places(known))  # fmt: skip


def _long_beside_loads(facts: Facts) -> Mask:
    """Requests of a minute and more that neither their load nor a queue accounts for: long answers, or slow ones."""
    of_own, wall_s = (facts.requests[name].to_numpy() for name in ("unexplained_s", "wall_s"))
    long: Mask = facts.is_verdict("cold_start", "unknown") & (of_own >= np.maximum(_LONG_S, wall_s / 2))
    return long


def _planned_blind(facts: Facts, loads: pd.DataFrame) -> pd.DataFrame:
    """Those of the loads that were planned with what a GPU had free once, as it could not be asked again."""
    unread = facts.events("vram_refresh_stale", "gpu_memory_unread")
    near = [(unread["host"].eq(load["host"]) & (load["at"] - unread["at"]).between(pd.Timedelta(0), _PLANNED)).any()
            for load in loads.to_dict("records")]  # fmt: skip
    return loads[pd.Series(near, loads.index, dtype=bool)]


def _by_looks(facts: Facts, gpu_there: pd.DataFrame, has_loads: bool) -> Iterator[Finding]:
    looks = facts.table("resident_models").dropna(subset=["vram_fraction"])
    if looks.empty:
        return
    whole = f"In each of {counted(len(looks), 'look')}, /api/ps shows the model wholly on the GPU."
    spilled = looks[looks["vram_fraction"].lt(_ALL)]
    if len(spilled):
        worst = spilled.sort_values("vram_fraction").iloc[0]
        size = f" of {size_text(worst['size_bytes'])}" if pd.notna(worst["size_bytes"]) else ""
        slow = facts.with_verdict(*_SLOW)
        # Where no request can be judged, a split model may be what somebody asks about.
        split: Severity = "info" if len(facts.requests) else "warning"
        serious: Severity = _severity(gpu_there) if worst["vram_fraction"] == 0 else split
        yield supports(f"/api/ps shows a model in part or whole on the processor in "
                       f"{rate_text(len(spilled), len(looks))} of its looks, at worst {worst['model']} with "
                       f"{100 * (1 - worst['vram_fraction']):.0f} %{size}.", *places(spilled), *places(slow, 1),
                       severity="warning" if len(slow) and len(gpu_there) else serious)  # fmt: skip
    elif facts.counts.get("vram_unparsed"):
        rows = facts.events("vram_unparsed")
        yield weakens(f"/api/ps says 100 % GPU in each of {counted(len(looks), 'look')}, but the runner printed no "
                      f"buffer sizes {counted(len(rows), 'time')}, and it then says so of anything.",
                      *places(rows))  # fmt: skip
    elif has_loads or covers(looks["at"], trouble_times(facts)):
        yield refutes(whole, *places(looks))
    else:
        yield weakens(whole, *places(looks))
        yield unseen(_PS)


def _first(rows: pd.DataFrame) -> pd.Timestamp | None:
    first = rows["at"].min()
    return None if pd.isna(first) else first.to_pydatetime()
