"""A runbook's journal as evidence: every event is a row, every line is counted, and no text in it is trusted."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from conftest import INCIDENTS
from remediate import files_runbook
from warmstall.case import open_case
from warmstall.errors import InputError
from warmstall.evidence import discover, kind_of
from warmstall.mitigations import runs_of
from warmstall.parse.mitigation_journal import is_mitigation_journal, parse_mitigation_journal
from warmstall.remediate.journal import Journal

HOSTILE = "\x1b[31m<img src=x onerror=alert(1)>|**x**\ud800"
SERVER_LINE = 'time=2026-01-05T10:15:00.000Z level=INFO source=a.go:1 msg="starting runner"'


def entry(event: str, at: str = "2026-03-14T12:00:00Z", **facts: object) -> str:
    return json.dumps({"journal": 1, "at": at, "run": "a1", "event": event, **facts})


def real_journal(folder: Path, accepted: bool = True) -> Path:
    """The journal that a real run of a runbook leaves."""
    runner = files_runbook.runner(folder, accepted, port=20077, measure=files_runbook.measured([0.5, 1.0]))
    runner.run(False, runner.plan().id)
    return folder / "journal.jsonl"


def test_a_real_run_is_read_whole(tmp_path: Path) -> None:
    path = real_journal(tmp_path)
    text = path.read_text(encoding="utf-8")
    rows = parse_mitigation_journal(text).tables["mitigations"]
    assert [row["line"] for row in rows] == list(range(1, text.count("\n") + 1))
    assert {(row["runbook"], row["operator"]) for row in rows} == {(files_runbook.NAME, "ann")}
    assert {row["target"].rpartition(":")[2] for row in rows} == {"20077"}
    (run,) = runs_of(open_case(path))
    assert (run.outcome, run.before, run.after) == ("done", {"success_rate": 0.5}, {"success_rate": 1.0})
    assert [(done.step, done.came_to) for done in run.steps] == [
        ("first.conf", "verified"),
        ("second.conf", "verified"),
    ]
    assert run.mitigated_at == run.steps[-1].verified_at


def test_a_run_that_was_taken_back_is_told_so(tmp_path: Path) -> None:
    (run,) = runs_of(open_case(real_journal(tmp_path, accepted=False)))
    assert run.outcome == "rolled back"
    assert {done.came_to for done in run.steps} == {"taken back"}
    assert run.mitigated_at is None


def test_every_event_gives_its_sentence_and_its_time() -> None:
    lines = [
        entry("run_started", runbook="free-vram", target="box:11434", operator="ann", mode="act", summary="A summary."),
        entry("measured", when="before", measures={"success_rate": 0.5, "unknown": None, "flag": True}),
        entry("step_started", step="unload", does="Unload it.", restarts=True, at="2026-03-14T13:00:01.250+01:00"),
        entry("undo_failed", step="unload", reason="It did not work."),
        entry("run_finished", outcome="failed", sentence="Undo it by hand.", before={}, after={}),
    ]
    rows = parse_mitigation_journal("\n".join(lines)).tables["mitigations"]
    assert [row["sentence"] for row in rows] == ["A summary.", "", "Unload it.", "It did not work.", "Undo it by hand."]
    assert (rows[1]["outcome"], json.loads(rows[1]["measures"])) == ("before", {"success_rate": 0.5})
    assert rows[2]["at"] == datetime(2026, 3, 14, 12, 0, 1, 250000)
    assert rows[2]["restarts"]
    assert rows[4]["outcome"] == "failed"


def test_torn_and_foreign_lines_are_counted_and_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "anything.jsonl"
    whole = [entry("run_started", runbook="free-vram", target="box:11434"), entry("step_started", step="unload")]
    path.write_text("\n".join([*whole, "[1]", '{"journal": 1, "at": 7}', entry("run_finished")[:40]]), encoding="utf-8")
    case = open_case(path)
    (account,) = case.accounts
    assert (account["kind"], account["lines"], account["recognized"]) == ("mitigation-journal", 5, 2)
    assert account["recognized"] + account["unrecognized"] + account["undecodable"] == account["lines"]
    (run,) = runs_of(case)
    assert (run.outcome, run.steps[0].came_to) == ("cut short", "cut short")


def test_a_journal_is_known_by_its_content_alone() -> None:
    quoting = entry("step_applied", step="x", result=SERVER_LINE)
    assert kind_of(f"{quoting}\n".encode()) == "mitigation-journal"
    assert kind_of(f"{SERVER_LINE}\n{quoting}\n{SERVER_LINE}\n".encode()) == "server-log"
    assert not is_mitigation_journal([json.dumps({"journal": "daily", "event": "x"}), ""])
    assert not is_mitigation_journal(["{" * 100_000, '"journal"' * 10])


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    facts = {"runbook": HOSTILE, "target": HOSTILE, "operator": HOSTILE, "step": HOSTILE, "measures": {HOSTILE: 1e999}}
    path.write_text(entry("run_started", **facts) + "\n" + entry("step_started", step=["a"], restarts="yes") + "\n")
    (run,) = runs_of(open_case(path))
    assert run.operator.startswith("\x1b[31m<img")  # as it is; whoever shows it escapes it


def test_a_case_has_the_journal_of_its_results_and_nothing_else_of_them(tmp_path: Path) -> None:
    case = tmp_path / "case"
    shutil.copytree(INCIDENTS / "warm-stall-runner-stopped", case)
    before = discover([case])
    out = case / "out"
    out.mkdir()
    (out / "journal.jsonl").write_text(entry("run_started", runbook="free-vram") + "\n", encoding="utf-8")
    (out / "server.log").write_text(SERVER_LINE + "\n", encoding="utf-8")
    added = [item for item in discover([case]) if item.name not in {one.name for one in before}]
    assert [(item.name, item.kind) for item in added] == [("out/journal.jsonl", "mitigation-journal")]
    assert added[0].host in {item.host for item in before}
    (out / "journal.jsonl").write_text("[1]\n", encoding="utf-8")
    assert discover([case]) == before


def test_a_journal_beside_a_log_has_the_host_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "evidence" / "box").mkdir(parents=True)
    (tmp_path / "evidence" / "box" / "server.log").write_text(SERVER_LINE + "\n", encoding="utf-8")
    Journal(tmp_path / "elsewhere.jsonl").write("run_started", "a1", runbook="free-vram", target="box:11434")
    hosts = {item.host for item in discover([tmp_path, tmp_path / "elsewhere.jsonl"])}
    assert hosts == {"box"}


def test_an_empty_journal_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.jsonl").write_text("")
    (tmp_path / "server.log").write_text(SERVER_LINE + "\n")
    assert [item.kind for item in discover([tmp_path])] == ["server-log"]
    with pytest.raises(InputError, match="empty"):
        discover([tmp_path / "out" / "journal.jsonl"])
