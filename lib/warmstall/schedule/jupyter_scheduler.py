"""A job definition of jupyter-scheduler: the body of POST /scheduler/job_definitions.

Its parameters arrive as Python source: each is written as `name = value` into a cell behind the notebook's own
parameters, so a text stands in Python's quotes. The notebook runs from a copy in another folder, without a command
around it, so all paths are absolute, it captures nothing, and it writes its verdict itself. The scheduler bounds
neither time nor memory, and it cannot run the check that there is a fresh report. Sources: `CreateJobDefinition` in
models.py, and parameterize.py, of jupyter-scheduler 2.12.1.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from ..errors import InputError
from .due_times import due_times, shift_minutes
from .jobs import watch_case
from .records import Schedule, UnitFile, duration_text

_NAME = "warmstall health report"


def print_definition(schedule: Schedule, only: str = "") -> tuple[UnitFile, ...]:
    """One JSON body, of the report. Raises InputError for another job: the scheduler runs notebooks only."""
    if only not in ("", "report"):
        raise InputError(f"--only {only}: jupyter-scheduler runs notebooks; print that one for cron or systemd.")
    body = definition(schedule)
    text = json.dumps(body, indent=1, ensure_ascii=False) + "\n"
    return (UnitFile("warmstall-report.json", text, ("report",)),)


def definition(schedule: Schedule) -> dict[str, Any]:
    """The body as values; raises InputError where nothing is named to read."""
    if schedule.collect or not (schedule.paths or schedule.watch):
        raise InputError("jupyter-scheduler: a notebook captures nothing; name the logs or cases that it reads, as "
                         "--paths ~/.ollama/logs.")  # fmt: skip
    return {
        "name": _NAME,
        "input_uri": schedule.notebook,
        "runtime_environment_name": schedule.environment,
        "output_formats": ["ipynb"],
        "parameters": {name: repr(value) for name, value in parameters(schedule).items()},
        "schedule": due_times(schedule.every_s, shift_minutes(schedule.place)).cron(),
        "timezone": "UTC",
    }


def parameters(schedule: Schedule) -> dict[str, str]:
    """What the notebook gets, by the names of its parameters."""
    paths = [*schedule.paths, *([watch_case(schedule)] if schedule.watch else [])]
    found = {"case": "\n".join(paths), "out": schedule.out, "every": duration_text(schedule.every_s),
             "alerts": schedule.alerts, "objectives": schedule.objectives}  # fmt: skip
    return {name: text for name, text in found.items() if text}


def next_steps(schedule: Schedule, files: tuple[UnitFile, ...], folder: str) -> list[str]:
    """What to run when the file is written: $TOKEN is that of the Jupyter server."""
    path = shlex.quote(f"{folder}/{files[0].name}")
    return [f'curl --fail -H "Authorization: token $TOKEN" -H "Content-Type: application/json" --data @{path} '
            "http://127.0.0.1:8888/scheduler/job_definitions",
            "warmstall schedule print cron --only freshness"]  # fmt: skip
