"""Lines of a crontab, for a user or, with `--user NAME`, for /etc/cron.d.

cron bounds nothing, mails whatever is printed, and runs nothing that was missed. So each line is run by `warmstall
schedule run`: bounded below the time to the next one (so no two overlap), silent unless it failed. A report covers the
time since the last one, so a missed one is not lost. Source: crontab(5).
"""

from __future__ import annotations

import shlex

from ..errors import InputError
from .jobs import bounded_words, due, restarted, wanted
from .records import HOUR_S, Job, Schedule, UnitFile

# MAX_COMMAND of Vixie's cron is 1000; cronie allows more.
_MOST_CHARACTERS = 990


def print_crontab(schedule: Schedule, only: str = "") -> tuple[UnitFile, ...]:
    """One file of lines; raises InputError for what a crontab cannot carry."""
    found = wanted(schedule, only)
    where = "for /etc/cron.d" if schedule.user else "for `crontab -e`"
    lines = [f"# Printed by: warmstall schedule print cron; {where}. Only failures are mailed."]
    for job in found:
        lines += [f"# {job.about}", _line(schedule, job)]
    return (UnitFile("warmstall", "\n".join(lines) + "\n", tuple(job.name for job in found)),)


def next_steps(schedule: Schedule, files: tuple[UnitFile, ...], folder: str) -> list[str]:
    """What to run when the file is written; the lines that the user has already stay."""
    path = shlex.quote(f"{folder}/{files[0].name}")
    if schedule.user:
        return [f"sudo install -m 644 {path} /etc/cron.d/warmstall"]
    return [f"(crontab -l 2>/dev/null; cat {path}) | crontab -", "crontab -l"]


def command_line(words: tuple[str, ...]) -> str:
    r"""A command for cron's shell; a bare % would end it there.

    >>> print(command_line(("/opt/my tools/warmstall", "100%", "it's")))
    '/opt/my tools/warmstall' 100\% 'it'"'"'s'
    """
    for word in words:
        if "\\" in word:
            raise InputError(f"{word}: crons differ in what a backslash means; rename it, or use systemd.")
    text = shlex.join(words).replace("%", "\\%")
    if len(text) > _MOST_CHARACTERS:
        raise InputError(f"a line of {len(text)} characters: cron reads {_MOST_CHARACTERS}; use shorter paths.")
    return text


def _line(schedule: Schedule, job: Job) -> str:
    job = job if job.every_s else restarted(job, HOUR_S)
    words = bounded_words(schedule, job)
    user = f"{schedule.user} " if schedule.user else ""
    return f"{due(schedule, job).cron()} {user}{command_line((*schedule.program, *words))}"
