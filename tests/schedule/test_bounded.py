"""A command within bounds: ended with all its children when it takes too long or too much."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from warmstall.schedule.bounded import STOPPED, run_bounded

# A child in a session of its own, as a notebook's kernel is, and a child of that, whose pid is written.
WITH_A_CHILD = """
import subprocess, sys
last = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); held = bytearray(%d)"
first = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
words = [sys.executable, "-c", first, last + "; time.sleep(600)", *sys.argv[1:]]
subprocess.Popen(words, start_new_session=True).wait()
"""


def python(code: str, *words: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, words)]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_an_exit_code_comes_back(code: int) -> None:
    assert run_bounded(python(f"raise SystemExit({code})"), 60, 2**30).exit_code == code


def test_a_signal_is_told_as_a_shell_does() -> None:
    assert run_bounded(python("import os; os.kill(os.getpid(), 9)"), 60).exit_code == 128 + 9


def test_what_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    ended = run_bounded(python(WITH_A_CHILD % 0, tmp_path / "pid"), longest_s=2)

    assert (ended.exit_code, ended.stopped) == (STOPPED, "it took longer than 2s")
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_its_children_hold_counts(tmp_path: Path) -> None:
    ended = run_bounded(python(WITH_A_CHILD % 300_000_000, tmp_path / "pid"), 120, memory_bytes=200 * 2**20)

    assert ended.exit_code == STOPPED
    assert "more than 200M" in ended.stopped
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_output_is_held_back_and_given() -> None:
    ended = run_bounded(python("import sys; print('out'); print('err', file=sys.stderr)"), hold_back=True)

    assert sorted(ended.printed.split()) == [b"err", b"out"]


def test_it_gets_the_variables() -> None:
    ended = run_bounded(python("import os; print(os.environ['W'])"), variables={"W": "a b"}, hold_back=True)

    assert ended.printed == b"a b\n"


def test_a_signal_to_it_ends_the_command_too(tmp_path: Path) -> None:
    """A scheduler that stops the job stops the report, and leaves nothing behind."""
    command = python(WITH_A_CHILD % 0, tmp_path / "pid")
    outer = f"from warmstall.schedule.bounded import run_bounded; run_bounded({command!r})"
    with subprocess.Popen(python(outer)) as running:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert running.poll() is None
            time.sleep(0.05)  # nobody tells when a file is written
        running.send_signal(signal.SIGTERM)
        running.wait(60)
    assert is_gone(int((tmp_path / "pid").read_text()))
