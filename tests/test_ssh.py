"""The same collection over OpenSSH, from a real sshd on loopback."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import free_port, live_server
from warmstall.case import open_case
from warmstall.collect.collection import Wanted
from warmstall.collect.run import collect
from warmstall.errors import InputError
from warmstall.host import SshHost

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="no OpenSSH server and client here")


@contextlib.contextmanager
def sshd(folder: Path, more: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """A server of one's own on loopback; gives its address and the options for the client. `more` configures it."""
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        + more
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates its privileges
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=log)
    try:
        _await_port(port, process)
        options = (
            "-F", "none", "-i", str(folder / "user"), "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={folder}/known", "-o", "LogLevel=ERROR",
        )  # fmt: skip
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", options
    finally:
        process.kill()
        process.wait(10)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "sshd has ended"
            assert time.monotonic() < ends, "sshd does not listen"
            time.sleep(0.02)  # between two questions to a process that is starting


@pytest.mark.usefixtures("no_other_server")
def test_a_collection_over_ssh_holds_what_a_local_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with sshd(tmp_path / "ssh") as (address, options), live_server(tmp_path / "live") as live:
        host = SshHost(address, options)
        with contextlib.closing(host):
            found = collect(host, tmp_path / "case", Wanted())
            assert abs(host.clock_offset_s(5.0)[0]) < 5
        case = open_case(found.case)
        roles = case.sql("SELECT pid, role FROM processes").set_index("pid").role
        assert (roles[live.pid], roles[live.runner_pid]) == ("serve", "runner")
        assert case.sql("SELECT count(*) AS n FROM limits WHERE subject = $pid", pid=str(live.pid)).n[0] > 10
        # Through a forwarded port, to where its environment says that it listens.
        statuses = case.sql("SELECT status FROM probes WHERE endpoint = '/api/ps'").status.tolist()
        assert statuses == ["200"]
        folder = found.case / "evidence" / found.host
        assert "Listening on" in (folder / "by-hand.log").read_text()
        assert case.sql("SELECT count(*) AS n FROM memory WHERE origin = 'linux'").n[0] == 1
        assert not [step for step in found.steps if step.outcome == "failed" and step.collector == "Ollama's API"]


def test_words_for_the_other_side_are_quoted(tmp_path):
    hostile = tmp_path / "a log; touch hurt $(touch hurt)"
    hostile.write_text("content")
    with sshd(tmp_path / "ssh") as (address, options), contextlib.closing(SshHost(address, options)) as host:
        assert host.read(str(hostile), 10.0).text == "content"
        assert host.read(str(tmp_path / "none"), 10.0).outcome == "missing"
        assert host.files(str(tmp_path), "a log*", 10.0) == [str(hostile)]
    assert not list(tmp_path.rglob("hurt"))


def test_a_machine_that_cannot_be_reached_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be reached over ssh"):
        SshHost(f"ssh://127.0.0.1:{free_port()}", ("-F", "none", "-o", "LogLevel=ERROR"))
