"""Where a runbook acts: one server on one host, asked through the same seam whether here, over ssh, or recorded.

A target opened for reading sends nothing that changes anything: the host refuses commands that write, and `send`
refuses requests that load, unload or generate.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..collect.commands import COMMANDS
from ..errors import CannotTell, InputError
from ..host import Host, RecordedHost, open_host
from ..ollama import probe
from ..parse.environment import parse_environment
from ..parse.process_table import parse_process_table
from .processes import Process, process_of
from .recorded import Recording, read_recording

_TIMEOUT_S = 5.0
DEFAULT_PORT = 11434
# Where an administrator's units lie; a folder of systemd/user is that of a user's own manager.
UNIT_FOLDER = "/etc/systemd/system"
# What can be asked without changing anything: show is a POST that only reads.
_READS = (
    "/api/version", "/api/ps", "/api/tags", "/api/show", "/health", "/slots", "/props",
    # of vector stores
    "/api/v1/heartbeat", "/api/v2/heartbeat", "/api/v1/count_collections",
    "/api/v2/tenants/default_tenant/databases/default_database/collections_count", "/collections",
)  # fmt: skip
# Of everything that changes something, what runbooks send.
_WRITES = (
    "/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/v1/embeddings",
    # of embedding services
    "/embed", "/embeddings",
)  # fmt: skip
_PLAIN_PATH = re.compile(r"/[\w/.-]*")


@dataclass(frozen=True)
class Runner:
    """A runner of the server: its process, the file of its model and its own port (None where it tells none)."""

    process: Process
    model_path: str
    port: int | None


@dataclass(frozen=True)
class Resident:
    """A model that the server says is in memory. `expires_at` is UTC; -1 for keep_alive shows far in the future."""

    name: str
    digest: str
    size_bytes: int
    vram_bytes: int
    context_length: int | None
    expires_at: datetime | None
    details: dict[str, Any]

    def is_past(self, now: datetime) -> bool:
        """Whether it has outstayed its time. Go's zero time means that none is set yet."""
        return self.expires_at is not None and self.expires_at.year > 1 and self.expires_at < now


@dataclass
class Target:
    """One server. `name` is what the operator called the host; `key` is what locks and journals know it by."""

    name: str
    host: Host
    port: int = DEFAULT_PORT
    unit: str = "ollama.service"
    recording: Recording | None = None
    unit_folder: str = UNIT_FOLDER  # where drop-ins are written
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _urls: dict[int, str] = field(default_factory=dict, repr=False)
    # What looks that must lie apart have shown so far, for the runbook that looks again.
    seen: dict[Any, Any] = field(default_factory=dict, repr=False)
    _recorded_s: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.host.name}:{self.port}"

    @property
    def writing(self) -> bool:
        return self.host.writing

    def now(self) -> datetime:
        """UTC on the clock of the target's host."""
        if self.recording:
            return self.recording.at + timedelta(seconds=self._recorded_s)
        return datetime.now(UTC) + timedelta(seconds=self.host.ahead_s)

    def monotonic_s(self) -> float:
        return self._recorded_s if self.recording else time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass; on a recording it passes at once."""
        if self.recording:
            self._recorded_s += seconds
        else:
            time.sleep(seconds)  # between two looks at another machine, which sends no events

    def ask(self, endpoint: str, timeout_s: float = 3.0, body: object = None, port: int = 0) -> dict[str, Any]:
        """A question that changes nothing; the row that `ollama.probe` returns. `port` is that of a runner.

        Raises PermissionError for an endpoint that is not known to only read.
        """
        if endpoint.partition("?")[0] not in _READS:
            raise PermissionError(f"{endpoint}: not one of the endpoints that only read.")
        return self._request(endpoint, timeout_s, "POST" if body is not None else "GET", body, port)

    def ask_service(self, path: str, port: int, timeout_s: float = 3.0) -> dict[str, Any]:
        """A GET of another service than Ollama, at the path that the operator names as its health page.

        Raises PermissionError for what is no plain path.
        """
        if not _PLAIN_PATH.fullmatch(path):
            raise PermissionError(f"{path!r}: expected a plain path, such as /health.")
        return self._request(path, timeout_s, "GET", None, port)

    def send(self, endpoint: str, body: object, timeout_s: float, port: int = 0) -> dict[str, Any]:
        """A request that loads, unloads, generates or embeds; `port` is that of another service than the server.

        Raises PermissionError on a target opened for reading, and for an endpoint that no runbook needs.
        """
        if not self.writing:
            raise PermissionError(f"{endpoint}: a request that acts, on a target opened for reading only.")
        if endpoint not in _WRITES:
            raise PermissionError(f"{endpoint}: not one of the endpoints that runbooks use.")
        return self._request(endpoint, timeout_s, "POST", body, port)

    def _request(self, endpoint: str, timeout_s: float, method: str, body: object, port: int) -> dict[str, Any]:
        if self.recording:
            return self.recording.answer(endpoint, self.now(), body, port)
        return probe(self._url(port or self.port), endpoint, timeout_s, method, body)

    def _url(self, port: int) -> str:
        if port not in self._urls:
            self._urls[port] = self._stack.enter_context(self.host.reach(port))
        return self._urls[port]

    def version(self) -> str:
        """The server's version, or nothing when it does not answer."""
        body = self.ask("/api/version")["body"]
        return str(body.get("version", "")) if isinstance(body, dict) else ""

    def models_in_memory(self, timeout_s: float = 3.0) -> list[Resident]:
        """What /api/ps says. Raises CannotTell when it does not answer."""
        answer = self.ask("/api/ps", timeout_s)
        body = answer["body"]
        if answer["status"] != "200" or not isinstance(body, dict):
            why = answer["error"] or f"status {answer['status']}"
            raise CannotTell(f"/api/ps does not tell which models are in memory ({why}).")
        return [_resident(row) for row in body.get("models") or () if isinstance(row, dict)]

    def model_path(self, model: str) -> str:
        """The file of a model's weights, as its runner's command line names it; empty where that is not told."""
        body = self.ask("/api/show", body={"model": model})["body"]
        shown = str(body.get("modelfile", "")) if isinstance(body, dict) else ""
        found = re.search(r"(?m)^FROM (/.*/blobs/sha256-[0-9a-f]{64})\s*$", shown)
        return found[1] if found else ""

    def processes(self) -> list[dict[str, Any]]:
        """The processes that matter, rows of the table `processes`."""
        command = "processes of macOS" if self.host.system == "Darwin" else "processes"
        output = self.host.run(COMMANDS[command], _TIMEOUT_S)
        return parse_process_table(output.text).tables["processes"] if output.outcome == "captured" else []

    def server(self) -> Process:
        """The `ollama serve` that listens on this port. Raises CannotTell when it cannot be told which it is."""
        pids = [int(row["pid"]) for row in self.processes() if row["role"] == "serve"]
        told = {pid: _port_of(self.environment(pid).get("OLLAMA_HOST", "")) for pid in pids}
        found = [pid for pid in pids if told[pid] == self.port]
        if not found and len(pids) == 1:  # another account's environment cannot be read
            found = [pid for pid in pids if not self.environment(pid)]
        process = process_of(self.host, found[0]) if len(found) == 1 else None
        if process is None:
            raise CannotTell(f"Of {len(pids)} processes `ollama serve`, {len(found)} listen on port {self.port}; "
                             "expected one. Run this as root or as the server's own user.")  # fmt: skip
        return process

    def runners(self) -> list[Runner]:
        """The server's own runners: children of its process whose command line is a runner's."""
        parent = self.server().pid
        found = []
        for row in self.processes():
            if row["role"] != "runner" or row["parent_pid"] != parent:
                continue
            process = process_of(self.host, int(row["pid"]))
            if process is None or process.parent_pid != parent:
                continue
            model = re.search(r"--model[ =](\S.*?)(?= --?[a-z]|$)", process.command)
            port = re.search(r"--port[ =](\d{2,5})\b", process.command)
            found.append(Runner(process, model[1] if model else "", int(port[1]) if port else None))
        return found

    def environment(self, pid: int) -> dict[str, str]:
        """The variables that matter of a live process; empty where they may not be read (macOS shows none)."""
        if self.host.system != "Linux":
            return {}
        text = self.host.read(f"/proc/{pid}/environ", _TIMEOUT_S).text
        rows = parse_environment(f"==> /proc/{pid}/environ <==\n{text}").tables.get("settings", [])
        return {row["name"]: row["value"] for row in rows if row["in_force"]}

    def close(self) -> None:
        self._stack.close()
        self.host.close()


def open_target(
    name: str, port: int = 0, unit: str = "ollama.service", writing: bool = False, ssh_options: Sequence[str] = (),
    unit_folder: str = UNIT_FOLDER,
) -> Target:  # fmt: skip
    """`local`, `ssh://user@box[:port]`, or `recorded:NAME`, a server that was recorded, on which nothing can go wrong.

    Raises InputError for any other name, or when a machine cannot be reached.

    >>> open_target("recorded:healthy").version()
    '0.13.5'
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_@.:-]{0,79}", unit):
        raise InputError(f"unit {unit!r}: expected the name of a unit, such as ollama.service.")
    if not re.fullmatch(r"(/[A-Za-z0-9_.@+-]+)+", unit_folder) or ".." in unit_folder.split("/"):
        raise InputError(f"unit_folder {unit_folder!r}: expected a folder of units, such as {UNIT_FOLDER}.")
    if not 0 <= port < 65536:
        raise InputError(f"port {port}: expected a number from 1 to 65535, or 0 for the server's own.")
    if name.startswith("recorded:"):
        recording = read_recording(name.removeprefix("recorded:"))
        host = RecordedHost(name, recording.system, recording.outputs, dict(recording.contents))
        host.writing = writing
        return Target(name, host, port or recording.port, unit, recording, unit_folder)
    if name != "local" and not name.startswith("ssh://"):
        raise InputError(f"target {name}: expected local, ssh://user@box[:port] or recorded:NAME.")
    return Target(name, open_host("" if name == "local" else name, tuple(ssh_options), writing),
                  port or DEFAULT_PORT, unit, unit_folder=unit_folder)  # fmt: skip


def _port_of(address: str) -> int:
    """The port in OLLAMA_HOST, as Ollama reads it."""
    scheme, _, rest = address.strip().strip("'\"").rpartition("://")
    found = re.search(r":(\d{1,5})(?:/|$)", rest)
    if found:
        return int(found[1])
    return {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT)


def _resident(row: dict[str, Any]) -> Resident:
    return Resident(
        str(row.get("name") or row.get("model") or ""),
        str(row.get("digest") or ""),
        int(row.get("size") or 0),
        int(row.get("size_vram") or 0),
        int(row["context_length"]) if row.get("context_length") else None,
        _utc(str(row.get("expires_at") or "")),
        dict(row.get("details") or {}),
    )


def _utc(text: str) -> datetime | None:
    # Go prints nanoseconds; Python reads six digits.
    try:
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else None
