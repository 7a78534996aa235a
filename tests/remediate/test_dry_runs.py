"""A look at a live server by every runbook: no file, no process, no model in memory is another one afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from remediate.service import DrillService, drill_service
from warmstall.remediate.book import Book
from warmstall.remediate.catalogue import NAMES
from warmstall.remediate.lock import lock_path

# What makes each runbook plan something on this server, where it can be had without harm.
SETTINGS: dict[str, dict[str, Any]] = {
    "recover-stuck-runner": {"look_s": 1.0},
    "free-vram": {"look_s": 0.5},
    "fit-context": {"model": "tiny", "prompt_tokens": 3000, "memory_bytes": 8 << 30},
    "flash-attention-off": {"model": "tiny"},
    "raise-service-limits": {"nofile": 4096},
    "limit-concurrency": {"max_queue": 8, "model": "tiny"},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("service")
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        environment = {"OLLAMA_FLASH_ATTENTION": "1", "OLLAMA_CONTEXT_LENGTH": "2048"}
        with drill_service(
            folder / "service", monkeypatch, environment=environment, limits={"NOFILE": "1024"},
            arguments=("--gpu", "cuda:NVIDIA GeForce RTX 3060:12"),
        ) as started:  # fmt: skip
            body = {"model": "tiny", "prompt": "Hello.", "stream": False, "keep_alive": "30m"}
            httpx.post(
                f"{started.url}/api/generate", json=body, timeout=60, trust_env=False, verify=False
            ).raise_for_status()
            yield started


def files(folder: Path) -> dict[str, str]:
    """Every file's hash. The server's own log grows with every question, and the stand-ins write down theirs."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("server.log", "asked")
    }  # fmt: skip


def processes(service: DrillService) -> set[tuple[int, float]]:
    """The server and its runners, each life of them."""
    server = psutil.Process(service.pid)
    return {(one.pid, one.create_time()) for one in [server, *server.children(recursive=True)]}


def in_memory(service: DrillService) -> list[dict[str, Any]]:
    return httpx.get(f"{service.url}/api/ps", timeout=10, trust_env=False, verify=False).json()["models"]


def state(service: DrillService) -> tuple[Any, ...]:
    written = set(Path("/tmp").glob(f"warmstall-{service.port}*"))
    return files(service.folder.parent), processes(service), in_memory(service), written


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_leaves_a_live_server_as_it_was(name, service):
    before, asked = state(service), len(service.asked())
    with Book(name, {**service.parameters, **SETTINGS.get(name, {})}) as book:
        outcome = book.outcome()
        if name in SETTINGS and name != "recover-stuck-runner":
            assert outcome.status == "planned", outcome
    assert state(service) == before
    assert not [line for line in service.asked()[asked:] if "restart" in line or "reload" in line]
    assert not Path(lock_path(service.port)).is_symlink()
    assert not service.journal.exists()
