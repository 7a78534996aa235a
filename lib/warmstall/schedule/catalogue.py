"""The table of what can be printed: one row for each kind of scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from ..errors import InputError
from . import cron, jupyter_scheduler, kubernetes, launchd, systemd
from .records import Schedule, UnitFile


@dataclass(frozen=True)
class Kind:
    """A kind of scheduler: what it prints, the commands that install it, and whether its files can stand in one."""

    about: str
    files: Callable[[Schedule, str], tuple[UnitFile, ...]]
    next_steps: Callable[[Schedule, tuple[UnitFile, ...], str], list[str]]
    one_file: bool


KINDS: Mapping[str, Kind] = {
    "systemd": Kind("services and timers", systemd.print_units, systemd.next_steps, False),
    "cron": Kind("lines of a crontab", cron.print_crontab, cron.next_steps, True),
    "launchd": Kind("property lists for macOS", launchd.print_lists, launchd.next_steps, False),
    "kubernetes": Kind("CronJobs and their volume", kubernetes.print_manifest, kubernetes.next_steps, True),
    "jupyter-scheduler": Kind("the body of a job definition", jupyter_scheduler.print_definition,
                              jupyter_scheduler.next_steps, True),
}  # fmt: skip


def kind_of(name: str) -> Kind:
    """The kind of this name; raises InputError that names the nearest one.

    >>> kind_of("systemd").about
    'services and timers'
    """
    if name in KINDS:
        return KINDS[name]
    near = get_close_matches(name, KINDS, 1)
    raise InputError(
        f"{name}: there is no such scheduler here{f'; did you mean {near[0]}?' if near else ';'} "
        f"There are {', '.join(KINDS)}."
    )
