"""What a fleet costs: python benchmarks/fleet.py [--write] (`make fleet` writes docs/fleet-cost.md).

Measured are the task of one host by the size of its log, a fleet on a real Dask cluster beside processes of the same
number (in turns, the same bytes or it does not count), very many tiny hosts, and queries over their partitions. What
these come to for 10,000 hosts is worked out by fleet_page.py. Seconds depend on the machine and on who else uses it:
processor seconds and ratios do so less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import duckdb
import goals
import results
from dask_cluster import ROOT, started
from fleet_page import page
from fleet_tasks import tiny_hosts
from measuring import measure
from server_log import Shape, write_log

from warmstall.fleet.columns import TABLES
from warmstall.fleet.host_task import Task, analyze_host, code_digest
from warmstall.fleet.inputs import Host
from warmstall.fleet.run import analyze_fleet

FIGURES = ROOT / "benchmarks" / "fleet.json"
_WORKERS = 2
_ROUNDS = 3
_PARTS = 5000


def one_host(log: Path, out: Path) -> None:
    """What a worker does for one host, in this process; prints its row."""
    print(json.dumps(analyze_host(Task(Host(log.stem, str(log), (str(log),)), str(out), code_digest()))))


def hosts_by_size(folder: Path, sizes_mb: list[float]) -> list[dict[str, Any]]:
    """The task of one host, each in a fresh process: processor seconds, memory at most, and bytes that it leaves."""
    found = []
    for megabytes in sizes_mb:
        log, out = folder / f"gpu-{megabytes:g}.log", folder / f"out-{megabytes:g}"
        write_log(log, Shape(megabytes))
        measured = measure([sys.executable, __file__, "--one-host", str(log), str(out)])
        row = json.loads(measured.output) if not measured.failed else {"error": measured.failed}
        if row["error"]:
            raise SystemExit(f"a host of {megabytes:g} MB: {row['error']}")
        parts = {table: sum(path.stat().st_size for path in (out / table).rglob("*.parquet")) for table in TABLES}
        found.append({
            "input_bytes": row["input_bytes"], "lines": row["lines"], "requests": row["requests"],
            "wall_s": round(measured.wall_s, 2), "cpu_s": round(measured.cpu_s, 2), "rss_bytes": measured.rss_bytes,
            "parts": row["parts"], "part_bytes": parts,
            "note_bytes": next(out.glob("hosts/*/summary.json")).stat().st_size,
            "row_bytes": len((measured.output.strip() + "\n").encode()),
        })  # fmt: skip
        log.unlink()
        print(f"  {megabytes:g} MB: {found[-1]}", file=sys.stderr)
    return found


def engines_in_turns(folder: Path, hosts: int, megabytes: float) -> dict[str, Any]:
    """The same fleet by processes and by a cluster that is up; a round counts only where both leave the same bytes."""
    logs = folder / "hosts"
    logs.mkdir()
    for number in range(hosts):
        write_log(logs / f"gpu-{number:02}.log", Shape(megabytes, seed=number))
    with started(folder, _WORKERS) as cluster:
        engines = {"local": ("local", _WORKERS), "dask": (cluster.engine, None)}
        walls: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(_ROUNDS):
            outs = {name: folder / f"{name}-{turn}" for name in engines}
            for name, (engine, workers) in list(engines.items())[:: -1 if turn % 2 else 1]:
                began = time.perf_counter()
                analyze_fleet([logs], outs[name], engine, workers)
                walls[name].append(round(time.perf_counter() - began, 2))
            if _bytes_of(outs["local"]) != _bytes_of(outs["dask"]):
                raise SystemExit("the cluster left other bytes than the processes: disqualified")
    return {"hosts": hosts, "megabytes": megabytes, "workers": _WORKERS, "wall_s": walls}


def _bytes_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*")
            if path.is_file() and path.name not in ("journal.jsonl", ".lock")}  # fmt: skip


def queries_over_parts(folder: Path, count: int) -> dict[str, Any]:
    """How long DuckDB takes over so many small parts: for all of them, and for those of one day and of one host."""
    first = folder / "part.parquet"
    duckdb.sql(f"COPY (SELECT 'warm_ok' AS verdict, 1.5 AS wall_s FROM range(500)) TO '{first}'")
    for number in range(count):
        part = folder / "requests" / f"host=gpu-{number:06}" / f"date=2026-03-{1 + number % 2:02}" / "part.parquet"
        part.parent.mkdir(parents=True)
        os.link(first, part)
    rows = (f"read_parquet('{folder}/requests/host=*/date=*/part.parquet', hive_partitioning = true, "
            "hive_types = {'host': VARCHAR, 'date': DATE})")  # fmt: skip
    asked = {"all": "true", "one_day": "date = DATE '2026-03-02'", "one_host": "host = 'gpu-000007'"}
    return {"parts": count} | {
        f"{name}_s": round(_timed(lambda where=where: duckdb.sql(
            f"SELECT verdict, count(*), median(wall_s) FROM {rows} WHERE {where} GROUP BY ALL").fetchall()), 3)
        for name, where in asked.items()
    }  # fmt: skip


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measured(sizes_mb: list[float], hosts: int, tiny: int) -> Iterator[tuple[str, Any]]:
    """Each figure with its name, as it is found."""
    versions = {"python": platform.python_version(), "duckdb": duckdb.__version__, "dask": dask.__version__}
    yield "machine", {"cores": os.cpu_count(), **versions}
    with tempfile.TemporaryDirectory() as name:
        yield "hosts", hosts_by_size(Path(name), sizes_mb)
    with tempfile.TemporaryDirectory() as name:
        yield "engines", engines_in_turns(Path(name), hosts, 2.0)
    with tempfile.TemporaryDirectory() as name:
        yield "tasks_here", tiny_hosts(max(1000, tiny // 10), Path(name), "local", 1)
        with started(Path(name), _WORKERS) as cluster:
            yield "tasks", tiny_hosts(tiny, Path(name), cluster.engine)
    with tempfile.TemporaryDirectory() as name:
        yield "queries", queries_over_parts(Path(name), _PARTS)


def as_results(figures: dict[str, Any]) -> Iterator[results.Result]:
    """What the goals ask of a fleet: each round of both engines, and the run over the tiny hosts."""
    run, told, machine = results.new_run(), results.commit(), results.machine()
    walls_s = figures["engines"]["wall_s"]
    arms = [
        (goals.FLEET_LOCAL, figures["engines"]["hosts"], walls_s["local"]),
        (goals.FLEET_DASK, figures["engines"]["hosts"], walls_s["dask"]),
        (goals.FLEET_TINY, figures["tasks"]["hosts"], [figures["tasks"]["wall_s"]]),
    ]
    for arm, hosts, rounds in arms:
        for number, wall_s in enumerate(rounds):
            yield results.Result(run, arm, hosts, "hosts", wall_s, 0.0, 0, "", number, told, machine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 25, 50], help="megabytes of the logs of one host")
    parser.add_argument("--hosts", type=int, default=16, help="of the fleet on both engines")
    parser.add_argument("--tiny", type=int, default=20_000, help="hosts with next to nothing to read")
    parser.add_argument("--write", action="store_true", help="keep the figures, and write docs/fleet-cost.md")
    parser.add_argument("--page", action="store_true", help="only write the page, from the figures that are kept")
    parser.add_argument("--results", type=Path, help="what the goals ask is appended here, a JSON object a line")
    parser.add_argument("--one-host", type=Path, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one_host:
        one_host(*asked.one_host)
        return
    if asked.page:
        figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    else:
        figures = {}
        for name, value in measured(asked.sizes, asked.hosts, asked.tiny):
            figures[name] = value
            print(f"{name}: {json.dumps(value)}", flush=True)
        if asked.results:
            results.append(asked.results, as_results(figures))
    if asked.write:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if asked.write or asked.page:
        (ROOT / "docs" / "fleet-cost.md").write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
