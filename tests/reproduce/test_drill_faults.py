"""Every fault of the drill, met by the reference path: the postmortem finds its cause in the case that is left.

The scenarios are those of the drill, with the same server, faults and times; but whoever sends a prompt there asks a
question here, so that the only record of a call is the path's trace beside the server's log. Faults of the path itself
have scenarios that ask questions anyway, and tests of their own: tests/drill/test_questions.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from warmstall.analysis import analyze
from warmstall.drill.faults import KINDS
from warmstall.drill.growth import CAP_BYTES, HEADROOM_BYTES
from warmstall.drill.run import run_scenario
from warmstall.drill.scenario import EMBEDDING_SERVICE, QUESTION, Scenario, Traffic, find_scenario, scenario_names
from warmstall.hypotheses import judge

# The shortest scenario of each fault, on one version each, over the three of them. What keeps a core busy runs alone:
# what it gets of the machine is the evidence.
ALONE = {"slow_decode": "0.13.5", "spinning_runner": "0.3.14", "growing_memory": "0.32.15"}
SIDE_BY_SIDE = {
    "slow_load": "0.13.5", "failed_load": "0.3.14", "load_timeout": "0.32.15", "hang_rate": "0.13.5",
    "broken_stream": "0.32.15", "vram_not_freed": "0.3.14", "warm_stall": "0.32.15", "runner_crash": "0.13.5",
    "stopping_deadlock": "0.3.14", "restart": "0.32.15", "server_down": "0.13.5", "embedding_service_crash": "0.13.5",
    "client_abort": "0.32.15", "short_keep_alive": "0.13.5", "eviction_thrash": "0.32.15", "queue_wait": "0.3.14",
    "queue_full": "0.13.5", "context_truncation": "0.13.5", "num_ctx_flapping": "0.32.15",
}  # fmt: skip
AT_ONCE = 8


def through_the_path(scenario: Scenario) -> Scenario:
    """The same, asked by questions."""
    adapt = _OTHERWISE.get(scenario.name, lambda rows: rows)
    # Where a server's room for models is the matter, embedders on it would take a part of it.
    crowded = len(scenario.models) > 1 or {"OLLAMA_KEEP_ALIVE", "OLLAMA_MAX_LOADED_MODELS"} & set(scenario.environment)
    embedder = {"kind": "lexical"} if crowded else {}
    rows = (replace(row, endpoint=QUESTION, embedder=row.embedder or embedder) for row in adapt(scenario.traffic))
    return replace(scenario, traffic=tuple(rows), text="")


def _impatient(rows: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    """Who leaves is another client here, with a short timeout of its path."""
    first, usual = rows
    return first, replace(usual, clients=1), replace(usual, clients=1, start_s=15.0, timeout_s=2.0)


def _patient(rows: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    """The path's deadline runs from before its connection: of ten seconds the server sees a little less."""
    return tuple(replace(row, timeout_s=row.timeout_s and 11.0) for row in rows)


def _writing_when_it_begins(rows: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    """An answer comes later here, after the retrieval: so its question comes sooner, and it is longer.

    A fault that met the prompt would be told from a long one by no log of that version, as its analysis says.
    """
    usual, last = rows
    return usual, replace(last, start_s=12.3, num_predict=300)


def _short_context(rows: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    """A context that holds a prompt with one source, and not the sources that a threshold lets in which keeps none out.

    Of a prompt that would fit without its rules only those are dropped, and a log says nothing of that but at DEBUG.
    """
    usual, long = (replace(row, options={"num_ctx": 256}, num_predict=30) for row in rows)
    return replace(usual, path={"keep": 1}), replace(long, embedder={"max_distance": 0.95})


def _embedded_by_the_service(rows: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    return tuple(replace(row, embedder={"kind": "http"}) for row in rows if row.endpoint != EMBEDDING_SERVICE)


_OTHERWISE: dict[str, Callable[[tuple[Traffic, ...]], tuple[Traffic, ...]]] = {
    "client_abort": _impatient, "context_truncation": _short_context, "hang_rate": _patient,
    "embedding_service_crash": _embedded_by_the_service, "spinning_runner": _writing_when_it_begins,
}  # fmt: skip


def played(name: str, folder: Path) -> set[str]:
    """The causes that an analysis finds in the case of one run."""
    outcome = run_scenario(through_the_path(find_scenario(name)), folder, (ALONE | SIDE_BY_SIDE)[name])
    assert outcome.problems == (), outcome.problems
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {each.id for each in judge(analyze(outcome.folder)) if each.found}


def has_room(name: str) -> bool:
    room = psutil.virtual_memory().available >= CAP_BYTES + HEADROOM_BYTES
    return room or not find_scenario(name).grows_memory


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str] | Exception]:
    """All of them, several at once: they mostly wait."""
    folder = tmp_path_factory.mktemp("faults")

    def one(name: str) -> set[str] | Exception:
        try:
            return played(name, folder / name)
        except Exception as error:  # of one scenario; the others have their own tests
            return error

    longest_first = sorted(SIDE_BY_SIDE, key=lambda name: -find_scenario(name).duration_s)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(longest_first, pool.map(one, longest_first), strict=True))
    return results | {name: one(name) for name in ALONE if has_room(name)}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [*SIDE_BY_SIDE, *ALONE])
def test_the_cause_of_a_fault_is_found_in_the_case_of_the_path(
    name: str, found: dict[str, set[str] | Exception], tmp_path: Path
) -> None:
    """What is not found is played once more, alone: a machine that has other work is late."""
    if not has_room(name):
        pytest.skip("its runner's memory grows, and this machine has no room for that")
    wanted = [set(plan.hypotheses) for plan in find_scenario(name).faults]
    said = found.get(name, set())
    if isinstance(said, Exception) or not all(each & said for each in wanted):
        said = played(name, tmp_path / "again")
    assert all(each & said for each in wanted), f"{sorted(said)} for {wanted}"


def test_every_fault_is_met_by_the_path() -> None:
    of_the_path = [name for name in scenario_names() if find_scenario(name).asks_questions]
    kinds = {plan.fault.kind for name in [*SIDE_BY_SIDE, *ALONE, *of_the_path] for plan in find_scenario(name).faults}
    assert kinds == set(KINDS)
