"""docs/fleet-cost.md is what its figures come to."""

from __future__ import annotations

import copy
import json
from typing import Any

import fleet_page
import pytest

from conftest import ROOT

FIGURES = json.loads((ROOT / "benchmarks" / "fleet.json").read_text(encoding="utf-8"))


def test_the_page_is_that_of_the_figures() -> None:
    assert (ROOT / "docs" / "fleet-cost.md").read_text(encoding="utf-8") == fleet_page.page(FIGURES)


def test_the_figures_meet_the_goals() -> None:
    assert fleet_page.ratio(FIGURES) <= 1.3
    assert (FIGURES["tasks"]["hosts"], FIGURES["tasks"]["failed"]) == (20_000, 0)
    assert FIGURES["tasks"]["task_ms"] <= 10
    held = FIGURES["tasks"]["driver_bytes"]
    assert held[-1] <= 1.1 * held[0]


def test_what_breaks_first_is_what_needs_most_of_what_there_is() -> None:
    needy = copy.deepcopy(FIGURES)
    needy["tasks"]["task_ms"] = 1e6

    assert "the scheduler" not in first_to_break(FIGURES)
    assert "the scheduler" in first_to_break(needy)


def first_to_break(figures: dict[str, Any]) -> str:
    rows = fleet_page.page(figures).partition("## What breaks first")[2]
    return next(
        line for line in rows.splitlines() if line.endswith(" |") and "---" not in line and "needed" not in line
    )


@pytest.mark.parametrize(
    ("count", "told"), [(999, "999 bytes"), (1.5e3, "1.5 kB"), (999.6e9, "1,000 GB"), (1e13, "10 TB")]
)
def test_bytes_are_told_with_their_unit(count: float, told: str) -> None:
    assert fleet_page._bytes(count) == told
