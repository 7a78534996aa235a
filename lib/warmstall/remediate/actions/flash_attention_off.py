"""flash-attention-off: turn flash attention off where its steps fall back from the GPU to the processor.

It sets OLLAMA_FLASH_ATTENTION=0 for whoever starts the server, restarts it once, and looks for the setting in the live
process and in its `server config` line. A key-value cache of a quantized type works with flash attention only, so
OLLAMA_KV_CACHE_TYPE is unset with it. Small requests with a prompt long enough to show the fault are sent before and
after; unless they come back more often or faster than their own spread, everything is taken back.

It never touches a server where flash attention is off, or whose models are not known to be affected, unless one is
named. Sources: github.com/ollama/ollama issues 15368 (Metal: hangs from about 500 tokens of prompt), 15350 and 15237
(CUDA: from 3,000), 9683 (gemma3 with a quantized cache), pull requests 15378 (kernels for gemma4, 0.20.4) and 12473
(0 turns off what is on by default, 0.12.4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import CannotTell, ParameterError
from ...parse.plain_text import printable
from ..services.canary import beyond_spread, canary_measures, canary_model, fell
from ..services.service import change_service, settings_now
from ..step import Action, Measures, Precondition, Verified
from ..target import Resident, Target

# Prompts of some hundred words are long enough on Metal; give more for a CUDA card.
SETTINGS: dict[str, Any] = {"model": "", "tries": 3, "deadline_s": 60.0, "prompt_words": 700}
RECORDING = "flash-attention"

_NAME = "flash-attention-off"
_OFF = ("0", "f", "false")
# Since when it is on without being asked for, by family; for every model of a llama.cpp runner, and for every model.
_DEFAULT_SINCE = {"gemma3": (0, 12, 6), "gemma4": (0, 20, 4)}
_AUTO_SINCE = (0, 13, 4)
# 0 is obeyed where a model has it on by default.
_OBEYED_SINCE = (0, 12, 4)
_KERNELS_SINCE = (0, 20, 4)
_CACHES_WITHOUT = ("", "f16", "f32", "bf16")


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """What would be changed, if flash attention is in force for a model that it can harm."""
    tries, words = int(settings["tries"]), int(settings["prompt_words"])
    if not 3 <= tries <= 20 or not 0 <= words <= 20_000 or not 1.0 <= settings["deadline_s"] <= 600.0:
        raise ParameterError("expected tries from 3 to 20 (fewer cannot be told from luck), prompt_words up to 20000 "
                             "and deadline_s from 1 to 600.")  # fmt: skip
    version_text = target.version()
    if not version_text:
        raise CannotTell("/api/version does not answer: whether the server is up and which version it is must be "
                         "known first. A runner that hangs is recover-stuck-runner's; a server that is down is not "
                         "this runbook's.")  # fmt: skip
    there = settings_now(target)
    models = {one.name: one for one in target.models_in_memory()}
    name = canary_model(target, str(settings["model"]))
    preconditions = (
        _in_force(there.get("OLLAMA_FLASH_ATTENTION", ""), version_text, _family(target, name, models)),
        _affected(target, name, models, bool(settings["model"]), version_text),
        _cache(there.get("OLLAMA_KV_CACHE_TYPE", "")),
    )
    off_already = there.get("OLLAMA_FLASH_ATTENTION", "").strip().lower() in _OFF
    if any(one.state == "not needed" for one in preconditions) and not off_already:
        return Action("Flash attention is left as it is.", preconditions)
    wanted: dict[str, str | None] = {"OLLAMA_FLASH_ATTENTION": "0"}
    if there.get("OLLAMA_KV_CACHE_TYPE", "") not in _CACHES_WITHOUT:
        wanted["OLLAMA_KV_CACHE_TYPE"] = None
    deadline_s = float(settings["deadline_s"])
    return Action(
        f"OLLAMA_FLASH_ATTENTION=0 for the server; judged by {tries} requests to {printable(name) or 'no model'} "
        "before and after.",
        preconditions,
        change_service(target, _NAME, wanted),
        lambda target: canary_measures(target, name, tries, deadline_s, words),
        helped,
        ("Requests with long prompts and with images are what this is for: watch their prefill and decode rates.",
         "Without flash attention the context takes more memory: look at `ollama ps` for layers that left the GPU.",
         "Upgrade to a version with kernels for the model (0.20.4 for gemma4), then take this back with undo=True."),
        cool_down_s=60.0,
    )  # fmt: skip


def helped(before: Measures, after: Measures) -> Verified:
    """Kept when more requests came back, or when they were faster than their own spread and sooner done.

    Faster is: every try of decode or of prefill after the change above every one before. Three tries against three
    come out so by chance once in twenty; no share of speed-up is asked for, since what a fallback costs varies.
    """
    if lower := fell(before, after):
        return lower
    was, is_now = before.get("success_rate"), after.get("success_rate")
    if was is None or is_now is None:
        return Verified(None, "In force, but not measured: no model was in memory, and none was named. Compare long "
                        "prompts by hand, and undo it if they are no faster.")  # fmt: skip
    if is_now > was:
        return Verified(True, f"{is_now:.0%} of the requests came back, {was:.0%} before.")
    if not is_now:
        return Verified(False, "No request came back, before or after: flash attention is not what holds them.")
    faster = [part for part in ("decode", "prefill") if beyond_spread(before, after, part) == 1]
    walls = before.get("wall_p50_s"), after.get("wall_p50_s")
    sooner = walls[0] is not None and walls[1] is not None and walls[1] < walls[0]
    if faster and sooner:
        told = ", ".join(f"{part} {after[f'{part}_tokens_per_s']:.1f} tokens/s, {before[f'{part}_tokens_per_s']:.1f} "
                         "before" for part in faster)  # fmt: skip
        return Verified(True, f"Faster in every try: {told}.")
    return Verified(False, "Neither decode nor prefill became faster beyond the spread of the tries, so flash "
                    "attention was not what slowed this model.")  # fmt: skip


def _in_force(value: str, version_text: str, family: str) -> Precondition:
    name, version, told = "flash attention in force", _version(version_text), printable(version_text)
    if value.strip().lower() in _OFF:
        return Precondition(name, "not needed", f"OLLAMA_FLASH_ATTENTION is {printable(value)} in the live server.")
    if value.strip():
        return Precondition(name, "met", f"OLLAMA_FLASH_ATTENTION is {printable(value)} in the live server.")
    if not any(version):
        return Precondition(name, "cannot tell", f"OLLAMA_FLASH_ATTENTION is not set, and what {told}, an own build, "
                            "makes of that is not known: look for `Flash Attention` in its log.")  # fmt: skip
    since = _DEFAULT_SINCE.get(family, _AUTO_SINCE)
    if version >= since:
        return Precondition(name, "met", f"It is not set, and {told} turns it on by itself where the GPU can.")
    return Precondition(name, "not needed", f"It is not set, and {told} does not turn it on by itself for "
                        f"{family or 'this model'}.")  # fmt: skip


def _affected(
    target: Target, name: str, models: Mapping[str, Resident], named: bool, version_text: str
) -> Precondition:  # fmt: skip
    """Whether the model is one that can fall back; the operator's word counts where nothing is known of it."""
    title, family = "a model that it can harm", _family(target, name, models)
    shown, version = printable(name), _version(version_text)
    if not name:
        return Precondition(title, "cannot tell", "No model is in memory: run a request that is slow, or name the "
                            "model (model=…).")  # fmt: skip
    resident = models.get(name) or models.get(f"{name}:latest")
    if resident and not resident.vram_bytes:
        return Precondition(title, "not needed", f"{shown} is on the processor altogether: nothing falls back to it.")
    if any(version) and version < _OBEYED_SINCE and family == "gptoss":
        return Precondition(title, "not met", f"{printable(version_text)} leaves flash attention on for gpt-oss "
                            "whatever is set; 0.12.4 obeys.")  # fmt: skip
    if family == "gemma4" and version >= _KERNELS_SINCE:
        why = f"{printable(version_text)} has GPU kernels for {shown} (they came with 0.20.4)"
        if named:
            return Precondition(title, "met", f"{why}; it was named all the same, and the requests will tell.")
        return Precondition(title, "not needed", f"{why}. If it is slow all the same, name it (model=…).")
    if family.startswith("gemma"):
        upgrade = "; an upgrade to 0.20.4 or later brings kernels for it" if family == "gemma4" else ""
        return Precondition(title, "met", f"{shown} is of the family {family}, which can fall back{upgrade}.")
    if named:
        return Precondition(title, "met", f"Nothing is known of {family or 'the family of'} {shown}; it was named, and "
                            "the requests will tell.")  # fmt: skip
    return Precondition(title, "not needed", f"{shown} is of no family that is known to fall back. If it is slow all "
                        "the same, name it (model=…).")  # fmt: skip


def _cache(kind: str) -> Precondition:
    if kind in _CACHES_WITHOUT:
        return Precondition("key-value cache", "met", "It is not quantized, and works without flash attention.")
    return Precondition("key-value cache", "met", f"OLLAMA_KV_CACHE_TYPE is {printable(kind)}, which needs flash "
                        "attention: it is unset too, and the cache takes about two (q8_0) to four (q4_0) times as much "
                        "memory.")  # fmt: skip


def _family(target: Target, name: str, models: Mapping[str, Resident]) -> str:
    """The model's architecture, by /api/ps or /api/show; else by its name."""
    if not name:
        return ""
    resident = models.get(name) or models.get(f"{name}:latest")
    details: Any = resident.details if resident else None
    if not details:
        body = target.ask("/api/show", body={"model": name})["body"]
        details = body.get("details") if isinstance(body, dict) else None
    told = str(details.get("family") or "") if isinstance(details, dict) else ""
    if re.fullmatch(r"[a-z0-9_.-]{1,40}", told):
        return told
    found = re.match(r"(?:.*/)?(gemma\d?)", name.lower())
    return found[1] if found else ""


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})", text)
    return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)
