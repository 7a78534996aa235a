"""Rates of memory counters, and what they say: growth with its beginning, recovery, history, calm, or nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.observed.memory import MemoryFinding, pressure, rates
from warmstall.parse.linux_memory import parse_linux_memory
from warmstall.parse.macos_memory import parse_macos_memory
from warmstall.parse.vm_stat import parse_vm_stat
from warmstall.schema import TABLES

ONSET = datetime(2026, 9, 25, 17, 58)
GB = 10**9


def read(text: str, source: str = "memory.txt") -> pd.DataFrame:
    """The memory table that a capture gives."""
    parsers = (parse_vm_stat, parse_macos_memory, parse_linux_memory)
    return pd.DataFrame([row | {"source": source} for parse in parsers for row in parse(text).tables["memory"]])


def frame(*rows: dict[str, Any], origin: str = "vm_stat", step_s: float = 60) -> pd.DataFrame:
    """Looks at even steps of time."""
    at = [ONSET + timedelta(seconds=step_s * n) for n in range(len(rows))]
    return pd.DataFrame([{"at": when, "origin": origin, "source": "x", "line": n, **row}
                         for n, (when, row) in enumerate(zip(at, rows, strict=True))])  # fmt: skip


# --- rates


def test_counters_become_rates_between_looks():
    looks = rates(frame({"swapouts": 100, "pageins": 5, "page_bytes": 4096}, {"swapouts": 700, "pageins": 65}))
    assert looks["seconds"].tolist()[1:] == [60.0]
    assert (looks["swapouts_per_s"][1], looks["swapout_bytes_per_s"][1], looks["pagein_bytes_per_s"][1]) == (
        10.0, 40960.0, 4096.0,
    )  # fmt: skip
    assert math.isnan(looks["swapouts_per_s"][0])


def test_a_counter_that_falls_is_a_restart_and_no_rate():
    looks = rates(frame({"swapouts": 900, "pageins": 1}, {"swapouts": 5, "pageins": 2}, {"swapouts": 65, "pageins": 3}))
    assert looks["swapouts_per_s"].isna().tolist() == [True, True, False]
    assert looks["pageins_per_s"].isna().tolist() == [True, True, False]
    assert looks["swapouts_per_s"][2] == 1.0


def test_intervals_are_taken_as_they_are_and_what_lies_between_two_of_them_is_counted():
    looks = rates(frame({"swapouts": 1000}, {"swapouts": 60, "interval_s": 60.0}, {"swapouts": 1180}))
    assert looks["swapouts_per_s"].tolist()[1:] == [1.0, 2.0]


def test_what_vm_stat_cut_from_a_number_is_no_swapping():
    series = [{"swapouts": 2_500_123_000}, *[{"swapouts": 50, "interval_s": 60.0}] * 21, {"swapouts": 2_500_124_000}]
    assert rates(frame(*series))["swapouts"].tolist()[-1] == 0.0


def test_another_series_without_times_is_not_an_interval_later():
    rows = [{"swapouts": 100}, {"swapouts": 0, "interval_s": 1.0}, {"swapouts": 900_100}]
    looks = rates(frame(*rows).assign(at=pd.NaT))
    assert math.isnan(looks["seconds"][2])
    assert looks["swapouts"][2] == 900_000


def test_rows_that_share_the_time_of_their_capture_ended_with_it():
    rows = [{"swapouts": 100}, *[{"swapouts": 0, "interval_s": 5.0}] * 3]
    assert rates(frame(*rows).assign(at=ONSET))["at"].tolist() == [
        ONSET - timedelta(seconds=s) for s in (15, 10, 5, 0)
    ]  # fmt: skip


def test_local_times_count_where_there_are_no_others():
    looks = rates(frame({"swapouts": 0}, {"swapouts": 60}).rename(columns={"at": "local_at"}))
    assert looks["swapouts_per_s"][1] == 1.0


def test_a_series_and_single_looks_are_not_one():
    both = pd.concat([frame({"swapouts": 100}, {"swapouts": 5, "interval_s": 60.0}),
                      frame({"swapouts": 100}, {"swapouts": 160}).assign(source="y")])  # fmt: skip
    assert sorted(rates(both)["swapouts_per_s"].dropna()) == [5 / 60, 1.0]


def test_the_pair_of_looks_gives_the_known_differences(shared):
    looks = rates(read((shared / "corpus/vm-stat/m4-24gb-swap-13gb-warn-pair.txt").read_text()))
    (pair,) = looks[looks["origin"].eq("vm_stat") & looks["seconds"].notna()].to_dict("records")
    assert (pair["seconds"], pair["swapouts"], pair["swapins"]) == (16.0, 0, 36)
    assert pair["compressions_per_s"] == 0.5


# --- the story: pages free fall from millions to thousands, swap-outs go from none to half a million


def story(
    shape: Callable[[float], float] = lambda x: x,
    page_bytes: int = 16384,
    step_s: int = 60,
    noise: float = 0.0,
    minutes: int = 90,
    swapped: int = 500_000,
) -> list[dict[str, int]]:
    """Looks from 17:00 on; from 17:58 to 18:13 memory fills, and the swap by `shape`."""
    chance = random.Random(1)
    pages = 2**36 // page_bytes
    rows = []
    for n in range(minutes * 60 // step_s + 1):
        x = min(1.0, max(0.0, (n * step_s / 60 - 58) / 15))
        free = int((pages * 0.55 * (1 - x) + 3500) * (1 + noise * chance.gauss(0, 1)))
        cache = int(pages * 0.06 * (1 + noise * chance.gauss(0, 1)))
        rows.append({"free": max(free, 500), "cache": cache, "swapouts": 3_000_000 + int(swapped * shape(x)),
                     "used": pages - free - cache})  # fmt: skip
    return rows


def text_of_series(rows: list[dict[str, int]], page_bytes: int = 16384, step_s: int = 60) -> str:
    """What `vm_stat` would print of it: a title after every 21 rows, with counters since boot below it."""
    lines = ["=== 2026-09-25 17:00:00 UTC ===", f"$ vm_stat {step_s}"]
    for n, row in enumerate(rows):
        if n % 21 == 0:
            lines.append(f"Mach Virtual Memory Statistics: (page size of {page_bytes} bytes)")
            lines.append(
                "free active specul inactive throttle wired prgable faults copy 0fill reactive purged "
                "file-backed anonymous cmprssed cmprssor dcomprs comprs pageins pageout swapins swapouts"
            )
        first = n % 21 == 0
        out = row["swapouts"] - (0 if first else rows[n - 1]["swapouts"])
        faults, compressions = (10**10 if first else 900), (10**9 if first else 40)
        half, quarter, eighth = (row["used"] // part for part in (2, 4, 8))
        lines.append(f"{row['free']} {half} 2000 {quarter} 0 {eighth} 900 {faults} 0 0 0 0 {row['cache']} {half} "
                     f"90000 {eighth} 0 {compressions} 0 0 0 {out}")  # fmt: skip
    return "\n".join(lines)


def looks_of(rows: list[dict[str, int]], page_bytes: int = 16384, step_s: int = 60) -> pd.DataFrame:
    """The same as single looks."""
    table = pd.DataFrame(rows)
    return pd.DataFrame({
        "at": [datetime(2026, 9, 25, 17) + timedelta(seconds=step_s * n) for n in range(len(rows))],
        "origin": "vm_stat", "source": "looks.txt", "line": range(len(rows)), "page_bytes": page_bytes,
        "free_bytes": table["free"] * page_bytes, "file_backed_bytes": table["cache"] * page_bytes,
        "available_bytes": (table["free"] + table["cache"]) * page_bytes, "swapouts": table["swapouts"],
        "total_bytes": 2**36,
    })  # fmt: skip


SHAPES: dict[str, Callable[[float], float]] = {
    "even": lambda x: x, "square": lambda x: x * x, "cube": lambda x: x**3, "root": math.sqrt,
    "exponential": lambda x: (math.exp(5 * x) - 1) / (math.exp(5) - 1),
    "after the fall": lambda x: max(0.0, 1.5 * x - 0.5),
}  # fmt: skip


def minutes_off(finding: MemoryFinding) -> float:
    assert finding.since is not None
    return abs((finding.since - ONSET).total_seconds()) / 60


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
def test_growth_is_found_with_its_beginning(shape, noise):
    rows = story(SHAPES[shape], noise=noise)
    for finding in (pressure(read(text_of_series(rows))), pressure(looks_of(rows))):
        assert finding.state == "growing"
        assert minutes_off(finding) <= 2, finding


@pytest.mark.parametrize(("step_s", "page_bytes"), [(5, 4096), (5, 16384), (30, 16384), (300, 4096), (300, 16384)])
def test_growth_is_found_at_every_step_and_page_size(step_s, page_bytes):
    rows = story(step_s=step_s, page_bytes=page_bytes)
    finding = pressure(read(text_of_series(rows, page_bytes, step_s)))
    assert finding.state == "growing"
    assert minutes_off(finding) <= max(1, step_s / 60)
    assert finding.until is not None
    assert datetime(2026, 9, 25, 18, 12) <= finding.until <= datetime(2026, 9, 25, 18, 20)


def test_growth_that_goes_on_has_no_end():
    finding = pressure(looks_of(story(minutes=70)))
    assert (finding.state, finding.until) == ("growing", None)


def test_the_sentence_has_the_numbers():
    sentence = pressure(looks_of(story())).sentence
    assert "from 2026-09-25 17:58:00 to 18:13:00" in sentence
    assert "8.2 GB (500,000 pages) went to swap in 15 min" in sentence


def test_two_looks_are_enough_to_see_growth_and_not_its_beginning():
    rows = story()
    finding = pressure(looks_of([rows[58], rows[73]], step_s=900))
    assert finding.state == "growing"
    assert "at least from" in finding.sentence


def test_free_memory_that_becomes_cache_is_no_growth():
    """Free is not available: a file that is read leaves thousands of millions of pages free, and all can be had."""
    rows = [
        {"free": 2_000_000 - 39_000 * n, "cache": 100_000 + 39_000 * n, "swapouts": 0, "used": 0} for n in range(51)
    ]
    assert pressure(looks_of(rows)).state == "calm"
    # The same where little is left besides: the cache took nearly all that was free.
    rows = [{"free": 470_000 - 9300 * n, "cache": 8000 * n, "swapouts": 0, "used": 0} for n in range(51)]
    assert pressure(looks_of(rows)).state == "calm"


def test_growth_that_begins_slowly_begins_where_it_left_what_was_usual():
    out, rows = 0, []
    for n in range(30):
        out += [0, 3, 1, 2][n % 4] if n < 15 else 10 * 2 ** (n - 15)
        rows.append({"swapouts": out, "page_bytes": 16384, "total_bytes": 16 * GB})
    finding = pressure(frame(*rows))
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=14))


def test_memory_that_programs_take_without_swapping_is_growth():
    finding = pressure(looks_of(story(swapped=0)))
    assert finding.state == "growing"
    assert minutes_off(finding) <= 1
    assert "memory fell from" in finding.sentence


def test_what_is_freed_by_a_burst_of_swapping_is_recovery(shared):
    finding = pressure(read((shared / "corpus/vm-stat/intel-vmstat-1-swapout-burst.txt").read_text()))
    assert finding.state == "recovering"
    assert "392,407 pages" in finding.sentence


def test_a_process_that_ends_after_growth_makes_no_recovery_of_it():
    rows = [row | {"free": 3500} for row in story(minutes=73)]
    rows[-1]["free"] = 2_000_000
    finding = pressure(looks_of(rows))
    assert finding.state == "growing"
    assert minutes_off(finding) <= 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step_s", [1, 60, 900])
def test_a_busy_system_at_its_floor_is_no_growth(seed, step_s):
    """Free pages jump about, a few pages go to swap and many come back, and much was swapped once."""
    chance = random.Random(seed)
    rows, out = [], 60_000_000
    for _ in range(60):
        out += chance.choice([0, 0, 0, 0, 64, 500, 2000])
        rows.append({"free": int(chance.lognormvariate(9.3, 0.8)), "cache": int(500_000 * chance.gauss(1, 0.05)),
                     "swapouts": out, "used": 0})  # fmt: skip
    assert pressure(looks_of(rows, step_s=step_s)).state == "historical"


# --- what is not growth


@pytest.mark.parametrize(("name", "states"), [
    ("intel-imac-three-series-60-rows", {"calm"}), ("intel-matlab-40gb-4096", {"cannot tell"}),
    ("intel-vmstat-1-swapout-burst", {"recovering"}), ("intel-vmstat-c10-malloc", {"historical"}),
    ("m2-watchhttp-readme", {"cannot tell"}), ("m4-24gb-swap-13gb-warn-pair", {"warned"}),
    ("m5pro-48gb-tagged-pause", {"cannot tell"}), ("m5pro-48gb-tagged-restored", {"cannot tell"}),
    ("mac-128gb-llama-server-live", {"cannot tell"}), ("mac-16k-interval-two-samples", {"historical"}),
    ("mac-48gb-panel-47of48", {"cannot tell"}), ("macbook-16gb-fixture-real", {"cannot tell"}),
    ("macbook-air-8gb-heavy-swap", {"cannot tell"}), ("swapusage-orbstack", {"cannot tell"}),
    ("sysctl-48gb-loaded", {"warned"}), ("sysctl-vm-macos-partial", {"cannot tell"}),
    ("yosemite-two-rows-4096", {"historical"}),
])  # fmt: skip
def test_real_captures_are_no_growth(shared, name, states):
    finding = pressure(read((shared / "corpus" / "vm-stat" / f"{name}.txt").read_text(), f"{name}.txt"))
    assert finding.state in states, finding
    assert finding.since is None
    assert bool(finding.collect) == (finding.state == "cannot tell" or name == "sysctl-48gb-loaded")


def test_historical_swap_is_not_growing_swap(shared):
    """13 GB of swap that shrinks, under a warning: the sentence says both."""
    sentence = pressure(read((shared / "corpus/vm-stat/m4-24gb-swap-13gb-warn-pair.txt").read_text())).sentence
    assert "warning level (2)" in sentence
    assert "0 pages went to swap and 36 came back in 16 s" in sentence


def test_two_captures_of_one_host_without_times_can_be_compared(shared):
    """424 pages came back and none went: old content, no new pressure."""
    folder: Path = shared / "corpus" / "vm-stat"
    names = ("m5pro-48gb-tagged-pause.txt", "m5pro-48gb-tagged-restored.txt")
    finding = pressure(pd.concat([read((folder / name).read_text(), name) for name in names]))
    assert finding.state == "historical"
    assert "0 pages went to swap and 424 came back" in finding.sentence


def test_much_that_was_swapped_in_an_unknown_time_cannot_tell():
    rows = story()
    finding = pressure(looks_of([rows[0], rows[-1]]).assign(at=pd.NaT).drop(columns=["free_bytes", "available_bytes"]))
    assert finding.state == "cannot tell"
    assert finding.collect


def test_swap_in_use_tells_growth_only_as_it_grows():
    steady = [{"swap_used_bytes": 8 * GB, "swap_total_bytes": 10 * GB, "total_bytes": 16 * GB}] * 5
    assert pressure(frame(*steady, origin="sysctl")).state == "historical"
    growing = [row | {"swap_used_bytes": 8 * GB + n * GB // 4} for n, row in enumerate(steady)]
    assert pressure(frame(*growing, origin="sysctl")).state == "growing"


def test_before_the_compressor_pageouts_went_to_swap():
    rows = [
        {"pageouts": 100 + (n > 5) * (n - 5) * 40_000, "page_bytes": 4096, "total_bytes": 4 * GB} for n in range(10)
    ]
    finding = pressure(frame(*rows))
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=5))


def test_nothing_at_all():
    assert pressure(pd.DataFrame()).state == "cannot tell"
    assert len(pressure(pd.DataFrame()).collect) == 2
    assert rates(pd.DataFrame()).empty


# --- Linux


def linux(n: int, **changes: float) -> dict[str, float]:
    return {"total_bytes": 32 * GB, "free_bytes": GB // 4, "available_bytes": 20 * GB, "page_bytes": 4096,
            "swapouts": 0, "swapins": 0, "oom_kills": 0, "psi_some_total_us": n * 1000, "psi_full_total_us": n * 100,
            "swap_used_bytes": 0, **changes}  # fmt: skip


def test_linux_is_calm():
    assert pressure(frame(*(linux(n) for n in range(20)), origin="linux")).state == "calm"


def test_linux_swaps():
    rows = [linux(n, swapouts=max(0, n - 9) * 60_000) for n in range(20)]
    finding = pressure(frame(*rows, origin="linux"))
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=9))


def test_linux_without_swap_runs_out_of_what_is_available():
    rows = [linux(n, available_bytes=max(GB // 2, 20 * GB - max(0, n - 9) * 3 * GB)) for n in range(20)]
    finding = pressure(frame(*rows, origin="linux"))
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=9))
    assert "available memory fell from 20.0 GB to 500.0 MB" in finding.sentence


def test_linux_stands_still():
    rows = [linux(n, psi_full_total_us=max(0, n - 9) * 30_000_000) for n in range(20)]
    finding = pressure(frame(*rows, origin="linux"))
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=9))
    assert "stood still for want of memory 50 %" in finding.sentence


def test_one_look_at_stalls_is_a_warning():
    finding = pressure(frame(linux(0, psi_full_avg10=34.0), origin="linux"))
    assert (finding.state, bool(finding.collect)) == ("warned", True)


def test_a_kill_in_a_cgroup_is_growth_there():
    rows = [{"limit_bytes": 8.0 * GB, "used_bytes": 8 * GB, "oom_kills": int(n > 3)} for n in range(6)]
    both = pd.concat([frame(*rows, origin="cgroup:/ollama.service"), frame(*map(linux, range(6)), origin="linux")])
    finding = pressure(both)
    assert (finding.state, finding.since) == ("growing", ONSET + timedelta(minutes=3))
    assert finding.sentence.startswith("cgroup:/ollama.service: ")


def test_kills_before_the_first_look_are_history():
    assert pressure(frame(*(linux(n, oom_kills=3) for n in range(3)), origin="linux")).state == "calm"


def test_this_machine_twice():
    proc = Path("/proc/meminfo"), Path("/proc/vmstat"), Path("/proc/pressure/memory")
    if not proc[0].exists():
        pytest.skip("this system has no /proc/meminfo")
    sweep = "\n".join(f"==> {path} <==\n{path.read_text()}" for path in proc if path.exists())
    text = f"=== 2026-09-25T17:58:00Z ===\n{sweep}\n=== 2026-09-25T17:59:00Z ===\n{sweep}"
    looks = rates(read(text))
    assert looks["seconds"].tolist()[1:] == [60.0]
    assert looks["swapouts"].fillna(0).tolist() == [0, 0]
    assert pressure(read(text)).state in ("calm", "historical", "warned")


# --- hostile tables

NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from([0, 1, 10**6, 4096])
KINDS = {"BIGINT": NUMBERS, "DOUBLE": NUMBERS, "TIMESTAMP": st.none() | st.datetimes(datetime(1990, 1, 1)),
         "VARCHAR": st.sampled_from(["vm_stat", "linux", "cgroup:/a", None])}  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={name: KINDS[kind] for name, kind in TABLES["memory"].items()}), max_size=6
)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_any_table_gives_a_finding(rows):
    looks = pd.DataFrame(rows)
    assert len(rates(looks)) == len(looks)
    finding = pressure(looks)
    assert finding.sentence
    assert finding.state != "cannot tell" or finding.collect
