"""From end to end: what is private on the host is nowhere in the case, and the diagnosis is the same."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest

from conftest import INCIDENTS
from live import live_server
from secrets_planted import plant
from warmstall.analysis import Analysis
from warmstall.answer import summarize, write_answer
from warmstall.case import open_case
from warmstall.collect import case_folder
from warmstall.collect.collection import Wanted
from warmstall.collect.run import collect
from warmstall.errors import OutputError
from warmstall.host import LocalHost


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_two_hundred_secrets_of_twelve_kinds_reach_neither_the_case_nor_any_output(tmp_path, monkeypatch, capsys):
    planted = plant(seed=3, of_each=17)
    assert len(planted.secrets) >= 200
    assert len(set(planted.secrets.values())) >= 12
    monkeypatch.setattr(case_folder, "_told_by", lambda host: planted.known)
    source = tmp_path / "captures"
    source.mkdir()
    logs = []
    for name, text in planted.files.items():
        (source / name).write_text(text)
        logs.append(str(source / name))
    for name in planted.names:
        path = source / name.replace("/", "_")
        path.write_text("INFO:     Application startup complete.\n")
        logs.append(str(path))
    found = collect(LocalHost(), tmp_path / "case", Wanted(port=9, logs=tuple(logs)))
    print(found)
    analysis = Analysis(open_case(found.case))
    summary = write_answer(analysis, tmp_path / "case" / "out")
    print(json.dumps(summary), analysis.requests().to_string())
    assert len([file for file in found.files if (found.case / "evidence" / found.host / file).exists()]) >= len(
        planted.files
    )
    said = capsys.readouterr().out
    texts = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / "case").rglob("*") if path.is_file()
    }
    texts["printed"] = said.encode()
    for value, kind in planted.secrets.items():
        for name, data in texts.items():
            assert value.encode() not in data, f"a {kind} is in {name}"
            assert value not in name, f"a {kind} is in a file's name"


@pytest.mark.parametrize("name", ["warm-stall-runner-stopped", "queue-one-slot"])
def test_the_diagnosis_is_the_same_after_redaction(tmp_path, name):
    evidence = INCIDENTS / name / "evidence" / "server"
    logs = tuple(str(path) for path in evidence.iterdir())
    found = collect(LocalHost(), tmp_path / "case", Wanted(port=9, logs=logs))
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in evidence.iterdir():
        (plain / path.name).write_bytes(path.read_bytes())
    case = tmp_path / "only-these"
    case.mkdir()
    for path in evidence.iterdir():
        (case / path.name).write_bytes((found.case / "evidence" / found.host / path.name).read_bytes())
    before, after = summarize(Analysis(open_case(plain))), summarize(Analysis(open_case(case)))
    assert _without_tokens(after) == _without_tokens(before)


def _without_tokens(summary: dict[str, object]) -> str:
    return re.sub(r"[a-z]+-[0-9a-f]{8}", "TOKEN", json.dumps(summary, sort_keys=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the environment of a live process")
def test_secrets_of_the_live_process_stay_where_they_are(tmp_path):
    secret = "s3cret-Passw0rd-of-the-proxy"
    environment = {
        "HTTPS_PROXY": f"http://proxyuser:{secret}@proxy.example.com:3128", "SOME_API_KEY": "key-0123456789abcdefghij",
        "OLLAMA_KEEP_ALIVE": "10m",
    }  # fmt: skip
    with live_server(tmp_path / "live", environment=environment):
        found = collect(LocalHost(), tmp_path / "case", Wanted())
    whole = b"".join(path.read_bytes() for path in (tmp_path / "case").rglob("*") if path.is_file())
    assert secret.encode() not in whole
    assert b"proxyuser" not in whole
    assert b"key-0123456789abcdefghij" not in whole
    case = open_case(found.case)
    values = case.sql("SELECT name, value FROM settings WHERE origin = 'process environment'").set_index("name").value
    assert set(values["OLLAMA_KEEP_ALIVE"]) == {"10m"}  # of the server and of its runner
    assert len(set(values["HTTPS_PROXY"])) == 1  # the same token in both: what belongs together still does


def test_a_leak_fails_closed(tmp_path, monkeypatch):
    """A rule that finds and a replacement that does not work must not leave the secret in the case."""
    from warmstall.redact import Redactor

    monkeypatch.setattr(Redactor, "redact", lambda self, text: text)
    log = tmp_path / "secret.log"
    log.write_text(
        'time=2026-11-21T09:00:00.000Z level=INFO source=x.go:1 msg=x authorization="Bearer abcdef0123456789abcdef"\n'
    )
    with contextlib.suppress(OutputError):  # what is in the record itself cannot be removed: then it says so
        found = collect(LocalHost(), tmp_path / "case", Wanted(port=9, logs=(str(log),)))
        assert "secret.log" not in found.files
        assert any("the file was removed" in step.reason for step in found.steps)
    for path in Path(tmp_path / "case").rglob("*"):
        assert path.is_dir() or b"abcdef0123456789abcdef" not in path.read_bytes()
