"""The case as it is being written: its tokens, its files, its record, and the proof that nothing leaked."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection as Several
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import OutputError
from ..host import Host
from ..redact import Redactor, rescan
from ..writing import state_folder
from .collection import Step
from .commands import COMMANDS

_RESERVED_BYTES = 64 * 1024
_NOT_PRIVATE = ("", "root", "localhost", "ollama")


class CaseFolder:
    """A case open for one host's evidence. Raises OutputError when it cannot be written."""

    def __init__(self, case: Path, host: Host, keep: Several[str] = ()) -> None:
        self.case = case
        self.host = host
        self.note = _read_note(case)
        identity = str(self.note.get("id") or "")
        if not re.fullmatch(r"[0-9a-f]{16}", identity):
            identity = secrets.token_hex(8)
        self.note["id"] = identity
        # Outside of every case: whoever has the map can read the tokens.
        self._map = state_folder() / "redaction" / f"{identity}.json"
        self.redactor = Redactor.load(self._map, keep) if self._map.exists() else Redactor(keep=keep)
        for value, kind in _told_by(host).items():
            self.redactor.learn_known(value, kind)
        self.name = self.redactor.redact_name(host.name)
        self.folder = case / "evidence" / self.name
        self.record = self.folder / "collection.jsonl"
        self._keep = sorted(keep)

    def reserve(self) -> None:
        """Room for the record and the note, taken first, so that a disk that fills up cannot take it away."""
        self.redactor.save(self._map)  # a map that cannot be kept is known before anything is captured
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self.record, self.case / "case.json"):
                if not path.exists():
                    path.write_bytes(b" " * _RESERVED_BYTES)
        except OSError as error:
            raise OutputError(f"{self.case}: cannot be written ({error.strerror or error}).") from error

    def redacted(self, text: str) -> str:
        """A text as it may stand in the case; what its tokens stand for is kept."""
        found = self.redactor.redact(text)
        self.redactor.save(self._map)
        return found

    def write(self, file: str, text: str) -> tuple[str, str]:
        """Write one capture, redacted; returns its name in the case, or why it could not be written."""
        name = self.redactor.redact_name(file)
        path = self.folder / name
        try:
            with path.open("wb") as handle:
                handle.write(self.redactor.redact(text).encode("utf-8", "surrogateescape"))
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return "", f"cannot be written ({error.strerror or error})"
        return name, ""

    def recorded(self) -> list[Step]:
        """The steps of earlier runs into this case."""
        steps = []
        with contextlib.suppress(OSError):
            for line in self.record.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, RecursionError):
                    step = Step(**json.loads(line))
                    if all(isinstance(getattr(step, name), str) for name in ("collector", "step", "file", "reason")):
                        steps.append(step)
        return steps

    def finish(self, steps: list[Step]) -> list[Step]:
        """Remove what leaks, write the record and the note, and look once more; returns the steps as recorded.

        Raises OutputError when the record cannot be written, or when a secret is still found.
        """
        steps = [
            replace(step, step=self.redactor.redact(step.step), reason=self.redactor.redact(step.reason))
            for step in steps
        ]
        # What was learned since a file was written is replaced in it; what still leaks then goes.
        for name in sorted({leak.path for leak in rescan(self.folder, self.redactor)} - {self.record.name}):
            self._redact_again(self.folder / name)
        for leak in rescan(self.folder, self.redactor):
            if leak.path != self.record.name:
                (self.folder / leak.path).unlink(missing_ok=True)
                steps = [replace(step, file="") if step.file == leak.path else step for step in steps]
                reason = f"a known {leak.kind} was still in it; the file was removed"
                steps.append(case_step("redaction", leak.path, reason))
        self.redactor.save(self._map)
        whole = [*self.recorded(), *steps]
        record = "".join(json.dumps(asdict(step), ensure_ascii=False) + "\n" for step in whole)
        self._overwrite(self.record, record)
        self._overwrite(self.case / "case.json", json.dumps(self.note | self._facts(), indent=1) + "\n")
        # Results of an analysis are made of the evidence, and are not ours to judge.
        left = [(leak.kind, leak.path) for leak in rescan(self.case / "evidence", self.redactor)]
        left += [(leak.kind, "case.json") for leak in self.redactor.leaks((self.case / "case.json").read_bytes())]
        if left:
            raise OutputError(f"{self.case}: a known {left[0][0]} is still in {left[0][1]}; do not pass it on.")
        return steps

    def _redact_again(self, path: Path) -> None:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        again = path.with_name(f"{path.name}.again")
        again.write_bytes(self.redactor.redact(text).encode("utf-8", "surrogateescape"))
        again.replace(path)

    def _overwrite(self, path: Path, text: str) -> None:
        """Over the room that was reserved, so that a full disk does not matter."""
        try:
            with path.open("r+b") as handle:
                handle.write(text.encode("utf-8", "replace"))
                handle.truncate()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error

    def _facts(self) -> dict[str, Any]:
        """What case.json says after this: whose evidence there is, on what clock, and what was removed."""
        evidence = []
        for path in sorted((self.case / "evidence").rglob("*")):
            if path.is_file() and path != self.record:
                with path.open("rb") as handle:
                    digest = hashlib.file_digest(handle, "sha256").hexdigest()
                shown = path.relative_to(self.case).as_posix()
                evidence.append({"path": shown, "sha256": digest, "bytes": path.stat().st_size})
        clocks, zones = (
            dict(known) if isinstance(known := self.note.get(name), dict) else {}
            for name in ("clock_ahead_s", "zones_s")
        )
        hosts = self.note.get("hosts")
        if (clock := self.host.clock_offset_s(3.0)) is not None:
            clocks[self.name] = [round(value, 6) for value in clock]
        if (zone := self.host.zone_offset_s(3.0)) is not None:
            zones[self.name] = zone
        replaced = dict(self.redactor.counts)
        return {
            "schema": 1,
            "hosts": sorted({*(map(str, hosts) if isinstance(hosts, list) else ()), self.name}),
            "zones_s": zones,
            "clock_ahead_s": clocks,
            "captured_with": f"warmstall {__version__}",
            "redaction": {"replaced": replaced, "kept": self._keep, "map": "outside of the case"},
            "evidence": evidence,
        }


def case_step(step: str, file: str, reason: str) -> Step:
    """A step that failed while the case itself was written."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Step("case", step, "", "failed", f"{file}: {reason}", 0.0, 0, at)


def _read_note(case: Path) -> dict[str, Any]:
    try:
        note = json.loads((case / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _told_by(host: Host) -> dict[str, str]:
    """What the host itself says is private: its name, its people, and who collects."""
    known = {host.name: "host", host.name.partition(".")[0]: "host"}
    known[host.run(COMMANDS["who collects"], 3.0).text.strip()] = "user"
    if host.system == "Darwin":
        names = host.run(COMMANDS["user names of macOS"], 3.0).text.split()
        known |= {name: "user" for name in names if not name.startswith("_") and name not in ("daemon", "nobody")}
    for line in host.run(COMMANDS["user names"], 2.0).text.splitlines():
        fields = line.split(":")
        # Accounts of people, by the usual range; services below it, `nobody` above.
        if len(fields) == 7 and fields[2].isdigit() and 1000 <= int(fields[2]) < 65000:
            known[fields[0]] = "user"
    if not host.is_remote:
        with contextlib.suppress(KeyError, OSError):
            known[getpass.getuser()] = "user"
    return {value: kind for value, kind in known.items() if value not in _NOT_PRIVATE}
