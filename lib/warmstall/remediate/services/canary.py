"""Canaries: a few small requests, one after the other, which say how a model answers before and after a change."""

from __future__ import annotations

from statistics import median
from typing import Any

from ...errors import CannotTell
from ..step import Measures, Verified
from ..target import Resident, Target

# A load of a large model from a slow disk; the server itself gives up after five minutes.
_LOAD_S = 320.0
_TOKENS = 16


def canary_model(target: Target, model: str) -> str:
    """The model to ask: the one named, else one that is in memory and writes text; empty where there is none."""
    if model:
        return model
    try:
        found = [one.name for one in target.models_in_memory() if not _embeds(one)]
    except CannotTell:
        return ""
    return min(found, default="")


def canary_measures(target: Target, model: str, tries: int, deadline_s: float, prompt_words: int = 0) -> Measures:
    """Send so many small requests, and tell what share came back whole and how fast.

    success_rate, tries, wall_p50_s, and of decode_… and prefill_tokens_per_s the median, the lowest and the highest;
    None for what no request told. A model that is in memory already is asked, unless one is named; without any, all
    is None and nothing is sent. Prompts differ in their first words, so that none is answered from a cache.
    """
    name = canary_model(target, model)
    if not name:
        return dict.fromkeys(("success_rate", "tries", "wall_p50_s", *_rates([], "decode"), *_rates([], "prefill")))
    if not any(one.name in (name, f"{name}:latest") for one in _in_memory(target)):
        _ask(target, name, "Hello.", 1, max(deadline_s, _LOAD_S))  # the load is not what is compared
    walls: list[float] = []
    decode: list[float] = []
    prefill: list[float] = []
    for number in range(1, tries + 1):
        prompt = f"Try {number}. " + "one two three four five six seven " * (prompt_words // 7) + "Count on."
        answer = _ask(target, name, prompt, _TOKENS, deadline_s)
        body = answer["body"]
        if answer["status"] != "200" or not isinstance(body, dict) or body.get("done") is not True:
            continue
        walls.append(float(answer["wall_s"]))
        decode += _rate(body, "eval")
        prefill += _rate(body, "prompt_eval")
    return {"success_rate": len(walls) / tries if tries else None, "tries": float(tries),
            "wall_p50_s": median(walls) if walls else None, **_rates(decode, "decode"),
            **_rates(prefill, "prefill")}  # fmt: skip


def fell(before: Measures, after: Measures) -> Verified | None:
    """Not ok when a smaller share of the requests came back than before; None when it did not fall."""
    was, is_now = before.get("success_rate"), after.get("success_rate")
    if was is None or is_now is None or is_now >= was:
        return None
    return Verified(False, f"{is_now:.0%} of {after['tries']:.0f} requests came back, {was:.0%} before.")


def beyond_spread(before: Measures, after: Measures, rate: str) -> int | None:
    """1 when every try after the change was faster than every one before, -1 when slower, 0 when they overlap.

    Of three tries each this comes about by chance in one of twenty cases, of five in one of 252.
    """
    low, high = f"{rate}_lowest_tokens_per_s", f"{rate}_highest_tokens_per_s"
    a_low, a_high, b_low, b_high = after.get(low), after.get(high), before.get(low), before.get(high)
    if a_low is None or a_high is None or b_low is None or b_high is None:
        return None
    return 1 if a_low > b_high else -1 if a_high < b_low else 0


def _ask(target: Target, model: str, prompt: str, tokens: int, timeout_s: float) -> dict[str, Any]:
    options = {"num_predict": tokens, "temperature": 0}
    body = {"model": model, "prompt": prompt, "stream": False, "options": options}
    return target.send("/api/generate", body, timeout_s)


def _rate(body: dict[str, Any], part: str) -> list[float]:
    """Tokens per second of a part of the answer; none where it has too few tokens to tell."""
    count, duration_ns = body.get(f"{part}_count"), body.get(f"{part}_duration")
    if not isinstance(count, int) or not isinstance(duration_ns, int) or count < 2 or duration_ns <= 0:
        return []
    return [count / (duration_ns / 1e9)]


def _rates(rates: list[float], part: str) -> Measures:
    if not rates:
        return dict.fromkeys((f"{part}_tokens_per_s", f"{part}_lowest_tokens_per_s", f"{part}_highest_tokens_per_s"))
    return {f"{part}_tokens_per_s": median(rates), f"{part}_lowest_tokens_per_s": min(rates),
            f"{part}_highest_tokens_per_s": max(rates)}  # fmt: skip


def _in_memory(target: Target) -> list[Resident]:
    try:
        return target.models_in_memory()
    except CannotTell:
        return []


def _embeds(model: Resident) -> bool:
    return "bert" in str(model.details.get("family", "")).lower() or "embed" in model.name.lower()
