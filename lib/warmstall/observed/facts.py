"""What the hosts' own captures show beside the log: memory, processes, GPUs, containers, other services' events.

Frames for the notebooks, and sentences for the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from ..case import Case
from ..once import once
from . import failed_calls
from .captured import captured_table, is_captured
from .limits import limits_compared
from .memory import MemoryFinding, pressure
from .settings import settings_compared

# Events of other logs that are worth a mark under the requests, and what the mark says.
MARKED = {
    "kernel_oom_kill": "out-of-memory kill", "kernel_segfault": "segmentation fault", "kernel_gpu_fault": "GPU fault",
    "kernel_hung_task": "hung task", "app_worker_crash": "worker crash", "app_worker_timeout": "worker timeout",
    "app_traceback": "traceback", "app_memory_error": "out of memory", "app_slow_request": "slow request",
}  # fmt: skip
_OF_EVENTS = {
    "host": "object", "source": "object", "line": "int64", "key": "object", "at": "datetime64[us, UTC]",
    "after_at": "datetime64[us]", "timed": "bool", "fields": "object", "text": "object", "what": "object",
}  # fmt: skip
# Requests to other services that went well are no events of the incident.
_ROUTINE = ("app_request", "app_start", "app_stop", "app_worker_start")


def timed(case: Case, table: str) -> pd.DataFrame:
    """The rows of a table that have a time, in its order, as UTC."""
    if not is_captured(case, table):
        return captured_table(case, table)
    frame = case.sql(f'FROM {table} WHERE "at" IS NOT NULL ORDER BY host, "at", source, line')
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame


def memory_looks(case: Case) -> pd.DataFrame:
    """The looks at the memory of whole hosts: rows of the memory table without those of control groups."""
    looks = captured_table(case, "memory")
    return looks[~looks["origin"].fillna("").str.startswith("cgroup")]


@once
def memory_pressures(case: Case) -> dict[str, MemoryFinding]:
    """What the memory of each host was doing, by its name."""
    if not is_captured(case, "memory"):
        return {}
    return {str(host): pressure(looks) for host, looks in memory_looks(case).groupby("host")}


@once
def memory_findings(case: Case) -> pd.DataFrame:
    """What each host's memory was doing: state, since when, one sentence, what to collect where it cannot be told."""
    rows = [{"host": host, "state": finding.state, "since": finding.since, "sentence": finding.sentence,
             "collect": "; ".join(finding.collect)} for host, finding in memory_pressures(case).items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["host", "state", "since", "sentence", "collect"])


@once
def other_events(case: Case) -> pd.DataFrame:
    """Typed events of the kernel and of the services around Ollama, without their everyday ones."""
    wanted = [key for key in case.event_counts if key.startswith(("app_", "kernel_")) and key not in _ROUTINE]
    if not wanted:
        return pd.DataFrame(columns=list(_OF_EVENTS)).astype(_OF_EVENTS)
    frame = case.sql(
        'SELECT host, source, line, key, coalesce("at", before_at) AS "at", after_at, '
        '"at" IS NOT NULL AS timed, fields, text '
        "FROM events WHERE list_contains($wanted, key) ORDER BY 5, source, line",
        wanted=wanted,
    )
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    frame["what"] = [
        _what(key, json.loads(fields or "{}")) for key, fields in zip(frame.key, frame.fields, strict=True)
    ]
    return frame


def _what(key: str, fields: dict[str, object]) -> str:
    """An event in a few words."""
    plain = [str(fields[name]) for name in ("exception", "message", "what") if fields.get(name)]
    plain += [str(fields[name]).replace("_", " ").rstrip(".") for name in ("fault", "detail") if fields.get(name)][:1]
    names = ("wall_s", "thread", "fingerprint", "name", "process", "signal", "exit_code", "pid", "xid", "path")
    told = plain + [f"{name} {fields[name]}" for name in names if fields.get(name) not in (None, "")]
    return f"{MARKED.get(key, key.removeprefix('app_').replace('_', ' '))}: " + ", ".join(told)[:200]


def observed_residencies(case: Case) -> pd.DataFrame:
    """From when to when samples of /api/ps show each model in memory: columns of Analysis.residencies()."""
    frame = timed(case, "resident_models")
    looks = timed(case, "probes")
    looks = looks[looks.endpoint == "/api/ps"]
    silent = looks[(looks.status != "200") | (looks.error.fillna("") != "")]
    looks = looks.drop(silent.index)  # a look that got no answer tells nothing of what was in memory
    columns = ["host", "source", "line", "model", "loaded_at", "unloaded_at", "unload_evidence"]
    rows = []
    for (host, source), own in frame.groupby(["host", "source"]):
        answered = looks[(looks.host == host) & (looks.source == source)]
        moments = sorted({*own["at"], *answered["at"]})
        following = dict(pairwise(moments))
        for model, seen in own.groupby("model"):
            rows += list(_spans(host, source, str(model), seen, following))
            unanswered = silent[(silent.host == host) & (silent["at"] > seen["at"].max())]
            if rows[-1]["unloaded_at"] is None and len(unanswered):
                rows[-1] |= {"unloaded_at": seen["at"].max(), "unload_evidence": "no look after this one was answered"}
    spans = pd.DataFrame(rows, columns=columns)
    for name in ("loaded_at", "unloaded_at"):
        spans[name] = pd.to_datetime(spans[name], utc=True).astype("datetime64[us, UTC]")
    return spans


def _spans(
    host: str, source: str, model: str, seen: pd.DataFrame, following: dict[pd.Timestamp, pd.Timestamp]
) -> Iterator[dict[str, object]]:
    """Runs of looks that show the model; a run ends at the first look that does not."""
    began, line, last = None, 0, None
    for at, number in zip(seen["at"], seen["line"], strict=True):
        if began is not None and last != at and following.get(last) != at:
            yield _span(host, source, model, line, began, following.get(last), "the next look did not show it")
            began = None
        if began is None:
            began, line = at, number
        last = at
    if began is not None:
        gone = following.get(last)
        yield _span(host, source, model, line, began, gone, "the next look did not show it" if gone is not None else "")


def _span(
    host: str, source: str, model: str, line: int, began: pd.Timestamp, ended: pd.Timestamp | None, why: str
) -> dict[str, object]:
    return {
        "host": host, "source": source, "line": line, "model": f"{model} (/api/ps)", "loaded_at": began,
        "unloaded_at": ended, "unload_evidence": why,
    }  # fmt: skip


def not_captured(case: Case) -> pd.DataFrame:
    """What a collection tried and did not get, with its reason."""
    return case.sql(
        "SELECT host, collector, step, outcome, reason FROM collection WHERE outcome NOT IN ('captured', 'skipped') "
        "ORDER BY host, collector, line"
    )


def gpus(case: Case) -> pd.DataFrame:
    """Each GPU once, as the fullest capture shows it, and what the kernel has (`detail`)."""
    frame = case.sql("FROM gpus ORDER BY ALL")
    known = frame.assign(told=frame.notna().sum(axis=1)).sort_values("told", ascending=False, kind="stable")
    once = known.drop_duplicates(["host", "vendor", "gpu"]).sort_values(["host", "vendor", "gpu"])
    columns = ["host", "gpu", "vendor", "name", "driver", "total_bytes", "used_bytes", "utilization_percent",
               "temperature_c", "detail"]  # fmt: skip
    return once[columns].reset_index(drop=True)


@once
def ghost_gpu_tools(case: Case) -> list[str]:
    """Hosts with nvidia-smi installed where the kernel has no NVIDIA device: what looks for GPUs finds a ghost."""
    if not is_captured(case, "collection"):
        return []
    found = case.sql(
        """
        SELECT host FROM collection
        WHERE step = 'nvidia-smi' AND outcome NOT IN ('missing', 'refused')
          AND host IN (SELECT host FROM collection WHERE step = 'GPU devices' AND outcome = 'captured')
          -- Neither in PCI nor listed by the tool itself (hidden PCI buses, Jetson), and no node of a device.
          AND host NOT IN (SELECT host FROM gpus WHERE vendor = 'NVIDIA' OR contains(detail, '/dev/nvidia'))
          -- The Linux of Windows shows its GPU as /dev/dxg and not among the PCI devices.
          AND host NOT IN (SELECT host FROM gpus WHERE contains(detail, '/dev/dxg'))
        ORDER BY host
        """
    )
    return [str(host) for host in found.host]


@once
def limits_in_force(case: Case) -> pd.DataFrame:
    """Every limit, intended beside in force; what differs comes first."""
    compared = limits_compared(_rows(case, "limits"), _processes(case), _settings(case))
    return compared.sort_values("differs", key=lambda differs: differs.ne(True), kind="stable")


def settings_in_force(case: Case, server_config: pd.DataFrame) -> pd.DataFrame:
    """Every setting, intended beside in force; `server_config` is what the server printed. What differs comes first."""
    compared = settings_compared(_settings(case), server_config, _processes(case))
    return compared.sort_values("differs", key=lambda differs: differs.ne(True), kind="stable")


@once
def _settings(case: Case) -> pd.DataFrame:
    return _rows(case, "settings")


@once
def _processes(case: Case) -> pd.DataFrame:
    """Each process as it was seen last: whose it is is all that is asked of it, and samples show it many times."""
    rows = _rows(case, "processes").sort_values("at", kind="stable", na_position="first")
    return rows.drop_duplicates(["host", "pid"], keep="last")


def _rows(case: Case, table: str) -> pd.DataFrame:
    return case.sql(f"FROM {table} ORDER BY ALL") if is_captured(case, table) else captured_table(case, table)


def sentences(case: Case, server_config: pd.DataFrame) -> list[str]:
    """What is out of order beside the log, one sentence each: what a reader at night must not miss."""
    memory = memory_findings(case)
    told = list(memory.sentence[memory.state.isin(["growing", "warned", "recovering"])])
    told += [row.sentence for row in limits_in_force(case).itertuples() if row.differs is True]
    for row in settings_in_force(case, server_config).itertuples():
        if row.differs is True or row.ineffective is True:
            told.append(row.sentence)
    told += [
        f"nvidia-smi is installed on {host}, but the kernel has no NVIDIA device: a ghost, not a GPU."
        for host in ghost_gpu_tools(case)
    ]
    told += _silent(case)
    told += failed_calls.sentences(case)
    events = other_events(case)
    events = events[~events.fields.fillna("").str.contains('"failure"')]  # told as calls that failed
    for _, found in events[events.key.isin(list(MARKED))].groupby("key", sort=False):
        first = found.iloc[0]
        times = f" ({len(found)} in all)" if len(found) > 1 else ""
        clock = "at" if first["timed"] else "after"
        when = f" {clock} {first['at']:%Y-%m-%d %H:%M:%S} UTC" if pd.notna(first["at"]) else ""
        told.append(f"{first.what}{when}{times}, {first.source}:{first.line}.")
    told += _restarted(case)
    return [str(sentence) for sentence in told]


def _silent(case: Case) -> list[str]:
    """Of the endpoints that gave no answer, the one that most often did not."""
    told: list[str] = []
    if not is_captured(case, "probes"):
        return told
    silent = case.sql(
        """
        SELECT host, endpoint, count(*) AS n, min("at") AS first_at, arg_min(error, "at") AS why FROM probes
        WHERE error <> '' AND starts_with(endpoint, '/api/') GROUP BY host, endpoint ORDER BY n DESC, endpoint LIMIT 1
        """
    )
    for row in silent.itertuples():
        times = "once" if row.n == 1 else f"{row.n} times, first"
        when = f"{row.first_at:%Y-%m-%d %H:%M:%S} UTC"
        told.append(f"{row.endpoint} of {row.host} gave no answer {times} at {when} ({row.why}).")
    return told


def _restarted(case: Case) -> list[str]:
    """Containers that were started again, or killed for want of memory."""
    told: list[str] = []
    if not is_captured(case, "containers"):
        return told
    restarted = (
        "SELECT container, coalesce(restarts, 0) AS restarts, coalesce(oom_killed, false) AS oom_killed, exit_code"
    )
    for row in case.sql(
        f"{restarted} FROM containers WHERE oom_killed OR restarts > 0 ORDER BY host, container"
    ).itertuples():
        killed = ", killed for want of memory" if row.oom_killed else ""
        code = "" if pd.isna(row.exit_code) else f", exit code {row.exit_code:.0f}"
        told.append(f"Container {row.container}: {row.restarts:.0f} restarts{killed}{code}.")
    return told


def with_observed(residencies: pd.DataFrame, case: Case) -> pd.DataFrame:
    """The residencies that the log tells, and those that samples of /api/ps show."""
    seen = observed_residencies(case)
    return pd.concat([residencies, seen], ignore_index=True) if len(seen) else residencies
