"""`system_profiler SPDisplaysDataType` of macOS, as text and with `-json`: which GPU there is."""

from __future__ import annotations

import re
from typing import Any

from .parsed import Parsed
from .tolerant import blank, capture_lines, json_documents, number, whole, words

_UNITS = {"MB": 2**20, "GB": 2**30}
_VENDORS = {"apple": "Apple", "amd": "AMD", "ati": "AMD", "intel": "Intel", "nvidia": "NVIDIA"}
_FIELD = re.compile(r"\s{1,40}(?P<key>[A-Z][\w (),-]{1,60}): (?P<value>\S.*)")
# The same facts by their names in the text and in JSON.
_NAMES = {
    "Chipset Model": "name", "sppci_model": "name",
    "Vendor": "vendor", "spdisplays_vendor": "vendor",
    "VRAM (Total)": "vram", "spdisplays_vram": "vram",
    "VRAM (Dynamic, Max)": "shared_vram", "spdisplays_vram_shared": "shared_vram",
    "Total Number of Cores": "cores", "sppci_cores": "cores",
    "Bus": "bus", "sppci_bus": "bus",
    "Metal Support": "metal", "Metal Family": "metal", "Metal": "metal", "spdisplays_mtlgpufamilysupport": "metal",
    "spdisplays_metalfamily": "metal",
}  # fmt: skip


def is_macos_gpu(lines: list[str]) -> bool:
    """Whether these lines hold the graphics part of system_profiler.

    >>> is_macos_gpu(["Graphics/Displays:", "", "    Apple M2:", "", "      Chipset Model: Apple M2"])
    True
    """
    return bool(parse_macos_gpu("\n".join(lines)).lines)


def parse_macos_gpu(text: str) -> Parsed:
    """gpus: one row a GPU, numbered from 0 in their order; `runtime` is the Metal version.

    `total_bytes` is empty on Apple silicon, where the GPU shares the machine's memory; on Intel graphics it is the
    most that it may take of it, and `detail` says `shared`. macOS shows no memory in use and no load.

    >>> parsed = parse_macos_gpu("  Chipset Model: Radeon 5300M\\n  VRAM (Total): 4 GB\\n  Vendor: AMD (0x1002)")
    >>> [(row["gpu"], row["vendor"], row["total_bytes"]) for row in parsed.tables["gpus"]]
    [('0', 'AMD', 4294967296)]
    """
    parsed = Parsed()
    lines = capture_lines(text)
    for numbers, document in json_documents(lines):
        gpus = document.get("SPDisplaysDataType") if isinstance(document, dict) else None
        for gpu in gpus if isinstance(gpus, list) else ():
            if isinstance(gpu, dict) and ("sppci_model" in gpu or "spdisplays_vendor" in gpu):
                facts = {_NAMES[key]: value for key, value in gpu.items() if key in _NAMES}
                _add(parsed, numbers.start, {"name": gpu.get("_name")} | facts)
                parsed.understood(numbers)
    _add_text(parsed, lines)
    return parsed


def _add_text(parsed: Parsed, lines: list[str]) -> None:
    facts: dict[str, object] = {}
    first = 0
    in_displays = False
    for line_number, line in enumerate([*lines, "end"], 1):
        field = _FIELD.fullmatch(line)
        if facts and ((field and field["key"] == "Chipset Model") or (line and not line[0].isspace())):
            _add(parsed, first, facts)
            facts, in_displays = {}, False
        if field and field["key"] == "Chipset Model":
            facts, first, in_displays = {"name": field["value"]}, line_number, False
        elif facts and line.strip() == "Displays:":
            in_displays = True
        elif facts and field and not in_displays and field["key"] in _NAMES:
            facts.setdefault(_NAMES[field["key"]], field["value"])
        if facts and line.strip() and line_number <= len(lines):
            parsed.lines.add(line_number)


def _add(parsed: Parsed, line_number: int, facts: dict[str, object]) -> None:
    text = {name: value.strip() for name, value in facts.items() if isinstance(value, str)}
    vendor = re.sub(r"^sppci_vendor_|\s*\(.*", "", text.get("vendor", ""))
    vendor = _VENDORS.get(vendor.lower(), vendor)
    metal = re.search(r"[Mm]etal ?(\d{1,2})", text.get("metal", ""))
    bus = re.sub(r"^spdisplays_|_device$", "", text.get("bus", ""))
    details = {"cores": text.get("cores"), "bus": bus.replace("builtin", "Built-In")}
    if size := _bytes(text.get("vram")):
        total: int | None = size
    else:
        total = _bytes(text.get("shared_vram"))
        details["memory"] = "shared" if total or vendor == "Apple" else None
    row: dict[str, Any] = {
        "gpu": str(len(parsed.tables["gpus"])),
        "name": words(text.get("name")),
        "vendor": words(vendor) or None,
        "runtime": f"Metal {metal[1]}" if metal else None,
        "total_bytes": total,
        "detail": words(", ".join(f"{key}={value}" for key, value in details.items() if value)) or None,
    }
    parsed.add("gpus", line_number, **blank("gpus") | row)


def _bytes(text: str | None) -> int | None:
    figure, _, unit = (text or "").partition(" ")
    amount = number(figure)
    return whole(int(amount * _UNITS[unit])) if amount is not None and unit in _UNITS else None
