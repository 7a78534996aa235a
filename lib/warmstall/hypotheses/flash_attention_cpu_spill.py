"""Flash attention on the CPU: attention that the GPU has no kernel for runs on the processor, and /api/ps does not say.

Where a GPU's flash attention has no kernel for a model's head size, these steps fall back to the processor without a
line in the log. `ollama ps` still says 100 % GPU. Short prompts go well; long ones, and image prompts, crawl or never
end while one core is busy. Gemma is affected most, on Apple's GPUs above all; 0.20.4 brought kernels for gemma4.

Shown by:
    - flash attention in force, a model of the gemma family, 100 % GPU by /api/ps, and a runner that keeps a core
      busy while requests stand still
Ruled out by:
    - loads with flash attention off, by the log (OLLAMA_FLASH_ATTENTION:false from 0.12.4 on is not off, but unset)
    - a runner that does nothing while requests stand still
    - a server without a GPU, or models of other families
Mistaken for it:
    - a runner that was stopped or waits for something: its processor time stands still
    - layers that were left on the processor: /api/ps tells of those
    - a GPU that works: the thread that waits for it can keep a core busy as well
Severity: critical
Runbook: flash-attention-off
Mitigation: Set OLLAMA_FLASH_ATTENTION=0 for the server and restart it, or upgrade to a version with the kernels.
Leads to: warm_stall, stopping_deadlock, client_timeout_too_short
References:
    - https://github.com/ollama/ollama/issues/15368
    - https://github.com/ollama/ollama/pull/15378
    - https://github.com/ollama/ollama/issues/15395
    - https://github.com/ollama/ollama/issues/6769
    - https://github.com/ollama/ollama/pull/15332
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis import IDLE_CPU_PERCENT
from ..parse.plain_text import printable
from .facts import Facts, counted, places
from .facts.devices import found_devices, gpus_of_hosts
from .findings import Finding, Place, hints, refutes, supports, unseen, weakens

# Of one core, what a runner that only waits for its GPU stays below on a Mac, and one that computes does not.
_BUSY_PERCENT = 80.0
# From which version flash attention is on by default, by family; from the last one for every model.
_DEFAULT_SINCE = {"gemma3": (0, 12, 6), "gemma4": (0, 20, 4)}
_ALWAYS_SINCE = (0, 30, 0)
# The version whose kernels cover gemma4.
_KERNELS_SINCE = (0, 20, 4)
# The runner's own words, the server's request to it, and the runner's command line.
_ON = r"set to enabled|Flash Attention enabled|FlashAttention:(?:Enabled|true)|--flash-attn(?: on| -|\"| *$)"
_OFF = r"set to disabled|FlashAttention:(?:Disabled|false)|--flash-attn off"
_STALLED = ("warm_stall", "slow_prefill", "slow_decode", "client_abort")
_SAMPLES = (
    "samples of the runner's processor time and of /api/ps while a request stands still: warmstall watch CASE "
    "--every 5s --for 60s"
)
_LOG = "the server's log from its start on, with a load: it tells the device and whether flash attention is in force"


@dataclass(frozen=True)
class _Force:
    """Whether flash attention is in force (None: not known), why, and where that stands."""

    on: bool | None
    why: str
    where: tuple[Place, ...]


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Device, family and flash attention first; then what the runner did while requests stood still."""
    devices = found_devices(facts)
    gpus = devices[devices["library"].ne("cpu")]
    if len(devices) and gpus.empty:
        yield refutes(f"Processors are the only devices ({len(devices):,}) found: 0 steps can fall back from a GPU.",
                      *places(devices))  # fmt: skip
        return
    models = _models(facts)
    family = next(
        (family for family in ("gemma4", "gemma3", "gemma") for model in models if family in model.lower()), ""
    )
    # A request to a model that is known by its digest alone, or not at all, may have been to any.
    asked = pd.concat([facts.requests["model"], facts.loads["model"]]).fillna("").astype(str)
    if len(facts.requests) and not family and not (asked.eq("") | asked.str.startswith("sha256:")).any():
        yield refutes(f"0 models of the gemma family are in use, and {counted(len(models), 'other')} "
                      f"({', '.join(printable(model) for model in sorted(models)[:3])}).",
                      *places(facts.requests))  # fmt: skip
        return
    force = _force(facts, family)
    if force.on is False:
        yield refutes(force.why, *force.where)
        return
    apple = gpus["library"].eq("metal").any() or len(gpus_of_hosts(facts, "Apple")) > 0
    if force.on is None or not (len(gpus) or apple):
        yield unseen(_LOG)
    if not models:
        yield unseen("which models are in use: `ollama ps`, or the clients' records of their calls")
    yield from _at_work(facts, family, force, bool(apple))


def _at_work(facts: Facts, family: str, force: _Force, apple: bool) -> Iterator[Finding]:
    """What the runner did while requests stood still."""
    spans, samples = _spans(facts), _samples(facts)
    during = samples[_inside(samples["at"], spans)] if len(spans) else samples[:0]
    seen = pd.Series(spans["started_at"].searchsorted(during["at"], side="right")).nunique()
    if during.empty:
        if force.on and family:
            yield hints(f"{force.why}, and {family} is in use; what the runner did while requests stood still is not "
                        "known.", *force.where)  # fmt: skip
        yield unseen(_SAMPLES)
        return
    cpu, running = during["cpu_percent"].median(), during["state"].fillna("").str.startswith("R")
    of = counted(len(during), "sample")
    told = f"While requests stood still, the runner used {cpu:.1f} % of a core (median of {of}"
    told += f", {running.sum():,} in state R)" if during["state"].notna().any() else ")"
    if cpu < _BUSY_PERCENT:
        if cpu < IDLE_CPU_PERCENT:
            yield refutes(f"{told}: it did not compute.", *places(during))
        else:
            yield weakens(f"{told}: less than one step that never ends would use.", *places(during))
        if seen < len(spans) or cpu >= IDLE_CPU_PERCENT:
            yield unseen(_SAMPLES)
        return
    looks = facts.table("resident_models").dropna(subset=["vram_fraction"])
    whole = looks[looks["vram_fraction"].ge(1)]
    if len(looks) and whole.empty:
        yield weakens(
            f"{told}, but 0 of {counted(len(looks), 'look')} at /api/ps say 100 % GPU.", *places(during), *places(looks)
        )
        yield unseen(_SAMPLES)
        return
    others = samples[~samples.index.isin(during.index)]
    usual = f" and {others['cpu_percent'].median():.1f} % at other times" if len(others) else ""
    affected = apple or (family == "gemma4" and _before(facts, _KERNELS_SINCE))
    if force.on and family and affected and len(whole):
        newer = "" if _before(facts, _KERNELS_SINCE) else " (a version that has kernels for gemma4)"
        yield supports(f"{told}{usual}, with {family} 100 % on the GPU by {counted(len(whole), 'look')} at /api/ps. "
                       f"{force.why}{newer}.", *places(during, 2), *places(whole, 1), *force.where[:1],
                       span=(during["at"].min().to_pydatetime(), during["at"].max().to_pydatetime()))  # fmt: skip
        return
    yield hints(f"{told}{usual}.", *places(during), span=(during["at"].min().to_pydatetime(), None))
    if not len(whole):
        yield unseen("`ollama ps` while a request stands still: whether it says 100 % GPU")
    yield unseen("the same requests with OLLAMA_FLASH_ATTENTION=0")


def _models(facts: Facts) -> set[str]:
    """The names of the models in use, as /api/ps, the clients and the log have them."""
    named = [facts.table("resident_models")["model"], facts.table("trials")["model"], facts.requests["model"]]
    names = {str(name) for each in named for name in each.dropna().unique() if name}
    return names | ({"gemma4 (by its image lines)"} if facts.counts.get("vision_gemma4") else set())


def _force(facts: Facts, family: str) -> _Force:
    """What the log says of flash attention: the runner's word first, then the setting and the version's default."""
    rows = facts.events("fa_resolved", "fa_enabled", "fa_unsupported", "load_params", "runner_spawn")
    said = rows["text"].fillna("").astype(str)
    on = rows["key"].eq("fa_enabled") | said.str.contains(_ON, regex=True)
    off = rows["key"].eq("fa_unsupported") | said.str.contains(_OFF, regex=True)
    if on.any():
        return _Force(True, f"{_lines(on)} that flash attention is in force", places(rows[on]))
    if off.any():
        return _Force(False, f"{_lines(off)} that flash attention is off, and 0 that it is on.", places(rows[off]))
    printed = facts.printed_settings
    own = printed[printed["name"].eq("OLLAMA_FLASH_ATTENTION")]
    value = facts.setting("OLLAMA_FLASH_ATTENTION").lower()
    asked = facts.table("settings")
    asked = asked[asked["name"].eq("OLLAMA_FLASH_ATTENTION")]
    where = places(own) or places(asked)
    versions = facts.found.versions()
    if value in ("1", "true") and where:
        return _Force(True, f"OLLAMA_FLASH_ATTENTION is {value}", where)
    if not where or not versions or not any(facts.versions[-1]):  # a build of one's own says 0.0.0
        return _Force(None, "", ())
    since = _DEFAULT_SINCE.get(family, _ALWAYS_SINCE)
    if not family and not _before(facts, min(_DEFAULT_SINCE.values())) and _before(facts, since):
        return _Force(None, "", ())  # on for some families, and which are in use is not known
    if asked["value"].isin(["0", "false"]).any():
        return _Force(False, "OLLAMA_FLASH_ATTENTION is set to 0.", places(asked))
    if not _before(facts, since):
        return _Force(True, f"Flash attention is on by default for {family or 'every model'} in {versions[-1]}", where)
    return _Force(False, f"OLLAMA_FLASH_ATTENTION is {value}, and {versions[-1]} does not turn it on by default for "
                  f"{family or 'this model'}.", where)  # fmt: skip


def _lines(told: pd.Series) -> str:
    return f"{counted(int(told.sum()), 'line')} of the log {'says' if told.sum() == 1 else 'say'}"


def _before(facts: Facts, version: tuple[int, ...]) -> bool:
    return bool(facts.versions) and facts.versions[-1] < version


def _samples(facts: Facts) -> pd.DataFrame:
    """The busiest runner of each look; what `ps` prints of a process is the average of its life and no sample."""
    sampled = {place.source for place in facts.whole("samples", "process-samples")}
    rows = facts.table("processes")
    rows = rows[rows["role"].eq("runner") & rows["source"].isin(sampled)]
    rows = (
        rows.dropna(subset=["at", "cpu_percent"])
        .sort_values("cpu_percent")
        .drop_duplicates(["host", "at"], keep="last")
    )
    return rows.sort_values("at").reset_index(drop=True)


def _spans(facts: Facts) -> pd.DataFrame:
    """From when to when some request stood still, overlapping ones in one."""
    lost = facts.lost_trials[["started_at", "ended_at"]].apply(pd.to_datetime, utc=True)
    rows = (
        pd.concat([facts.with_verdict(*_STALLED)[["started_at", "ended_at"]], lost]).dropna().sort_values("started_at")
    )
    reach = rows["ended_at"].cummax()
    spans = rows.assign(ended_at=reach).groupby((rows["started_at"] > reach.shift()).cumsum())
    return spans.agg(started_at=("started_at", "min"), ended_at=("ended_at", "max")).reset_index(drop=True)


def _inside(at: pd.Series, spans: pd.DataFrame) -> pd.Series:
    before = spans["started_at"].searchsorted(at, side="right") - 1
    until = spans["ended_at"].reindex(before).to_numpy()
    return pd.Series(before >= 0, at.index) & (at.to_numpy() <= until)
