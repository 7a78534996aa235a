"""The whole analysis of a case, computed when asked for: timeline, budgets, verdicts, windows.

    found = analyze("server.log")
    found.requests(), found.loads(), found.residencies(), found.windows()

Every method returns a pandas DataFrame with times in UTC and durations in seconds.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .attempts import distinct_trials, match_attempts
from .case import Case, open_case
from .clock import is_timed, offsets
from .judging.facts import Facts
from .judging.gists import gists
from .judging.judged import Judged
from .judging.matched import Matched
from .judging.matching import match
from .judging.requests import NOT_A_TIME, Requests, requests_of
from .judging.sentences import sentences
from .judging.words import Numbers, Rows, Words, chunks, in_parts, stretches
from .matching import Request, epoch, match_trials, wall_of
from .mitigations import acts_of, explain_requests
from .parse.go_values import duration_s, size_bytes
from .records import Load, Window
from .server_events import events_of, server_events
from .timeline import USED_KEYS, Timeline, build_timeline
from .windows import find_windows

if TYPE_CHECKING:
    import pyarrow as pa

# A runner that uses less than this while a request waits for it does nothing for it.
IDLE_CPU_PERCENT = 1.0
# Samples further apart than this say nothing of the time between them.
LONGEST_SAMPLE_GAP_S = 10.0
# Verdicts that a runbook's doing may be behind.
_ACTS_MAY_EXPLAIN = ("unknown", "runner_crash", "client_abort", "load_failure", "cold_start")
# Events that tell of a server's life: starts, loads, crashes, slots.
_OF_A_SERVER = f"(key IN {tuple(sorted(USED_KEYS))} OR starts_with(key, 'ls_'))"
# Only lines that are wanted are written again from their columns: a join alone would have it done of all.
_LINES = """
    SELECT text FROM wanted
    JOIN (FROM access_lines WHERE line IN (SELECT line FROM wanted)) USING (source, line)
    ORDER BY place"""
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
        if len(set(streams.values())) < 2:
            return {}
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
        logs = groupby(self._events_of_servers(), key=itemgetter(0))
        return {stream: build_timeline(events_of(batch for _, batch in batches)) for stream, batches in logs}

    def _events_of_servers(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Rows of the events that tell of servers, log by log, in the order of their files and lines."""
        first = {stream: place for place, stream in reversed(list(enumerate(self._streams.values())))}
        ranked = sorted(self._streams, key=lambda source: first[self._streams[source]])
        for source, batch in server_events(self.case, ranked):
            yield self._streams.get(source, source), batch

    @cached_property
    def _requests(self) -> Requests:
        offsets_s = {self._streams[a["path"]]: a["offsets_s"][-1] for a in self.case.accounts if a["offsets_s"]}
        twins = {
            source: offsets_s[self._twins[stream]]
            for source, stream in self.case.streams().items()
            if stream in self._twins
        }
        return requests_of(self.case, twins)

    @cached_property
    def unmatched_trials(self) -> list[dict[str, Any]]:
        """Client trials for which the server wrote no access line: refused, hung or lost.

        Only trials whose times are known, and of hosts whose clock is: of the others nothing can be said.
        """
        _ = self._matched
        return self._unmatched

    @cached_property
    def _matched(self) -> Matched:
        requests = self._requests
        trials = distinct_trials([trial for trial in self.case.rows("trials") if is_timed(trial)])
        called = requests.objects(trials)
        hosts = {account["host"] for account in self.case.accounts}
        self._offsets = offsets(hosts, called, trials, self.clock_offsets_s, self.case.clocks.measured_s)
        known = {(clock.host, clock.reference): (clock.offset_s, clock.uncertainty_s)
                 for clock in self._offsets if clock.uncertainty_s is not None}  # fmt: skip
        placed = {host for host, _ in known} if called else hosts
        self._unmatched = [trial for trial in match_trials(called, trials, known) if trial["host"] in placed]
        requests.refine([request for request in called if request.trial is not None])
        of_row = {request.row: request.trial for request in called if request.trial is not None}
        matched = match(requests, self._streams, self.timelines, of_row)
        retried = self._split_trials(called, known, matched)
        return replace(matched, retried=retried, access_lines_only=self.logs_of_access_lines())

    def logs_of_access_lines(self) -> frozenset[str]:
        """The logs that hold nothing but access lines, as somebody filtered them: of a load they show nothing."""
        source = self._requests.source
        lines: Counter[str] = Counter()
        for begin, end in pairwise(stretches(source.codes)):
            lines[source.at(begin)] += end - begin
        return frozenset(
            account["path"] for account in self.case.accounts
            if account["kind"] == "server-log" and 0 < account["recognized"] <= lines[account["path"]]
        )  # fmt: skip

    @cached_property
    def _judged(self) -> Judged:
        crashes = [event for timeline in self.timelines.values() for event in timeline.crashes]
        aborts = [event for timeline in self.timelines.values() for event in timeline.aborts]
        stops = [stop for timeline in self.timelines.values() for stop in timeline.stops]
        stopped, idle = self._still_spans()
        judged = Judged(replace(self._matched, stopped=stopped, idle=idle), crashes, aborts, stops)
        if acts := acts_of(self.case):
            rows = np.flatnonzero(judged.verdict().where(lambda verdict: verdict in _ACTS_MAY_EXPLAIN))
            told = judged.told(rows)
            before = [row["reason"] for row in told]
            explain_requests(told, acts)
            judged.reworded = {row["row"]: row["reason"] for row, reason in zip(told, before, strict=True)
                               if row["reason"] != reason}  # fmt: skip
        return judged

    def _split_trials(
        self, called: list[Request], clocks: dict[tuple[str, str], tuple[float, float]], matched: Matched
    ) -> frozenset[int]:
        """Trials that are no single request: several attempts of one call, each with a line of its own. The rows of
        requests that were sent more than once."""
        self._splits = []
        retried: set[int] = set()
        if not self._unmatched:
            return frozenset()
        for request in called:
            request.model = matched.models.names[matched.model[request.row]]
        clients = {request.row: matched.requests.client.at(request.row) for request in called}
        self._splits = match_attempts(called, self._unmatched, clocks, clients)
        found = set()
        for split in self._splits:
            own = [part.request for part in split.parts if part.request is not None]
            for request in own:
                if len(own) > 1 or (split.trial.get("attempts") or 1) > 1:
                    retried.add(request.row)
                else:
                    retried.discard(request.row)
            if own:
                found.add(id(split.trial))
        self._unmatched = [trial for trial in self._unmatched if id(trial) not in found]
        return frozenset(retried)

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
        _ = self._matched
        columns = ["host", "reference", "offset_s", "uncertainty_s", "pairs", "source", "sentence"]
        frame = pd.DataFrame([vars(offset) for offset in self._offsets], columns=columns)
        return frame.astype({"offset_s": float, "uncertainty_s": float, "pairs": int})

    def attempts(self) -> pd.DataFrame:
        """Calls that were no single request: what each attempt and each wait between them took, one part a row.

        The parts of a call add up to its wall time. A call that cannot be divided has one row, with the doubt.
        """
        return self._attempts.copy(deep=False)

    @cached_property
    def _attempts(self) -> pd.DataFrame:
        _ = self._matched
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
        _ = self._matched  # matching the client's trials gives names away
        return {digest: name for timeline in self.timelines.values() for digest, name in timeline.names.items()}

    def verdicts(self) -> pd.DataFrame:
        """Every request with its verdict and no sentence, in as little memory as it takes: texts are categories."""
        return self._verdicts.copy(deep=False)

    @cached_property
    def _verdicts(self) -> pd.DataFrame:
        judged, requests = self._judged, self._requests
        model = self._model_names(Words(self._matched.model, self._matched.models.names))

        def moments(seconds: Callable[[Rows], Numbers]) -> Any:
            micros = np.empty(len(requests), dtype=np.int64)
            for rows in chunks(slice(None), len(requests)):
                micros[rows] = seconds(rows) * 1e6
            return pd.array(micros.view("datetime64[us]"), dtype="datetime64[us, UTC]", copy=False)

        return pd.DataFrame(
            {
                "host": _category(requests.host), "source": _category(requests.source), "line": requests.line,
                "started_at": moments(requests.started), "ended_at": moments(requests.ended),
                "wall_s": requests.wall_s,
                "status": _category(requests.status), "path": _category(requests.path), "model": _category(model),
                "inference": requests.inference, "verdict": _category(judged.verdict()),
            },
            copy=False,
        )  # fmt: skip

    def requests(self, rows: Numbers | None = None) -> pd.DataFrame:
        """Every access line with its verdict: columns of requests.csv, and source, inference, text, sources.

        Or those with these numbers in `verdicts()`, in this order.
        """
        frame = self.details(np.arange(len(self._judged)) if rows is None else rows)
        frame.insert(frame.columns.get_loc("inference") + 1, "text", self._lines_of(frame))
        return frame

    def inferences(self) -> pd.DataFrame:
        """Those of `verdicts()` that ran a model, or should have, with all columns but text and reason."""
        return self._inferences.copy(deep=False)

    def reasons(self, rows: pd.DataFrame) -> list[str]:
        """The sentences behind the verdicts of a few rows of `verdicts()`."""
        numbers = np.sort(rows.index.to_numpy())
        told = dict(zip(numbers.tolist(), self._judged.reasons(numbers, self._judged.facts(numbers)), strict=True))
        return [told[number] for number in rows.index]

    def gists(self, rows: pd.DataFrame) -> Numbers:
        """For rows of `verdicts()`, in its order: the same number where the sentences differ in their numbers alone."""
        return gists(self._judged, rows.index.to_numpy())

    @cached_property
    def _inferences(self) -> pd.DataFrame:
        inference = self._requests.inference
        rows, begin = np.flatnonzero(inference), 0
        columns: dict[str, _Filled] = {}
        for some in chunks(slice(None), len(inference)) if len(inference) else (slice(0),):
            own = inference[some]
            for name, values in self._columns(some, self._judged.facts(some)).items():
                column = columns.get(name) or columns.setdefault(name, _Filled(values, len(rows)))
                column.put(begin, values[own])
            begin += int(np.count_nonzero(own))
        return pd.DataFrame({name: column.whole() for name, column in columns.items()}, index=rows, copy=False)

    def details(self, rows: Numbers) -> pd.DataFrame:
        """The rows of `requests()` with these numbers without the text of their lines."""
        frames = [self._details(some) for some in chunks(rows, len(rows))]
        return pd.concat(frames, ignore_index=True) if frames else self._details(rows)

    def _details(self, rows: Any) -> pd.DataFrame:
        columns, reasons = self.columns(rows)
        frame = pd.DataFrame({name: _column(values) for name, values in columns.items()})
        frame.insert(frame.columns.get_loc("sources"), "reason", pd.array(reasons, dtype="str"))
        return frame

    def columns(self, rows: Rows) -> tuple[dict[str, Numbers | Words], pa.Array]:
        """What `details` tells of some rows, of which no frame is made yet, and their sentences."""
        facts = self._judged.facts(rows)
        return self._columns(rows, facts), sentences(self._judged, rows, facts)

    def _columns(self, rows: Rows, facts: Facts) -> dict[str, Numbers | Words]:
        """What is told of these rows, but for their sentences."""
        judged, requests = self._judged, self._requests
        uncertainty_s = np.where(facts.has_wall, facts.uncertainty_s, np.nan)
        seconds = {"uncertainty_s": uncertainty_s, "wall_s": facts.wall_s}
        budget = judged.budget(rows, facts)
        return {
            "host": requests.host[rows], "source": requests.source[rows],
            "line": requests.line[rows].astype(np.int64),
            "status": requests.status[rows], "method": requests.method[rows], "path": requests.path[rows],
            "client": requests.client[rows], "inference": facts.inference,
            "started_at": _micros(facts.started), "ended_at": _micros(facts.ended),
            **{name: np.round(values, 6) for name, values in seconds.items()},
            "verdict": judged.verdict(rows), "flags": judged.flags(facts),
            **{name: np.round(values, 6) for name, values in budget.items()},
            "sources": facts.sources, "model": self._model_names(facts.model),
        }  # fmt: skip

    def _model_names(self, models: Words) -> Words:
        names = self.names
        return Words(models.codes, [names.get(model, model) for model in models.names])

    def _lines_of(self, rows: pd.DataFrame) -> Any:
        """The access lines of these rows themselves."""
        connection = self.case.connection.cursor()
        connection.register("wanted", rows[["source", "line"]].assign(place=np.arange(len(rows))))
        return connection.sql(_LINES).df()["text"].array

    @cached_property
    def loads_of_period(self) -> list[Load]:
        """The loads, without those that had ended before the period that the case is narrowed to."""
        loads = [load for timeline in self.timelines.values() for load in timeline.loads]
        period = self.case.period
        return [load for load in loads if not (period and load.ended_at and load.ended_at <= period.from_at)]

    def loads(self) -> pd.DataFrame:
        """Every model load: when, how long, how it ended, and whether the model had been there before."""
        names = self.names
        rows = [self._load_row(load, names) for load in self.loads_of_period]
        columns = ["host", "source", "line", "model", "spawned_at", "ready_at", "load_s", "outcome", "reload",
                   "reason", "parallel", "context_length"]  # fmt: skip
        return _utc(pd.DataFrame(rows, columns=columns), "spawned_at", "ready_at")

    def _load_row(self, load: Load, names: Mapping[str, str]) -> dict[str, Any]:
        return {
            "host": load.host, "source": load.source, "line": load.line,
            "model": names.get(load.model, load.model), "spawned_at": load.spawned_at, "ready_at": load.ready_at,
            "load_s": load.load_s, "outcome": load.outcome, "reload": load.reload, "reason": load.reason,
            "parallel": load.parallel, "context_length": load.context_length,
        }  # fmt: skip

    def residencies(self) -> pd.DataFrame:
        """Which model was in memory from when to when, and what shows that it went.

        The log shows that a model is gone when it is needed again. Where its keep_alive had run out long
        before, that is when it is taken to have left.
        """
        uses, names = self._matched.uses, self.names
        rows = []
        for timeline in self.timelines.values():
            keep_s = _keep_alive_s(timeline)
            for found in timeline.residencies:
                unloaded_at, evidence = found.unloaded_at, found.unload_evidence
                loaded, bound = epoch(found.loaded_at), epoch(unloaded_at) if unloaded_at else float("inf")
                # A request whose model is not known may have used this one.
                last = [uses.last(found.host, model, loaded, bound) for model in (found.model, "")]
                expired = max(*last, loaded) + keep_s
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
                        "model": names.get(found.model, found.model),
                        "loaded_at": found.loaded_at,
                        "unloaded_at": unloaded_at,
                        "unload_evidence": evidence,
                    }
                )
        columns = ["host", "source", "line", "model", "loaded_at", "unloaded_at", "unload_evidence"]
        return _utc(pd.DataFrame(rows, columns=columns), "loaded_at", "unloaded_at")

    @cached_property
    def _windows(self) -> list[Window]:
        return find_windows(self.verdicts())

    def windows(self) -> pd.DataFrame:
        """Spans that are unlike the rest of the log."""
        rows = [vars(window) for window in self._windows]
        columns = ["host", "kind", "from_at", "to_at", "requests", "failed", "sentence"]
        return _utc(pd.DataFrame(rows, columns=columns), "from_at", "to_at")

    def settings(self) -> pd.DataFrame:
        """The settings that each server run printed at its start and that are not empty."""
        return self._settings.copy(deep=False)

    @cached_property
    def _settings(self) -> pd.DataFrame:
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
        return self._devices.copy(deep=False)

    @cached_property
    def _of_devices(self) -> Mapping[str, list[dict[str, Any]]]:
        """Events that tell of devices and of the layers on them, by their kind."""
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self.events("gpu_inventory", "layers_offloaded"):
            rows[row["key"]].append(row)
        return rows

    @cached_property
    def _devices(self) -> pd.DataFrame:
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self._of_devices["gpu_inventory"]:
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
        return self._offload.copy(deep=False)

    @cached_property
    def _offload(self) -> pd.DataFrame:
        rows, names = [], self.names
        models: dict[str, dict[int, str]] = defaultdict(dict)
        for load in (load for timeline in self.timelines.values() for load in timeline.loads):
            models[load.source].setdefault(load.line, load.model)
        lines = {source: sorted(of_source) for source, of_source in models.items()}
        for row in self._of_devices["layers_offloaded"]:
            source = row["source"]
            before = bisect_right(lines.get(source, ()), row["line"])
            model = models[source][lines[source][before - 1]] if before else ""
            rows.append(
                {
                    "model": names.get(model, model),
                    "layers_gpu": int(row["fields"]["layers_gpu"]),
                    "layers_total": int(row["fields"]["layers_total"]),
                    "line": row["line"],
                }
            )
        return pd.DataFrame(rows, columns=["model", "layers_gpu", "layers_total", "line"])

    def events(self, *keys: str) -> list[dict[str, Any]]:
        """Events of the given kinds, in the order of the log, with their fields."""
        wanted = ", ".join(f"'{key}'" for key in keys if key in self.event_counts)
        rows = self.case.rows("events", f"key IN ({wanted})") if wanted else []
        return [row | {"fields": json.loads(row["fields"])} for row in rows]

    @property
    def event_counts(self) -> Mapping[str, int]:
        """How many events of each kind the evidence holds."""
        return self.case.event_counts

    def count(self, *keys: str) -> int:
        """How many events of the given kinds the evidence holds."""
        return sum(self.event_counts.get(key, 0) for key in keys)

    def versions(self) -> list[str]:
        """The Ollama versions that started, each once, in the order of their first start."""
        runs = [run for timeline in self.timelines.values() for run in timeline.runs]
        return list(dict.fromkeys(run.version for run in runs if run.version))

    @property
    def newest_at(self) -> datetime | None:
        """When the last line with a time was written, UTC; None where no line has one."""
        stamps = [account["last_at"] for account in self.case.accounts if account["last_at"]]
        last = np.max(self._requests.ended_to_us(), initial=NOT_A_TIME).view("datetime64[us]")
        times = [pd.to_datetime(stamp, utc=True) for stamp in [*stamps, last]]
        return max((at.to_pydatetime() for at in times if pd.notna(at)), default=None)

    def inputs(self) -> pd.DataFrame:
        """What was read: every line of every file accounted for, its span and its zone."""
        return self._inputs.copy(deep=False)

    @cached_property
    def _inputs(self) -> pd.DataFrame:
        columns = ["path", "kind", "encoding", "lines", "recognized", "unrecognized", "undecodable", "first_at",
                   "last_at", "zone", "zone_from"]  # fmt: skip
        spans, zones = self._requests.spans(), self._requests.zones
        host_zones = self.case.zones()
        rows = []
        for account in self.case.accounts:
            first_at = [at for at in (pd.to_datetime(account["first_at"], utc=True),) if at]
            last_at = [at for at in (pd.to_datetime(account["last_at"], utc=True),) if at]
            if account["path"] in spans:
                first, last = _moments(np.array(spans[account["path"]]))
                first_at.append(first)
                last_at.append(last)
            shifts, (zone_s, zone_told) = account["offsets_s"], zones.get(account["path"], (0, ""))
            if shifts:
                shown_s, zone_from = shifts[-1], "slog"
            elif zone_told:
                shown_s, zone_from = zone_s, zone_told
            else:
                shown_s, zone_from = host_zones[account["host"]], self.case.clocks.zone_from(account["host"])
            sign = "-" if shown_s < 0 else "+"
            zone = f"{sign}{abs(shown_s) // 3600:02d}:{abs(shown_s) % 3600 // 60:02d}"
            span = {"first_at": min(first_at, default=None), "last_at": max(last_at, default=None)}
            rows.append({**account, **span, "zone": zone, "zone_from": zone_from})
        return _utc(pd.DataFrame(rows)[columns], "first_at", "last_at")


def _texts(words: Words) -> Any:
    """A column of texts as pandas keeps them."""
    return pd.array([*words.names, ""], dtype="str").take(words.codes)


def _category(words: Words) -> pd.Categorical:
    """A column of texts as categories; two names that came to be the same are one."""
    categories, lookup = _categories(words)
    of_row = in_parts(lambda rows: lookup[words.codes[rows]], slice(None), len(words))
    return pd.Categorical.from_codes(of_row, categories=categories)


def _categories(words: Words) -> tuple[Numbers, Numbers]:
    """The different names of a column in order, and for each of its codes which of them it stands for."""
    names, codes = np.unique(np.array([*words.names, ""], dtype=object), return_inverse=True)
    return names, codes.astype(np.min_scalar_type(-len(names)))


class _Filled:
    """A column that is filled part by part: parts that are put together are there twice, and leave holes in memory."""

    def __init__(self, values: Numbers | Words, length: int) -> None:
        if isinstance(values, Words):
            self._categories, self._lookup = _categories(values)
            self._values = np.empty(length, dtype=self._lookup.dtype)
        else:
            self._values = np.empty(length, dtype=values.dtype)

    def put(self, begin: int, values: Numbers | Words) -> None:
        """Put one part in its place; the texts of all of them have the same names."""
        part = self._lookup[values.codes] if isinstance(values, Words) else values
        self._values[begin : begin + len(part)] = part

    def whole(self) -> Any:
        """The column as pandas keeps it; texts are categories."""
        if hasattr(self, "_categories"):
            return pd.Categorical.from_codes(self._values, categories=self._categories)
        return _column(self._values)


def _column(values: Numbers | Words) -> Any:
    """A column as pandas keeps it."""
    if isinstance(values, Words):
        return _texts(values)
    return pd.array(values, dtype="datetime64[us, UTC]", copy=False) if values.dtype.kind == "M" else values


def _micros(seconds: Numbers) -> Numbers:
    micros: Numbers = (seconds * 1e6).astype(np.int64).view("datetime64[us]")
    return micros


def _moments(seconds: Numbers) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(_micros(seconds), tz="UTC")


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
