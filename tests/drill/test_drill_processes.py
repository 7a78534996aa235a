"""A drill's processes are real: names, limits and signals mean what they mean, and nothing outlives its parent."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from warmstall.drill import growth
from warmstall.drill.eras import ERAS
from warmstall.drill.server_process import DrillServer
from warmstall.drill.timetable import Fault, Timetable

from .awaiting import PATIENCE_S, until

MIB = 1024 * 1024
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="/proc, or a signal at the parent's end: Linux only")
every_version = pytest.mark.parametrize("version", list(ERAS))

# A program that starts a drill, tells its server's pid and address, and does nothing else.
_PARENT = """
import sys
from pathlib import Path
from warmstall.drill.server_process import DrillServer
server = DrillServer(Path(sys.argv[1]), version=sys.argv[2])
server.start()
print(server.pid, server.url, flush=True)
sys.stdin.read()
"""


def http() -> httpx.Client:
    return httpx.Client(timeout=PATIENCE_S, trust_env=False, verify=False)


def generate(url: str, model: str = "tiny", tokens: int = 5, **more: Any) -> httpx.Response:
    body = {"model": model, "prompt": "why?", "stream": False, "options": {"num_predict": tokens}, **more}
    with http() as client:
        return client.post(f"{url}/api/generate", json=body)


class Stream:
    """An answer that comes line by line; it has begun when this is made."""

    def __init__(self, url: str, model: str, tokens: int) -> None:
        self._client = http()
        body = {"model": model, "prompt": "why?", "options": {"num_predict": tokens}}
        asked = self._client.build_request("POST", f"{url}/api/generate", json=body)
        self.answer = self._client.send(asked, stream=True)
        self._lines = self.answer.iter_lines()
        self.first = json.loads(next(self._lines))

    def rest(self) -> list[dict[str, Any]]:
        """The lines to the end of the stream, or to the moment that the server cut it."""
        lines = []
        try:
            for line in self._lines:
                lines.append(json.loads(line))
        except httpx.RemoteProtocolError:
            lines.append({"cut": True})
        return lines


@contextmanager
def opened(url: str, model: str = "mid", tokens: int = 400) -> Iterator[Stream]:
    stream = Stream(url, model, tokens)
    try:
        yield stream
    finally:
        stream.answer.close()
        stream._client.close()


def family(pid: int) -> list[psutil.Process]:
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def assert_all_end(processes: list[psutil.Process]) -> None:
    """Each has ended (a process that waits to be collected by its new parent has)."""
    _, left = psutil.wait_procs(processes, timeout=PATIENCE_S / 3)
    alive = [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for process in alive:
        process.kill()
    assert not alive


def answers(url: str) -> bool:
    address = url.removeprefix("http://").rsplit(":", 1)
    with socket.socket() as caller:
        return caller.connect_ex((address[0], int(address[1]))) == 0


@contextmanager
def started_by_a_child(folder: Path, version: str) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    command = [sys.executable, "-c", _PARENT, str(folder), version]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            pid, url = parent.stdout.readline().split()
            yield parent, int(pid), url
        finally:
            parent.kill()


# ---- nobody outlives their parent ------------------------------------------------------------------------------


@every_version
def test_kill_9_of_the_starter_ends_server_and_runners(tmp_path: Path, version: str) -> None:
    with started_by_a_child(tmp_path, version) as (parent, pid, url):
        generate(url, "tiny").raise_for_status()
        with opened(url, "mid", 4000):
            everyone = family(pid)
            assert len(everyone) == 3, "a server and two runners"
            parent.kill()
            assert_all_end(everyone)
        assert not answers(url)


@linux_only
def test_kill_9_of_the_starter_ends_a_stopped_runner_too(tmp_path: Path) -> None:
    with started_by_a_child(tmp_path, "0.13.5") as (parent, pid, url), opened(url, "mid", 4000):
        server, runner = family(pid)
        runner.suspend()
        until(lambda: runner.status() == psutil.STATUS_STOPPED)
        parent.kill()
        assert_all_end([server, runner])


@pytest.mark.parametrize("stopped", [pytest.param(True, marks=linux_only), False])
def test_kill_9_of_the_server_ends_its_runners(tmp_path: Path, stopped: bool) -> None:
    with DrillServer(tmp_path) as server:
        generate(server.url, "tiny").raise_for_status()
        with opened(server.url, "mid", 4000):
            everyone = family(server.pid)
            if stopped:
                everyone[-1].suspend()
            everyone[0].kill()
            assert_all_end(everyone)
        assert server.pid == 0


@every_version
def test_sigterm_ends_all_with_a_stream_open(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server, opened(server.url, "mid", 4000) as stream:
        everyone = family(server.pid)
        assert server.stop() == 0
        assert_all_end(everyone)
        rest = stream.rest()
        assert not [line for line in rest if line.get("done")], "an answer that was cut has no last line"
        assert not answers(server.url)


def test_it_starts_again_on_the_same_port(tmp_path: Path) -> None:
    with DrillServer(tmp_path) as server:
        first, url = server.pid, server.url
        with opened(url, "mid", 4000):
            server.stop()
            server.start()
        assert server.pid not in (0, first)
        assert generate(url).status_code == 200


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", tmp_path / "drill"
    home.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(home)
    monkeypatch.setenv("PYTHONPATH", str(Path(growth.__file__).parents[2]))
    shared_memory = Path("/dev/shm")
    before = set(shared_memory.glob("*")) if shared_memory.exists() else set()
    with DrillServer(folder) as server:
        generate(server.url, "tiny").raise_for_status()
        generate(server.url, "mid").raise_for_status()
        everyone = family(server.pid)
        ports = listening(everyone)
        with opened(server.url, "mid", 4000):
            pass  # a client that goes
    assert_all_end(everyone)
    assert not [port for port in ports if answers(f"http://127.0.0.1:{port}")]
    assert {path.name for path in folder.iterdir()} == {"server.log", "server_truth.jsonl"}
    assert list(home.rglob("*")) == []
    if shared_memory.exists():
        mine = [path for path in set(shared_memory.glob("*")) - before if path.stat().st_uid == os.getuid()]
        assert not [path for path in mine if "drill" in path.name or "ollama" in path.name]


# ---- where it listens ------------------------------------------------------------------------------------------


def listening(processes: list[psutil.Process]) -> list[int]:
    return [port for _, port in listeners(processes)]


def listeners(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    sockets = [each for process in processes for each in process.net_connections(kind="inet")]
    return [(each.laddr.ip, each.laddr.port) for each in sockets if each.status == psutil.CONN_LISTEN]


@every_version
def test_it_listens_on_loopback_only(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server:
        generate(server.url, "tiny").raise_for_status()
        generate(server.url, "mid").raise_for_status()
        everyone = family(server.pid)
        found = {process.pid: listeners([process]) for process in everyone}
        assert [len(each) for each in found.values()] == [1, 1, 1], "each process has one listening socket"
        assert found[server.pid] == [("127.0.0.1", server.port)]
        assert {address for each in found.values() for address, _ in each} == {"127.0.0.1"}
        others = [each for process in everyone for each in process.net_connections(kind="inet")]
        assert {each.raddr.ip for each in others if each.raddr} <= {"127.0.0.1"}


def serve(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A server that ought to end at once."""
    command = [sys.executable, "-m", "warmstall.drill.serve", *arguments]
    environment = {**os.environ, "OLLAMA_HOST": host}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


@every_version
def test_a_taken_port_is_told_as_ollama_tells_it(tmp_path: Path, version: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        done = serve(host, "--version", version)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"Error: listen tcp {host}: bind: address already in use"


@pytest.mark.parametrize(
    "host", ["0.0.0.0:41999", "0.0.0.0", "http://0.0.0.0:41999", "[::]:41999", ":41999", "192.0.2.7:41999", "x:41999"]
)
def test_it_listens_nowhere_but_on_loopback(host: str) -> None:
    done = serve(host)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: a drill listens on 127.0.0.1 only")
    assert len(done.stderr.splitlines()) == 1


# ---- what they look like ---------------------------------------------------------------------------------------


@every_version
def test_names_command_lines_and_pids_are_those_of_the_log(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version, environment={"OLLAMA_DEBUG": "1"}) as server:
        generate(server.url, "tiny").raise_for_status()
        generate(server.url, "mid", options={"num_predict": 2, "num_thread": 1}).raise_for_status()
        runners = {pid: psutil.Process(pid) for pid in server.runner_pids()}
        text = server.log.read_text()
        spawned = re.findall(r'msg="starting .*?" cmd="([^"]*--model[^"]*)"', text)
        shown = {pid: " ".join(process.cmdline()).rstrip() for pid, process in runners.items()}
        assert sorted(shown.values()) == sorted(spawned)
        for pid, process in runners.items():
            assert f"--port {listening([process])[0]}" in shown[pid]
        assert " ".join(psutil.Process(server.pid).cmdline()).rstrip() == "/usr/local/bin/ollama serve"
        if version != "0.3.14":  # which tells no pid
            assert {int(pid) for pid in re.findall(r"runner\.pid=(\d+)", text)} - {0} == runners.keys()
        if sys.platform == "linux":
            names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in runners}
            assert names == {{"0.3.14": "ollama_llama_se", "0.13.5": "ollama", "0.32.15": "llama-server"}[version]}
            assert Path(f"/proc/{server.pid}/comm").read_text().strip() == "ollama"


def test_api_ps_and_truth_name_the_process_that_answered(tmp_path: Path) -> None:
    with DrillServer(tmp_path) as server:
        generate(server.url, "tiny").raise_for_status()
        row = until(lambda: server.truth.exists() and server.truth.read_text().splitlines())[-1]
        assert [json.loads(row)["runner_pid"]] == server.runner_pids()


@linux_only
def test_a_runner_has_the_limits_that_its_server_was_started_with(tmp_path: Path) -> None:
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("prlimit is not installed")
    if 0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] < 8 * MIB:
        pytest.skip("this process may lock less memory than that")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [prlimit, "--memlock=8388608", sys.executable, "-m", "warmstall.drill.serve"]
    environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        generate(f"http://127.0.0.1:{port}").raise_for_status()
        for each in family(process.pid):
            limits = Path(f"/proc/{each.pid}/limits").read_text()
            assert re.search(r"^Max locked memory +8388608 +8388608 +bytes", limits, re.MULTILINE)
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


# ---- signals to runners ----------------------------------------------------------------------------------------


@contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[Future[Any]]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(work)


@every_version
def test_a_stopped_runner_makes_a_request_wait(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server:
        generate(server.url).raise_for_status()
        (pid,) = server.runner_pids()
        runner = psutil.Process(pid)
        runner.suspend()
        with in_background(lambda: generate(server.url)) as asked:
            try:
                with pytest.raises(TimeoutError):
                    asked.result(timeout=1.0)
            finally:
                runner.resume()
            answer = asked.result(timeout=PATIENCE_S)
        assert answer.json()["done"] is True
        assert answer.json()["total_duration"] > 0.4e9
        assert server.runner_pids() == [pid], "the same process answered"


@every_version
def test_a_runner_stopped_in_an_answer_goes_on_where_it_was(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server, opened(server.url) as stream:
        runner = psutil.Process(server.runner_pids()[0])
        runner.suspend()
        with in_background(stream.rest) as reading:
            try:
                with pytest.raises(TimeoutError):
                    reading.result(timeout=3.0)  # more than the answer takes that nothing stops
            finally:
                runner.resume()
            last = reading.result(timeout=PATIENCE_S)[-1]
        assert (last["done"], last["done_reason"]) == (True, "length")
        assert last["eval_duration"] > 2.5e9, "the time that it stood still is the answer's"


UNEXPECTED_END = {
    "0.3.14": "an unknown error was encountered while running the model ",
    "0.13.5": "an error was encountered while running the model: unexpected EOF",
    "0.32.15": "an error was encountered while running the model: unexpected EOF",
}


@every_version
def test_a_runner_killed_in_a_stream(tmp_path: Path, version: str) -> None:
    """Status 200, an error as the last line; the next request loads anew."""
    with DrillServer(tmp_path, version=version) as server:
        with opened(server.url, tokens=4000) as stream:
            (pid,) = server.runner_pids()
            os.kill(pid, signal.SIGKILL)
            assert stream.rest()[-1] == {"error": UNEXPECTED_END[version]}
            assert stream.answer.status_code == 200
        answer = generate(server.url, "mid")
        assert answer.json()["done"] is True
        assert answer.json()["load_duration"] > 0.1e9, "it was loaded anew"
        (next_pid,) = server.runner_pids()
        assert next_pid != pid
        assert server.log.read_text().count(f"--port {listening([psutil.Process(next_pid)])[0]}") >= 1


def is_asked(runner: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_ESTABLISHED for each in runner.net_connections("tcp"))


@every_version
def test_a_runner_killed_in_an_answer_that_is_no_stream(tmp_path: Path, version: str) -> None:
    with DrillServer(tmp_path, version=version) as server:
        for attempt in range(10):  # a kill that comes before the runner's answer has begun is told in other words
            generate(server.url, "mid").raise_for_status()
            (runner,) = [psutil.Process(pid) for pid in server.runner_pids()]
            with in_background(lambda: generate(server.url, "mid", tokens=8000)) as asked:
                until(partial(is_asked, runner))
                wait([asked], timeout=0.1 * attempt)
                runner.kill()
                answer = asked.result(timeout=PATIENCE_S)
            assert answer.status_code == 500
            if answer.json() == {"error": UNEXPECTED_END[version]}:
                break
            assert re.search("EOF|unexpectedly stopped", answer.json()["error"])
        assert answer.json() == {"error": UNEXPECTED_END[version]}


@every_version
def test_a_failed_load_is_an_answer_and_not_the_servers_end(tmp_path: Path, version: str) -> None:
    timetable = tmp_path / "timetable.json"
    Timetable(time.time(), (Fault("failed_load", "mid"),)).save(timetable)
    with DrillServer(tmp_path / "drill", version=version, timetable=timetable) as server:
        failed = generate(server.url, "mid")
        assert failed.status_code == 500
        assert "process has terminated" in failed.json()["error"]
        until(lambda: not server.runner_pids())
        assert generate(server.url, "tiny").status_code == 200
        for name in ("fooarch", "truncated"):
            assert generate(server.url, name).status_code == 500
        assert generate(server.url, "tiny").status_code == 200


# ---- memory that grows -----------------------------------------------------------------------------------------


def growing(folder: Path, rate_mib_per_s: float) -> Path:
    path = folder / "timetable.json"
    Timetable(time.time(), (Fault("growing_memory", "tiny", intensity=rate_mib_per_s * MIB),)).save(path)
    return path


def test_memory_grows_to_the_cap_and_no_further(tmp_path: Path) -> None:
    if psutil.virtual_memory().available < growth.HEADROOM_BYTES + 2 * growth.CAP_BYTES:
        pytest.skip("too little memory is free")
    with DrillServer(tmp_path / "drill", timetable=growing(tmp_path, 100)) as server:
        generate(server.url, "tiny").raise_for_status()
        runner = psutil.Process(server.runner_pids()[0])
        at_first = runner.memory_info().rss
        until(lambda: runner.memory_info().rss > at_first + 100 * MIB)
        seen = []
        ends = time.monotonic() + 6.0  # twice what the cap takes at this rate
        while time.monotonic() < ends:
            seen.append(runner.memory_info().rss - at_first)
            time.sleep(0.05)  # a sample of a series
        assert max(seen) <= growth.CAP_BYTES + 64 * MIB
        assert max(seen) > growth.CAP_BYTES / 2
        assert seen[-1] > growth.CAP_BYTES / 2, "what it took it keeps as long as it lives"


class Memory:
    def __init__(self, available: int) -> None:
        self.available = available


def test_memory_does_not_grow_without_headroom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(growth.HEADROOM_BYTES - 1))
    timetable = Timetable(time.time() - 1, (Fault("growing_memory", "tiny", intensity=1000.0 * MIB),))
    taken: list[int] = []
    monkeypatch.setattr(growth, "_held", [])
    monkeypatch.setattr(growth, "bytearray", lambda given: taken.append(len(given)), raising=False)
    growing = ThreadPoolExecutor(max_workers=1)
    growing.submit(growth._grow, timetable, "tiny").result(timeout=PATIENCE_S)
    assert taken == []


def test_memory_stops_growing_when_headroom_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [growth.HEADROOM_BYTES + 1] * 5
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(left.pop() if left else growth.HEADROOM_BYTES - 1))
    timetable = Timetable(time.time() - 1, (Fault("growing_memory", "tiny", intensity=1000.0 * MIB),))
    taken: list[int] = []
    monkeypatch.setattr(growth, "_held", [])
    monkeypatch.setattr(growth, "bytearray", lambda given: taken.append(len(given)), raising=False)
    growing = ThreadPoolExecutor(max_workers=1)
    growing.submit(growth._grow, timetable, "tiny").result(timeout=PATIENCE_S)
    assert len(taken) == 5
