"""Vulkan backend: the GPU is driven by Vulkan where its own backend would be faster, or not even by Vulkan.

Vulkan drives nearly every GPU, and since 0.30.0 it is on by default (0.12.11 to 0.24: OLLAMA_VULKAN=1). On an AMD GPU
that ROCm supports it can be several times slower, and some drivers stand still under it without an error. The other
way round, a GPU that ROCm does not support answers much faster by Vulkan than the processor does.

Shown by:
    - a Vulkan device at one start that is a ROCm or CUDA device at another, and the speed of both
    - a device that Vulkan lost
    - (the reverse) a start that found nothing but the processor, and one with Vulkan that found the GPU
Ruled out by:
    - device lists without Vulkan on a machine whose GPU serves, or that has none
Mistaken for it:
    - a Vulkan device that has no other backend (Intel, older AMD): that is how it is meant to be
    - hangs that go on under the other backend too: their cause is another
Severity: warning
Runbook: switch-gpu-backend
Mitigation: Let the GPU's own backend serve: unset OLLAMA_VULKAN (or set it to 0) and install the ROCm libraries.
Leads to: warm_stall, client_timeout_too_short
References:
    - https://docs.ollama.com/gpu (Vulkan)
    - https://github.com/ollama/ollama/issues/12600
    - https://github.com/ollama/ollama/issues/17748
    - https://github.com/ggml-org/llama.cpp/issues/24861
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..proportions import clearly_more, rate_text
from .facts import Facts, counted, places, seconds_text, version_numbers
from .facts.devices import DROPS, found_devices, found_text, gpus_of_hosts, shows_gpu_devices, starts_of
from .findings import Finding, proves, refutes, supports, unseen

# When Vulkan came to be built in, and when it came to be on by default.
_SINCE, _DEFAULT_SINCE = (0, 12, 11), (0, 30, 0)
# Slower by less than this is no reason to change anything.
_SLOWER = 1.5
# A difference in the rate of hangs that chance makes once in a hundred times is none.
_CHANCE = 0.01
_NATIVE = {"rocm": "ROCm", "cuda": "CUDA", "metal": "Metal"}
_COLLECT = "the server's log from its start on: the line `inference compute` names the library of each device"
_GPUS = "which GPUs the kernel has: warmstall collect CASE (gpu-devices.txt), and a start with OLLAMA_VULKAN=1"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Which backend each start used, what calls took under each, and whether Vulkan would serve where none does."""
    devices = found_devices(facts)
    vulkan, native = devices[devices["library"].eq("vulkan")], devices[devices["library"].isin(list(_NATIVE))]
    lost = facts.events("device_lost")
    if len(lost):
        yield supports(f"Vulkan lost its device {counted(len(lost), 'time')}.", *places(lost), severity="critical")
    if len(vulkan):
        yield from _in_use(facts, devices, vulkan, native, _calls(facts, devices))
        return
    if devices.empty:
        if lost.empty:
            yield unseen(_COLLECT)
        return
    yield from _not_in_use(facts, devices, native)


def _in_use(
    facts: Facts, devices: pd.DataFrame, vulkan: pd.DataFrame, native: pd.DataFrame, calls: pd.DataFrame
) -> Iterator[Finding]:
    same = native[native["pci_id"].isin(set(vulkan["pci_id"]) - {""}) | native["name"].isin(set(vulkan["name"]) - {""})]
    processor = devices[devices["library"].eq("cpu")]
    if len(same):
        other = same["library"].iloc[0]
        speed, slower = _speed(calls, other)
        sentence = (
            f"The GPU is a Vulkan device at {counted(starts_of(vulkan), 'start')} and a {_NATIVE[other]} device at "
            f"{starts_of(same):,}"
            f"{speed}{_hangs(calls, other)}."
        )
        show = proves if slower else supports
        yield show(sentence, *places(vulkan, 1), *places(same, 1), severity=None if slower else "info")
    elif len(processor):
        took = calls.groupby("library")["wall_s"].median()
        speed = (
            f"; answered calls took {seconds_text(took['vulkan'])} with Vulkan and {seconds_text(took['cpu'])} on the "
            "processor (median)" if {"vulkan", "cpu"} <= set(took.dropna().index) else ""
        )  # fmt: skip
        yield supports(f"Vulkan serves the GPU at {counted(starts_of(vulkan), 'start')} where "
                       f"{counted(starts_of(processor), 'start')} found only the processor{speed}.",
                       *places(vulkan, 1), *places(processor, 1),
                       severity="info")  # fmt: skip
    elif len(native):
        kinds = ", ".join(sorted(_NATIVE[each] for each in native["library"].unique()))
        yield supports(f"Vulkan drives {found_text(vulkan, 'device', devices)}; {kinds} drives others, "
                       f"{found_text(native, 'device', devices)}.", *places(vulkan, 2), *places(native, 1),
                       severity="info")  # fmt: skip
    else:
        nvidia = gpus_of_hosts(facts, "NVIDIA")
        if len(nvidia):
            yield supports(f"Vulkan drives {found_text(vulkan, 'device', devices)}, and by "
                           f"{counted(len(nvidia), 'capture')} there is an NVIDIA GPU, which CUDA would serve.",
                           *places(vulkan, 2), *places(nvidia, 1))  # fmt: skip
            return
        yield supports(f"Vulkan drives the GPU ({found_text(vulkan, 'device', devices)}), and 0 devices of another "
                       "backend are known here.", *places(vulkan), severity="info")  # fmt: skip


def _not_in_use(facts: Facts, devices: pd.DataFrame, native: pd.DataFrame) -> Iterator[Finding]:
    if len(native) and not (devices["library"].eq("cpu")).any():
        kinds = ", ".join(sorted(native["library"].unique()))
        yield refutes(f"Vulkan has 0 of what was found, {found_text(native, 'device', devices)}; {kinds} serves.",
                      *places(devices))  # fmt: skip
        return
    versions = [version_numbers(version) for version in devices["version"].unique() if version]
    # An integrated GPU that is dropped is another cause, whatever its backend.
    there = [facts.events(*(key for key in DROPS if key != "igpu_dropped")), gpus_of_hosts(facts, "AMD")]
    seen = pd.concat([rows[["host", "source", "line"]] for rows in there])
    tried = versions and all(version >= _DEFAULT_SINCE for version in versions)
    if versions and all(version < _SINCE for version in versions):
        yield refutes(f"Vulkan has 0 devices at {counted(starts_of(devices), 'start')}; its backend came with 0.12.11.",
                      *places(devices))  # fmt: skip
    elif len(seen) and not tried:
        processor = devices[devices["library"].eq("cpu")]
        yield supports(f"{counted(starts_of(processor), 'start')} found nothing but the processor and Vulkan is off, "
                       f"though by {counted(len(seen), 'line')} there is a GPU that it might serve.",
                       *places(processor, 2), *places(seen, 1), severity="info")  # fmt: skip
    elif tried or shows_gpu_devices(facts):
        yield refutes(f"Vulkan has 0 devices at {counted(starts_of(devices), 'start')}"
                      + (", which was looked for." if tried else ", and the kernel has no AMD GPU."),
                      *places(devices))  # fmt: skip
    else:
        yield unseen(_GPUS)


def _calls(facts: Facts, devices: pd.DataFrame) -> pd.DataFrame:
    """Calls of clients with the library of the start that they fell into, answered or not."""
    trials = facts.table("trials").dropna(subset=["started_at"]).sort_values("started_at")
    starts = devices.dropna(subset=["at"]).sort_values("at")
    # A start with a GPU is named for its GPU.
    starts = starts.assign(gpu=starts["library"].ne("cpu")).sort_values(["at", "gpu"])
    trials = trials.assign(began=trials["started_at"].astype("datetime64[us, UTC]"))
    begun = starts[["at", "library"]].assign(at=starts["at"].astype("datetime64[us, UTC]"))
    calls = pd.merge_asof(trials.drop(columns="ended_at"), begun, left_on="began", right_on="at")
    calls["answered"] = calls["status"].eq("200")
    told = calls["eval_count"] / calls["eval_duration_s"].where(calls["eval_duration_s"].gt(0))
    calls["per_s"] = calls["tokens_per_s"].astype(float).fillna(told.astype(float))
    calls["wall_s"] = calls["wall_s"].where(calls["answered"])
    return calls


def _speed(calls: pd.DataFrame, other: str) -> tuple[str, bool]:
    """Tokens a second under both, in words, and whether Vulkan is slower by enough."""
    rate = calls[calls["answered"]].groupby("library")["per_s"].agg(["median", "count"])
    if not {"vulkan", other} <= set(rate.index) or rate.loc[["vulkan", other], "count"].min() == 0:
        return "", False
    slow, fast = rate.loc["vulkan", "median"], rate.loc[other, "median"]
    words = (
        f": {slow:.0f} tokens a second (median of {counted(rate.loc['vulkan', 'count'], 'call')}) against {fast:.0f} "
        f"(of {rate.loc[other, 'count']:,})"
    )
    return words, bool(fast >= _SLOWER * slow)


def _hangs(calls: pd.DataFrame, other: str) -> str:
    """How many calls stayed without an answer under both; the difference may be chance."""
    n = calls.groupby("library")["answered"].agg(["count", "sum"]).astype(int)
    if not {"vulkan", other} <= set(n.index):
        return ""
    (all_a, well_a), (all_b, well_b) = n.loc["vulkan"], n.loc[other]
    hung_a, hung_b = int(all_a - well_a), int(all_b - well_b)
    if hung_a + hung_b == 0:
        return ""
    vulkan, native = (hung_a, int(all_a)), (hung_b, int(all_b))
    apart = clearly_more(vulkan, native, _CHANCE) or clearly_more(native, vulkan, _CHANCE)
    verdict = "more than chance explains" if apart else "no clear difference"
    return f"; unanswered: {rate_text(hung_a, int(all_a))} against {rate_text(hung_b, int(all_b))}, {verdict}"
