"""`/proc/PID/limits`: the limits that a live process really has, soft and hard.

Collected files hold one section per process, as `tail -n +1 /proc/PID/limits …` prints them.
"""

from __future__ import annotations

import math
import re

from .parsed import Parsed
from .systemd_values import RLIMITS

RESOURCES = {
    "Max cpu time": "CPU", "Max file size": "FSIZE", "Max data size": "DATA", "Max stack size": "STACK",
    "Max core file size": "CORE", "Max resident set": "RSS", "Max processes": "NPROC", "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK", "Max address space": "AS", "Max file locks": "LOCKS",
    "Max pending signals": "SIGPENDING", "Max msgqueue size": "MSGQUEUE", "Max nice priority": "NICE",
    "Max realtime priority": "RTPRIO", "Max realtime timeout": "RTTIME",
}  # fmt: skip

# "Max open files            1024                 4096                 files     "; the blanks may have been lost.
_ROW = re.compile(r"\s*(Max [a-z]+(?: [a-z]+){0,2})\s+(unlimited|\d{1,20})\s+(unlimited|\d{1,20})(?:\s+([a-z]+))?\s*")
_TITLE = re.compile(r"\s*Limit\s+Soft Limit\s+Hard Limit\s+Units\s*")
_SECTION = re.compile(r"\s*==> (\S.*) <==\s*")
_FILE = re.compile(r"/proc/(\d{1,18})/limits\b")


def is_process_limits(lines: list[str]) -> bool:
    """Whether this text holds the limits of a process.

    >>> is_process_limits(["$ cat /proc/7/limits", "Max open files  1024  4096  files"])
    True
    >>> is_process_limits(["Max open files is 1024 by default"])
    False
    """
    return any(_row(line) for line in lines)


def parse_process_limits(text: str) -> Parsed:
    """Rows of the limits table: one per resource and process.

    origin "process"; subject, the pid where a heading or a command before it tells, else empty; resource, systemd's
    name (MEMLOCK, NOFILE, …); soft and hard, infinity where unlimited; unit as the kernel prints it. `Max cpu time`
    is in seconds, `Max realtime timeout` in microseconds.

    >>> parsed = parse_process_limits("==> /proc/1436/limits <==\\nMax locked memory 65536 unlimited bytes")
    >>> [(row["subject"], row["resource"], row["soft"], row["hard"]) for row in parsed.tables["limits"]]
    [('1436', 'MEMLOCK', 65536.0, inf)]
    """
    parsed = Parsed()
    pid, seen, headings = "", set[str](), set[int]()
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        named = _FILE.search(line)
        if row := _row(line):
            resource, soft, hard, unit = row
            if resource in seen:  # another process, and nothing says which
                pid, seen = "", set()
            seen.add(resource)
            parsed.add("limits", number, origin="process", subject=pid, resource=resource, soft=soft, hard=hard,
                       unit=unit)  # fmt: skip
            parsed.understood(headings)
            headings = set()
        elif named or _SECTION.fullmatch(line):
            pid, seen, headings = named[1] if named else "", set(), {number} if named else set()
        elif _TITLE.fullmatch(line):
            if seen:
                pid, seen = "", set()
            headings.add(number)
    return parsed


def _row(line: str) -> tuple[str, float, float, str] | None:
    match = _ROW.fullmatch(line)
    if not match or match[1] not in RESOURCES:
        return None
    resource = RESOURCES[match[1]]
    soft, hard = (math.inf if text == "unlimited" else float(text) for text in match.group(2, 3))
    return resource, soft, hard, match[4] if match[4] is not None else RLIMITS[resource][0]
