"""stabilise-embedding-service on a real gunicorn that is the main process of a unit, and on what hosts tell."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from remediate.killed import look_and_approve, run_and_kill
from remediate.service import _CLIENT, PROGRAMS, DrillService
from warmstall.drill.runner import free_port
from warmstall.errors import CannotTell, InputError
from warmstall.remediate.actions.embedding_service import exec_start, find_service, words_wanted
from warmstall.remediate.book import Book
from warmstall.remediate.catalogue import runbook
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome
from warmstall.remediate.target import open_target

NAME = "stabilise-embedding-service"
UNIT = "embedder.service"
# Embeds with one thread or many; `worse` makes it worse by the change that is to help.
APPLICATION = """
import json, os, pathlib, signal

worse = pathlib.Path(__file__).with_name("worse")


def app(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    limited = os.environ.get("OMP_NUM_THREADS") == "1"
    if path == "/crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    fault = worse.read_text() if limited and worse.exists() else ""
    if path == "/v1/embeddings":
        texts = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))["input"]
        if fault == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        status = "500 no" if fault == "refuses" else status
        body = {"data": [{"embedding": [len(text)]} for text in texts]}
    else:
        body = {"status": "ok"}
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""
needs_gunicorn = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed (the test extra)"
)


class Embedder(DrillService):
    """A gunicorn that is the main process of its unit."""

    def await_answer(self) -> None:
        ends = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=2.0, trust_env=False, verify=False).status_code == 200:
                    return
            assert time.monotonic() < ends, self.log.read_text()[-2000:] if self.log.exists() else "no log"
            time.sleep(0.02)  # between two questions to a process that starts

    def crash(self) -> None:
        """A worker dies as one of torch does; its master says so and starts another."""
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{self.url}/crash", timeout=10.0, trust_env=False, verify=False)
        ends = time.monotonic() + 30
        while "SIGSEGV" not in self.log.read_text():
            assert time.monotonic() < ends, self.log.read_text()[-2000:]
            time.sleep(0.02)  # between two looks at a log

    def command_line(self, *options: str) -> None:
        words = [sys.executable, "-m", "gunicorn", *options, "--bind", f"127.0.0.1:{self.port}",
                 "--chdir", str(self.folder), "service:app"]  # fmt: skip
        (self.unit_folder / UNIT).write_text(
            f"[Service]\nExecStart={' '.join(words)}\nEnvironment=HOME={self.folder}\n"
        )

    def begin(self, *options: str) -> None:
        """From the start, with one crash behind it."""
        (self.folder / "worse").unlink(missing_ok=True)
        self.command_line(*options)
        for path in [*self.drop_ins.glob("zz-*"), self.journal, Path(f"/tmp/warmstall-{self.port}.lock")]:
            path.unlink(missing_ok=True)
        self.restart()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    folder = tmp_path_factory.mktemp("embedder")
    service = Embedder(folder, folder / "units", UNIT, free_port(), folder / "journal.jsonl")
    (folder / "service.py").write_text(APPLICATION)
    service.bin.mkdir()
    service.unit_folder.mkdir()
    service.command_line()
    with tempfile.TemporaryDirectory(prefix="warmstall-") as short, pytest.MonkeyPatch.context() as patch:
        path = f"{short}/manager"
        for name in ("systemctl", "journalctl"):
            (service.bin / name).write_text(_CLIENT.format(python=os.path.realpath(sys.executable), socket=path))
            (service.bin / name).chmod(0o755)
        patch.setenv("PATH", f"{service.bin}{os.pathsep}{os.environ['PATH']}")
        for name in ("OMP_NUM_THREADS", "WEB_CONCURRENCY", "XDG_RUNTIME_DIR"):
            patch.delenv(name, raising=False)
        words = [sys.executable, str(PROGRAMS / "manager.py"), path, str(folder), str(service.unit_folder), UNIT]
        process = subprocess.Popen(words)
        try:
            service_began = time.monotonic() + 30
            while not Path(path).exists():
                assert time.monotonic() < service_began, "the stand-in of systemd does not start"
                time.sleep(0.02)  # between two looks for its socket
            service.await_answer()
            service.crash()
            yield service
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait(10)
            for child in children:  # workers of a master that is killed look for it only now and then
                with contextlib.suppress(psutil.Error):
                    child.kill()
            psutil.wait_procs(children, timeout=10)


@pytest.fixture
def embedder(made: Embedder) -> Embedder:
    made.begin()
    return made


def parameters(service: Embedder, **more: Any) -> dict[str, Any]:
    return {"target": "local", "port": service.port, "unit_folder": str(service.unit_folder), "service_unit": UNIT,
            "journal": str(service.journal), "tries": 2, "watch_s": 0.1, "ready_s": 20.0, **more}  # fmt: skip


def run(service: Embedder, **more: Any) -> Outcome:
    """Look at the plan, approve it, act."""
    return look_and_approve(NAME, parameters(service, **more))


@needs_gunicorn
def test_a_dry_run_and_a_wrong_plan_change_nothing(embedder):
    files, pid, asked = embedder.files(), embedder.pid, len(embedder.asked())
    with Book(NAME, parameters(embedder)) as book:
        assert [row.effect for row in book.plan.rows] == ["act", "act"]
        assert "SIGSEGV 1" in next(one.sentence for one in book.plan.preconditions if one.name == "bad ends")
        assert book.outcome().status == "planned"
    with Book(NAME, parameters(embedder, dry_run=False, approved_plan="0123456789ab")) as book:
        assert book.outcome().status == "refused"
    assert (embedder.files(), embedder.pid) == (files, pid)
    assert {line.split()[0].rpartition("/")[2] + " " + line.split()[1] for line in embedder.asked()[asked:]} <= {
        "systemctl show", "journalctl --no-pager",
    }  # fmt: skip
    assert not embedder.journal.exists()


@needs_gunicorn
def test_limits_are_put_in_force_and_seen_in_the_live_process(embedder):
    outcome = run(embedder, memory_max_bytes=2**31, malloc_arenas=2)
    assert outcome.status == "done", outcome.sentence
    assert outcome.after["embed_success_rate"] == 1.0
    assert outcome.after["workers"] == 1
    wanted = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2",
              "TOKENIZERS_PARALLELISM": "false", "WEB_CONCURRENCY": "1"}  # fmt: skip
    assert wanted.items() <= embedder.environment().items()
    assert "MemoryMax=2147483648\n" in next(embedder.drop_ins.glob("zz-*")).read_text()
    pid = embedder.pid

    assert run(embedder, memory_max_bytes=2**31, malloc_arenas=2).status == "nothing to do"
    assert embedder.pid == pid
    assert run(embedder, memory_max_bytes=2**31, malloc_arenas=2, undo=True).status == "done"
    assert not wanted.keys() & embedder.environment().keys()
    assert not list(embedder.drop_ins.glob("zz-*"))


@needs_gunicorn
@pytest.mark.parametrize("fault", ["refuses", "crashes"])
def test_what_makes_it_worse_is_taken_back(embedder, fault):
    (embedder.folder / "worse").write_text(fault)
    outcome = run(embedder)
    assert outcome.status == "rolled back"
    assert "embeddings were answered" in outcome.sentence
    assert "OMP_NUM_THREADS" not in embedder.environment()
    embedder.await_answer()


@needs_gunicorn
def test_what_the_command_line_says_is_left_to_a_person_and_seen(embedder):
    embedder.begin("--preload", "--workers", "3")
    # gunicorn starts its workers up to a tenth of a second apart, and the first of them answers already.
    outcome = run(embedder, max_requests=500, watch_s=2.0)
    assert outcome.status == "done"
    assert outcome.sentence.startswith("Done but for what is left to do by hand: change the command line.")
    assert outcome.after["workers"] == 3
    assert "WEB_CONCURRENCY" not in embedder.environment()
    by_hand = next(text for _, what, text in outcome.steps if what == "by hand")
    assert "--preload" not in by_hand
    assert "--workers 1" in by_hand
    assert "--max-requests 500 --max-requests-jitter 50" in by_hand

    embedder.command_line("--workers", "1", "--max-requests", "500", "--max-requests-jitter", "50")
    embedder.restart()
    assert run(embedder, max_requests=500).status == "nothing to do"


@needs_gunicorn
def test_a_run_that_is_killed_at_any_line_is_brought_to_a_good_end(embedder):
    key = f"{open_target('local').host.name}:{embedder.port}"
    ends = []
    for line in itertools.count(1):
        embedder.begin()
        if not run_and_kill(line, NAME, parameters(embedder, tries=1, watch_s=0.0)):
            break
        outcome = run(embedder, tries=1, watch_s=0.0)
        ends.append(outcome.status)
        assert embedder.environment().get("OMP_NUM_THREADS") == "1", line
        assert Journal(embedder.journal).unfinished(NAME, key) is None, line
    assert len(ends) >= 8
    assert set(ends) <= {"done", "nothing to do"}, ends


@needs_gunicorn
def test_a_service_that_never_died_is_left_alone(embedder):
    log = embedder.log.read_text()
    embedder.log.write_text("".join(line for line in log.splitlines(True) if "SIGSEGV" not in line))
    with Book(NAME, parameters(embedder)) as book:
        assert book.outcome().status == "nothing to do"
    with Book(NAME, parameters(embedder, without_crash=True)) as book:
        assert book.outcome().status == "planned"
    embedder.log.write_text(log)


# What a host tells, without a service.


def recorded(**changes: str) -> Any:
    target = open_target("recorded:embedding-service")
    for command, text in changes.items():
        key = next(line for line in target.host.outputs if line.startswith(command.replace("_", " ")))
        target.host.outputs[key] = text
    return target


def built(target: Any, **settings: Any) -> Any:
    found = runbook(NAME)
    return found.build(target, {**found.settings, **settings})


def test_the_only_service_is_found_with_its_unit_and_port():
    service = find_service(recorded(), "", 0)
    assert (service.service.unit, service.port, service.main.pid) == (UNIT, 8001, 31877)
    assert (service.is_gunicorn, service.forks_after_loading, service.workers_on_command_line) == (True, True, 4)


@pytest.mark.parametrize("unit", ["other.service", "$(touch here)", "-rf"])
def test_a_unit_that_is_not_there_is_said(unit):
    with pytest.raises(CannotTell, match="systemctl status"):
        find_service(recorded(), unit, 0)


def test_a_command_line_with_control_characters_is_printed_nowhere():
    target = recorded()
    target.host.contents["/proc/31877/cmdline"] = "gunicorn\0--preload\0x\nExecStartPre=/bin/evil\0"
    action = built(target, service_unit=UNIT)
    assert find_service(target, UNIT, 0).words == ()
    assert "evil" not in "".join(text for step in action.steps for text in (step.does, *step.by_hand))


def test_a_service_in_a_container_gets_a_patch_to_review():
    target = recorded()
    container = "a" * 64
    target.host.contents["/proc/31877/cgroup"] = f"0::/system.slice/docker-{container}.scope\n"
    target.host.outputs[f"docker inspect {container}"] = (
        '[{"Name": "/embedder", "Config": {"Labels": {"com.docker.compose.service": "embedder", '
        '"com.docker.compose.project": "rag", "com.docker.compose.project.config_files": "/srv/rag/compose.yaml"}}}]'
    )
    action = built(target, without_crash=True)
    (step,) = action.steps
    assert step.apply is None
    assert "OMP_NUM_THREADS" in "\n".join(step.by_hand)
    assert step.check(target).state == "needed"


def test_a_limit_below_what_a_worker_holds_is_refused():
    action = built(recorded(), memory_max_bytes=2**30)
    assert [(one.name, one.state) for one in action.preconditions][-1] == ("memory", "not met")


@pytest.mark.parametrize(
    "settings", [{"embed_path": "/v1/embeddings?x"}, {"embed_path": "/api/pull"}, {"threads": -1}, {"workers": -2}]
)
def test_parameters_are_checked(settings):
    with pytest.raises(InputError):
        built(recorded(), **settings)


@pytest.mark.parametrize("path", ["health", "/x?y", "//e vil", "/\n"])
def test_a_health_page_is_a_plain_path(path):
    with pytest.raises(PermissionError, match="plain path"):
        recorded().ask_service(path, 8001)


def test_a_worker_that_its_master_gave_up_did_not_crash():
    given_up = (
        "[2026-11-02 20:00:04 +0000] [31877] [CRITICAL] WORKER TIMEOUT (pid:31878)\n"
        "[2026-11-02 20:00:05 +0000] [31877] [ERROR] Worker (pid:31878) was sent SIGKILL! Perhaps out of memory?\n"
    )
    quiet = recorded(journalctl=given_up)
    key = next(line for line in quiet.host.outputs if line.startswith("systemctl"))
    quiet.host.outputs[key] = quiet.host.outputs[key].replace("NRestarts=2", "NRestarts=0")
    action = built(quiet)
    assert {one.name: one.state for one in action.preconditions}["bad ends"] == "not needed"
    assert action.steps == ()


def test_the_command_line_that_is_printed_is_one_that_systemd_reads():
    service = find_service(recorded(), "", 0)
    words = [*words_wanted(service, 2, 1000), 'a "b" $c %d \\e']
    assert words[:6] == [
        "/opt/embedder/bin/python3.12",
        "/opt/embedder/bin/gunicorn",
        "--workers",
        "2",
        "--threads",
        "8",
    ]
    text = exec_start(words)
    assert text.endswith('"a \\"b\\" $$c %%d \\\\e"')
    assert words_wanted(service, 4, 0) == tuple(word for word in service.words if word != "--preload")
