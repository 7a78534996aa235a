"""The whole analysis of a case, computed when asked for: timeline, budgets, verdicts, windows.

    found = analyze("server.log")
    found.requests(), found.loads(), found.residencies(), found.windows()

Every method returns a pandas DataFrame with times in UTC and durations in seconds.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from .attempts import distinct_trials, match_attempts
from .budget import request_facts, set_stall_apart
from .case import INFERENCE_PATHS, Case, open_case
from .clock import is_timed, offsets
from .matching import (
    Request,
    attribute_models,
    epoch,
    match_loads,
    match_tasks,
    match_trials,
    queue_by_overlap,
    wall_of,
)
from .mitigations import acts_of, explain_requests
from .parse.go_values import duration_s, size_bytes
from .records import Load, Window
from .timeline import USED_KEYS, Timeline, build_timeline, events_of
from .verdicts import flags_of, verdict_of
from .windows import find_windows

# A runner that uses less than this while a request waits for it does nothing for it.
IDLE_CPU_PERCENT = 1.0
# Samples further apart than this say nothing of the time between them.
LONGEST_SAMPLE_GAP_S = 10.0
# Events that tell of a server's life: starts, loads, crashes, slots.
_OF_A_SERVER = f"(key IN {USED_KEYS} OR starts_with(key, 'ls_'))"
REQUEST_COLUMNS = (
    "host", "line", "started_at", "ended_at", "uncertainty_s", "wall_s", "status", "method", "path", "client",
    "model", "verdict", "flags", "queue_s", "load_s", "prefill_s", "decode_s", "unexplained_s", "reason",
)  # fmt: skip


def analyze(
    path: str | Path, assumed_offset_s: int | None = None, clock_offsets_s: Mapping[str, float] = {}
) -> Analysis:
    """Open a case, a folder or a log, and analyze it. Raises InputError when the path cannot be used.

    `clock_offsets_s` states, by host, the seconds to add to its own times to get the server's clock; what is
    not stated is estimated (`Analysis.clocks`).
    """
    return Analysis(open_case(path, assumed_offset_s), clock_offsets_s)


def default_parallel(version: str) -> int:
    """How many requests a runner serves at once where nothing says so: the default of that Ollama version.

    Versions 0.2.0 to 0.9.6 chose 4 or 2 where memory allowed and 1 where not; their runners say what they
    got on the command line, so this is used only where that line is missing.

    >>> default_parallel("0.13.5"), default_parallel("0.3.14"), default_parallel("0.9.6")
    (1, 4, 2)
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if (0, 2, 0) <= numbers < (0, 6, 7):
        return 4
    if (0, 6, 7) <= numbers < (0, 10, 0):
        return 2
    return 1


class Analysis:
    """What the evidence of one case says. Made by `analyze`."""

    def __init__(self, case: Case, clock_offsets_s: Mapping[str, float] = {}) -> None:
        self.case = case
        self.clock_offsets_s = {**case.clocks.offsets_s, **clock_offsets_s}

    @cached_property
    def _twins(self) -> dict[str, str]:
        """Streams of access lines alone, each with the stream in which the same server wrote its events.

        Where a service's stdout and stderr go to files of their own, GIN writes to one and all else to the
        other. Two such files of one host belong together when their times overlap and no third one fits.
        """
        streams = self.case.streams()
        lines = self.case.sql(
            "SELECT host, source, min(ended_local - to_seconds(coalesce(wall_s, 0))) AS first, "
            "max(ended_local) AS last FROM access_lines GROUP BY ALL"
        )
        events = self.case.sql(f"SELECT DISTINCT source FROM events WHERE {_OF_A_SERVER}")
        spoken = {streams[source] for source in events["source"]}
        heard: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for row in lines.dropna().itertuples():
            heard[row.host, streams[row.source]] += [row.first, row.last]
        shown: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for account in self.case.accounts:
            if account["first_at"] and account["offsets_s"] and streams[account["path"]] in spoken:
                zone = timedelta(seconds=account["offsets_s"][-1])  # access lines are in local time
                span = (datetime.fromisoformat(account[end]).replace(tzinfo=None) for end in ("first_at", "last_at"))
                shown[account["host"], streams[account["path"]]] += [at + zone for at in span]
        pairs = [
            (stream, other)
            for (host, stream), at in heard.items()
            for (other_host, other), there in shown.items()
            if host == other_host and stream not in spoken and (host, other) not in heard
            if min(at) <= max(there) and min(there) <= max(at)
        ]
        uses = Counter(stream for pair in pairs for stream in pair)
        return {stream: other for stream, other in pairs if uses[stream] == uses[other] == 1}

    @cached_property
    def _streams(self) -> dict[str, str]:
        """The stream of each source; the two files of one server are one."""
        return {source: self._twins.get(stream, stream) for source, stream in self.case.streams().items()}

    @cached_property
    def timelines(self) -> dict[str, Timeline]:
        """What the events of each log tell, by stream (a log with its rotations)."""
        streams = self._streams
        by_stream: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.case.rows("events", f"{_OF_A_SERVER} OR contains(fields, 'runner.name')"):
            by_stream[streams.get(row["source"], row["source"])].append(row)
        return {stream: build_timeline(events_of(rows)) for stream, rows in by_stream.items()}

    @cached_property
    def _clocked(self) -> pd.DataFrame:
        offsets_s = {self._streams[a["path"]]: a["offsets_s"][-1] for a in self.case.accounts if a["offsets_s"]}
        twins = {
            source: offsets_s[self._twins[stream]]
            for source, stream in self.case.streams().items()
            if stream in self._twins
        }
        frame = self.case.view("requests_on_clock", inference=INFERENCE_PATHS, twin_sources=list(twins),
                               twin_offsets=list(twins.values()))  # fmt: skip
        if period := self.case.period:
            ended = frame["ended_to"]
            frame = frame[(ended > period.from_at) & (ended <= period.to_at)].reset_index(drop=True)
        return frame

    @cached_property
    def unmatched_trials(self) -> list[dict[str, Any]]:
        """Client trials for which the server wrote no access line: refused, hung or lost.

        Only trials whose times are known, and of hosts whose clock is: of the others nothing can be said.
        """
        _ = self._judged
        return self._unmatched

    @cached_property
    def _judged(self) -> list[dict[str, Any]]:
        order = {account["path"]: number for number, account in enumerate(self.case.accounts)}
        streams = self._streams
        frame = self._clocked
        frame = frame.assign(order=frame["source"].map(order)).sort_values(["order", "line"], ignore_index=True)
        self._placed = frame
        to_epoch = {name: frame[name].astype("datetime64[us]").astype("int64") / 1e6 for name in
                    ("started_from", "started_to", "ended_from", "ended_to")}  # fmt: skip
        requests = [
            Request(*values)
            for values in zip(
                range(len(frame)),
                frame["host"],
                frame["source"],
                frame["line"].tolist(),
                frame["status"],
                frame["path"],
                frame["wall_s"].tolist(),
                to_epoch["started_from"].tolist(),
                to_epoch["started_to"].tolist(),
                to_epoch["ended_from"].tolist(),
                to_epoch["ended_to"].tolist(),
                frame["inference"].tolist(),
                frame["embedding"].tolist(),
                strict=True,
            )
        ]
        trials = distinct_trials([trial for trial in self.case.rows("trials") if is_timed(trial)])
        hosts = {account["host"] for account in self.case.accounts}
        self._offsets = offsets(hosts, requests, trials, self.clock_offsets_s, self.case.clocks.measured_s)
        known = {(clock.host, clock.reference): (clock.offset_s, clock.uncertainty_s)
                 for clock in self._offsets if clock.uncertainty_s is not None}  # fmt: skip
        placed = {host for host, _ in known} if requests else hosts
        self._unmatched = [trial for trial in match_trials(requests, trials, known) if trial["host"] in placed]
        by_stream: dict[str, list[Request]] = defaultdict(list)
        for request in requests:
            by_stream[streams.get(request.source, request.source)].append(request)
        for stream, found in by_stream.items():
            timeline = self.timelines.get(stream, Timeline())
            for source in {request.source for request in found}:  # lines are counted within a file
                own = [task for task in timeline.tasks if task.source == source]
                match_tasks([request for request in found if request.source == source], own)
            match_loads(found, timeline.loads)
            attribute_models(found, timeline.residencies, timeline.loads, timeline.names)
            self._queues(found, timeline)
        self._split_trials(requests, known, dict(enumerate(frame["client"])))
        crashes = [event for timeline in self.timelines.values() for event in timeline.crashes]
        aborts = [event for timeline in self.timelines.values() for event in timeline.aborts]
        facts = request_facts(requests, crashes, aborts, *self._still_spans())
        for request, row in zip(requests, facts, strict=True):
            row["retried"] = request.retried
            row["verdict"], row["reason"] = verdict_of(row)
            row["flags"] = flags_of(row)
            if row["verdict"] == "warm_stall":
                set_stall_apart(row)
        explain_requests(facts, acts_of(self.case))
        return facts

    def _split_trials(
        self, requests: list[Request], clocks: dict[tuple[str, str], tuple[float, float]], clients: dict[int, str]
    ) -> None:
        """Trials that are no single request: several attempts of one call, each with a line of its own."""
        self._splits = match_attempts(requests, self._unmatched, clocks, clients)
        found = set()
        for split in self._splits:
            own = [part.request for part in split.parts if part.request is not None]
            for request in own:
                request.retried = len(own) > 1 or (split.trial.get("attempts") or 1) > 1
            if own:
                found.add(id(split.trial))
        self._unmatched = [trial for trial in self._unmatched if id(trial) not in found]

    def _queues(self, requests: list[Request], timeline: Timeline) -> None:
        version = timeline.runs[-1].version if timeline.runs else ""
        setting = timeline.runs[-1].settings.get("OLLAMA_NUM_PARALLEL", "") if timeline.runs else ""
        slots: dict[str, int] = {}
        for load in timeline.loads:
            if load.parallel:
                slots[load.model] = load.parallel
        default = int(setting) if setting.isdigit() and int(setting) > 0 else default_parallel(version)
        pools: dict[str, list[Request]] = defaultdict(list)
        for request in requests:
            if request.ran:
                pools[request.model].append(request)
        for model, found in pools.items():
            queue_by_overlap(found, slots.get(model, default))
            if not model:  # several models: who waited for whom cannot be told
                for request in found:
                    request.queue_s = 0.0

    def _still_spans(self) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[tuple[float, float]]]]:
        """Spans by host in which samples show every runner stopped (state T), and those in which all are idle."""
        stopped: dict[str, dict[float, bool]] = defaultdict(dict)
        idle: dict[str, dict[float, bool]] = defaultdict(dict)
        # What `ps` calls %CPU is the average of a whole life: only samples tell what a process did just then.
        sampled = {a["path"] for a in self.case.accounts if a["kind"] in ("process-samples", "samples")}
        for row in self.case.rows("processes"):
            if row["role"] == "runner" and row["at"] is not None and row["source"] in sampled:
                at, host = epoch(row["at"]), row["host"]
                still = row["state"] == "T"
                resting = row["cpu_percent"] is not None and row["cpu_percent"] < IDLE_CPU_PERCENT
                stopped[host][at] = stopped[host].get(at, True) and still
                idle[host][at] = idle[host].get(at, True) and (still or (resting and row["state"] != "R"))
        # A state is that of the moment; a share of CPU is that of the time since the look before.
        return {host: _spans(found) for host, found in stopped.items()}, {
            host: _spans(found, looks_back=True) for host, found in idle.items()
        }

    def clocks(self) -> pd.DataFrame:
        """What was added to each host's own times to get a server's, ± what, and how that is known.

        `uncertainty_s` is empty where the clocks were assumed to be equal; no trial is matched by those.
        """
        _ = self._judged
        columns = ["host", "reference", "offset_s", "uncertainty_s", "pairs", "source", "sentence"]
        frame = pd.DataFrame([vars(offset) for offset in self._offsets], columns=columns)
        return frame.astype({"offset_s": float, "uncertainty_s": float, "pairs": int})

    def attempts(self) -> pd.DataFrame:
        """Calls that were no single request: what each attempt and each wait between them took, one part a row.

        The parts of a call add up to its wall time. A call that cannot be divided has one row, with the doubt.
        """
        _ = self._judged
        rows = [
            {
                "host": split.trial["host"], "source": split.trial["source"], "line": split.trial["line"],
                "wall_s": wall_of(split.trial), "part": part.kind, "attempt": part.attempt or None,
                "from_at": _time(part.from_at), "to_at": _time(part.to_at), "part_s": part.to_at - part.from_at,
                "plus_minus_s": part.plus_minus_s, "status": part.request.status if part.request else "",
                "request_line": part.request.line if part.request else None, "note": split.doubt or part.note,
            }
            for split in self._splits
            for part in split.parts
        ]  # fmt: skip
        columns = ["host", "source", "line", "wall_s", "part", "attempt", "from_at", "to_at", "part_s", "plus_minus_s",
                   "status", "request_line", "note"]  # fmt: skip
        return _utc(pd.DataFrame(rows, columns=columns), "from_at", "to_at")

    @property
    def names(self) -> dict[str, str]:
        """Model names by the short digest under which the log knows them."""
        _ = self._judged  # matching the client's trials gives names away
        return {digest: name for timeline in self.timelines.values() for digest, name in timeline.names.items()}

    def requests(self) -> pd.DataFrame:
        """Every access line with its verdict: columns of requests.csv, and source, inference, text, sources."""
        return self._requests.copy()

    @cached_property
    def _requests(self) -> pd.DataFrame:
        facts = pd.DataFrame(self._judged)
        placed = self._placed
        if facts.empty:
            empty = pd.DataFrame(columns=[*REQUEST_COLUMNS, "source", "inference", "text", "sources"])
            return _utc(empty.astype({"inference": bool, "wall_s": float, "status": str}), "started_at", "ended_at")
        frame = placed[["host", "source", "line", "status", "method", "path", "client", "inference", "text"]].copy()
        for column, moment in (("started_at", "started"), ("ended_at", "ended")):
            frame[column] = pd.to_datetime((facts[moment] * 1e6).astype("int64"), unit="us", utc=True)
        for name in ("uncertainty_s", "wall_s", "verdict", "flags", "queue_s", "load_s", "prefill_s", "decode_s",
                     "unexplained_s", "reason", "sources"):  # fmt: skip
            frame[name] = facts[name]
        frame["model"] = facts["model"].map(lambda model: self.names.get(model, model))
        numbers = ["uncertainty_s", "wall_s", "queue_s", "load_s", "prefill_s", "decode_s", "unexplained_s"]
        frame[numbers] = frame[numbers].astype(float).round(6)
        return frame

    @cached_property
    def loads_of_period(self) -> list[Load]:
        """The loads, without those that had ended before the period that the case is narrowed to."""
        loads = [load for timeline in self.timelines.values() for load in timeline.loads]
        period = self.case.period
        return [load for load in loads if not (period and load.ended_at and load.ended_at <= period.from_at)]

    def loads(self) -> pd.DataFrame:
        """Every model load: when, how long, how it ended, and whether the model had been there before."""
        rows = [self._load_row(load) for load in self.loads_of_period]
        columns = ["host", "source", "line", "model", "spawned_at", "ready_at", "load_s", "outcome", "reload",
                   "reason", "parallel", "context_length"]  # fmt: skip
        return _utc(pd.DataFrame(rows, columns=columns), "spawned_at", "ready_at")

    def _load_row(self, load: Load) -> dict[str, Any]:
        return {
            "host": load.host, "source": load.source, "line": load.line,
            "model": self.names.get(load.model, load.model), "spawned_at": load.spawned_at, "ready_at": load.ready_at,
            "load_s": load.load_s, "outcome": load.outcome, "reload": load.reload, "reason": load.reason,
            "parallel": load.parallel, "context_length": load.context_length,
        }  # fmt: skip

    def residencies(self) -> pd.DataFrame:
        """Which model was in memory from when to when, and what shows that it went.

        The log shows that a model is gone when it is needed again. Where its keep_alive had run out long
        before, that is when it is taken to have left.
        """
        last_uses: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in self._judged:
            if row["ran"]:
                last_uses[row["host"], row["model"]].append(row["ended"])
        rows = []
        for timeline in self.timelines.values():
            keep_s = _keep_alive_s(timeline)
            for found in timeline.residencies:
                unloaded_at, evidence = found.unloaded_at, found.unload_evidence
                loaded, bound = epoch(found.loaded_at), epoch(unloaded_at) if unloaded_at else float("inf")
                # A request whose model is not known may have used this one.
                uses = [*last_uses[found.host, found.model], *last_uses[found.host, ""]]
                uses = [at for at in uses if loaded <= at <= bound]
                expired = max(uses, default=loaded) + keep_s
                if unloaded_at and expired < bound and "started anew" not in evidence:
                    unloaded_at = datetime(1970, 1, 1) + timedelta(seconds=expired)
                    evidence = f"its keep_alive ran out (inferred; at the latest {evidence})"
                if self.case.period and unloaded_at and unloaded_at <= self.case.period.from_at:
                    continue
                rows.append(
                    {
                        "host": found.host,
                        "source": found.source,
                        "line": found.line,
                        "model": self.names.get(found.model, found.model),
                        "loaded_at": found.loaded_at,
                        "unloaded_at": unloaded_at,
                        "unload_evidence": evidence,
                    }
                )
        columns = ["host", "source", "line", "model", "loaded_at", "unloaded_at", "unload_evidence"]
        return _utc(pd.DataFrame(rows, columns=columns), "loaded_at", "unloaded_at")

    @cached_property
    def _windows(self) -> list[Window]:
        return find_windows(self._requests)

    def windows(self) -> pd.DataFrame:
        """Spans that are unlike the rest of the log."""
        rows = [vars(window) for window in self._windows]
        columns = ["host", "kind", "from_at", "to_at", "requests", "failed", "sentence"]
        return _utc(pd.DataFrame(rows, columns=columns), "from_at", "to_at")

    def settings(self) -> pd.DataFrame:
        """The settings that each server run printed at its start and that are not empty."""
        rows = [
            {"host": run.host, "source": run.source, "line": run.line, "at": run.started_at, "version": run.version,
             "name": name, "value": value}
            for timeline in self.timelines.values()
            for run in timeline.runs
            for name, value in run.settings.items()
            if value
        ]  # fmt: skip
        columns = ["host", "source", "line", "at", "version", "name", "value"]
        return _utc(pd.DataFrame(rows, columns=columns), "at")

    def devices(self) -> pd.DataFrame:
        """The compute devices that the server found at its last start."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.events("gpu_inventory"):
            fields = row["fields"]
            library = fields.get("library", "").lower()
            # The id of a processor is a number or "cpu"; it is a name only where there is no other.
            name = (
                fields.get("description")
                or fields.get("name")
                or (library if library == "cpu" else fields.get("id", ""))
            )
            rows[row["source"], fields.get("id", "")] = {
                "library": library, "name": name.strip(), "total_bytes": size_bytes(fields.get("total", "")),
                "line": row["line"],
            }  # fmt: skip
        return pd.DataFrame(list(rows.values()), columns=["library", "name", "total_bytes", "line"])

    def offload(self) -> pd.DataFrame:
        """How many layers of each model went to the GPU, by load."""
        rows = []
        loads = [load for timeline in self.timelines.values() for load in timeline.loads]
        for row in self.events("layers_offloaded"):
            before = [load for load in loads if load.source == row["source"] and load.line <= row["line"]]
            model = max(before, key=lambda load: load.line).model if before else ""
            rows.append(
                {
                    "model": self.names.get(model, model),
                    "layers_gpu": int(row["fields"]["layers_gpu"]),
                    "layers_total": int(row["fields"]["layers_total"]),
                    "line": row["line"],
                }
            )
        return pd.DataFrame(rows, columns=["model", "layers_gpu", "layers_total", "line"])

    def events(self, *keys: str) -> list[dict[str, Any]]:
        """Events of the given kinds, in the order of the log, with their fields."""
        wanted = ", ".join(f"'{key}'" for key in keys)
        rows = self.case.rows("events", f"key IN ({wanted})")
        return [row | {"fields": json.loads(row["fields"])} for row in rows]

    def count(self, *keys: str) -> int:
        """How many events of the given kinds the evidence holds."""
        wanted = ", ".join(f"'{key}'" for key in keys)
        return int(self.case.sql(f"SELECT count(*) AS n FROM events WHERE key IN ({wanted})")["n"][0])

    def versions(self) -> list[str]:
        """The Ollama versions that started, each once, in the order of their first start."""
        runs = [run for timeline in self.timelines.values() for run in timeline.runs]
        return list(dict.fromkeys(run.version for run in runs if run.version))

    @property
    def newest_at(self) -> datetime | None:
        """When the last line with a time was written, UTC; None where no line has one."""
        stamps = [account["last_at"] for account in self.case.accounts if account["last_at"]]
        times = [pd.to_datetime(stamp, utc=True) for stamp in [*stamps, self._clocked["ended_to"].max()]]
        return max((at.to_pydatetime() for at in times if pd.notna(at)), default=None)

    def inputs(self) -> pd.DataFrame:
        """What was read: every line of every file accounted for, its span and its zone."""
        columns = ["path", "kind", "encoding", "lines", "recognized", "unrecognized", "undecodable", "first_at",
                   "last_at", "zone", "zone_from"]  # fmt: skip
        spans = self._requests.groupby("source").agg(first=("started_at", "min"), last=("ended_at", "max"))
        used = {row.source: row for row in self._clocked.drop_duplicates("source", keep="last").itertuples()}
        host_zones = self.case.zones()
        rows = []
        for account in self.case.accounts:
            first_at = [at for at in (pd.to_datetime(account["first_at"], utc=True),) if at]
            last_at = [at for at in (pd.to_datetime(account["last_at"], utc=True),) if at]
            if account["path"] in spans.index:
                first_at.append(spans["first"][account["path"]])
                last_at.append(spans["last"][account["path"]])
            shifts, lines = account["offsets_s"], used.get(account["path"])
            if shifts:
                shown_s, zone_from = shifts[-1], "slog"
            elif lines and lines.zone_from:
                shown_s, zone_from = int(lines.zone_s), lines.zone_from
            else:
                shown_s, zone_from = host_zones[account["host"]], self.case.clocks.zone_from(account["host"])
            sign = "-" if shown_s < 0 else "+"
            zone = f"{sign}{abs(shown_s) // 3600:02d}:{abs(shown_s) % 3600 // 60:02d}"
            span = {"first_at": min(first_at, default=None), "last_at": max(last_at, default=None)}
            rows.append({**account, **span, "zone": zone, "zone_from": zone_from})
        return _utc(pd.DataFrame(rows)[columns], "first_at", "last_at")


def _time(seconds: float) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)


def _keep_alive_s(timeline: Timeline) -> float:
    """The server's keep_alive: five minutes in every version unless its settings say otherwise."""
    setting = timeline.runs[-1].settings.get("OLLAMA_KEEP_ALIVE", "") if timeline.runs else ""
    if setting.startswith("-"):
        return float("inf")
    if setting.isdigit():
        return float(setting)
    return duration_s(setting) or 300.0


def _spans(samples: dict[float, bool], looks_back: bool = False) -> list[tuple[float, float]]:
    """Spans between samples where the first is true (the last, where a sample tells of the time before it).

    A gap in the samples is evidence of nothing.
    """
    spans: list[tuple[float, float]] = []
    for at, following in pairwise(sorted(samples)):
        if samples[following if looks_back else at] and following - at <= LONGEST_SAMPLE_GAP_S:
            if spans and spans[-1][1] == at:
                spans[-1] = (spans[-1][0], following)
            else:
                spans.append((at, following))
    return spans


def _utc(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    for column in columns:
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame
