"""What a service is to run with: variables and limits, checked before anything is made of them.

They come from an operator or a runbook, end in unit files, command lines and YAML, and are refused here if no
version of Ollama reads them, if they cannot work, or if they could be taken for something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import CannotTell, ParameterError
from ...parse.environment import matters
from ...parse.ollama_settings import INSTEAD, fault, is_read, same
from ...parse.process_limits import parse_process_limits
from ...parse.systemd_values import PROPERTIES, RLIMITS, limit_of
from ..processes import Process
from ..target import Target

_TIMEOUT_S = 5.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# What would change which programs run, or stands for something that systemd sets itself.
_NEVER = frozenset(("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "INVOCATION_ID", "OLLAMA_HOST"))
_LONGEST_VALUE = 2000
# The words of systemd's limits that a plan may name; a share of the machine's memory cannot be compared afterwards.
_LIMIT_VALUE = re.compile(r"infinity|-?\d{1,18}[KMGTPE]?")


class HiddenByTitle(CannotTell):
    """A process shows a title over its variables (setproctitle in gunicorn, when SPT_NOENV is not set)."""


@dataclass(frozen=True)
class Service:
    """Who starts the server, and what is known of that: the unit, or names of the container."""

    manager: Literal["systemd", "launchd", "compose", "kubernetes", "none"]
    unit: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Variables (None: not set) and limits by systemd's directive, such as LimitMEMLOCK or MemoryMax."""

    environment: Mapping[str, str | None]
    limits: Mapping[str, str]

    def __str__(self) -> str:
        told = [f"{name}={value}" if value is not None else f"{name} not set"
                for name, value in self.environment.items()]  # fmt: skip
        return ", ".join([*told, *(f"{name}={value}" for name, value in self.limits.items())])


def wanted(environment: Mapping[str, str | None], limits: Mapping[str, str]) -> Wanted:
    """Both, checked. Raises ParameterError with what is wrong with the first of them that is.

    >>> print(wanted({"OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_KV_CACHE_TYPE": None}, {"MEMLOCK": "infinity"}))
    OLLAMA_FLASH_ATTENTION=0, OLLAMA_KV_CACHE_TYPE not set, LimitMEMLOCK=infinity
    """
    for name, value in environment.items():
        _check_variable(name, value)
    return Wanted(dict(environment), dict(_directive(name, value) for name, value in limits.items()))


def variables_of(words: list[Any]) -> dict[str, str | None]:
    """The variables in "NAME=value" words; "NAME=" with nothing behind it means that it is not to be set.

    >>> variables_of(["OLLAMA_KEEP_ALIVE=10m", "OLLAMA_DEBUG="])
    {'OLLAMA_KEEP_ALIVE': '10m', 'OLLAMA_DEBUG': None}
    """
    found: dict[str, str | None] = {}
    for word in words:
        name, equals, value = str(word).partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ParameterError(f"environment: got {str(word)[:80]!r}, expected NAME=value.")
        found[name] = value or None
    return found


def _check_variable(name: str, value: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise ParameterError(f"variable {name[:80]!r}: expected a name of letters, digits and underscores.")
    if name in INSTEAD:
        raise ParameterError(f"variable {name}: no version of Ollama reads it; {INSTEAD[name]}.")
    if name in _NEVER or not matters(name):
        raise ParameterError(f"variable {name}: not one that a runbook sets; expected one of Ollama's (OLLAMA_…), of "
                             "its GPU libraries' or of a thread pool's.")  # fmt: skip
    if not is_read(name):
        raise ParameterError(f"variable {name}: no version of Ollama reads it.")
    if value is None:
        return
    if len(value) > _LONGEST_VALUE or not value.isprintable():
        raise ParameterError(f"variable {name}: its value {value[:80]!r} is too long or holds control characters.")
    if wrong := fault(name, value):
        raise ParameterError(f"variable {name}: {wrong}.")


def _directive(name: str, value: str) -> tuple[str, str]:
    directive = f"Limit{name}" if name in RLIMITS else name
    if directive.removeprefix("Limit") not in RLIMITS and directive not in PROPERTIES:
        raise ParameterError(f"limit {name[:80]!r}: expected one of systemd's, such as MEMLOCK, NOFILE or MemoryMax.")
    if not _LIMIT_VALUE.fullmatch(value) or limit_of(directive, value) is None:
        raise ParameterError(f"limit {name}: got {value[:80]!r}, expected infinity, or a number such as 65536 or 64M.")
    return directive, value


def differences(target: Target, process: Process, wants: Wanted, shown: Mapping[str, str]) -> list[str]:
    """What of it does not hold in a live process, one clause each. `shown` is what systemd says of its unit.

    Raises CannotTell where the process may not be looked at.
    """
    found = []
    if wants.environment:
        there = environment_of(target, process)
        for name, value in wants.environment.items():
            told = there.get(name)
            if name.startswith("OLLAMA_"):
                told = told or None  # Ollama takes an empty one for none
            if told != value:
                found.append(f"{name} is {'not set' if told is None else repr(told[:200])}")
    if wants.limits:
        limits = limits_of(target, process)
        for name, value in wants.limits.items():
            held = held_limit(limits, shown, name)
            if held is None:
                raise CannotTell(f"{name} of {process} cannot be read.")
            if held != amount(name, value):
                found.append(f"{name} is {limit_text(held)}")
    return found


def environment_of(target: Target, process: Process) -> dict[str, str]:
    """All variables of a live process, the first of a name.

    Raises CannotTell where they may not be read, and HiddenByTitle where setproctitle has written over them.
    """
    output = target.host.read(f"/proc/{process.pid}/environ", _TIMEOUT_S)
    if output.outcome != "captured" or not output.data:
        raise CannotTell(f"The environment of {process} cannot be read ({output.reason or 'it is empty'}): run this "
                         "as root or as the server's own user.")  # fmt: skip
    found: dict[str, str] = {}
    for entry in output.text.split("\0"):
        name, equals, value = entry.partition("=")
        if equals:
            found.setdefault(name, value)
    if not found:
        raise HiddenByTitle(f"{process} has written its title over its environment, so that no variable can be seen; "
                            "with SPT_NOENV=1 it leaves them.")  # fmt: skip
    return found


def limits_of(target: Target, process: Process) -> dict[str, float]:
    """The lower of soft and hard limit of a live process by systemd's name; of files the hard one, to which Go rises.

    Raises CannotTell where they may not be read.
    """
    output = target.host.read(f"/proc/{process.pid}/limits", _TIMEOUT_S)
    if output.outcome != "captured":
        raise CannotTell(f"The limits of {process} cannot be read ({output.reason}).")
    rows = parse_process_limits(output.text).tables["limits"]
    return {row["resource"]: row["hard"] if row["resource"] == "NOFILE" else min(row["soft"], row["hard"])
            for row in rows}  # fmt: skip


def held_limit(limits: Mapping[str, float], shown: Mapping[str, str], directive: str) -> float | None:
    """The limit that holds: of the process, or for memory and tasks of its unit's control group."""
    if directive in PROPERTIES:
        text = shown.get(directive, "")
        try:
            return math.inf if text == "infinity" else float(text)
        except ValueError:
            return None
    return limits.get(directive.removeprefix("Limit"))


def amount(directive: str, value: str) -> float | None:
    """What a limit's text comes to: bytes, files …; None for none.

    >>> amount("LimitMEMLOCK", "64M"), amount("LimitNOFILE", "infinity")
    (67108864.0, inf)
    """
    found = limit_of(directive, value)
    return found.hard if found else None


def limit_text(value: float) -> str:
    return "infinity" if math.isinf(value) else f"{value:.0f}"


def agrees(name: str, value: str | None, printed: str | None) -> bool | None:
    """Whether the server's own `server config` line says so too; None where it says nothing of it.

    A variable that is not set is printed with its default, so that only what is set can be compared.
    """
    return None if value is None or printed is None else same(name, value, printed)
