"""docs/runbooks.md is the catalogue as it is; what docs/runbook.md shows is what happens, on a real drill."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import ROOT
from warmstall.drill.server_process import free_port
from warmstall.hypotheses.catalogue import catalogue
from warmstall.remediate.catalogue import NAMES
from warmstall.remediate.pages import page, runbooks_markdown

PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()]
SHOWN = re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.M | re.S)


def test_the_catalogue_is_that_of_the_program() -> None:
    assert (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8") == runbooks_markdown(), "make docs"


def test_every_cause_leads_to_a_runbook_that_there_is() -> None:
    named = {cause.runbook for cause in catalogue().values() if cause.runbook}
    assert named <= set(NAMES)
    assert {path.stem for path in (ROOT / "runbooks").glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_tells_what_it_may_do_and_when_it_is_for(name: str) -> None:
    found = page(name)
    assert found.title
    assert found.about
    assert found.plan.rows
    assert all(one.meaning for one in found.parameters)
    for told in ("**Use it when**", "**Do not use it when**", "**Who may**", "**Needs**", "**Cannot**"):
        assert told in found.use
    assert "warmstall explain" in found.afterwards or not found.causes


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of the server that the page starts, elsewhere than where it says."""
    found = free_port()
    command = next(line for line in COMMANDS if "drill serve" in line)
    with subprocess.Popen(here(command, found), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr
        assert any("Listening on" in line for line in served.stderr)
        try:
            yield found
        finally:
            served.send_signal(signal.SIGINT)
            served.stderr.close()
            served.wait(20)


def here(command: str, port: int) -> list[str]:
    """A documented command with this environment's program and another port."""
    words = shlex.split(command.replace("11435", str(port)))
    return [str(Path(sys.executable).with_name("warmstall")), *words[1:]]


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(text: str) -> str:
    """Text without what differs from run to run: line breaks, machines, processes, ids, amounts."""
    text = re.sub(r"\S*warmstall runbook run", "warmstall runbook run", text)
    text = re.sub(r"on [\w.-]+:\d+:", "on MACHINE:", re.sub(r"\b[0-9a-f]{12}\b", "ID", text))
    return re.sub(r"[\d.]+", "0", " ".join(text.split()))


def test_the_readme_shows_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```sh\n(\S+ runbook run .*)\n```\n\n```text\n(.*?)^```", readme, flags=re.M | re.S)
    assert found
    assert told(found[2]) in told(run(here(found[1], 0), tmp_path))


def test_the_walk_through(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    curl, look, done, nothing = SHOWN
    _, _, url, _, body = shlex.split(curl)
    assert httpx.post(url.replace("11435", str(port)), json=json.loads(body), timeout=60).json()["done"]
    looking, undoing = (line for line in COMMANDS if "runbook run" in line)

    looked = run(here(looking, port), tmp_path)
    assert told(look) in told(looked)
    approved = next(line for line in looked.splitlines() if "--approved-plan" in line)
    assert told(done) in told(run(shlex.split(approved), tmp_path))
    assert told(nothing) in told(run(here(looking, port), tmp_path))
    taken_back = next(line for line in run(here(undoing, port), tmp_path).splitlines() if "--approved-plan" in line)
    assert "was loaded again" in run(shlex.split(taken_back), tmp_path)
    models = httpx.get(f"http://127.0.0.1:{port}/api/ps", timeout=60).json()["models"]
    assert [model["name"] for model in models] == ["mid:latest"]
