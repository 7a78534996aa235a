"""Unit files and drop-ins as text: what each assigns, in systemd's order, and what wins.

Read are `systemctl cat` and `systemd-analyze cat-config` (files after `# /path/to/file` lines), sections of
`tail -n +1 FILES`, and the text of a single file. What systemd would ignore is kept as not in force.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .encodings import encodable
from .parsed import Parsed
from .systemd_order import DEPENDENCIES, drop_ins_in_order, effective_settings, is_directive
from .systemd_text import (
    Piece,
    assignment,
    is_unit_path,
    marked_file,
    pieces,
    section_of,
    unit_of_path,
    units_asked_for,
)
from .systemd_values import PROPERTIES, RLIMITS, limit_of, words

__all__ = ["drop_ins_in_order", "effective_settings", "is_unit_files", "parse_unit_files"]

_OF_SERVICES = frozenset((
    "CPUAffinity", "Environment", "EnvironmentFile", "ExecReload", "ExecStart", "ExecStartPost", "ExecStartPre",
    "ExecStop", "ExecStopPost", "Group", "Nice", "PassEnvironment", "Restart", "RestartSec", "Type",
    "UnsetEnvironment", "User",
))  # fmt: skip
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OUTDATED = re.compile(r"# Warning: (\S{1,255}) changed on disk, the version systemd has loaded is outdated\.")


@dataclass(frozen=True)
class Assignment:
    """One line of a unit file, its continuations joined; the first line's number and those of all."""

    lines: tuple[int, ...]
    unit: str
    file: str
    section: str
    name: str
    value: str


def is_unit_files(lines: list[str]) -> bool:
    """Whether this text holds unit files or drop-ins.

    >>> is_unit_files(["[Service]", "Environment=OLLAMA_HOST=0.0.0.0"]), is_unit_files(["Environment=production"])
    (True, False)
    """
    return any(True for piece in pieces(lines, "unit") for _ in _assignments(piece, Parsed()))


def parse_unit_files(text: str) -> Parsed:
    """Rows of the settings and limits tables; origin "unit", "drop-in", or "manager default" for system.conf.

    settings: subject, the unit's name where a path tells it; name, the variable of an Environment= line or else the
    directive; file, where a path stands; position, in systemd's order over all files of the text; in_force, whether
    it still holds after the last of them. What systemd ignores is never in force: a line that is no assignment of a
    variable keeps the name Environment, one in the wrong section the section before its name.
    limits: one row per limit that holds, soft and hard alike but for `soft:hard`; unit "percent" for shares.

    >>> parsed = parse_unit_files("[Service]\\nEnvironment=A=1 B=2\\nEnvironment=A=3\\nLimitMEMLOCK=infinity")
    >>> [(row["name"], row["value"], row["in_force"]) for row in parsed.tables["settings"]]
    [('A', '1', False), ('B', '2', True), ('A', '3', True), ('LimitMEMLOCK', 'infinity', True)]
    >>> [(row["resource"], row["hard"]) for row in parsed.tables["limits"]]
    [('MEMLOCK', inf)]
    """
    parsed = Parsed()
    assignments: list[Assignment] = []
    for piece in pieces(text.split("\n"), "unit"):
        found = list(_assignments(piece, parsed))
        if found and piece.head:
            parsed.understood([piece.head])
        for each in found:
            parsed.understood(each.lines)
        assignments.extend(found)
    parsed.tables["settings"].extend(effective_settings(_rows(assignments)))
    for row in parsed.tables["settings"]:
        if row["in_force"] and (limit := limit_of(row["name"], row["value"])):
            parsed.add("limits", row["line"], origin=row["origin"], subject=row["subject"], **vars(limit))
    defaults = [
        (each.lines[0], limit)
        for each in assignments
        if each.section == "Manager" and (limit := limit_of(each.name.removeprefix("Default"), each.value))
    ]
    for line, limit in {limit.resource: (line, limit) for line, limit in defaults}.values():
        parsed.add("limits", line, origin="manager default", subject="", **vars(limit))
    return parsed


def _assignments(piece: Piece, parsed: Parsed) -> Iterator[Assignment]:
    """The assignments of a piece in their order; headings and comments count as understood."""
    file, section = (piece.path if is_unit_path(piece.path) else ""), ""
    asked = units_asked_for(piece.command, "cat")
    unit = asked[0] if len(asked) == 1 else ""
    lines = iter(enumerate(piece.lines))
    for index, (number, line) in lines:
        if outdated := _OUTDATED.fullmatch(line):
            parsed.add("settings", number, origin="systemctl show", subject=encodable(outdated[1]),
                       name="NeedDaemonReload", value="yes", file="", position=1, in_force=True)  # fmt: skip
        elif (marked := marked_file(line)) and _begins_a_file(piece.lines, index + 1):
            file, section = marked, ""
            parsed.understood([number])
        elif section_of(line):
            section = section_of(line)
            parsed.understood([number])
        elif line.startswith(("#", ";")):
            parsed.understood([number])
        elif found := assignment(line, of_unit_file=True):
            numbers, values = [number], [found[1]]
            while _is_continued(values[-1]) and (following := next(lines, None)):
                numbers.append(following[1][0])
                if not following[1][1].startswith(("#", ";")):
                    values[-1] = values[-1][:-1]
                    values.append(following[1][1])
            if _is_continued(values[-1]):
                values[-1] = values[-1][:-1]
            value = " ".join(values).strip()
            yield Assignment(tuple(numbers), unit, encodable(file), section, found[0], encodable(value))


def _is_continued(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _begins_a_file(lines: list[tuple[int, str]], after: int) -> bool:
    """Whether a path in a comment is followed by a file's first section, by another such path, or by nothing."""
    for index in range(after, len(lines)):
        line = lines[index][1]
        if marked_file(line) or section_of(line):
            return True
        if line and not line.startswith(("#", ";")):
            return False
    return True


def _rows(assignments: list[Assignment]) -> list[dict[str, Any]]:
    """Settings rows as they stand in the text, nothing decided yet."""
    subjects = {unit_of_path(each.file) or each.unit for each in assignments} - {""}
    whole = any(each.section == "Install" or each.name == "Description" for each in assignments if not each.file)
    rows: list[dict[str, Any]] = []
    for each in assignments:
        if each.section == "Manager":
            continue
        drop_in = each.file.endswith(".conf") or not (each.file or each.unit or whole)
        same = {
            "line": each.lines[0],
            "origin": "drop-in" if drop_in else "unit",
            # A drop-in for all services belongs to the unit that is shown with it.
            "subject": unit_of_path(each.file) or each.unit or (min(subjects) if len(subjects) == 1 else ""),
            "file": each.file,
        }
        for name, value in _settings(each):
            rows.append({**same, "name": name, "value": value, "position": len(rows) + 1, "in_force": False})
    return rows


def _settings(each: Assignment) -> list[tuple[str, str]]:
    if _is_misplaced(each):
        return [(f"[{each.section}] {each.name}", each.value)]
    if each.name != "Environment" or not each.value:
        return [(each.name, each.value)]
    found, readable = words(each.value)
    settings = []
    for word in found:
        name, equals, value = word.partition("=")
        valid = equals and _VARIABLE.fullmatch(name)
        if is_directive(name):  # a variable of such a name is not the directive
            name = f"Environment {name}"
        settings.append((name, value) if valid else ("Environment", word or each.value))
    return settings if readable else [*settings, ("Environment", each.value)]


def _is_misplaced(each: Assignment) -> bool:
    """Whether systemd ignores the assignment because of the section that it stands in."""
    if each.section in ("Unit", "Install"):
        name = each.name
        return name in PROPERTIES or name.removeprefix("Limit") in RLIMITS or name in _OF_SERVICES
    return each.section == "Service" and each.name in DEPENDENCIES
