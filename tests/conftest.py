"""What several tests need: the project's own incidents, and other captures where they lie beside the checkout."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Programs that tests start, not modules to look for doctests in.
collect_ignore_glob = ["*_programs/*"]
ROOT = Path(__file__).resolve().parents[1]
INCIDENTS = ROOT / "data" / "incidents"
# The incidents that were recorded for the project; the others are reconstructions.
RECORDED = ("queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped")
# How long it takes to make up an example says how busy the machine is, and nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# Tests of real servers and processes under real deadlines: a machine that stands still for seconds can fail one.
LIVE = ("drill", "remediate", "rag", "reproduce")
# The files that take minutes, the longest first. The drills among them mostly wait, beside those that compute.
LONGEST = (
    "reproduce/test_drill_faults.py", "test_shared_checks.py", "drill/test_accuracy.py", "health/test_month.py",
    "hypotheses/test_examples.py", "test_docs.py", "remediate/test_recover_stuck_runner.py",
    "remediate/test_relieve_memory_pressure.py", "drill/test_fidelity.py", "remediate/test_persist_vector_store.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one in the end; live tests may be tried again.

    A test that needed another try is named at the end of the run (-r R); one that fails three times is an error.
    """
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        if item.path.parent.parent == ROOT / "tests" and item.path.parent.name in LIVE:
            item.add_marker(pytest.mark.flaky(reruns=2))


def pytest_collection_finish() -> None:
    """What has been imported stays to the end: no collection of garbage need look through it again."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of captures beside the checkout; tests that read it are skipped in a user's clone."""
    folder = ROOT.parent / "shared"
    if not (folder / "corpus" / "index.jsonl").exists():
        pytest.skip("the captures are not beside this checkout (../shared)")
    return folder


@pytest.fixture(scope="session")
def stall():
    """The analysis of the sample incident with two warm stalls."""
    from warmstall.analysis import analyze

    return analyze(INCIDENTS / "warm-stall-runner-stopped")


@pytest.fixture
def no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection looks at all processes of a machine: the servers of tests beside this one are left out."""
    from warmstall.collect.commands import COMMANDS
    from warmstall.host import Command, Host, Output

    run = Host.run

    def without_others(host: Host, command: Command, *limits: Any, **values: Any) -> Output:
        output = run(host, command, *limits, **values)
        if command != COMMANDS["processes"]:
            return output
        own = {str(child.pid) for child in psutil.Process().children(recursive=True)}
        lines = [line for line in output.text.splitlines(keepends=True) if not _is_server(line, own)]
        return replace(output, data="".join(lines).encode())

    monkeypatch.setattr(Host, "run", without_others)


def _is_server(line: str, own: set[str]) -> bool:
    """Whether a line of the table of processes is that of a server or a runner which is none of one's own."""
    from warmstall.parse.process_roles import role_of

    pid, *_, command = line.split(maxsplit=10)
    return pid not in own and role_of(command) in ("serve", "runner")
