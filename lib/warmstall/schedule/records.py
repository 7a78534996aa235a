"""What is to be run, how often and within which bounds; checked before anything is printed."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Literal

from ..errors import InputError

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
# A report is a notebook in a kernel of its own: about 300 MB before it has read anything.
LEAST_MEMORY_BYTES = 384 * 2**20
# Its start alone takes seconds, on a busy machine many of them.
LEAST_LONGEST_S = 30.0
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
# A name of Kubernetes: a label of DNS (RFC 1123).
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,400}")

JobName = Literal["report", "freshness", "watch"]


@dataclass(frozen=True)
class Schedule:
    """What a user asked to be printed. Paths are absolute; times in seconds, memory in bytes.

    `program` is how warmstall is started there. `place` tells machines apart, so that many of them do not start their
    reports in the same minute. `metrics` is the file for node_exporter that `alerts` names. Raises InputError, with
    what to do, for a value that no format could carry.
    """

    program: tuple[str, ...]
    out: str
    every_s: float = HOUR_S
    longest_s: float = 10 * MINUTE_S
    memory_bytes: int = 2**30
    collect: bool = True
    paths: tuple[str, ...] = ()
    alerts: str = ""
    objectives: str = ""
    metrics: str = ""
    user: str = ""
    watch: bool = False
    place: str = ""
    image: str = ""
    namespace: str = "default"
    claim: str = "warmstall-health"
    logs_claim: str = ""
    notebook: str = "notebooks/health_report.ipynb"
    environment: str = "python"

    def __post_init__(self) -> None:
        for name, text in self._texts():
            _check_text(name, text)
        for name, path in (("out", self.out), ("alerts", self.alerts), ("objectives", self.objectives),
                           ("metrics", self.metrics), *(("paths", path) for path in self.paths)):  # fmt: skip
            if path and not PurePosixPath(path).is_absolute():
                raise InputError(f"{_option(name)} {path}: expected an absolute path; a schedule runs in no folder.")
        if not LEAST_LONGEST_S <= self.longest_s < self.every_s:
            raise InputError(
                f"--longest {duration_text(self.longest_s)} with --every {duration_text(self.every_s)}: expected at "
                f"least {duration_text(LEAST_LONGEST_S)} and less than the time to the next report, so that no two run "
                "at once."
            )
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            raise InputError(
                f"--memory {size_text(self.memory_bytes)}: a report needs {size_text(LEAST_MEMORY_BYTES)} at least."
            )
        if self.user in ("root", "nobody"):
            raise InputError(f"--user {self.user}: a report needs no rights but files of its own; name another user, "
                             "as made by: sudo useradd --system warmstall")  # fmt: skip
        if self.user and not _USER.fullmatch(self.user):
            raise InputError(f"--user {self.user}: expected the name of a user, of letters, digits, _ . and -.")
        for name, label in (("namespace", self.namespace), ("claim", self.claim), ("logs_claim", self.logs_claim)):
            if label and not _LABEL.fullmatch(label):
                raise InputError(f"{_option(name)} {label}: expected small letters, digits and dashes.")
        if self.image and not _IMAGE.fullmatch(self.image):
            raise InputError(f"--image {self.image}: expected the name of an image, as registry/warmstall:1.")

    def _texts(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for field in fields(self):
            value = getattr(self, field.name)
            texts = value if isinstance(value, tuple) else (value,)
            found.extend((field.name, text) for text in texts if isinstance(text, str))
        return found


@dataclass(frozen=True)
class Job:
    """One command that is run by itself. `words` are those after the program.

    `every_s` is 0 for what runs all the time. `outcomes` are the exit codes that are answers and no failures.
    """

    name: JobName
    about: str
    words: tuple[str, ...]
    every_s: float
    longest_s: float
    memory_bytes: int
    outcomes: tuple[int, ...] = (0,)

    @property
    def unit(self) -> str:
        return f"warmstall-{self.name}"


@dataclass(frozen=True)
class UnitFile:
    """One file to be installed, and which jobs stand in it."""

    name: str
    text: str
    jobs: tuple[JobName, ...]


def duration_text(seconds: float) -> str:
    """A duration as the command line reads it.

    >>> duration_text(3600), duration_text(5400), duration_text(600), duration_text(7.5)
    ('1h', '90m', '10m', '7.5s')
    """
    for unit, of_s in (("h", HOUR_S), ("m", MINUTE_S)):
        if seconds >= of_s and seconds % of_s == 0:
            return f"{seconds / of_s:.0f}{unit}"
    return f"{seconds:g}s"


def size_text(size_bytes: int) -> str:
    """A size to the base 1024, as systemd and `--memory` read it.

    >>> size_text(2**30), size_text(1536 * 2**20), size_text(1000)
    ('1G', '1536M', '1000')
    """
    for unit, of_bytes in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if size_bytes and size_bytes % of_bytes == 0:
            return f"{size_bytes // of_bytes}{unit}"
    return str(size_bytes)


def _check_text(name: str, text: str) -> None:
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or char in "\u2028\u2029" for char in text):
        raise InputError(
            f"{_option(name)} {text!r}: a line break or another control character cannot stand in a unit or a crontab; "
            "rename it."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{_option(name)} {text!r}: a name that is no UTF-8 cannot be printed; rename it.") from None
    if any(ord(char) in (0xFFFE, 0xFFFF) for char in text):
        raise InputError(f"{_option(name)} {text!r}: holds a character that XML cannot carry; rename it.")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
