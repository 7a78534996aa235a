"""One verdict per request, with its reason in words.

The rules are a table, tried from the top; the first that holds gives the verdict. Each has a condition over
the facts of requests (`facts.py`), which are columns: many are judged at once. The sentence is filled from the
facts of one, when it is asked for. What no rule decides is `unknown`, and says what to collect next time. A
confident wrong answer costs more than an honest `unknown`: a rule belongs here only if what it sees cannot well
be something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..records import Verdict
from .words import Mask, Numbers, Words


class Columns(Protocol):
    """Facts of requests by name: numbers (NaN: not known), masks and texts (`words.py`)."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __len__(self) -> int: ...


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
# The same factor from which on a speed is not usual (`usual.py`), for the phase that did not pause.
_BOTH_SLOW_FACTOR = 3.0

# Of a request of a minute or more, a load of less than a fiftieth is lost in the whole seconds of its access line:
# whether its model was cold made no difference to it.
_LONG_S = 60.0
_HARDLY_ANY = 0.02
# What took so long was a long answer or a long pause, whatever its end.
_VERY_LONG_S = 600.0

_CLIENT_LEFT = re.compile(
    r"client timeout|closed connection|timed? ?out waiting for (?:the )?response|cancell?ed|ReadTimeout", re.I
)
# Ollama itself answers with none of these.
_OF_ANOTHER_SERVER = ("502", "504", "520", "522", "524")
_HELD_BACK = re.compile(r"aborting \w+ request due to client closing")
_LOAD_FAILED = re.compile(
    r"error loading|unable to (?:load|allocate)|requires more system memory|invalid file magic|"
    r"timed out waiting for (?:llama|server)|timeout waiting for (?:mlx|image) runner|process has terminated|"
    r"unknown (?:model )?architecture|"
    r"insufficient memory",
    re.I,
)
_RUNNER_DIED = re.compile(r"error was encountered while running|unexpected EOF|unexpectedly stopped|without done", re.I)


class Plain(Protocol):
    """Facts of one request by name, as plain values (None: not known)."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Rule:
    """A verdict, of which requests it holds, and the sentence that says why."""

    verdict: Verdict
    when: Callable[[Columns], Mask]
    because: str


def _if_any(mask: Mask, more: Callable[[], Mask]) -> Mask:
    """Where both hold; the second is worked out only if the first holds anywhere."""
    return mask & more() if mask.any() else mask


def _first(f: Columns, letter: str) -> Mask:
    """Whether the status is of this hundred."""
    mask: Mask = f["status"].where(lambda status: status[:1] == letter)
    return mask


def _excess(f: Columns, phase: str) -> Mask:
    """Whether the phase lost a second or more, and a good part of the request, to being slower than usual."""
    beyond: Mask = f[f"{phase}_beyond"]
    if not beyond.any():
        return beyond
    enough: Mask = f[f"{phase}_excess_s"] >= np.maximum(NOTHING_TO_EXPLAIN_S, _A_GOOD_PART * f["wall_s"])
    return beyond & enough


def _paused(f: Columns, phase: str) -> Mask:
    """A long pause in one phase: far beyond its usual rate, and nothing around it was slow.

    A pause falls into one phase; what makes both slow is a lack of cores, memory or bandwidth.
    """
    other = "prefill" if phase == "decode" else "decode"
    slow = _excess(f, phase)
    if not slow.any():
        return slow
    sure = (phase == "decode") | f["prefill_sure"]
    far: Mask = (f[f"{phase}_factor"] >= _PAUSE_FACTOR) & ~(f[f"{other}_factor"] >= _BOTH_SLOW_FACTOR)
    paused: Mask = far & sure & slow & f["alone"] & (f["beside"] == 0)
    return paused


def _mostly_something_else(f: Columns) -> Mask:
    """A load was there, but what came after it is longer than the load and beyond what is usual."""
    before_s = f["load_s"] + f["queue_s"] + NOTHING_TO_EXPLAIN_S
    paused = [_paused(f, phase) & (f[f"{phase}_excess_s"] > before_s) for phase in ("prefill", "decode")]
    beyond: Mask = f["rest_s"] > np.maximum(f["usual_limit_s"], before_s)
    return np.where(f["measured"], paused[0] | paused[1], beyond)


def _hardly_a_load(f: Columns) -> Mask:
    """A load was there, but it is next to nothing of a long request, and nobody knows what the rest usually takes."""
    before_s = f["load_s"] + f["queue_s"]
    # A load without a length may have been a long one.
    hardly: Mask = (f["wall_s"] >= _LONG_S) & (before_s > 0) & (before_s < _HARDLY_ANY * f["wall_s"])
    hardly &= np.isnan(f["usual_limit_s"]) & ~f["measured"]
    return hardly


def _stood_still(f: Columns, still_s: str = "stopped_s") -> Mask:
    enough: Mask = f[still_s] >= NOTHING_TO_EXPLAIN_S
    return _if_any(enough, lambda: f[still_s] >= _MOSTLY * (f["wall_s"] - f["load_s"]))


def _gave_up(f: Columns) -> Mask:
    """The client's own record says that it left."""
    mask: Mask = f["trial_error"].where(_CLIENT_LEFT.search)
    return mask


RULES: tuple[Rule, ...] = (
    # --- refused before any model was involved
    Rule(
        "rejected", lambda f: f["status"] == "503", "the server was busy: its queue of pending requests was full (503)"
    ),
    Rule("rejected", lambda f: f["status"] == "404", "not found (404): no such model or path; nothing was run"),
    Rule(
        "rejected",
        lambda f: (_first(f, "4") & (f["status"] != "499") & ~f["ran"]) | (f["status"] == "501"),
        "refused with {status}; no answer was generated",
    ),
    Rule("warm_ok", lambda f: ~f["inference"] & f["status"].where(lambda s: s[:1] in "123"), "needs no model"),
    # --- what the client saw
    Rule("client_abort", lambda f: f["status"] == "499", "the client left before its model was ready (499)"),
    Rule(
        "load_failure",
        lambda f: f["trial_error"].where(_LOAD_FAILED.search),
        "the model could not be loaded: {trial_error}",
    ),
    Rule(
        "runner_crash",
        lambda f: f["trial_error"].where(_RUNNER_DIED.search),
        "the runner died while it answered: {trial_error}",
    ),
    Rule(
        "warm_stall",
        lambda f: _if_any(_gave_up(f) & ~f["waited"] & ~f["triggered"], lambda: _stood_still(f, "idle_s")),
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
        lambda f: (f["status"] == "500") & (f["failed_load"] == "abandoned"),
        "the client left while the model was loading (line {failed_line})",
    ),
    Rule(
        "load_failure",
        lambda f: _first(f, "5") & (f["failed_load"] != ""),
        "its model could not be loaded (line {failed_line}): {failed_reason}",
    ),
    Rule(
        "runner_crash",
        lambda f: (f["crash_line"] > 0) & (_first(f, "5") | f["task_cut"] | ~f["measured"]),
        "the runner died under it (line {crash_line}): {crash_text}",
    ),
    Rule(
        "unknown",
        lambda f: (f["stop_line"] > 0) & _first(f, "5"),
        "cut after {wall_s:.1f} s{beyond_usual} as the server was stopped (line {stop_line}), so nothing tells how it "
        "would have ended. Collect: why the server was stopped, and samples of the runner's CPU before that",
    ),
    # Server and runner note a client that leaves only while they hold its request back. A line that may be of several
    # requests does not tell which of them that was: others may have been running.
    Rule(
        "client_abort",
        lambda f: f["abort_alone"] & ~f["whole"] & f["abort_text"].where(_HELD_BACK.match),
        "the client closed the connection while it waited for a slot of its runner (line {abort_line})",
    ),
    Rule(
        "client_abort",
        lambda f: (f["abort_line"] > 0) & ~f["whole"],
        "the client closed the connection (line {abort_line})",
    ),
    Rule(
        "client_abort",
        lambda f: f["task_cut"] & (f["task_released"] | f["task_cancelled"]) & ~f["whole"],
        "its slot was released before it had finished (task of line {task_line}): the client left after {wall_s:.1f} s",
    ),
    Rule(
        "client_abort",
        lambda f: f["ran"] & (f["shared_timeout_s"] > 0),
        "failed after {wall_s:.1f} s like others, and its runner lived on: a client's timeout of "
        "{shared_timeout_s:.0f} s (the server has none)",
    ),
    Rule(
        "unknown",
        lambda f: ~f["has_wall"],
        "its access line ends with {status} and tells no latency that can be read. Collect: the client's own record of "
        "this call, with its start and end",
    ),
    Rule(
        "rejected",
        lambda f: _first(f, "5") & (f["wall_s"] < _REFUSED_AT_ONCE_S),
        "refused with {status} after {wall_s:.3f} s, sooner than a model could have answered",
    ),
    # --- the time before the model was there
    Rule(
        "warm_stall",
        lambda f: (f["status"] == "200") & _stood_still(f) & ~f["waited"],
        "for {stopped_s:.0f} of its {wall_s:.1f} s the runner stood still (process samples), with the model in memory",
    ),
    Rule(
        "queue_wait",
        lambda f: _if_any(
            (f["status"] == "200") & f["waited"],
            lambda: (
                (f["queue_s"] > np.maximum(np.maximum(f["load_s"], f["uncertainty_s"]), NOTHING_TO_EXPLAIN_S))
                & ~_mostly_something_else(f)
            ),
        ),
        "waited {queue_s:.1f} s, {wait_when}; the load itself took {load_s:.2f} s (line {load_line})",
    ),
    Rule(
        "cold_start",
        lambda f: _if_any(
            (f["status"] == "200") & f["triggered"], lambda: ~_mostly_something_else(f) & ~_hardly_a_load(f)
        ),
        "its model was not in memory: {load_text} (line {load_line}){beside_the_load}",
    ),
    Rule(
        "cold_start",
        lambda f: _if_any(
            (f["status"] == "200") & f["waited"] & ~f["triggered"],
            lambda: (
                (f["load_s"] >= np.maximum(f["uncertainty_s"], 0.05)) & ~_mostly_something_else(f) & ~_hardly_a_load(f)
            ),
        ),
        "came while its model was being loaded (line {load_line}) and waited {load_s:.2f} s for it{beside_the_load}",
    ),
    Rule(
        "queue_wait",
        lambda f: _if_any(
            (f["status"] == "200") & f["measured"],
            lambda: (
                (f["in_flight"] > 1)
                & (f["queue_s"] >= np.maximum(_HALF_AS_LONG_AGAIN * (f["wall_s"] - f["queue_s"]), _NOTICEABLE_S))
            ),
        ),
        "waited {queue_s:.2f} of {wall_s:.2f} s for a free slot; {in_flight} requests were there when it came",
    ),
    # --- the model was there
    Rule(
        "warm_stall",
        lambda f: (f["status"] == "200") & f["measured"] & _paused(f, "decode"),
        "{decode_tokens} tokens took {decode_s:.1f} s that usually come at {decode_usual_rate:.0f}/s, while the "
        "requests before and after it ran at normal speed: the model was in memory and stood still",
    ),
    Rule(
        "warm_stall",
        lambda f: (f["status"] == "200") & f["measured"] & _paused(f, "prefill"),
        "{prompt_tokens} prompt tokens took {prefill_s:.1f} s that are usually read at {prefill_usual_rate:.0f}/s, "
        "while the requests before and after it ran at normal speed: the model was in memory and stood still",
    ),
    Rule(
        "slow_decode",
        lambda f: (f["status"] == "200") & _excess(f, "decode") & (f["decode_excess_s"] >= f["prefill_excess_s"]),
        "{decode_tokens} tokens took {decode_s:.1f} s, {decode_factor:.1f} times the usual{beside_others}",
    ),
    Rule(
        "slow_prefill",
        lambda f: (f["status"] == "200") & f["prefill_sure"] & _excess(f, "prefill"),
        "{prompt_tokens} prompt tokens took {prefill_s:.1f} s, {prefill_factor:.1f} times the usual{beside_others}",
    ),
    Rule(
        "warm_ok",
        lambda f: _if_any(
            (f["status"] == "200") & f["measured"],
            lambda: (
                ~((f["loads_seen"] > 0) & ~f["waited"] & (f["unexplained_s"] >= _NOTICEABLE_S))
                & ~(_excess(f, "prefill") & ~f["prefill_sure"])
                & (f["unexplained_s"] < np.maximum(NOTHING_TO_EXPLAIN_S, _MOSTLY * f["wall_s"]))
                & (f["queue_s"] < np.maximum(NOTHING_TO_EXPLAIN_S, _MOSTLY * f["wall_s"]))
            ),
        ),
        "the model was in memory and worked at its usual speed: prompt {prefill_s:.2f} s, answer {decode_s:.2f} s",
    ),
    Rule(
        "queue_wait",
        lambda f: (
            (f["status"] == "200")
            & ~f["measured"]
            & (f["model"] != "")
            & (f["in_flight"] > 1)
            & (f["queue_s"] > np.maximum(2 * f["uncertainty_s"], _NOTICEABLE_S))
            & (f["queue_s"] >= _MOSTLY * f["wall_s"])
        ),
        "waited about {queue_s:.1f} of {wall_s:.1f} s for a free slot; {in_flight} requests were there when it came",
    ),
    Rule(
        "warm_ok",
        lambda f: (f["status"] == "200") & (f["loads_seen"] == 0) & (f["wall_s"] < NOTHING_TO_EXPLAIN_S),
        "answered in {wall_s:.2f} s{if_by_a_model}",
    ),
    Rule(
        "warm_ok",
        lambda f: (
            (f["status"] == "200")
            & (f["loads_seen"] == 0)
            & (f["wall_s"] <= f["usual_limit_s"])
            & (f["queue_s"] < _MOSTLY * f["wall_s"])
        ),
        "{no_load}{wall_s:.1f} s is usual here (median {usual_s:.1f} s of {usual_n})",
    ),
)

# The honest rest: what the log leaves open, and what would tell.
UNKNOWN: tuple[Rule, ...] = (
    Rule(
        "unknown",
        lambda f: f["status"].where(_OF_ANOTHER_SERVER.__contains__) & f["ran"],
        "failed with {status} after {wall_s:.1f} s: its model runs on another server (a cloud model), which failed or "
        "was out of reach. Collect: the error text of the answer",
    ),
    Rule(
        "unknown",
        lambda f: _first(f, "5") & f["ran"] & (f["wall_s"] >= _VERY_LONG_S),
        "failed with {status} after {wall_s:.0f} s{beyond_usual} and the log gives no reason; a client that gave up on "
        "a slow or endless answer, or on a runner that stood still, looks like this. Collect: the client's own error "
        "and timeout, and before 0.30 a log with OLLAMA_DEBUG=1, which tells of answers that overrun their context",
    ),
    Rule(
        "unknown",
        lambda f: _first(f, "5") & f["ran"],
        "failed with {status} after {wall_s:.1f} s{beyond_usual} and the log gives no reason; a client that gave up "
        "looks like this. Collect: the client's own error and timeout",
    ),
    Rule(
        "unknown",
        lambda f: (f["status"] == "400") & f["ran"],
        "failed with 400 after {wall_s:.1f} s{beyond_usual} and the log gives no reason; an embedding that its client "
        "gave up looks like this, and so does an input beyond the context. Collect: the client's own error and timeout",
    ),
    Rule(
        "unknown",
        lambda f: _if_any(f["triggered"] | f["waited"], lambda: _mostly_something_else(f)),
        "its model was loaded first ({load_text}, line {load_line}), but the other {rest_s:.1f} s are far beyond the "
        "{usual_s:.1f} s that are usual: the cold start is not why it was slow. Collect: eval_count and eval_duration "
        "of the final chunk, or samples of the runner's CPU",
    ),
    Rule(
        "unknown",
        lambda f: _if_any(f["triggered"] | f["waited"], lambda: _hardly_a_load(f)),
        "its model was loaded first (line {load_line}), but that explains only {load_s:.1f} of its {wall_s:.0f} s, and "
        "too few requests like it tell whether the other {rest_s:.0f} s are usual. Collect: eval_count and "
        "eval_duration of the final chunk, or samples of the runner's CPU",
    ),
    Rule(
        "unknown",
        lambda f: f["measured"] & _excess(f, "prefill"),
        "{prefill_s:.1f} s went into its prompt, and the count of {prompt_tokens} tokens may hold cached ones: a long "
        "prompt and a stall look alike. Collect: samples of the runner's CPU, or the log of Ollama 0.30 or later",
    ),
    Rule(
        "unknown",
        lambda f: f["measured"] & (f["loads_seen"] == 0),
        "{unexplained_s:.1f} of its {wall_s:.1f} s are in none of Ollama's durations: not loading, reading or writing. "
        "Collect: the start and end of every other request, to see whether it waited for a slot",
    ),
    Rule(
        "unknown",
        lambda f: f["loads_seen"] > 0,
        "a model was being loaded meanwhile, but whether it was this request's cannot be told. "
        "Collect: the client's load_duration, or the model of each request",
    ),
    Rule(
        "unknown",
        lambda f: (f["in_flight"] > 1) & (f["queue_s"] >= f["uncertainty_s"]),
        "other requests were in flight, {queue_s:.1f} s of its {wall_s:.1f} s may be waiting for a slot. "
        "Collect: the client's final chunk (total, load, prompt_eval and eval durations)",
    ),
    Rule(
        "unknown",
        lambda f: f["access_lines_only"] & (f["wall_s"] > f["usual_limit_s"]),
        "{wall_s:.1f} s where {usual_s:.1f} s is usual ({usual_n} requests), and a log of access lines alone does not "
        "show whether its model was loaded. Collect: the whole log of the server, not its [GIN] lines alone",
    ),
    Rule(
        "unknown",
        lambda f: f["wall_s"] > f["usual_limit_s"],
        "not a cold start: no load of its model, no queue, yet {wall_s:.1f} s where {usual_s:.1f} s is usual "
        "({usual_n} requests). "
        "Either the runner stood still or the answer was long; this log does not tell. "
        "Collect: eval_count and eval_duration of the final chunk, or samples of the runner's CPU",
    ),
    Rule(
        "unknown",
        lambda f: (f["wall_s"] <= f["usual_limit_s"]) & (f["queue_s"] >= _MOSTLY * f["wall_s"]),
        "{queue_s:.1f} s of its {wall_s:.1f} s may be waiting for another request, and whole seconds do not tell which "
        "of the two came first. Collect: the client's final chunk (total, load, prompt_eval and eval durations)",
    ),
    Rule(
        "unknown",
        lambda f: f["access_lines_only"],
        "a log of access lines alone does not show whether its model was loaded, and too few requests like it tell "
        "what is usual. Collect: the whole log of the server, not its [GIN] lines alone",
    ),
    Rule(
        "unknown",
        lambda f: np.ones(len(f), dtype=bool),
        "no load and no queue, but too few requests like it to know what is usual. "
        "Collect: a longer log, or the client's final chunk",
    ),
)


EVERY_RULE = RULES + UNKNOWN


def rules_that_hold(f: Columns) -> Numbers:
    """The number in EVERY_RULE of the first rule that holds for each of the requests."""
    found = np.full(len(f), -1, dtype=np.int8)
    left = np.ones(len(f), dtype=bool)
    for number, rule in enumerate(EVERY_RULE):
        held = rule.when(f)
        if held.any():
            np.copyto(found, np.int8(number), where=held & left)
            left &= ~held
            if not left.any():
                break
    return found


def verdict_of(facts: Mapping[str, Any]) -> tuple[Verdict, str]:
    """The verdict of one request and its reason.

    >>> verdict_of({"status": "503"})[0]
    'rejected'
    """
    rule = EVERY_RULE[int(rules_that_hold(_One(facts))[0])]
    return rule.verdict, rule.because.format_map(Shown(facts))


class _One:
    """The facts of one request, as columns of one row."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def __len__(self) -> int:
        return 1

    def __getitem__(self, name: str) -> Any:
        value = self._facts[name]
        if isinstance(value, str):
            return Words.of([value])
        return np.array([np.nan if value is None else value])


@dataclass(frozen=True)
class Phrase:
    """A turn of phrase that depends on more than one number: `if_so` where its condition holds, else `if_not`.

    The condition is asked of one request and of columns alike.
    """

    when: Callable[[Any], Any]
    if_so: str
    if_not: str
    of: Callable[[Any], float] = lambda f: 0.0

    def shown(self, facts: Shown) -> str:
        """How it reads for one request; `{0}` is the number that it is of."""
        return (self.if_so if self.when(facts) else self.if_not).format(self.of(facts), facts=facts)


def _beside_load_s(f: Any) -> Any:
    return f["wall_s"] - f["load_s"]


PHRASES = {
    "load_text": Phrase(
        lambda f: f["load_s"] < 0.005,
        "its load is in the log, but not how long it took",
        "{facts[load_s]:.2f} of its {facts[wall_s]:.2f} s are the load",
    ),
    "beside_the_load": Phrase(
        lambda f: (f["load_s"] >= _MOSTLY * f["wall_s"]) | (_beside_load_s(f) < NOTHING_TO_EXPLAIN_S),
        "",
        "; the other {0:.1f} s are not the load",
        _beside_load_s,
    ),
    "beside_others": Phrase(
        lambda f: f["beside"] != 0, ", beside {facts[beside]} other requests", "; no load, no queue"
    ),
    "beyond_usual": Phrase(
        lambda f: (f["usual_n"] > 0) & (f["wall_s"] > f["usual_limit_s"]),
        ", where {facts[usual_s]:.1f} s is usual (median of {facts[usual_n]}),",
        "",
    ),
    "no_load": Phrase(lambda f: f["access_lines_only"], "", "no load during it, and "),
    # A call without a prompt is answered at once, with no model in memory.
    "if_by_a_model": Phrase(lambda f: f["model"] != "", "", "; the log does not tell by which model, if any"),
    "wait_when": Phrase(
        lambda f: f["queued_first"], "before its model's load began", "most of it after its model was loaded"
    ),
}


class Shown:
    """Facts for a sentence: numbers that are not known read as 0 rather than break it."""

    def __init__(self, facts: Plain) -> None:
        self._facts = facts

    def __getitem__(self, key: str) -> Any:
        if (phrase := PHRASES.get(key)) is not None:
            return phrase.shown(self)
        value = self._facts[key]
        return 0 if value is None else value
