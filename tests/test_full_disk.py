"""A disk that is full in the middle of an ingest: the tables of before stay as they were, byte for byte."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest
from server_log import Shape, write_log

SMALL, LARGE = Shape(megabytes=1, seed=3), Shape(megabytes=24, seed=4)


def run(log: Path, tables: Path, largest_file_bytes: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Ingest in a process that may write no larger files."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, resource.RLIM_INFINITY))

    words = [sys.executable, peers.__file__, "ingest", str(log), str(tables), "2"]
    return subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, check=False, timeout=200)


def contents(tables: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tables.iterdir()}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that has been read, and has been replaced by a larger one since."""
    path = tmp_path / "server.log"
    write_log(path, SMALL)
    return path


def refused_and_intact(log: Path, tables: Path, reason: str, largest_file_bytes: int = resource.RLIM_INFINITY) -> None:
    """A larger log does not fit; nothing of the tables has changed."""
    before = contents(tables)
    assert before
    write_log(log, LARGE)
    done = run(log, tables, largest_file_bytes)
    assert done.returncode == 1, done.stderr
    assert f"OutputError: {tables}: cannot write the tables" in done.stderr
    assert reason in done.stderr
    assert contents(tables) == before


def test_a_file_that_may_not_grow_leaves_the_tables_intact(log: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    assert run(log, tables).returncode == 0
    most = max(map(len, contents(tables).values()))

    refused_and_intact(log, tables, os.strerror(27), most)  # EFBIG

    assert run(log, tables).returncode == 0  # and where there is room again, all is well
    truth = write_log(log, LARGE)
    assert peers.count(tables) == {name: truth[name] for name in ("access_lines", "wall_ns", "events")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the tables of the small log, and a part of those of the large one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount") or os.geteuid():
        pytest.skip("only root may mount a file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], capture_output=True,
                             text=True, check=False)  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_tables_intact(log: Path, small_disk: Path) -> None:
    tables = small_disk / "tables"
    assert run(log, tables).returncode == 0

    refused_and_intact(log, tables, "No space left on device")

    (small_disk / "ballast").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    refused_and_intact(log, tables, "No space left on device")


def test_a_full_disk_without_tables_is_told_in_a_sentence(log: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
    done = run(log, small_disk / "tables")

    assert done.returncode == 1
    assert "OutputError" in done.stderr
    assert "No space left on device" in done.stderr
