"""A real Dask cluster gives what processes of this machine give, byte for byte, even when a worker is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import Cluster, started
from fleet_tasks import tiny_hosts

from fleet.small_fleet import dies_at_two, tree, write_hosts
from warmstall.errors import InputError
from warmstall.fleet import engines
from warmstall.fleet.engines import TaskKilled, outcomes
from warmstall.fleet.run import analyze_fleet


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def local(hosts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("local")
    analyze_fleet([hosts], out, workers=1)
    return tree(out)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    with started(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_processes_give_the_same_bytes(hosts: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    analyze_fleet([hosts], tmp_path, workers=2)

    assert tree(tmp_path) == local


def test_a_cluster_gives_the_same_bytes(hosts: Path, local: dict[str, bytes], cluster: Cluster, tmp_path: Path) -> None:
    done = analyze_fleet([hosts], tmp_path, cluster.engine)

    assert (done.hosts, done.analyzed, done.failed) == (5, 4, 1)
    assert tree(tmp_path) == local
    assert sum(name.startswith("requests/") for name in local) == 5  # one host goes over midnight


def test_few_tasks_are_under_way_at_a_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_UNDER_WAY", 5)
    made: list[int] = []
    tasks = (made.append(number) or number for number in range(10, 60))
    ahead = [len(made) - ended for ended, _ in enumerate(outcomes(dies_at_two, tasks, cluster.engine))]

    assert len(ahead) == 50
    assert max(ahead) <= 5


def test_a_worker_killed_in_the_middle_changes_nothing(hosts: Path, local: dict[str, bytes], tmp_path: Path) -> None:
    ended: list[str] = []

    with started(tmp_path) as cluster:

        def say(row: dict[str, object]) -> None:
            ended.append(str(row["host"]))
            if len(ended) == 2:
                cluster.workers[0].kill()

        done = analyze_fleet([hosts], tmp_path / "out", cluster.engine, say=say)

    assert cluster.workers[0].process.returncode == -9
    assert (len(ended), done.analyzed, done.failed) == (5, 4, 1)
    assert tree(tmp_path / "out") == local


def test_a_host_that_kills_its_workers_costs_no_other(tmp_path: Path) -> None:
    with started(tmp_path, workers=3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        found = dict(outcomes(dies_at_two, range(6), cluster.engine))

    assert isinstance(found.pop(2), TaskKilled)
    assert found == {number: 10 * number for number in (0, 1, 3, 4, 5)}


def test_a_scheduler_that_goes_away_ends_the_run_in_one_sentence(hosts: Path, tmp_path: Path) -> None:
    ended: list[dict[str, object]] = []

    with started(tmp_path) as cluster:

        def say(row: dict[str, object]) -> None:
            if not ended:
                cluster.scheduler.kill()
            ended.append(row)

        with pytest.raises(InputError, match="the Dask scheduler went away"):
            analyze_fleet([hosts], tmp_path / "out", cluster.engine, say=say)
    done = analyze_fleet([hosts], tmp_path / "out", workers=1)

    assert done.as_before + done.analyzed == 4
    assert done.as_before >= sum(row["outcome"] == "analyzed" for row in ended)


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_CONNECT_S", 1)

    with pytest.raises(InputError, match="no Dask scheduler answers there"):
        next(outcomes(dies_at_two, [1], "dask://127.0.0.1:9"))


def test_a_scheduler_without_workers_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_CONNECT_S", 1)

    with started(tmp_path, workers=0) as cluster, pytest.raises(InputError, match="has no worker"):
        next(outcomes(dies_at_two, [1], cluster.engine))


def test_a_cluster_without_warmstall_is_one_sentence() -> None:
    class Client:
        def get_versions(self, packages: list[str]) -> dict[str, Any]:
            has, has_not = ({"packages": dict.fromkeys(packages, version)} for version in ("0.1.0", None))
            return {"scheduler": has, "workers": {"tcp://a:1": has, "tcp://b:1": has_not}, "client": has}

    with pytest.raises(InputError, match="worker tcp://b:1 has no warmstall"):
        engines._check_installed(Client(), "tcp://a:2")


@pytest.mark.skipif("WARMSTALL_WHOLE_FLEET" not in os.environ, reason="WARMSTALL_WHOLE_FLEET=1 asks for minutes")
def test_twenty_thousand_hosts_cost_little_each(tmp_path: Path) -> None:
    with started(tmp_path) as cluster:
        measured = tiny_hosts(20_000, tmp_path, cluster.engine)

    assert measured["failed"] == 0
    assert measured["task_ms"] <= 10
    assert measured["driver_bytes"][-1] <= 1.1 * measured["driver_bytes"][0]


def test_a_thousand_tiny_hosts_land_and_are_counted(tmp_path: Path, cluster: Cluster) -> None:
    measured = tiny_hosts(1100, tmp_path, cluster.engine)  # more than are under way at once

    assert (measured["hosts"], measured["failed"]) == (1100, 0)
    assert len(list((tmp_path / "tiny-out" / "hosts").iterdir())) == 1100
