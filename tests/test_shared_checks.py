"""The judges of the verdicts, run in this process: real logs of many versions, and faults whose truth is known."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from warmstall.cli import app
from warmstall.errors import WarmstallError


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _in_process(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` does for the checks, without starting Python two hundred times."""
    try:
        app(command[1:], standalone_mode=False)
    except WarmstallError as error:
        return subprocess.CompletedProcess(command, 2, "", str(error))
    return subprocess.CompletedProcess(command, 0, "", "")


@pytest.mark.parametrize("name", ["check_corpus", "check_truth"])
@pytest.mark.timeout(900)
def test_check_passes(
    name: str, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Facts of real logs and verdicts under injected faults are right to the thresholds that the check sets."""
    check = _load(shared / "checks" / f"{name}.py")
    # The module's own name for subprocess is replaced, not the library for everybody.
    monkeypatch.setattr(check, "subprocess", type("InProcess", (), {"run": staticmethod(_in_process)}))
    monkeypatch.setattr(sys, "argv", [name, "--jobs", "1"])

    code = check.main()

    assert code == 0, capsys.readouterr().out[-4000:]
