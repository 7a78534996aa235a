"""What `nvidia-smi` prints: its table in every layout since 2013, CSV queries, topology, and why it failed."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from .nvidia_csv import Header, header_of, row_of
from .nvidia_topology import add_nvidia_topology
from .parsed import Parsed
from .tolerant import asctime, blank, capture_lines, number, whole

_MIB = 2**20
_LONGEST = 2000
# Driver 610 renamed Driver Version to KMD Version and CUDA Version to CUDA UMD Version.
_BANNER = re.compile(
    r"NVIDIA-SMI +(?P<tool>[\d.]+) +(?:Driver|KMD) Version: *(?P<driver>[\d.]+)"
    r"(?: +CUDA(?: UMD)? Version: *(?P<cuda>[\d.]+))?"
)
_FAILURE = re.compile(
    r"NVIDIA-SMI has failed because .+|Failed to initialize NVML: .+|No devices were found\.?|"
    r"Unable to determine the device handle for .+"
)
_BUS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d")
_MEMORY = re.compile(r"(\d{1,12}) *MiB */ *(\d{1,12}) *MiB")
_USAGE = (
    ("temperature_c", re.compile(r"(\d{1,4})C(?![a-z])"), 0),
    ("power_w", re.compile(r"(\d{1,5})W */"), 0),
    ("utilization_percent", re.compile(r"(\d{1,3})%"), 2),
)
# Beside the name: persistence mode on Linux, driver model on Windows.
_MODES = {"On", "Off", "N/A", "WDDM", "TCC", "MCDM"}
_TYPES = {"C", "G", "C+G", "M", "M+C", "N/A"}


def is_nvidia_smi(lines: list[str]) -> bool:
    """Whether these lines hold a table, a CSV answer, a topology or a failure message of nvidia-smi.

    >>> is_nvidia_smi(["Failed to initialize NVML: Driver/library version mismatch"])
    True
    >>> is_nvidia_smi(["nvidia-smi says that No devices were found"])
    False
    """
    return bool(parse_nvidia_smi("\n".join(lines)).lines)


def parse_nvidia_smi(text: str) -> Parsed:
    """GPUs, the processes on them, how the GPUs are connected, and failures.

    gpus: one row a GPU and look; `gpu` is its index, `runtime` the CUDA version. gpu_processes: `gpu` is the
    index, in a CSV answer the UUID; `used_bytes` is empty where Windows or a container hides it. probes: endpoint
    `nvidia-smi` with the message as error. gpu_links: see nvidia_topology. The date above the table has no zone:
    `local_at`. Rows of MIG instances are left out, their GPU counts them already.

    >>> parsed = parse_nvidia_smi("index, memory.used [MiB], utilization.gpu [%]\\n1, 806 MiB, [N/A]")
    >>> [(row["gpu"], row["used_bytes"], row["utilization_percent"]) for row in parsed.tables["gpus"]]
    [('1', 845152256, None)]
    """
    parsed = Parsed()
    table = _Table(parsed)
    header: Header | None = None
    lines = capture_lines(text)
    for line_number, raw in enumerate(lines, 1):
        line = raw.strip()
        if len(line) > _LONGEST:
            continue
        if header and line and row_of(parsed, line_number, line, header):
            continue
        if header and not line:
            header = None
        if found := header_of(line):
            header = found
            parsed.lines.add(line_number)
        elif _FAILURE.fullmatch(line):
            parsed.add("probes", line_number, **blank("probes") | {"endpoint": "nvidia-smi", "error": line})
        else:
            table.read(line_number, line)
    add_nvidia_topology(parsed, lines)
    return parsed


class _Table:
    """The boxes that plain `nvidia-smi` draws: GPUs, MIG instances, processes."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.box = ""
        self.common: dict[str, Any] = {}
        self.columns: list[str] = []
        self.gpu: dict[str, Any] = {}
        self.above: list[int] = []
        self.local_at: datetime | None = None

    def read(self, line_number: int, line: str) -> None:
        if at := asctime(line):
            self.above, self.local_at = [line_number], at
        elif line[:1] in ("|", "+"):
            if banner := _BANNER.search(line):
                self._begin(banner)
            elif not self.box:
                self.above.append(line_number)
            if self.box and self._row(line_number, line):
                self.parsed.lines.add(line_number)
        elif line:
            self.box, self.above, self.local_at = "", [], None

    def _begin(self, banner: re.Match[str]) -> None:
        self.box, self.gpu = "gpus", {}
        self.common = {
            "driver": banner["driver"],
            "runtime": f"CUDA {banner['cuda']}" if banner["cuda"] else None,
            "local_at": self.local_at,
        }
        self.parsed.understood(self.above[-2:])  # the date, and the border of the box

    def _row(self, line_number: int, line: str) -> bool:
        """Whether the line is understood: a border, a heading, or a row of a box whose rows are kept."""
        cells = [cell.strip() for cell in line.strip("|+").split("|")]
        if title := re.match(r"(MIG devices|(?:Compute )?[Pp]rocesses):", cells[0]):
            self.box = "mig" if title[1].startswith("MIG") else "processes"
        words = cells[0].split()
        if "PID" in words:
            self.columns = words
        has_index = bool(words) and words[0].isdecimal()
        if self.box == "mig":
            return "MiB" not in line
        if self.box == "processes":
            return not has_index or self._process(line_number, line.strip("|").split())
        if has_index and len(cells) == 3:
            return self._gpu(line_number, words, cells)
        if self.gpu and len(cells) == 3:
            self._usage(cells)
        return True

    def _gpu(self, line_number: int, words: list[str], cells: list[str]) -> bool:
        bus = _BUS.match(cells[1])
        if len(words) < 2 or not (bus or cells[1].startswith("N/A")):
            return False
        name = " ".join(words[1:-1] if words[-1] in _MODES else words[1:])
        row = {"gpu": words[0], "name": name, "vendor": "NVIDIA", "detail": f"bus {bus[0]}" if bus else None}
        self.parsed.add("gpus", line_number, **blank("gpus") | self.common | row)
        self.gpu = self.parsed.tables["gpus"][-1]
        return True

    def _usage(self, cells: list[str]) -> None:
        """The second line of a GPU. The third, MIG mode, has nothing to take."""
        if memory := _MEMORY.search(cells[1]):
            self.gpu["used_bytes"], self.gpu["total_bytes"] = (int(amount) * _MIB for amount in memory.groups())
        for column, pattern, cell in _USAGE:
            if found := pattern.search(cells[cell]):
                self.gpu[column] = number(found[1])

    def _process(self, line_number: int, words: list[str]) -> bool:
        gpu, rest = words[0], words[3:] if "GI" in self.columns else words[1:]
        pid = whole(rest[0]) if rest else None
        if pid is None:
            return "Not Supported" in " ".join(words)
        rest = rest[2:] if "Type" in self.columns and len(rest) > 1 and rest[1] in _TYPES else rest[1:]
        used = re.fullmatch(r"(\d{1,12})MiB", rest[-1]) if rest else None
        row = {
            "local_at": self.common["local_at"],
            "gpu": gpu,
            "pid": pid,
            "command": " ".join(rest[:-1] if used or rest[-1:] == ["N/A"] else rest),
            "used_bytes": int(used[1]) * _MIB if used else None,
        }
        self.parsed.add("gpu_processes", line_number, **blank("gpu_processes") | row)
        return True
