"""A signal goes to the very process that was meant, or to nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from warmstall.errors import ActionFailed
from warmstall.host import LocalHost, RecordedHost
from warmstall.remediate.processes import is_alive, process_of, send_signal

WAITS = "import signal, sys; print('ready', flush=True); signal.pause()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_is_known_by_more_than_its_number(child):
    found = process_of(LocalHost(), child.pid)
    assert found
    assert found.parent_pid == os.getpid()
    assert os.path.realpath(found.executable) == os.path.realpath(sys.executable)
    assert found.command == f"{sys.executable} -c {WAITS}"
    assert found == process_of(LocalHost(), child.pid), "two looks at one life are equal"


@pytest.mark.parametrize("change", [
    {"started": "another boot:1"}, {"parent_pid": 1}, {"executable": "/bin/other"}, {"command": "other"},
])  # fmt: skip
def test_one_that_differs_in_anything_is_not_signalled(child, change):
    meant = replace(process_of(LocalHost(), child.pid), **change)
    with pytest.raises(ActionFailed, match="another one by now"):
        send_signal(LocalHost(writing=True), meant, "KILL")
    assert child.poll() is None


def test_a_number_that_is_given_again_is_another_life(child):
    """The process that took the number has another start; the old life is over."""
    now = process_of(LocalHost(), child.pid)
    assert is_alive(LocalHost(), now)
    assert not is_alive(LocalHost(), replace(now, started="6b1c2f64:1"))


def test_the_one_that_is_meant_gets_it(child):
    send_signal(LocalHost(writing=True), process_of(LocalHost(), child.pid), "TERM")
    assert child.wait(30) == -signal.SIGTERM


def test_one_that_is_gone_is_told(child):
    meant = process_of(LocalHost(), child.pid)
    child.kill()
    child.wait()
    assert process_of(LocalHost(), child.pid) is None
    assert not is_alive(LocalHost(), meant)
    with pytest.raises(ActionFailed, match="was not sent"):
        send_signal(LocalHost(writing=True), meant, "TERM")


def test_one_that_has_ended_and_is_not_yet_reaped_is_gone(child):
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_of(LocalHost(), child.pid) is None


def test_a_host_for_reading_signals_nobody(child):
    with pytest.raises(PermissionError):
        send_signal(LocalHost(), process_of(LocalHost(), child.pid), "TERM")
    assert child.poll() is None


def test_a_name_with_brackets_and_blanks_moves_no_column():
    contents = {
        "/proc/7/stat": "7 (a) S 1 (b) S 3 7 7 0 -1 4194560 0 0 0 0 20 14 0 0 20 0 18 0 51200 0 0",
        "/proc/sys/kernel/random/boot_id": "b00t\n",
        "/proc/7/cmdline": "a\0b c\0",
    }
    found = process_of(RecordedHost(contents=contents), 7)
    assert (found.parent_pid, found.started, found.command) == (3, "b00t:51200", "a b c")


def test_a_process_of_macos():
    program = "/Applications/Ollama.app/Contents/Resources/ollama"
    outputs = {
        "ps -ww -o ppid=,lstart=,comm= -p 501": f"    1 Tue Nov  3 02:14:00 2026 {program}\n",
        "ps -ww -o args= -p 501": f"{program} serve\n",
    }
    found = process_of(RecordedHost(system="Darwin", outputs=outputs), 501)
    assert (found.parent_pid, found.started) == (1, "Tue Nov  3 02:14:00 2026")
    assert (found.executable, found.command) == (program, f"{program} serve")
    assert process_of(RecordedHost(system="Darwin"), 501) is None
