"""Context too large for memory: model and context together need more than there is, and the context can be smaller.

Memory for the context (the KV cache) is taken when a model is loaded, for all of num_ctx and all parallel slots,
however short the prompts are. From 0.15.5 on the default depends on the VRAM and can be 262,144 tokens. Too large a
cache pushes layers to the processor, drives other models out, or lets the load fail.

Shown by:
    - a context that the server reduced because the load ran out of memory, or a cache larger than the weights that
      could not be allocated
    - layers left off the GPU where weights and buffers alone would have fitted
    - evictions for a model whose cache is larger than its weights
    - loads that the server refused because model and context need more than is available, or that failed for want of
      memory
Ruled out by:
    - loads whose caches are known, all layers on the GPU, without an eviction or a failed allocation
Mistaken for it:
    - a model that does not fit even without any context: a smaller num_ctx tells
    - context truncation, which is a context too small for the prompt
Severity: warning
Runbook: fit-context
Mitigation: Set num_ctx (or OLLAMA_CONTEXT_LENGTH) to what the prompts need, and count the parallel slots.
Leads to: memory_pressure, cpu_fallback, reload_thrash, oom_kill, runner_crash, load_timeout
References:
    - https://docs.ollama.com/faq (context window, parallel requests)
    - https://docs.ollama.com/context-length
    - https://github.com/ollama/ollama/issues/18099 (where the cache was not what grew)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from ..parse.go_values import size_bytes
from .facts import Facts, counted, places, size_text
from .facts.placements import placements
from .findings import Evidence, Finding, hints, proves, refutes, supports, unseen, weakens

_EVICTIONS = ("evict_reason_mem", "evict_predicted", "evict_all_oom")
_FAILURES = ("device_oom", "alloc_failed", "too_large", "load_backoff", "pinned_failed", "kv_full", "fit_report")
# What 0.30 and later take for such a failure, and what earlier runners said.
_NO_MEMORY = re.compile(r"out.of.(?:device.)?memory|(?:cuda|hip)Malloc failed|failed to allocate|allocation failed|"
                        r"(?:not enough|insufficient) memory|unable to allocate|OutOfDeviceMemory", re.I)  # fmt: skip
# What takes no more of a load than this would change little by being smaller.
_LITTLE = 0.1
_LOG = "the server's log of a load at its usual level: it prints the size of the KV cache, the layers and what is free"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Contexts reduced or refused, layers pushed off, and evictions, each with the size of the cache."""
    loads = placements(facts)
    sized = loads[loads["kv_bytes"].gt(0) & loads["weights_bytes"].gt(0)]
    found = [*_refused(facts, loads), *_pushed_off(sized), *_evicting(facts, sized), *_too_large(facts, sized)]
    yield from found
    if any(isinstance(item, Evidence) and item.strength != "weak" for item in found):
        return
    trouble = facts.events(*_EVICTIONS, *_FAILURES)
    trouble = trouble[~trouble["key"].eq("fit_report")]
    partial = sized[sized["layers_gpu"].lt(sized["layers_total"]) & sized["gpus"].map(len).gt(0)]
    if sized.empty or len(sized) < len(facts.loads):
        yield unseen(_LOG)
    elif trouble.empty and partial.empty:
        largest = sized.sort_values("kv_bytes", ascending=False)
        if _may_swap(sized).any():
            yield unseen(
                "how the machine's memory moves while the model runs: warmstall watch CASE. The cache lies in it"
            )
        yield refutes(f"Of {counted(len(sized), 'load')} none failed, was split or drove another model out; the "
                      f"largest cache takes {size_text(largest['kv_bytes'].iloc[0])}{_tokens(largest.iloc[0])}.",
                      *places(largest))  # fmt: skip
    elif trouble.empty and (partial["weights_bytes"] > partial["free_bytes"]).all():
        worst = partial.sort_values("weights_bytes", ascending=False)
        yield refutes(f"The weights alone ({size_text(worst['weights_bytes'].iloc[0])}) exceed what the GPU had free "
                      f"({size_text(worst['free_bytes'].iloc[0])}) in each of {counted(len(partial), 'partial load')}, "
                      "whatever the context.", *places(worst))  # fmt: skip
    else:
        yield unseen("a load of the same model with a small num_ctx: it tells whether the context is what did not fit")


def _may_swap(loads: pd.DataFrame) -> pd.Series:
    """Loads into the machine's own memory (processor, Apple's GPU) that it may not have had free."""
    own = [not gpus or any(gpu.startswith(("Metal", "MTL")) for gpu in gpus) for gpus in loads["gpus"]]
    need = loads["weights_bytes"] + loads["kv_bytes"] + loads["compute_bytes"].fillna(0)
    return pd.Series(own, loads.index) & ~need.le(loads["system_free_bytes"]) & loads["kv_bytes"].gt(_LITTLE * need)


def _refused(facts: Facts, loads: pd.DataFrame) -> Iterator[Evidence]:
    reduced = facts.events("ctx_reduced_oom")
    if len(reduced):
        fields = reduced["fields"].iloc[0]
        yield proves(f"The server reduced the context {counted(len(reduced), 'time')} because the load ran out of "
                     "memory, from "
                     f"{_number(fields.get('effective_num_ctx') or fields.get('old_num_ctx'))} to "
                     f"{_number(fields.get('new_num_ctx'))} tokens.", *places(reduced))  # fmt: skip
    errors = facts.events("model_load_error")
    of_cache = [bool(re.search(r"kv cache", str(each.get("reason", "")))) for each in errors["fields"]]
    cache = errors[pd.Series(of_cache, errors.index, dtype=bool)]
    if len(cache):
        # The cache comes last: it fails too where the weights have taken everything.
        failed = pd.to_numeric(pd.Series([each.get("bytes") for each in facts.events("alloc_failed")["fields"]],
                                         dtype=object)).max()  # fmt: skip
        weights = loads["weights_bytes"].max()
        sentence = f"The cache of the context could not be allocated in {counted(len(cache), 'load')}"
        if failed > weights:
            yield supports(
                f"{sentence}: {size_text(failed)} where the weights take {size_text(weights)}.", *places(cache)
            )
        else:
            yield hints(f"{sentence}.", *places(cache))


def _pushed_off(loads: pd.DataFrame) -> Iterator[Evidence]:
    """Loads of which a part stays off the GPU, and would not without the cache."""
    part = loads[
        loads["layers_gpu"].lt(loads["layers_total"]) & loads["free_bytes"].gt(0) & loads["gpus"].map(len).gt(0)
    ]
    rest = part["weights_bytes"] + part["compute_bytes"].fillna(0)
    pushed = part[(rest <= part["free_bytes"]) & (rest + part["kv_bytes"] > part["free_bytes"])]
    if len(pushed):
        one = pushed.sort_values("kv_bytes", ascending=False).iloc[0]
        need = one["weights_bytes"] + (one["compute_bytes"] if pd.notna(one["compute_bytes"]) else 0)
        worst = "" if len(pushed) == 1 else ", at worst"
        yield supports(f"{len(pushed):,} of {counted(len(loads), 'load')} left layers off the GPU that fitted but for "
                       f"the cache{worst} with {one['layers_gpu']:.0f} of {one['layers_total']:.0f} on it: "
                       f"{size_text(one['free_bytes'])} free, weights and buffers need {size_text(need)}, the "
                       f"cache{_tokens(one)} {size_text(one['kv_bytes'])}.",
                       *places(pushed.sort_values("kv_bytes", ascending=False)))  # fmt: skip


def _evicting(facts: Facts, loads: pd.DataFrame) -> Iterator[Evidence]:
    """Models driven out for one whose context takes more than its weights."""
    rows = facts.events(*_EVICTIONS)
    if rows.empty:
        return
    large = loads[loads["kv_bytes"] > loads["weights_bytes"]].sort_values("kv_bytes", ascending=False)
    if large.empty:
        yield weakens(f"{counted(len(rows), 'eviction')} for want of memory, but 0 of {counted(len(loads), 'load')} "
                      "with a cache larger than its weights.", *places(rows))  # fmt: skip
        return
    one = large.iloc[0]
    yield supports(f"{counted(len(rows), 'eviction')} for want of memory, and in {len(large):,} of "
                   f"{counted(len(loads), 'load')} the cache is larger than the weights: "
                   f"{size_text(one['kv_bytes'])}{_tokens(one)} against "
                   f"{size_text(one['weights_bytes'])}.", *places(rows, 2), *places(large, 2))  # fmt: skip


def _too_large(facts: Facts, loads: pd.DataFrame) -> Iterator[Finding]:
    """Loads that were refused or failed for their size, and whether the cache is the difference."""
    rows = facts.events("too_large", "alloc_failed", "device_oom")
    failed = facts.loads[facts.loads["outcome"].eq("failed")]
    failed = failed[failed["reason"].str.contains(_NO_MEMORY)]
    if rows.empty and failed.empty:
        return
    refused = [(_bytes(each.get("requested")), _bytes(each.get("available"))) for each in rows["fields"]]
    over = [(wanted, there) for wanted, there in refused if wanted and there is not None and wanted > there]
    cache = loads["kv_bytes"].max() if len(loads) else 0
    if over:
        wanted, there = over[0]
        told = (
            f"The server refused {counted(len(over), 'load')}: for model and context the first wanted "
            f"{size_text(wanted)} where {size_text(there)} was available"
        )
        fits = cache and wanted - cache <= there
        yield supports(f"{told}, and the largest cache here takes {size_text(cache)}." if fits else f"{told}.",
                       *places(rows))  # fmt: skip
        if not fits:
            yield unseen("a load of the refused model with a small num_ctx: it tells whether the model alone fits")
    elif len(failed):
        reason = _NO_MEMORY.search(failed["reason"].iloc[0])
        yield supports(f"{len(failed):,} of {counted(len(facts.loads), 'load')} failed for want of memory"
                       f"{f' ({reason[0]})' if reason else ''}.", *places(failed), *places(rows))  # fmt: skip
        yield unseen("a load of the same model with a small num_ctx: it tells whether the model alone fits")
    else:
        yield hints(f"{counted(len(rows), 'allocation')} failed for want of memory.", *places(rows))


def _bytes(text: object) -> int | None:
    """A size as the server prints it; 0.3 prints what is available as a bare number of bytes."""
    return int(str(text)) if str(text).isdecimal() else size_bytes(str(text or ""))


def _number(text: object) -> str:
    return f"{int(str(text)):,}" if str(text).isdigit() else "an unknown number of"


def _tokens(load: pd.Series) -> str:
    return f" for {load['context_length']:,.0f} tokens" if pd.notna(load["context_length"]) else ""
