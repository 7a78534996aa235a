"""Process samples: every good line counts, and a bad one harms no other."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check
from warmstall.parse.process_samples import is_process_samples, parse_process_samples

INCIDENTS = Path(__file__).resolve().parents[2] / "data" / "incidents"
TS = "2026-11-20T20:49:03+01:00"
MODEL = {
    "name": "mid", "size": 5, "size_vram": 4, "digest": "ab", "context_length": 4096,
    "expires_at": "2026-11-20T20:54:03.123456789+01:00",
}  # fmt: skip


def line(**fields: object) -> str:
    return json.dumps({"ts": TS, "procs": [], **fields})


@pytest.mark.parametrize("name", ["queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped"])
def test_every_line_of_a_real_series_is_a_sample(name: str) -> None:
    text = (INCIDENTS / name / "evidence" / "server" / "ps.jsonl").read_text()
    lines = text.splitlines()
    assert is_process_samples(lines)
    parsed = parse_process_samples(text)
    assert parsed.lines == {row["line"] for row in parsed.tables["processes"]} == set(range(1, len(lines) + 1))
    assert parsed.tables["resident_models"]


def test_values_are_taken_over_and_times_are_utc() -> None:
    process = {
        "pid": 7, "ppid": 1, "role": "runner", "state": "T", "cpu_pct": 3, "rss": 99, "vsz": 999, "threads": 5,
        "cmd": "ollama runner",
    }  # fmt: skip
    parsed = parse_process_samples(line(procs=[process], api_ps={"models": [MODEL]}))
    (row,), (model,) = parsed.tables["processes"], parsed.tables["resident_models"]
    assert (row["pid"], row["parent_pid"], row["state"], row["cpu_percent"], row["rss_bytes"]) == (7, 1, "T", 3.0, 99)
    assert (row["role"], row["virtual_bytes"], row["threads"], row["command"]) == ("runner", 999, 5, "ollama runner")
    assert str(row["at"]) == "2026-11-20 19:49:03"
    assert (model["model"], model["size_bytes"], model["vram_bytes"]) == ("mid", 5, 4)
    assert (model["digest"], model["context_length"], model["vram_fraction"]) == ("ab", 4096, 0.8)
    assert str(model["expires_at"]) == "2026-11-20 19:54:03.123456"


def test_an_answer_of_api_ps_and_its_lack_are_probes() -> None:
    text = "\n".join([
        line(api_ps_status=200, api_ps={"models": []}, api_ps_latency_ms=7.5),
        line(),
        line(api_ps_error="TimeoutError: timed out", api_ps_latency_ms=3000.0),
    ])  # fmt: skip
    rows = parse_process_samples(text).tables["probes"]
    assert [(row["line"], row["endpoint"], row["status"], row["wall_s"], row["error"]) for row in rows] == [
        (1, "/api/ps", "200", 0.0075, None),
        (3, "/api/ps", None, 3.0, "TimeoutError: timed out"),
    ]


@pytest.mark.parametrize("bad", ["", "{", "[]", "null", '{"ts": 5}', '{"ts": "never", "procs": []}', "[" * 99_999,
                                 line(procs=["x"]), line(procs=5), '{"ts": "2026-11-20T20:49:03Z"}'])  # fmt: skip
def test_a_bad_line_harms_no_other(bad: str) -> None:
    good = line(procs=[{"pid": 1}])
    parsed = parse_process_samples(f"{good}\n{bad}\n{good}")
    assert [row["line"] for row in parsed.tables["processes"]] == [1, 3]
    assert parsed.lines == {1, 3}


@pytest.mark.parametrize("answer", [[], "x", {"models": 5}, {"models": [1, None]}])
def test_an_answer_that_makes_no_sense_leaves_the_processes(answer: object) -> None:
    parsed = parse_process_samples(line(procs=[{"pid": 1}], api_ps=answer))
    assert len(parsed.tables["processes"]) == 1
    assert not parsed.tables["resident_models"]


def test_all_series_of_real_servers_give_what_a_plain_count_of_their_json_gives(shared: Path) -> None:
    paths = sorted((shared / "real-ollama").glob("*/*/ps*.jsonl"))
    assert len(paths) > 60
    for path in paths:
        text = path.read_text()
        parsed = parse_process_samples(text)
        check(parsed, text)
        samples = [json.loads(sample) for sample in text.splitlines()]
        assert parsed.lines == set(range(1, len(samples) + 1)), path
        processes = [(n, process) for n, sample in enumerate(samples, 1) for process in sample["procs"]]
        assert [
            (row["line"], row["pid"], row["rss_bytes"], row["virtual_bytes"], row["threads"], row["cpu_percent"])
            for row in parsed.tables["processes"]
        ] == [(n, p["pid"], p["rss"], p["vsz"], p["threads"], p.get("cpu_pct")) for n, p in processes]
        models = [model for sample in samples for model in (sample.get("api_ps") or {"models": []})["models"]]
        assert [
            (row["model"], row["digest"], row["size_bytes"], row["vram_bytes"], row["context_length"])
            for row in parsed.tables["resident_models"]
        ] == [(m["name"], m["digest"], m["size"], m["size_vram"], m.get("context_length")) for m in models]
        asked = [sample for sample in samples if "api_ps_latency_ms" in sample]
        assert [(row["wall_s"], row["error"]) for row in parsed.tables["probes"]] == [
            (sample["api_ps_latency_ms"] / 1000, sample.get("api_ps_error")) for sample in asked
        ]


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
KEYS = st.sampled_from(["pid", "ppid", "role", "state", "cpu_pct", "rss", "vsz", "threads", "cmd", "comm"])
ANSWER = st.dictionaries(st.sampled_from(["name", "size", "size_vram", "digest", "expires_at", "context_length"]), ANY)


@settings(deadline=None)
@given(st.lists(st.dictionaries(KEYS, ANY), min_size=1), st.lists(ANSWER), ANY, ANY)
def test_values_of_any_type_make_one_table(processes: list[object], models: list[object], a: object, b: object) -> None:
    text = json.dumps({"ts": TS, "procs": processes, "api_ps": {"models": models}, "api_ps_status": a,
                       "api_ps_latency_ms": b, "api_ps_error": a})  # fmt: skip
    parsed = parse_process_samples(text)
    check(parsed, text)
    assert len(parsed.tables["processes"]) == len(processes)
    pyarrow.Table.from_pylist(parsed.tables["processes"])
