"""The columns of every table, with their DuckDB types.

Every row carries host, source and line. `at` is UTC; where a capture shows a local time without its zone,
`local_at` holds it and `at` is empty until the case's zone is known. Bytes, seconds and percent are in the
names; a limit that is unlimited is infinity.
"""

from __future__ import annotations

# So many characters of a line stand in the events table as its text; a line of fewer bytes is whole.
TEXT_CHARACTERS = 2000
_PLACE = {"host": "VARCHAR", "source": "VARCHAR", "line": "BIGINT"}
_MOMENT = {"at": "TIMESTAMP", "local_at": "TIMESTAMP"}

TABLES: dict[str, dict[str, str]] = {
    "requests": _PLACE
    | {
        "ended_local": "TIMESTAMP", "wrapper_at": "TIMESTAMP", "offset_s": "INTEGER", "before_at": "TIMESTAMP",
        "after_at": "TIMESTAMP", "wall_s": "DOUBLE", "status": "VARCHAR", "client": "VARCHAR", "method": "VARCHAR",
        "path": "VARCHAR", "text": "VARCHAR",
    },
    # `at` is the line's own time; between `before_at` and `after_at` where it has none.
    "events": _PLACE
    | {
        "key": "VARCHAR", "at": "TIMESTAMP", "before_at": "TIMESTAMP", "after_at": "TIMESTAMP", "fields": "VARCHAR",
        "text": "VARCHAR", "local_at": "TIMESTAMP",
    },
    # One call as a client saw it. `status` is the HTTP status as text, empty when no answer came.
    "trials": _PLACE
    | {
        "started_at": "TIMESTAMP", "ended_at": "TIMESTAMP", "time_from": "VARCHAR", "wall_s": "DOUBLE",
        "run_id": "VARCHAR", "model": "VARCHAR", "path": "VARCHAR", "status": "VARCHAR", "outcome": "VARCHAR",
        "error": "VARCHAR", "attempts": "BIGINT", "queued_s": "DOUBLE", "ttft_s": "DOUBLE",
        "total_duration_s": "DOUBLE", "load_duration_s": "DOUBLE", "prompt_eval_duration_s": "DOUBLE",
        "eval_duration_s": "DOUBLE", "prompt_eval_count": "BIGINT", "eval_count": "BIGINT",
        "tokens_per_s": "DOUBLE", "finish_reason": "VARCHAR", "timeout_s": "DOUBLE",
    },
    # `cpu_percent` is of one core. `role` is serve, runner, or the kind of another service.
    "processes": _PLACE | _MOMENT
    | {
        "pid": "BIGINT", "parent_pid": "BIGINT", "role": "VARCHAR", "state": "VARCHAR", "cpu_percent": "DOUBLE",
        "rss_bytes": "BIGINT", "virtual_bytes": "BIGINT", "swap_bytes": "BIGINT", "threads": "BIGINT",
        "started_at": "TIMESTAMP", "elapsed_s": "DOUBLE", "user": "VARCHAR", "command": "VARCHAR",
    },
    # A model in memory as /api/ps or `ollama ps` shows it. `processor` as in `ollama ps`.
    "resident_models": _PLACE | _MOMENT
    | {
        "model": "VARCHAR", "digest": "VARCHAR", "size_bytes": "BIGINT", "vram_bytes": "BIGINT",
        "vram_fraction": "DOUBLE", "processor": "VARCHAR", "context_length": "BIGINT", "expires_at": "TIMESTAMP",
        "until": "VARCHAR",
    },
    # One look at an HTTP endpoint: did it answer, how fast, and with what status or error.
    "probes": _PLACE | _MOMENT
    | {"endpoint": "VARCHAR", "status": "VARCHAR", "wall_s": "DOUBLE", "error": "VARCHAR", "detail": "VARCHAR"},
    # One look at a host's memory. Counters are pages as the host counts them (events for compressions and
    # faults): since boot where `interval_s` is empty, within the interval where it is not.
    "memory": _PLACE | _MOMENT
    | {
        "origin": "VARCHAR", "interval_s": "DOUBLE", "page_bytes": "BIGINT", "total_bytes": "BIGINT",
        "free_bytes": "BIGINT", "available_bytes": "BIGINT", "active_bytes": "BIGINT", "inactive_bytes": "BIGINT",
        "speculative_bytes": "BIGINT", "wired_bytes": "BIGINT", "purgeable_bytes": "BIGINT",
        "file_backed_bytes": "BIGINT", "anonymous_bytes": "BIGINT", "compressor_bytes": "BIGINT",
        "compressed_bytes": "BIGINT", "swap_total_bytes": "BIGINT", "swap_used_bytes": "BIGINT",
        "limit_bytes": "DOUBLE", "high_bytes": "DOUBLE", "peak_bytes": "BIGINT", "used_bytes": "BIGINT",
        "pageins": "BIGINT", "pageouts": "BIGINT", "swapins": "BIGINT", "swapouts": "BIGINT",
        "compressions": "BIGINT", "decompressions": "BIGINT", "major_faults": "BIGINT", "oom_kills": "BIGINT",
        "pressure_level": "BIGINT", "free_percent": "DOUBLE", "psi_some_avg10": "DOUBLE",
        "psi_full_avg10": "DOUBLE", "psi_some_total_us": "BIGINT", "psi_full_total_us": "BIGINT",
    },
    # `origin`: unit, manager default, process, drop-in, cgroup, container. `resource` by systemd's name without Limit
    # (MEMLOCK, NOFILE, …) or the property (MemoryMax, TasksMax). `subject`: the unit's name or the pid.
    "limits": _PLACE | _MOMENT
    | {
        "origin": "VARCHAR", "subject": "VARCHAR", "resource": "VARCHAR", "soft": "DOUBLE", "hard": "DOUBLE",
        "unit": "VARCHAR",
    },
    # A setting and who says so. `origin`: unit, drop-in, systemctl show, process environment, container.
    # Later `position`s win within one origin and subject; `in_force` is whether it won there.
    "settings": _PLACE | _MOMENT
    | {
        "origin": "VARCHAR", "subject": "VARCHAR", "name": "VARCHAR", "value": "VARCHAR", "file": "VARCHAR",
        "position": "BIGINT", "in_force": "BOOLEAN",
    },
    "gpus": _PLACE | _MOMENT
    | {
        "gpu": "VARCHAR", "name": "VARCHAR", "vendor": "VARCHAR", "uuid": "VARCHAR", "driver": "VARCHAR",
        "runtime": "VARCHAR", "total_bytes": "BIGINT", "used_bytes": "BIGINT", "memory_percent": "DOUBLE",
        "utilization_percent": "DOUBLE", "temperature_c": "DOUBLE", "power_w": "DOUBLE", "detail": "VARCHAR",
    },
    "gpu_processes": _PLACE | _MOMENT
    | {"gpu": "VARCHAR", "pid": "BIGINT", "command": "VARCHAR", "used_bytes": "BIGINT"},
    # `link` as nvidia-smi topo names it (NV12, PIX, PHB, NODE, SYS …).
    "gpu_links": _PLACE | _MOMENT
    | {"gpu": "VARCHAR", "other": "VARCHAR", "link": "VARCHAR", "nvlink": "BOOLEAN"},
    "containers": _PLACE | _MOMENT
    | {
        "container": "VARCHAR", "image": "VARCHAR", "state": "VARCHAR", "pid": "BIGINT", "restarts": "BIGINT",
        "exit_code": "BIGINT", "oom_killed": "BOOLEAN", "memory_limit_bytes": "DOUBLE", "started_at": "TIMESTAMP",
        "finished_at": "TIMESTAMP", "mounts": "VARCHAR", "restart_policy": "VARCHAR",
    },
    # A model on disk, as /api/tags and /api/show tell.
    "models": _PLACE | _MOMENT
    | {
        "model": "VARCHAR", "digest": "VARCHAR", "size_bytes": "BIGINT", "parameter_size": "VARCHAR",
        "quantization": "VARCHAR", "trained_context_length": "BIGINT", "num_ctx": "BIGINT", "capabilities": "VARCHAR",
    },
    # One slot of a llama-server, as its /slots shows it.
    "slots": _PLACE | _MOMENT
    | {"slot": "BIGINT", "task": "BIGINT", "processing": "BOOLEAN", "context_length": "BIGINT", "decoded": "BIGINT"},
    # What a collection did: one row a step. `outcome`: captured, missing, refused, timed_out, failed, skipped.
    "collection": _PLACE | _MOMENT
    | {
        "collector": "VARCHAR", "step": "VARCHAR", "file": "VARCHAR", "outcome": "VARCHAR", "wall_s": "DOUBLE",
        "bytes": "BIGINT", "reason": "VARCHAR",
    },
    # What runbooks did: one row an event of a run's journal. `target` is the server acted on, as host:port.
    # `measures` is a JSON object of numbers, and `outcome` then whether they were taken before or after. `found` is
    # what a run saw before it began, in sentences.
    "mitigations": _PLACE
    | {
        "at": "TIMESTAMP", "run": "VARCHAR", "runbook": "VARCHAR", "target": "VARCHAR", "operator": "VARCHAR",
        "event": "VARCHAR", "step": "VARCHAR", "does": "VARCHAR", "sentence": "VARCHAR", "outcome": "VARCHAR",
        "restarts": "BOOLEAN", "measures": "VARCHAR", "found": "VARCHAR",
    },
    # A step of an application, as its own trace tells it. `outcome` is ok or error. `attributes` is a JSON object of
    # what else it says: sizes, counts and names, never what was asked or answered.
    "spans": _PLACE
    | {
        "trace_id": "VARCHAR", "span_id": "VARCHAR", "parent_id": "VARCHAR", "name": "VARCHAR", "service": "VARCHAR",
        "thread": "VARCHAR", "pid": "BIGINT", "started_at": "TIMESTAMP", "ended_at": "TIMESTAMP", "wall_s": "DOUBLE",
        "outcome": "VARCHAR", "error": "VARCHAR", "operation": "VARCHAR", "model": "VARCHAR", "collection": "VARCHAR",
        "returned_rows": "BIGINT", "kept": "BIGINT", "attributes": "VARCHAR",
    },
}  # fmt: skip

# Columns of the Parquet files that the views use up: an event's anchor, its line where `text` is cut, and the zone of
# the time that `text` and it begin with and that `at` tells. An event's fields are read from its line where they are
# empty (`case.py`), and the text of an access line from its columns.
STORED: dict[str, dict[str, str]] = {"events": {"anchor": "VARCHAR", "whole_text": "VARCHAR", "offset_s": "INTEGER"}}
