"""What the service level indicators are made of: each call of a period, how it ended, and what was measured of it.

A call that was cut off has no wall time, but it took longer than it was waited for: such bounds are kept apart, so that
a time out after 60 s counts against a target of 30 s, and says nothing of one of 120 s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..analysis import Analysis
from ..attempts import distinct_trials
from ..hypotheses.facts import Facts
from ..hypotheses.facts.facts import holds
from ..judging.words import Mask
from ..schema import TABLES
from .energy import generations, tokens_per_joule

# Answered by the server as it should: the call was wrong. Of these, 499 is a client that left, 429 and 408 a server
# that had no room or no time.
_CLIENTS_FAULT = re.compile(r"4(?!99|29|08)..|3..|501")
_CAME_TO_NOTHING = ("load_failure", "runner_crash")
_TIMED_OUT = re.compile(r"time[ds]? ?-?out|deadline", re.IGNORECASE)
_OK = re.compile(r"ok|success(ful)?|succeeded|true|completed|done|pass(ed)?", re.IGNORECASE)
# Fewer answers than this have no usual time (budget.BASELINE_MIN_N, for the same reason).
_FEWEST = 5
# From this version on each truncated prompt is told at WARN (hypotheses/context_truncation.py).
_TRUNCATION_TOLD_FROM = (0, 4, 3)
_ON_CHAT = r"chat|messages|responses"
_OF_A_CALL = ["host", "status", "path", "started_at", "ended_at", "wall_s", "verdict", "flags", "queue_s", "sources",
              "model"]  # fmt: skip

NO_CALLS = "no inference request ended in the period"
CLIENTS_TIMES = (
    "collect: the trials of a client that streams and notes when the first token came (ttft_s); Ollama's log does not "
    "tell it"
)
_TOKENS = "collect: eval_count and eval_duration of each final chunk (trials), or the log of Ollama 0.30 or later"


@dataclass(frozen=True)
class Samples:
    """One SLI of one host: what was measured, and lower bounds of what was cut off or cannot be told.

    `values`: seconds or tokens a second, one a call; for a rate whether the call counts. `bounds`: of calls
    that cannot be told, at least so much (0.0: nothing is known). `least`: more of the values may count, which nothing
    shows. `total` is the value itself where it is a quotient of two sums, and `of` the answers it was made of. `why`:
    what is missing, and what to collect.
    """

    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    bounds: np.ndarray = field(default_factory=lambda: np.empty(0))
    least: bool = False
    total: float | None = None
    of: int = 0
    why: str = ""


def sampled(found: Analysis) -> dict[tuple[str, str], Samples]:
    """Samples by the name of the SLI and host; '' is all hosts, each host is there where several answer requests."""
    calls = _calls(found)
    known = _Known(found)
    # A client may run on a host that serves nothing: its calls belong to all hosts together.
    hosts = sorted(set(calls["host"][calls["verdict"] != "lost"]))
    made: dict[tuple[str, str], Samples] = {}
    for host in ["", *(hosts if len(hosts) > 1 else [])]:
        own = calls[calls["host"] == host] if host else calls
        trials = known.trials[known.trials["host"] == host] if host else known.trials
        spoken = known.generated[known.generated["host"] == host] if host else known.generated
        for name, samples in (_of_calls(own) | _of_trials(own, trials, spoken, known)).items():
            nothing = not len(samples.values) and not len(samples.bounds) and samples.total is None
            made[name, host] = Samples(why=NO_CALLS) if nothing and own.empty else samples
    return made


class _Known:
    """What is asked of the evidence once, for all hosts."""

    def __init__(self, found: Analysis) -> None:
        self.found = found
        self.facts = Facts(found)
        period = found.case.period
        columns = ["host", *(name for name in TABLES["trials"] if name != "host")]
        self.trials = pd.DataFrame(distinct_trials(found.case.rows("trials")), columns=columns)
        for name in ("started_at", "ended_at"):
            self.trials[name] = pd.to_datetime(self.trials[name], utc=True)
        self.generated = generations(found, self.trials)
        cut = self.facts.events("prompt_truncated", "msgs_truncated")
        # Lines from before the period are there where they tell how a model was loaded.
        self.cut = cut[cut["at"] > pd.Timestamp(period.from_at, tz="UTC")] if period else cut
        self.gpus = self.facts.table("gpus")

    def tells_truncation(self, calls: pd.DataFrame) -> str:
        """Empty where a log as this one would tell of each truncated prompt, else what to collect."""
        if not self.facts.has_server_log:
            return "collect: the server's log, which warns of each prompt that it truncates"
        if not self.facts.versions or min(self.facts.versions) < _TRUNCATION_TOLD_FROM:
            return (
                "collect: the log with the server's start, which tells its version: before 0.4.3 truncation is silent"
            )
        debug = self.facts.has_debug_lines or self.facts.setting("OLLAMA_DEBUG") in ("1", "true", "DEBUG", "TRACE")
        if not debug and calls["path"].str.contains(_ON_CHAT).any():
            return "collect: a log with OLLAMA_DEBUG=1, which alone tells of messages that were dropped from a chat"
        return ""


def _calls(found: Analysis) -> pd.DataFrame:
    """Each call that should have run a model: its host, and how it came to its end (`end`).

    answered; failed (the server's error, or no answer at all); left (its client gave up before an answer began);
    stopped (its client left an answer that had begun); refused (the call itself was wrong); unknown.
    """
    requests = found.inferences()[_OF_A_CALL]
    status, verdict = requests["status"], requests["verdict"]
    begun, left = holds(status, lambda text: text.startswith("2")), holds(verdict, "client_abort".__eq__)
    ends = [
        (holds(status, _CLIENTS_FAULT.fullmatch), "refused"),
        (begun & left, "stopped"),
        (begun & ~holds(verdict, _CAME_TO_NOTHING.__contains__), "answered"),
        (left | holds(verdict, "warm_stall".__eq__), "left"),
    ]
    how = np.select([when for when, _ in ends], list(np.arange(len(ends), dtype=np.int8)), np.int8(len(ends)))
    requests = requests.assign(end=pd.Categorical.from_codes(how, [*(end for _, end in ends), "failed"]))
    lost = pd.DataFrame([_lost(trial) for trial in found.unmatched_trials], columns=requests.columns)
    calls = pd.concat([requests, lost], ignore_index=True) if len(lost) else requests.reset_index(drop=True)
    return calls.assign(alone=_alone(calls))


def _lost(trial: Mapping[str, object]) -> dict[str, object]:
    """A call for which the server wrote no access line, as a row of calls."""
    status, outcome = str(trial.get("status") or ""), str(trial.get("outcome") or "")
    error = str(trial.get("error") or "")
    if _CLIENTS_FAULT.fullmatch(status):
        end = "refused"
    elif _TIMED_OUT.search(f"{outcome} {error}"):
        end = "left"
    elif error or status[:1] in ("4", "5") or (outcome and not _OK.fullmatch(outcome)):
        end = "failed"
    else:
        end = "answered" if status.startswith("2") or outcome else "unknown"
    return {
        "host": trial["host"], "path": trial.get("path") or "", "wall_s": trial.get("wall_s"), "end": end,
        "verdict": "lost", "flags": "", "model": trial.get("model") or "", "sources": "", "status": status,
        **{name: pd.Timestamp(trial[name], tz="UTC") for name in ("started_at", "ended_at")},
    }  # fmt: skip


def _alone(calls: pd.DataFrame) -> pd.Series:
    """Whether no other call of its host was there at the same time."""
    alone = np.zeros(len(calls), dtype=bool)
    every_started, every_ended = (pd.DatetimeIndex(calls[name]).tz_localize(None).to_numpy()
                                  for name in ("started_at", "ended_at"))  # fmt: skip
    for host in calls["host"].unique():
        own = np.flatnonzero(calls["host"] == host)
        own = own[np.argsort(every_started[own], kind="stable")]
        started, ended = every_started[own], every_ended[own]
        # A time that is not known is neither before nor after another one.
        last_ended = np.where(np.isnat(ended), ended, np.fmax.accumulate(ended))
        free = np.ones(len(own), dtype=bool)
        free[1:] &= ~(last_ended[:-1] > started[1:])
        free[:-1] &= ~(started[1:] < ended[:-1])
        alone[own] = free
    return pd.Series(alone, calls.index)


def _of_calls(calls: pd.DataFrame) -> dict[str, Samples]:
    """What the server's own lines tell."""
    end, wall_s = calls["end"], calls["wall_s"].to_numpy(float)
    answered, left = (wall_s[end.isin(ends) & ~np.isnan(wall_s)] for ends in (["answered"], ["left", "stopped"]))
    cut = f"{len(left):,} clients left before their answer was whole" if len(left) else ""
    made = dict.fromkeys(("wall_p50_s", "wall_p95_s", "wall_p99_s"), _samples(answered, left, cut))
    gave_up = _gave_up(calls)
    good, bad = end == "answered", end.isin(["failed"]) | gave_up
    doubt = int((~good & ~bad & (end != "refused")).sum())
    told = f"{doubt:,} more are not counted: their client left as early as an answer may come, or while it got one"
    made["availability"] = _samples(good.to_numpy()[good | bad], np.zeros(doubt), told if doubt else "")
    ran = calls.loc[_ran(calls), ["verdict", "sources", "model", "alone", "end", "queue_s"]]
    unsure = ran["verdict"].isin(["unknown", "client_abort"])
    reason = (
        f"{int(unsure.sum()):,} more cannot be told: their client left, or the log does not say where the time went"
    )
    for name, verdict in (("warm_stall_rate", "warm_stall"), ("cold_start_rate", "cold_start")):
        counted = ran["verdict"][~unsure] == verdict
        made[name] = _samples(counted, np.zeros(int(unsure.sum())), reason if unsure.any() else "")
    made["queue_wait_p95_s"] = _queued(ran)
    return made


def _ran(calls: pd.DataFrame) -> pd.Series:
    return ~calls["verdict"].isin(["rejected", "lost"]) & (calls["end"] != "refused")


def _gave_up(calls: pd.DataFrame) -> pd.Series:
    """Clients that left without an answer after they had waited for longer than answers take.

    Who leaves as early as an answer may still come has changed his mind: editors cancel what they asked for at each
    key. Longer than nineteen in twenty answers of the period took is no whim; where hardly any came, all count.
    """
    answered = calls["wall_s"][calls["end"] == "answered"].astype(float)
    usual_s = float(answered.quantile(0.95)) if len(answered) >= _FEWEST else 0.0
    # A server that wrote no line about a call has never answered it.
    waited = (calls["wall_s"].astype(float) > usual_s) | calls["verdict"].eq("lost")
    return (calls["end"] == "left") & waited


def _queued(ran: pd.DataFrame) -> Samples:
    """Waits for a slot: measured, by what else was in flight for the same model, or none as nothing was."""
    measured = _each(ran["sources"], re.compile("decode=(?:api|slot)").search)
    known = (measured | (ran["model"] != "") | ran["alone"]) & ran["end"].isin(["answered", "stopped"])
    cut = int(ran["end"].eq("left").sum())
    unknown = int((~known).sum()) - int((~known & ran["end"].isin(["left", "failed"])).sum())
    reasons = [f"{cut:,} clients left, and how long they waited for a slot is not known"] * bool(cut)
    if unknown:
        reasons.append(f"the model of {unknown:,} requests is not known, nor what they waited for: collect the "
                       "server's log from its loads on")  # fmt: skip
    queue_s = ran["queue_s"].to_numpy(float)
    return _samples(queue_s[known & ~np.isnan(queue_s)], np.zeros(cut + unknown), "; ".join(reasons))


def _of_trials(calls: pd.DataFrame, trials: pd.DataFrame, generated: pd.DataFrame, known: _Known) -> dict[str, Samples]:
    """What needs a client's own times, counts of tokens, or a watch of the GPUs."""
    first = trials["ttft_s"].astype(float)
    failed = trials["outcome"].fillna("").str.cat(trials["error"].fillna(""), sep=" ").str.contains(_TIMED_OUT)
    never = trials["wall_s"].astype(float)[failed & first.isna()].dropna() if first.notna().any() else first.head(0)
    ttft = _samples(first.dropna(), never, "" if first.notna().any() else CLIENTS_TIMES)
    rates = (generated["tokens"] / generated["decode_s"]).to_numpy(float)
    total, why = tokens_per_joule(calls, generated, known.gpus)
    return {
        "ttft_p50_s": ttft, "ttft_p95_s": ttft, "truncation_rate": _truncated(calls, known),
        "decode_tokens_per_s": Samples(rates, why="" if len(rates) else _TOKENS),
        "tokens_per_joule": Samples(total=total, of=len(generated) if total else 0, why=why),
    }  # fmt: skip


def _truncated(calls: pd.DataFrame, known: _Known) -> Samples:
    """Prompts that were cut, by lines of their own or by their slot; no line tells which request it was."""
    ran = calls.loc[_ran(calls), ["host", "path", "flags"]]
    lines = known.cut[known.cut["host"].isin(ran["host"].unique())]
    # One request may be told by both.
    count = max(len(lines), int(_each(ran["flags"], lambda flags: "truncated" in flags).sum()))
    silent = known.tells_truncation(ran)
    if silent and not count:
        return Samples(bounds=np.zeros(len(ran)), why=silent)
    counted = np.arange(len(ran)) < count
    return Samples(counted, least=bool(silent), why=f"at least so many: {silent}" if silent else "")


def _each(column: pd.Series, is_so: Callable[[str], object]) -> Mask:
    """Which rows of a column of texts hold one of which this is true."""
    return holds(column.astype("category"), is_so)


def _samples(values: pd.Series | np.ndarray, bounds: pd.Series | np.ndarray, why: str) -> Samples:
    known = np.asarray(values)
    return Samples(known if known.dtype == bool else known.astype(float), np.asarray(bounds, float), why=why)
