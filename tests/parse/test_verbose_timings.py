"""Timings of `ollama run --verbose` in sessions of terminals, with spinners and escape sequences around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from damage import check, damaged
from warmstall.parse.go_values import duration_s
from warmstall.parse.verbose_timings import is_verbose_timings, parse_verbose_timings

SESSION = """\
me@box:~$ ollama run --keepalive 5m --verbose tiny:1b 'Why?'
\x1b[?25l\x1b[1G⠙ \x1b[K\x1b[1G⠹ \x1b[K\x1b[?25hBecause.

\x1b[?2026h\x1b[1G⠙ \x1b[K⠸ \x1b[K\x1b[?25htotal duration:       1m2.5s
load duration:        5.25ms
prompt eval count:    21 token(s)
prompt eval duration: 340.21446ms
prompt eval rate:     61.73 tokens/s
eval count:           47 token(s)
eval duration:        1m1s
eval rate:            0.77 tokens/s
>>> /load other
Loading model 'other'
>>> again
The total duration: 5s is what it says.
total duration:       900ms
eval count:           9 token(s)
eval duration:        800ms
eval rate:            11.25 tokens/s
total duration:       901ms
load duration:        1ms"""


def trials(text: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in parse_verbose_timings(text).tables["trials"]]


def test_each_answer_is_a_trial_of_the_model_of_its_session() -> None:
    columns = ("line", "model", "total_duration_s", "load_duration_s", "eval_count", "tokens_per_s")
    assert trials(SESSION, *columns) == [
        (4, "tiny:1b", 62.5, 0.00525, 47, 0.77),
        (16, "other", 0.9, None, 9, 11.25),
        (20, "other", 0.901, 0.001, None, None),
    ]
    assert trials(SESSION, "prompt_eval_count", "prompt_eval_duration_s", "eval_duration_s")[0] == (
        21,
        0.34021446,
        61.0,
    )


def test_times_of_day_are_not_shown_and_the_lines_are_counted() -> None:
    assert set(trials(SESSION, "started_at", "ended_at", "wall_s", "status")) == {(None, None, None, None)}
    assert parse_verbose_timings(SESSION).lines == {*range(4, 12), *range(16, 22)}


@pytest.mark.parametrize(
    ("before", "model"),
    [
        ("$ ollama run gemma3:27b", "gemma3:27b"),
        ("PS C:\\> ollama.exe run 'hf.co/a/b:Q4_K_M' hello", "hf.co/a/b:Q4_K_M"),
        ("$ ollama run --format json --verbose --think=false tiny", "tiny"),
        ("model_name =    deepseek-r1:1.5b", "deepseek-r1:1.5b"),
        ("$ ollama run $MODEL", None),
        ("The model: tiny is fine", None),
        ("", None),
    ],
)
def test_the_model_is_the_one_named_last(before: str, model: str | None) -> None:
    text = f"$ ollama ps\n{before}\ntotal duration: 1s\nload duration: 1ms"
    assert trials(text, "model") == [(model,)]


@pytest.mark.parametrize("line", [
    "The total duration: 5 s of a call.", "total duration: 5.8s", "total duration: soon", "eval rate: 5 tokens/s",
    '{"total_duration": 5848764216, "load_duration": 49544304}', "load duration:",
])  # fmt: skip
def test_other_text_is_none(line: str) -> None:
    assert not is_verbose_timings(["$ ollama run tiny", line, "", "load duration"])


def test_real_sessions(shared: Path) -> None:
    proven = {"eval_rate": 0, "total_duration_s": 0}
    for fact in map(json.loads, (shared / "corpus" / "index.jsonl").read_text().splitlines()):
        ours = set(proven) & set(fact["expected"]) if fact["kind"] == "ps-gpu" else set()
        if not ours:
            continue
        text = (shared / "corpus" / fact["file"]).read_text()
        (row,) = parse_verbose_timings(text).tables["trials"]
        found = {"eval_rate": row["tokens_per_s"], "total_duration_s": row["total_duration_s"]}
        assert {key: found[key] for key in ours} == {key: fact["expected"][key] for key in ours}, fact["file"]
        assert f"ollama run {row['model']}\n" in text
        for key in ours:
            proven[key] += 1
    assert proven == {"eval_rate": 9, "total_duration_s": 1}


def test_a_real_session_with_spinners(shared: Path) -> None:
    facts = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text().splitlines()]
    (fact,) = [fact for fact in facts if "load_durations_first5" in fact["expected"]]
    expected = fact["expected"]
    parsed = parse_verbose_timings((shared / "corpus" / fact["file"]).read_text())
    rows = parsed.tables["trials"]
    assert len(rows) == expected["total_duration_lines"]
    assert [row["load_duration_s"] for row in rows[:5]] == [
        duration_s(text) for text in expected["load_durations_first5"]
    ]
    assert [row["tokens_per_s"] for row in rows[:3]] == [float(text) for text in expected["eval_rates_first3"]]
    assert {row["model"] for row in rows} == {"deepseek-r1:1.5b"}


@settings(deadline=None)
@given(damaged(SESSION))
def test_damaged_captures_are_survived(text: str) -> None:
    check(parse_verbose_timings(text), text)
