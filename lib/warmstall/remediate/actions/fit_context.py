"""fit-context: give a model the context that its prompts need and its memory allows.

Too small a context cuts prompts without a word to the client: the middle of a prompt goes, from 0.30 on half of it.
Too large a one takes memory for cells that no prompt fills, pushes layers to the processor, drives other models out or
lets the load fail. This reckons both sides from the model's own numbers (`kv_cache.py`), sets OLLAMA_CONTEXT_LENGTH
for the service where the version reads it (from 0.5.13) and nothing nearer to the request overrides it, loads the
model, and takes everything back when it does not get the context, or spills out of the GPU for it. It changes no
model, no request and no client: where the Modelfile or the client says num_ctx, it gives the exact text instead.

Sources: https://docs.ollama.com/faq and https://docs.ollama.com/context-length; versions by Ollama's tags.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from ...parse.plain_text import printable
from ..services.canary import canary_measures, fell
from ..services.service import change_service, settings_now
from ..step import Action, Check, Measures, Precondition, Step, Verified
from ..target import Target
from .context_fit import CACHE_TYPES, READS_CONTEXT_LENGTH, Fit, context_of, gpu_share, look, numbers_of

SETTINGS: dict[str, Any] = {
    "model": "", "prompt_tokens": 0, "answer_tokens": 512, "memory_bytes": 0, "kv_cache_type": "", "tries": 2,
    "deadline_s": 120.0,
}  # fmt: skip
RECORDING = "truncated-context"

# Contexts are set in steps of this, so that a plan holds while the longest prompt changes by a few tokens.
_STEP = 1024
_READS_CACHE_TYPE = (0, 5, 0)
_CREATES_FROM = (0, 5, 5)
_FITS = "context fits"
_MEMORY = "memory allows it"


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """What would give the model a context that fits. Raises CannotTell naming what is missing."""
    fit = look(target, settings)
    wanted, finding = _wanted(fit)
    told: tuple[Precondition, ...] = (Precondition("context in force", "met", _in_force_text(fit)), finding)
    summary = f"{_name(fit)} gets {wanted:,} tokens of context." if wanted else f"The context of {_name(fit)} stays."
    if finding.state == "not needed":
        summary = f"{_name(fit)} has {wanted:,} tokens of context."
        # A run that was cut short after the restart goes on from here; on any other server these change nothing.
        ours = settings_now(target).get("OLLAMA_CONTEXT_LENGTH") == str(wanted) and fit.said_by == "service"
        return _action(summary, target, fit, wanted, settings, told, ours)
    told = (*told, _memory(fit, wanted)) if wanted else told
    return _action(summary, target, fit, wanted, settings, told, all(one.state == "met" for one in told))


def _action(
    summary: str, target: Target, fit: Fit, wanted: int, settings: Mapping[str, Any], told: tuple[Precondition, ...],
    acts: bool,
) -> Action:  # fmt: skip
    if not acts:
        return Action(summary, told)
    tries, deadline_s = int(settings["tries"]), float(settings["deadline_s"])
    return Action(
        summary, told, _steps(target, fit, wanted, settings),
        measure=lambda there: _measures(there, fit.model, tries, deadline_s),
        helped=lambda before, after: _helped(before, after, wanted),
        afterwards=(
            f"Watch `truncating input prompt` in the log, and size_vram against size of {_name(fit)} in /api/ps.",
            "Every model of this server gets this context where neither its Modelfile nor the request says num_ctx.",
        ),
    )  # fmt: skip


def _wanted(fit: Fit) -> tuple[int, Precondition]:
    """The context to set (0: none), and whether the one in force fits prompts and memory."""
    trained, has = fit.shape.trained_context, fit.in_force
    there = f"{has:,} tokens are there" if has else "the context follows the GPU's memory, and no load shows it"
    if fit.needed:
        if trained and fit.needed > trained:
            return 0, Precondition(
                _FITS, "not met", f"Prompt and answer need {fit.needed:,} tokens, and the model was trained for "
                f"{trained:,}: more context does not help. Shorten the prompts, or take another model.",
            )  # fmt: skip
        wanted = min(-(-fit.needed // _STEP) * _STEP, trained or 2**40)
        need = f"The longest prompt and its answer need {fit.needed:,} tokens; {there}"
        if has and has >= fit.needed and fit.fits_now:
            return has, Precondition(_FITS, "not needed", f"{need}, and fit in memory.")
        why = "which memory does not allow" if has and has >= fit.needed else "longer prompts are cut"
        return wanted, Precondition(_FITS, "met", f"{need}: {why}.")
    if has is None:
        return 0, Precondition(_FITS, "cannot tell", "The context follows the GPU's memory, no load shows it, and no "
                               "prompt was cut: load the model, or give prompt_tokens.")  # fmt: skip
    if fit.fits_now and not fit.log_is_read:
        return 0, Precondition(_FITS, "cannot tell", f"{there} and fit in memory; whether prompts are cut is not seen, "
                               "since the server's log cannot be read: give prompt_tokens.")  # fmt: skip
    if fit.fits_now:
        return has, Precondition(
            _FITS, "not needed", f"{there} and fit in memory, and the log of this start tells of no prompt that was "
            "cut. Whether more is needed only prompt_tokens can tell.",
        )  # fmt: skip
    would = f"{fit.allowed:,} would fit" if fit.allowed else "none would fit"
    return _rounded_down(min(fit.allowed, has)) or has, Precondition(
        _FITS, "met" if fit.room else "cannot tell",
        f"{there}, which take more memory than there is; {would}." if fit.room else fit.no_room,
    )  # fmt: skip


def _memory(fit: Fit, wanted: int) -> Precondition:
    """Whether it fits; where it does not, the smallest remedies."""
    if fit.room is None:
        return Precondition(_MEMORY, "cannot tell", fit.no_room)
    takes, bound = fit.takes(wanted), fit.shape.is_upper_bound(wanted)
    slots = "one slot" if fit.parallel == 1 else f"{fit.parallel} slots"
    told = (
        f"{wanted:,} tokens take {'at most ' if bound else ''}{_gib(takes)}: weights and buffers "
        f"{_gib(fit.rest_bytes)}, cache of {fit.cache_type} for {slots} {_gib(takes - fit.rest_bytes)}. There are "
        f"{_gib(fit.room.free_bytes)} of {fit.room.where} ({fit.room.said}), of which a tenth is left free."
    )
    if takes <= fit.usable_bytes:
        return Precondition(_MEMORY, "met", told)
    if bound:
        return Precondition(
            _MEMORY, "cannot tell", f"{told} It may fit nevertheless, since {bound}: load it with num_ctx {wanted} in "
            "one request, and compare size_vram with size in /api/ps.",
        )  # fmt: skip
    return Precondition(_MEMORY, "not met", f"{told} What would help: {'; '.join(_remedies(fit, wanted))}.")


def _remedies(fit: Fit, wanted: int) -> list[str]:
    """The smallest first."""
    found = []
    for kind in CACHE_TYPES[CACHE_TYPES.index(fit.cache_type) + 1 :]:
        if fit.takes(wanted, kind) <= fit.usable_bytes:
            found.append(f"kv_cache_type {kind} ({_gib(fit.takes(wanted, kind))} in all)")
            break
    if fit.parallel > 1 and (alone := fit.takes(wanted, parallel=1)) <= fit.usable_bytes:
        found.append(f"one slot instead of {fit.parallel} ({_gib(alone)} in all; runbook limit-concurrency)")
    if fit.allowed:
        found.append(f"shorter prompts: {fit.allowed:,} tokens fit, prompt and answer together")
    if (weights := fit.usable_bytes - (fit.takes(wanted) - fit.rest_bytes)) > 0:
        found.append(f"a smaller or more quantized model, of at most {_gib(weights)} if its cache is like this one's")
    return found or ["more memory"]


def _steps(target: Target, fit: Fit, wanted: int, settings: Mapping[str, Any]) -> tuple[Step, ...]:
    if fit.said_by in ("model", "client") or numbers_of(fit.version) < READS_CONTEXT_LENGTH:
        return (_by_hand(target, fit, wanted),)
    environment: dict[str, str | None] = {"OLLAMA_CONTEXT_LENGTH": str(wanted)}
    if settings["kv_cache_type"] and numbers_of(fit.version) >= _READS_CACHE_TYPE:
        environment["OLLAMA_KV_CACHE_TYPE"] = fit.cache_type
        if fit.cache_type != "f16":
            environment["OLLAMA_FLASH_ATTENTION"] = "1"  # without it a quantized cache is ignored
    return change_service(target, "fit-context", environment)


def _by_hand(target: Target, fit: Fit, wanted: int) -> Step:
    """What only who owns the model or the client can change, as exact text."""
    reasons = {"model": "its Modelfile says num_ctx", "client": "its clients send num_ctx"}
    why = reasons.get(fit.said_by, "this version does not read OLLAMA_CONTEXT_LENGTH")
    copy = f"{re.sub(r'[^A-Za-z0-9._-]', '-', fit.model.partition(':')[0])[:60] or 'model'}-ctx{wanted}"
    made: dict[str, Any] = {"model": copy, "stream": False}
    if numbers_of(fit.version) >= _CREATES_FROM:
        made |= {"from": fit.model, "parameters": {"num_ctx": wanted}}
    else:
        made |= {"modelfile": f"FROM {fit.model}\nPARAMETER num_ctx {wanted}\n"}
    url = f"http://127.0.0.1:{target.port}/api"
    request = {"model": fit.model, "prompt": "", "stream": False, "options": {"num_ctx": wanted}}

    def check(there: Target) -> Check:
        return (
            Check("done", "it has it") if context_of(there, fit.model) == wanted else Check("needed", "it has another")
        )

    def verify(there: Target) -> Verified:
        has = context_of(there, fit.model)
        told = f"{_name(fit)} is in memory with {has:,} tokens of context." if has else "Nothing tells its context."
        return Verified(None if has is None else has == wanted, told)

    return Step(
        f"context of {_name(fit)}", f"By hand, because {why}: num_ctx {wanted}", f"num_ctx {wanted}", check, None,
        verify,
        by_hand=(
            f'# in every request of the client: "options": {json.dumps(request["options"])}; this one loads the model',
            f"curl -s {url}/generate -d {shlex.quote(json.dumps(request))}",
            f"# or once, as a model of its own that clients name: {copy}",
            f"curl -s {url}/create -d {shlex.quote(json.dumps(made))}",
        ),
        patience_s=1.0,
    )  # fmt: skip


def _measures(target: Target, model: str, tries: int, deadline_s: float) -> Measures:
    """The canaries load the model where it is not in memory; then it is seen what it got."""
    measured = canary_measures(target, model, tries, deadline_s)
    context, share = context_of(target, model), gpu_share(target, model)
    return {**measured, "context_tokens": float(context) if context else None,
            "share_on_gpu": round(share, 4) if share is not None else None}  # fmt: skip


def _helped(before: Measures, after: Measures, wanted: int) -> Verified:
    if failed := fell(before, after):
        return failed
    context = after["context_tokens"]
    if context is not None and context != wanted:
        return Verified(False, f"The model was loaded with {context:,.0f} tokens of context, not {wanted:,}.")
    was, is_now = before.get("share_on_gpu"), after["share_on_gpu"]
    # A hundredth is less than a layer of most models, and more than what buffers differ by.
    if was is not None and is_now is not None and is_now < was - 0.01:
        return Verified(False, f"With {wanted:,} tokens of context {is_now:.0%} of the model are on the GPU, before "
                        f"it was {was:.0%}: it spilled to the processor.")  # fmt: skip
    if context is None:
        return Verified(None, f"OLLAMA_CONTEXT_LENGTH is {wanted:,}; what the model gets is not seen, since it is not "
                        "in memory.")  # fmt: skip
    return Verified(True, f"The model is in memory with {context:,.0f} tokens of context.")


def _rounded_down(num_ctx: int) -> int:
    """To 1, 1.25, 1.5 or 1.75 times a power of two, so that a plan holds while free memory changes a little.

    >>> [_rounded_down(context) for context in (100, 4096, 5000, 8191)]
    [0, 4096, 4096, 7168]
    """
    if num_ctx < 256:
        return 0
    power = 1 << (num_ctx.bit_length() - 1)
    return num_ctx // (power // 4) * (power // 4)


def _in_force_text(fit: Fit) -> str:
    who = {"model": "its Modelfile", "client": "a client's num_ctx", "service": "OLLAMA_CONTEXT_LENGTH",
           "default": "the version's default"}[fit.said_by]  # fmt: skip
    has = f"{fit.in_force:,} tokens" if fit.in_force else "not known before a load"
    trained = f"{fit.shape.trained_context:,} tokens" if fit.shape.trained_context else "a number it does not tell"
    return f"{_name(fit)} in Ollama {printable(fit.version)[:20]}: {has}, by {who}; trained for {trained}."


def _name(fit: Fit) -> str:
    return printable(fit.model)[:80]


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
