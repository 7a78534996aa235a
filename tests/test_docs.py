"""What the README says is what happens: its commands are run, its facts compared."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import INCIDENTS, ROOT
from warmstall.records import VERDICTS

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]
# These are run by the Makefile's own user, or are servers; the rest is run here.
ELSEWHERE = {
    "make demo": "tested below by what it runs",
    "make test": "is what runs this test",
    "make lint": "is run beside it",
    ".venv/bin/warmstall analyze ~/.ollama/logs/server.log": "needs the reader's own log",
    ".venv/bin/jupyter lab notebooks/postmortem.ipynb": "is a server; nbval runs the notebook",
}
RUN_HERE = [command for command in COMMANDS if command not in ELSEWHERE]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A documented command with this environment's programs, run where its results may lie."""
    words = [
        str(Path(sys.executable).parent / word.removeprefix(".venv/bin/")) if word.startswith(".venv/bin/") else word
        for word in shlex.split(command)
    ]
    words = [str(ROOT / word) if (ROOT / word).exists() else word for word in words]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize("command", RUN_HERE)
def test_documented_command_runs(command: str, tmp_path: Path) -> None:
    # Results of a case go into the case, so each command gets a copy of it.
    for name in re.findall(r"data/incidents/([\w-]+)", command):
        copy = tmp_path / "incident"
        subprocess.run(["cp", "-r", str(INCIDENTS / name), str(copy)], check=True)
        command = command.replace(f"data/incidents/{name}", str(copy))
    done = run(command, tmp_path)

    assert done.returncode == 0, done.stderr[-2000:]


def test_the_readme_shows_commands() -> None:
    assert len(RUN_HERE) >= 2
    assert set(ELSEWHERE) <= set(COMMANDS)


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The recipe of `make demo`, and the lines that the README quotes from it."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n\t@\$\(BIN\)/(.+)$", makefile, flags=re.M)
    assert recipe
    done = run(f".venv/bin/{recipe[1]} --no-report", tmp_path)
    shown = re.search(r"^```text\n(.*?)^```", README, flags=re.M | re.S)
    assert shown

    for line in shown[1].strip().splitlines():
        assert line in done.stdout.splitlines()


def test_every_verdict_is_explained() -> None:
    assert all(f"`{verdict}`" in README for verdict in VERDICTS)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *INCIDENTS.rglob("README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
