"""macOS memory settings: one look a block, sizes in their units, and what is another tool's stays another tool's."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_vm_stat import check_rows

from damage import damaged
from warmstall.parse.macos_memory import is_macos_memory, parse_macos_memory
from warmstall.parse.vm_stat import parse_vm_stat

SYSCTL = """vm.swapusage: total = 3072.00M  used = 2100.25M  free = 971.75M  (encrypted)
vm.memory_pressure: 120
kern.memorystatus_vm_pressure_level: 4
kern.memorystatus_level: 12
hw.memsize: 17179869184
hw.pagesize: 16384
vm.page_free_count: 4000
"""
TOOL = """The system has 17179869184 (1048576 pages with a page size of 16384).

Stats:\x20
Pages free: 4000\x20
Pages purgeable: 9000\x20
Pages purged: 10000000\x20

Swap I/O:
Swapins: 80000\x20
Swapouts: 180000\x20

Page Q counts:
Pages active: 250000\x20
Pages wired down: 160000\x20

Compressor Stats:
Pages used by compressor: 330000\x20
Pages decompressed: 70\x20
Pages compressed: 90\x20

File I/O:
Pageins: 500\x20
Pageouts: 230000\x20

System-wide memory free percentage: 50%
"""


def rows(text: str) -> list[dict[str, object]]:
    return parse_macos_memory(text).tables["memory"]


def test_a_block_of_settings_is_one_look():
    (row,) = rows(SYSCTL)
    assert (row["origin"], row["line"], row["interval_s"]) == ("sysctl", 1, None)
    assert (row["swap_total_bytes"], row["swap_used_bytes"]) == (3072 * 2**20, 2100 * 2**20 + 2**18)
    assert (row["pressure_level"], row["free_percent"], row["total_bytes"]) == (4, 12.0, 2**34)
    assert (row["page_bytes"], row["free_bytes"]) == (16384, 4000 * 16384)
    assert parse_macos_memory(SYSCTL).lines == set(range(1, 8))


def test_pages_of_unknown_size_are_no_bytes():
    (row,) = rows("vm.page_free_count: 4000\nkern.memorystatus_level: 12\n")
    assert (row["free_bytes"], row["free_percent"]) == (None, 12.0)


def test_a_setting_that_comes_again_begins_another_look():
    assert [row["line"] for row in rows(SYSCTL + SYSCTL)] == [1, 8]


def test_settings_of_no_interest_do_not_part_a_look():
    (row,) = rows("hw.memsize: 17179869184\nvm.loadavg: { 1 2 3 }\nhw.optional.arm.FEAT_X: 1\n" + SYSCTL[:80])
    assert (row["total_bytes"], row["swap_used_bytes"]) == (2**34, 2100 * 2**20 + 2**18)


@pytest.mark.parametrize(("line", "used"), [
    ("total = 1024.00M  used = 512.00M  free = 512.00M  (encrypted)", 2**29),
    ("vm.swapusage = total = 3.00G  used = 1.50G  free = 1.50G", 3 * 2**29),
    ("swap: total = 0.00M  used = 0.00M  free = 0.00M", 0),
    ("vm.swapusage: total = 2.0T  used = 100.0K  free = 1.0T", 102400),
])  # fmt: skip
def test_swap_in_every_unit_and_without_its_name(line, used):
    (row,) = rows(line)
    assert row["swap_used_bytes"] == used


def test_times_of_headings_and_the_day_that_an_hour_alone_is_of():
    text = f"=== A 2026-09-25 23:59:46 CST ===\n{SYSCTL}\n=== LATER 00:01:30 ===\n{SYSCTL}"
    assert [row["local_at"] for row in rows(text)] == [
        datetime(2026, 9, 25, 23, 59, 46),
        datetime(2026, 9, 26, 0, 1, 30),
    ]


def test_the_tools_numbers():
    (row,) = rows(TOOL)
    assert (row["origin"], row["total_bytes"], row["page_bytes"], row["free_percent"]) == (
        "memory_pressure", 2**34, 16384, 50.0,
    )  # fmt: skip
    assert row["free_bytes"] == 4000 * 16384
    assert row["compressor_bytes"] == 330000 * 16384
    assert (row["swapins"], row["swapouts"], row["pageins"], row["pageouts"]) == (80000, 180000, 500, 230000)
    assert (row["compressions"], row["decompressions"]) == (90, 70)
    assert row["available_bytes"] is None
    assert parse_macos_memory(TOOL).lines == {n for n, line in enumerate(TOOL.split("\n"), 1) if line.strip()}


def test_the_quiet_tool_and_one_that_repeats():
    (row,) = rows("The system has 17179869184 (1048576 pages with a page size of 16384).\n"
                  "System-wide memory free percentage: 88%\n")  # fmt: skip
    assert (row["total_bytes"], row["free_percent"]) == (2**34, 88.0)
    repeated = rows(TOOL + "\nStats: \nPages free: 3000 \n")
    assert [row["free_bytes"] for row in repeated] == [4000 * 16384, 3000 * 16384]


def test_each_tool_takes_its_own_lines():
    text = f"Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 7.\nSwapouts: 9.\n{TOOL}{SYSCTL}"
    looks, others = parse_vm_stat(text), parse_macos_memory(text)
    assert [row["free_bytes"] for row in looks.tables["memory"]] == [7 * 16384]
    assert [row["origin"] for row in others.tables["memory"]] == ["memory_pressure", "sysctl"]
    assert not looks.lines & others.lines


@pytest.mark.parametrize("text", [
    "Pages free: 7\nPages active: 9\n", "Set vm.swapusage aside.", "hw.ncpu: 18", "used = 5M", "vm.swappiness = 60",
    "kern.memorystatus_level: many", "System-wide memory free percentage: 5000%",
])  # fmt: skip
def test_other_text_is_none(text):
    assert not is_macos_memory(text.split("\n"))


def test_real_captures(shared):
    """Level, swap and percentage of every block of the captures; where each was read off is in the index."""
    folder = shared / "corpus" / "vm-stat"
    pair = rows((folder / "m4-24gb-swap-13gb-warn-pair.txt").read_text())
    assert [row["pressure_level"] for row in pair] == [2, 2, 2, 2]
    assert [row["free_percent"] for row in pair] == [38.0, 38.0, 38.0, 40.0]
    used = [row["swap_used_bytes"] for row in pair]
    assert used == sorted(used, reverse=True)
    assert used[0] > used[-1]
    assert [row["local_at"] for row in pair][2:] == [datetime(2026, 9, 25, 2, 43, 30), datetime(2026, 9, 25, 2, 47, 17)]
    (loaded,) = rows((folder / "sysctl-48gb-loaded.txt").read_text())
    assert loaded["pressure_level"] == 2
    assert round(loaded["swap_used_bytes"] / loaded["swap_total_bytes"], 2) == 0.87


@settings(deadline=None, max_examples=300)
@given(damaged(SYSCTL + TOOL) | st.text())
def test_junk_raises_nothing_and_makes_sound_rows(text):
    parsed = parse_macos_memory(text)
    check_rows(parsed, text)
    assert is_macos_memory(text.split("\n")) == bool(parsed.tables["memory"])
