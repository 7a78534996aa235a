"""docs/fleet-cost.md: what was measured of a fleet, and what that comes to for 10,000 hosts of 1 GB a day."""

from __future__ import annotations

from typing import Any

HOSTS, MEGABYTES, HOURS = 10_000, 1000, 6
# What is common: a machine of a cloud has this for each core, a day's tables are asked within this, and kept as long.
_MEMORY_OF_A_CORE_BYTES = 4e9
_PATIENCE_S = 60
_DAYS_KEPT = 30
_NETWORK_BYTES_A_S = 10e9 / 8

_PAGE = """# What a fleet costs

Written by `make fleet` from figures that were measured on {cores} cores with Python {python}, DuckDB {duckdb} and Dask
{dask}; [fleet.md](fleet.md) says how such a run is made. What is measured is in the first half. The second works out
what that comes to for {hosts:,} hosts of 1 GB of log a day, which no machine here can try: it is arithmetic, and says
of what.

## Measured

**One host**: its log to verdicts, findings and Parquet, in a fresh process with one thread.

{of_hosts}

A host costs {fixed_cpu_s:.1f} s of a processor, whatever its size, and {cpu_s_of_gb:,.0f} s for each GB. Memory grows
by {rss_gb_of_gb:.1f} GB for each GB of log.

**A cluster beside processes**: {fleet_hosts} hosts of {fleet_megabytes:g} MB, {fleet_workers} workers each, in turns,
the cluster up, and the same bytes every time: **{ratio:.2f} times** the wall time of processes (the best of {rounds}
rounds of each, because other work on a machine only ever adds; the goal is 1.3 at most). Processes are started for each
run and import the library anew; a cluster's workers have it.

**Very many hosts** with one line each, on {fleet_workers} workers: {tiny:,} hosts in {tiny_s:.0f} s, {failed} failed.
That is **{task_ms:.1f} ms a host** of wall time and {task_cpu_ms:.1f} ms of processor time of driver, scheduler and
workers together (the goal is 10 ms); {here_ms:.1f} ms and {here_cpu_ms:.1f} ms are the listing and landing itself,
measured without a cluster. The driver held {driver_first} after a tenth of them and {driver_last} after all.

**Opening parts**: of {query_parts:,} with 500 rows each on a local disk, all took {query_all_s:.2f} s, those of one day
of two {query_day_s:.2f} s, those of one host {query_host_s:.2f} s.

## Worked out: {hosts:,} hosts of 1 GB a day

| what | how much | from |
|---|---|---|
{worked_out}

One host's cost is taken to go on in proportion from {largest} to 1 GB{far}.

## What breaks first

What is needed as a share of what there usually is; above 100 % it breaks. The list is in that order.

| what | needed | there is | share | then |
|---|---|---|---|---|
{breaks}
"""


def page(figures: dict[str, Any]) -> str:
    """The page of these figures."""
    small, large = figures["hosts"][0], figures["hosts"][-1]
    engines, tasks, queries = figures["engines"], figures["tasks"], figures["queries"]
    cpu_s_of_mb = _slope(small, large, "cpu_s")
    fixed_cpu_s = max(0.0, small["cpu_s"] - cpu_s_of_mb * small["input_bytes"] / 1e6)
    cpu_s = fixed_cpu_s + cpu_s_of_mb * MEGABYTES
    rss_bytes_of_mb = _slope(small, large, "rss_bytes")
    rss_bytes = small["rss_bytes"] + rss_bytes_of_mb * (MEGABYTES - small["input_bytes"] / 1e6)
    part_share = sum(large["part_bytes"].values()) / large["input_bytes"]
    day_bytes, core_hours = HOSTS * MEGABYTES * 1e6, HOSTS * cpu_s / 3600
    workers = core_hours / HOURS
    files = HOSTS * (large["parts"] + 1)
    part_s = queries["all_s"] / queries["parts"]
    return _PAGE.format(
        **figures["machine"], hosts=HOSTS, of_hosts=_of_hosts(figures["hosts"]), fixed_cpu_s=fixed_cpu_s,
        cpu_s_of_gb=1000 * cpu_s_of_mb, rss_gb_of_gb=1000 * rss_bytes_of_mb / 1e9,
        fleet_hosts=engines["hosts"], fleet_megabytes=engines["megabytes"], fleet_workers=engines["workers"],
        ratio=ratio(figures), rounds=len(engines["wall_s"]["dask"]),
        tiny=tasks["hosts"], tiny_s=tasks["wall_s"], failed=tasks["failed"] or "none", task_ms=tasks["task_ms"],
        task_cpu_ms=tasks["task_cpu_ms"], here_ms=figures["tasks_here"]["task_ms"],
        here_cpu_ms=figures["tasks_here"]["task_cpu_ms"], driver_first=_bytes(tasks["driver_bytes"][0]),
        driver_last=_bytes(tasks["driver_bytes"][-1]), query_parts=queries["parts"], query_all_s=queries["all_s"],
        query_day_s=queries["one_day_s"], query_host_s=queries["one_host_s"], largest=_bytes(large["input_bytes"]),
        far=" (far: what is extrapolated that much is a guess)" if large["input_bytes"] < 2e8 else "",
        worked_out=_table([
            ("tasks", f"{HOSTS:,}", "one for each host"),
            ("bytes read", f"{_bytes(day_bytes)} a day, {_bytes(day_bytes / HOURS / 3600)} a second for {HOURS} hours",
             "the logs; compressed ones are a tenth of it"),
            ("processor", f"{core_hours:,.0f} core hours a day", f"{cpu_s:,.0f} s for each host"),
            ("cluster", f"{workers:,.0f} workers of one thread and {_bytes(rss_bytes)} each",
             f"the same in {HOURS} hours, and the memory of one host"),
            ("scratch", f"{_bytes(MEGABYTES * 1e6 * (1 + part_share))} for each worker",
             "logs of an object store are copied, and a host's parts are written aside"),
            ("tables", f"{_bytes(day_bytes * part_share)} a day in {files:,} files",
             f"{part_share:.0%} of the log as Parquet, {large['parts']} parts and a note for each host"),
            ("what the driver writes", _bytes(HOSTS * large["row_bytes"]), "a row of the journal for each host"),
            ("what the cluster adds", f"{HOSTS * tasks['task_ms'] / 1000:,.0f} s", "a task each, as measured"),
        ]),
        breaks=_table(_breaks(rss_bytes, cpu_s, part_s, workers, tasks, day_bytes, large["parts"])),
    )  # fmt: skip


def ratio(figures: dict[str, Any]) -> float:
    """How much longer a cluster takes than processes of the same number."""
    walls = figures["engines"]["wall_s"]
    return float(min(walls["dask"]) / min(walls["local"]))


def _breaks(
    rss_bytes: float, cpu_s: float, part_s: float, workers: float, tasks: dict[str, Any], day_bytes: float, parts: int
) -> list[tuple[str, ...]]:
    asked_s, month_s = HOSTS * part_s, _DAYS_KEPT * HOSTS * part_s
    limits = [
        ("memory of a worker, for one host of 1 GB", rss_bytes, _MEMORY_OF_A_CORE_BYTES, _bytes,
         "the worker is killed and its host is a row with an error; give fewer workers to a machine"),
        ("the longest task: one host of 10 GB", 10 * cpu_s, HOURS * 3600, _seconds,
         "it holds up the end of the run: its ranges must become tasks of their own"),
        (f"opening the parts of all hosts and {_DAYS_KEPT} days, before any row of them is read", month_s, _PATIENCE_S,
         _seconds, "ask by `date`; an object store takes far longer than the local disk that was measured"),
        ("the same of one day", asked_s, _PATIENCE_S, _seconds, "write each day's parts into one file"),
        ("network, where logs come from an object store", day_bytes / HOURS / 3600,
         _NETWORK_BYTES_A_S * max(1.0, workers / 16), lambda rate: f"{_bytes(rate)}/s",
         "run where the logs are, or keep them compressed"),
        ("the scheduler, which hands out one task after another", HOSTS * tasks["task_ms"] / 1000, HOURS * 3600,
         _seconds, "several hosts to a task"),
        ("memory of the driver", tasks["driver_bytes"][-1], _MEMORY_OF_A_CORE_BYTES, _bytes,
         "it holds the names of hosts and the tasks that are under way"),
    ]  # fmt: skip
    limits.sort(key=lambda limit: -limit[1] / limit[2])
    return [(what, told(needed), told(there), f"{needed / there:.0%}" if needed >= there / 100 else "below 1 %", then)
            for what, needed, there, told, then in limits]  # fmt: skip


def _of_hosts(hosts: list[dict[str, Any]]) -> str:
    header = [("log", "lines", "requests", "processor", "wall", "memory at most", "Parquet"), ("---:",) * 7]
    return _table(header + [
        (_bytes(one["input_bytes"]), f"{one['lines']:,}", f"{one['requests']:,}", f"{one['cpu_s']:.1f} s",
         f"{one['wall_s']:.1f} s", _bytes(one["rss_bytes"]), _bytes(sum(one["part_bytes"].values()))) for one in hosts
    ])  # fmt: skip


def _slope(small: dict[str, Any], large: dict[str, Any], name: str) -> float:
    """How much more for each MB of log."""
    return 1e6 * (large[name] - small[name]) / (large["input_bytes"] - small["input_bytes"])


def _table(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 999.5 * size else f"{count / size:,.0f} {unit}"
    return f"{count:.0f} bytes"


def _seconds(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds:,.0f} s"
