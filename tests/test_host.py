"""The seam to the outside: bounded in time and size, never through a shell, and read-only unless asked."""

import contextlib
import os
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest

from live import program
from warmstall.errors import InputError
from warmstall.host import Command, LocalHost, RecordedHost, open_host, run_bounded

PYTHON = sys.executable


def test_a_command_ends_at_its_deadline_with_all_its_children(tmp_path):
    pids = tmp_path / "pids"
    script = "\n".join(
        (
            "import os, subprocess, sys, time",
            "child = subprocess.Popen(['sleep', '600'])",
            "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')",
            "print('so far', flush=True)",
            "time.sleep(600)",
        )
    )
    began = time.monotonic()
    output = run_bounded([PYTHON, "-c", script, str(pids)], 2.0, 1000)
    assert output.outcome == "timed_out"
    assert "did not end within 2 s" in output.reason
    assert output.data == b"so far\n"
    assert time.monotonic() - began < 60
    parent, child = map(int, pids.read_text().split())
    for pid in (parent, child):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(20)  # raises TimeoutExpired while it lives


def test_output_is_bounded():
    output = run_bounded(["yes"], 1.0, 5000)
    assert (output.outcome, len(output.data), output.truncated) == ("timed_out", 5000, True)


def test_of_much_output_the_newest_is_kept():
    output = run_bounded(["seq", "1", "100000"], 20.0, 1000)
    assert (output.outcome, output.truncated) == ("captured", True)
    assert output.data.endswith(b"\n99999\n100000\n")
    assert len(output.data) == 1000


def test_children_left_behind_are_ended(tmp_path):
    output = run_bounded(["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"], 10.0, 1000)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(output.text)).wait(20)  # raises TimeoutExpired while it lives


def test_what_is_not_there_and_what_may_not_run_are_told_apart(tmp_path):
    (tmp_path / "no-program").write_text("text")
    assert run_bounded(["warmstall-no-such-program"], 5, 100).outcome == "missing"
    assert run_bounded([str(tmp_path / "no-program")], 5, 100).outcome == "refused"


def test_a_refusal_is_known_by_what_the_program_says(tmp_path):
    program(tmp_path, "journalctl", "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1")
    output = run_bounded([str(tmp_path / "journalctl")], 5, 100)
    assert output.outcome == "refused"
    assert "insufficient permissions" in output.reason


def test_a_failure_tells_its_last_words(tmp_path):
    program(tmp_path, "tool", "echo starting; echo 'no device' >&2; exit 9")
    output = run_bounded([str(tmp_path / "tool")], 5, 100)
    assert (output.outcome, output.exit_code) == ("failed", 9)
    assert output.reason.endswith("ended with 9: no device")
    assert output.data == b"starting\n"


def test_nothing_goes_through_a_shell(tmp_path):
    words = ["$(touch hurt)", "; touch hurt", "`touch hurt`"]
    output = LocalHost().run(Command("echo", ("echo", "{words...}")), 5.0, words=words)
    assert output.text == "$(touch hurt) ; touch hurt `touch hurt`\n"


def test_a_command_that_writes_is_refused_on_a_host_opened_for_reading(tmp_path):
    command = Command("touch", ("touch", "{path}"), effect="write")
    with pytest.raises(PermissionError, match="opened for reading only"):
        LocalHost().run(command, 5.0, path=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert LocalHost(writing=True).run(command, 5.0, path=str(tmp_path / "new")).outcome == "captured"
    assert (tmp_path / "new").exists()


def test_the_end_of_a_file_is_read(tmp_path):
    path = tmp_path / "a log"
    path.write_bytes(b"x" * 100 + b"end")
    output = LocalHost().read(str(path), 5.0, most_bytes=3)
    assert (output.data, output.truncated) == (b"end", True)
    assert LocalHost().read(str(tmp_path / "none"), 5.0).outcome == "missing"
    assert b"MemTotal" in LocalHost().read("/proc/meminfo", 5.0).data


def test_a_file_that_never_ends_its_reading_is_given_up(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody writes: opening it waits for ever, as a dead network file system does
    output = LocalHost().read(str(pipe), 0.5)
    assert output.outcome == "timed_out"


def test_files_are_found_by_pattern(tmp_path):
    for name in ("server.log", "server-1.log", "other.txt"):
        (tmp_path / name).write_text("x")
    found = LocalHost().files(str(tmp_path), "server*.log", 5.0)
    assert [Path(path).name for path in found] == ["server-1.log", "server.log"]
    assert LocalHost().files(str(tmp_path / "none"), "*", 5.0) == []


@pytest.mark.parametrize("address", ["box", "ssh://", "ssh://-oProxyCommand=touch", "ssh://box:port", "http://box"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(InputError, match="expected ssh://"):
        open_host(address)


def test_a_recorded_host_answers_what_was_recorded_and_keeps_what_was_asked():
    command = Command("version", ("tool", "--version"))
    host = RecordedHost(outputs={shlex.join(command.argv): "1.2"}, contents={"/etc/x": "content"})
    assert host.run(command, 1.0).text == "1.2"
    assert host.run(Command("other", ("other",)), 1.0).outcome == "missing"
    assert host.read("/etc/x", 1.0).text == "content"
    assert host.read("/etc/y", 1.0).outcome == "missing"
    assert host.asked[:2] == [command, Command("other", ("other",))]
