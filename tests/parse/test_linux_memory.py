"""Linux memory: looks of the host and of cgroups of both versions, read from captures and from this machine."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vm_stat import check_rows

from damage import damaged
from warmstall.parse.linux_memory import is_linux_memory, parse_linux_memory

MEMINFO = """MemTotal:       32000000 kB
MemFree:          100000 kB
MemAvailable:    2000000 kB
Active(file):     700000 kB
Inactive(file):   800000 kB
AnonPages:       8000000 kB
Mapped:           400000 kB
SwapTotal:       4000000 kB
SwapFree:        3000000 kB
HugePages_Total:       0
"""
VMSTAT = """nr_free_pages 25000
nr_anon_pages 2000000
nr_mapped 100000
pgpgin 777
pgpgout 888
pswpin 11
pswpout 22
pgmajfault 33
oom_kill 1
"""
PRESSURE = """some avg10=12.50 avg60=1.00 avg300=0.10 total=123456
full avg10=3.25 avg60=0.50 avg300=0.05 total=65432
"""
UNIT = "/sys/fs/cgroup/system.slice/ollama.service"
EVENTS = "low 0\nhigh 5\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"


def tail(*files: tuple[str, str]) -> str:
    return "\n".join(f"==> {path} <==\n{content}" for path, content in files)


HOST = tail(("/proc/meminfo", MEMINFO), ("/proc/vmstat", VMSTAT), ("/proc/pressure/memory", PRESSURE))
CGROUP = tail(
    (f"{UNIT}/memory.max", "8589934592\n"), (f"{UNIT}/memory.high", "max\n"), (f"{UNIT}/memory.current", "4096\n"),
    (f"{UNIT}/memory.peak", "8192\n"), (f"{UNIT}/memory.swap.max", "1024\n"), (f"{UNIT}/memory.swap.current", "512\n"),
    (f"{UNIT}/memory.events", EVENTS), (f"{UNIT}/memory.pressure", PRESSURE),
)  # fmt: skip
V1 = "/sys/fs/cgroup/memory/box"


def rows(text: str, table: str = "memory") -> list[dict[str, Any]]:
    return parse_linux_memory(text).tables[table]


def test_three_files_of_the_host_are_one_look():
    (row,) = rows(HOST)
    assert (row["origin"], row["line"], row["total_bytes"]) == ("linux", 1, 32_000_000 * 1024)
    assert (row["free_bytes"], row["available_bytes"]) == (100_000 * 1024, 2_000_000 * 1024)
    assert (row["swap_total_bytes"], row["swap_used_bytes"]) == (4_000_000 * 1024, 1_000_000 * 1024)
    assert row["file_backed_bytes"] == 1_500_000 * 1024
    assert (row["swapins"], row["swapouts"], row["major_faults"], row["oom_kills"]) == (11, 22, 33, 1)
    assert (row["psi_some_avg10"], row["psi_full_avg10"]) == (12.5, 3.25)
    assert (row["psi_some_total_us"], row["psi_full_total_us"]) == (123456, 65432)
    assert parse_linux_memory(HOST).lines == {n for n, line in enumerate(HOST.split("\n"), 1) if line.strip()}


def test_block_input_and_output_is_not_paging():
    (row,) = rows(HOST)
    assert (row["pageins"], row["pageouts"]) == (None, None)


def test_the_page_size_is_what_two_files_tell_together():
    assert rows(HOST)[0]["page_bytes"] == 4096
    larger = HOST.replace("nr_anon_pages 2000000", "nr_anon_pages 125000").replace("nr_mapped 100000", "nr_mapped 6250")
    assert rows(larger)[0]["page_bytes"] == 65536
    assert rows(HOST.replace("nr_mapped 100000", "nr_mapped 6250"))[0]["page_bytes"] is None
    assert rows(tail(("/proc/vmstat", VMSTAT)))[0]["page_bytes"] is None
    assert rows("PAGESIZE 16384\n" + tail(("/proc/vmstat", VMSTAT)))[0]["page_bytes"] == 16384


@pytest.mark.parametrize("text", [MEMINFO + VMSTAT, f"$ cat /proc/meminfo\n{MEMINFO}$ cat /proc/vmstat\n{VMSTAT}"])
def test_bare_files_that_tell_which_they_are(text):
    (row,) = rows(text)
    assert (row["total_bytes"], row["swapouts"]) == (32_000_000 * 1024, 22)


def test_bare_pressure_may_be_of_anything():
    assert not is_linux_memory(PRESSURE.split("\n"))
    assert rows(MEMINFO + PRESSURE)[0]["psi_some_avg10"] is None
    cpu = tail(("/proc/meminfo", MEMINFO), ("/proc/pressure/cpu", PRESSURE), ("/proc/pressure/io", PRESSURE))
    assert rows(cpu)[0]["psi_some_avg10"] is None


def test_the_numbers_of_one_node_are_not_the_hosts():
    assert not rows(tail(("/sys/devices/system/node/node0/vmstat", VMSTAT)))


def test_a_cgroup_of_the_second_version():
    (row,) = rows(CGROUP)
    assert row["origin"] == "cgroup:/system.slice/ollama.service"
    assert (row["limit_bytes"], row["high_bytes"]) == (2.0**33, math.inf)
    assert (row["used_bytes"], row["peak_bytes"], row["oom_kills"]) == (4096, 8192, 1)
    assert (row["swap_total_bytes"], row["swap_used_bytes"], row["psi_full_total_us"]) == (1024, 512, 65432)
    limits = {row["resource"]: (row["hard"], row["unit"], row["origin"]) for row in rows(CGROUP, "limits")}
    assert limits == {
        "MemoryMax": (2.0**33, "bytes", "cgroup"), "MemoryHigh": (math.inf, "bytes", "cgroup"),
        "MemorySwapMax": (1024.0, "bytes", "cgroup"),
    }  # fmt: skip
    assert {row["subject"] for row in rows(CGROUP, "limits")} == {"/system.slice/ollama.service"}


def test_a_cgroup_of_the_first_version():
    text = tail(
        (f"{V1}/memory.limit_in_bytes", "3000\n"), (f"{V1}/memory.usage_in_bytes", "2000\n"),
        (f"{V1}/memory.max_usage_in_bytes", "2900\n"), (f"{V1}/memory.failcnt", "31\n"),
        (f"{V1}/memory.memsw.limit_in_bytes", "5000\n"), (f"{V1}/memory.memsw.usage_in_bytes", "2500\n"),
        (f"{V1}/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
    )  # fmt: skip
    (row,) = rows(text)
    assert (row["origin"], row["limit_bytes"], row["used_bytes"]) == ("cgroup:/box", 3000.0, 2000)
    assert (row["peak_bytes"], row["swap_used_bytes"], row["oom_kills"]) == (2900, 500, 4)
    assert {row["resource"]: row["hard"] for row in rows(text, "limits")} == {
        "MemoryMax": 3000.0,
        "MemorySwapMax": 2000.0,
    }


@pytest.mark.parametrize("amount", ["9223372036854771712", "9223372036854775807", str(2**62), str(2**64 - 1)])
def test_the_largest_numbers_are_no_limit(amount):
    (row,) = rows(tail((f"{V1}/memory.limit_in_bytes", amount)))
    assert row["limit_bytes"] == math.inf
    assert rows(tail((f"{V1}/memory.limit_in_bytes", amount)), "limits")[0]["soft"] == math.inf


def test_each_cgroup_has_its_row_and_the_host_its_own():
    other = CGROUP.replace("ollama.service", "chroma.service")
    assert [row["origin"] for row in rows(f"{HOST}\n{CGROUP}\n{other}")] == [
        "linux", "cgroup:/system.slice/ollama.service", "cgroup:/system.slice/chroma.service",
    ]  # fmt: skip


def test_grep_names_the_file_in_every_line():
    lines = [f"{UNIT}/memory.max:max", *(f"{UNIT}/memory.events:{line}" for line in EVENTS.strip().split("\n"))]
    (row,) = rows("\n".join(lines))
    assert (row["limit_bytes"], row["oom_kills"]) == (math.inf, 1)


def test_files_that_come_again_are_another_look():
    later = HOST.replace("pswpout 22", "pswpout 5022")
    text = f"=== 2026-09-25T17:58:00Z ===\n{HOST}\n=== 2026-09-25T17:59:00Z ===\n{later}\n{later}"
    found = rows(text)
    assert [row["swapouts"] for row in found] == [22, 5022, 5022]
    assert [row["at"] for row in found] == [datetime(2026, 9, 25, 17, n) for n in (58, 59, 59)]
    assert [row["swapouts"] for row in rows(VMSTAT + VMSTAT.replace("pswpout 22", "pswpout 23"))] == [22, 23]


@pytest.mark.parametrize("text", [
    "See /proc/meminfo and memory.max", "==> /proc/cpuinfo <==\nprocessor : 0", "max\n", "low 0\nhigh 0\n",
    "==> /proc/12/status <==\nVmRSS:     100 kB\nVmSwap:     100 kB", "Max locked memory  65536  65536  bytes",
    "vm.swapusage: total = 1.00M  used = 0.50M  free = 0.50M", "```\n/proc/meminfo\n```",
])  # fmt: skip
def test_other_text_is_none(text):
    assert not is_linux_memory(text.split("\n"))


def test_a_line_that_never_ends_in_a_path_costs_little():
    assert not is_linux_memory(["-" * 1900 + " memory", "=/" * 950 + " x", "a/" * 950 + ">", "1 " * 900 + "memory"])


PROC = [Path("/proc/meminfo"), Path("/proc/vmstat"), Path("/proc/pressure/memory")]


@pytest.mark.skipif(not PROC[0].exists(), reason="this system has no /proc/meminfo")
def test_this_machine_is_as_psutil_says():
    import psutil

    there = [path for path in PROC if path.exists()]
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    (row,) = rows(tail(*((str(path), path.read_text()) for path in there)))
    assert row["total_bytes"] == memory.total
    assert row["available_bytes"] == pytest.approx(memory.available, rel=0.2)
    assert row["free_bytes"] == pytest.approx(memory.free, rel=0.2)
    assert (row["swap_total_bytes"], row["swap_used_bytes"]) == (swap.total, pytest.approx(swap.used, rel=0.2))
    assert row["page_bytes"] in (None, os.sysconf("SC_PAGE_SIZE"))
    if row["page_bytes"] and row["swapouts"] is not None:
        assert row["swapouts"] * row["page_bytes"] >= swap.sout


def test_the_cgroup_of_this_process_is_read():
    """Both hierarchies, wherever they are mounted here; the files' own words are the expected values."""
    names = ("memory.max", "memory.current", "memory.events", "memory.limit_in_bytes", "memory.usage_in_bytes",
             "memory.max_usage_in_bytes", "memory.oom_control")  # fmt: skip
    folders = [Path(folder) for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified")]
    own = Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").exists() else []
    folders += [folder / line.split(":", 2)[2].strip("/") for line in own for folder in folders[:3]]
    contents: dict[str, dict[str, str]] = {}
    for folder in dict.fromkeys(folders):
        for name in names:
            try:
                contents.setdefault(str(folder), {})[name] = (folder / name).read_text()
            except OSError:
                continue
    contents = {folder: files for folder, files in contents.items() if files}
    if not contents:
        pytest.skip("no memory files of a cgroup can be read here")
    text = tail(*((f"{folder}/{name}", said) for folder, files in contents.items() for name, said in files.items()))
    found = rows(text)
    assert len(found) == len(contents)
    for row, files in zip(found, contents.values(), strict=True):
        limit = files.get("memory.max", files.get("memory.limit_in_bytes"))
        if limit is not None:
            assert row["limit_bytes"] == (math.inf if limit.strip() == "max" or int(limit) >= 2**62 else float(limit))
        used = files.get("memory.current", files.get("memory.usage_in_bytes"))
        assert row["used_bytes"] == (None if used is None else int(used))


@settings(deadline=None, max_examples=300)
@given(damaged(f"{HOST}\n{CGROUP}") | damaged(MEMINFO + VMSTAT + EVENTS) | st.text())
def test_junk_raises_nothing_and_makes_sound_rows(text):
    parsed = parse_linux_memory(text)
    check_rows(parsed, text)
    assert is_linux_memory(text.split("\n")) == any(parsed.tables.values())
