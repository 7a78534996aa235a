"""Every runbook on its own recording: it only reads until a plan is approved, and it plans the same twice."""

from __future__ import annotations

import pytest

from warmstall.hypotheses.catalogue import catalogue
from warmstall.remediate.book import COMMON, Book
from warmstall.remediate.catalogue import NAMES, runbook
from warmstall.remediate.rollbacks import ROLLBACKS
from warmstall.remediate.target import Target

EVERY = pytest.mark.parametrize("name", NAMES)
RECORDED = {"target": "recorded"}


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    """The journal of whoever runs the tests stays as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@EVERY
def test_the_default_target_shows_what_the_runbook_is_for(name):
    with Book(name, RECORDED) as book:
        assert book.plan.preconditions, "a runbook checks something"
        assert all(one.state != "not needed" for one in book.plan.preconditions), "its recording needs it"
        assert book.plan.rows, "and there is something to do"
        assert book.outcome().status in ("planned", "by hand")


@EVERY
def test_a_dry_run_only_reads(name, monkeypatch, tmp_path):
    monkeypatch.setattr(Target, "send", lambda *_, **__: pytest.fail("a request that acts, in a dry run"))
    with Book(name, RECORDED) as book:
        book.preconditions()
        book.steps()
        book.approval()
        book.outcome()
        assert {command.effect for command in book.target.host.asked} <= {"read"}
    assert not list(tmp_path.rglob("*"))


@EVERY
def test_another_plan_than_the_one_shown_does_nothing(name, tmp_path):
    with Book(name, {**RECORDED, "dry_run": False, "approved_plan": "0123456789ab"}) as book:
        assert book.outcome().status in ("refused", "by hand")
        written = [command for command in book.target.host.asked if command.effect == "write"]
        assert not written
    assert not list(tmp_path.rglob("*"))


@EVERY
def test_a_plan_is_the_same_as_long_as_nothing_changes(name):
    ids = []
    for waited_s in (0.0, 7.0):
        with Book(name, RECORDED) as book:
            book.target.wait(waited_s)
            ids.append(book.plan.id)
    assert ids[0] == ids[1]


@EVERY
def test_every_step_can_be_taken_back_or_says_that_it_cannot(name):
    found = runbook(name)
    with Book(name, RECORDED) as book:
        for step in found.build(book.target, found.settings).steps:
            assert step.rollback is None or ROLLBACKS[step.rollback.__name__] is step.rollback
            assert (step.apply is None) <= bool(step.by_hand), f"{step.name}: nobody could do it"


@EVERY
def test_a_healthy_server_is_left_alone(name):
    """Where a runbook can see that nothing is wrong, it plans nothing; else it says what it cannot tell."""
    with Book(name, {"target": "recorded:healthy"}) as book:
        outcome = book.outcome()
    assert outcome.status in ("nothing to do", "cannot tell", "refused", "planned", "by hand")
    if name in ("recover-stuck-runner", "relieve-memory-pressure", "stabilise-embedding-service"):
        assert outcome.status in ("nothing to do", "cannot tell", "refused")


@EVERY
def test_no_own_setting_hides_a_common_one(name):
    assert not runbook(name).settings.keys() & (COMMON.keys() - {"case"})


def test_every_runbook_that_a_cause_names_exists():
    named = {page.runbook for page in catalogue().values() if page.runbook}
    assert named <= set(NAMES), named - set(NAMES)


def test_the_table_of_rollbacks_names_each_once():
    assert all(name == function.__name__ for name, function in ROLLBACKS.items())
