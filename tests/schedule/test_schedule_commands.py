"""`warmstall schedule`, from the command line."""

from __future__ import annotations

import json
import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from schedule.wishes import NASTY
from warmstall.schedule.catalogue import KINDS

POD = ("--image", "registry.example/w:1", "--logs-claim", "logs")
# What a kind has to be told.
TOLD = {"kubernetes": POD, "jupyter-scheduler": ("--paths", "server.log")}


def warmstall(*words: str | Path, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "warmstall.cli", "schedule", *map(str, words)], cwd=folder, text=True,
                          capture_output=True, timeout=120, env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
                          check=False)  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_printed_for_this_folder(kind: str, tmp_path: Path) -> None:
    told = warmstall("print", kind, *TOLD.get(kind, ()), folder=tmp_path).stdout

    assert ("/warmstall/health" if kind == "kubernetes" else str(tmp_path / "warmstall-health")) in told


def test_what_is_one_file_is_printed_to_be_piped(tmp_path: Path) -> None:
    manifest = warmstall("print", "kubernetes", *POD, folder=tmp_path).stdout
    body = warmstall("print", "jupyter-scheduler", *TOLD["jupyter-scheduler"], folder=tmp_path).stdout
    property_list = warmstall("print", "launchd", "--only", "report", folder=tmp_path).stdout

    assert len(list(yaml.safe_load_all(manifest))) == 3
    assert json.loads(body)["name"]
    assert plistlib.loads(property_list.encode())["Label"] == "net.warmstall.report"


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_written_and_the_next_commands_told(kind: str, tmp_path: Path) -> None:
    told = warmstall("print", kind, *TOLD.get(kind, ()), "--into", "units", folder=tmp_path).stdout
    written, _, following = told.partition("Next:")

    assert sorted(written.split()) == sorted(str(path) for path in (tmp_path / "units").iterdir())
    assert len(following.splitlines()) > 1


def test_the_program_that_is_printed_is_this_one(tmp_path: Path) -> None:
    (line,) = [line for line in warmstall("print", "systemd", "--only", "report", folder=tmp_path).stdout.splitlines()
               if line.startswith("ExecStart=")]  # fmt: skip

    assert Path(line.removeprefix("ExecStart=").split()[0]).exists()


def test_a_nasty_folder_is_printed(tmp_path: Path) -> None:
    told = warmstall("print", "launchd", "--only", "freshness", "--out", NASTY, folder=tmp_path).stdout

    assert NASTY in plistlib.loads(told.encode())["ProgramArguments"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sytemd",), "did you mean systemd?"),
        (("cron", "--every", "7m", "--longest", "1m"), "6m or 10m"),
        (("cron", "--every", "often"), "expected a duration"),
        (("cron", "--memory", "much"), "expected a size"),
        (("cron", "--alerts", "alerts.toml"), "no such file"),
        (("cron", "--only", "watch"), "there are report, freshness"),
        (("systemd", "--user", "root"), "name another user"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    told = warmstall("print", *words, folder=tmp_path, code=2).stderr

    assert said in told
    assert "Traceback" not in told


def test_an_answer_is_quiet_and_anything_else_is_printed(tmp_path: Path) -> None:
    answer = warmstall("run", "--quiet", "--outcomes", "0,2", "--", "analyze", "/no/such/file", folder=tmp_path)
    failure = warmstall("run", "--quiet", "--", "analyze", "/no/such/file", folder=tmp_path, code=2)

    assert (answer.stdout, answer.stderr) == ("", "")
    assert "/no/such/file" in failure.stdout
    assert "ended with exit code 2" in failure.stderr


def test_what_takes_too_long_is_stopped_and_told(tmp_path: Path) -> None:
    words = ("run", "--quiet", "--outcomes", "0,1,2,3", "--longest", "1s", "--", "watch", "case", "--for", "5m")
    told = warmstall(*words, folder=tmp_path, code=3).stderr

    assert "was stopped: it took longer than 1s" in told


def test_after_a_sleep_the_first_look_is_left_out(tmp_path: Path) -> None:
    words = ("run", "--settle", "90m", "--", "analyze", "/no/such/file")

    assert "looked at next time" in warmstall(*words, folder=tmp_path).stdout
    warmstall(*words, folder=tmp_path, code=2)
