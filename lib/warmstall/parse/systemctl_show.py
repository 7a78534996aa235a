"""`systemctl show UNIT` and `systemctl show` of the manager: what systemd has loaded, whole or as an excerpt."""

from __future__ import annotations

import re
from typing import Any

from .encodings import encodable
from .parsed import Parsed
from .systemd_text import UNIT_NAME, Piece, assignment, pieces, unit_of_path, units_asked_for
from .systemd_values import PROPERTIES, RLIMITS, number, span_s, words

# What is kept as a setting, because it says which files count, which process is the unit's, and how it fared.
FACTS = frozenset((
    "ActiveEnterTimestamp", "ActiveState", "ControlGroup", "DropInPaths", "EffectiveMemoryHigh", "EffectiveMemoryMax",
    "EffectiveTasksMax", "EnvironmentFiles", "ExecMainCode", "ExecMainExitTimestamp", "ExecMainPID",
    "ExecMainStartTimestamp", "ExecMainStatus", "FragmentPath", "InvocationID", "LoadState", "MainPID",
    "MemoryAvailable", "MemoryCurrent", "MemoryPeak", "MemorySwapCurrent", "MemorySwapPeak", "NRestarts",
    "NeedDaemonReload", "OOMPolicy", "Restart", "RestartUSec", "Result", "SubState", "TasksCurrent", "UnitFileState",
    "User",
))  # fmt: skip
_CPU_QUOTA = "CPUQuotaPerSecUSec"
# CPUQuotaPerSecUSec is kept as CPUQuota in percent, as unit files write it.
_SINGLE = {**{name: (name, unit) for name, (unit, _) in PROPERTIES.items()}, _CPU_QUOTA: ("CPUQuota", "percent")}
_MANAGER = re.compile(r"Default(?:Limit[A-Z]+|TasksMax|OOMScoreAdjust|MemoryAccounting|TasksAccounting)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_systemctl_show(lines: list[str]) -> bool:
    """Whether this text holds what `systemctl show` printed.

    >>> is_systemctl_show(["Environment=OLLAMA_HOST=0.0.0.0", "NRestarts=0"])
    True
    >>> is_systemctl_show(["[Service]", "Environment=OLLAMA_HOST=0.0.0.0"])
    False
    """
    return any(_read(piece, Parsed()) for piece in pieces(lines, "show"))


def parse_systemctl_show(text: str) -> Parsed:
    r"""Rows of the limits and settings tables; subject is the unit's name where the text tells it.

    limits: origin "unit", or "manager default" for the manager's Default… properties; resource without "Limit", its
    hard limit from LimitX and its soft one from LimitXSoft; CPUQuotaPerSecUSec as CPUQuota in percent of one core.
    settings: origin "systemctl show"; a row per variable of Environment= and per property in FACTS; position from 1.

    >>> parsed = parse_systemctl_show("Id=a.service\nLimitNOFILE=4096\nLimitNOFILESoft=1024\nMainPID=7")
    >>> [(row["subject"], row["resource"], row["soft"], row["hard"]) for row in parsed.tables["limits"]]
    [('a.service', 'NOFILE', 1024.0, 4096.0)]
    >>> [(row["name"], row["value"]) for row in parsed.tables["settings"]]
    [('MainPID', '7')]
    """
    parsed = Parsed()
    for piece in pieces(text.split("\n"), "show"):
        if _read(piece, parsed) and piece.head:
            parsed.understood([piece.head])
    return parsed


def _read(piece: Piece, parsed: Parsed) -> bool:
    """Add what the piece holds: one unit after the other, with blank lines between them."""
    block: list[tuple[int, str, str]] = []
    found = False
    asked = units_asked_for(piece.command, "show")
    for line_number, line in [*piece.lines, (0, "")]:
        if property_ := assignment(line):
            block.append((line_number, *property_))
        elif block and block[-1][1] == "Environment" and re.match(_VARIABLE.pattern + "=", line):
            block.append((line_number, "Environment", line))  # the list was broken into lines by `tr`
        elif not line and block:
            subject = asked.pop(0) if asked else ""
            found = _block(block, subject, parsed) or found
            block = []
    return found


def _block(block: list[tuple[int, str, str]], subject: str, parsed: Parsed) -> bool:
    values = {name: (line, value) for line, name, value in block}
    manager = any(_MANAGER.fullmatch(name) for name in values)
    subject = _unit_of({name: value for name, (_, value) in values.items()}) or subject
    limits = _limits(values, manager)
    settings = [] if manager else list(_settings(block))
    for row in limits:
        parsed.add("limits", **row, origin="manager default" if manager else "unit", subject="" if manager else subject)
    for position, (line, name, value) in enumerate(settings, 1):
        parsed.add("settings", line, origin="systemctl show", subject=subject, name=name, value=value, file="",
                   position=position, in_force=True)  # fmt: skip
    if limits or settings:
        parsed.understood(line for line, _, _ in block)
    return bool(limits or settings)


def _unit_of(values: dict[str, str]) -> str:
    """The unit's name by its own property, by the path of its file, or by the folder of its drop-ins."""
    paths = values.get("FragmentPath", ""), values.get("DropInPaths", "").partition(" ")[0]
    names = values.get("Id", ""), *map(unit_of_path, paths)
    return next((encodable(name) for name in names if UNIT_NAME.fullmatch(name)), "")


def _limits(values: dict[str, tuple[int, str]], manager: bool) -> list[dict[str, Any]]:
    prefix = "Default" if manager else ""
    rows: list[dict[str, Any]] = []
    for resource, (unit, _) in RLIMITS.items():
        stated = [values.get(f"{prefix}Limit{resource}{end}") for end in ("Soft", "")]
        soft, hard = (number(found[1]) if found else None for found in stated)
        if soft is not None or hard is not None:
            line = min(found[0] for found in stated if found)
            rows.append({"line": line, "resource": resource, "soft": soft, "hard": hard, "unit": unit})
    for name, (resource, unit) in _SINGLE.items():
        if found := values.get(prefix + name):
            amount = _amount(name, found[1])
            if amount is not None:
                rows.append({"line": found[0], "resource": resource, "soft": amount, "hard": amount, "unit": unit})
    return rows


def _amount(name: str, text: str) -> float | None:
    if name == _CPU_QUOTA:
        span = span_s(text)
        return None if span is None else span * 100
    if name == "OOMScoreAdjust":
        return float(text) if re.fullmatch(r"-?\d{1,4}", text) else None
    return number(text)


def _settings(block: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    found = []
    for line, name, value in block:
        if name == "Environment":
            for word in words(value, shell=True)[0]:
                variable, equals, content = word.partition("=")
                if equals and _VARIABLE.fullmatch(variable):
                    found.append((line, variable, encodable(content)))
        elif name in FACTS:
            found.append((line, name, encodable(value)))
    return found
