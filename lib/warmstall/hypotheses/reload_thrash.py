"""Reload thrash: models leave memory and are loaded again and again, and requests wait for it each time.

Three causes look alike from outside. Another model needs the room and this one is evicted; its keep_alive runs out
between two requests; or a request comes with other options (num_ctx, num_thread …) than the loaded runner has, and
the same model is unloaded and loaded anew. No version announces an ordinary unload at the usual log level, but which
model is loaded next, after how long, and with which options tells the three apart.

Shown by:
    - evicted: models that take turns, each loaded again sooner than its keep_alive; eviction lines; at DEBUG,
      "resetting model to expire immediately to make room"
    - other options: the same model loaded twice in a row, sooner than its keep_alive, with another context length or
      number of threads; at DEBUG, "reloading"
    - expired: the same model loaded again after it was idle for longer than keep_alive (ordinary: info)
Ruled out by:
    - a log in which the loads stand and hardly any of them brings a model back
Mistaken for it:
    - a server that was restarted, or a runner that died: its models are loaded again too
    - a keep_alive of 0 that a request brings itself: the log shows it at DEBUG only
    - the first load of each of several models
    - somebody who tries options, once or twice, before the work begins
Severity: warning
Runbook: free-vram
Mitigation: Let all clients send the same options, raise keep_alive, and keep only as many models as fit in memory.
Leads to: cold_start, client_timeout_too_short, retry_amplification
References:
    - https://docs.ollama.com/faq (how long a model stays, how many are loaded at once)
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from ..parse.plain_text import printable
from ..timeline import model_key
from .facts import Facts, counted, places, seconds_text, span
from .findings import Finding, Severity, hints, proves, refutes, supports, unseen

# Once is a change of plan; twice is a pattern.
_PATTERN = 2
# Twice is also what somebody leaves who tries options, or a second model, before the work begins.
_HABIT = 3
# The share of all requests' time below which nobody would notice.
_ONE_IN_TWENTY = 0.05
_THREADS = re.compile(r"(?:--threads |NumThreads:| -t )(\d+)")
_CAUSES = {"sched_reload": "options", "evict_mark": "evicted", "evict_idle": "evicted", "timer_fired": "expired",
           "idle_zero": "expired"}  # fmt: skip
_DEATHS = ("crash_signal", "crash_assert", "crash_device", "crash_panic", "runner_gone", "runner_unhealthy")
_EVICTIONS = ("evict_reason_mem", "evict_predicted", "evict_all_oom", "evict_mark", "evict_idle", "max_runners")
_DEBUG = (
    "the server's log with OLLAMA_DEBUG=1 while it reloads: it says why each model leaves (timer expired, make room, "
    "reloading)"
)


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What brought each model that was there before out of memory, counted by cause."""
    if not facts.has_server_log or not (facts.has_starts or len(facts.loads)):
        yield unseen("the server's whole log with its loads, not access lines alone: it tells what was loaded again")
        return
    if facts.loads.empty or facts.requests.empty:
        yield unseen("the server's log of a time with requests, and with the loads that they brought")
    back = _brought_back(facts)
    kinds = {kind: back[back["why"] == kind] for kind in ("evicted", "options", "expired", "unclear")}
    if len(kinds["evicted"]) >= _PATTERN:
        told = facts.setting("OLLAMA_MAX_LOADED_MODELS") == "1" or any(facts.counts.get(key) for key in _EVICTIONS)
        gone = "that had been put out for another one before its keep_alive had run out"
        yield _shown(facts, kinds["evicted"], proves if told else supports, gone)
    if len(kinds["options"]) >= _PATTERN:
        gone = f"that was still there, because a request had other options ({_changes(kinds['options'])})"
        yield _shown(facts, kinds["options"], proves, gone)
    if len(kinds["expired"]) >= _PATTERN:
        yield _shown(facts, kinds["expired"], supports, "whose keep_alive had run out between two requests", "info")
    unclear = kinds["unclear"]
    if len(unclear):
        yield hints(f"Of {counted(len(facts.loads), 'load')}, {len(unclear):,} brought back a model before its "
                    "keep_alive had run out, and the log does not say why it had gone.", *places(unclear))  # fmt: skip
        yield unseen(_DEBUG)
    if len(facts.loads) and all(len(kinds[kind]) < _PATTERN for kind in ("evicted", "options", "expired")):
        yield refutes(f"Of {counted(len(facts.loads), 'load')}, {len(back):,} brought back a model that had been there "
                      "before.", *(places(back) or facts.whole_log()))  # fmt: skip


def _shown(facts: Facts, rows: pd.DataFrame, show: Callable[..., Finding], gone: str, severity: Severity | None = None
           ) -> Finding:  # fmt: skip
    load_s = float(rows["load_s"].sum())
    all_s = float(facts.requests["wall_s"].sum())
    if len(rows) < _HABIT or not all_s or load_s < _ONE_IN_TWENTY * all_s:
        severity = "info"
    models = rows["model"].value_counts()
    named = ", ".join(f"{printable(str(name))[:40]} {count:,}×" for name, count in models.head(4).items())
    # What is still there is not out of use before it is loaded anew.
    there = rows["why"].eq("options").all()
    away = "" if there else f", after {seconds_text(rows['away_s'].median())} out of use (median)"
    return show(
        f"{len(rows):,} of {len(facts.loads):,} loads brought back a model {gone}: {named}; they took "
        f"{seconds_text(load_s)}{away}.",
        *places(rows),
        span=span(rows, "spawned_at", "ended_at"),
        severity=severity,
    )


def _brought_back(facts: Facts) -> pd.DataFrame:
    """Loads of models that had been there before in the same server run, each with the reason `why` it had gone."""
    if not facts.loads["reload"].any():
        return facts.loads.head(0).assign(why="", away_s=0.0)
    loads = facts.loads.sort_values("spawned_at")
    threads = _threads(facts)
    loads["threads"] = [threads.get(place, "") for place in zip(loads["source"], loads["line"], strict=True)]
    # What a client asks for is a context for each slot; how many slots fit changes with the free memory.
    loads["context"] = loads["context_length"].astype(float) / loads["parallel"].astype(float).fillna(1)
    stays = facts.residencies.rename(columns={"line": "stay_line"}).drop(columns="source")
    own = loads[["line", "context", "threads"]].add_prefix("stay_")
    stays = stays.merge(own.drop_duplicates("stay_line"), on="stay_line", how="left").sort_values("loaded_at")
    again = loads[loads["reload"].astype(bool)]
    if again.empty or stays.empty:
        return again.assign(why="", away_s=0.0)
    by = ["host", "model"]
    again, stays = (frame.astype(dict.fromkeys(by, object)) for frame in (again, stays))
    again = pd.merge_asof(again, stays, left_on="spawned_at", right_on="loaded_at", by=by)
    again = again[~again["unload_evidence"].fillna("started anew").str.contains("started anew")]
    again["away_s"] = (again["spawned_at"] - again["unloaded_at"]).dt.total_seconds().clip(lower=0)
    told = _Told(facts)
    again["why"] = [told.why(row) for row in again.to_dict("records")]
    return again[again["why"] != "died"]


class _Told:
    """What the log tells of the time between two loads of a model."""

    def __init__(self, facts: Facts) -> None:
        self.times: dict[tuple[str, str, str], list[pd.Timestamp]] = defaultdict(list)
        for host, model, at in facts.loads.sort_values("spawned_at")[["host", "model", "spawned_at"]].itertuples(
            index=False
        ):
            self.times[host, model, "load"].append(at)
            self.times[host, "", "load"].append(at)
        names = facts.found.names
        for row in facts.events(*_CAUSES, *_DEATHS).to_dict("records"):
            key = model_key(row["fields"].get("runner.model") or row["fields"].get("modelPath") or "-")
            model = "" if row["key"] in _DEATHS else names.get(key, key)
            self.times[row["host"], model, _CAUSES.get(row["key"], "died")].append(row["at"])

    def _count(self, row: dict[str, Any], model: str, what: str) -> int:
        times = self.times.get((row["host"], model, what), [])
        return bisect_left(times, row["spawned_at"]) - bisect_left(times, row["loaded_at"])

    def why(self, row: dict[str, Any]) -> str:
        """Why the model had gone: options, evicted, expired, died or unclear."""
        said = {cause for cause in ("options", "evicted", "expired") if self._count(row, row["model"], cause)}
        others = self._count(row, "", "load") > self._count(row, row["model"], "load")
        expired = "keep_alive" in row["unload_evidence"]
        known = pd.notna(row["context"]) and pd.notna(row["stay_context"])
        changed = known and (row["context"], row["threads"]) != (row["stay_context"], row["stay_threads"])
        if changed and (not others or "options" in said) and not expired:
            return "options"
        # Without another option it was its health: the scheduler puts a runner out that does not answer, too.
        if "options" in said or ("evicted" in said and not others):
            return "died" if self._count(row, "", "died") else "unclear"
        if said:
            return "evicted" if "evicted" in said else "expired"
        if expired:
            return "expired"
        if self._count(row, "", "died"):
            return "died"
        return "evicted" if others and "count of loaded" in row["unload_evidence"] else "unclear"


def _threads(facts: Facts) -> dict[tuple[str, int], str]:
    """The number of threads that each load was asked for, where its command line or its load record tells."""
    found: dict[tuple[str, int], str] = {}
    spawn = ("", 0)
    events = facts.events("runner_spawn", "load_params").sort_values(["source", "line"])
    for source, line, key, text in events[["source", "line", "key", "text"]].itertuples(index=False):
        if key == "runner_spawn":
            spawn = (source, line)
        if match := _THREADS.search(text):
            found[spawn] = match[1]
    return found


def _changes(rows: pd.DataFrame) -> str:
    """Which options differed, in words."""
    pairs = rows[["stay_context", "context", "stay_threads", "threads"]].value_counts().index[0]
    if pairs[0] != pairs[1]:
        return f"num_ctx {pairs[0]:.0f}, then {pairs[1]:.0f}"
    return f"num_thread {pairs[2]}, then {pairs[3]}" if pairs[2] != pairs[3] else "the log does not say which"
