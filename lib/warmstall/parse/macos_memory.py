"""macOS memory settings and levels: `sysctl` lines about memory and swap, and the `memory_pressure` tool.

`vm.swapusage` says how much swap is in use, which is history until a second look shows more of it.
`kern.memorystatus_vm_pressure_level` is the kernel's own verdict (1 normal, 2 warn, 4 critical) and
`kern.memorystatus_level` the percentage that memory_pressure prints as free (Apple's memory_pressure.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .parsed import Parsed
from .vm_stat import EMPTY_LOOK, Clock, clean_lines, whole

_SIZE = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMGT]?)"
_SWAP = re.compile(rf"\btotal\s?=\s?{_SIZE}\s+used\s?=\s?{_SIZE}\s+free\s?=")
_SUFFIX = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SYSCTL = re.compile(r"(?:^|[\s\"`>])((?:vm|kern|hw|machdep|iogpu|debug)\.[\w.]{1,80})\s?[:=]\s*(.*)$")
_WHOLE = re.compile(r"([0-9]{1,19})\s*$")
# Names without a column are understood and left out.
_SETTINGS = {
    "hw.memsize": "total_bytes",
    "hw.pagesize": "page_bytes",
    "vm.pagesize": "page_bytes",
    "kern.memorystatus_vm_pressure_level": "pressure_level",
    "kern.memorystatus_level": "free_percent",
    "vm.page_free_count": "free_bytes",
    "vm.page_speculative_count": "speculative_bytes",
    "vm.page_purgeable_count": "purgeable_bytes",
    "vm.memory_pressure": "",
    "vm.page_free_wanted": "",
    "vm.page_free_target": "",
}
_SYSTEM = re.compile(r"The system has ([0-9]{1,19}) \([0-9]{1,19} pages with a page size of ([0-9]{1,9})\)")
_PERCENT = re.compile(r"System-wide memory free percentage:\s+([0-9]{1,3})%")
_SECTION = re.compile(r"(Stats|Swap I/O|Page Q counts|Compressor Stats|File I/O):\s*$")
_COUNT = re.compile(r"((?:Pages|Swap(?:in|out)s|Page(?:in|out)s)[a-z -]{0,40}): ([0-9]{1,19})\s*$")
_COUNTS = {
    "Pages free": "free_bytes",
    "Pages purgeable": "purgeable_bytes",
    "Pages active": "active_bytes",
    "Pages inactive": "inactive_bytes",
    "Pages speculative": "speculative_bytes",
    "Pages wired down": "wired_bytes",
    "Pages used by compressor": "compressor_bytes",
    "Pages decompressed": "decompressions",
    "Pages compressed": "compressions",
    "Swapins": "swapins",
    "Swapouts": "swapouts",
    "Pageins": "pageins",
    "Pageouts": "pageouts",
    "Pages purged": "",
    "Pages throttled": "",
}
_IN_PAGES = {column for column in (*_SETTINGS.values(), *_COUNTS.values()) if column.endswith("_bytes")} - {
    "total_bytes",
    "page_bytes",
}
# What a line says: its name (none for a setting of no interest here), and its values by column; None where it is
# no line of that tool.
_Said = tuple[str, dict[str, float]] | None


def is_macos_memory(lines: list[str]) -> bool:
    """Whether `sysctl` (memory or swap) or `memory_pressure` printed some of these lines.

    >>> is_macos_memory(["vm.swapusage: total = 2048.00M  used = 600.50M  free = 1447.50M"])
    True
    >>> is_macos_memory(["Set vm.swapusage aside", "hw.ncpu: 18", "Pages free:      6100."])
    False
    """
    return bool(parse_macos_memory("\n".join(lines)).tables)


def parse_macos_memory(text: str) -> Parsed:
    """Rows of the memory table: origin `sysctl` for each block of settings, `memory_pressure` for each of its looks.

    A block is one look: the settings that stand together, until one of them comes again, a time is shown, or
    something else stands between them. Bytes; pages are counted with the page size of the same block, and left out
    where it is not known. The line of `sysctl -n vm.swapusage`, which has no name, is understood too.
    Nothing is raised.

    >>> looks = parse_macos_memory("vm.swapusage: total = 2048.00M  used = 512.50M  free = 1535.50M  (encrypted)\\n"
    ...     "kern.memorystatus_vm_pressure_level: 2\\nkern.memorystatus_level: 44\\n")
    >>> row = looks.tables["memory"][0]
    >>> row["swap_used_bytes"], row["pressure_level"], row["free_percent"]
    (537395200, 2, 44.0)
    """
    parsed, clock = Parsed(), Clock()
    blocks = [_Block("sysctl", _of_sysctl, parsed), _Block("memory_pressure", _of_memory_pressure, parsed)]
    for number, line in clean_lines(text):
        if not line.strip():
            continue
        taker = next((block for block in blocks if block.take(number, line, clock)), None)
        if not taker:
            clock.read_heading(line)
        for block in blocks:
            if block is not taker:
                block.close()
    for block in blocks:
        block.close()
    return parsed


class _Block:
    """What one tool said in one look, while it is being read."""

    def __init__(self, origin: str, said_by: Callable[[str], _Said], parsed: Parsed) -> None:
        self.origin, self.said_by, self.parsed = origin, said_by, parsed
        self.page_bytes = 0.0  # of the host, so that it holds for later looks too
        self.numbers: list[int] = []
        self.names: set[str] = set()
        self.values: dict[str, float] = {}
        self.times: dict[str, datetime | None] = {}

    def take(self, number: int, line: str, clock: Clock) -> bool:
        """Add what the line says; a name that comes again begins the next look."""
        said = self.said_by(line)
        if said is None:
            return False
        name, values = said
        if not name:
            return True
        if name in self.names or name == "The system has":
            self.close()
        if not self.names:
            self.times = clock.columns()
        self.names.add(name)
        self.values |= values
        self.page_bytes = values.get("page_bytes", self.page_bytes)
        self.numbers.append(number)
        return True

    def close(self) -> None:
        """One row, if anything was said that has a column."""
        row: dict[str, Any] = {}
        for name, value in self.values.items():
            if name == "free_percent":
                row[name] = float(value)
            elif name in _IN_PAGES:
                row[name] = whole(value * self.page_bytes) if self.page_bytes else None
            else:
                row[name] = whole(value)
        # The words of memory_pressure alone may be another tool's: something of its own has to stand with them.
        if row and not self.names <= _COUNTS.keys():
            self.parsed.add("memory", self.numbers[0], **(EMPTY_LOOK | self.times | {"origin": self.origin} | row))
            self.parsed.understood(self.numbers)
        self.numbers, self.names, self.values = [], set(), {}


def _of_sysctl(line: str) -> _Said:
    setting = _SYSCTL.search(line)
    if swap := _SWAP.search(line):
        total, used = float(swap[1]) * _SUFFIX[swap[2]], float(swap[3]) * _SUFFIX[swap[4]]
        return "vm.swapusage", {"swap_total_bytes": total, "swap_used_bytes": used}
    if not setting:
        return None
    if setting[1] not in _SETTINGS:
        return "", {}
    column, value = _SETTINGS[setting[1]], _WHOLE.match(setting[2])
    return setting[1], {column: int(value[1])} if column and value else {}


def _of_memory_pressure(line: str) -> _Said:
    if system := _SYSTEM.search(line):
        return "The system has", {"total_bytes": int(system[1]), "page_bytes": int(system[2])}
    if percent := _PERCENT.search(line):
        return "System-wide memory free percentage", {"free_percent": float(percent[1])}
    if section := _SECTION.match(line):
        return section[1], {}
    if (count := _COUNT.match(line)) and count[1] in _COUNTS:
        column = _COUNTS[count[1]]
        return count[1], {column: int(count[2])} if column else {}
    return None
