"""raise-service-limits on a real service: real unit files and drop-ins, real limits of a real process."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator

import psutil
import pytest

from remediate.killed import run_and_kill
from remediate.service import DrillService, act, drill_service
from test_ssh import SSHD, sshd
from warmstall.errors import ParameterError
from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.services import systemd

NAME = "raise-service-limits"
LOW = {"NOFILE": "1024", "MEMLOCK": "8192"}
HARD_MEMLOCK = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
# As high as whoever runs the tests may go.
MEMLOCK = "infinity" if HARD_MEMLOCK == resource.RLIM_INFINITY else str(HARD_MEMLOCK)
LINES = 10  # of the journal of a run
IN_FORCE = "unlimited" if MEMLOCK == "infinity" else MEMLOCK
WANTED = {"memlock": MEMLOCK, "nofile": 2048, "environment": ["OLLAMA_KEEP_ALIVE=10m"], "tries": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillService]:
    folder = tmp_path_factory.mktemp("limits") / "service"
    with pytest.MonkeyPatch.context() as monkeypatch, drill_service(folder, monkeypatch, limits=LOW) as service:
        yield service


@pytest.fixture
def service(made: DrillService) -> DrillService:
    made.reset()
    return made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a change that never comes into force: what is waited for in vain, and long enough for the way back."""
    monkeypatch.setattr(systemd, "_PATIENCE_S", 8.0)


def given(service: DrillService, **more: object) -> dict[str, object]:
    return {**service.parameters, **WANTED, **more}


def raised(service: DrillService) -> bool:
    return (service.limit("Max locked memory") == [IN_FORCE, IN_FORCE]
            and service.limit("Max open files") == ["2048", "2048"]
            and service.environment().get("OLLAMA_KEEP_ALIVE") == "10m")  # fmt: skip


def as_before(service: DrillService) -> bool:
    return (service.limit("Max locked memory") == ["8192", "8192"]
            and service.limit("Max open files") == ["1024", "1024"]
            and "OLLAMA_KEEP_ALIVE" not in service.environment() and not service.drop_ins.exists())  # fmt: skip


def test_a_dry_run_changes_nothing(service):
    files, pid, runners = service.files(), service.pid, psutil.Process(service.pid).children(recursive=True)
    with Book(NAME, given(service)) as book:
        outcome = book.outcome()
        assert len(book.steps()) == 2
    assert outcome.status == "planned"
    assert (service.files(), service.pid) == (files, pid)
    assert psutil.Process(pid).children(recursive=True) == runners
    assert not service.journal.exists()
    assert as_before(service)


def test_limits_and_variables_are_in_force_then_nothing_is_left_to_do_then_they_are_taken_back(service):
    files, pid = service.files(), service.pid
    outcome = act(NAME, given(service, model="tiny"))
    assert outcome.status == "done", outcome
    assert outcome.before["success_rate"] == outcome.after["success_rate"] == 1.0
    assert "answers as version 0.13.5, and its line `server config` agrees" in str(outcome.steps)
    assert len(Journal(service.journal).entries()) == LINES
    assert raised(service)
    assert service.pid != pid
    text = (service.drop_ins / f"zz-warmstall-{NAME}.conf").read_text()
    assert text.endswith(f'[Service]\nEnvironment="OLLAMA_KEEP_ALIVE=10m"\nLimitMEMLOCK={MEMLOCK}\nLimitNOFILE=2048\n')

    pid = service.pid
    again = act(NAME, given(service, model="tiny"))
    assert (again.status, service.pid) == ("nothing to do", pid)

    undone = act(NAME, given(service, undo=True))
    assert undone.status == "done", undone
    assert as_before(service)
    assert service.files() == files


def test_what_an_earlier_run_put_in_force_stays(service):
    assert act(NAME, given(service, environment=[])).status == "done"
    with Book(NAME, given(service, environment=["OLLAMA_KEEP_ALIVE=10m"])) as book:
        assert book.plan.rows[0].effect == "act"
    service.journal.unlink()  # the cool-down between restarts is not what is tested here
    assert act(NAME, given(service, memlock="", nofile=0)).status == "done"
    assert raised(service)


def test_a_higher_limit_is_never_lowered(service):
    outcome = act(NAME, given(service, memlock="4096", nofile=512, environment=[]))
    assert outcome.status == "nothing to do"
    assert as_before(service)


def test_a_plan_that_is_not_the_one_shown_is_refused(service):
    with Book(NAME, given(service)) as looked:
        plan = looked.plan.id
    for approved in ("", "0123456789ab"):
        with Book(NAME, given(service, dry_run=False, approved_plan=approved)) as book:
            assert book.outcome().status == "refused"
    # Somebody else has changed the unit's files meanwhile: what was approved is not what would be done.
    service.drop_ins.mkdir()
    (service.drop_ins / "10-mine.conf").write_text("[Service]\nEnvironment=OLLAMA_DEBUG=1\n")
    try:
        with Book(NAME, given(service, dry_run=False, approved_plan=plan)) as book:
            refused = book.outcome()
        assert refused.status == "refused"
        assert "were changed since systemd read them" in refused.sentence
    finally:
        shutil.rmtree(service.drop_ins)
    assert as_before(service)


@pytest.mark.parametrize("fault", ["ignore-limits", "ignore-drop-ins", "no-start-with-drop-in", "restart-refused"])
def test_what_does_not_come_into_force_is_taken_back(service, impatient, fault):
    service.fault(fault)
    files = service.files()
    outcome = act(NAME, given(service))
    assert outcome.status == "rolled back", outcome
    assert service.files() == files
    assert as_before(service)


def test_a_file_that_systemd_would_not_take_is_gone_before_it_is_read(service, monkeypatch):
    monkeypatch.setattr(systemd, "drop_in_text", lambda *_: "[Service]\nLimitMEMLOCK=lots\n")
    outcome = act(NAME, given(service))
    assert outcome.status == "rolled back"
    assert "Failed to parse resource value" in outcome.sentence
    assert not any(" daemon-reload" in line and "restart" in line for line in service.asked())
    assert as_before(service)


@pytest.mark.parametrize("lines", range(1, LINES + 1))
def test_a_run_killed_after_any_line_is_recovered(service, lines):
    files = service.files()
    assert run_and_kill(lines, NAME, given(service)), "the run has fewer lines"
    service.await_answer()  # a server that is just starting tells another thing at every look
    outcome = act(NAME, given(service))
    assert outcome.status in ("done", "nothing to do"), outcome
    if outcome.plan.mode == "undo":
        assert as_before(service)
        assert service.files() == files
    else:
        assert raised(service)
    assert Journal(service.journal).unfinished(NAME, outcome.plan.target) is None


def test_a_value_reaches_the_process_as_it_was_given_and_nothing_else_happens(service):
    value = "$(touch hurt); `touch hurt` \"a\" 'b' %h \\\\ ${HOME} # x"
    outcome = act(NAME, given(service, memlock="", nofile=0, environment=[f"OMP_PLACES={value}"]))
    assert outcome.status == "done", outcome
    assert service.environment()["OMP_PLACES"] == value
    assert not list(service.folder.rglob("hurt"))


@pytest.mark.skipif(not SSHD, reason="no OpenSSH server here")
def test_the_whole_run_over_ssh(service, tmp_path):
    path = f"SetEnv PATH={os.environ['PATH']}\n"
    with sshd(tmp_path / "ssh", path) as (address, options):
        outcome = act(NAME, given(service, target=address, ssh_options=list(options)))
    assert outcome.status == "done", outcome
    assert raised(service)


def test_hostile_settings_are_refused():
    with pytest.raises(ParameterError, match="expected NAME=value"):
        Book(NAME, {"target": "recorded", "environment": ["; reboot"]}).plan  # noqa: B018
