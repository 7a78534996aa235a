"""limit-concurrency: set how many requests a model answers at once, how many models stay in memory, how many may wait.

Every slot of OLLAMA_NUM_PARALLEL takes a whole context of KV cache and a share of the GPU: many slots answer more
clients, each more slowly, and may push a model out of memory. One slot makes them wait in line, without a bound or a
word in the log (OLLAMA_MAX_QUEUE bounds only those that wait for a model to load, and answers 503). This sets the three
for the service, and sends the same small requests at once before and after: whatever answers fewer of them, or lets
every round of clients wait longer, is taken back. It limits no client.

Sources: https://docs.ollama.com/faq (concurrent requests); defaults by version from Ollama's tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import CannotTell
from ...judging.matching import default_parallel
from ...parse.plain_text import printable
from ..services.canary import canary_model, fell
from ..services.service import change_service, settings_now
from ..step import Action, Measures, Precondition, Verified
from ..target import Target
from .concurrent_canaries import MOST_AT_ONCE, concurrent_measures, slower
from .context_fit import Fit, look, numbers_of, slots_of

SETTINGS: dict[str, Any] = {
    "parallel": 1, "max_loaded_models": 0, "max_queue": 0, "model": "", "at_once": 4, "tries": 4, "deadline_s": 60.0,
    "accept_slower": False, "memory_bytes": 0,
}  # fmt: skip
RECORDING = "queueing"

_VARIABLES = {
    "parallel": ("OLLAMA_NUM_PARALLEL", (0, 1, 33)),
    "max_loaded_models": ("OLLAMA_MAX_LOADED_MODELS", (0, 1, 33)),
    "max_queue": ("OLLAMA_MAX_QUEUE", (0, 1, 34)),
}
# From these versions on the defaults of slots and queue do not depend on memory.
_FIXED_PARALLEL, _DEFAULT_QUEUE = (0, 10, 0), "512"
_DIFFER = "settings differ"


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """What would put the wanted numbers in force. Raises CannotTell when the server or its settings are not seen."""
    version = target.version()
    if not version:
        raise CannotTell("The server does not answer /api/version: what it reads and has by default is not known.")
    environment = settings_now(target)
    wanted = {key: int(settings[key]) for key in _VARIABLES if int(settings[key])}
    model = canary_model(target, str(settings["model"]).strip())
    told = [_readable(version, wanted)]
    differing = {key: value for key, value in wanted.items() if _has(version, environment, key) != str(value)}
    told.append(_difference(version, environment, wanted, differing))
    slots_now = _has(version, environment, "parallel")
    if differing.get("parallel", 0) > (int(slots_now) if slots_now.isdigit() else 1):
        told.append(_memory(target, settings, model, int(wanted["parallel"])))
    variables: dict[str, str | None] = {_VARIABLES[key][0]: str(value) for key, value in wanted.items()}
    ours = all(environment.get(name) == value for name, value in variables.items())
    states = {one.state for one in told}
    # Where all holds by variables, a run that was cut short goes on; on any other server these change nothing.
    acts = (bool(wanted) and states <= {"met"}) or (states <= {"met", "not needed"} and ours)
    summary = ", ".join(f"{name}={value}" for name, value in variables.items()) or "Nothing is to be set"
    return Action(
        f"{summary}.", tuple(told), change_service(target, "limit-concurrency", variables) if acts else (),
        measure=lambda there: _measures(there, model, settings),
        helped=lambda before, after: _helped(before, after, wanted, bool(settings["accept_slower"])),
        afterwards=(
            "Watch queue_wait and the tail of the latency (warmstall report); clients that wait need longer deadlines.",
            "OLLAMA_MAX_QUEUE bounds only requests that wait for a model to load: bound the others in the client.",
        ),
    )  # fmt: skip


def _readable(version: str, wanted: Mapping[str, int]) -> Precondition:
    name = "the version reads them"
    unread = [variable for variable, since in (_VARIABLES[key] for key in wanted) if numbers_of(version) < since]
    wrong = [key for key, value in wanted.items() if value < 0]
    if unread or wrong or not wanted:
        why = (f"{wrong[0]}: expected 0 (leave it) or a number above it." if wrong else
               f"Ollama {printable(version)[:20]} does not read {', '.join(unread)}." if unread else
               "Neither parallel nor max_loaded_models nor max_queue is given: there is nothing to set.")  # fmt: skip
        return Precondition(name, "not met", why)
    return Precondition(name, "met", f"Ollama {printable(version)[:20]} reads them.")


def _has(version: str, environment: Mapping[str, str], key: str) -> str:
    """What is in force: the variable, or the default where that is a fixed number."""
    value = environment.get(_VARIABLES[key][0], "").strip()
    if value and value != "0":
        return value
    if key == "parallel" and numbers_of(version) >= _FIXED_PARALLEL:
        return str(default_parallel(version))
    return _DEFAULT_QUEUE if key == "max_queue" else ""


def _difference(
    version: str, environment: Mapping[str, str], wanted: Mapping[str, int], differing: Mapping[str, int]
) -> Precondition:
    told = []
    for key in wanted:
        name, has = _VARIABLES[key][0], _has(version, environment, key)
        by = "" if environment.get(name) else " by default"
        told.append(
            f"{name} is {printable(has)[:20]}{by}" if has else f"{name} is not set: the server decides by memory"
        )
    sentence = "; ".join(told) or "Nothing is wanted"
    return Precondition(_DIFFER, "met" if differing or not wanted else "not needed", f"{sentence}.")


def _memory(target: Target, settings: Mapping[str, Any], model: str, parallel: int) -> Precondition:
    """Whether a cache for each of that many slots fits."""
    name = "memory allows the slots"
    if not model:
        return Precondition(
            name, "cannot tell", "No model is in memory, so what a slot takes is not known: give the model."
        )
    try:
        fit: Fit = look(target, {"model": model, "prompt_tokens": 0, "answer_tokens": 0, "kv_cache_type": "",
                                 "memory_bytes": settings["memory_bytes"]})  # fmt: skip
    except CannotTell as error:
        return Precondition(name, "cannot tell", str(error))
    if fit.room is None or fit.in_force is None:
        return Precondition(name, "cannot tell", fit.no_room or "The context of the model is not known: load it.")
    takes, bound = fit.takes(fit.in_force, parallel=parallel), fit.shape.is_upper_bound(fit.in_force)
    told = (
        f"{parallel} slots of {fit.in_force:,} tokens and the weights of {printable(model)[:80]} take "
        f"{'at most ' if bound else ''}{takes / 2**30:.2f} GiB; {fit.room.free_bytes / 2**30:.2f} GiB of "
        f"{fit.room.where} ({fit.room.said}) are there, of which a tenth is left free."
    )
    if takes <= fit.usable_bytes:
        return Precondition(name, "met", told)
    if bound:
        return Precondition(name, "cannot tell", f"{told} It may fit nevertheless, since {bound}.")
    return Precondition(name, "not met", f"{told} Take fewer slots, or a smaller context (runbook fit-context).")


def _measures(target: Target, model: str, settings: Mapping[str, Any]) -> Measures:
    at_once = min(max(int(settings["at_once"]), 1), MOST_AT_ONCE)
    measured = concurrent_measures(target, model, at_once, int(settings["tries"]), float(settings["deadline_s"]))
    slots = slots_of(target, model) if model else None
    return {**measured, "slots": float(slots) if slots else None}


def _helped(before: Measures, after: Measures, wanted: Mapping[str, int], accept_slower: bool) -> Verified:
    told = {**after, "tries": after["requests"]}
    if failed := fell(before, told):
        return failed
    slots = after["slots"]
    if wanted.get("parallel") and slots is not None and slots != wanted["parallel"]:
        return Verified(False, f"The model was loaded with {slots:.0f} slots, not {wanted['parallel']}: the server "
                        "gives some architectures, and embedding models, one only.")  # fmt: skip
    if not accept_slower and (waits := slower(before, after)):
        return waits
    if after["success_rate"] is None:
        return Verified(None, "The settings are in force; no model was in memory or named, so nothing was measured.")
    was, is_now = before.get("wall_p95_s"), after["wall_p95_s"]
    waits_text = f"p95 {is_now:.2f} s" if is_now is not None else "none came back"
    before_text = f", before {was:.2f} s" if was is not None else ""
    return Verified(True, f"{after['success_rate']:.0%} of {after['requests']:.0f} requests came back, {waits_text}"
                    f"{before_text}.")  # fmt: skip
