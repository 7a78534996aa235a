"""vm_stat: what real captures are known to say is what the rows say; series, cut numbers, times and junk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import damaged
from warmstall.parse.macos_memory import parse_macos_memory
from warmstall.parse.parsed import Parsed
from warmstall.parse.vm_stat import Clock, is_vm_stat, parse_vm_stat
from warmstall.schema import TABLES

MIB, GIB = 2**20, 2**30
TITLE = "Mach Virtual Memory Statistics: (page size of 4096 bytes)"
HEADS = (
    "free active specul inactive throttle wired prgable faults copy 0fill reactive purged file-backed anonymous "
    "cmprssed cmprssor dcomprs comprs pageins pageout swapins swapouts"
)
CAPTURES = [
    "intel-imac-three-series-60-rows", "intel-matlab-40gb-4096", "intel-vmstat-1-swapout-burst",
    "intel-vmstat-c10-malloc", "m2-watchhttp-readme", "m4-24gb-swap-13gb-warn-pair", "m5pro-48gb-tagged-pause",
    "m5pro-48gb-tagged-restored", "mac-128gb-llama-server-live", "mac-16k-interval-two-samples",
    "mac-48gb-panel-47of48", "macbook-16gb-fixture-real", "macbook-air-8gb-heavy-swap", "swapusage-orbstack",
    "sysctl-48gb-loaded", "sysctl-vm-macos-partial", "yosemite-two-rows-4096",
]  # fmt: skip


@dataclass
class Capture:
    """A real capture, read by both parsers of macOS memory."""

    folder: Path
    name: str

    @property
    def text(self) -> str:
        return (self.folder / f"{self.name}.txt").read_text()

    @property
    def parsed(self) -> Parsed:
        return parse_vm_stat(self.text)

    @property
    def looks(self) -> list[dict[str, Any]]:
        return self.parsed.tables["memory"]

    @property
    def settings(self) -> list[dict[str, Any]]:
        return parse_macos_memory(self.text).tables["memory"]

    @property
    def intervals(self) -> list[dict[str, Any]]:
        return [row for row in self.looks if row["interval_s"] is not None]

    def pages(self, column: str, index: int = 0) -> float:
        row = self.looks[index]
        return row[column] / row["page_bytes"]

    def swapped_out(self) -> list[int]:
        return [row["swapouts"] for row in self.intervals if row["swapouts"]]

    def risen(self, column: str, other: str = "") -> int:
        before = Capture(self.folder, other).looks[0] if other else self.looks[0]
        return self.looks[-1][column] - before[column]


def _titles(capture: Capture) -> int:
    """Pages of a series: two lines of head each, and one line a row."""
    return (len(capture.parsed.lines) - len(capture.looks)) // 2


def _memory_bytes(capture: Capture) -> float:
    from warmstall.observed.memory import rates

    return rates(_frame(capture))["memory_bytes"].max()


def _frame(capture: Capture) -> Any:
    import pandas as pd

    return pd.DataFrame(capture.looks)


# What the index of captures may say of one, and where the rows say it.
FACTS: dict[str, Callable[[Capture], Any]] = {
    "page_size": lambda c: c.looks[0]["page_bytes"],
    "free_pages": lambda c: c.pages("free_bytes"),
    "occupied_by_compressor_pages": lambda c: c.pages("compressor_bytes"),
    "stored_in_compressor_pages": lambda c: c.pages("compressed_bytes"),
    "swapins": lambda c: c.looks[0]["swapins"],
    "swapouts": lambda c: c.looks[0]["swapouts"],
    "author_reclaimable_bytes": lambda c: c.looks[0]["available_bytes"],
    "delta_swapins_vs_pause": lambda c: c.risen("swapins", "m5pro-48gb-tagged-pause"),
    "delta_swapouts_vs_pause": lambda c: c.risen("swapouts", "m5pro-48gb-tagged-pause"),
    "delta_16s": lambda c: {name: c.risen(name) for name in ("swapouts", "swapins", "compressions", "decompressions",
                                                            "pageouts", "pageins")},
    "swap_used_MiB_A": lambda c: c.settings[0]["swap_used_bytes"] / MIB,
    "swap_used_MiB_last": lambda c: c.settings[-1]["swap_used_bytes"] / MIB,
    "swap_used_MiB": lambda c: c.settings[0]["swap_used_bytes"] / MIB,
    "free_MiB": lambda c: c.looks[0]["free_bytes"] / MIB,
    "free_MiB_A": lambda c: c.looks[0]["free_bytes"] / MIB,
    "free_MiB_B": lambda c: c.looks[1]["free_bytes"] / MIB,
    "free_GiB": lambda c: c.looks[0]["free_bytes"] / GIB,
    "wired_GiB": lambda c: c.looks[0]["wired_bytes"] / GIB,
    "compressor_occupied_MiB": lambda c: c.looks[0]["compressor_bytes"] / MIB,
    "compressor_occupied_MiB_A": lambda c: c.looks[0]["compressor_bytes"] / MIB,
    "compressor_occupied_GiB": lambda c: c.looks[0]["compressor_bytes"] / GIB,
    "compressor_occupied_GiB_first": lambda c: c.looks[0]["compressor_bytes"] / GIB,
    "compressor_ratio": lambda c: c.looks[0]["compressed_bytes"] / c.looks[0]["compressor_bytes"],
    "stored_over_occupied": lambda c: c.looks[0]["compressed_bytes"] / c.looks[0]["compressor_bytes"],
    "non_evictable_bytes": lambda c: c.looks[0]["wired_bytes"] + c.looks[0]["compressor_bytes"],
    "data_rows": lambda c: len(c.looks),
    "header_repeats": _titles,
    "lines": lambda c: len(c.parsed.lines),
    "min_free_pages": lambda c: min(c.pages("free_bytes", i) for i in range(len(c.looks))),
    "interval_swapouts_total": lambda c: sum(row["swapouts"] for row in c.intervals),
    "interval_compressions_total": lambda c: sum(row["compressions"] for row in c.intervals),
    "swapouts_intervals": lambda c: c.swapped_out(),
    "swapout_MiB_total": lambda c: sum(c.swapped_out()) * c.looks[0]["page_bytes"] / MIB,
    "any_swapouts": lambda c: bool(c.swapped_out() or sum(row["swapouts"] for row in c.looks)),
    "K_suffix_in_first_row": lambda c: "K " in c.text.split("\n")[c.looks[0]["line"] - 1],
    # No line tells it; what the parts add up to is a little less.
    "total_ram_bytes": lambda c: pytest.approx(_memory_bytes(c), rel=0.05),
}  # fmt: skip
# Said by other output that the capture does not hold.
NOT_IN_THE_CAPTURE = {"process_rss_KB", "process_phys_footprint_MB"}


def _close(expected: Any) -> Any:
    """Equal, as far as the index has digits."""
    return pytest.approx(expected, abs=0.0051, rel=0) if isinstance(expected, float) else expected


def _index(shared: Path) -> dict[str, dict[str, Any]]:
    records = map(json.loads, (shared / "corpus" / "index.jsonl").read_text(encoding="utf-8").splitlines())
    return {Path(r["file"]).stem: r["expected"] for r in records if r["file"].startswith("vm-stat/")}


def test_every_capture_of_the_index_is_read_here(shared):
    assert sorted(_index(shared)) == sorted(CAPTURES)


@pytest.mark.parametrize("name", CAPTURES)
def test_rows_say_what_the_capture_is_known_to_say(shared, name):
    capture = Capture(shared / "corpus" / "vm-stat", name)
    for fact, expected in _index(shared)[name].items():
        if fact in NOT_IN_THE_CAPTURE:
            assert str(expected) not in capture.text
        else:
            assert FACTS[fact](capture) == _close(expected), fact


@pytest.mark.parametrize("name", CAPTURES)
def test_every_line_of_a_capture_is_understood_by_one_of_the_two(shared, name):
    text = (shared / "corpus" / "vm-stat" / f"{name}.txt").read_text()
    parsed = parse_vm_stat(text)
    left = set(range(1, text.rstrip("\n").count("\n") + 2)) - parsed.lines - parse_macos_memory(text).lines
    words = {text.split("\n")[number - 1].strip() for number in left}
    assert all(not word or word.startswith(("===", "[", "vm.", "hw.ncpu")) for word in words), words
    assert is_vm_stat(text.split("\n")) == bool(parsed.tables["memory"])


def test_rows_of_a_repeated_head_count_since_boot_and_no_other(shared):
    """Taken for an interval, each of them would be a spike of hundreds of thousands of pageins."""
    capture = Capture(shared / "corpus" / "vm-stat", "intel-imac-three-series-60-rows")
    assert [row["line"] for row in capture.looks if row["interval_s"] is None] == [3, 26, 49]
    assert sum(row["pageins"] for row in capture.intervals) == 0


def test_rows_that_cannot_count_since_boot_are_intervals(shared):
    """Fewer faults than pages in memory, fewer compressions than pages in the compressor."""
    capture = Capture(shared / "corpus" / "vm-stat", "mac-16k-interval-two-samples")
    assert len(capture.intervals) == 2


@pytest.mark.parametrize("row", [
    "9 1 2 3 0 4 5 700 0 0 0 0 6 5000 8 7 0 9 10 11 12 13",
    "9 1 2 3 0 4 5 700000 0 0 0 0 6 5000 800 7 0 90 10 11 12 13",
], ids=["fewer faults than pages", "fewer compressions than compressed pages"])  # fmt: skip
def test_each_of_the_two_is_reason_enough(row):
    assert series(row)[0]["interval_s"] == 1.0


def test_times_of_headings_are_local_where_the_zone_is_ambiguous(shared):
    looks = Capture(shared / "corpus" / "vm-stat", "m4-24gb-swap-13gb-warn-pair").looks
    assert [row["local_at"] for row in looks] == [datetime(2026, 9, 25, 2, 41, 30), datetime(2026, 9, 25, 2, 41, 46)]
    assert all(row["at"] is None for row in looks)


def counts(free: int = 9000, faults: int = 100, swapouts: int | str = 0, anonymous: int = 5000) -> str:
    return f"{free} 1 2 3 0 4 5 {faults} 0 0 0 0 6 {anonymous} 8 7 0 9 10 11 12 {swapouts}"


SINCE_BOOT = counts(faults=10**6, swapouts=70_000)


def test_page_size_is_read_and_not_assumed():
    for title, size in (("16384", 16384), ("4096", 4096)):
        (row,) = parse_vm_stat(f"{TITLE.replace('4096', title)}\nPages free: 2.\n").tables["memory"]
        assert (row["page_bytes"], row["free_bytes"]) == (size, 2 * size)


def test_without_a_title_counters_are_known_and_bytes_are_not():
    (row,) = parse_vm_stat("Pages free: 2.\nSwapouts: 3.\n").tables["memory"]
    assert (row["free_bytes"], row["page_bytes"], row["swapouts"]) == (None, None, 3)


@pytest.mark.parametrize(("shown", "value"), [("2500123K", 2_500_123_000), ("20500M", 20_500_000_000),
                                              ("12G", 12 * 10**9), ("12", 12)])  # fmt: skip
def test_numbers_too_wide_for_their_column(shown, value):
    (row,) = parse_vm_stat(f"{TITLE}\n{HEADS}\n{counts(faults=10**6, swapouts=shown)}").tables["memory"]
    assert row["swapouts"] == value


OLD_HEADS = [
    ("free active inac wire faults copy zerofill reactive pageins pageout", "9 8 7 6 900 5 4 3 2 1"),
    ("free active spec inactive wire faults copy 0fill reactive pageins pageout", "9 8 0 7 6 900 5 4 3 2 1"),
    (f"{HEADS} tagged tgd-rsdnt tgd-cmprssed", f"{SINCE_BOOT} 5 4 3"),
]


@pytest.mark.parametrize(("heads", "row"), OLD_HEADS, ids=["before 10.6", "before 10.9", "with tags"])
def test_columns_of_every_generation(heads, row):
    (look,) = parse_vm_stat(f"{TITLE}\n{heads}\n{row}").tables["memory"]
    free, wired = row.split()[0], row.split()[heads.split().index("wire" if "wired" not in heads else "wired")]
    assert (look["free_bytes"], look["wired_bytes"]) == (int(free) * 4096, int(wired) * 4096)
    assert look["pageouts"] == (1 if "swapouts" not in heads else 11)


def series(*rows: str, command: str = "", heading: str = "") -> list[dict[str, Any]]:
    return parse_vm_stat("\n".join([heading, command, TITLE, HEADS, *rows])).tables["memory"]


def test_the_command_tells_the_interval_and_the_times():
    rows = series(SINCE_BOOT, counts(), counts(), command="$ vm_stat -c 3 60", heading="2026-09-25T17:58:00Z")
    assert [row["interval_s"] for row in rows] == [None, 60.0, 60.0]
    assert [row["at"] for row in rows] == [datetime(2026, 9, 25, 17, 58) + timedelta(minutes=n) for n in range(3)]


def test_an_interval_that_nothing_tells_gives_no_times():
    rows = series(SINCE_BOOT, counts(), heading="=== 2026-09-25 17:58:00 UTC ===")
    assert [(row["interval_s"], row["at"]) for row in rows] == [(None, datetime(2026, 9, 25, 17, 58)), (1.0, None)]


@pytest.mark.parametrize("stamp", ["2026-09-25T17:58:{:02}Z", "[2026-09-25 17:58:{:02} UTC]",
                                   "Fri Sep 25 17:58:{:02} UTC 2026", "2026-09-25 19:58:{:02}+02:00"])  # fmt: skip
def test_times_before_the_rows_tell_the_interval(stamp):
    rows = series(*(f"{stamp.format(5 * n)} {row}" for n, row in enumerate([SINCE_BOOT, counts(), counts()])))
    assert [row["interval_s"] for row in rows] == [None, 5.0, 5.0]
    assert [row["at"] for row in rows] == [datetime(2026, 9, 25, 17, 58, 5 * n) for n in range(3)]


def test_clocks_without_a_day_tell_the_interval_only():
    rows = series(f"17:58:00 {SINCE_BOOT}", f"17:58:30 {counts()}")
    assert [(row["interval_s"], row["at"], row["local_at"]) for row in rows] == [(None, None, None), (30.0, None, None)]


def test_a_page_that_was_ended_by_hand_is_followed_by_another_series():
    page = f"{TITLE}\n{HEADS}\n{SINCE_BOOT}\n"
    row = f"{counts()}\n"
    text = f"2026-09-25T17:00:00Z\n$ vm_stat 60\n{page}{row * 20}{page}{row}{page}"
    at = [row["at"] for row in parse_vm_stat(text).tables["memory"]]
    assert at[:23] == [datetime(2026, 9, 25, 17, 0) + timedelta(minutes=n) for n in range(23)]
    assert at[23] is None


def test_a_row_in_the_middle_that_is_above_all_totals_counts_since_boot():
    later = counts(faults=2 * 10**6, swapouts=70_500).replace(" 10 11 12 ", " 20 22 24 ")
    rows = series(SINCE_BOOT, counts(swapouts=500), later)
    assert [row["interval_s"] for row in rows] == [None, 1.0, None]


def test_looks_in_a_loop_with_date_above_each():
    look = f"{TITLE}\nPages free: 9.\nSwapouts: 4.\n"
    text = f"Fri Sep 25 17:58:00 CST 2026\n{look}Fri Sep 25 17:59:00 CST 2026\n{look}"
    assert [row["local_at"].minute for row in parse_vm_stat(text).tables["memory"]] == [58, 59]


@pytest.mark.parametrize(("line", "at"), [
    ("1790359080", datetime(2026, 9, 25, 17, 58)), ("--- 2026/09/25 17:58:00 GMT ---", datetime(2026, 9, 25, 17, 58)),
    ("# Friday, 25 September 2026 5:58:00 PM UTC", datetime(2026, 9, 25, 17, 58)),
    ("=== 2026-09-25 17:58 +0200 ===", datetime(2026, 9, 25, 15, 58)),
    ("=== 2026-09-25 17:58:00 UTC+8 ===", datetime(2026, 9, 25, 9, 58)),
    ("[2026-09-25 17:58:00.250 GMT-03:30]", datetime(2026, 9, 25, 21, 28, 0, 250000)),
])  # fmt: skip
def test_headings_that_give_a_time(line, at):
    clock = Clock()
    assert clock.read_heading(line)
    assert clock.columns() == {"at": at, "local_at": None}


@pytest.mark.parametrize("line", [
    "We saw the swap grow at 17:58:00 and then nothing came back for a while", "99:99:99", "runner 1 0:00.05 ollama",
    "2026-13-45 17:58:00", "=== 29:58:00 ===", "0001-01-01 00:00:00+12:00 words",
])  # fmt: skip
def test_lines_that_give_none(line):
    assert not Clock().read_heading(line) or Clock().columns() == {"at": None, "local_at": None}


NOT_VM_STAT = [
    "Mach Virtual Memory Statistics: (page size of 4096 bytes)",
    "The first row of vm_stat counts since boot.\nPages free: few.",
    "Pages free: 8000 \nPages purgeable: 15000 ",
    "procs -----------memory---------- ---swap--\n r  b   swpd   free   buff  cache   si   so",
    '[GIN] 2026/11/20 - 20:49:02 | 200 |  1.2s |  127.0.0.1 | POST     "/api/chat"',
]


@pytest.mark.parametrize("text", NOT_VM_STAT)
def test_other_text_is_not_vm_stat(text):
    assert not is_vm_stat(text.split("\n"))


def test_no_other_real_capture_is_taken_for_vm_stat(shared):
    for path in sorted((shared / "corpus").rglob("*")):
        if path.is_file() and path.parent.name in ("limits", "ps-gpu", "trials"):
            assert not is_vm_stat(path.read_bytes().decode("utf-8", "replace").split("\n")[:4000]), path.name


SAMPLE = "\n".join([
    "=== A 2026-09-25 03:00:30 CST ===", TITLE, "Pages free: 6100.", "Pages purgeable: 150.",
    '"Translation faults": 9.', "File-backed pages: 250000.", "Swapouts: 70000000.",
    "Object cache: 5 hits of 9 lookups (55% hit rate)", "",
    "$ vm_stat 5", TITLE, HEADS, SINCE_BOOT, counts(), f"2026-09-25T17:58:00Z {counts()}",
])  # fmt: skip


def check_rows(parsed: Parsed, text: str) -> None:
    """Rows have the columns and types of their tables, and lie in lines that were understood."""
    types = {"BIGINT": int, "DOUBLE": float, "VARCHAR": str, "TIMESTAMP": datetime}
    assert parsed.lines <= set(range(1, text.count("\n") + 2))
    for table, rows in parsed.tables.items():
        for row in rows:
            assert row["line"] in parsed.lines
            assert set(row) == set(TABLES[table]) - {"host", "source"}
            for name, value in row.items():
                assert value is None or type(value) is types[TABLES[table][name]], (name, value)
                assert not isinstance(value, int) or -(2**63) <= value < 2**63
                assert not isinstance(value, float) or not math.isnan(value)


@settings(deadline=None, max_examples=300)
@given(damaged(SAMPLE) | st.text())
def test_junk_raises_nothing_and_makes_sound_rows(text):
    parsed = parse_vm_stat(text)
    check_rows(parsed, text)
    assert is_vm_stat(text.split("\n")) == bool(parsed.tables["memory"])
