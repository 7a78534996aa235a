"""Bad input on the command line: one clear sentence on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import zstandard

from dresses import sample

NOISE = random.Random(7).randbytes(300_000)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\6\0\0\0" + NOISE[:5000]
ELF = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0>\0\1\0\0\0" + bytes(3000) + NOISE[:4000]
ROOT_ONLY = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to give its rights up")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "warmstall.cli", "analyze", *map(str, arguments), "--no-report"]


def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL}
    return subprocess.run(command(*arguments), check=False, **{**settings, **options})


def assert_refused(finished: subprocess.CompletedProcess[str], *told: str, code: int = 2) -> None:
    assert "Traceback" not in finished.stderr
    assert finished.returncode == code, finished.stderr
    assert finished.stderr.startswith("warmstall: ")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""
    for text in told:
        assert text in finished.stderr


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


FILES = {
    "empty": (b"", "the file is empty; docker logs and ollama serve write to standard error"),
    "blank": (b"\n\r\n  \n" * 50, "nothing but empty lines"),
    "random": (NOISE, "binary file"),
    "elf": (ELF, "binary file"),
    "png": (PNG, "binary file, not a log; expected text"),
    "gzip cut short": (gzip.compress(NOISE + sample().encode())[:2000], "cut short or damaged"),
    "gzip cut in the tables": (gzip.compress(sample().encode() + NOISE * 3)[:-5000], "cut short or damaged"),
    "zstd cut short": (zstandard.compress(sample().encode())[:-100], "cut short or damaged"),
    "zstd damaged": (b"\x28\xb5\x2f\xfd" + NOISE[:2000], "cut short or damaged"),
    "other text": (b"<html>\nnothing to see\n" * 20, 'it begins "<html>"'),
    "steering": (b"\x1b]0;owned\x07\x1b[2Jmilk\r\n" * 30, "please report these lines"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_log_is_refused_in_one_sentence(name, tmp_path, out):
    data, told = FILES[name]
    path = tmp_path / "server.log"
    path.write_bytes(data)
    finished = run(path, "--out", out)
    assert_refused(finished, str(path), told)
    assert "\x1b" not in finished.stderr
    assert path.read_bytes() == data
    assert not list(out.rglob("*.parquet"))


@pytest.mark.parametrize("name", ["missing.log", pytest.param("x" * 300), "'; DROP\nTABLE", "server.log/inside"])
def test_a_missing_path_is_refused(name, tmp_path, out):
    (tmp_path / "server.log").write_text(sample())
    assert_refused(run(tmp_path / name, "--out", out))


def test_a_folder_without_evidence_is_refused(tmp_path, out):
    (tmp_path / "folder" / "server.log").mkdir(parents=True)
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    assert_refused(run(tmp_path / "folder", "--out", out), "no evidence in this folder")


def test_cases_that_are_told_as_one_are_counted(tmp_path, out):
    """As of somebody who gives the folder above two incidents."""
    for name in ("monday", "tuesday"):
        (tmp_path / "cases" / name / "evidence" / "box").mkdir(parents=True)
        (tmp_path / "cases" / name / "evidence" / "box" / "server.log").write_text(sample() + f"of {name}\n")
        (tmp_path / "cases" / name / "case.json").write_text("{}")
    both, one = run(tmp_path / "cases", "--out", out), run(tmp_path / "cases" / "monday", "--out", out)
    assert both.returncode == one.returncode == 0
    assert "2 cases lie here and are told as if they were one" in both.stderr
    assert f"warmstall fleet analyze {tmp_path / 'cases'}" in both.stderr
    assert "Left out" not in both.stderr
    assert one.stderr == ""


def test_an_empty_standard_input_is_refused(out):
    assert_refused(run("-", "--out", out), "standard input", "empty")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_with_the_way_to_read_it(tmp_path, out):
    os.mkfifo(tmp_path / "pipe")
    assert_refused(run(tmp_path / "pipe", "--out", out), "warmstall analyze - <")


@ROOT_ONLY
@pytest.mark.parametrize("locked", ["server.log", pytest.param(".")])
def test_evidence_without_permission_is_refused(locked, request):
    # Not tmp_path, which is closed to other users as a whole.
    above = tempfile.TemporaryDirectory(prefix="warmstall-test-")
    request.addfinalizer(above.cleanup)
    Path(above.name).chmod(0o755)
    folder, out = Path(above.name) / "locked", Path(above.name) / "out"
    folder.mkdir()
    (folder / "server.log").write_text(sample())
    (folder / locked).chmod(0)
    driver = (
        "import contextlib, os, sys, warmstall.cli as cli\n"
        "import warmstall.case, warmstall.analysis\n"
        "with contextlib.suppress(Exception):\n"  # once before, so that all modules are loaded
        "    cli.app(['analyze', '/missing'], standalone_mode=False)\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"sys.argv = {command(folder / 'server.log', '--out', out)[2:]!r}\n"
        "cli.main()\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", driver], check=False, capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert_refused(finished, "no permission")


def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "server.log").write_text(sample())
    (tmp_path / "out").write_text("mine")
    assert_refused(run(tmp_path / "server.log", "--out", tmp_path / "out"), str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_leaves_no_partial_output_and_the_evidence_untouched(tmp_path, out):
    log = tmp_path / "server.log"
    log.write_text(sample())
    allow = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))  # noqa: E731
    assert_refused(run(log, "--out", out, preexec_fn=allow))
    assert not list(out.rglob("*.partial"))
    assert log.read_text() == sample()


@pytest.mark.skipif(os.name == "nt", reason="signals work otherwise there")
def test_ctrl_c_says_one_sentence_and_leaves_130(tmp_path, out):
    child = subprocess.Popen(
        command("-", "--out", out), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # More than a pipe holds: when all of it is taken, the child is reading its evidence.
    child.stdin.write(sample().encode() * 20)
    child.stdin.flush()
    child.send_signal(signal.SIGINT)
    try:
        child.wait(timeout=60)
    finally:
        child.kill()
    stdout, stderr = child.stdout.read().decode(), child.stderr.read().decode()
    assert_refused(subprocess.CompletedProcess([], child.returncode, stdout, stderr), "stopped", code=130)
    assert not list(out.rglob("*.parquet"))


def test_a_file_of_a_folder_that_is_left_out_is_named(tmp_path, out):
    """Its name is text of somebody else: it cannot move the cursor."""
    (tmp_path / "server.log").write_text(sample())
    for name in ("a\x1b[2J.txt", "b.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_text("the model hung again at nine\n")
    finished = run(tmp_path, "--out", out)

    assert finished.returncode == 0
    assert finished.stderr.startswith("Left out, as nothing in it is known: ")
    assert finished.stderr.endswith(" and 1 more\n")
    assert "\x1b" not in finished.stderr
