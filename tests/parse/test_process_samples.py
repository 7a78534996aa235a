"""Process samples: every good line counts, and a bad one harms no other."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.parse.process_samples import is_process_samples, parse_process_samples

INCIDENTS = Path(__file__).resolve().parents[2] / "data" / "incidents"
TS = "2026-11-20T20:49:03+01:00"
MODEL = {"name": "mid", "size": 5, "size_vram": 4, "expires_at": "2026-11-20T20:54:03.123456789+01:00"}


def line(**fields: object) -> str:
    return json.dumps({"ts": TS, "procs": [], **fields})


@pytest.mark.parametrize("name", ["queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped"])
def test_every_line_of_a_real_series_is_a_sample(name):
    lines = (INCIDENTS / name / "evidence" / "server" / "ps.jsonl").read_text().splitlines()
    assert is_process_samples(lines[0])
    processes, residents = parse_process_samples(lines)
    assert {row["line"] for row in processes} == set(range(1, len(lines) + 1))
    assert residents


def test_values_are_taken_over_and_times_are_utc():
    process = {"pid": 7, "ppid": 1, "role": "runner", "state": "T", "cpu_pct": 3, "rss": 99, "cmd": "ollama runner"}
    (row,), (model,) = parse_process_samples([line(procs=[process], api_ps={"models": [MODEL]})])
    assert (row["pid"], row["parent_pid"], row["state"], row["cpu_percent"], row["rss_bytes"]) == (7, 1, "T", 3.0, 99)
    assert str(row["at"]) == "2026-11-20 19:49:03"
    assert (model["model"], model["size_bytes"], model["vram_bytes"]) == ("mid", 5, 4)
    assert str(model["expires_at"]) == "2026-11-20 19:54:03.123456"


@pytest.mark.parametrize("bad", ["", "{", "[]", "null", '{"ts": 5}', '{"ts": "never", "procs": []}', "[" * 99_999,
                                 line(procs=["x"]), line(procs=5), line(api_ps={"models": [1]})])  # fmt: skip
def test_a_bad_line_harms_no_other(bad):
    good = line(procs=[{"pid": 1}])
    processes, _ = parse_process_samples([good, bad, good])
    assert [row["line"] for row in processes] == [1, 3]


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
KEYS = st.sampled_from(["pid", "ppid", "role", "state", "cpu_pct", "rss", "cmd", "comm"])


@settings(deadline=None)
@given(st.lists(st.dictionaries(KEYS, ANY), min_size=1))
def test_values_of_any_type_make_one_table(processes):
    rows, _ = parse_process_samples([json.dumps({"ts": TS, "procs": processes})])
    assert len(rows) == len(processes)
    pyarrow.Table.from_pylist(rows)
