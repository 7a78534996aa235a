"""Servers that were recorded: what commands printed, files held and the API answered, one TOML file each.

They let every runbook be read and tried anywhere, in a dry run, without a server.

    about = "A runner that hangs …"
    at = 2026-11-03T02:14:00Z      the moment of the recording; waiting moves it on
    system = "Linux"
    [outputs]                      by command line, as shlex.join writes it
    [contents]                     by path
    [links]                        where symbolic links lead, by path
    [[answers]]                    endpoint, status, body (JSON), port (of a runner), from_s: holds from then on
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import InputError

_FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recording:
    """One recorded server."""

    name: str
    about: str
    at: datetime
    system: str
    port: int
    outputs: Mapping[str, str]
    contents: Mapping[str, str]
    answers: tuple[Mapping[str, Any], ...]

    def answer(self, endpoint: str, now: datetime, body: object = None, port: int = 0) -> dict[str, Any]:
        """What was answered at that moment: the latest answer of this endpoint that had begun to hold."""
        model = body.get("model") if isinstance(body, dict) else None
        after_s = (now - self.at).total_seconds()
        found = [
            row for row in self.answers
            if row["endpoint"] == endpoint and row.get("port", 0) == port and row.get("from_s", 0) <= after_s
            and row.get("model", model) == model
        ]  # fmt: skip
        row = {"at": now.isoformat(timespec="milliseconds"), "endpoint": endpoint, "wall_s": 0.0}
        if not found:
            return row | {"status": "", "body": None, "error": "nothing was recorded of it"}
        told = found[-1]
        return row | {
            "wall_s": float(told.get("wall_s", 0.0)), "status": str(told.get("status", 200)),
            "body": json.loads(told["body"]), "error": None,
        }  # fmt: skip


def recording_names() -> list[str]:
    """Every recording that there is."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def read_recording(name: str) -> Recording:
    """A recording by name; raises InputError with all names when there is none.

    >>> read_recording("healthy").system
    'Linux'
    """
    path = _FOLDER / f"{name}.toml"
    if name not in recording_names():
        raise InputError(f"recorded:{name}: there is no such recording; there are {', '.join(recording_names())}.")
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    outputs = dict(said.get("outputs", {}))
    for link, leads_to in said.get("links", {}).items():
        outputs[shlex.join(["readlink", "--", link])] = leads_to
    # Zeros cannot be written in TOML; the newlines of these files stand for them.
    contents = {path: text.replace("\n", "\0") if path.endswith(("/environ", "/cmdline")) else text
                for path, text in said.get("contents", {}).items()}  # fmt: skip
    return Recording(name, said["about"], said["at"], said.get("system", "Linux"), said.get("port", 11434), outputs,
                     contents, tuple(said.get("answers", ())))  # fmt: skip
