"""What is run on a schedule: the report, the check that there is a fresh one and, if wanted, what watches between."""

from __future__ import annotations

from ..errors import InputError
from .due_times import DueTimes, due_times, shift_minutes
from .records import DAY_S, HOUR_S, MINUTE_S, Job, JobName, Schedule, duration_text, size_text

# The check reads one small file, and tells somebody over the network if it has to.
_CHECK_LONGEST_S = 2 * MINUTE_S
_CHECK_MEMORY_BYTES = 256 * 2**20
# A look every half minute shows a slope within minutes; 16 MB of them last for days.
_WATCH_EVERY_S = 30.0
_WATCH_MEGABYTES = 16
_WATCH_MEMORY_BYTES = 512 * 2**20
# Exit codes of `warmstall report` that are answers: healthy, degraded, critical. 3 is a report that failed.
REPORT_OUTCOMES = (0, 1, 2)


def jobs(schedule: Schedule) -> tuple[Job, ...]:
    """The jobs of a schedule, the report first.

    The check is a job of its own, because a report that never runs cannot tell so.
    """
    found = [_report(schedule), _freshness(schedule)]
    if schedule.watch:
        found.append(_watch(schedule))
    return tuple(found)


def watch_case(schedule: Schedule) -> str:
    """The case that `warmstall watch` writes and the report reads."""
    return f"{schedule.out.rstrip('/')}/watch"


def restarted(job: Job, every_s: float) -> Job:
    """A job that runs all the time, for what can only start things: it ends before it is started the next time."""
    words = list(job.words)
    words[words.index("--for") + 1] = duration_text(every_s - MINUTE_S)
    return Job(job.name, job.about, tuple(words), every_s, every_s - MINUTE_S / 2, job.memory_bytes, job.outcomes)


def bounded_words(schedule: Schedule, job: Job) -> tuple[str, ...]:
    """The job within `warmstall schedule run`, for what has no bounds of its own, as words after the program."""
    words = ["schedule", "run", "--quiet", "--longest", duration_text(job.longest_s), "--memory",
             size_text(job.memory_bytes), "--outcomes", _codes(job)]  # fmt: skip
    if schedule.alerts and job.name != "watch":
        words += ["--variables", variables_path(schedule)]
    if job.name == "freshness":
        # After so long without a look the machine was asleep or off, and the report first gets time to catch up.
        words += ["--settle", duration_text(1.5 * job.every_s)]
    return (*words, "--", *job.words)


def answering_words(job: Job) -> tuple[str, ...]:
    """The job with exit code 0 for all its answers, for what has bounds and counts any other code as a failure."""
    return job.words if job.outcomes == (0,) else ("schedule", "run", "--outcomes", _codes(job), "--", *job.words)


def due(schedule: Schedule, job: Job) -> DueTimes:
    """When a job is due by the clock; the check comes half-way between two reports."""
    half_way = int(job.every_s / MINUTE_S / 2) if job.name == "freshness" else 0
    return due_times(job.every_s, shift_minutes(schedule.place) + half_way)


def variables_path(schedule: Schedule) -> str:
    """Where the variables stand that alerts.toml names: beside it, in a file for its owner alone."""
    return f"{schedule.alerts.rpartition('/')[0]}/alerts.env" if schedule.alerts else ""


def wanted(schedule: Schedule, only: str) -> tuple[Job, ...]:
    """The jobs, or the one that is asked for. Raises InputError where there is no such job."""
    found = jobs(schedule)
    if only and only not in [job.name for job in found]:
        named: list[JobName] = [job.name for job in found]
        raise InputError(f"--only {only}: there is no such job here; there are {', '.join(named)}.")
    return tuple(job for job in found if only in ("", job.name))


def _codes(job: Job) -> str:
    return ",".join(map(str, job.outcomes))


def _report(schedule: Schedule) -> Job:
    words = ["report", *schedule.paths]
    if schedule.watch:
        words.append(watch_case(schedule))
    if schedule.collect:
        words.append("--collect")
    words += ["--out", schedule.out, "--every", duration_text(schedule.every_s)]
    for option, path in (("--alerts", schedule.alerts), ("--objectives", schedule.objectives)):
        if path:
            words += [option, path]
    return Job("report", "health report of Ollama", tuple(words), schedule.every_s, schedule.longest_s,
               schedule.memory_bytes, REPORT_OUTCOMES)  # fmt: skip


def _freshness(schedule: Schedule) -> Job:
    words = ["report", "--check-freshness", "--out", schedule.out]
    if schedule.alerts:
        words += ["--alerts", schedule.alerts]
    every_s = min(schedule.every_s, HOUR_S)
    return Job("freshness", "is there a fresh health report?", tuple(words), every_s, _CHECK_LONGEST_S,
               _CHECK_MEMORY_BYTES)  # fmt: skip


def _watch(schedule: Schedule) -> Job:
    words = ("watch", watch_case(schedule), "--every", duration_text(_WATCH_EVERY_S), "--for", duration_text(DAY_S),
             "--most-megabytes", str(_WATCH_MEGABYTES))  # fmt: skip
    return Job("watch", "looks at Ollama between the reports", words, 0.0, DAY_S + HOUR_S, _WATCH_MEMORY_BYTES)
