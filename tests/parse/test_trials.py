"""Trial tables and client logs: what a client saw, row by row, whatever else stands in the file."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.errors import InputError
from warmstall.parse.encodings import decode, detect_encoding
from warmstall.parse.trials import is_trials, parse_trials
from warmstall.schema import TABLES

INCIDENTS = Path(__file__).resolve().parents[2] / "data" / "incidents"
HEADER = "start_ts,end_ts,model,endpoint,status,error,total_duration,load_duration,eval_count\n"
ROW = "2026-11-20T20:49:03+01:00,2026-11-20T20:49:05.500+01:00,mid,/api/chat,200,,2490219730,290219730,12\n"


def rows(text: str, **mapping: str) -> list[dict[str, Any]]:
    return parse_trials(text, mapping or None).tables.get("trials", [])


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-20T{text}")


@pytest.fixture(scope="module")
def corpus(shared: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Text and expected facts of every capture of trials."""
    found = {}
    for line in (shared / "corpus" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] == "trials":
            data = (shared / "corpus" / entry["file"]).read_bytes()
            found[Path(entry["file"]).name] = (decode(data, detect_encoding(data)), entry["expected"])
    return found


# Captures of others


def test_a_benchmark_that_reloads_every_model_each_time(corpus: dict[str, Any]) -> None:
    text, expected = corpus["rohilrao-load-benchmark.csv"]
    found = rows(text)
    slowest = max(found, key=lambda row: row["load_duration_s"])
    cells = list(csv.reader(io.StringIO(text)))
    vram = cells[0].index("vram_pct")

    assert is_trials(text.split("\n"))
    assert len(found) == expected["rows"]
    assert Counter(row["outcome"] for row in found) == expected["by_status"]
    assert len({row["model"] for row in found}) == expected["models"]
    assert slowest["load_duration_s"] == expected["max_load_s"]
    assert [slowest["model"], cells[slowest["line"] - 1][1], slowest["run_id"]] == expected["max_load_row"]
    below = [row for row in found if float(cells[row["line"] - 1][vram]) < 100]
    assert len(below) == expected["rows_vram_below_100pct"]


def test_the_single_time_of_calls_that_follow_one_another_is_their_end(corpus: dict[str, Any]) -> None:
    found = rows(corpus["rohilrao-load-benchmark.csv"][0])
    assert {row["time_from"] for row in found} == {"end - wall"}
    assert all(one["ended_at"] <= other["started_at"] for one, other in pairwise(found))


@pytest.mark.parametrize("name", ["anijp-runs_t0.csv", "anijp-runs_t07_noseed.csv"])
def test_runs_with_their_times_to_the_first_token(corpus: dict[str, Any], name: str) -> None:
    text, expected = corpus[name]
    found = rows(text)

    assert is_trials(text.split("\n"))
    assert len(found) == expected["rows"]
    assert Counter(row["model"] for row in found) == expected["runs_per_model"]
    for model, ttft_ms in expected["median_ttft_ms"].items():
        assert median(r["ttft_s"] for r in found if r["model"] == model) * 1000 == pytest.approx(ttft_ms, abs=1e-3)
    assert max(row["ttft_s"] for row in found) * 1000 == pytest.approx(expected["max_ttft_ms"], abs=1e-3)
    assert {(row["outcome"], row["finish_reason"], row["time_from"]) for row in found} == {("ok", "stop", "none")}


def test_a_table_with_names_in_another_script(corpus: dict[str, Any]) -> None:
    text, expected = corpus["defendend-options-cyrillic.csv"]
    found = rows(text)

    assert is_trials(text.split("\n"))
    assert len(found) == expected["rows"]
    assert max(row["wall_s"] for row in found) == expected["max_duration_s"]
    assert len(text.split("\n")[0].split(",")) == expected["columns"]
    assert all(row["tokens_per_s"] for row in found)


def test_a_markdown_table_of_measurements_has_no_times(corpus: dict[str, Any]) -> None:
    text, expected = corpus["m4-32gb-num-parallel-vs-swap.md"]
    found = rows(text)
    speeds = {row["run_id"]: row["tokens_per_s"] for row in found}
    paged = {row["run_id"]: int(text.split("\n")[row["line"] - 1].split("|")[6].strip(" *")) for row in found}

    assert is_trials(text.split("\n"))
    assert len(found) == expected["rows"]
    assert (speeds["NP=1"], speeds["NP=12"]) == (expected["gen_tps_np1"], expected["gen_tps_np12"])
    assert next(name for name, pages in paged.items() if pages) == f"NP={expected['first_np_with_pageouts']}"
    assert paged["NP=12"] == expected["page_outs_np12"]
    assert {(row["started_at"], row["ended_at"], row["time_from"]) for row in found} == {(None, None, "none")}
    assert found[0]["ttft_s"] == 0.053


def test_each_timeout_between_two_markers_is_a_trial(corpus: dict[str, Any]) -> None:
    text, expected = corpus["litellm-timeout-two-conversations.txt"]
    found = rows(text)

    assert is_trials(text.split("\n"))
    assert len(found) == expected["timeouts"]
    assert [row["wall_s"] for row in found] == pytest.approx(expected["waits_s"], abs=1e-3)
    assert {row["outcome"] for row in found} == {"timeout"}
    assert all((row["ended_at"] - row["started_at"]).total_seconds() == row["wall_s"] for row in found)


def test_no_other_capture_holds_trials(shared: Path) -> None:
    for path in sorted((shared / "corpus").glob("*/*")):
        if path.parent.name == "trials" or not path.is_file():
            continue
        data = path.read_bytes()[: 256 * 1024]
        assert not is_trials(decode(data, detect_encoding(data)).split("\n")), path.name
    for path in sorted(shared.glob("real-ollama/*/*/server.log")) + sorted(shared.glob("real-ollama/*/*/ps.jsonl")):
        assert not is_trials(path.read_bytes()[: 64 * 1024].decode("utf-8", "replace").split("\n")), path


# Our own recordings


def as_recorded(path: Path) -> list[dict[str, Any]]:
    """The rows of a recorder's CSV as the csv module reads them."""
    found = []
    for record in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
        times = {name: datetime.fromisoformat(record[name]).astimezone(UTC) for name in ("start_ts", "end_ts")}
        row: dict[str, Any] = {
            "started_at": times["start_ts"].replace(tzinfo=None),
            "ended_at": times["end_ts"].replace(tzinfo=None),
            "wall_s": (times["end_ts"] - times["start_ts"]).total_seconds(),
            "model": record["model"], "path": record["endpoint"], "status": record["status"],
            "error": record["error"][:500].strip(),
        }  # fmt: skip
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            row[f"{name}_s"] = int(record[name]) / 1e9 if record[name] else None
        for name in ("prompt_eval_count", "eval_count"):
            row[name] = int(record[name]) if record[name] else None
        found.append(row)
    return found


def check_recording(path: Path) -> None:
    expected, text = as_recorded(path), path.read_text(encoding="utf-8")
    parsed = parse_trials(text)
    found = parsed.tables["trials"]
    assert is_trials(text.split("\n")[:4000])
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert {row["time_from"] for row in found} == {"start and end"}
    assert parsed.lines == set(range(1, len(text.removesuffix("\n").split("\n")) + 1))


@pytest.mark.parametrize("name", ["queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped"])
def test_every_row_of_a_recorders_table_is_a_trial(name: str) -> None:
    check_recording(INCIDENTS / name / "evidence" / "server" / "trials.csv")


def test_every_row_of_all_recordings_is_a_trial(shared: Path) -> None:
    paths = sorted(shared.glob("real-ollama/*/*/trials.csv"))
    assert len(paths) > 50
    for path in paths:
        check_recording(path)


def test_the_recorders_jsonl_tells_of_the_same_calls(shared: Path) -> None:
    """It also holds questions to the server about itself, which are no calls to a model."""
    folder = shared / "real-ollama" / "v0.13.5" / "stopping_deadlock"
    names = ("started_at", "ended_at", "model", "path", "status", "total_duration_s", "load_duration_s", "eval_count")
    one, other = ((folder / name).read_text(encoding="utf-8") for name in ("trials.csv", "trials_raw.jsonl"))

    assert sorted([row[name] for name in names] for row in rows(one) if row["status"] == "200") == sorted(
        [row[name] for name in names] for row in rows(other) if row["status"] == "200"
    )


# Rows


def test_times_are_utc_and_durations_seconds() -> None:
    (row,) = rows(HEADER + ROW)
    assert str(row["started_at"]) == "2026-11-20 19:49:03"
    assert (row["wall_s"], row["load_duration_s"], row["eval_count"]) == (2.5, 0.29021973, 12)
    assert row["prompt_eval_duration_s"] is None


def test_a_row_has_the_columns_of_the_table() -> None:
    for text in (HEADER + ROW, "trial 3 timed out after 1m0s", "| model | tok/s |\n|---|---|\n| mid | 20 |"):
        (row,) = rows(text)
        assert {"host", "source", *row} == set(TABLES["trials"])


@pytest.mark.parametrize("text", [HEADER.replace(",", ", ") + ROW, HEADER.strip() + "\r\n" + ROW.strip() + "\r\n"])
def test_blanks_in_the_header_and_windows_newlines_do_no_harm(text: str) -> None:
    assert is_trials(text.split("\n"))
    assert [row["model"] for row in rows(text)] == ["mid"]


def test_quotes_behind_a_blank_are_quotes() -> None:
    (row,) = rows('model, latency_s, error\nmid, 1, "no, not now"\n')
    assert row["error"] == "no, not now"


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-1", "nan", "", "many"])
def test_a_metric_that_is_no_count_is_none(value: str) -> None:
    (row,) = rows(HEADER + ROW.replace(",290219730", f",{value}").replace(",12", f",{value}"))
    assert row["load_duration_s"] is None
    assert row["eval_count"] is None


@pytest.mark.parametrize("row", ["\n", "a\n", "0001-01-01T00:00:00+14:00,,,,\n", "never,never,mid\n"])
def test_a_row_that_tells_nothing_is_left_out(row: str) -> None:
    parsed = parse_trials(HEADER + row + ROW)
    assert [found["model"] for found in parsed.tables["trials"]] == ["mid"]
    assert parsed.lines == {1, 3}


def test_a_row_without_times_is_kept() -> None:
    found = rows(HEADER + ROW + ",,mid,/api/chat,503,server busy,,,\n")
    assert [(row["status"], row["started_at"], row["time_from"]) for row in found][1] == ("503", None, "none")


def test_a_field_of_a_megabyte_is_cut_and_a_record_of_several_lines_is_one() -> None:
    parsed = parse_trials(HEADER + ROW.replace("200,,", f'200,"{"x" * 1_000_000}\n\ny",') + ROW)
    assert [(row["line"], len(row["error"])) for row in parsed.tables["trials"]] == [(2, 500), (5, 0)]
    assert parsed.lines == {1, 2, 3, 4, 5}


def test_a_header_alone_is_a_table_without_rows() -> None:
    assert is_trials(["run_id,status,claimed_at,completed_at", ""])
    assert parse_trials(HEADER).lines == {1}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"started_at": "20:49:03Z", "ended_at": "20:49:05Z"}, ("20:49:03", "20:49:05", 2.0, "start and end")),
        ({"started_at": "20:49:03Z", "latency_s": "2"}, ("20:49:03", "20:49:05", 2.0, "start + wall")),
        ({"completed_at": "20:49:05Z", "latency_s": "2"}, ("20:49:03", "20:49:05", 2.0, "end - wall")),
        ({"timestamp": "20:49:05Z", "latency_s": "2"}, ("20:49:03", "20:49:05", 2.0, "assumed end - wall")),
        ({"timestamp": "20:49:05Z", "ttft_s": "2"}, (None, "20:49:05", None, "assumed end")),
        ({"started_at": "20:49:03Z", "ttft_s": "2"}, ("20:49:03", None, None, "start only")),
        ({"started_at": "20:49:03", "ended_at": "20:49:05Z"}, ("20:49:03", "20:49:05", 2.0,
                                                               "start and end, zone unknown")),
        ({"timestamp_utc": "20:49:05", "latency_s": "2"}, ("20:49:03", "20:49:05", 2.0, "assumed end - wall")),
        ({"started_at": "20:49:05Z", "ended_at": "20:49:03Z", "ttft_s": "1"}, (None, None, None, "none")),
        ({"started_at": "20:49:03Z", "ended_at": "20:49:05Z", "latency_ms": "1900"},
         ("20:49:03", "20:49:05", 1.9, "start and end")),
    ],
)  # fmt: skip
def test_how_start_and_end_are_known_is_said(times: dict[str, str], expected: tuple[Any, ...]) -> None:
    cells = {"model": "mid"} | {name: f"2026-11-20T{text}" if ":" in text else text for name, text in times.items()}
    (row,) = rows(",".join(cells) + "\n" + ",".join(cells.values()))
    started, ended = (text and at(text) for text in expected[:2])
    assert (row["started_at"], row["ended_at"], row["wall_s"], row["time_from"]) == (started, ended, *expected[2:])


def one_after_another(form: str, gap_s: float) -> str:
    lines, clock = ["timestamp,model,latency_s"], 1_795_207_743.0
    for wall_s in (9.2, 3.1, 29.4, 1.2, 48.0, 0.7, 12.5):
        lines.append(f"{clock if form == 'start' else clock + wall_s:.3f},mid,{wall_s}")
        clock += wall_s + gap_s
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("form", "gap_s", "expected"),
    [
        ("start", 0.3, "start + wall"),
        ("end", 0.3, "end - wall"),
        ("start", 100, "assumed end - wall"),
        ("end", 100, "assumed end - wall"),
        ("start", -8, "assumed end - wall"),
    ],
)
def test_a_single_time_is_start_or_end_only_where_the_calls_tell(form: str, gap_s: float, expected: str) -> None:
    """With long pauses both readings are possible; where calls overlap anyway, neither is."""
    assert {row["time_from"] for row in rows(one_after_another(form, gap_s))} == {expected}


def test_statuses_are_http_statuses_and_words_are_outcomes() -> None:
    text = "model,latency_s,status\nmid,1,200\nmid,1,200.0\nmid,1,timeout\nmid,1,502 Bad Gateway\nmid,1,\n"
    found = [(row["status"], row["outcome"]) for row in rows(text)]
    assert found == [("200", ""), ("200", ""), ("", "timeout"), ("502", ""), ("", "")]
    flags = rows("model,latency_s,success,status_code\nmid,1,True,200\nmid,1,0,500\n")
    assert [(row["status"], row["outcome"]) for row in flags] == [("200", "ok"), ("500", "failed")]


def test_attempts_are_counted_or_one_more_than_the_retries() -> None:
    found = rows("model,latency_s,retries,error\nmid,1,3,\nmid,1,,LiteLLM Retried: 2 times\nmid,1,,\n")
    assert [row["attempts"] for row in found] == [4, 3, None]


@pytest.mark.parametrize(
    ("error", "timeout_s"),
    [
        ("timed out after 1m0s", 60), ("Timeout passed=600.0, time taken=600.104 seconds", 600),
        ("client timeout: closed connection after 2s", 2), ("timed out after 60 seconds", 60),
        ("timed out after 3 attempts", None), ("timeout", None),
    ],
)  # fmt: skip
def test_an_error_tells_the_clients_timeout(error: str, timeout_s: float | None) -> None:
    (row,) = rows(f'model,latency_s,error\nmid,1,"{error}"\n')
    assert row["timeout_s"] == timeout_s


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/api/chat", "/api/chat"), ("http://127.0.0.1:11434/v1/chat/completions?x=1", "/v1/chat/completions"),
        ("api/generate", "/api/generate"), ("chat_completions", "/v1/chat/completions"), ("chat", ""),
        ("http://[/api/chat", ""), ("http://example.com:11434", ""),
    ],
)  # fmt: skip
def test_endpoints_are_paths(written: str, path: str) -> None:
    (row,) = rows(f"model,latency_s,endpoint\nmid,1,{written}\n")
    assert row["path"] == path


# Shapes


CALLS = [
    {"run_id": "a", "started_at": "2026-11-20T20:49:03Z", "ended_at": "2026-11-20T20:49:05Z", "ttft_ms": 250.5,
     "model": "mid", "status": "200", "output_tokens": 12, "error": "", "attempts": 1},
    {"run_id": "b", "started_at": "2026-11-20T20:50:03Z", "ended_at": "2026-11-20T20:54:11Z", "ttft_ms": None,
     "model": "mid", "status": None, "output_tokens": None, "error": 'gave up, "finally"', "attempts": 4},
]  # fmt: skip


def separated(separator: str) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(CALLS[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(CALLS)
    return out.getvalue()


def ruled(edge: str) -> str:
    lines = [
        " | ".join(CALLS[0]),
        "-+-".join("---" for _ in CALLS[0]) if not edge else "|".join("---" for _ in CALLS[0]),
    ]
    lines += [" | ".join("" if cell is None else str(cell) for cell in call.values()) for call in CALLS]
    return "\n".join(f"{edge}{line}{edge}" for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        separated(","),
        "\ufeff" + separated(","),
        separated(";"),
        separated("\t"),
        separated("|"),
        "# measured on a Friday\n\n" + separated(",") + "\n```\n",
        json.dumps(CALLS),
        json.dumps(CALLS, indent=2),
        json.dumps({"model_name": "x", "results": CALLS}, indent=1),
        json.dumps({"a": {"b": [{"requests": {"successful": CALLS}}]}}),
        "\n".join(json.dumps(call) for call in CALLS),
        "$ cat trials.jsonl\n" + "\n\n".join(json.dumps(call, indent=1) for call in CALLS) + "\ndone",
        json.dumps({name: [call[name] for call in CALLS] for name in CALLS[0]}),
        ruled("|"),
        ruled(""),
    ],
    ids=[
        "csv", "mark", "semicolons", "tabs", "bars", "csv amid text", "json", "indented", "results", "nested",
        "jsonl", "indented jsonl", "columns", "markdown", "psql",
    ],
)  # fmt: skip
def test_the_same_calls_in_every_shape_are_the_same_rows(text: str) -> None:
    plain = rows(separated(","))
    found = rows(text)

    assert is_trials(text.split("\n"))
    different = {"line", "outcome"}
    assert [{k: v for k, v in row.items() if k not in different} for row in found] == [
        {k: v for k, v in row.items() if k not in different} for row in plain
    ]
    assert plain[0] | {"line": 0} == {
        "line": 0, "started_at": at("20:49:03"), "ended_at": at("20:49:05"), "time_from": "start and end",
        "wall_s": 2.0, "run_id": "a", "model": "mid", "path": "", "status": "200", "outcome": "", "error": "",
        "attempts": 1, "queued_s": None, "ttft_s": 0.2505, "total_duration_s": None, "load_duration_s": None,
        "prompt_eval_duration_s": None, "eval_duration_s": None, "prompt_eval_count": None, "eval_count": 12,
        "tokens_per_s": None, "finish_reason": "", "timeout_s": None,
    }  # fmt: skip


def test_records_of_indented_json_have_their_own_lines() -> None:
    text = json.dumps({"results": CALLS}, indent=1)
    parsed = parse_trials(text)
    assert [text.split("\n")[row["line"] - 1].strip() for row in parsed.tables["trials"]] == ["{", "{"]
    assert parsed.lines == set(range(1, text.count("\n") + 2))


def test_decimal_commas_are_read_where_semicolons_separate() -> None:
    found = rows("model;latency_s;tokens_per_s\nmid;1,25;1.020,5\nmid;60,0;20,75\n")
    assert [(row["wall_s"], row["tokens_per_s"]) for row in found] == [(1.25, 1020.5), (60.0, 20.75)]
    assert [row["wall_s"] for row in rows("model;latency_s\nmid;1.25\n")] == [1.25]


def test_two_tables_in_one_file_are_both_read() -> None:
    text = separated(",") + "\nmodel,latency_ms\nsmall,850\n\n" + json.dumps(CALLS[0]) + "\n"
    assert [(row["run_id"], row["model"]) for row in rows(text)] == [
        ("a", "mid"), ("b", "mid"), ("", "small"), ("a", "mid"),
    ]  # fmt: skip


def test_a_table_within_a_document_does_not_make_it_a_capture() -> None:
    table = "| model | tok/s |\n|---|---|\n| mid | 20 |\n"
    assert is_trials(table.split("\n"))
    assert not is_trials(
        ("# How fast is it?\n\nWe measured.\n" + table + "As one sees, it is fast.\nSo be it.\n").split("\n")
    )


@pytest.mark.parametrize(
    "text",
    [
        'time=2026-11-20T20:49:03Z level=INFO source=sched.go:1 msg="loaded runners" count=1',
        "model, latency, and so on are what we look at",
        "The request timed out after 60s, which is what one expects.",
        '{"level":"info","msg":"request","status":200,"duration_ms":12,"model":"mid","time":"2026-11-20T20:49:03Z"}',
        '{"models":[{"name":"mid:latest","model":"mid:latest","size":5137025024,"expires_at":"2026-11-20T20:49:03Z"}]}',
        "timestamp, name, utilization.gpu [%]\n2026/11/20 20:49:03.000, NVIDIA A100, 3 %",
        '{"model":"mid","created_at":"2026-11-20T20:49:03Z","response":"a","done":false}',
        "[[[[[[[[",
        "",
    ],
)
def test_other_texts_are_no_trials(text: str) -> None:
    assert not is_trials(text.split("\n"))
    assert rows(text) == []


def test_a_document_of_which_only_the_head_is_seen_is_recognised() -> None:
    text = json.dumps({"benchmarks": [{"requests": {"successful": CALLS * 100}}]})
    assert is_trials([text[:5000]])
    assert not is_trials([json.dumps({"models": [{"name": "mid", "size": 5}] * 100})[:500]])


def test_a_mapping_is_applied_and_a_wrong_one_refused() -> None:
    text = "name,went,came,took\na,2026-11-20T20:49:03Z,x,2500\n"
    assert rows(text) == []
    assert not is_trials(text.split("\n"))
    assert is_trials(text.split("\n"), {"started": "went", "wall_ms": "took"})
    (row,) = rows(text, run_id="name", started="went", wall_ms="took")
    assert (row["run_id"], row["wall_s"], row["ended_at"]) == ("a", 2.5, at("20:49:05.500000"))
    with pytest.raises(InputError, match='no column "startd_at" for started; the nearest is "started_at"'):
        rows(separated(","), started="startd_at")
    with pytest.raises(InputError, match='"begun_when" is no role'):
        rows(text, begun_when="went")
    with pytest.raises(InputError, match="no table of trials was found"):
        rows("nothing here", started="went")


# Exports


def test_the_final_chunk_of_ollamas_answer_ends_when_it_was_made() -> None:
    chunk = {"model": "mid", "created_at": "2026-11-20T20:49:03.637220412Z", "done": True, "done_reason": "length",
             "total_duration": 494888075, "load_duration": 295220438, "prompt_eval_count": 50,
             "prompt_eval_duration": 84023169, "eval_count": 24, "eval_duration": 113060986}  # fmt: skip
    parts = [{"model": "mid", "created_at": "2026-11-20T20:49:03Z", "response": "a", "done": False}, chunk]
    (row,) = rows("\n".join(json.dumps(part) for part in parts))

    assert (row["line"], row["time_from"], row["wall_s"]) == (2, "end - wall", 0.494888075)
    assert (row["load_duration_s"], row["eval_duration_s"]) == (0.295220438, 0.113060986)
    assert (row["prompt_eval_count"], row["eval_count"], row["finish_reason"]) == (50, 24, "length")


def test_spend_logs_of_litellm() -> None:
    """Columns of its schema.prisma; where nothing was streamed, the first token has the time of the end."""
    log = {"request_id": "chatcmpl-1", "call_type": "acompletion", "api_key": "hashed", "spend": 0.0,
           "total_tokens": 62, "prompt_tokens": 50, "completion_tokens": 12,
           "startTime": "2026-11-20T20:49:03.000Z", "endTime": "2026-11-20T20:49:05.500Z",
           "completionStartTime": "2026-11-20T20:49:03.250Z", "model": "ollama/mid", "status": "success",
           "metadata": {"error_information": {}}, "cache_hit": "False", "request_tags": []}  # fmt: skip
    failed = log | {
        "request_id": "chatcmpl-2", "status": "failure", "completionStartTime": log["endTime"], "completion_tokens": 0,
        "metadata": {"error_information": {"error_message": "litellm.Timeout: Timeout passed=2.5"}},
    }  # fmt: skip
    one, other = rows(json.dumps({"data": [log, failed], "total": 2}))

    assert (one["run_id"], one["wall_s"], one["ttft_s"], one["eval_count"]) == ("chatcmpl-1", 2.5, 0.25, 12)
    assert (one["outcome"], one["error"], other["outcome"]) == ("success", "", "failure")
    assert (other["ttft_s"], other["timeout_s"]) == (None, 2.5)


def test_reports_of_guidellm() -> None:
    """Fields of its request_stats.py, times in epoch seconds, the latency without a unit in its name."""
    request = {"type_": "generative_request_stats", "request_id": "r1", "output": "text",
               "info": {"status": "completed", "error": None, "timings": {"request_start": 1795207743.25}},
               "request_start_time": 1795207743.25, "request_end_time": 1795207745.75, "request_latency": 2.5,
               "prompt_tokens": 50, "output_tokens": 12, "time_to_first_token_ms": 250.0, "tokens_per_second": 24.8,
               "output_tokens_per_second": 4.8}  # fmt: skip
    errored = request | {"request_id": "r2", "time_to_first_token_ms": None,
                         "info": {"status": "errored", "error": "ReadTimeout"}}  # fmt: skip
    report = {"metadata": {"version": 2}, "benchmarks": [
        {"type_": "generative_benchmark", "duration": 30.0, "start_time": 1795207740.0,
         "requests": {"successful": [request], "incomplete": [], "errored": [errored], "total": None}}]}  # fmt: skip
    one, other = rows(json.dumps(report))

    assert (one["started_at"], one["wall_s"], one["ttft_s"]) == (at("20:49:03.250000"), 2.5, 0.25)
    assert (one["tokens_per_s"], one["outcome"]) == (4.8, "completed")
    assert (other["run_id"], other["outcome"], other["error"]) == ("r2", "errored", "ReadTimeout")


def test_the_list_that_holds_a_request_tells_how_it_went() -> None:
    """guidellm before 0.4 had no status in the request itself."""
    request = {"request_id": "r1", "start_time": 1795207743.25, "end_time": 1795207745.75, "prompt_tokens": 50,
               "first_token_time": 1795207743.5, "request_type": "chat_completions"}  # fmt: skip
    found = rows(json.dumps({"benchmarks": [{"requests": {"successful": [request], "errored": [request]}}]}))
    assert [(row["outcome"], row["ttft_s"], row["path"]) for row in found] == [
        ("successful", 0.25, "/v1/chat/completions"), ("errored", 0.25, "/v1/chat/completions"),
    ]  # fmt: skip


def test_results_of_vllms_benchmark() -> None:
    """Its columns are lists; start times are of a clock that began anywhere, so the calls have none."""
    result = {"date": "20261120-204903", "model_id": "mid", "num_prompts": 3, "duration": 12.5, "completed": 2,
              "input_lens": [50, 60, 70], "output_lens": [3, 2, 0], "ttfts": [0.25, 0.5, 0.0],
              "itls": [[0.05, 0.07], [0.1], []], "start_times": [10.0, 11.5, 12.0], "errors": ["", "", "Bad Gateway"],
              "generated_texts": ["a", "b", ""], "mean_ttft_ms": 375.0}  # fmt: skip
    for text in (json.dumps(result), json.dumps(result, indent=2), json.dumps(result) + "\n" + json.dumps(result)):
        one, two, three = rows(text)[:3]
        assert (one["ttft_s"], one["wall_s"], one["model"]) == (0.25, pytest.approx(0.37), "mid")
        assert (two["prompt_eval_count"], two["eval_count"], two["time_from"]) == (60, 2, "none")
        assert (three["wall_s"], three["ttft_s"], three["error"]) == (None, None, "Bad Gateway")
    assert rows(json.dumps({name: value for name, value in result.items() if not isinstance(value, list)})) == []


def test_answers_with_openai_usage() -> None:
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1795207743, "model": "mid",
              "choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 50, "completion_tokens": 12, "total_tokens": 62},
              "latency_s": 2.5}  # fmt: skip
    (row,) = rows(json.dumps(answer))
    assert (row["run_id"], row["finish_reason"], row["prompt_eval_count"]) == ("chatcmpl-1", "stop", 50)
    assert (row["ended_at"], row["wall_s"], row["time_from"]) == (at("20:49:03"), 2.5, "assumed end - wall")


# Logs of clients


def test_a_runner_of_trials_says_which_timed_out() -> None:
    text = "2026-11-20 20:49:03 trial 3 timed out after 1m0s\ntrial 4: ok\ntrial 5/20 timed out after 60 seconds\n"
    one, other = rows(text)

    assert is_trials(text.split("\n"))
    assert (one["run_id"], one["wall_s"], one["timeout_s"], one["outcome"]) == ("3", 60.0, 60.0, "timeout")
    assert (one["started_at"], one["time_from"]) == (at("20:48:03"), "end - wall, zone unknown")
    assert (other["run_id"], other["ended_at"], other["time_from"]) == ("5/20", None, "none")


def test_a_timeout_of_litellm_is_one_trial_however_often_it_is_printed() -> None:
    line = "litellm.Timeout: Connection timed out. Timeout passed=600.0, time taken=600.104 seconds"
    text = f"Traceback (most recent call last):\nlitellm.exceptions.Timeout: {line}\n  raise\n{line}\n"
    (row,) = rows(text)
    assert (row["wall_s"], row["timeout_s"], row["outcome"]) == (600.104, 600.0, "timeout")
    (row,) = rows(f"2026-11-20T20:49:03Z ERROR {line}\n")
    assert (row["ended_at"], row["time_from"]) == (at("20:49:03"), "end - wall")


HTTP = '2026-11-20 20:{0} [INFO] httpx: HTTP Request: POST http://example.com:11434/v1/chat/completions "HTTP/1.1 {1}"'
RETRY = "2026-11-20 20:{0} [INFO] openai._base_client: Retrying request to /chat/completions in {1} seconds"


def test_retries_of_the_openai_library_belong_to_the_answer_that_ends_them() -> None:
    lines = [
        HTTP.format("40:00,100", "200 OK"),
        RETRY.format("42:00,200", 0.43),
        RETRY.format("43:01,000", 0.91),
        HTTP.format("43:30,500", "200 OK"),
        HTTP.format("44:00,000", "503 Service Unavailable"),
        RETRY.format("44:00,010", 0.49),
        HTTP.format("44:01,000", "200 OK"),
        RETRY.format("46:00,000", 0.4),
        RETRY.format("47:00,900", 0.8),
        "openai.APITimeoutError: Request timed out.",
        HTTP.format("48:00,000", "500 Internal Server Error"),
    ]
    parsed = parse_trials("\n".join(lines))
    found = [(row["line"], row["status"], row["attempts"], row["outcome"]) for row in parsed.tables["trials"]]

    assert is_trials(lines)
    assert found[:3] == [(1, "200", 1, ""), (4, "200", 3, ""), (7, "200", 2, "")]
    # Whether the last two belong together the log does not say: the library gave up, or it did not.
    assert parsed.lines == set(range(1, 12)) - {10}
    assert {row["path"] for row in parsed.tables["trials"]} == {"/v1/chat/completions"}


def test_retries_side_by_side_are_not_given_to_a_call() -> None:
    lines = [RETRY.format("42:00,200", 0.43), RETRY.format("42:00,300", 0.41), HTTP.format("42:09,500", "200 OK")]
    assert [(row["status"], row["attempts"]) for row in rows("\n".join(lines))] == [("200", None)]


def test_requests_to_other_services_are_no_calls_to_a_model() -> None:
    assert rows('INFO:httpx:HTTP Request: POST http://example.com/api/v2/collections "HTTP/1.1 200 OK"') == []


# Whatever comes


@settings(deadline=None)
@given(st.text())
def test_any_text_behind_the_header_is_read_without_an_error(text: str) -> None:
    parsed = parse_trials(HEADER + ROW + text)
    assert parsed.tables["trials"][0]["model"] == "mid"
    assert parsed.lines <= set(range(1, (HEADER + ROW + text).count("\n") + 2))


PIECES = st.sampled_from(
    ["model", "latency_ms", "timestamp", "status", ",", ";", "|", "\n", "|---|---|", '"', "{", "}", "[", "]", ":",
     "1e9", "1795207743", "2026-11-20T20:49:03Z", "null", "NaN", "\\ud800", "\0", "trial 3 timed out after ", "1m",
     "<!-- ", "-->", "litellm.Timeout", "Retrying request to /chat/completions in 0.4 seconds", "```", " ", "\r", "é"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=60).map("".join))
def test_nothing_made_of_pieces_of_tables_raises(text: str) -> None:
    is_trials(text.split("\n"))
    for row in rows(text):
        assert {"host", "source", *row} == set(TABLES["trials"])


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["model", "latency_ms", "started_at", "ended_at", "results", "usage", "ttfts", "itls", "x"]),
        inner, max_size=6,
    ),
    max_leaves=30,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(VALUES, st.sampled_from([None, 1]))
def test_no_json_raises(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    is_trials(text.split("\n"))
    parse_trials(text)


def test_text_that_only_looks_like_json_is_not_read_for_ever() -> None:
    parse_trials("\n".join(['{"a": [' * 3] * 20_000))
    parse_trials("[" * 100_000)
    parse_trials("\n".join(['{"a": "' + "x" * 50] * 20_000))
