"""Real services that crash: what gunicorn, uvicorn, faulthandler and the kernel write is understood."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from warmstall.parse.application_log import is_application_log, parse_application_log
from warmstall.parse.kernel_log import is_kernel_log, parse_kernel_log

DEADLINE_S = 60.0
WSGI = """
import ctypes, os, signal, sys, threading


def missing_index():
    return {}["index"]


def unset_setting():
    return int(None)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/killed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path == "/null":
        ctypes.string_at(0)
    if path == "/exit":
        os._exit(9)
    if path == "/bug":
        missing_index()
    if path == "/other-bug":
        unset_setting()
    if path == "/thread":
        thread = threading.Thread(target=missing_index, name="indexer")
        thread.start()
        thread.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/bug":
        raise LookupError("no such collection")
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""

needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed (the test extra)")
    for name in ("gunicorn", "uvicorn")
}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and signals of POSIX")


class Service:
    """A server of ours with one file for all it writes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.path = log

    @property
    def log(self) -> str:
        return self.path.read_text(encoding="utf-8", errors="replace")

    def events(self, key: str = "") -> list[dict[str, Any]]:
        rows = parse_application_log(self.log).tables["events"]
        return [{**row, **json.loads(row["fields"])} for row in rows if key in ("", row["key"])]

    def get(self, path: str) -> int:
        """The status of an answer; 0 where the worker died instead."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (http.client.HTTPException, ConnectionError):
            return 0
        finally:
            connection.close()

    def await_events(self, key: str, count: int = 1) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.events(key)) >= count, self)
        return self.events(key)


def wait_for(holds: Callable[[], bool], service: Service) -> None:
    limit = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < limit, service.log
        assert service.process.poll() is None, service.log
        time.sleep(0.02)


@contextmanager
def served(folder: Path, source: str, *command: str) -> Iterator[Service]:
    """A server on a free port; it is ended by its own process object."""
    (folder / "service.py").write_text(source, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "service.log"
    words = [word.format(port=port) for word in command]
    # gunicorn makes a control socket under the home folder.
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    environment |= {"HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=out, stderr=out, env=environment)
    service = Service(process, port, log)
    try:
        wait_for(lambda: bool(service.events("app_start")) and accepts(port), service)
        yield service
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Service]:
    format_ = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s'
    command = ["-X", "faulthandler", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--access-logfile", "-"]
    with served(tmp_path, WSGI, *command, "--access-logformat", format_, "service:app") as service:
        service.await_events("app_worker_start")
        yield service


@needs["gunicorn"]
@pytest.mark.parametrize("path", ["/killed", "/null"])
def test_a_worker_that_segfaults_is_a_crash_with_its_pid(gunicorn, path):
    (first,) = gunicorn.events("app_worker_start")
    assert gunicorn.get(path) == 0

    (crash,) = gunicorn.await_events("app_worker_crash")
    assert (crash["pid"], crash["signal"], crash["signal_number"]) == (first["pid"], "SIGSEGV", 11)
    assert crash["at"] is not None
    assert crash["before_at"] is None
    # faulthandler says where it happened; its dump has no time, its neighbours have.
    (dump,) = gunicorn.events("app_traceback")
    assert dump["signal"] == "SIGSEGV"
    assert "app" in [frame.rpartition(":")[2] for frame in dump["frames"][:2]]
    assert dump["before_at"] <= crash["at"]
    # A worker takes its place.
    started = gunicorn.await_events("app_worker_start", 2)
    assert started[1]["pid"] != first["pid"]
    assert gunicorn.get("/") == 200


@needs["gunicorn"]
def test_a_worker_that_exits_is_a_crash_with_its_code(gunicorn):
    assert gunicorn.get("/exit") == 0
    (crash,) = gunicorn.await_events("app_worker_crash")
    assert crash["exit_code"] == 9
    assert "signal" not in crash


@needs["gunicorn"]
def test_one_bug_has_one_fingerprint_and_another_has_another(gunicorn):
    assert [gunicorn.get(path) for path in ("/bug", "/bug", "/other-bug")] == [500, 500, 500]
    one, two, other = gunicorn.await_events("app_traceback", 3)
    assert (one["exception"], other["exception"]) == ("KeyError", "TypeError")
    assert one["fingerprint"] == two["fingerprint"] != other["fingerprint"]
    assert one["frames"][0].endswith(":missing_index")
    assert one["at"] is not None
    assert one["pid"] == gunicorn.events("app_worker_start")[0]["pid"]
    errors = [event["message"] for event in gunicorn.events("app_error")]
    assert [message.rpartition("/")[2] for message in errors] == ["bug", "bug", "other-bug"]


@needs["gunicorn"]
def test_a_traceback_in_a_thread_names_the_thread(gunicorn):
    assert gunicorn.get("/thread") == 200
    (traced,) = gunicorn.await_events("app_traceback")
    assert traced["thread"] == "indexer"
    assert traced["frames"][0].endswith(":missing_index")
    # The same bug in a request has other frames: it is another place where it strikes.
    assert gunicorn.get("/bug") == 500
    assert gunicorn.await_events("app_traceback", 2)[1]["fingerprint"] != traced["fingerprint"]


@needs["gunicorn"]
def test_requests_and_the_whole_life_are_understood(gunicorn):
    assert gunicorn.get("/?prompt=secret") == 200
    (request,) = gunicorn.await_events("app_request")
    assert (request["method"], request["path"], request["status"]) == ("GET", "/", "200")
    assert 0 < request["wall_s"] < DEADLINE_S
    assert request["at"] is not None
    gunicorn.process.terminate()
    gunicorn.process.wait(DEADLINE_S)
    keys = [event["key"] for event in gunicorn.events()]
    assert keys[:2] == ["app_start", "app_worker_start"]
    assert "app_stop" in keys
    assert "app_worker_crash" not in keys
    lines = gunicorn.log.splitlines()
    assert is_application_log(lines)
    assert not is_kernel_log(lines)
    assert parse_application_log(gunicorn.log).lines == {n for n, line in enumerate(lines, 1) if line.strip()}


@needs["gunicorn"]
def test_microseconds_are_known_for_what_they_are(tmp_path):
    format_ = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s'
    command = ["-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--access-logfile", "-", "--access-logformat", format_]
    slow = "import time\ndef app(environ, start_response):\n    time.sleep(0.2)\n"
    slow += "    start_response('200 OK', [])\n    return [b'ok']\n"
    with served(tmp_path, slow, *command, "service:app") as service:
        assert service.get("/") == 200
        (request,) = service.await_events("app_request")
    assert 0.2 <= request["wall_s"] < DEADLINE_S


@needs["gunicorn"]
def test_a_worker_that_is_stuck_times_out_and_is_not_blamed_on_memory(tmp_path):
    stuck = (
        "import signal, time\ndef app(environ, start_response):\n    signal.signal(signal.SIGABRT, signal.SIG_IGN)\n"
    )
    stuck += "    time.sleep(600)\n"
    command = ["-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--timeout", "1"]
    with served(tmp_path, stuck, *command, "service:app") as service:
        (worker,) = service.await_events("app_worker_start")
        assert service.get("/") == 0
        (timeout,) = service.await_events("app_worker_timeout")
        (crash,) = service.await_events("app_worker_crash")
    assert worker["pid"] == timeout["pid"] == crash["pid"]
    assert (crash["signal"], crash["after_timeout"]) == ("SIGKILL", True)


@needs["uvicorn"]
def test_an_application_that_raises_under_uvicorn(tmp_path):
    with served(tmp_path, ASGI, "-m", "uvicorn", "--port", "{port}", "service:app") as service:
        assert [service.get(path) for path in ("/", "/bug", "/bug")] == [200, 500, 500]
        one, two = service.await_events("app_traceback", 2)
        found = service.events()
    assert (one["exception"], one["message"]) == ("LookupError", "no such collection")
    assert one["fingerprint"] == two["fingerprint"]
    assert one["frames"][0].endswith("service.py:4:app")
    assert one["logged"] == "Exception in ASGI application"
    assert [event["status"] for event in found if event["key"] == "app_request"] == ["200", "500", "500"]
    assert {"app_start", "app_worker_start", "app_error"} <= {event["key"] for event in found}
    # uvicorn writes no times, and nothing in its log has one.
    assert {event[column] for event in found for column in ("at", "local_at", "before_at", "after_at")} == {None}
    assert is_application_log(service.log.splitlines())


def kernel_messages() -> str:
    done = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace")
    if done.returncode:
        pytest.skip(f"the kernel's log may not be read here ({done.stderr.strip()})")
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="dmesg of Linux")
def test_the_kernel_tells_of_a_program_that_reads_address_zero():
    kernel_messages()
    wanted = Path("/proc/sys/debug/exception-trace")
    if not wanted.exists() or wanted.read_text().strip() == "0":
        pytest.skip("this kernel does not log crashes of programs (debug.exception-trace)")
    with subprocess.Popen([sys.executable, "-c", "import ctypes; ctypes.string_at(0)"]) as process:
        assert process.wait(DEADLINE_S) == -signal.SIGSEGV
    parsed = parse_kernel_log(kernel_messages())
    crashes = [json.loads(row["fields"]) for row in parsed.tables["events"] if row["key"] == "kernel_segfault"]
    own = [crash for crash in crashes if crash["pid"] == process.pid]
    if not own:
        pytest.skip("the kernel held the message back (rate limit, or another pid namespace)")
    assert own[-1]["address"] == "0"
    assert own[-1]["process"].startswith("python")
    assert own[-1]["seconds_since_boot"] > 0


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """A cgroup of ours with a memory limit; skips where none may be made."""
    root = next((path for path in map(Path, ("/sys/fs/cgroup/memory", "/sys/fs/cgroup")) if path.exists()), None)
    group = (root or Path("/sys/fs/cgroup")) / f"warmstall-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup may be made here ({error})")
    try:
        limits = [group / name for name in ("memory.max", "memory.limit_in_bytes") if (group / name).exists()]
        if not limits:
            pytest.skip("cgroups here have no memory controller")
        limits[0].write_text(str(limit_bytes))
        yield group
    finally:
        group.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups of Linux")
def test_the_kernel_tells_of_a_program_that_outgrew_its_cgroup():
    kernel_messages()
    with memory_cgroup(32 * 1024 * 1024) as group:
        grow = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); held = bytearray(256 * 1024 * 1024)"
        with subprocess.Popen([sys.executable, "-c", grow]) as process:
            process.wait(DEADLINE_S)
        if process.returncode != -signal.SIGKILL:
            pytest.skip("the program was not killed: memory of this cgroup can be swapped")
        parsed = parse_kernel_log(kernel_messages())
    kills = [json.loads(row["fields"]) for row in parsed.tables["events"] if row["key"] == "kernel_oom_kill"]
    own = [kill for kill in kills if kill["pid"] == process.pid]
    if not own:
        pytest.skip("the kernel held the message back (rate limit, or another pid namespace)")
    (kill,) = own
    assert kill["scope"] == "memcg"
    assert kill["cgroup"].endswith(group.name)
    # What it held before it entered the group was not counted there.
    assert 16 * 1024 * 1024 < kill["anon_rss_bytes"] < 64 * 1024 * 1024
    assert kill["total_vm_bytes"] > 256 * 1024 * 1024
