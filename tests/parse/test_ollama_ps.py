"""Models in memory: the table of `ollama ps` of every release, and answers of the API as people capture them."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import check, damaged
from warmstall.parse.ollama_ps import is_ollama_ps, parse_ollama_ps

TABS = """\
me@box:~$ ollama ps
NAME           \tID          \tSIZE  \tPROCESSOR      \tUNTIL
tiny:latest    \t0123456789ab\t4.0 GB\t100% GPU       \t4 minutes from now\t
big:70b        \tba9876543210\t42 GB \t41%/59% CPU/GPU\tStopping...       \t
me@box:~$ exit"""
CONTEXT = """\
NAME                  ID              SIZE      PROCESSOR    CONTEXT    UNTIL
team/embed:v1.5       0123456789ab    669 MB    100% CPU     8192       Forever
tiny:latest           ba9876543210    4.0 GB    Unknown      4096       About a minute from now"""
MODEL = {
    "name": "tiny:latest", "model": "tiny:latest", "size": 400, "size_vram": 100, "digest": "d" * 64,
    "expires_at": "2026-10-01T13:49:44.123456789+05:30", "context_length": 4096,
}  # fmt: skip
PS = {"models": [MODEL, {"name": "b", "size": 5, "size_vram": 0, "expires_at": "0001-01-01T00:00:00Z"}]}


def resident(text: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in parse_ollama_ps(text).tables["resident_models"]]


COLUMNS = ("line", "model", "digest", "size_bytes", "processor", "vram_fraction", "context_length", "until")


def test_table_without_context_between_prompts() -> None:
    assert resident(TABS, *COLUMNS) == [
        (3, "tiny:latest", "0123456789ab", 4 * 10**9, "100% GPU", 1.0, None, "4 minutes from now"),
        (4, "big:70b", "ba9876543210", 42 * 10**9, "41%/59% CPU/GPU", 0.59, None, "Stopping..."),
    ]
    assert parse_ollama_ps(TABS).lines == {2, 3, 4}


def test_table_with_context() -> None:
    assert resident(CONTEXT, *COLUMNS) == [
        (2, "team/embed:v1.5", "0123456789ab", 669 * 10**6, "100% CPU", 0.0, 8192, "Forever"),
        (3, "tiny:latest", "ba9876543210", 4 * 10**9, "Unknown", None, 4096, "About a minute from now"),
    ]


def test_blanks_that_were_collapsed_do_no_harm() -> None:
    single = "\n".join(" ".join(line.split()) for line in CONTEXT.split("\n"))
    assert resident(single, *COLUMNS) == resident(CONTEXT, *COLUMNS)


def test_a_table_shown_without_digests() -> None:
    """Who shows it to others leaves them out."""
    shown = (
        "NAME                  SIZE      PROCESSOR    UNTIL\ntiny:latest           4.0 GB    100% GPU     Stopping...\n"
    )
    assert resident(shown, *COLUMNS) == [
        (2, "tiny:latest", None, 4 * 10**9, "100% GPU", 1.0, None, "Stopping..."),
    ]


def test_an_empty_table_is_understood() -> None:
    parsed = parse_ollama_ps("NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL \n")
    assert (parsed.lines, dict(parsed.tables)) == ({1}, {})


@pytest.mark.parametrize("text", [json.dumps(PS), json.dumps(PS, indent=2), f"$ curl -s x | jq\n{json.dumps(PS)}$ "])
def test_answers_of_api_ps(text: str) -> None:
    columns = ("model", "size_bytes", "vram_bytes", "vram_fraction", "processor", "context_length", "expires_at")
    assert resident(text, *columns) == [
        ("tiny:latest", 400, 100, 0.25, "75%/25% CPU/GPU", 4096, datetime(2026, 10, 1, 8, 19, 44, 123456)),
        ("b", 5, 0, 0.0, "100% CPU", None, None),
    ]


def test_what_a_person_left_out_stays_empty() -> None:
    text = '{"models":[{"name":"m","size_vram":7,\n  "expires_at":"2026-06-19T09:00:41+09:00", ...},\n  ...]}\nnext'
    assert resident(text, "model", "size_bytes", "vram_bytes", "vram_fraction", "processor", "expires_at") == [
        ("m", None, 7, None, None, datetime(2026, 6, 19, 0, 0, 41))
    ]
    assert parse_ollama_ps(text).lines == {1, 2, 3}


@pytest.mark.parametrize(
    ("size", "vram"), [(100, 101), (0, 0), (None, 5), (5, None), ("5", "x"), (-1, -1), (2**70, 1), (True, True)]
)
def test_sizes_that_make_no_sense_give_no_fraction(size: object, vram: object) -> None:
    body = {"models": [{"name": "m", "size": size, "size_vram": vram}]}
    assert resident(json.dumps(body), "vram_fraction", "processor") == [(None, None)]


def test_other_answers() -> None:
    tags = {"models": [{"name": "a:latest", "modified_at": "2026-01-01T00:00:00Z", "size": 9, "digest": "ab",
                        "details": {"parameter_size": "3.4B", "quantization_level": "Q4_K_M", "context_length": 8192},
                        "capabilities": ["completion", "tools"]}]}  # fmt: skip
    slots = [{"id": 0, "id_task": 5, "n_ctx": 4096, "is_processing": True, "next_token": [{"n_decoded": 12}]}]
    text = f'{json.dumps(tags)}\n{json.dumps(slots)}\n{{"version":"0.13.5"}}\n{{"status":"ok"}}\n'
    parsed = parse_ollama_ps(text)
    (model,), (slot,) = parsed.tables["models"], parsed.tables["slots"]
    assert (model["model"], model["trained_context_length"], model["capabilities"]) == (
        "a:latest", 8192, "completion,tools",
    )  # fmt: skip
    assert (slot["slot"], slot["task"], slot["processing"], slot["context_length"], slot["decoded"]) == (
        0, 5, True, 4096, 12,
    )  # fmt: skip
    assert [(row["endpoint"], row["detail"], row["status"]) for row in parsed.tables["probes"]] == [
        ("/api/version", "0.13.5", None), ("/health", "ok", None),
    ]  # fmt: skip
    assert parsed.lines == {1, 2, 3, 4}


@pytest.mark.parametrize("text", [
    "NAME ID SIZE MODIFIED", "tiny 0123456789ab 4.0 GB 100% GPU Forever", '{"version": 3}', '{"models": "none"}',
    '{"status": "done"}', "[GIN] 2026/11/20 - 20:49:02 | 200 |", '{"ts": "2026-11-20T20:49:03Z", "procs": []}', "[]",
])  # fmt: skip
def test_other_text_is_none(text: str) -> None:
    assert not is_ollama_ps([text])


def captures(shared: Path) -> list[dict[str, Any]]:
    facts = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text().splitlines()]
    return [fact for fact in facts if fact["kind"] == "ps-gpu"]


def test_real_captures(shared: Path) -> None:
    proven = 0
    for capture in captures(shared):
        rows = parse_ollama_ps((shared / "corpus" / capture["file"]).read_text()).tables["resident_models"]
        row = rows[0] if rows else {}
        found = {
            "processor": row.get("processor"), "vram_fraction": row.get("vram_fraction"),
            "context_length": row.get("context_length"), "holder_model": row.get("model"),
            "expires_year": row["expires_at"].year if row.get("expires_at") else None,
        }  # fmt: skip
        ours = set(found) & set(capture["expected"])
        assert {key: found[key] for key in ours} == {key: capture["expected"][key] for key in ours}, capture["file"]
        proven += len(ours)
    assert proven == 15


def test_every_fact_of_the_real_captures_is_proven_somewhere(shared: Path) -> None:
    """A new kind of fact in the index fails here until the test of some parser asserts it."""
    proven = {
        "test_nvidia_smi": {"gpus", "memory_used_MiB", "link_GPU0_GPU1", "nvlink", "gpu_pairs_nv12"},
        "test_amd_smi": {"vram_pct", "gpu_pct", "temp_c", "vram_used_bytes"},
        "test_ollama_ps": {"processor", "vram_fraction", "context_length", "expires_year", "holder_model"},
        "test_process_table": {"serve_rss_KB", "runner_rss_KB", "runners", "memory_GB", "swap_MB", "runner_etime"},
        "test_verbose_timings": {"eval_rate", "total_duration_s"},
        # How long one generation took is a conclusion; the CPU time is that of a unit which is none of Ollama's.
        "nobody": {"generation_hours", "client_cpu_s"},
    }
    assert {key for capture in captures(shared) for key in capture["expected"]} == set().union(*proven.values())


@settings(deadline=None)
@given(st.sampled_from([TABS, CONTEXT, json.dumps(PS), json.dumps(PS, indent=1)]).flatmap(damaged))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_ollama_ps(text), text)


def test_a_time_above_a_table_is_when_it_was_printed() -> None:
    table = "NAME  ID            SIZE   PROCESSOR  UNTIL\nbig   a418f5838eaf  21 GB  100% GPU   Stopping..."
    parsed = parse_ollama_ps(f"=== 2026-04-07 18:01:03 +0200 ===\n{table}\n\nTue Apr  7 16:20:20 UTC 2026\n{table}\n")
    times = [row["at"].isoformat() for row in parsed.tables["resident_models"]]
    assert times == ["2026-04-07T16:01:03", "2026-04-07T16:20:20"]
    assert len(parsed.lines) == 6
