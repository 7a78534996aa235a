"""Linux memory: /proc/meminfo, /proc/vmstat, pressure stall information, and the memory files of cgroups v1 and v2.

A capture is what `tail -n +1 FILE FILE …` prints, each file under `==> PATH <==` (a prompt with `cat PATH` and the
lines of `grep . PATH` do too), or the bare content of a file that tells by itself which it is: meminfo, vmstat,
memory.events. Bare pressure is left out, because the files of cpu, io and memory look alike. Counters of vmstat are
pages or events (the kernel's Documentation: filesystems/proc, accounting/psi, admin-guide/cgroup-v2, cgroup-v1/memory);
its pgpgin and pgpgout are KiB of block input and output, not paging, and are left out.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from ..schema import TABLES
from .encodings import encodable
from .parsed import Parsed
from .vm_stat import EMPTY_LOOK, Clock, clean_lines, whole

_MEMINFO = {
    "MemTotal": "total_bytes",
    "MemFree": "free_bytes",
    "MemAvailable": "available_bytes",
    "Active": "active_bytes",
    "Inactive": "inactive_bytes",
    "AnonPages": "anonymous_bytes",
    "SwapTotal": "swap_total_bytes",
    "Zswap": "compressor_bytes",
    "Zswapped": "compressed_bytes",
}
_VMSTAT = {
    "pswpin": "swapins",
    "pswpout": "swapouts",
    "pgmajfault": "major_faults",
    "oom_kill": "oom_kills",
    "zswpin": "decompressions",
    "zswpout": "compressions",
}
# v2, then v1. A limit may be "max"; v1 prints the largest multiple of the page size that fits.
_CGROUP_FILES = {
    "memory.max": "limit_bytes",
    "memory.high": "high_bytes",
    "memory.current": "used_bytes",
    "memory.peak": "peak_bytes",
    "memory.swap.max": "",
    "memory.swap.current": "swap_used_bytes",
    "memory.limit_in_bytes": "limit_bytes",
    "memory.usage_in_bytes": "used_bytes",
    "memory.max_usage_in_bytes": "peak_bytes",
    "memory.memsw.limit_in_bytes": "",
    "memory.memsw.usage_in_bytes": "",
    "memory.memsw.max_usage_in_bytes": "",
    "memory.failcnt": "",
    "memory.memsw.failcnt": "",
}
_CGROUP_TABLES = {
    "memory.events": {"oom_kill": "oom_kills"},
    "memory.oom_control": {"oom_kill": "oom_kills"},
    "memory.stat": {
        "anon": "anonymous_bytes",
        "file": "file_backed_bytes",
        "total_rss": "anonymous_bytes",
        "total_cache": "file_backed_bytes",
        "pgmajfault": "major_faults",
    },
}
_LIMITS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.swap.max": "MemorySwapMax",
    "memory.limit_in_bytes": "MemoryMax",
    "memory.memsw.limit_in_bytes": "MemorySwapMax",
}
_NO_LIMIT = 2**62
# Files that can stand without a heading, by their first names; which cgroup the last one is of is not told.
_FIRST_NAMES = {
    "MemTotal": "/proc/meminfo",
    "nr_free_pages": "/proc/vmstat",
    "pswpin": "/proc/vmstat",
    "pswpout": "/proc/vmstat",
    "low": "?/memory.events",
}
_MOUNTS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "/sys/fs/cgroup")

_SECTION = re.compile(r"[\s=#*>-]*(?=[\w./])(\.?/?(?:[^\s<>/]+/)*\w[\w.]*)[\s=<:*-]*$")
_CAT = re.compile(r"[$#%>]\s*(?:sudo )?cat (/\S+)\s*$")
_GREP = re.compile(r"(/\S{1,300}/memory\.[a-z_.]{1,40}):(.*)$")
_KILOBYTES = re.compile(r"([A-Z][\w()]{1,40}):\s+([0-9]{1,16})( kB)?\s*$")
_PAIR = re.compile(r"([a-z][a-z0-9_]{1,60}) ([0-9]{1,19})\s*$")
_STALL = re.compile(
    r"(some|full) avg10=([0-9]{1,3}\.[0-9]{1,6}) avg60=\S{1,12} avg300=\S{1,12} total=([0-9]{1,19})\s*$"
)
_AMOUNT = re.compile(r"(max|[0-9]{1,20})\s*(?:#.*)?$")
_PROMPT = re.compile(r"\S{0,80}\s?[$#%>] |===")
_PAGE = re.compile(r"(?:getconf )?PAGE_?SIZE[\s:=]+([0-9]{3,6})\s*$")


def is_linux_memory(lines: list[str]) -> bool:
    """Whether these lines hold memory files of /proc or of a cgroup.

    >>> is_linux_memory(["MemTotal:       24684096 kB", "MemFree:        23658416 kB"])
    True
    >>> is_linux_memory(["some avg10=0.00 avg60=0.00 avg300=0.00 total=0", "Swap is short: see /proc/meminfo"])
    False
    """
    return bool(parse_linux_memory("\n".join(lines)).tables)


def parse_linux_memory(text: str) -> Parsed:
    """Rows of the memory table, one a look: origin `linux` for the host, `cgroup:PATH` for a cgroup, and its limits.

    Bytes, pages and events; a limit that is none is infinity. A look ends where a file comes again or a time is shown.
    limits rows: origin `cgroup`, subject the cgroup's path, resources MemoryMax, MemoryHigh and MemorySwapMax in bytes.
    page_bytes is what the capture tells: PAGESIZE, or the pages of vmstat beside the kilobytes of meminfo.
    Nothing is raised.

    >>> looks = parse_linux_memory("==> /sys/fs/cgroup/a.service/memory.max <==\\nmax\\n\\n"
    ...     "==> /sys/fs/cgroup/a.service/memory.events <==\\nlow 0\\nhigh 0\\nmax 9\\noom 2\\noom_kill 1\\n")
    >>> row = looks.tables["memory"][0]
    >>> row["origin"], row["limit_bytes"], row["oom_kills"], looks.tables["limits"][0]["resource"]
    ('cgroup:/a.service', inf, 1, 'MemoryMax')
    """
    reader = _Reader()
    for number, line in clean_lines(text):
        reader.read(number, line)
    reader.end_sweep()
    return reader.parsed


class _Look:
    """What the files of one host or cgroup say in one look: numbers as they stand there, by their own names."""

    def __init__(self, line: int, times: dict[str, datetime | None]) -> None:
        self.line, self.times = line, times
        self.said: dict[str, float] = {}
        self.said_in: dict[str, int] = {}
        self.numbers: set[int] = set()

    def columns(self, *names: dict[str, str]) -> dict[str, int | None]:
        """The named numbers that were said, by column."""
        return {
            column: whole(self.said[name])
            for table in names
            for name, column in table.items()
            if name in self.said and column in TABLES["memory"]
        }


class _Reader:
    """Where in a capture we are: in which file, and what the looks of this sweep have said so far."""

    def __init__(self) -> None:
        self.parsed = Parsed()
        self.clock = Clock()
        self.page_bytes: int | None = None
        self.looks: dict[str, _Look] = {}
        self.seen: set[str] = set()
        self.path, self.path_line, self.kind, self.subject = "", 0, "", ""

    def read(self, number: int, line: str) -> None:
        if grep := _GREP.match(line):
            if grep[1] != self.path:
                self._enter(number, grep[1])
            self._take(number, grep[2])
        elif section := _CAT.search(line) or (_SECTION.match(line) if "memory" in line or "/" in line else None):
            self.clock.read_heading(line)
            self._enter(number, section[1])
        elif page := _PAGE.match(line):
            self.page_bytes = int(page[1]) or None
            self.parsed.understood([number])
        elif line.strip() and not self._take(number, line) and not self._begins_bare(number, line):
            # Below the heading of a file that is none of ours everything belongs to that file.
            if self.kind or _PROMPT.match(line):
                self.path, self.kind = "", ""
            if self.clock.read_heading(line):
                self.parsed.understood([number])
                self.end_sweep()

    def _enter(self, number: int, path: str) -> None:
        """Another file begins; one that comes again begins another look at everything."""
        if path in self.seen:
            self.end_sweep()
        self.seen.add(path)
        self.path, self.path_line = path, number
        self.kind, self.subject = _kind_of(path)

    def _begins_bare(self, number: int, line: str) -> bool:
        first = _KILOBYTES.match(line) or _PAIR.match(line)
        if not first or first[1] not in _FIRST_NAMES or (self.path and not self.kind):
            return False
        self._enter(number, _FIRST_NAMES[first[1]])
        return self._take(number, line)

    def _take(self, number: int, line: str) -> bool:
        """Whether the line is content of the file that we are in; what it says is kept."""
        said: list[tuple[str, float]] = []
        if self.kind == "kilobytes" and (kilobytes := _KILOBYTES.match(line)):
            said = [(kilobytes[1], int(kilobytes[2]) * (1024 if kilobytes[3] else 1))]
        elif self.kind == "pairs" and (pair := _PAIR.match(line)):
            said = [(pair[1], int(pair[2]))]
        elif self.kind == "stalls" and (stall := _STALL.match(line)):
            said = [(f"{stall[1]} avg10", float(stall[2])), (f"{stall[1]} total", int(stall[3]))]
        elif self.kind == "amount" and (amount := _AMOUNT.match(line)):
            name, value = self.path.rpartition("/")[2], math.inf if amount[1] == "max" else int(amount[1])
            said = [(name, math.inf if value >= _NO_LIMIT and name in _LIMITS else value)]
        subject = self.subject
        look = self.looks.get(subject)
        if not said or (look and said[0][0] in look.said):
            return False
        if look is None:
            look = self.looks[subject] = _Look(self.path_line, self.clock.columns())
        look.said.update(said)
        look.said_in[said[0][0]] = number
        look.numbers |= {self.path_line, number}
        return True

    def end_sweep(self) -> None:
        """One row for the host, and for every cgroup one with its limits."""
        for subject, look in self.looks.items():
            path = _cgroup_path(subject)
            row = _cgroup_row(look) if subject else self._host_row(look)
            if row:
                origin = f"cgroup:{path}" if subject else "linux"
                self.parsed.add("memory", look.line, **(EMPTY_LOOK | look.times | {"origin": origin} | row))
                self.parsed.understood(look.numbers)
            for name, limit in _limits(look.said).items() if subject else ():
                self.parsed.add("limits", look.said_in[name], **look.times, origin="cgroup", subject=path,
                                resource=_LIMITS[name], soft=limit, hard=limit, unit="bytes")  # fmt: skip
        self.looks, self.seen = {}, set()

    def _host_row(self, look: _Look) -> dict[str, Any]:
        said = look.said
        row: dict[str, Any] = look.columns(_MEMINFO, _VMSTAT) | _stalls(look)
        if "SwapTotal" in said and "SwapFree" in said:
            row["swap_used_bytes"] = whole(said["SwapTotal"] - said["SwapFree"])
        if "Active(file)" in said and "Inactive(file)" in said:
            row["file_backed_bytes"] = whole(said["Active(file)"] + said["Inactive(file)"])
        return row and row | {"page_bytes": self.page_bytes or _page_bytes(said)}


def _stalls(look: _Look) -> dict[str, Any]:
    averages = {f"psi_{kind}_avg10": look.said.get(f"{kind} avg10") for kind in ("some", "full")}
    totals = {f"psi_{kind}_total_us": whole(look.said.get(f"{kind} total")) for kind in ("some", "full")}
    return {name: value for name, value in (averages | totals).items() if value is not None}


def _cgroup_row(look: _Look) -> dict[str, Any]:
    said = look.said
    row: dict[str, Any] = look.columns(_CGROUP_FILES, *_CGROUP_TABLES.values()) | _stalls(look)
    for name, column in _CGROUP_FILES.items():
        if name in said and column in ("limit_bytes", "high_bytes"):
            row[column] = float(said[name])
    if math.isfinite(swap := said.get("memory.swap.max", math.inf)):
        row["swap_total_bytes"] = whole(swap)
    # v1 counts memory and swap together.
    if "memory.memsw.usage_in_bytes" in said and "memory.usage_in_bytes" in said:
        both, memory = said["memory.memsw.usage_in_bytes"], said["memory.usage_in_bytes"]
        row["swap_used_bytes"] = whole(max(both - memory, 0))
    return row


def _limits(said: dict[str, float]) -> dict[str, float]:
    limits = {name: float(said[name]) for name in _LIMITS if name in said}
    # v1 limits memory and swap together, and never below the limit of memory.
    if math.isfinite(both := limits.get("memory.memsw.limit_in_bytes", math.inf)):
        del limits["memory.memsw.limit_in_bytes"]
        if math.isfinite(memory := limits.get("memory.limit_in_bytes", math.inf)):
            limits["memory.memsw.limit_in_bytes"] = max(both - memory, 0.0)
    return limits


def _kind_of(path: str) -> tuple[str, str]:
    """What a file's content looks like, and the folder of its cgroup; the host's own files have none.

    >>> _kind_of("/proc/vmstat"), _kind_of("/sys/fs/cgroup/a/memory.stat"), _kind_of("/sys/devices/node0/vmstat")
    (('pairs', ''), ('pairs', '/sys/fs/cgroup/a'), ('', ''))
    """
    folder, _, name = path.rpartition("/")
    if path.endswith("/pressure/memory"):
        return "stalls", ""
    if name in ("meminfo", "vmstat"):
        return ("kilobytes" if name == "meminfo" else "pairs", "") if folder in ("", "/proc") else ("", "")
    kinds = (
        {"memory.pressure": "stalls"} | dict.fromkeys(_CGROUP_TABLES, "pairs") | dict.fromkeys(_CGROUP_FILES, "amount")
    )
    return kinds.get(name, ""), folder or "."


def _page_bytes(said: dict[str, float]) -> int | None:
    """The page size that meminfo and vmstat tell together, when two pairs of numbers agree on it.

    >>> _page_bytes({"AnonPages": 117752 * 1024, "nr_anon_pages": 29488, "Mapped": 65148 * 1024, "nr_mapped": 16387})
    4096
    """
    sizes = set()
    for kilobytes, pages in (("AnonPages", "nr_anon_pages"), ("Mapped", "nr_mapped")):
        if said.get(kilobytes, 0) <= 0 or said.get(pages, 0) <= 0:
            return None
        ratio = said[kilobytes] / said[pages]
        sizes.add(next((size for size in (4096, 16384, 65536) if abs(ratio / size - 1) < 0.05), None))
    return sizes.pop() if len(sizes) == 1 else None


def _cgroup_path(folder: str) -> str:
    """The cgroup's own path, without the place where the hierarchy is mounted.

    >>> _cgroup_path("/sys/fs/cgroup/memory/a.slice/b.service"), _cgroup_path("/sys/fs/cgroup")
    ('/a.slice/b.service', '/')
    """
    for mount in _MOUNTS:
        if folder == mount or folder.startswith(mount + "/"):
            return encodable(folder[len(mount) :] or "/")
    return encodable(folder)
