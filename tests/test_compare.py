"""A good day beside a bad one: what differs, what chance explains, and what one of the two does not tell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import INCIDENTS
from hypotheses.example import ServerLog
from warmstall.analysis import Analysis, analyze
from warmstall.cli import app
from warmstall.compare import Comparison, compare, rank_test, sample_pair

Make = Callable[..., Analysis]
NAMES = ("Monday", "Tuesday")


@pytest.fixture
def case(tmp_path: Path) -> Make:
    """Makes an analysis of a server that answered requests in so many seconds, some of them with 500."""

    def make(
        wall_s: list[float], failed: int = 0, every_s: float = 10, version: str = "0.13.5", **settings: str
    ) -> Analysis:
        log = ServerLog().start(version=version, **settings).load(2)
        for number, each_s in enumerate(wall_s):
            log.request(10 + every_s * number, each_s, 500 if number < failed else 200)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "server.log").write_text(log.text())
        return analyze(folder)

    return make


def usual(count: int = 60, seed: int = 7) -> list[float]:
    """Wall times of an ordinary day."""
    return list(np.random.default_rng(seed).lognormal(0.7, 0.3, count).round(3))


def test_two_ordinary_days_do_not_differ(case: Make) -> None:
    compared = compare(case(usual(seed=1)), case(usual(seed=2)), NAMES)

    assert compared.sentences[0] == "Nothing that was captured of both tells Tuesday from Monday beyond chance."
    assert not compared.not_compared


def test_failures_come_first_with_their_counts(case: Make) -> None:
    compared = compare(case(usual(), failed=1), case(usual(), failed=20), NAMES)
    (row,) = compared.rates[compared.rates["what"] == "failed"].to_dict("records")

    assert (
        "33 % of the requests failed or got no answer in Tuesday (20 of 60), 1.7 % in Monday (1 of 60)"
        in (compared.sentences[0])
    )
    assert (row["count_a"], row["of_a"], row["count_b"], row["of_b"]) == (1, 60, 20, 60)
    assert row["p"] < 1e-4


def test_few_failures_may_be_chance(case: Make) -> None:
    compared = compare(case(usual(20)), case(usual(20), failed=2), NAMES)

    assert not [sentence for sentence in compared.sentences if "failed" in sentence]
    assert list(compared.rates["count_b"][compared.rates["what"] == "failed"]) == [2]


def test_calls_that_were_never_answered_count_as_failed() -> None:
    good, bad = sample_pair()
    rates = compare(analyze(good), analyze(bad)).rates.set_index("what")

    assert (rates.loc["failed", "count_a"], rates.loc["failed", "of_a"]) == (0, 269)
    assert rates.loc["failed", "count_b"] == 12


def test_slower_answers_are_told_by_model(case: Make) -> None:
    compared = compare(case(usual()), case([3 * each for each in usual(seed=8)]), NAMES)
    (told,) = [sentence for sentence in compared.sentences if sentence.startswith("Answers")]

    assert "n = 60) in Tuesday" in told
    assert "times as long; by chance" in told
    # One model: all of them together would say the same again.
    assert list(compared.latencies["n_a"]) == [60, 60]


def test_sure_but_small_differences_are_not_told(case: Make) -> None:
    compared = compare(case(usual(800)), case([1.15 * each for each in usual(800, 8)]), NAMES)

    assert compared.latencies["p"].max() < 0.01
    assert not [sentence for sentence in compared.sentences if sentence.startswith("Answers")]


def test_settings_of_one_version_are_compared(case: Make) -> None:
    compared = compare(
        case(usual(), OLLAMA_NUM_PARALLEL="4", OLLAMA_KEEP_ALIVE="300s"), case(usual(), OLLAMA_NUM_PARALLEL="1"), NAMES
    )

    # 300s and 5m0s mean the same.
    assert compared.sentences[0] == "Setting of Tuesday, beside Monday: OLLAMA_NUM_PARALLEL is 1, was 4."
    assert compared.configuration["differs"].eq(True).sum() == 1


def test_a_setting_that_another_version_does_not_print_is_no_difference(case: Make) -> None:
    compared = compare(case(usual(), OLLAMA_NEW="1"), case(usual(), version="0.14.0"), NAMES)
    row = compared.configuration.set_index("name").loc["OLLAMA_NEW"]

    assert compared.sentences[0] == "Version of Tuesday, beside Monday: Ollama is 0.14.0, was 0.13.5."
    assert row["differs"] is None or math.isnan(row["differs"])
    assert compared.not_compared == ("Settings that only one of the two tells: 1.",)


def test_what_one_did_not_capture_is_named(case: Make, tmp_path: Path) -> None:
    bare = tmp_path / "bare.log"
    bare.write_text(ServerLog().request(10, 2.0).request(20, 2.0).text())
    compared = compare(case(usual()), analyze(bare), NAMES)

    assert any(told.startswith("Settings: Tuesday has none captured") for told in compared.not_compared)
    assert not compared.configuration["kind"].eq("setting").any()


def test_causes_by_what_the_other_day_says() -> None:
    good, bad = sample_pair()
    compared = compare(analyze(good), analyze(bad), ("good", "bad"))
    change = compared.causes.set_index("id")["change"]

    assert change["warm_stall"] == "new"
    assert change["embedding_service_growth"] == "gone"
    assert change["vector_store_mount"] == "unseen"
    assert any("supported in bad, ruled out in good" in told for told in compared.sentences)


def test_load_and_concurrency(case: Make) -> None:
    load = compare(case(usual()), case(usual(), every_s=1), NAMES).load.set_index("what")

    assert load.loc["requests", "a"] == load.loc["requests", "b"] == 60
    assert load.loc["requests_per_minute", "b"] > 5 * load.loc["requests_per_minute", "a"]
    assert (load.loc["most_at_once", "a"], load.loc["most_at_once", "b"] > 1) == (1, True)


def test_too_short_for_a_rate_a_minute(case: Make) -> None:
    load = compare(case([1.0, 1.0]), case([1.0]), NAMES).load.set_index("what")

    assert math.isnan(load.loc["requests_per_minute", "a"])


def test_nothing_at_all(tmp_path: Path) -> None:
    empty = tmp_path / "server.log"
    empty.write_text(ServerLog().start().text())
    compared = compare(analyze(empty), analyze(empty))

    assert isinstance(compared, Comparison)
    assert compared.sentences[0].startswith("Nothing that was captured")
    json.dumps(compared.as_json(), allow_nan=False)


@pytest.mark.parametrize("chosen", [range(8), (0, 1, 2, 3, 4, 5, 8, 11), (0, 1, 2, 5, 6, 9, 10, 12), range(0, 16, 2)])
def test_rank_test_is_near_the_exact_one(chosen: Iterable[int]) -> None:
    """Against every way of dealing 16 values, some of them alike, to two days of 8."""
    chosen, values = list(chosen), np.repeat(np.arange(8.0), 2)
    ranks = np.repeat(np.arange(1.5, 16, 2), 2)
    sums = np.array([ranks[list(dealt)].sum() for dealt in combinations(range(16), 8)])
    apart = np.abs(sums - sums.mean())
    exact = float((apart >= abs(ranks[chosen].sum() - sums.mean()) - 1e-9).mean())
    rest = [place for place in range(16) if place not in chosen]

    assert rank_test(values[chosen], values[rest]) == pytest.approx(exact, rel=0.15, abs=0.002)


def test_rank_test_of_equals() -> None:
    assert rank_test(np.ones(9), np.ones(9)) == 1.0


def test_rank_test_finds_nothing_in_chance() -> None:
    random = np.random.default_rng(1)
    below = sum(rank_test(random.normal(size=30), random.normal(size=40)) < 0.05 for _ in range(400))

    assert 8 <= below <= 34  # 5 % of 400 is 20


def test_names_from_a_log_cannot_steer_the_terminal(case: Make) -> None:
    compared = compare(case(usual()), case(usual(), OLLAMA_HOST="http://x\x1b[31m"), ("a\x1b[2J", "b"))

    assert not any("\x1b" in sentence for sentence in [*compared.sentences, *compared.not_compared])


def test_diff_prints_sentences_and_json() -> None:
    paths = [str(INCIDENTS / name) for name in ("queue-one-slot", "reloads-two-models")]
    told = CliRunner().invoke(app, ["diff", *paths])
    plain = CliRunner().invoke(app, ["diff", *paths, "--json"])

    assert told.exit_code == plain.exit_code == 0
    assert "Version of reloads-two-models, beside queue-one-slot: Ollama is 0.13.5, was 0.3.14." in told.stdout
    assert set(json.loads(plain.stdout)) == {
        "sentences", "not_compared", "rates", "latencies", "load", "configuration", "memory", "causes",
    }  # fmt: skip
