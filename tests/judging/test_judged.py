"""Verdicts by columns: the same whichever rows are asked for, and few or many at a time."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.judging import words
from warmstall.judging.facts import Facts
from warmstall.judging.requests import places
from warmstall.judging.rules import EVERY_RULE, rules_that_hold

CASES = ("warm-stall-runner-stopped", "queue-one-slot", "silent-hangs-memlock")


@pytest.mark.parametrize("name", CASES)
def test_some_rows_read_as_they_do_among_all(name: str) -> None:
    """The sentences of a few requests are made without those of the others."""
    found = analyze(INCIDENTS / name)
    every = found.requests().drop(columns="text")
    rows = np.flatnonzero(every["verdict"] != "warm_ok")

    pd.testing.assert_frame_equal(found.details(rows), every.iloc[rows].reset_index(drop=True))


@pytest.mark.parametrize("name", CASES)
def test_rows_come_in_the_order_in_which_they_are_asked_for(name: str) -> None:
    """With the lines that they stand for."""
    found = analyze(INCIDENTS / name)
    every = found.requests()
    rows = np.random.default_rng(1).permutation(len(every))[:20]

    pd.testing.assert_frame_equal(found.requests(rows), every.iloc[rows].reset_index(drop=True))


@pytest.mark.parametrize("name", CASES)
def test_the_compact_columns_are_those_of_the_requests(name: str) -> None:
    found = analyze(INCIDENTS / name)
    compact, every = found.verdicts(), found.requests()

    for column in compact.columns:
        told = compact[column].round(6) if column == "wall_s" else compact[column]
        assert told.tolist() == every[column].tolist()


@pytest.mark.parametrize("name", CASES)
def test_the_frame_without_sentences_tells_all_else(name: str) -> None:
    found = analyze(INCIDENTS / name)
    every = found.requests().drop(columns=["text", "reason"])
    texts = every.select_dtypes("str").columns
    plain = found.inferences().astype(dict.fromkeys(texts, "str"))

    pd.testing.assert_frame_equal(plain, every[every["inference"]])


@pytest.mark.parametrize("name", CASES)
def test_sentences_are_those_of_the_rows_in_any_order(name: str) -> None:
    found = analyze(INCIDENTS / name)
    slowest_first = found.inferences().sort_values("wall_s", ascending=False)

    assert found.reasons(slowest_first) == found.requests()["reason"][slowest_first.index].tolist()


@pytest.mark.parametrize("name", CASES)
def test_gists_are_the_sentences_without_their_numbers(name: str) -> None:
    found = analyze(INCIDENTS / name)
    gists = pd.Series(found.gists(found.verdicts()))
    sentences = found.requests()["reason"].str.replace(r"[\d.,]+", "#", regex=True)

    assert gists.groupby(sentences).nunique().eq(1).all()
    assert sentences.groupby(gists).nunique().eq(1).all()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in INCIDENTS.glob("*/case.json")))
def test_of_lone_requests_each_rule_holds_as_it_would_with_all_facts_looked_up(name: str, tmp_path: Path) -> None:
    """Of damaged logs, in which loads lack their ends and requests their loads."""
    chance = random.Random(name)
    shutil.copytree(INCIDENTS / name, tmp_path / name)
    for log in (tmp_path / name).rglob("*.log"):
        lines = [line for line in log.read_text().splitlines(keepends=True) if chance.random() > 0.1]
        log.write_text("".join(line.replace("| 200 |", chance.choice(["| 200 |"] * 9 + ["| 500 |"])) for line in lines))
    judged = analyze(tmp_path / name)._judged
    lone = np.setdiff1d(np.arange(len(judged)), judged._around.not_lone)

    every, quick = judged.facts(slice(None)), Facts(judged.matched, judged._around, slice(None), lone=True)

    assert len(lone)
    for rule in EVERY_RULE:
        held = np.broadcast_to(rule.when(quick), len(judged))
        assert held[lone].tolist() == rule.when(every)[lone].tolist(), rule.because
    assert judged.rule().tolist() == rules_that_hold(every).tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_part_of_the_rows_at_a_time_gives_the_same_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds the memory must not show: neither at the seams nor in what is usual."""

    def answers() -> pd.DataFrame:
        found: Analysis = analyze(INCIDENTS / name)
        alike, _ = pd.factorize(found.gists(found.verdicts()))
        asked = found.inferences()
        return found.requests().assign(alike=alike, flags=asked["flags"], load_s=asked["load_s"])

    whole = answers()
    monkeypatch.setattr(words, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(words, "_KEYS_AT_ONCE", 3)

    pd.testing.assert_frame_equal(answers(), whole)


def test_rows_are_found_in_a_stretch_in_a_list_and_by_a_mask() -> None:
    known, mask = np.array([3, 7, 9]), np.zeros(12, dtype=bool)
    mask[[7, 8, 9]] = True

    for rows in (slice(7, 10), np.array([7, 8, 9]), mask):
        at, which = places(known, rows, 12)
        assert (at.tolist(), which.tolist()) == ([0, 2], [1, 2])
    assert places(np.empty(0, dtype=np.int64), np.array([7, 8, 9]), 12)[0].tolist() == []
