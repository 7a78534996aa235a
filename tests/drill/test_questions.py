"""Questions of a drill go by the reference path, and what goes wrong on it is found in the case that is left."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import pytest

from warmstall.analysis import analyze
from warmstall.drill.knowledge import TOPICS, question
from warmstall.drill.run import EVIDENCE, Outcome, run_scenario
from warmstall.drill.scenario import checked, find_scenario
from warmstall.errors import ParameterError
from warmstall.hypotheses import judge

# Each on one version, over the three of them.
VERSIONS = {
    "rag_healthy": "0.32.15", "sequential_retrieval": "0.3.14", "embedder_race": "0.13.5",
    "empty_retrieval": "0.32.15", "reasoning_leak": "0.13.5", "ungrounded_citation": "0.3.14",
    "embedding_service_dies_in_path": "0.13.5",
}  # fmt: skip


@dataclass(frozen=True)
class Played:
    outcome: Outcome
    found: dict[str, tuple[str, str]]
    spans: list[dict[str, Any]]
    log: str

    def of(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    """All of them side by side, in threads of this process; what a busy machine spoils once more, alone."""
    folder, again = tmp_path_factory.mktemp("questions"), tmp_path_factory.mktemp("again")

    def play(name: str) -> Outcome:
        return run_scenario(find_scenario(name), folder / name, VERSIONS[name])

    with ThreadPoolExecutor(len(VERSIONS)) as pool:
        outcomes = dict(zip(VERSIONS, pool.map(play, VERSIONS), strict=True))
    results = {name: looked_at(outcome) for name, outcome in outcomes.items()}
    for name in [name for name, run in results.items() if is_spoilt(run)]:
        results[name] = looked_at(run_scenario(find_scenario(name), again / name, VERSIONS[name]))
    return results


def is_spoilt(run: Played) -> bool:
    wanted = {cause for interval in run.outcome.intervals for cause in interval.hypotheses}
    beyond = {cause for cause, (_, severity) in run.found.items() if severity in ("warning", "critical")} - wanted
    return bool(run.outcome.problems or not wanted <= set(run.found) or (not wanted and beyond))


def looked_at(outcome: Outcome) -> Played:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {each.id: (each.state, each.severity) for each in judge(analyze(outcome.folder)) if each.found}
    evidence = outcome.folder / EVIDENCE
    spans = [json.loads(line) for line in (evidence / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
    return Played(outcome, found, spans, (evidence / "application.log").read_text(encoding="utf-8"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", VERSIONS)
def test_an_analysis_finds_what_was_done_to_the_path(name: str, played: dict[str, Played]) -> None:
    run = played[name]
    assert run.outcome.problems == ()
    assert len(run.outcome.intervals) == len(find_scenario(name).faults)
    wanted = {cause for interval in run.outcome.intervals for cause in interval.hypotheses}
    assert wanted <= set(run.found)


def test_nothing_is_found_where_nothing_was_done(played: dict[str, Played]) -> None:
    found = played["rag_healthy"].found
    assert not {cause: said for cause, said in found.items() if said[1] in ("warning", "critical")}


def test_healthy_questions_are_answered_from_sources(played: dict[str, Played]) -> None:
    questions = played["rag_healthy"].of("question")
    assert len(questions) >= 3
    for span in questions:
        said = span["attributes"]
        assert said["warmstall.documents_found"] > 0
        assert (said["warmstall.cited"], said["warmstall.unfounded"], said["warmstall.reasoning_left"]) == (1, 0, False)


def test_a_model_without_sources_cites_none(played: dict[str, Played]) -> None:
    empty = [
        span["attributes"] for span in played["empty_retrieval"].of("question")
        if span["attributes"]["warmstall.documents_found"] == 0
    ]  # fmt: skip
    assert len(empty) >= 3
    assert {(said["warmstall.cited"], said["warmstall.note_given"]) for said in empty} == {(0, False)}


def test_a_fault_of_the_model_acts_in_its_time_alone(played: dict[str, Played]) -> None:
    for name, attribute in (("reasoning_leak", "reasoning_left"), ("ungrounded_citation", "unfounded")):
        (interval,) = played[name].outcome.intervals
        for span in played[name].of("generate"):
            began, ended = (datetime.fromisoformat(span[key]).timestamp() for key in ("start_time", "end_time"))
            (asked,) = [
                each
                for each in played[name].of("question")
                if each["context"]["trace_id"] == span["context"]["trace_id"]
            ]
            if ended < interval.began:
                assert not asked["attributes"][f"warmstall.{attribute}"]
            elif began > interval.began and ended < interval.ended:
                assert asked["attributes"][f"warmstall.{attribute}"]


def test_each_drill_keeps_its_own_log(played: dict[str, Played]) -> None:
    """Several run in this process, and all of them use one logger."""
    told = {name: "Cannot copy out of meta tensor" in run.log for name, run in played.items()}
    assert [name for name, said in told.items() if said] == ["embedder_race"]


def test_the_truth_has_every_call_of_the_path_by_the_servers_own_notes(played: dict[str, Played]) -> None:
    for name, run in played.items():
        rows = [
            json.loads(line) for line in (run.outcome.folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        calls = Counter(row["endpoint"] for row in rows if "endpoint" in row)
        assert calls["/api/chat"] == len(run.of("generate")), name
        embeds = sum(span["attributes"].get("gen_ai.provider.name") == "ollama" for span in run.of("embed"))
        # Each of the five collections was taken in by one call, for each kind of clients.
        rows_by_ollama = [one for one in find_scenario(name).traffic if not one.embedder.get("kind")]
        assert calls["/api/embed"] == embeds + 5 * len(rows_by_ollama), name
        assert len(run.outcome.truths) == sum(calls.values())


def test_neither_trace_nor_log_holds_a_word_of_questions_or_documents(played: dict[str, Played]) -> None:
    for run in played.values():
        written = run.log + json.dumps(run.spans)
        for asked, texts in TOPICS:
            assert asked.removesuffix("?") not in written
            assert not [text for text in texts if text in written]


def test_the_same_seed_asks_the_same_questions() -> None:
    one, two = ([question(random) for _ in range(9)] for random in (Random(3), Random(3)))
    assert one == two
    assert len(set(one)) > 5


QUESTION: dict[str, Any] = {"model": "mid", "endpoint": "question", "clients": 1}


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"path": {"retrival": "sequential"}}, "x.toml, traffic 1, [path]: retrival: there is none of this name; "),
        ({"path": {"retrieval": "slow"}}, "x.toml, traffic 1, [path]: retrieval is 'slow'; expected parallel "),
        ({"embedder": {"kind": "htp"}}, "x.toml, traffic 1: embedder 'htp' is none of "),
        ({"endpoint": "/api/chat", "path": {"top_k": 1}}, "x.toml, traffic 1: path and embedder are of endpoint "),
    ],
)  # fmt: skip
def test_a_mistyped_path_is_refused(traffic: dict[str, Any], words: str) -> None:
    scenario = {"name": "x", "about": "y", "versions": ["0.13.5"], "duration_s": 9, "models": ["mid"]}
    with pytest.raises(ParameterError) as error:
        checked({**scenario, "traffic": [QUESTION | traffic]}, "x.toml")
    assert str(error.value).startswith(words)
