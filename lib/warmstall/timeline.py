"""What happened on the host, from its log events: server runs, loads, residencies, slot tasks.

The events of one log (rotations in order) are read once, oldest first, by a small state machine. Facts
about the lines are in the log table; what they mean for the order of things is here:

- "starting runner" without a model is GPU discovery, not a load.
- "… started in N seconds" is printed twice per load by newer engines: the load began N seconds earlier,
  and a second line that points at the same beginning is the same load.
- No version announces an ordinary unload at INFO level. That a model is gone shows when it is spawned
  again, when the count of `loaded runners` falls, when the server starts anew, or in debug lines.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from .parse.exit_statuses import in_words
from .parse.go_values import go_map
from .records import Load, LoadOutcome, Residency, ServerRun, SlotTask

# Two "started in" lines that point at beginnings this close are one load (they are printed a moment apart).
SAME_LOAD = timedelta(seconds=0.15)
_DIGEST = re.compile(r"sha256[-:]([0-9a-f]{12})[0-9a-f]*")
_DIGEST_PATH = re.compile(r"[^\s\"';,]*sha256[-:][0-9a-f]{12,}")
_OPTION = re.compile(r"(?:^|\s)--?(np|parallel|c|ctx-size|embedding)(?![\w-])(?:[ =]([^\s-]\S*))?")
# Two runners of one model are started by the same command, but for this.
_PORT = re.compile(r"(?<=--port )[0-9]+")
_LOAD_ENDS: dict[str, LoadOutcome] = {
    "load_client_gone": "abandoned",
    "load_timeout": "timed_out",
    "load_failed": "failed",
    "runner_died_load": "failed",
}
# Which step of the state machine an event is for. What a dying runner leaves is its own dump, or the error
# of a request that lost it; that a process is gone ("no longer running", "terminated") is also said of
# ordinary reloads, and late, so it is not among them.
_STEPS = {
    "server_config": "_server_start",
    "server_listening": "_server_start",
    "runner_spawn": "_spawn",
    "mlx_spawn": "_spawn",
    "engine1_load": "_spawn",
    "engine1_swap": "_swap",
    "model_file": "_model_file",
    "load_params": "_load_parameters",
    "evict_reason_mem": "_evicting",
    "loading_model": "_load_begins",
    "model_load_error": "_cause",
    "load_done": "_ready",
    "mlx_ready": "_ready",
    "engine1_ready": "_ready",
    "cpp_model_loaded": "_old_runner_ready",
    **dict.fromkeys(_LOAD_ENDS, "_load_end"),
    "runners_loaded": "_count",
    "unload_sent": "_unloaded",
    "evict_done": "_unloaded",
    "mlx_stop": "_unloaded",
    "template_selected": "_template",
    "predict_conn_err": "_lost_runner",
    **dict.fromkeys(
        ("crash_panic", "crash_fatal", "crash_signal", "crash_assert", "crash_device", "device_lost"), "_crash"
    ),
    **dict.fromkeys(("abort_waiting", "json_write_fail", "queued_cancelled"), "_abort"),
    "service_stopping": "_stopping",
    "ls_cancel": "_task_cancelled",
    "ls_task_start": "_task_start",
    "ls_prompt_timing": "_task_timing",
    "ls_eval_timing": "_task_timing",
    "ls_total_timing": "_task_timing",
    "ls_task_end": "_task_end",
}
USED_KEYS = frozenset(_STEPS)
# These change nothing but what another of the same log began.
_COMES_AFTER = {"model_file": "engine1_load", "loading_model": "evict_reason_mem"}
# These are kept as they are, or told in their own words.
KEPT_KEYS = frozenset(("model_load_error", "predict_conn_err", *_LOAD_ENDS,
             *(key for key, step in _STEPS.items() if step in ("_crash", "_abort"))))  # fmt: skip


class Event(NamedTuple):
    """One row of the events table. `at` is its own time, or the last one before it in the file; `text` is the line of
    those with KEPT_KEYS."""

    host: str
    source: str
    line: int
    key: str
    at: datetime | None
    at_latest: datetime | None
    fields: Mapping[str, str]
    text: str


class Stop(NamedTuple):
    """The server was told to stop; from `until_line` on (0: the log's end) it runs again."""

    event: Event
    until_line: int


@dataclass
class Timeline:
    """Everything the events of one log tell."""

    runs: list[ServerRun] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    residencies: list[Residency] = field(default_factory=list)
    tasks: list[SlotTask] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    crashes: list[Event] = field(default_factory=list)
    aborts: list[Event] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)


def telling_keys(keys: Collection[str]) -> frozenset[str]:
    """Of the keys of a log (or of several), those whose lines tell something in it."""
    return frozenset(key for key in USED_KEYS.intersection(keys) if _COMES_AFTER.get(key, key) in keys)


@lru_cache(maxsize=1024)
def model_key(path: str) -> str:
    """A short, stable name for a model file: the first twelve digits of its digest, else its last part.

    >>> model_key("/usr/share/ollama/.ollama/models/blobs/sha256-ff9088351f6c15786e2807b384d5a942")
    'sha256:ff9088351f6c'
    """
    if match := _DIGEST.search(path):
        return f"sha256:{match[1]}"
    return re.split(r"[\\/]", path.strip())[-1]


@lru_cache(maxsize=1024)
def _options(command: str) -> Mapping[str, str]:
    """The options of a runner that tell of its requests."""
    return dict(_OPTION.findall(command))


@lru_cache(maxsize=1024)
def _short(name: str) -> str:
    """What a user calls a model: registry.ollama.ai/library/mid:latest is mid."""
    return re.sub(r"^registry\.ollama\.ai/(library/)?", "", name).removesuffix(":latest")


def build_timeline(events: Iterable[Event]) -> Timeline:
    """Read the events of one log in order and return what they tell."""
    builder = _Builder()
    take, naming = builder.steps.get, "runner.name"
    for event in events:
        if event.at is None:
            continue
        if step := take(event.key):
            step(event)
        if naming in event.fields and event.key != "runner_spawn":
            builder.name(event.fields[naming], event.fields.get("runner.model", ""))
    return builder.finish()


class _Builder:
    def __init__(self) -> None:
        self.timeline = Timeline()
        self.steps = {key: getattr(self, step) for key, step in _STEPS.items()}
        self.open_loads: list[dict[str, Any]] = []
        self.resident: dict[str, dict[str, Any]] = {}
        self.loaded_before: set[str] = set()
        self.open_tasks: dict[tuple[int, int], dict[str, Any]] = {}
        self.beginnings: deque[datetime] = deque(maxlen=8)
        self.causes: list[str] = []
        self.last_model = ""
        self.last_end: datetime | None = None

    def _crash(self, event: Event) -> None:
        self.timeline.crashes.append(event)

    def _abort(self, event: Event) -> None:
        self.timeline.aborts.append(event)

    def _stopping(self, event: Event) -> None:
        self.timeline.stops.append(Stop(event, 0))

    def _lost_runner(self, event: Event) -> None:
        # The server reports a client that left in the words of a broken connection to its runner.
        (self.timeline.aborts if "context canceled" in event.text else self.timeline.crashes).append(event)

    def _template(self, event: Event) -> None:
        if self.last_model:
            self.name(event.fields.get("model", ""))

    # --- server runs

    def _server_start(self, event: Event) -> None:
        runs = self.timeline.runs
        if event.key == "server_listening":
            version = event.fields.get("version", "")
            if runs and not runs[-1].version:
                runs[-1] = replace(runs[-1], version=version)
                return
            run = ServerRun(event.host, event.source, event.line, event.at, version)
        else:
            settings = go_map(event.fields.get("env", ""))
            run = ServerRun(event.host, event.source, event.line, event.at, "", settings)
        runs.append(run)
        if (stops := self.timeline.stops) and not stops[-1].until_line:
            stops[-1] = stops[-1]._replace(until_line=event.line)
        for load in self.open_loads:
            self._close(load, event.at, "unfinished", "the server started anew before the load ended")
        self.open_loads.clear()
        for model in list(self.resident):
            self._unload(model, event.at, "the server started anew")
        self._lose_tasks()

    # --- loads and residencies

    def _spawn(self, event: Event) -> None:
        model = model_key(event.fields.get("model") or event.fields.get("library") or "model")
        if model in self.resident:
            self._unload(model, event.at, "it was loaded again")
        for earlier in [load for load in self.open_loads if load["model"] == model]:
            self.open_loads.remove(earlier)
            self._close(earlier, event.at, "unfinished", "the same model was started again before this load ended")
        self.causes.clear()
        options = _options(_PORT.sub("0", event.fields.get("cmd", "")))
        parallel = options.get("np") or options.get("parallel") or ""
        context = options.get("c") or options.get("ctx-size") or ""
        self.open_loads.append(
            {
                "host": event.host,
                "source": event.source,
                "line": event.line,
                "model": model,
                "spawned_at": event.at,
                "reload": model in self.loaded_before,
                "parallel": int(parallel) if parallel.isdigit() else None,
                "context_length": int(context) if context.isdigit() else None,
                "embedding": "embedding" in options,
                "began_at": event.at,
                "evicted": False,
            }
        )
        self.last_model = model

    def _old_runner_ready(self, event: Event) -> None:
        # From 0.1.32 to 0.1.34 "started in N seconds" is kept for debug logs; the runner's own line stands in.
        version = self.timeline.runs[-1].version if self.timeline.runs else ""
        if re.match(r"0\.1\.3[234]\b", version):
            self._ready(event)

    def _swap(self, event: Event) -> None:
        # An engine inside the server holds one model; this line is all that is said of the one before.
        for model in list(self.resident):
            self._unload(model, event.at, "another model was loaded in its place")

    def _model_file(self, event: Event) -> None:
        # An engine inside the server is started as a library; which model it is comes a line later.
        if self.open_loads and self.open_loads[-1]["model"].endswith("libext_server.so"):
            model = model_key(event.fields["path"])
            self.open_loads[-1] |= {"model": model, "reload": model in self.loaded_before}
            if model in self.resident:
                self._unload(model, event.at, "it was loaded again")

    def _evicting(self, event: Event) -> None:
        if self.open_loads:
            self.open_loads[-1]["evicted"] = True

    def _load_begins(self, event: Event) -> None:
        # After an eviction it says so a second time: others had to leave memory first.
        if self.open_loads and self.open_loads[-1]["evicted"]:
            self.open_loads[-1]["began_at"] = event.at

    def _cause(self, event: Event) -> None:
        self.causes.append(event.fields.get("reason") or event.text)

    def _ready(self, event: Event) -> None:
        seconds = event.fields.get("seconds")
        assert event.at is not None
        if seconds is None:
            if self.open_loads:
                load = self.open_loads.pop()
                self._complete(load, event.at, (event.at - load["spawned_at"]).total_seconds())
            return
        load_s = float(seconds)
        began_at = event.at - timedelta(seconds=load_s)
        earliest, latest = began_at - SAME_LOAD, began_at + SAME_LOAD
        for other in reversed(self.beginnings):
            if earliest <= other <= latest:
                return
        self.beginnings.append(began_at)
        if self.open_loads:
            nearest = 0
            if len(self.open_loads) > 1:
                apart = [abs(load["spawned_at"] - began_at) for load in self.open_loads]
                nearest = apart.index(min(apart))
            load = self.open_loads.pop(nearest)
        else:  # the log begins in the middle of a load, or its spawn line is missing
            load = {
                "host": event.host, "source": event.source, "line": event.line, "model": "", "spawned_at": began_at,
                "reload": False, "parallel": None, "context_length": None, "embedding": False, "began_at": began_at,
                "evicted": False,
            }  # fmt: skip
        self._complete(load, event.at, load_s)

    def _complete(self, load: dict[str, Any], at: datetime, load_s: float) -> None:
        self._close(load, at, "completed", "", load_s)
        self.loaded_before.add(load["model"])
        self.resident[load["model"]] = {"load": load, "loaded_at": at}

    def _load_end(self, event: Event) -> None:
        outcome = _LOAD_ENDS[event.key]
        reason = event.fields.get("reason") or event.fields.get("error") or event.fields.get("msg") or event.text[:200]
        reason = in_words(reason)
        if "context canceled" in reason:
            outcome = "abandoned"
        elif "timed out waiting" in reason:
            outcome = "timed_out"
        model = model_key(event.fields["model"]) if event.fields.get("model") else ""
        last = self.timeline.loads[-1] if self.timeline.loads else None
        if self.open_loads and model in ("", self.open_loads[-1]["model"]):
            self._close(self.open_loads.pop(), event.at, outcome, reason)
            self.last_end = event.at
        elif last and last.outcome != "completed" and model in ("", last.model) and self._just_ended(event):
            # The same failure is reported in several lines; the most telling outcome and all reasons count.
            if last.outcome == "failed":
                last = replace(last, outcome=outcome)
            if reason not in last.reason:
                last = replace(last, reason=f"{last.reason}; {reason}".strip("; ")[:300])
            self.timeline.loads[-1] = last
        else:  # a load that failed before its runner was spawned
            assert event.at is not None
            reason = self._with_cause(reason)
            self.timeline.loads.append(
                Load(
                    event.host,
                    event.source,
                    event.line,
                    model,
                    event.at,
                    event.at,
                    None,
                    outcome,
                    False,
                    reason[:300],
                    None,
                    None,
                    False,
                    event.at,
                )
            )
            self.last_end = event.at

    def _just_ended(self, event: Event) -> bool:
        return bool(self.last_end and event.at and (event.at - self.last_end).total_seconds() < 1)

    def _close(
        self, load: dict[str, Any], at: datetime | None, outcome: LoadOutcome, reason: str, load_s: float | None = None
    ) -> None:
        if outcome == "failed":
            reason = self._with_cause(reason)
        self.timeline.loads.append(Load(**load, ended_at=at, load_s=load_s, outcome=outcome, reason=reason[:300]))

    def _with_cause(self, reason: str) -> str:
        """The server's words after the runner's own, which name the cause; digests instead of paths."""
        causes = [cause for cause in self.causes[-1:] if cause not in reason]
        self.causes.clear()
        return _DIGEST_PATH.sub(lambda match: model_key(match[0]), "; ".join([*causes, reason]).strip("; "))

    def _load_parameters(self, event: Event) -> None:
        if not self.open_loads:
            return
        load = self.open_loads[-1]
        if (value := event.fields.get("parallel", "")).isdigit():
            load["parallel"] = int(value)
        if (value := event.fields.get("kv_size", "")).isdigit():
            load["context_length"] = int(value)

    def _count(self, event: Event) -> None:
        count = event.fields.get("count", "")
        if not count.isdigit():
            return
        here = len(self.resident) + len([load for load in self.open_loads if load["model"] not in self.resident])
        if here <= int(count):
            return
        # The newest one is what the line speaks of; the oldest are the likeliest to have gone.
        for model in sorted(self.resident, key=lambda m: self.resident[m]["loaded_at"])[: here - int(count)]:
            self._unload(model, event.at, f"the count of loaded runners fell to {count}")

    def _unloaded(self, event: Event) -> None:
        path = event.fields.get("runner.model") or event.fields.get("modelPath") or event.fields.get("model") or ""
        model = model_key(path) if path else ""
        if model in self.resident:
            self._unload(model, event.at, "the log says that it was unloaded")
        elif len(self.resident) == 1:
            self._unload(next(iter(self.resident)), event.at, "the log says that a model was unloaded")

    def _unload(self, model: str, at: datetime | None, evidence: str) -> None:
        entry = self.resident.pop(model)
        load = entry["load"]
        self.timeline.residencies.append(
            Residency(load["host"], load["source"], load["line"], model, entry["loaded_at"], at, evidence)
        )

    def name(self, name: str, path: str = "") -> None:
        """What a model is called, that of a file or the last one that was spawned."""
        if short := _short(name):
            self.timeline.names[model_key(path) if path else self.last_model] = short

    # --- slot tasks of llama-server

    def _task_cancelled(self, event: Event) -> None:
        for task in self.open_tasks.values():
            task["cancelled"] |= str(task["task"]) == event.fields.get("task")

    def _task_start(self, event: Event) -> None:
        if not (key := self._slot_and_task(event)):
            return
        # A runner counts its tasks upwards, so any other task on this slot is over.
        for other in [k for k in self.open_tasks if k[0] == key[0]]:
            self._finish_task(self.open_tasks.pop(other))
        self.open_tasks[key] = {
            "host": event.host, "source": event.source, "line": event.line, "slot": key[0], "task": key[1],
            "started_from": event.at, "started_to": event.at_latest, "finished_line": 0, "released_line": 0,
            "cancelled": False, "prefill_s": None,
            "prefill_tokens": None, "decode_s": None, "decode_tokens": None, "total_s": None,
            "truncated": False,
        }  # fmt: skip

    def _open_task(self, event: Event) -> dict[str, Any] | None:
        key = self._slot_and_task(event)
        return self.open_tasks.get(key) if key else None

    def _slot_and_task(self, event: Event) -> tuple[int, int] | None:
        slot, task = event.fields.get("slot"), event.fields.get("task")
        return (int(slot), int(task)) if slot and task else None

    def _task_timing(self, event: Event) -> None:
        if not (task := self._open_task(event)):
            return
        seconds = float(event.fields["ms"]) / 1e3
        if event.key == "ls_total_timing":
            task["total_s"], task["finished_line"] = seconds, event.line
        else:
            phase = "prefill" if event.key == "ls_prompt_timing" else "decode"
            task[f"{phase}_s"], task[f"{phase}_tokens"] = seconds, int(event.fields["tokens"])

    def _task_end(self, event: Event) -> None:
        if task := self._open_task(event):
            task["released_line"] = event.line
            task["truncated"] = event.fields.get("truncated") == "1"
            self._finish_task(self.open_tasks.pop((task["slot"], task["task"])))

    def _finish_task(self, task: dict[str, Any]) -> None:
        self.timeline.tasks.append(SlotTask(**task))

    def _lose_tasks(self) -> None:
        for task in self.open_tasks.values():
            self._finish_task(task)
        self.open_tasks.clear()

    def finish(self) -> Timeline:
        for load in self.open_loads:
            self._close(load, None, "unfinished", "the log ends before the load does")
        for model in list(self.resident):
            self._unload(model, None, "still loaded when the log ends")
        self._lose_tasks()
        self.timeline.loads.sort(key=lambda load: (load.spawned_at, load.line))
        self.timeline.residencies.sort(key=lambda residency: (residency.loaded_at, residency.line))
        self.timeline.tasks.sort(key=lambda task: task.line)
        return self.timeline
