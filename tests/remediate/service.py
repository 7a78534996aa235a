"""A drill server as a service: unit files in a folder, and a `systemctl` on PATH that starts it from them.

    with drill_service(tmp_path / "service", monkeypatch, environment={"OLLAMA_FLASH_ATTENTION": "1"}) as service:
        with Book("flash-attention-off", {**service.parameters, "model": "tiny"}) as book: ...

The programs are real ones (tests/service_programs); `service.fault("ignore-drop-ins")` makes them go wrong.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from remediate.killed import look_and_approve
from warmstall.drill.runner import free_port
from warmstall.remediate.run import Outcome

PROGRAMS = Path(__file__).parents[1] / "service_programs"
# Started often: without its packages Python is up in moments. The kernel wants the program's whole path.
_CLIENT = """#!{python} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({socket!r})
    stream = connection.makefile("rwb")
    stream.write(json.dumps(sys.argv).encode() + b"\\n")
    stream.flush()
    code, said, complained = json.loads(stream.readline())
sys.stdout.write(said)
sys.stderr.write(complained)
sys.exit(code)
"""


@dataclass
class DrillService:
    """A server that is the main process of a unit."""

    folder: Path
    unit_folder: Path
    unit: str
    port: int
    journal: Path
    _manager: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def bin(self) -> Path:
        """Where the stand-ins lie."""
        return self.folder / "bin"

    @property
    def drop_ins(self) -> Path:
        return self.unit_folder / f"{self.unit}.d"

    @property
    def parameters(self) -> dict[str, Any]:
        """What a runbook needs to be told to find it."""
        return {"target": "local", "port": self.port, "unit": self.unit, "unit_folder": str(self.unit_folder),
                "journal": str(self.journal)}  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the server; 0 while there is none."""
        told = subprocess.run([self.bin / "systemctl", "show", "--", self.unit], capture_output=True, text=True).stdout
        return int(dict(line.split("=", 1) for line in told.splitlines())["MainPID"])

    def environment(self) -> dict[str, str]:
        """The live server's."""
        entries = Path(f"/proc/{self.pid}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def limit(self, title: str) -> list[str]:
        """Soft and hard limit of the live server, by the title in /proc/PID/limits such as `Max open files`."""
        lines = Path(f"/proc/{self.pid}/limits").read_text().splitlines()
        return next(line.removeprefix(title).split()[:2] for line in lines if line.startswith(title))

    def fault(self, *faults: str) -> None:
        """What goes wrong from now on; nothing without a word."""
        (self.folder / "faults").write_text(" ".join(faults))

    def asked(self) -> list[str]:
        """Every command that the stand-ins were asked, in order."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def restart(self) -> None:
        """Read the files anew and start the server again, as an operator would, and wait until it answers."""
        for words in (["daemon-reload"], ["restart", "--", self.unit]):
            subprocess.run([self.bin / "systemctl", *words], check=True, capture_output=True)
        self.await_answer()

    def await_answer(self) -> None:
        ends = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{self.url}/api/version", timeout=2.0, trust_env=False, verify=False).raise_for_status()
                return
            except httpx.HTTPError:
                assert time.monotonic() < ends, self.log.read_text()[-2000:] if self.log.exists() else "no log"
                time.sleep(0.02)  # between two questions to a process that starts

    def files(self) -> dict[str, bytes]:
        """The unit's files, for comparing before and after."""
        return {str(path): path.read_bytes() for path in self.unit_folder.rglob("*") if path.is_file()}

    def reset(self) -> None:
        """As it was made: no drop-ins of runbooks, no faults, no journal, the server started again if need be."""
        self.fault()
        ours = list(self.drop_ins.glob("zz-warmstall-*"))
        for path in [*ours, self.journal, Path(f"/tmp/warmstall-{self.port}.lock")]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.drop_ins.rmdir()
        if ours or not self.pid:
            self.restart()


@contextlib.contextmanager
def drill_service(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, version: str = "0.13.5",
    environment: Mapping[str, str] | None = None, limits: Mapping[str, str] | None = None,
    unit: str = "ollama.service", arguments: tuple[str, ...] = (), program: tuple[str, ...] = (),
) -> Iterator[DrillService]:  # fmt: skip
    """A drill server that runs from a unit file with these variables and limits (as `{"NOFILE": "1024"}`).

    `arguments` are further ones of `warmstall.drill.serve`; `program` is a Python file, with its own first arguments,
    to run in its place. PATH gets the stand-ins; the true systemd-analyze stays.
    """
    service = DrillService(folder, folder / "units", unit, free_port(), folder / "journal.jsonl")
    service.bin.mkdir(parents=True)
    service.unit_folder.mkdir()
    words = [sys.executable, *(program or ("-m", "warmstall.drill.serve")), "--version", version, *arguments]
    variables = {"OLLAMA_HOST": f"127.0.0.1:{service.port}", **(environment or {})}
    (service.unit_folder / unit).write_text(
        f"[Unit]\nDescription=A server of a drill\n\n[Service]\nExecStart={shlex.join(words)}\n"
        + "".join(f'Environment="{name}={value}"\n' for name, value in variables.items())
        + "".join(f"Limit{name}={value}\n" for name, value in (limits or {}).items())
    )
    with tempfile.TemporaryDirectory(prefix="warmstall-") as short:  # the path of a socket is short
        path = f"{short}/manager"
        client = _CLIENT.format(python=os.path.realpath(sys.executable), socket=path)
        for name in ("systemctl", "journalctl"):
            (service.bin / name).write_text(client)
            (service.bin / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{service.bin}{os.pathsep}{os.environ['PATH']}")
        manager = [sys.executable, str(PROGRAMS / "manager.py"), path, str(folder), str(service.unit_folder), unit]
        process = subprocess.Popen(manager)
        try:
            ends = time.monotonic() + 30
            while not Path(path).exists():
                assert process.poll() is None, "the stand-in of systemd has ended"
                assert time.monotonic() < ends, "the stand-in of systemd does not start"
                time.sleep(0.02)  # between two looks for its socket
            service.await_answer()
            yield service
        finally:
            pid = service.pid if process.poll() is None else 0
            children = psutil.Process(pid).children(recursive=True) if pid else []
            process.kill()
            process.wait(10)
            psutil.wait_procs(children, timeout=10)


def act(runbook: str, parameters: Mapping[str, Any]) -> Outcome:
    """Look at the plan, approve it, and run it."""
    return look_and_approve(runbook, parameters)
