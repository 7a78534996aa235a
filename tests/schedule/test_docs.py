"""docs/schedule.md, followed line by line by somebody who has a home of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

PAGE = (ROOT / "docs" / "schedule.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()]
# Exit codes that are answers: a machine without Ollama is not healthy.
ANSWERS = {"report": (0, 1, 2, 3), "check": (0,)}


@pytest.mark.timeout(900)
def test_the_page_can_be_followed(tmp_path: Path) -> None:
    """Every command of the page but `make venv`, in its order, by a shell, in an empty home."""
    clone, home = tmp_path / "clone", tmp_path / "my home"
    (clone / ".venv").mkdir(parents=True)
    home.mkdir()
    (clone / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (clone / "data").symlink_to(ROOT / "data")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    for command in COMMANDS:
        if command == "make venv":
            continue
        done = subprocess.run(["/bin/sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True,
                              timeout=600, check=False)  # fmt: skip
        kind = "check" if "--check-freshness" in command else "report" if " report " in command else ""
        assert done.returncode in ANSWERS.get(kind, (0,)), f"{command}\n{done.stdout}{done.stderr}"
    verdict = home / "warmstall-health" / "verdict.json"
    assert verdict.is_file()
    assert (home / "warmstall-health" / "latest.html").is_file()
    units = home / ".config" / "systemd" / "user"
    report = (units / "warmstall-report.service").read_text(encoding="utf-8")
    assert f'"{home}/warmstall-health"' in report
    assert f"EnvironmentFile=-{home}/.config/warmstall/alerts.env" in report


def test_what_is_printed_as_next_is_what_the_page_shows(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "warmstall.cli", "schedule", "print", "systemd", "--into", str(tmp_path)]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    following = [line.strip() for line in told.partition("Next:")[2].splitlines() if line.strip()]

    assert following
    assert all(line in PAGE.splitlines() for line in following)
