"""What several tests need: the project's own incidents, and other captures where they lie beside the checkout."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

# Programs that tests start, not modules to look for doctests in.
collect_ignore_glob = ["*_programs/*"]
ROOT = Path(__file__).resolve().parents[1]
INCIDENTS = ROOT / "data" / "incidents"
# The incidents that were recorded for the project; the others are reconstructions.
RECORDED = ("queue-one-slot", "reloads-two-models", "warm-stall-runner-stopped")


# Tests of real servers and processes under real deadlines: a machine that stands still for seconds can fail one.
LIVE = ("drill", "remediate", "rag", "reproduce")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that no worker is left alone with it in the end; live tests may be tried again.

    A test that needed another try is named at the end of the run (-r R); one that fails three times is an error.
    """
    items.sort(key=lambda item: item.path.name != "test_shared_checks.py")
    for item in items:
        if item.path.parent.parent == ROOT / "tests" and item.path.parent.name in LIVE:
            item.add_marker(pytest.mark.flaky(reruns=2))


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
def no_other_server() -> None:
    """A collection looks at all processes of a machine: wait until the servers of tests beside this one have ended."""
    ends = time.monotonic() + 120
    while _servers() and time.monotonic() < ends:
        time.sleep(0.2)  # another test tells nobody when it ends


def _servers() -> list[str]:
    from warmstall.parse.process_roles import role_of

    commands = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [command for command in commands if role_of(command) in ("serve", "runner")]
