"""A vector store in a container of Compose, with a `docker` on PATH that really copies files and starts processes.

    with vector_store(tmp_path / "docker", monkeypatch) as store:
        with Book("persist-vector-store", store.parameters) as book: ...

The programs are in tests/docker_programs; `store.fault("cp-fails")` makes them go wrong.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from remediate.service import _CLIENT
from warmstall.drill.runner import free_port

PROGRAMS = Path(__file__).parents[1] / "docker_programs"
# The mistake of https://github.com/odysseus-dev/odysseus/issues/6132: the volume is where Chroma wrote before 1.0.
COMPOSE = """\
# our stores
services:
  chroma:
    image: chromadb/chroma:1.0.20
    container_name: chroma
    ports: ["127.0.0.1:{port}:8000"]
    volumes:
      - chroma-data:/chroma/chroma
  app:
    image: app:3  # asks chroma
    ports: ["127.0.0.1:1:8000"]
volumes:
  chroma-data:
"""
COLLECTIONS = ("papers", "manuals")


@dataclass
class Store:
    """The container `chroma`, whose data lie where nothing is mounted."""

    folder: Path
    port: int

    @property
    def project(self) -> Path:
        return self.folder / "rag"

    @property
    def parameters(self) -> dict[str, Any]:
        return {"target": "local", "port": self.port, "journal": str(self.folder / "journal.jsonl")}

    def docker(self, *words: str) -> str:
        told = subprocess.run([self.folder / "bin" / "docker", *words], capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def fault(self, *faults: str) -> None:
        (self.folder / "faults").write_text(" ".join(faults))

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    def up(self) -> None:
        """As an operator would, who knows of no runbook: Compose reads the override that it knows by its name."""
        file, override = self.project / "compose.yaml", self.project / "compose.override.yaml"
        files = ["-f", str(file), *(["-f", str(override)] if override.exists() else [])]
        named = ["--project-name", "rag", "--project-directory", str(self.project)]
        self.docker("compose", *named, *files, "up", "--no-start", "chroma")
        self.docker("start", "chroma")
        self.await_answer()

    def await_answer(self) -> None:
        ends = time.monotonic() + 30
        while self.get("/api/v2/heartbeat") is None:
            assert time.monotonic() < ends, "the store does not start"
            time.sleep(0.02)  # between two questions to a process that starts

    def get(self, path: str) -> Any:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5.0, trust_env=False, verify=False)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def add(self, name: str) -> None:
        httpx.post(
            f"http://127.0.0.1:{self.port}/", json={"name": name}, trust_env=False, verify=False
        ).raise_for_status()

    @property
    def collections(self) -> int | None:
        return self.get("/api/v2/tenants/default_tenant/databases/default_database/collections_count")

    @property
    def volume(self) -> Path:
        return self.folder / "volumes" / "rag_chroma-kept"

    @property
    def copy(self) -> Path:
        return self.project / "chroma-copied-by-warmstall"

    def reset(self) -> None:
        """As it was made: no override, no copy, no new volume, no journal, and two collections."""
        self.fault()
        (self.project / "compose.override.yaml").unlink(missing_ok=True)
        self.up()
        for path in (self.volume, *self.project.glob("*-warmstall*")):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self.folder / "journal.jsonl", Path(f"/tmp/warmstall-{self.port}.lock")):
            path.unlink(missing_ok=True)
        if self.collections != len(COLLECTIONS):
            self.docker("stop", "-t", "30", "chroma")
            for data in (self.folder / "layers").glob("*/data"):
                shutil.rmtree(data)
            self.docker("start", "chroma")
            self.await_answer()
            for name in COLLECTIONS:
                self.add(name)

    def files(self) -> dict[str, bytes]:
        """All files of the project, the layers and the volumes, for comparing before and after."""
        there = [path for part in ("rag", "layers", "volumes") for path in (self.folder / part).rglob("*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in there if path.is_file()}


@contextlib.contextmanager
def vector_store(folder: Path, monkeypatch: pytest.MonkeyPatch, compose: str = COMPOSE) -> Iterator[Store]:
    """A store that runs and holds two collections."""
    store = Store(folder, free_port())
    (folder / "bin").mkdir(parents=True)
    store.project.mkdir()
    (store.project / "compose.yaml").write_text(compose.replace("{port}", str(store.port)))
    with tempfile.TemporaryDirectory(prefix="warmstall-") as short:  # the path of a socket is short
        path = Path(short) / "engine"
        client = folder / "bin" / "docker"
        client.write_text(_CLIENT.format(python=os.path.realpath(sys.executable), socket=str(path)))
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{client.parent}{os.pathsep}{os.environ['PATH']}")
        process = subprocess.Popen([sys.executable, str(PROGRAMS / "engine.py"), str(path), str(folder)])
        try:
            ends = time.monotonic() + 30
            while not path.exists():
                assert process.poll() is None, "the stand-in of docker has ended"
                assert time.monotonic() < ends, "the stand-in of docker does not start"
                time.sleep(0.02)  # between two looks for its socket
            store.reset()
            yield store
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.wait(10)
            psutil.wait_procs(children, timeout=10)
