"""What AMD's tools say of a GPU: `amd-smi` (text, JSON and its table), and `rocm-smi` through its own file."""

from __future__ import annotations

import re
from typing import Any

from .parsed import Parsed
from .rocm_smi import add_rocm_smi
from .tolerant import blank, capture_lines, json_documents, number, whole, words

_MIB = 2**20
# `amd-smi` writes MB for 2^20 bytes.
_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_LONGEST = 2000
# A column, the places where amd-smi shows it (versions differ; the first that has a value counts), and its kind.
_PLACES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("name", "text", ("asic.market_name", "market_name", "board.product_name")),
    ("uuid", "text", ("uuid",)),
    ("driver", "text", ("driver.version", "driver.driver_version")),
    ("total_bytes", "size", ("mem_usage.total_vram", "vram.size", "vram.vram_size")),
    ("used_bytes", "size", ("mem_usage.used_vram",)),
    ("utilization_percent", "number", ("usage.gfx_activity", "usage.gfx_usage")),
    ("temperature_c", "number", ("temperature.edge", "temperature.edge_temperature", "temperature.hotspot",
                                 "temperature.hotspot_temperature")),
    ("power_w", "number", ("power.socket_power", "power.current_socket_power", "power.average_socket_power")),
)  # fmt: skip
_DETAILS = ("asic.target_graphics_version", "bdf", "bus.bdf", "mem_usage.used_gtt", "mem_usage.total_gtt")
_TOP_KEYS = {
    "asic", "bdf", "uuid", "bus", "vbios", "ifwi", "limit", "driver", "board", "vram", "usage", "power", "temperature",
    "mem_usage", "clock", "fan",
}  # fmt: skip
_TREE_LINE = re.compile(r"(?P<indent> {2,40})(?P<key>[A-Za-z][\w ]{0,60}?):(?: +(?P<value>\S.*))?")
_BANNER = re.compile(r"AMD-SMI [\d.]+\S* +amdgpu version: *(?P<driver>\S+) +ROCm version: *(?P<rocm>[\d.]+|N/A)")
_PROCESS = re.compile(
    r"(?P<gpu>\d{1,4}) +(?P<pid>\d{1,10}) {1,9}(?P<name>\S.{0,40}?) +[\d.]+ [KMGT]?B +(?P<vram>[\d.]{1,9} [KMGT]?B) .*"
)
_BUS_AND_NAME = re.compile(r"(?P<bus>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d) +(?P<name>\S.*)")


def is_amd_smi(lines: list[str]) -> bool:
    """Whether these lines hold something that amd-smi or rocm-smi wrote.

    >>> is_amd_smi(["GPU[0]: VRAM Total Used Memory (B): 23856906240"])
    True
    >>> is_amd_smi(["GPU: 0", "some prose"])
    False
    """
    return bool(parse_amd_smi("\n".join(lines)).lines)


def parse_amd_smi(text: str) -> Parsed:
    """gpus: one row a GPU and command; `gpu` is the tool's number, `memory_percent` what it shows as VRAM%.
    gpu_processes: `used_bytes` is VRAM.

    Of an APU `detail` tells the GTT, which holds a model where the VRAM is only a small part set aside.

    >>> parsed = parse_amd_smi("GPU: 0\\n    MEM_USAGE:\\n        USED_VRAM: 2 MB\\n        TOTAL_VRAM: 512 MB")
    >>> [(row["gpu"], row["used_bytes"], row["total_bytes"]) for row in parsed.tables["gpus"]]
    [('0', 2097152, 536870912)]
    """
    parsed = Parsed()
    lines = [line if len(line) <= _LONGEST or line.lstrip()[:1] in ("{", "[") else "" for line in capture_lines(text)]
    documents = list(json_documents(lines))
    for numbers, document in documents:
        if isinstance(document, dict) and isinstance(document.get("gpu_data"), list):
            document = document["gpu_data"]
        if isinstance(document, list):
            for gpu in document:
                if isinstance(gpu, dict) and "gpu" in gpu and _add(parsed, numbers.start, _flat(gpu)):
                    parsed.understood(numbers)
    add_rocm_smi(parsed, lines, documents)
    _add_trees(parsed, lines)
    _add_tables(parsed, lines)
    return parsed


def _flat(gpu: dict[str, Any]) -> dict[str, Any]:
    """`{"vram": {"size": {"value": 5, "unit": "MB"}}}` as `{"vram.size": "5 MB"}`."""
    flat: dict[str, Any] = {}
    for key, value in gpu.items():
        for inner_key, inner in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(inner, dict) and "value" in inner:
                inner = f"{inner['value']} {inner.get('unit') or ''}".strip()
            flat[f"{key}.{inner_key}".rstrip(".").lower()] = inner
    return flat


def _add(parsed: Parsed, line_number: int, flat: dict[str, Any]) -> bool:
    """Whether this is a GPU as amd-smi shows it."""
    index = whole(flat.get("gpu"))
    if index is None or not any(key.partition(".")[0] in _TOP_KEYS for key in flat):
        return False
    row: dict[str, Any] = {"gpu": str(index), "vendor": "AMD"}
    for column, kind, places in _PLACES:
        row[column] = next((value for place in places if (value := _value(flat.get(place), kind)) is not None), None)
    details = [f"{place.rpartition('.')[2]}={flat[place]}" for place in _DETAILS if words(flat.get(place))]
    row["detail"] = words(", ".join(text for text in details if not text.endswith("=N/A"))) or None
    parsed.add("gpus", line_number, **blank("gpus") | row)
    return True


def _value(value: object, kind: str) -> str | int | float | None:
    if kind == "text":
        return None if value in ("N/A", "") else words(value)
    figure, _, unit = value.strip().partition(" ") if isinstance(value, str) else (value, "", "")
    amount = number(figure)
    if kind == "number" or amount is None:
        return amount
    return whole(int(amount * _UNITS.get(unit.split(" ")[0].upper() or "MB", _MIB)))


def _add_trees(parsed: Parsed, lines: list[str]) -> None:
    """Text of `amd-smi static`, `metric` and `list`: `GPU: 0` and an indented tree under it."""
    index = 0
    while index < len(lines):
        begin = re.fullmatch(r"(?P<indent> *)GPU: (?P<gpu>\d{1,4})", lines[index].rstrip())
        if not begin:
            index += 1
            continue
        first, flat = index + 1, {"gpu": begin["gpu"]}
        path: list[tuple[int, str]] = []
        index += 1
        while index < len(lines) and (node := _TREE_LINE.fullmatch(lines[index].rstrip())):
            indent = len(node["indent"])
            if indent <= len(begin["indent"]):
                break
            path = [(depth, key) for depth, key in path if depth < indent] + [(indent, node["key"].lower())]
            flat[".".join(key for _, key in path)] = node["value"] or ""
            index += 1
        if _add(parsed, first, flat):
            parsed.understood(range(first, index + 1))


def _add_tables(parsed: Parsed, lines: list[str]) -> None:
    """The table of plain `amd-smi` (26 and later), two lines a GPU, and the processes under it."""
    banner: re.Match[str] | None = None
    row: dict[str, Any] = {}
    for line_number, raw in enumerate(lines, 1):
        line = raw.strip()
        if line[:1] not in ("|", "+"):
            banner, row = None, {}
            continue
        if found := _BANNER.search(line):
            banner = found
            if line_number > 1 and lines[line_number - 2].strip()[:2] == "+-":
                parsed.lines.add(line_number - 1)
        if not banner:
            continue
        parsed.lines.add(line_number)
        cells = [cell.strip() for cell in line.strip("|+").split("|")]
        if process := _PROCESS.fullmatch(cells[0]):
            _add_process(parsed, line_number, process)
        if len(cells) != 2:
            continue
        left, right = cells[0], cells[1]
        if name := _BUS_AND_NAME.fullmatch(left):
            row = blank("gpus") | {"vendor": "AMD", "name": name["name"], "detail": f"bdf={name['bus']}"}
            row |= {"driver": banner["driver"], "runtime": f"ROCm {banner['rocm']}"}
            row |= {"temperature_c": _first(r"(\d{1,4}) °C", right), "power_w": _first(r"(\d{1,5})/", right)}
            row["line"] = line_number
        elif row and (index := re.match(r"\d{1,4}(?= )", left)):
            row |= {"gpu": index[0], "utilization_percent": _first(r"^(\d{1,3}) %", right)}
            if memory := re.search(r"(\d{1,12})/(\d{1,12}) MB", right):
                row |= {"used_bytes": int(memory[1]) * _MIB, "total_bytes": int(memory[2]) * _MIB}
            parsed.add("gpus", row.pop("line"), **row)
            row = {}


def _add_process(parsed: Parsed, line_number: int, process: re.Match[str]) -> None:
    figure, _, unit = process["vram"].partition(" ")
    held = number(figure)
    row = {
        "gpu": process["gpu"],
        "pid": whole(process["pid"]),
        "command": None if process["name"] == "N/A" else process["name"],
        "used_bytes": None if held is None else whole(int(held * _UNITS[unit])),
    }
    parsed.add("gpu_processes", line_number, **blank("gpu_processes") | row)


def _first(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return number(found[1]) if found else None
