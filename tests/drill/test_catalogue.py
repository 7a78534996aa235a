"""The catalogue of drills is what the program knows."""

from __future__ import annotations

from conftest import ROOT
from warmstall.drill.catalogue import drills_markdown
from warmstall.drill.faults import KINDS
from warmstall.drill.scenario import find_scenario, scenario_names
from warmstall.hypotheses import catalogue

from .fidelity_page import fidelity_markdown


def test_the_page_is_made_of_the_scenarios_and_faults() -> None:
    assert (ROOT / "docs" / "drills.md").read_text(encoding="utf-8") == drills_markdown()


def test_the_page_of_fidelity_lists_what_remains() -> None:
    assert (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8") == fidelity_markdown()


def test_every_kind_of_fault_is_in_a_scenario_and_has_a_cause_to_be_found() -> None:
    plans = [plan for name in scenario_names() for plan in find_scenario(name).faults]

    assert {plan.fault.kind for plan in plans} == set(KINDS)
    assert all(plan.hypotheses for plan in plans)
    assert {cause for plan in plans for cause in plan.hypotheses} <= set(catalogue())


def test_every_scenario_says_what_an_operator_sees() -> None:
    for name in scenario_names():
        scenario = find_scenario(name)
        assert scenario.name == name
        assert 20 < len(scenario.about) < 150
        assert scenario.duration_s <= 45
