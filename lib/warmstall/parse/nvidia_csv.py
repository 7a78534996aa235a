"""Answers of `nvidia-smi --query-gpu=… --format=csv` and `--query-compute-apps=… --format=csv`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .parsed import Parsed
from .tolerant import blank, number, whole

_CELL = re.compile(r"(?P<name>[a-z_0-9]+(?:\.[a-z_0-9]+)*)(?: \[(?P<unit>[A-Za-z%]{1,8})\])?")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TEXT = {
    "index": "gpu", "name": "name", "gpu_name": "name", "uuid": "uuid", "gpu_uuid": "uuid", "driver_version": "driver",
}  # fmt: skip
_SIZES = {"memory.total": "total_bytes", "memory.used": "used_bytes"}
_NUMBERS = {
    "utilization.gpu": "utilization_percent", "temperature.gpu": "temperature_c", "power.draw": "power_w",
    "power.draw.instant": "power_w",
}  # fmt: skip
# A header is one of nvidia-smi's when one of these is in it; names such as `index` and `name` are anybody's.
_TELLING = {*_SIZES, *_NUMBERS, "memory.free", "utilization.memory", "compute_cap", "driver_version", "pstate"}
_PROCESS_MEMORY = ("used_memory", "used_gpu_memory")


@dataclass(frozen=True)
class Header:
    """Names and units of the columns; whether the rows are processes."""

    names: list[str]
    units: list[str]
    processes: bool


def header_of(line: str) -> Header | None:
    """The header of a CSV answer, or None. With `noheader` there is none, and nothing tells the columns.

    >>> header_of("pid, process_name, used_gpu_memory [MiB]").names
    ['pid', 'process_name', 'used_gpu_memory']
    >>> header_of("name, model, error") is None
    True
    """
    cells = [_CELL.fullmatch(cell) for cell in line.split(", ")] if len(line) < 2000 else [None]
    names = [cell["name"] for cell in cells if cell]
    if len(names) != len(cells):
        return None
    processes = "pid" in names and ("process_name" in names or any(name in names for name in _PROCESS_MEMORY))
    if not processes and not _TELLING.intersection(names):
        return None
    return Header(names, [cell["unit"] or "" for cell in cells if cell], processes)


def row_of(parsed: Parsed, line_number: int, line: str, header: Header) -> bool:
    """Add the row that this line is; False when it is none."""
    values = _cells(line, header)
    if values is None:
        return False
    row = _process(values) if header.processes else _gpu(values, header)
    if row is None:
        return False
    parsed.add("gpu_processes" if header.processes else "gpus", line_number, **row)
    return True


def _cells(line: str, header: Header) -> dict[str, str] | None:
    """The cells by name. A name may hold commas: what is too many belongs to it."""
    cells = line.split(", ")
    surplus = len(cells) - len(header.names)
    spare = next((name for name in ("process_name", "name", "gpu_name") if name in header.names), None)
    if surplus < 0 or (surplus and spare is None):
        return None
    if surplus and spare:
        at = header.names.index(spare)
        cells[at : at + surplus + 1] = [", ".join(cells[at : at + surplus + 1])]
    return dict(zip(header.names, (cell.strip() for cell in cells), strict=True))


def _bytes(text: str, unit: str) -> int | None:
    """Of `806 MiB`, or of `806` under a header that names the unit."""
    figure, _, own_unit = text.partition(" ")
    amount = number(figure)
    return None if amount is None else whole(int(amount * _BYTES.get(own_unit or unit, 2**20)))


def _figure(text: str) -> float | None:
    return number(text.partition(" ")[0])


def _gpu(values: dict[str, str], header: Header) -> dict[str, Any] | None:
    units = dict(zip(header.names, header.units, strict=True))
    row: dict[str, Any] = {"vendor": "NVIDIA"}
    others = []
    for name, text in values.items():
        absent = not text or re.fullmatch(r"\[?(?:N/A|Not Supported|Unknown Error|GPU is lost)\]?", text) is not None
        if name in _SIZES:
            row[_SIZES[name]] = _bytes(text, units[name])
        elif name in _NUMBERS:
            row[_NUMBERS[name]] = _figure(text)
        elif name in _TEXT:
            row[_TEXT[name]] = None if absent else text
        elif name == "timestamp":
            row["local_at"] = _timestamp(text)
        elif not absent:
            others.append(f"{name}={text}")
        if name in _SIZES | _NUMBERS and not absent and _figure(text) is None:
            return None
    return blank("gpus") | row | {"detail": ", ".join(others) or None}


def _process(values: dict[str, str]) -> dict[str, Any] | None:
    pid = whole(values["pid"])
    if pid is None:
        return None
    used = next((values[name] for name in _PROCESS_MEMORY if name in values), "")
    gpu = values.get("gpu_uuid") or values.get("gpu_bus_id")
    row = {"gpu": gpu, "pid": pid, "command": values.get("process_name") or values.get("name")}
    when = {"local_at": _timestamp(values.get("timestamp", ""))}
    return blank("gpu_processes") | row | when | {"used_bytes": _bytes(used, "MiB")}


def _timestamp(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f")
    except ValueError:
        return None
