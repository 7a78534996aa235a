"""`systemctl status` of a unit: its processes and its memory."""

from __future__ import annotations

import re

from ..schema import TABLES
from .parsed import Parsed
from .process_roles import role_of
from .tolerant import blank, number, whole

_KEY = re.compile(
    r"\s*(?:Loaded|Drop-In|Active|Invocation|TriggeredBy|Triggers|Docs|Process|Main PID|Status|Tasks|Memory|CPU|IP|IO|"
    r"Until|Since|Duration|CGroup|FD Store): ?.*"
)
_TITLE = re.compile(r"[●○×↻*] ?\S+\.(?:service|scope|slice)\b.*")
_MEMORY = re.compile(r"\s*Memory: (?P<used>[\d.]{1,12}[BKMGTPE])(?: \((?P<rest>[^)]{0,400})\))?\s*")
_PROCESS = re.compile(r"\s*[│├└|`─ -]{0,60}[├└|`][─-]{1,2}\s*(?P<pid>\d{1,19}) (?P<command>\S.*)")
# Names of drop-ins, of sockets that trigger the unit, of nested groups.
_BRANCH = re.compile(r"\s*[│├└][│├└─ ]{0,60}\S.{0,400}")
_UNITS = {unit: 1024**power for power, unit in enumerate("BKMGTPE")}
_LIMITS = {
    "peak": "peak_bytes", "swap": "swap_used_bytes", "available": "available_bytes", "max": "limit_bytes",
    "limit": "limit_bytes", "high": "high_bytes",
}  # fmt: skip


def add_unit_status(parsed: Parsed, lines: list[str]) -> None:
    """Add the processes of known roles, and the memory of a unit that holds Ollama's server or a runner.

    The rows do not say which unit; a line of `memory` counts in multiples of 1024 and shows one decimal.
    """
    block: list[tuple[int, str]] = []
    for line_number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append((line_number, line))
            continue
        if any(re.match(r"\s*(?:Main PID: \d|CGroup: /)", text) for _, text in block):
            _add_block(parsed, block)
        block = []


def _add_block(parsed: Parsed, block: list[tuple[int, str]]) -> None:
    roles = set()
    memory: tuple[int, re.Match[str]] | None = None
    in_tree = False
    for line_number, line in block:
        if _KEY.fullmatch(line) or _TITLE.fullmatch(line.strip()):
            parsed.lines.add(line_number)
            in_tree = line.lstrip().startswith("CGroup:")
            if found := _MEMORY.fullmatch(line):
                memory = (line_number, found)
        elif in_tree and len(line) < 65536 and (found := _PROCESS.fullmatch(line)):
            parsed.lines.add(line_number)
            role = role_of(found["command"])
            roles.add(role)
            if role:
                row = {"pid": whole(found["pid"]), "role": role, "command": found["command"].strip()}
                parsed.add("processes", line_number, **blank("processes") | row)
        elif _BRANCH.fullmatch(line):
            parsed.lines.add(line_number)
    if memory and roles & {"serve", "runner"}:
        _add_memory(parsed, *memory)


def _add_memory(parsed: Parsed, line_number: int, found: re.Match[str]) -> None:
    row: dict[str, object] = {"origin": "systemctl status", "used_bytes": _bytes(found["used"])}
    for part in (found["rest"] or "").split(", "):
        name, _, size = part.partition(": ")
        if name in _LIMITS and (amount := _bytes(size)) is not None:
            row[_LIMITS[name]] = float(amount) if TABLES["memory"][_LIMITS[name]] == "DOUBLE" else amount
    parsed.add("memory", line_number, **blank("memory") | row)


def _bytes(text: str) -> int | None:
    amount = number(text[:-1])
    return whole(round(amount * _UNITS[text[-1]])) if amount is not None and text[-1] in _UNITS else None
