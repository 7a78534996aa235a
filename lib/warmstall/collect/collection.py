"""What one collection has captured so far, step by step, and how long it may still take."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..host import Host, Outcome, Output
from ..parse.encodings import detect_encoding
from ..parse.packed import SUFFIXES, decompressed, suffix_of
from .commands import COMMANDS


@dataclass(frozen=True)
class Wanted:
    """What a collection is to look for. `hours` is how far back logs are read."""

    unit: str = "ollama.service"
    hours: float = 24.0
    port: int = 0
    logs: tuple[str, ...] = ()
    application_logs: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    goroutines: bool = False
    most_log_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class Step:
    """One thing that was tried: a row of the collection's record."""

    collector: str
    step: str
    file: str
    outcome: Outcome
    reason: str
    wall_s: float
    bytes: int
    at: str


@dataclass
class Collection:
    """One host, what is wanted of it, the processes seen, and everything captured: bytes by file name."""

    host: Host
    wanted: Wanted
    processes: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    captured: dict[str, bytes] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pids(self, *roles: str) -> list[str]:
        """The processes of these roles, by pid."""
        return [str(row["pid"]) for row in self.processes if row["role"] in roles]

    def ports_of_runners(self) -> list[int]:
        """Where the runners listen: newer Ollama versions tell it on their command line."""
        found = (
            re.search(r"--port[ =](\d{2,5})\b", row["command"]) for row in self.processes if row["role"] == "runner"
        )
        return sorted({int(match[1]) for match in found if match and 0 < int(match[1]) < 65536})

    def port(self) -> int:
        """Where the server listens: as asked for, as its environment says, or Ollama's default."""
        if self.wanted.port:
            return self.wanted.port
        for pid in self.pids("serve"):
            if match := re.search(r":(\d{2,5})/?$", self.environment.get(pid, {}).get("OLLAMA_HOST", "")):
                return int(match[1])
        return 11434


class Collector:
    """The desk of one collector: it captures into the collection until its deadline, and notes every step."""

    def __init__(self, name: str, collection: Collection, deadline_s: float) -> None:
        self.name = name
        self.collection = collection
        self.host = collection.host
        self.wanted = collection.wanted
        self._ends = time.monotonic() + deadline_s

    @property
    def left_s(self) -> float:
        return self._ends - time.monotonic()

    def run(self, command: str, timeout_s: float = 5.0, **values: str | list[str]) -> Output:
        """Run a command of the table, not longer than the collector's own deadline."""
        if self.left_s <= 0:
            return Output("timed_out", reason=f"{self.name} had no time left for it")
        return self.host.run(
            COMMANDS[command], min(timeout_s, self.left_s), self.wanted.most_log_bytes, **values
        )  # fmt: skip

    def capture(self, command: str, file: str, timeout_s: float = 5.0, **values: str | list[str]) -> Output:
        """Run a command of the table and keep what it prints under a file name."""
        output = self.run(command, timeout_s, **values)
        self.keep(command, file, output)
        return output

    def capture_files(
        self, step: str, file: str, paths: Iterable[str], change: Callable[[str], str] | None = None
    ) -> str:
        """Several small files as one capture, each under its own heading, as `tail -n +1 FILES` prints them."""
        began = time.monotonic()
        texts, worst = self.host.read_several(list(paths), max(0.1, min(3.0, self.left_s)))
        wall_s = time.monotonic() - began
        shown = {path: text if change is None else change(text) for path, text in texts.items()}
        # Zeros separate the entries of an environment; they are text as well.
        whole = "\n".join(f"==> {path} <==\n{text.rstrip(chr(10))}\n" for path, text in shown.items())
        if shown:
            self.keep(step, file, Output("captured", whole.encode("utf-8", "replace"), wall_s=wall_s))
        if worst.outcome != "captured" and (not shown or worst.outcome != "missing"):
            self.note(step, "", worst.outcome, worst.reason, wall_s)
        return whole

    def keep(self, step: str, file: str, output: Output) -> None:
        """Keep what was captured; what failed half-way is kept too, with its reason."""
        if output.truncated:  # the first line may be cut within a secret that only its beginning would tell
            output = replace(output, data=output.data.partition(b"\n")[2])
        if "journal" in step:  # journalctl's own remarks are no log lines
            lines = [line for line in output.data.split(b"\n") if not line.startswith(b"-- ")]
            output = replace(output, data=b"\n".join(lines))
        try:
            file, data = _unpacked(file, output.data, self.wanted.most_log_bytes)
        except Exception as error:  # of several libraries; what cannot be read cannot be redacted either
            self.note(step, "", "failed", f"the compressed file is cut short or damaged ({error})", output.wall_s)
            return
        if b"\0" in data[:8192] and not detect_encoding(data[:4096]).startswith("utf-16"):
            self.note(step, "", "failed", "it is no text, so its secrets could not be found", output.wall_s)
            return
        outcome, reason = output.outcome, output.reason
        if outcome == "captured" and not data.strip():
            outcome, reason = "missing", reason or "it is empty"
        if output.truncated:
            reason = f"only the last {len(data)} bytes were kept"
        kept = data if data.strip() else b""
        if kept and (same := self._twin(kept)):
            self.note(step, "", "skipped", f"the same as {same}", output.wall_s)
            return
        if kept:
            with self.collection._lock:
                file = _free_name(file, self.collection.captured)
                self.collection.captured[file] = kept
        self.note(step, file if kept else "", outcome, reason, output.wall_s, len(kept))

    def _twin(self, data: bytes) -> str:
        """What was captured already under another name: a log that only grew between two looks."""
        head = data[:4096]
        for name, other in list(self.collection.captured.items()):
            if len(head) == 4096 and other.startswith(head) and (data.startswith(other) or other.startswith(data)):
                return name
        return ""

    def note(
        self, step: str, file: str, outcome: Outcome, reason: str = "", wall_s: float = 0.0, size: int = 0
    ) -> None:
        """Write one step into the record of the collection."""
        at = (datetime.now(UTC) + timedelta(seconds=self.host.ahead_s)).isoformat(timespec="milliseconds")
        step_taken = Step(self.name, step, file, outcome, reason, round(wall_s, 3), size, at)
        with self.collection._lock:
            self.collection.steps.append(step_taken)


def _unpacked(file: str, data: bytes, most_bytes: int) -> tuple[str, bytes]:
    """A compressed rotation as the last text that it holds: what is compressed would hide its secrets."""
    if not (suffix := suffix_of(data)):
        if file.endswith(SUFFIXES) and data:
            raise ValueError("its beginning is missing")
        return file, data
    text = bytearray()
    with decompressed(io.BufferedReader(io.BytesIO(data))) as reader:
        while piece := reader.read(1 << 20):
            text += piece
            del text[: max(0, len(text) - most_bytes)]
    return file.removesuffix(suffix), bytes(text)


def _free_name(file: str, taken: Iterable[str]) -> str:
    """A name that is not taken yet: server.log, server-2.log, …"""
    taken = set(taken)
    stem, dot, suffix = file.partition(".")
    number = 1
    while file in taken:  # no name that reads like a rotation of the first
        number += 1
        file = f"other{number}-{stem}{dot}{suffix}"
    return file
