"""The catalogue of drills as a page: every scenario, every kind of fault, as the program knows them."""

from __future__ import annotations

from .eras import ERAS
from .faults import KINDS
from .scenario import Scenario, find_scenario, scenario_names

_ACTORS = {
    "runner": "the runner's program", "server": "the server", "outside": "signals and restarts from outside",
    "clients": "clients and settings",
}  # fmt: skip


def drills_markdown() -> str:
    """docs/drills.md.

    >>> "| `warm_stall` |" in drills_markdown()
    True
    """
    scenarios = [find_scenario(name) for name in scenario_names()]
    lines = [
        "# Drills", "",
        "Made by `make docs` of the scenarios and the table of faults; [drill.md](drill.md) tells how to run them.",
        "", "## Scenarios", "", "| scenario | seconds | as Ollama | what happens | faults |", "|---|---:|---|---|---|",
        *(_scenario_row(one) for one in scenarios), "", "## Faults", "",
        "What a scenario may say under `[[faults]]`; *must show* are the causes that an analysis has to find.", "",
        "| kind | done by | what happens | `intensity` | must show |", "|---|---|---|---|---|",
        *(
            f"| `{kind.name}` | {_ACTORS[kind.actor]} | {kind.does} | {kind.intensity or '–'} | "
            f"{_causes(kind.hypotheses)} |"
            for kind in KINDS.values()
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _scenario_row(scenario: Scenario) -> str:
    versions = ", ".join(version for version in ERAS if version in scenario.versions)
    kinds = dict.fromkeys(plan.fault.kind for plan in scenario.faults)
    faults = ", ".join(f"`{kind}`" for kind in kinds) or "none"
    return f"| `{scenario.name}` | {scenario.duration_s:.0f} | {versions} | {scenario.about} | {faults} |"


def _causes(hypotheses: tuple[str, ...]) -> str:
    return ", ".join(f"[{each}](hypotheses.md#{each})" for each in hypotheses) or "as the scenario says"
