"""A run over a fleet: rows, parts that land whole, and runs that are resumed, disturbed or begun twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet
import pytest
from filelock import FileLock

from fleet.small_fleet import REQUESTS, log, tree
from warmstall.errors import InputError, OutputError
from warmstall.fleet import host_task, run
from warmstall.fleet.host_task import Task, analyze_host, code_digest
from warmstall.fleet.inputs import Host
from warmstall.fleet.landing import ASIDE
from warmstall.fleet.run import FleetRun, analyze_fleet
from warmstall.fleet.tables import open_fleet


def write(folder: Path, *names: str, **options: Any) -> Path:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        (folder / name / "server.log").write_text(log(number, **options))
    return folder


def analyzed(hosts: Path | str, out: Path) -> tuple[FleetRun, dict[str, dict[str, Any]]]:
    """What came of a run in this process, and its rows by host."""
    rows: list[dict[str, Any]] = []
    done = analyze_fleet([hosts], out, workers=1, say=rows.append)
    return done, {row["host"]: row for row in rows}


def test_a_row_says_what_a_host_has(tmp_path: Path) -> None:
    write(tmp_path / "hosts", "a", failing=3)
    done, rows = analyzed(tmp_path / "hosts", tmp_path / "out")
    row = rows["a"]

    assert (row["requests"], row["failed"], row["loads"], row["versions"]) == (REQUESTS, 3, 1, ["0.13.5"])
    assert sum(row["verdicts"].values()) == REQUESTS
    assert row["lines"] == len((tmp_path / "hosts/a/server.log").read_text().splitlines())
    assert row["input_bytes"] == (tmp_path / "hosts/a/server.log").stat().st_size
    parts = list((tmp_path / "out").rglob("part.parquet"))
    assert (row["parts"], row["part_bytes"]) == (len(parts), sum(path.stat().st_size for path in parts))
    assert (done.hosts, done.analyzed, done.requests) == (1, 1, REQUESTS)


def test_the_tables_hold_what_one_analysis_says(tmp_path: Path) -> None:
    from warmstall.analysis import analyze
    from warmstall.hypotheses import judge

    write(tmp_path / "hosts", "a", failing=3)
    analyzed(tmp_path / "hosts", tmp_path / "out")
    alone = analyze(tmp_path / "hosts/a")

    with open_fleet(tmp_path / "out") as fleet:
        requests = fleet.sql("SELECT verdict, wall_s, line FROM requests ORDER BY line")
        findings = fleet.sql("SELECT id, state FROM findings")
        settings = fleet.sql("SELECT name, value FROM settings")
    assert requests.values.tolist() == alone.requests()[["verdict", "wall_s", "line"]].values.tolist()
    assert {tuple(row) for row in findings.values} == {(one.id, one.state) for one in judge(alone)}
    assert {tuple(row) for row in settings.values} == {tuple(row) for row in alone.settings()[["name", "value"]].values}


def test_a_host_that_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a", "d")
    (hosts / "b").mkdir()
    (hosts / "c.log").write_bytes(b"\x00\x01" * 500)
    done, rows = analyzed(hosts, tmp_path / "out")

    assert (done.analyzed, done.failed, [host for host, _ in done.errors]) == (2, 2, ["b", "c"])
    assert "no evidence here" in rows["b"]["error"]
    assert "binary file" in rows["c"]["error"]
    with open_fleet(tmp_path / "out") as fleet:
        assert fleet.sql("SELECT host FROM hosts WHERE error <> ''")["host"].tolist() == ["b", "c"]
        assert [bool(one["error"]) for one in fleet.summaries()] == [False, True, True, False]


def test_a_fault_of_our_own_is_a_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(host_task, "_analysis", breaks)
    _, rows = analyzed(write(tmp_path / "hosts", "a"), tmp_path / "out")

    assert "a fault of warmstall's own while reading it (ZeroDivisionError: by nothing)" in rows["a"]["error"]


def test_hostile_names_are_hosts_like_others(tmp_path: Path) -> None:
    hostile = ["a b=c%2Fd", "é\n\x1b[31m'; DROP TABLE x; --", "[gpu]*?", "007"]
    out = tmp_path / "o[u]t's*"
    done, _ = analyzed(write(tmp_path / "hosts", *hostile, requests=2), out)

    assert done.analyzed == len(hostile)
    with open_fleet(out) as fleet:
        for table in ("hosts", "requests", "findings"):
            assert fleet.sql(f"SELECT DISTINCT host FROM {table} ORDER BY host")["host"].tolist() == sorted(hostile)
    assert {path.name for path in tmp_path.iterdir()} == {"hosts", out.name}


def test_a_run_that_is_resumed_reads_only_what_changed(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a", "b", "c", "d")
    analyzed(hosts, tmp_path / "out")
    whole = tree(tmp_path / "out")
    again, _ = analyzed(hosts, tmp_path / "out")
    assert (again.as_before, tree(tmp_path / "out")) == (4, whole)

    with (hosts / "a/server.log").open("a") as handle:
        handle.write(log(requests=1).splitlines()[-1] + "\n")
    next((tmp_path / "out/requests/host=b").rglob("part.parquet")).unlink()
    next((tmp_path / "out/loads/host=c").rglob("part.parquet")).write_bytes(b"short")
    resumed, rows = analyzed(hosts, tmp_path / "out")

    assert {host: row["outcome"] for host, row in rows.items()} == {
        "a": "analyzed", "b": "analyzed", "c": "analyzed", "d": "as before",
    }  # fmt: skip
    changed = {name for name, data in tree(tmp_path / "out").items() if whole.get(name) != data}
    assert all("host=a" in name or name == "hosts.parquet" for name in changed)
    assert rows["a"]["requests"] == REQUESTS + 1
    assert resumed.requests == 4 * REQUESTS + 1


def test_the_same_task_twice_changes_nothing(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a")
    analyzed(hosts, tmp_path / "out")
    whole = tree(tmp_path / "out")
    task = Task(Host("a", str(hosts), (str(hosts / "a"),)), str(tmp_path / "out"), code_digest())
    assert analyze_host(task)["outcome"] == "as before"
    shutil.rmtree(tmp_path / "out/hosts")
    assert analyze_host(task)["outcome"] == "analyzed"

    assert {name: data for name, data in whole.items() if name != "hosts.parquet"} == {
        name: data for name, data in tree(tmp_path / "out").items() if name != "hosts.parquet"
    }


def test_the_same_host_landed_by_many_at_once_is_whole(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a")
    analyzed(hosts, tmp_path / "out")
    whole = {name: data for name, data in tree(tmp_path / "out").items() if name != "hosts.parquet"}
    task = Task(Host("a", str(hosts), (str(hosts / "a"),)), str(tmp_path / "many"), code_digest())
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(analyze_host, [task] * 8))

    assert {row["error"] for row in rows} == {""}
    assert tree(tmp_path / "many") == whole


def test_results_within_the_folder_of_hosts_are_no_host(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a")
    analyzed(hosts, hosts / "results")
    again, _ = analyzed(hosts, hosts / "results")

    assert (again.hosts, again.as_before) == (1, 1)


def test_days_that_are_gone_from_the_evidence_are_gone_from_the_tables(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a", every_s=3000)  # noon, and on over midnight
    analyzed(hosts, tmp_path / "out")
    days = {path.parent.name for path in (tmp_path / "out/requests").rglob("part.parquet")}
    (hosts / "a/server.log").write_text(log())
    analyzed(hosts, tmp_path / "out")

    assert days == {"date=2026-03-14", "date=2026-03-15"}
    assert {path.name for path in (tmp_path / "out/requests/host=a").iterdir()} == {"date=2026-03-14"}


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = write(tmp_path / "hosts", "a")
    analyzed(hosts, tmp_path / "out")
    whole = tree(tmp_path / "out")
    (hosts / "a/server.log").write_text(log(requests=5))
    writer = pyarrow.parquet.ParquetWriter
    real, written = writer.write_table, 0

    def full(self: object, *given: object) -> None:
        nonlocal written
        if (written := written + 1) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *given)

    monkeypatch.setattr(writer, "write_table", full)
    _, rows = analyzed(hosts, tmp_path / "out")

    assert "No space left on device" in rows["a"]["error"]
    kept = tree(tmp_path / "out")
    assert {name for name, data in kept.items() if whole.get(name) != data} == {"hosts.parquet"}
    assert kept.keys() == whole.keys()


def test_what_a_kill_left_half_done_is_made_anew(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a")
    analyzed(hosts, tmp_path / "out")
    whole = tree(tmp_path / "out")
    (tmp_path / "out" / ASIDE / "1234").mkdir(parents=True)
    (tmp_path / "out" / ASIDE / "1234" / "part.parquet").write_text("half")
    (tmp_path / "out/hosts/host=a/summary.json").unlink()
    with (tmp_path / "out/journal.jsonl").open("a") as handle:
        handle.write('{"host": "a", "err')
    done, _ = analyzed(hosts, tmp_path / "out")

    assert done.analyzed == 1
    assert tree(tmp_path / "out") == whole


def test_a_worker_with_other_code_is_told(tmp_path: Path) -> None:
    row = analyze_host(Task(Host("a", "x", ("x",)), str(tmp_path), "0123"))

    assert "its worker has another warmstall" in row["error"]


def test_a_folder_that_workers_do_not_share_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "analyze_host", lambda task: {"host": task.host.name, "error": "", "outcome": "analyzed"})
    _, rows = analyzed(write(tmp_path / "hosts", "a"), tmp_path / "out")

    assert "all workers must see that folder" in rows["a"]["error"]


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with FileLock(tmp_path / "out/.lock"), pytest.raises(OutputError, match="another run is writing there"):
        analyzed(write(tmp_path / "hosts", "a"), tmp_path / "out")


def test_logs_in_memory_are_read_like_those_of_a_folder(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a", "b", failing=2)
    memory = fsspec.filesystem("memory")
    memory.put(f"{hosts}/", "/logs/", recursive=True)
    here, there = tmp_path / "here", tmp_path / "there"
    analyzed(hosts, here)
    done, _ = analyzed("memory://logs", there)
    again, _ = analyzed("memory://logs/*", there)
    memory.rm("/logs", recursive=True)

    assert (done.analyzed, again.as_before) == (2, 2)
    of_parts = ({name: data for name, data in tree(out).items() if name.endswith(".parquet")} for out in (here, there))
    assert next(of_parts) == next(of_parts)


def test_rotations_of_one_log_are_one_server(tmp_path: Path) -> None:
    lines = log().splitlines(keepends=True)
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/server-1.log").write_text("".join(lines[:10]))
    (tmp_path / "hosts/server.log").write_text("".join(lines[10:]))
    done, rows = analyzed(tmp_path / "hosts", tmp_path / "out")

    assert (done.hosts, rows["server"]["requests"]) == (1, REQUESTS)
    with open_fleet(tmp_path / "out") as fleet:
        sources = fleet.sql("SELECT DISTINCT source FROM requests ORDER BY source")["source"].tolist()
    assert sources == ["server-1.log", "server.log"]


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run was finished there"), open_fleet(tmp_path):
        pass


def test_a_fleet_of_which_nothing_could_be_read_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "hosts/a").mkdir(parents=True)
    analyzed(tmp_path / "hosts", tmp_path / "out")

    with open_fleet(tmp_path / "out") as fleet:
        assert fleet.sql("SELECT host, date, verdict, wall_s FROM requests").empty
        assert fleet.sql("SELECT host FROM hosts")["host"].tolist() == ["a"]


def test_the_journal_holds_a_row_for_each_host(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts", "a", "b")
    analyzed(hosts, tmp_path / "out")
    analyzed(hosts, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/journal.jsonl").read_text().splitlines()]

    assert [(row["host"], row["outcome"]) for row in rows] == [
        ("a", "analyzed"), ("b", "analyzed"), ("a", "as before"), ("b", "as before"),
    ]  # fmt: skip
