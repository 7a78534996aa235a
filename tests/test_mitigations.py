"""What runbooks did, in the postmortem: the whole story, what it explains, and no blame by mistake."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from nbconvert.filters.markdown import markdown2html

from hypotheses.example import NOON, ServerLog
from hypotheses.examples.restart_or_upgrade import run as run_of_server
from hypotheses.examples.runner_crash import GONE, warm
from hypotheses.examples.stopping_deadlock import STUCK
from warmstall import figures
from warmstall.analysis import Analysis, analyze
from warmstall.answer import answer, summarize, write_answer
from warmstall.hypotheses import judge
from warmstall.mitigations import acts_of, runs_of
from warmstall.observed import lanes, mitigations
from warmstall.postmortem import draft
from warmstall.remediate.journal import Journal

HOSTILE = "<img src=x onerror=alert(1)>|[x](javascript:alert(2))**m**\x1b[31m"


class Told:
    """A journal, written as the runner of runbooks writes it, with the times that a story needs (s after noon)."""

    def __init__(self, path: Path, run: str = "a1") -> None:
        self.run, self.at_s = run, 0.0
        self.journal = Journal(path, lambda: NOON + timedelta(seconds=self.at_s))

    def at(self, at_s: float, event: str, **facts: object) -> Told:
        self.at_s = at_s
        self.journal.write(event, self.run, **facts)  # type: ignore[arg-type]
        return self

    def begins(self, at_s: float, runbook: str = "recover-stuck-runner", operator: str = "ann") -> Told:
        return self.at(at_s, "run_started", runbook=runbook, target="box:11434", operator=operator, mode="act",
                       summary="The runner hangs.")  # fmt: skip

    def acts(self, from_s: float, to_s: float, step: str = "end the runner", ends: str = "step_verified") -> Told:
        self.at(from_s, "step_started", step=step, does="SIGTERM to process 77", restarts=True)
        return self.at(to_s, ends, step=step, result="The runner is gone.")

    def ends(self, at_s: float, outcome: str = "done") -> Told:
        return self.at(at_s, "run_finished", outcome=outcome, sentence="Everything is as wanted.")


def case(folder: Path, files: dict[str, str]) -> Path:
    evidence = folder / "evidence" / "box"
    evidence.mkdir(parents=True)
    for name, text in files.items():
        (evidence / name).write_text(text, encoding="utf-8")
    return folder


def recovered(folder: Path) -> Path:
    """A stuck runner, ended by a runbook ten minutes later; then all is well."""
    log = ServerLog().load(640, 2.0)
    for number in range(12):
        log.request(650 + 10 * number, 3.0)
    case(folder, STUCK | {"server.log": STUCK["server.log"] + log.text()})
    journal = Told(folder / "out" / "journal.jsonl").begins(600).at(601, "measured", when="before", measures={"ok": 0})
    journal.acts(610, 620).acts(625, 640, "canary").at(641, "measured", when="after", measures={"ok": 1}).ends(642)
    return folder


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyze(recovered(tmp_path_factory.mktemp("case")))


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| 20")]


def test_the_timeline_tells_trouble_and_mitigation_in_one_order(story: Analysis) -> None:
    text = draft(story)
    told = rows(text)
    assert told == sorted(told, key=lambda row: row[:22])
    begun = next(place for place, row in enumerate(told) if "begun, by ann" in row)
    assert any("deadlock" in row.lower() or "Stopping" in row for row in told[:begun])
    later = "\n".join(told[begun:])
    for words in ("12:10:10", "SIGTERM to process 77", "canary verified", "ended, done", "out/journal.jsonl:3"):
        assert words in later, words


def test_the_mitigation_is_told_with_who_when_whether_and_how_long(story: Analysis) -> None:
    section = draft(story).partition("## Mitigations")[2].partition("## Follow-ups")[0]
    assert "recover-stuck-runner on box:11434, by ann, at 2026-03-14 12:10:00 UTC: done." in section
    assert "canary: SIGTERM to process 77: verified at 12:10:40 UTC." in section
    assert "measured, ok: 0 before, 1 after." in section
    assert "The first step acted at 2026-03-14 12:10:10 UTC, " in section
    assert "after the trouble is seen to begin" in section
    assert "Mitigated at 2026-03-14 12:10:40 UTC" in section
    assert "Of the requests that began after that 0 of 12 failed, of those before it 2 of 12." in section


def test_summary_and_answer_tell_it(story: Analysis) -> None:
    (run,) = summarize(story)["mitigations"]
    assert run["mitigated_at"] == "2026-03-14T12:10:40.000Z"
    assert [step["came_to"] for step in run["steps"]] == ["verified", "verified"]
    assert (run["before"], run["after"]) == ({"ok": 0.0}, {"ok": 1.0})
    assert "Done about it: recover-stuck-runner on box:11434, by ann" in answer(story)
    assert len(answer(story).splitlines()) <= 25


def test_the_figure_marks_the_acts(story: Analysis) -> None:
    lane = next(lane for lane in lanes.lanes(story.case) if lane.title == lanes.ACTS)
    assert [f"{at:%H:%M:%S}" for at in lane.marks["at"]] == ["12:10:10", "12:10:25"]
    assert set(lane.marks["label"]) == {"recover-stuck-runner"}


def test_acts_after_the_last_request_are_in_the_picture(tmp_path: Path) -> None:
    case(tmp_path, STUCK)
    Told(tmp_path / "out" / "journal.jsonl").begins(1800).acts(1810, 1820).ends(1821)
    Told(tmp_path / "out" / "journal.jsonl", "b2").begins(90_000).acts(90_010, 90_020).ends(90_021)
    found = analyze(tmp_path)
    drawn = figures.timeline(found.requests(), found.residencies(), found.windows(), lanes.lanes(found.case))
    ends = drawn.layout.xaxis.range[1]
    assert ends > "2026-03-14T12:30:10"
    assert ends < "2026-03-14T14:00"


def test_where_no_journal_is_that_is_said(tmp_path: Path) -> None:
    found = analyze(case(tmp_path, STUCK))
    assert mitigations.NOTHING in draft(found)
    assert mitigations.told(found.case) == mitigations.NOTHING
    assert "Done about it" not in answer(found)
    assert mitigations.runs_and_steps(found.case).empty
    assert mitigations.measures(found.case).empty


@pytest.mark.parametrize(
    ("ends", "outcome", "came_to"),
    [("step_failed", "rolled back", "taken back"), ("step_verified", "done", "taken back")],
)
def test_what_was_taken_back_does_not_stand(tmp_path: Path, ends: str, outcome: str, came_to: str) -> None:
    case(tmp_path, STUCK)
    told = Told(tmp_path / "out" / "journal.jsonl").begins(600).acts(610, 620, ends=ends)
    told.ends(625, outcome) if outcome == "done" else None
    told.at(630, "undo_started", step="end the runner", why="It did not help.")
    told.at(640, "undo_done", step="end the runner", result="As before.").ends(641, outcome)
    found = analyze(tmp_path)
    (run,) = runs_of(found.case)
    assert run.steps[0].came_to == came_to
    assert run.mitigated_at is None
    assert "None of it stands" in draft(found)
    assert [(act.undoes, act.from_at.minute) for act in acts_of(found.case)] == [(False, 10), (True, 10)]


def test_a_run_that_was_killed_is_told_as_cut_short(tmp_path: Path) -> None:
    case(tmp_path, STUCK)
    Told(tmp_path / "out" / "journal.jsonl").begins(600).at(610, "step_started", step="end the runner")
    with (tmp_path / "out" / "journal.jsonl").open("a") as file:
        file.write('{"journal": 1, "at": "2026-03-14T12:1')
    found = analyze(tmp_path)
    (run,) = runs_of(found.case)
    assert (run.outcome, run.mitigated_at) == ("cut short", None)
    inputs = found.inputs()
    journal = inputs[inputs["kind"] == "mitigation-journal"].iloc[0]
    assert (journal["lines"], journal["recognized"], journal["unrecognized"]) == (3, 2, 1)
    assert "cut short" in draft(found)


def test_a_journal_and_its_copy_tell_one_story(tmp_path: Path) -> None:
    recovered(tmp_path / "case")
    whole = (tmp_path / "case" / "out" / "journal.jsonl").read_text()
    other = tmp_path / "journal.jsonl"
    other.write_text(whole)
    Told(other, "b2").begins(2000).ends(2001)
    found = tmp_path / "both"
    found.mkdir()
    for name, text in (("one.jsonl", whole), ("two.jsonl", other.read_text())):
        (found / name).write_text(text)
    assert [len(run.steps) for run in runs_of(analyze(found).case)] == [2, 0]


def test_a_runner_that_a_runbook_ended_is_no_crash(tmp_path: Path) -> None:
    log = warm().says(25, "WARN", GONE, sys=15, string="signal: terminated").request(20, 5.0, 500)
    log.load(30, 2.0).request(28, 6.0)
    files = {"server.log": log.text()}

    def crash(folder: Path) -> tuple[object, Analysis]:
        found = analyze(folder)
        return next(one for one in judge(found) if one.id == "runner_crash"), found

    blamed, _ = crash(case(tmp_path / "alone", files))
    assert blamed.state == "supported"
    case(tmp_path / "explained", files)
    Told(tmp_path / "explained" / "out" / "journal.jsonl").begins(20).acts(24.5, 25.5).ends(26)
    explained, found = crash(tmp_path / "explained")
    assert explained.state == "ruled_out"
    assert any("on purpose, by the runbook recover-stuck-runner" in item.sentence for item in explained.evidence)
    reasons = found.requests().set_index("line")["reason"]
    assert reasons.str.contains("cut off by the runbook recover-stuck-runner").sum() == 1
    assert reasons.str.contains("first load after the runbook").sum() == 1
    # The same end at another moment is nobody's doing.
    case(tmp_path / "later", files)
    Told(tmp_path / "later" / "out" / "journal.jsonl").begins(300).acts(310, 311).ends(312)
    assert crash(tmp_path / "later")[0].state == "supported"


def test_a_restart_by_a_runbook_is_named_and_not_blamed(tmp_path: Path) -> None:
    log = run_of_server(ServerLog(), 0, 0).request(3590, 8.0, 499)
    files = {"server.log": run_of_server(log, 3600, 0).text()}

    def restart(folder: Path) -> object:
        return next(one for one in judge(analyze(folder)) if one.id == "restart_or_upgrade")

    blamed = restart(case(tmp_path / "alone", files))
    assert blamed.state == "supported"
    assert any("cut off 1 request" in item.sentence for item in blamed.evidence)
    case(tmp_path / "explained", files)
    told = Told(tmp_path / "explained" / "out" / "journal.jsonl").begins(3590, "flash-attention-off")
    told.acts(3596, 3604, "restart the service").ends(3610)
    explained = restart(tmp_path / "explained")
    assert not explained.found
    assert any("was made by the runbook flash-attention-off" in item.sentence for item in explained.evidence)


def test_more_trouble_after_a_runbooks_restart_is_still_told(tmp_path: Path) -> None:
    files = {"server.log": run_of_server(run_of_server(ServerLog(), 0, 0), 3600, 10).text()}
    case(tmp_path, files)
    Told(tmp_path / "out" / "journal.jsonl").begins(3590, "flash-attention-off").acts(3596, 3604).ends(3610)
    found = next(one for one in judge(analyze(tmp_path)) if one.id == "restart_or_upgrade")
    assert found.state == "supported"
    assert "was made by the runbook flash-attention-off" in found.supporting[0].sentence


def test_hostile_text_of_a_journal_becomes_no_markup(tmp_path: Path) -> None:
    case(tmp_path, STUCK)
    told = Told(tmp_path / "out" / "journal.jsonl").begins(600, HOSTILE, HOSTILE)
    told.acts(610, 620, HOSTILE).at(621, "measured", when="after", measures={HOSTILE: 1}).ends(622, HOSTILE)
    found = analyze(tmp_path)
    text = draft(found)
    page = markdown2html(text)
    assert "onerror" in page
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert "<strong>m</strong>" not in page
    table = figures.table(mitigations.runs_and_steps(found.case))._repr_html_()
    assert "<img" not in table
    for shown in (answer(found), mitigations.told(found.case), text):
        assert "\x1b" not in shown
    write_answer(found, tmp_path / "out", with_draft=True)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["mitigations"][0]["operator"] == HOSTILE


def test_what_the_runbook_saw_before_it_acted_is_evidence(tmp_path: Path) -> None:
    log = ServerLog().load(0, 2.0)
    for number in range(6):
        log.request(10 + 10 * number, 3.0)
    case(tmp_path, {"server.log": log.text()})
    told = Told(tmp_path / "out" / "journal.jsonl")
    told.at(600, "run_started", runbook="recover-stuck-runner", target="box:11434", operator="ann", mode="act",
            found="tiny is past its expires_at. tiny: its runner is stopped, in 21 looks over 20 s.")  # fmt: skip
    told.at(610, "step_started", step="end its runner", does="SIGTERM to process 77", restarts=True)
    unproven = {one.id: one for one in judge(analyze(tmp_path))}["stopping_deadlock"]
    assert unproven.state == "not_observable"
    told.at(612, "step_verified", step="end its runner", result="Process 77 is gone.").ends(613)
    found = {one.id: one for one in judge(analyze(tmp_path))}["stopping_deadlock"]
    assert found.state == "supported"
    assert "21 looks over 20 s" in found.supporting[0].sentence
    assert str(found.supporting[0].places[0]) == "out/journal.jsonl:1"
