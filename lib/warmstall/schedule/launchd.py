"""Property lists of launchd: agents of a user or, with `--user NAME`, daemons that run as that user.

launchd starts no second one while one runs, and after a sleep starts what was due, once. It bounds neither time nor
memory, so `warmstall schedule run` does. Source: launchd.plist(5).
"""

from __future__ import annotations

import plistlib
import shlex
from typing import Any

from .jobs import bounded_words, due, wanted
from .records import Job, Schedule, UnitFile

_LABEL = "net.warmstall."


def print_lists(schedule: Schedule, only: str = "") -> tuple[UnitFile, ...]:
    """One property list for each job."""
    found = wanted(schedule, only)
    texts = [plistlib.dumps(_list(schedule, job), sort_keys=False).decode() for job in found]
    return tuple(
        UnitFile(f"{_LABEL}{job.name}.plist", text, (job.name,)) for job, text in zip(found, texts, strict=True)
    )


def next_steps(schedule: Schedule, files: tuple[UnitFile, ...], folder: str) -> list[str]:
    """What to run when the files are written."""
    steps = []
    if schedule.user:
        paths = [f"{folder}/{file.name}" for file in files]
        steps.append(shlex.join(["sudo", "install", "-o", "root", "-g", "wheel", "-m", "644", *paths,
                                 "/Library/LaunchDaemons/"]))  # fmt: skip
        steps += [f"sudo launchctl bootstrap system /Library/LaunchDaemons/{file.name}" for file in files]
        return [*steps, f"sudo launchctl print system/{_LABEL}report"]
    steps += [f"launchctl bootstrap gui/$(id -u) {shlex.quote(f'{folder}/{file.name}')}" for file in files]
    return [*steps, f"launchctl print gui/$(id -u)/{_LABEL}report"]


def _list(schedule: Schedule, job: Job) -> dict[str, Any]:
    words = [*schedule.program, *bounded_words(schedule, job)]
    found: dict[str, Any] = {"Label": _LABEL + job.name, "ProgramArguments": words}
    if schedule.user:
        found["UserName"] = schedule.user
    if job.every_s:
        found["StartCalendarInterval"] = due(schedule, job).intervals()
    # Other than after a sleep, nothing that was due while the machine was off is started later.
    found["RunAtLoad"] = job.name != "freshness"
    if not job.every_s:
        found |= {"KeepAlive": True, "ThrottleInterval": 30}
    return found | {
        "ProcessType": "Background", "LowPriorityIO": True, "Nice": 10, "Umask": 0o077,
        "StandardOutPath": f"{schedule.out}/{job.unit}.log", "StandardErrorPath": f"{schedule.out}/{job.unit}.log",
    }  # fmt: skip
