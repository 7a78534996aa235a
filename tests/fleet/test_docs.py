"""docs/fleet.md is followed: its commands on one machine and on a cluster, on loopback, and its Python."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dask_cluster import running

from conftest import ROOT
from fleet.small_fleet import log, write_hosts

PAGE = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()]
WRITTEN = "10.0.0.5:8786"


def words_of(start: str, **instead: str | Path) -> list[str]:
    """The words of the documented command that begins so, with paths and addresses of this test."""
    (command,) = (line for line in COMMANDS if line.startswith(f".venv/bin/{start}"))
    for written, here in instead.items():
        assert written in command
        command = command.replace(written, str(here))
    program, *words = shlex.split(command)
    return [str(Path(sys.executable).parent / program.removeprefix(".venv/bin/")), *words]


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_on_one_machine(tmp_path: Path) -> None:
    hosts = write_hosts(tmp_path / "hosts", 3)
    told = run(words_of("warmstall fleet analyze data", **{"data/incidents": hosts}), tmp_path)
    assert told.startswith("4 hosts: 3 analyzed")
    (tree,) = re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.M | re.S)
    left = re.findall(r"^  ([\w.]+)", tree, flags=re.M) + re.findall(r"(?<=, )(\w+)/", tree)
    assert sorted(path.name for path in (tmp_path / "warmstall-fleet").iterdir() if path.name != ".lock") == sorted(
        left
    )

    words = words_of("papermill notebooks/fleet.ipynb fleet-executed.ipynb -y", **{"notebooks/": f"{ROOT}/notebooks/"})
    run([*words, "--no-progress-bar"], tmp_path)
    assert "Unlike the rest: " in (tmp_path / "fleet-executed.ipynb").read_text(encoding="utf-8")


def test_on_a_cluster(tmp_path: Path) -> None:
    """The page's scheduler and workers, at an address of this machine, and a run over them."""
    hosts = write_hosts(tmp_path / "hosts", 3)
    scheduler = words_of("dask scheduler", **{"10.0.0.5": "127.0.0.1", "8786": "0"})
    with running([*scheduler, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"], tmp_path) as started:
        address = started.said(r"Scheduler at:\s+tcp://(127\.0\.0\.1:\d+)")
        worker = words_of("dask worker", **{WRITTEN: address})
        with running([*worker, "--host", "127.0.0.1", "--no-dashboard"], tmp_path):
            words = words_of(
                "warmstall fleet analyze /srv", **{"/srv/logs": hosts, "/srv/fleet": "out", WRITTEN: address}
            )
            told = run(words, tmp_path)

    assert told.startswith("4 hosts: 3 analyzed, 0 as they were, 1 not read")


@pytest.mark.parametrize("written", ['write_example(Path(scratch, "logs"))', "sample_incident().parent"])
def test_its_python_runs(written: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"hosts/gpu-{number}").mkdir(parents=True)
        (tmp_path / f"hosts/gpu-{number}/server.log").write_text(log(number))
    (block,) = (text for text in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S) if written in text)

    assert "gpu-2" in run([sys.executable, "-c", block.replace(written, repr(str(tmp_path / "hosts")))], tmp_path)
