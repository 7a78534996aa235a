"""Scenarios are checked when they are read; those that come with warmstall are whole, and each shows its fault."""

from __future__ import annotations

from typing import Any

import pytest

from warmstall.drill.eras import ERAS
from warmstall.drill.faults import KINDS
from warmstall.drill.models import find_model
from warmstall.drill.scenario import checked, find_scenario, read_scenario, scenario_names
from warmstall.errors import InputError, ParameterError
from warmstall.hypotheses.catalogue import catalogue
from warmstall.records import VERDICTS

SMALLEST: dict[str, Any] = {
    "name": "x", "about": "Nothing happens.", "versions": ["0.13.5"], "duration_s": 10, "models": ["mid"],
    "traffic": [{"model": "mid", "every_s": 1}],
}  # fmt: skip
WANTED = {
    "healthy", "slow_load", "failed_load", "load_timeout", "eviction_thrash", "short_keep_alive", "queue_wait",
    "queue_full", "client_abort", "warm_stall", "spinning_runner", "stopping_deadlock", "runner_crash", "slow_decode",
    "context_truncation", "growing_memory", "vram_not_freed", "hang_rate", "broken_stream", "restart",
    "embedding_service_crash", "num_ctx_flapping", "three_stacked_bugs", "busy_evening", "rag_healthy",
    "sequential_retrieval", "embedder_race", "empty_retrieval", "reasoning_leak", "ungrounded_citation",
    "embedding_service_dies_in_path",
}  # fmt: skip


def with_row(table: str, **row: object) -> dict[str, Any]:
    own = {"traffic": {"model": "mid", "every_s": 1}, "faults": {"kind": "slow_load"}}[table]
    return SMALLEST | {table: [own | row]}


def test_the_smallest_scenario_has_the_defaults():
    scenario = checked(SMALLEST, "x.toml")
    assert scenario.duration_s == 10.0
    assert scenario.traffic[0].endpoint == "/api/generate"
    assert scenario.faults == ()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (SMALLEST | {"duraton_s": 3}, "x.toml: duraton_s: there is none of this name; did you mean duration_s?"),
        (SMALLEST | {"duration_s": "long"}, "x.toml: duration_s: got 'long', expected a number."),
        (SMALLEST | {"duration_s": True}, "x.toml: duration_s: got True, expected a number."),
        (SMALLEST | {"seed": 1.5}, "x.toml: seed: got 1.5, expected a whole number."),
        (SMALLEST | {"models": "mid"}, "x.toml: models: got 'mid', expected a list of texts."),
        ({key: value for key, value in SMALLEST.items() if key != "about"}, "x.toml: about: it is missing."),
        (SMALLEST | {"text": "of the file"}, "x.toml: text: there is none of this name; expected one of about, "),
        (SMALLEST | {"environment": {"PATH": "/"}}, "x.toml: environment PATH: expected a variable OLLAMA_…."),
        (SMALLEST | {"gpu": "a large one"}, "x.toml: gpu: 'a large one' is no simulated GPU; expected LIBRARY:"),
        (SMALLEST | {"faults": {"kind": "restart"}}, "x.toml: faults: expected tables, each under [[faults]]."),
        (with_row("faults", kind="slow_decod"), "x.toml, fault 1: kind slow_decod: there is none of this name; "
                                                "did you mean slow_decode?"),
        (with_row("faults", modle="mid"), "x.toml, fault 1: modle: there is none of this name; did you mean model?"),
        (with_row("faults", model="md"), "x.toml, fault 1: model md: it is not in models; did you mean mid?"),
        (with_row("faults", start_s=5, end_s=4), "x.toml, fault 1: start_s 5, end_s 4: expected 0 ≤ start_s < end_s."),
        (with_row("faults", start_s=11), "x.toml, fault 1: start_s 11: the drill lasts 10 s."),
        (with_row("faults", rate=1.5), "x.toml, fault 1: expected an intensity above 0, and a rate above 0 and at "),
        (with_row("faults", hypotheses="warm_stall"), "x.toml, fault 1: hypotheses: got 'warm_stall', expected a list"),
        (with_row("traffic", model="tiny"), "x.toml, traffic 1: model tiny: it is not in models"),
        (with_row("traffic", endpoint="/api/generat"), "x.toml, traffic 1: endpoint /api/generat: there is none of "),
        (with_row("traffic", clients=2), "x.toml, traffic 1: expected either every_s or clients, above 0."),
        (with_row("traffic", start_s=10), "x.toml, traffic 1: start_s 10: expected a time before its end."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_plain_sentence(said, words):
    with pytest.raises(ParameterError) as error:
        checked(said, "x.toml")
    assert str(error.value).startswith(words)


def test_a_mistyped_scenario_is_refused_with_the_nearest_right_one():
    with pytest.raises(
        ParameterError, match=r"scenario warm_stal: there is none of this name; did you mean warm_stall\?"
    ):
        find_scenario("warm_stal")


def test_files_that_are_none(tmp_path):
    (tmp_path / "x.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(ParameterError, match=r"x\.toml: it is not TOML"):
        read_scenario(tmp_path / "x.toml")
    with pytest.raises(InputError, match="cannot be read"):
        find_scenario(str(tmp_path / "y.toml"))


def test_a_file_of_ones_own_is_found_by_its_path(tmp_path):
    text = (
        'name = "x"\nabout = "y"\nversions = ["0.13.5"]\nduration_s = 3\nmodels = ["mid"]\n'
        '[[traffic]]\nmodel = "mid"\nclients = 1\n'
    )
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    scenario = find_scenario(str(tmp_path / "x.toml"))
    assert scenario.traffic[0].clients == 1
    assert scenario.text == text


def test_every_scenario_that_was_promised_is_there():
    assert set(scenario_names()) >= WANTED


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_that_comes_with_warmstall_is_whole(name):
    scenario = find_scenario(name)
    assert scenario.name == name
    assert scenario.about.endswith(".")
    assert 15 <= scenario.duration_s <= 45
    assert set(scenario.versions) <= set(ERAS)
    assert all(find_model(model) for model in scenario.models)
    # Whatever the fault is to be found by has a page, so that a mistyped name is not a fault that nobody finds.
    known = set(catalogue())
    assert {each for plan in scenario.faults for each in plan.hypotheses} <= known
    assert all(plan.hypotheses for plan in scenario.faults)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_of_fault_names_what_exists(kind):
    assert kind.verdict in VERDICTS
    assert kind.does.endswith(".")
    assert set(kind.hypotheses) <= set(catalogue())


def test_every_kind_of_fault_but_one_has_a_scenario():
    used = {plan.fault.kind for name in scenario_names() for plan in find_scenario(name).faults}
    assert set(KINDS) == used
