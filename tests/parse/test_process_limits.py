"""Limits of processes: every line of the kernel's table, whose it is, and nothing taken from other text."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.process_limits import RESOURCES, is_process_limits, parse_process_limits

TITLE = "Limit                     Soft Limit           Hard Limit           Units     "
TABLE = f"""{TITLE}
Max cpu time              unlimited            unlimited            seconds
Max open files            1024                 524288               files
Max locked memory         8388608              unlimited            bytes
Max nice priority         0                    0
"""
EXPECTED = {
    "max_locked_memory_soft_bytes": ("MEMLOCK", "soft"),
    "max_open_files_soft": ("NOFILE", "soft"),
    "max_open_files_hard": ("NOFILE", "hard"),
}


def by_subject(text: str) -> dict[tuple[str, str], tuple[float, float, str]]:
    return {
        (row["subject"], row["resource"]): (row["soft"], row["hard"], row["unit"])
        for row in parse_process_limits(text).tables["limits"]
    }


def test_every_expected_value_of_the_captures(shared: Path) -> None:
    proven = 0
    for line in (shared / "corpus" / "index.jsonl").read_text().splitlines():
        capture = json.loads(line)
        if not capture["file"].startswith("limits/proc-limits"):
            continue
        text = (shared / "corpus" / capture["file"]).read_text()
        assert is_process_limits(text.split("\n"))
        parsed = parse_process_limits(text)
        rows = {row["resource"]: row for row in parsed.tables["limits"]}
        assert set(rows) == set(RESOURCES.values())
        assert parsed.lines == set(range(1, len(text.splitlines()) + 1))
        for name, value in capture["expected"].items():
            resource, end = EXPECTED[name]
            assert rows[resource][end] == value, (capture["file"], name)
            proven += 1
    assert proven == 18


def test_unlimited_is_infinity_and_units_are_as_printed() -> None:
    limits = by_subject(TABLE)
    assert limits["", "CPU"] == (math.inf, math.inf, "seconds")
    assert limits["", "MEMLOCK"] == (8388608.0, math.inf, "bytes")
    assert limits["", "NICE"] == (0.0, 0.0, "")


@pytest.mark.parametrize("change", ["collapsed", "indented", "windows"])
def test_spacing_and_newlines_do_not_matter(change: str) -> None:
    lines = TABLE.split("\n")
    if change == "collapsed":
        lines = [" ".join(line.split()) for line in lines]
    if change == "indented":
        lines = [f"    {line}" for line in lines]
    assert by_subject(("\r\n" if change == "windows" else "\n").join(lines)) == by_subject(TABLE)


def test_each_section_is_its_own_process() -> None:
    text = f"==> /proc/1436/limits <==\n{TABLE}\n==> /proc/1440/limits <==\n{TABLE.replace('1024', '512')}"
    limits = by_subject(text)
    assert (limits["1436", "NOFILE"][0], limits["1440", "NOFILE"][0]) == (1024.0, 512.0)
    assert len(limits) == 8


def test_a_command_tells_the_process_and_a_second_table_without_one_is_nobodys() -> None:
    text = f"root@box:~# cat /proc/77/limits\n{TABLE}{TABLE}"
    assert {subject for subject, _ in by_subject(text)} == {"77", ""}


def test_a_resource_that_comes_again_is_another_processs() -> None:
    parsed = parse_process_limits("==> /proc/77/limits <==\nMax open files 1 1 files\nMax open files 2 2 files\n")
    assert [(row["subject"], row["soft"]) for row in parsed.tables["limits"]] == [("77", 1.0), ("", 2.0)]


def test_a_section_of_another_file_ends_the_process() -> None:
    text = f"==> /proc/77/limits <==\n{TABLE}==> notes.txt <==\nMax file locks 1 1 locks\n"
    assert ("", "LOCKS") in by_subject(text)


@pytest.mark.parametrize(
    "text", ["", "Max open files is 1024", "max open files 1024 1024", "Max open sesame 1 2 files",
             "Max open files -1 -1 files", f"Max open files {'9' * 5000} 1 files", "Max open files 1024"]
)  # fmt: skip
def test_other_text_is_not_taken(text: str) -> None:
    assert not is_process_limits(text.split("\n"))
    assert not parse_process_limits(text).lines


def test_a_live_process_under_prlimit() -> None:
    """What a process was started with by util-linux's prlimit, beside what psutil asks the kernel for."""
    prlimit = shutil.which("prlimit")
    if not prlimit or not Path("/proc/self/limits").exists():
        pytest.skip("prlimit (util-linux) and /proc are needed")
    wait = "import sys; print('up', flush=True); sys.stdin.read()"
    command = [
        prlimit,
        "--memlock=65536:131072",
        "--nofile=512:1024",
        "--core=0:4096",
        "--",
        sys.executable,
        "-c",
        wait,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        path = Path(f"/proc/{child.pid}/limits")
        limits = by_subject(f"==> {path} <==\n{path.read_text()}\n==> /proc/self/limits <==\n")
        process = psutil.Process(child.pid)
        asked = {
            name: process.rlimit(getattr(psutil, f"RLIMIT_{name}"))
            for name in RESOURCES.values()
            if hasattr(psutil, f"RLIMIT_{name}")
        }
        child.stdin.close()
    pid = str(child.pid)
    assert limits[pid, "MEMLOCK"] == (65536.0, 131072.0, "bytes")
    assert limits[pid, "NOFILE"] == (512.0, 1024.0, "files")
    assert len(asked) > 10
    for name, ends in asked.items():
        assert limits[pid, name][:2] == tuple(math.inf if end == psutil.RLIM_INFINITY else end for end in ends), name


PIECES = st.sampled_from([*TABLE.split("\n"), "==> /proc/1/limits <==", "==> /proc/x/limits <==", "Max", "\x00", "\r"])


@settings(deadline=None)
@given(st.lists(PIECES | st.text()).map("\n".join))
def test_no_text_is_too_strange(text: str) -> None:
    parsed = parse_process_limits(text)
    assert parsed.lines <= set(range(1, len(text.split("\n")) + 1))
    assert bool(parsed.tables["limits"]) == is_process_limits(text.split("\n"))
    pyarrow.Table.from_pylist(parsed.tables["limits"])
