"""One verdict per request, with its reason in words.

The rules are a table, tried from the top; the first that holds gives the verdict. Each has a condition over
the facts of a request (`budget.py`) and a sentence that is filled from the same facts. What no rule decides
is `unknown`, and says what to collect next time. A confident wrong answer costs more than an honest
`unknown`: a rule belongs here only if what it sees cannot well be something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .records import Verdict

Facts = dict[str, Any]

# Below a second nobody waits: there is nothing to explain, and whole-second stamps could not explain it.
NOTHING_TO_EXPLAIN_S = 1.0
# The share of the wall from which on a part is what the request mostly did.
_MOSTLY = 0.5
# A wait counts as one when it made the request half as long again as its own work, and was noticeable.
_HALF_AS_LONG_AGAIN = 0.5
_NOTICEABLE_S = 0.3
# A phase counts as slow when what it lost is a quarter of the request: less does not decide how it felt.
_A_GOOD_PART = 0.25
# A request that a 500 ends sooner than a runner could have answered was refused by the server itself.
_REFUSED_AT_ONCE_S = 0.05
# Slow hardware, busy neighbours and long contexts make tokens two to ten times slower, all of them. A
# runner that stands still makes a single request slower by whatever the pause was.
_PAUSE_FACTOR = 5.0
# The same factor from which on a speed is not usual (`budget.py`), for the phase that did not pause.
_BOTH_SLOW_FACTOR = 3.0

# Of a request of a minute or more, a load of less than a fiftieth is lost in the whole seconds of its access line:
# whether its model was cold made no difference to it.
_LONG_S = 60.0
_HARDLY_ANY = 0.02

_CLIENT_LEFT = re.compile(
    r"client timeout|closed connection|timed? ?out waiting for (?:the )?response|cancell?ed|ReadTimeout", re.I
)
_LOAD_FAILED = re.compile(
    r"error loading|unable to (?:load|allocate)|requires more system memory|invalid file magic|"
    r"timed out waiting for (?:llama|server)|process has terminated|unknown (?:model )?architecture|"
    r"insufficient memory",
    re.I,
)
_RUNNER_DIED = re.compile(r"error was encountered while running|unexpected EOF|unexpectedly stopped|without done", re.I)


@dataclass(frozen=True)
class Rule:
    """A verdict, when it holds, and the sentence that says why."""

    verdict: Verdict
    when: Callable[[Facts], bool]
    because: str


def _excess(f: Facts, phase: str) -> bool:
    """Whether the phase lost a second or more, and a good part of the request, to being slower than usual."""
    excess_s = f[f"{phase}_excess_s"]
    return bool(f[f"{phase}_beyond"] and excess_s >= max(NOTHING_TO_EXPLAIN_S, _A_GOOD_PART * f["wall_s"]))


def _paused(f: Facts, phase: str) -> bool:
    """A long pause in one phase: far beyond its usual rate, and nothing around it was slow.

    A pause falls into one phase; what makes both slow is a lack of cores, memory or bandwidth.
    """
    other = "prefill" if phase == "decode" else "decode"
    sure = (phase == "decode" or f["prefill_sure"]) and (f[f"{other}_factor"] or 0.0) < _BOTH_SLOW_FACTOR
    return bool(sure and _excess(f, phase) and f[f"{phase}_factor"] >= _PAUSE_FACTOR and f["alone"] and not f["beside"])


def _mostly_something_else(f: Facts) -> bool:
    """A load was there, but what came after it is longer than the load and beyond what is usual."""
    usual_s = f["usual_limit_s"]
    before_s = f["load_s"] + f["queue_s"] + NOTHING_TO_EXPLAIN_S
    if f["measured"]:
        return any(_paused(f, phase) and f[f"{phase}_excess_s"] > before_s for phase in ("prefill", "decode"))
    return bool(usual_s and f["rest_s"] > max(usual_s, before_s))


def _hardly_a_load(f: Facts) -> bool:
    """A load was there, but it is next to nothing of a long request, and nobody knows what the rest usually takes."""
    unknown = f["usual_limit_s"] is None and not f["measured"]
    # A load without a length may have been a long one.
    return bool(unknown and f["wall_s"] >= _LONG_S and 0 < f["load_s"] + f["queue_s"] < _HARDLY_ANY * f["wall_s"])


def _stood_still(f: Facts, still_s: str = "stopped_s") -> bool:
    return bool(f[still_s] >= max(NOTHING_TO_EXPLAIN_S, _MOSTLY * (f["wall_s"] - f["load_s"])))


def _gave_up(f: Facts) -> bool:
    """The client's own record says that it left."""
    return bool(_CLIENT_LEFT.search(f["trial_error"]))


RULES: tuple[Rule, ...] = (
    # --- refused before any model was involved
    Rule(
        "rejected", lambda f: f["status"] == "503", "the server was busy: its queue of pending requests was full (503)"
    ),
    Rule("rejected", lambda f: f["status"] == "404", "not found (404): no such model or path; nothing was run"),
    Rule(
        "rejected",
        lambda f: (f["status"][:1] == "4" and f["status"] != "499") or f["status"] == "501",
        "refused with {status}; no answer was generated",
    ),
    Rule("warm_ok", lambda f: not f["inference"] and f["status"][:1] in "123", "needs no model"),
    # --- what the client saw
    Rule("client_abort", lambda f: f["status"] == "499", "the client left before its model was ready (499)"),
    Rule(
        "load_failure",
        lambda f: bool(_LOAD_FAILED.search(f["trial_error"])),
        "the model could not be loaded: {trial_error}",
    ),
    Rule(
        "runner_crash",
        lambda f: bool(_RUNNER_DIED.search(f["trial_error"])),
        "the runner died while it answered: {trial_error}",
    ),
    Rule(
        "warm_stall",
        lambda f: _gave_up(f) and _stood_still(f, "idle_s") and not f["waited"] and not f["triggered"],
        "for {idle_s:.0f} of its {wall_s:.1f} s the runner did nothing (process samples), with the model in memory, "
        "until the client left: {trial_error}",
    ),
    Rule(
        "client_abort",
        _gave_up,
        "the client left after {wall_s:.1f} s: {trial_error}",
    ),
    # --- failures the log explains
    Rule(
        "client_abort",
        lambda f: f["status"] == "500" and f["failed_load"] == "abandoned",
        "the client left while the model was loading (line {failed_line})",
    ),
    Rule(
        "load_failure",
        lambda f: f["status"][:1] == "5" and f["failed_load"] != "",
        "its model could not be loaded (line {failed_line}): {failed_reason}",
    ),
    Rule(
        "runner_crash",
        lambda f: f["crash_line"] > 0 and (f["status"][:1] == "5" or f["task_cut"] or not f["measured"]),
        "the runner died under it (line {crash_line}): {crash_text}",
    ),
    Rule(
        "client_abort",
        lambda f: f["abort_line"] > 0 and not f["whole"],
        "the client closed the connection (line {abort_line})",
    ),
    Rule(
        "client_abort",
        lambda f: f["task_cut"] and (f["task_released"] or f["task_cancelled"]) and not f["whole"],
        "its slot was released before it had finished (task of line {task_line}): the client left after {wall_s:.1f} s",
    ),
    Rule(
        "client_abort",
        lambda f: f["ran"] and f["shared_timeout_s"] > 0,
        "failed after {wall_s:.1f} s like others, and its runner lived on: a client's timeout of "
        "{shared_timeout_s:.0f} s (the server has none)",
    ),
    Rule(
        "rejected",
        lambda f: f["status"][:1] == "5" and f["wall_s"] < _REFUSED_AT_ONCE_S,
        "refused with {status} after {wall_s:.3f} s, sooner than a model could have answered",
    ),
    # --- the time before the model was there
    Rule(
        "warm_stall",
        lambda f: f["status"] == "200" and _stood_still(f) and not f["waited"],
        "for {stopped_s:.0f} of its {wall_s:.1f} s the runner stood still (process samples), with the model in memory",
    ),
    Rule(
        "queue_wait",
        lambda f: (
            f["status"] == "200"
            and f["waited"]
            and f["queue_s"] > max(f["load_s"], f["uncertainty_s"], NOTHING_TO_EXPLAIN_S)
            and not _mostly_something_else(f)
        ),
        "waited {queue_s:.1f} s, {wait_when}; the load itself took {load_s:.2f} s (line {load_line})",
    ),
    Rule(
        "cold_start",
        lambda f: f["status"] == "200" and f["triggered"] and not _mostly_something_else(f) and not _hardly_a_load(f),
        "its model was not in memory: {load_text} (line {load_line}){beside_the_load}",
    ),
    Rule(
        "cold_start",
        lambda f: (
            f["status"] == "200" and f["waited"] and not f["triggered"] and f["load_s"] >= max(f["uncertainty_s"], 0.05)
        ),
        "came while its model was being loaded (line {load_line}) and waited {load_s:.2f} s for it",
    ),
    Rule(
        "queue_wait",
        lambda f: (
            f["status"] == "200"
            and f["measured"]
            and f["in_flight"] > 1
            and f["queue_s"] >= max(_HALF_AS_LONG_AGAIN * (f["wall_s"] - f["queue_s"]), _NOTICEABLE_S)
        ),
        "waited {queue_s:.2f} of {wall_s:.2f} s for a free slot; {in_flight} requests were there when it came",
    ),
    # --- the model was there
    Rule(
        "warm_stall",
        lambda f: f["status"] == "200" and f["measured"] and _paused(f, "decode"),
        "{decode_tokens} tokens took {decode_s:.1f} s that usually come at {decode_usual_rate:.0f}/s, while the "
        "requests before and after it ran at normal speed: the model was in memory and stood still",
    ),
    Rule(
        "warm_stall",
        lambda f: f["status"] == "200" and f["measured"] and _paused(f, "prefill"),
        "{prompt_tokens} prompt tokens took {prefill_s:.1f} s that are usually read at {prefill_usual_rate:.0f}/s, "
        "while the requests before and after it ran at normal speed: the model was in memory and stood still",
    ),
    Rule(
        "slow_decode",
        lambda f: f["status"] == "200" and _excess(f, "decode") and f["decode_excess_s"] >= f["prefill_excess_s"],
        "{decode_tokens} tokens took {decode_s:.1f} s, {decode_factor:.1f} times the usual{beside_others}",
    ),
    Rule(
        "slow_prefill",
        lambda f: f["status"] == "200" and f["prefill_sure"] and _excess(f, "prefill"),
        "{prompt_tokens} prompt tokens took {prefill_s:.1f} s, {prefill_factor:.1f} times the usual{beside_others}",
    ),
    Rule(
        "warm_ok",
        lambda f: (
            f["status"] == "200"
            and f["measured"]
            and not (f["loads_seen"] and not f["waited"] and f["unexplained_s"] >= _NOTICEABLE_S)
            and not (_excess(f, "prefill") and not f["prefill_sure"])
            and f["unexplained_s"] < max(NOTHING_TO_EXPLAIN_S, _MOSTLY * f["wall_s"])
            and f["queue_s"] < max(NOTHING_TO_EXPLAIN_S, _MOSTLY * f["wall_s"])
        ),
        "the model was in memory and worked at its usual speed: prompt {prefill_s:.2f} s, answer {decode_s:.2f} s",
    ),
    Rule(
        "queue_wait",
        lambda f: (
            f["status"] == "200"
            and not f["measured"]
            and f["model"] != ""
            and f["in_flight"] > 1
            and f["queue_s"] > max(2 * f["uncertainty_s"], _NOTICEABLE_S)
            and f["queue_s"] >= _MOSTLY * f["wall_s"]
        ),
        "waited about {queue_s:.1f} of {wall_s:.1f} s for a free slot; {in_flight} requests were there when it came",
    ),
    Rule(
        "warm_ok",
        lambda f: f["status"] == "200" and f["loads_seen"] == 0 and f["wall_s"] < NOTHING_TO_EXPLAIN_S,
        "answered in {wall_s:.2f} s{if_by_a_model}",
    ),
    Rule(
        "warm_ok",
        lambda f: (
            f["status"] == "200"
            and f["loads_seen"] == 0
            and f["usual_limit_s"] is not None
            and f["wall_s"] <= f["usual_limit_s"]
            and f["queue_s"] < _MOSTLY * f["wall_s"]
        ),
        "no load during it, and {wall_s:.1f} s is usual here (middle {usual_s:.1f} s of {usual_n})",
    ),
)

# The honest rest: what the log leaves open, and what would tell.
_UNKNOWN: tuple[tuple[Callable[[Facts], bool], str], ...] = (
    (
        lambda f: f["status"][:1] == "5" and f["ran"],
        "failed with {status} after {wall_s:.1f} s and the log gives no reason; a client that gave up looks like this. "
        "Collect: the client's own error and timeout",
    ),
    (
        lambda f: f["triggered"] and _mostly_something_else(f),
        "its model was loaded first ({load_text}, line {load_line}), but the other {rest_s:.1f} s are far beyond the "
        "{usual_s:.1f} s that are usual: the cold start is not why it was slow. Collect: eval_count and eval_duration "
        "of the final chunk, or samples of the runner's CPU",
    ),
    (
        lambda f: f["triggered"] and _hardly_a_load(f),
        "its model was loaded first (line {load_line}), but that explains only {load_s:.1f} of its {wall_s:.0f} s, and "
        "too few requests like it tell whether the other {rest_s:.0f} s are usual. Collect: eval_count and "
        "eval_duration of the final chunk, or samples of the runner's CPU",
    ),
    (
        lambda f: f["measured"] and _excess(f, "prefill"),
        "{prefill_s:.1f} s went into its prompt, and the count of {prompt_tokens} tokens may hold cached ones: a long "
        "prompt and a stall look alike. Collect: samples of the runner's CPU, or the log of Ollama 0.30 or later",
    ),
    (
        lambda f: f["measured"] and not f["loads_seen"],
        "{unexplained_s:.1f} of its {wall_s:.1f} s are in none of Ollama's durations: not loading, reading or writing. "
        "Collect: the start and end of every other request, to see whether it waited for a slot",
    ),
    (
        lambda f: f["loads_seen"] > 0,
        "a model was being loaded meanwhile, but whether it was this request's cannot be told. "
        "Collect: the client's load_duration, or the model of each request",
    ),
    (
        lambda f: f["in_flight"] > 1 and f["queue_s"] >= f["uncertainty_s"],
        "other requests were in flight, {queue_s:.1f} s of its {wall_s:.1f} s may be waiting for a slot. "
        "Collect: the client's final chunk (total, load, prompt_eval and eval durations)",
    ),
    (
        lambda f: f["usual_limit_s"] is not None and f["wall_s"] > f["usual_limit_s"],
        "not a cold start: no load of its model, no queue, yet {wall_s:.1f} s where {usual_s:.1f} s is usual "
        "({usual_n} requests). "
        "Either the runner stood still or the answer was long; this log does not tell. "
        "Collect: eval_count and eval_duration of the final chunk, or samples of the runner's CPU",
    ),
    (
        lambda f: True,
        "no load and no queue, but too few requests like it to know what is usual. "
        "Collect: a longer log, or the client's final chunk",
    ),
)


def verdict_of(facts: Facts) -> tuple[Verdict, str]:
    """The verdict of one request and its reason.

    >>> verdict_of({"status": "503"})[0]
    'rejected'
    """
    for rule in RULES:
        if rule.when(facts):
            return rule.verdict, rule.because.format_map(Shown(facts))
    because = next(text for when, text in _UNKNOWN if when(facts))
    return "unknown", because.format_map(Shown(facts))


class Shown(dict[str, Any]):
    """Facts for a sentence: numbers that are not known read as 0 rather than break it."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return 0 if value is None else value

    def __missing__(self, key: str) -> str:
        """The turns of phrase that depend on more than one number."""
        if key == "load_text":
            if self["load_s"] < 0.005:
                return "its load is in the log, but not how long it took"
            return f"{self['load_s']:.2f} of its {self['wall_s']:.2f} s are the load"
        if key == "beside_the_load":
            rest_s = self["wall_s"] - self["load_s"]
            if self["load_s"] >= _MOSTLY * self["wall_s"] or rest_s < NOTHING_TO_EXPLAIN_S:
                return ""
            return f"; the other {rest_s:.1f} s are not the load"
        if key == "beside_others":
            return f", beside {self['beside']} other requests" if self["beside"] else "; no load, no queue"
        if key == "if_by_a_model":  # a call without a prompt is answered at once, with no model in memory
            return "" if self["model"] else "; the log does not tell by which model, if any"
        if key == "wait_when":
            return "before its model's load began" if self["queued_first"] else "most of it after its model was loaded"
        raise KeyError(key)


def flags_of(facts: Facts) -> str:
    """Flags of one request, joined by spaces: reload, truncated, retried (one of several attempts of a call)."""
    raised = {
        "reload": facts["reload"] and facts["triggered"], "truncated": facts["truncated"], "retried": facts["retried"],
    }  # fmt: skip
    return " ".join(name for name, on in raised.items() if on)
