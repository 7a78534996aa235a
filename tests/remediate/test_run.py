"""The one runner: dry runs, approval, verification, rollback, kills at every line, caps, two operators at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from remediate.files_runbook import NAME, DeadlyJournal, blocked, measured, runner, step
from warmstall.errors import ActionFailed, CannotTell
from warmstall.host import LocalHost
from warmstall.remediate.files import write_file
from warmstall.remediate.journal import Journal
from warmstall.remediate.lock import lock_path, locked
from warmstall.remediate.step import Check, Verified
from warmstall.remediate.target import open_target

TESTS = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder but the journal, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "a folder"
        for path in sorted(folder.rglob("*")) if path.name != "journal.jsonl"
    }  # fmt: skip


def act(one):
    return one.run(False, one.plan().id)


def killed(lines: int, folder: Path, accepted: bool) -> bool:
    """Whether the run was killed after so many lines; False when it ended before."""
    ended = subprocess.run(
        [sys.executable, "-m", "remediate.files_runbook", str(lines), str(folder), "accepted" if accepted else "not"],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


WANTED = {"new": "a folder", "new/first.conf": "one\n", "second.conf": "two\n"}


def test_a_dry_run_changes_nothing_and_writes_no_journal(tmp_path):
    (tmp_path / "second.conf").write_text("before\n")
    outcome = runner(tmp_path).run()
    assert outcome.status == "planned"
    assert [row.effect for row in outcome.plan.rows] == ["act", "act"]
    assert outcome.plan.id in outcome.sentence
    assert contents(tmp_path) == {"second.conf": "before\n"}
    assert not (tmp_path / "journal.jsonl").exists()


def test_only_the_very_word_false_ends_a_dry_run(tmp_path):
    one = runner(tmp_path)
    for text in ("false", "False", "", 0, None):
        assert one.run(text, one.plan().id).status == "planned"
    assert contents(tmp_path) == {}


def test_a_target_opened_for_reading_is_not_written_to(tmp_path):
    one = runner(tmp_path, writing=False)
    outcome = act(one)
    assert outcome.status == "refused"
    assert contents(tmp_path) == {}
    with pytest.raises(PermissionError):
        one.target.host.write(str(tmp_path / "x"), "x")
    with pytest.raises(PermissionError):
        one.target.send("/api/generate", {}, 1.0)


@pytest.mark.parametrize("approved", ["", "000000000000"])
def test_another_plan_than_the_approved_one_is_refused(tmp_path, approved):
    outcome = runner(tmp_path).run(False, approved)
    assert outcome.status == "refused"
    assert outcome.exit_code == 2
    assert contents(tmp_path) == {}


def test_a_plan_that_has_become_stale_is_refused(tmp_path):
    one = runner(tmp_path)
    plan = one.plan().id
    (tmp_path / "second.conf").write_text("somebody was faster\n")
    outcome = one.run(False, plan)
    assert outcome.status == "refused"
    assert plan in outcome.sentence
    assert contents(tmp_path) == {"second.conf": "somebody was faster\n"}


def test_the_plan_id_is_made_of_target_settings_and_steps(tmp_path):
    plans = [
        runner(tmp_path).plan().id,
        runner(tmp_path, port=20002).plan().id,
        runner(tmp_path, settings={"model": "x"}).plan().id,
        runner(tmp_path / "other").plan().id,
    ]
    assert plans[0] == runner(tmp_path).plan().id
    assert len(set(plans[:3])) == 3
    assert plans[3] == plans[0]  # the folder stands in no step's words


def test_an_approved_plan_is_done_verified_and_recorded(tmp_path):
    outcome = act(runner(tmp_path, measure=measured([0.5, 1.0]), afterwards=("Watch it.",)))
    assert (outcome.status, outcome.exit_code) == ("done", 0)
    assert (outcome.before, outcome.after) == ({"success_rate": 0.5}, {"success_rate": 1.0})
    assert outcome.afterwards == ("Watch it.",)
    assert contents(tmp_path) == WANTED
    events = [entry["event"] for entry in Journal(tmp_path / "journal.jsonl").entries()]
    one_step = ["step_started", "step_applied", "step_verified"]
    assert events == ["run_started", "measured", *one_step, *one_step, "measured", "run_finished"]


def test_the_second_run_has_nothing_to_do(tmp_path):
    act(runner(tmp_path))
    outcome = act(runner(tmp_path))
    assert outcome.status == "nothing to do"
    assert [row.effect for row in outcome.plan.rows] == ["already so", "already so"]


def test_what_is_not_verified_is_taken_back(tmp_path):
    (tmp_path / "second.conf").write_text("before\n")
    outcome = act(runner(tmp_path, accepted=False))
    assert (outcome.status, outcome.exit_code) == ("rolled back", 1)
    assert contents(tmp_path) == {"second.conf": "before\n"}


def test_what_does_not_help_is_taken_back(tmp_path):
    def helped(before, after):
        return Verified(after["success_rate"] >= before["success_rate"], "fewer requests succeed than before.")

    outcome = act(runner(tmp_path, measure=measured([1.0, 0.5]), helped=helped))
    assert outcome.status == "rolled back"
    assert "fewer requests succeed" in outcome.sentence
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("error", [ActionFailed("no"), ValueError("a bug"), CannotTell("unseen")])
def test_whatever_goes_wrong_within_a_step_is_taken_back(tmp_path, error):
    def broken(_):
        raise error

    steps = (step(tmp_path / "first.conf", "one\n"), step(tmp_path / "x", "x", apply=broken))
    outcome = act(runner(tmp_path, steps=steps))
    assert outcome.status == "rolled back"
    assert str(error) in outcome.sentence
    assert contents(tmp_path) == {}


def test_an_interrupt_takes_back_what_was_begun(tmp_path):
    def interrupted(_):
        raise KeyboardInterrupt

    steps = (step(tmp_path / "first.conf", "one\n"), step(tmp_path / "x", "x", apply=interrupted))
    with pytest.raises(KeyboardInterrupt):
        act(runner(tmp_path, steps=steps))
    assert contents(tmp_path) == {}


def test_a_rollback_that_fails_is_told_and_the_others_are_done(tmp_path):
    def in_the_way(target):
        (tmp_path / "second.conf").unlink()
        (tmp_path / "second.conf").mkdir()  # what it held before cannot be put back now
        (tmp_path / "second.conf" / "x").touch()
        return "done"

    (tmp_path / "second.conf").write_text("before\n")
    steps = (
        step(tmp_path / "first.conf", "one\n"),
        step(tmp_path / "second.conf", "two\n"),
        step(tmp_path / "third", "x", accepted=False, apply=in_the_way),
    )
    outcome = act(runner(tmp_path, steps=steps))
    assert outcome.status == "failed"
    assert "second.conf" in outcome.sentence
    assert "by hand" in outcome.sentence
    assert not (tmp_path / "first.conf").exists()


def test_what_cannot_be_undone_is_said_before_and_after(tmp_path):
    one = runner(tmp_path, steps=(step(tmp_path / "x", "x", accepted=False, rollback=None),))
    assert one.plan().rows[0].undo == "cannot be undone"
    outcome = act(one)
    assert outcome.status == "failed"
    assert "cannot be undone: x" in outcome.sentence
    assert contents(tmp_path) == {"x": "x"}


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [("not needed", "nothing to do", 0), ("not met", "refused", 2), ("cannot tell", "cannot tell", 3)],
)
def test_preconditions_end_a_run_before_it_begins(tmp_path, state, status, code):
    outcome = act(runner(tmp_path, **blocked(state)))
    assert (outcome.status, outcome.exit_code) == (status, code)
    assert outcome.sentence == f"The finding is {state}."


def test_what_only_a_person_can_do_is_printed_to_paste(tmp_path):
    by_hand = step(tmp_path / "x", "x", apply=None, by_hand=("docker compose up -d",))
    outcome = act(runner(tmp_path, steps=(by_hand,)))
    assert outcome.status == "by hand"
    assert "\n    docker compose up -d" in outcome.sentence
    (tmp_path / "x").write_text("x")  # a person did it: the verification is still automatic
    assert runner(tmp_path, steps=(by_hand,)).run().status == "nothing to do"


def test_a_step_is_checked_again_right_before_it_acts(tmp_path):
    looks = []

    def check(_):
        looks.append(1)
        return Check("needed", "as planned") if len(looks) < 3 else Check("refused", "as planned", "it has gone bad")

    one = runner(tmp_path, steps=(step(tmp_path / "x", "x", apply=lambda _: pytest.fail("it acted")),))
    build = one.build
    one.build = lambda target, settings: build_with(build(target, settings), check)
    plan = one.plan().id
    looks.clear()
    outcome = one.run(False, plan)
    assert "it has gone bad" in outcome.sentence
    assert contents(tmp_path) == {}


def build_with(action, check):
    from dataclasses import replace

    return replace(action, steps=tuple(replace(one, check=check) for one in action.steps))


@pytest.mark.parametrize("accepted", [True, False])
def test_a_run_killed_after_any_line_is_recovered(tmp_path, accepted):
    """The next run continues it to a good end; one that was taking things back goes on taking them back."""
    lines = 0
    while True:
        lines += 1
        folder = tmp_path / str(lines)
        folder.mkdir()
        (folder / "second.conf").write_text("before\n")
        if not killed(lines, folder, accepted):
            break
        cut_short = Journal(folder / "journal.jsonl").runs(NAME, runner(folder).target.key)[-1]
        undoing = cut_short.undoing and cut_short.can_be_undone
        next_run = runner(folder, accepted=True)
        plan = next_run.plan()
        if undoing or (cut_short.started and not cut_short.finished):
            assert plan.mode == ("undo" if undoing else "continue"), cut_short.entries[-1]
        else:
            assert plan.mode == "act"  # it had done nothing, or had taken back all of it
        outcome = next_run.run(False, plan.id)
        if undoing:
            assert outcome.status == "done"
            assert contents(folder) == {"second.conf": "before\n"}
            outcome = act(runner(folder))
        assert outcome.status in ("done", "nothing to do")
        assert contents(folder) == WANTED
        # The rollback still knows what was there before the run that was killed.
        assert act(runner(folder, undo=True)).status == "done"
        assert contents(folder) == {"second.conf": "before\n"}
    assert lines == (9 if accepted else 13)


def test_a_run_with_other_settings_takes_back_the_one_that_was_cut_short(tmp_path):
    assert killed(4, tmp_path, True)
    assert contents(tmp_path) == {"new": "a folder", "new/first.conf": "one\n"}
    other = runner(tmp_path, settings={"model": "other"})
    plan = other.plan()
    assert plan.mode == "undo"
    assert "was cut short" in plan.summary
    assert other.run(False, plan.id).status == "done"
    assert contents(tmp_path) == {}


def test_a_dry_run_after_a_kill_changes_nothing(tmp_path):
    assert killed(3, tmp_path, True)
    before, journal = contents(tmp_path), (tmp_path / "journal.jsonl").read_bytes()
    outcome = runner(tmp_path).run()
    assert outcome.status == "planned"
    assert "was cut short" in outcome.plan.summary
    assert (contents(tmp_path), (tmp_path / "journal.jsonl").read_bytes()) == (before, journal)


def test_the_last_run_can_be_taken_back_once(tmp_path):
    act(runner(tmp_path))
    undo = runner(tmp_path, undo=True)
    assert [row.effect for row in undo.plan().rows] == ["undo", "undo"]
    assert undo.run().status == "planned"
    assert contents(tmp_path) == WANTED
    assert act(undo).status == "done"
    assert contents(tmp_path) == {}
    assert act(runner(tmp_path, undo=True)).status == "nothing to do"


def test_nothing_is_done_without_a_journal(tmp_path):
    (tmp_path / "not-a-folder").write_text("")
    one = runner(tmp_path, journal=Journal(tmp_path / "not-a-folder" / "journal.jsonl"))
    with pytest.raises(Exception, match="journal"):
        act(one)
    assert contents(tmp_path) == {"not-a-folder": ""}


def test_restarts_have_a_cap_and_a_cool_down(tmp_path):
    def restart(number, **facts):
        return act(runner(tmp_path, steps=(step(tmp_path / "x", str(number), restarts=True),), **facts))

    assert restart(1).status == "done"
    outcome = restart(2)
    assert outcome.status == "refused"
    assert "last restart" in outcome.sentence
    for number in (2, 3):
        assert restart(number, cool_down_s=0.0).status == "done"
    outcome = restart(4, cool_down_s=0.0)
    assert outcome.status == "refused"
    assert "within an hour" in outcome.sentence
    assert (tmp_path / "x").read_text() == "3"
    assert restart(4, cool_down_s=0.0, most_restarts_per_hour=9).status == "done"


def test_two_operators_at_once_are_refused(tmp_path):
    host = LocalHost(writing=True)
    with locked(host, 20001, "bob"):
        outcome = act(runner(tmp_path))
        assert outcome.status == "refused"
        assert "bob" in outcome.sentence
        assert contents(tmp_path) == {}
        assert act(runner(tmp_path, port=20003)).status == "done"  # another server is another lock
    assert act(runner(tmp_path)).status == "nothing to do"


def test_the_lock_of_a_run_that_was_killed_is_taken_over(tmp_path):
    assert killed(2, tmp_path, True)
    left = Path(lock_path(20001))
    assert left.is_symlink()
    assert act(runner(tmp_path)).status == "done"
    assert not left.is_symlink()


def test_a_lock_that_is_ours_no_more_is_left_alone(tmp_path):
    host, path = LocalHost(writing=True), Path(lock_path(20004))
    with locked(host, 20004, "ann"):
        path.unlink()
        path.symlink_to("somebody else")
    assert os.readlink(path) == "somebody else"
    path.unlink()


def test_an_operators_name_cannot_forge_an_owner(tmp_path):
    host = LocalHost(writing=True)
    with locked(host, 20005, "x on here pid 1 started 2 since 2001-01-01T00:00:00Z\n"):
        assert "\n" not in os.readlink(lock_path(20005))
        with pytest.raises(ActionFailed, match="Another run holds"), locked(host, 20005, "y"):
            pass


def test_a_torn_line_is_passed_over_and_the_next_one_stands_alone(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write("run_started", "a", runbook=NAME, target="t")
    with journal.path.open("ab") as file:
        file.write(b'{"journal": 1, "at": "2026-')
    assert journal.unfinished(NAME, "t").run == "a"
    journal.write("run_finished", "a", outcome="done")
    assert [entry["event"] for entry in journal.entries()] == ["run_started", "run_finished"]
    assert journal.unfinished(NAME, "t") is None


def test_every_line_is_on_the_disk_before_the_next_thing_happens(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(fsync(number)))
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    for number in range(3):
        journal.write("measured", str(number))
    assert len(synced) == 4  # three lines, and the folder of a new file
    assert issubclass(DeadlyJournal, Journal)


def test_a_link_that_was_laid_in_wait_is_not_written_through(tmp_path):
    """Where others may write too, as in /tmp, the name that a file is written under first cannot be foreseen."""
    victim, path = tmp_path / "victim", tmp_path / "x.conf"
    victim.write_text("precious\n")
    (tmp_path / "x.conf.partial").symlink_to(victim)
    path.symlink_to(victim)
    target = open_target("local", 20006, writing=True)
    (tmp_path / "x.conf.0123456789ab.partial").write_text("left by a run that was killed\n")
    write_file(target, str(path), "new\n")
    assert victim.read_text() == "precious\n"
    assert (path.read_text(), path.is_symlink()) == ("new\n", False)
    assert not list(tmp_path.glob("x.conf.*.partial"))
