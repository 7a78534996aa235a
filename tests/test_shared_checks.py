"""The judges of verdicts and causes, run in this process: real logs of many versions, faults whose truth is known.

Each capture is analyzed once: what the checks make of it is also held against what its labels promise.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import captures
import pytest
import typer

from warmstall.cli import app
from warmstall.errors import WarmstallError

Summaries = dict[Path, dict[str, Any]]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def summaries() -> Summaries:
    """What was said of each capture, by its path; of a scenario's folder when all of its files were read."""
    return {}


class _InProcess:
    """What `subprocess.run` does for the checks, without starting Python two hundred times; keeps the summaries."""

    def __init__(self, summaries: Summaries) -> None:
        self.summaries = summaries
        self._last = Path()
        # `app()` would look through all commands anew for each capture.
        self._main = typer.main.get_command(app)

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        try:
            self._main(command[1:], standalone_mode=False)
        except WarmstallError as error:
            return subprocess.CompletedProcess(command, 2, "", str(error))
        given, out = Path(command[2]), Path(command[command.index("--out") + 1])
        # A scenario comes twice: its log alone, then a copy of its folder.
        path = self._last.parent if given.is_dir() else given
        self._last = given
        self.summaries[path] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.mark.parametrize("name", ["check_corpus", "check_truth"])
@pytest.mark.timeout(1800)
def test_check_passes(
    name: str, shared: Path, summaries: Summaries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Facts of real logs and verdicts under injected faults are right to the thresholds that the check sets."""
    check = _load(shared / "checks" / f"{name}.py")
    # The module's own name for subprocess is replaced, not the library for everybody.
    monkeypatch.setattr(check, "subprocess", _InProcess(summaries))
    monkeypatch.setattr(sys, "argv", [name, "--jobs", "1"])

    code = check.main()

    assert code == 0, capsys.readouterr().out[-4000:]


@pytest.fixture(scope="module")
def judged(shared: Path, summaries: Summaries) -> dict[captures.Capture, captures.States]:
    """What was found on each capture, by hypothesis: by the checks above, else now."""
    found = {path.resolve(): captures.states_in(summary) for path, summary in summaries.items()}
    return {one: found.get(one.path.resolve()) or captures.states(one.path) for one in captures.captures(shared)}


@pytest.mark.timeout(900)
def test_no_promise_is_broken(judged: dict[captures.Capture, captures.States]) -> None:
    """Nothing is found on healthy captures, and never the labelled cause ruled out."""
    told = [sentence for capture, found in judged.items() for sentence in captures.broken_promises(capture, found)]
    assert not told, "\n".join(told)


def test_labels_that_name_a_cause_are_mostly_found(judged: dict[captures.Capture, captures.States]) -> None:
    labelled = [(capture, label) for capture in judged for label in capture.labels if label in captures.CAUSES]
    found = [
        any(judged[capture][name][0] in ("confirmed", "supported") for name in captures.CAUSES[label])
        for capture, label in labelled
    ]
    assert sum(found) > len(found) / 2


def test_a_broken_promise_is_told() -> None:
    capture = captures.Capture("x.log", Path("x.log"), ("healthy", "runner_crash"))
    found = {"oom_kill": ("supported", "critical", []), "runner_crash": ("ruled_out", "critical", [])}
    told = captures.broken_promises(capture, found)
    assert len(told) == 2, told
    assert "oom_kill is supported" in told[0]
    assert "labelled runner_crash" in told[1]
