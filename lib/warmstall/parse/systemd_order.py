"""What wins where several unit files and drop-ins of one unit say different things, by systemd's own rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .systemd_text import unit_of_path
from .systemd_values import is_refused, words

# systemd.exec(5): each assignment adds to the list, an empty one clears it.
LISTS = frozenset((
    "AmbientCapabilities", "BindPaths", "BindReadOnlyPaths", "BPFProgram", "CapabilityBoundingSet",
    "ConditionPathExists", "CPUAffinity", "DeviceAllow", "Documentation", "EnvironmentFile", "ExecCondition",
    "ExecPaths", "ExecReload", "ExecStart", "ExecStartPost", "ExecStartPre", "ExecStop", "ExecStopPost",
    "InaccessiblePaths", "IPAddressAllow", "IPAddressDeny", "LoadCredential", "NoExecPaths", "PassEnvironment",
    "ReadOnlyPaths", "ReadWritePaths", "RestrictAddressFamilies", "SetCredential", "StandardInputText",
    "SupplementaryGroups", "SystemCallFilter", "TemporaryFileSystem", "UnsetEnvironment",
))  # fmt: skip
# systemd.unit(5): dependencies add up and cannot be taken back.
DEPENDENCIES = frozenset((
    "After", "Also", "Alias", "Before", "BindsTo", "Conflicts", "OnFailure", "OnSuccess", "PartOf",
    "PropagatesReloadTo", "PropagatesStopTo", "ReloadPropagatedFrom", "RequiredBy", "Requires", "RequiresMountsFor",
    "Requisite", "StopPropagatedFrom", "Upholds", "WantedBy", "Wants",
))  # fmt: skip
# Where systemd looks for files, the first first: of several with one name it reads only the earliest.
_FOLDERS = tuple(
    map(
        re.compile,
        (
            r"/etc/systemd/(?:system|user)\.control", r"/run/systemd/(?:system|user)\.control",
            "/run/systemd/transient", r"/run/systemd/generator\.early", r"/\S{1,200}/\.config/systemd/user",
            "/etc/systemd(?:/system|/user)?", r"/etc/systemd/system\.attached", "/run/systemd(?:/system|/user)?",
            r"/run/systemd/system\.attached", "/run/systemd/generator",
            "/usr/local/(?:lib|share)/systemd(?:/system|/user)?", "(?:/usr)?/lib/systemd(?:/system|/user)?",
            r"/run/systemd/generator\.late",
        ),
    )
)  # fmt: skip
_DIRECTIVE = re.compile(r"[A-Z](?=[A-Za-z0-9]*[a-z])[A-Za-z0-9]*")


def drop_ins_in_order(names: Iterable[str]) -> list[str]:
    """The drop-ins that systemd reads, in its order: by file name, whatever their folder.

    Of files with the same name in systemd's own folders only one is read: /etc before /run before /usr/lib, and the
    unit's own folder before one for all services. Names without such a folder hide no other. (systemd.unit(5))

    >>> drop_ins_in_order(["/usr/lib/systemd/system/a.service.d/z.conf", "/etc/systemd/system/a.service.d/z.conf",
    ...                    "/run/systemd/system/a.service.d/b.conf"])
    ['/run/systemd/system/a.service.d/b.conf', '/etc/systemd/system/a.service.d/z.conf']
    """
    best: dict[tuple[str, str], tuple[tuple[bool, int, int], str]] = {}
    for name in dict.fromkeys(names):
        folder, _, base = name.rpartition("/")
        above, _, of_unit = folder.removesuffix(".d").rpartition("/")
        place = _place(above)
        # Nearer to the unit than a prefix of its name is the name; a bare type is for all units of it.
        rank = "." not in of_unit, len(_FOLDERS) if place is None else place, -len(of_unit)
        key = base, folder if place is None else ""
        if key not in best or rank < best[key][0]:
            best[key] = rank, name
    return [name for (base, _), (_, name) in sorted(best.items(), key=lambda item: _bytes(item[0][0]))]


def effective_settings(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings rows of several files with `position` and `in_force` made anew over all files of one unit.

    The rows of one folder of drop-ins come from several captures: those of a unit (by host, and by subject or the
    folder in `file` or `source`) are put into systemd's order. A file that was captured twice counts as it was last.
    Rows that come from no unit file are given back as they are. The order of the rows is kept.
    """
    given = [dict(row) for row in rows]
    units: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in given:
        if row.get("origin") in ("unit", "drop-in"):
            units.setdefault((_text(row, "host"), unit_of(row)), []).append(row)
            row["in_force"] = False
    for of_unit in units.values():
        _decide(_in_order(of_unit))
    return given


def unit_of(row: dict[str, Any]) -> str:
    """The unit that a row of a unit file is about, by its subject or by where its file lies."""
    return _text(row, "subject") or unit_of_path(_text(row, "file")) or unit_of_path(_text(row, "source"))


def is_directive(name: str) -> bool:
    """Whether a name is written as directives are, and not as variables.

    >>> is_directive("CPUAffinity"), is_directive("OLLAMA_HOST"), is_directive("http_proxy"), is_directive("TZ")
    (True, False, False, False)
    """
    return bool(_DIRECTIVE.fullmatch(name))


def _place(folder: str) -> int | None:
    return next((number for number, pattern in enumerate(_FOLDERS) if pattern.fullmatch(folder)), None)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return value if isinstance(value, str) else ""


def _captured(row: dict[str, Any]) -> str:
    at = row.get("at")
    return str(at) if at is not None and at == at else ""  # what pandas has in place of no time differs from itself


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one unit as systemd reads them, without those of files that it does not read."""
    files: dict[str, dict[str, list[dict[str, Any]]]] = {}
    of_unit: dict[str, int] = {}
    drop_ins = []
    for row in rows:
        name = _text(row, "file") or _text(row, "source")
        files.setdefault(name, {}).setdefault(_text(row, "source"), []).append(row)
        if row["origin"] == "drop-in":
            drop_ins.append(name)
        elif name not in of_unit:
            place = _place(name.rpartition("/")[0])
            of_unit[name] = -1 if place is None else place
    # A whole unit in /etc takes the place of the one in /usr/lib; of others nothing is known.
    first = min((place for place in of_unit.values() if place >= 0), default=-1)
    read = [name for name, place in of_unit.items() if place in (-1, first)]
    ordered: list[dict[str, Any]] = []
    for name in dict.fromkeys([*read, *drop_ins_in_order(drop_ins)]):
        captures = files[name]
        last = max(captures, key=lambda source: (_captured(captures[source][0]), source))
        ordered.extend(sorted(captures[last], key=lambda row: (row["line"], row["position"] or 0)))
    return ordered


def _decide(rows: list[dict[str, Any]]) -> None:
    """Positions from 1, and what holds after the last row, by systemd.exec(5)."""
    held: dict[str, list[dict[str, Any]]] = {}
    variables: dict[str, dict[str, Any]] = {}
    for position, row in enumerate(rows, 1):
        name, value = row["name"], row["value"]
        row["position"] = position
        if name == "Environment" and not value:
            variables = {name: row}
        elif name == "Environment" or name.startswith("[") or is_refused(name, value):
            continue
        elif not is_directive(name):
            variables.pop("Environment", None)
            variables[name] = row
        elif name in DEPENDENCIES or (name in LISTS and value):
            kept = held.setdefault(name, [])
            if kept and not kept[0]["value"]:  # it was reset, and is empty no more
                kept.clear()
            if value:
                kept.append(row)
        else:
            held[name] = [row]
    for row in held.get("UnsetEnvironment", []):
        for word in words(row["value"])[0]:
            name, equals, value = word.partition("=")
            if name in variables and (not equals or variables[name]["value"] == value):
                del variables[name]
    for row in [*variables.values(), *(row for kept in held.values() for row in kept)]:
        row["in_force"] = True
