"""What `rocm-smi` prints: its concise table, its lines `GPU[0] : key: value`, and its JSON."""

from __future__ import annotations

import re
from typing import Any

from .parsed import Parsed
from .tolerant import blank, number, whole, words

# Wording and case changed between releases, so keys are compared in lower case.
_KEYS = {
    "vram total memory (b)": "total_bytes", "vram total used memory (b)": "used_bytes", "gpu use (%)":
    "utilization_percent", "gpu memory allocated (vram%)": "memory_percent", "gpu memory use (%)": "memory_percent",
    "temperature (sensor edge) (c)": "temperature_c", "average graphics package power (w)": "power_w",
    "current socket graphics package power (w)": "power_w", "card series": "name", "unique id": "uuid",
    "driver version": "driver",
}  # fmt: skip
# Taken where the better one is missing.
_SECOND_CHOICE = {"device name": "name", "temperature (sensor junction) (c)": "temperature_c"}
_DETAILS = {"gfx version", "gtt total memory (b)", "gtt total used memory (b)"}
_TEXTS = {"name", "uuid", "driver"}
_SIZES = {"total_bytes", "used_bytes"}
_LINE = re.compile(r"GPU\[(?P<gpu>\d{1,4})\]\s{0,20}: +(?P<key>[^:]{1,80}):(?:\s+(?P<value>\S.*))?")
_FRAME = re.compile(r"=+(?: [\w ()]+ =+)?")


def add_rocm_smi(parsed: Parsed, lines: list[str], documents: list[tuple[range, Any]]) -> None:
    """Add the GPUs that rocm-smi shows in these lines, and in the JSON that was found in them."""
    for numbers, document in documents:
        _add_cards(parsed, numbers, document)
    gpus: dict[str, dict[str, Any]] = {}
    frames: list[int] = []
    in_table = False
    for line_number, raw in enumerate(lines, 1):
        line = raw.strip()
        if found := _LINE.fullmatch(line):
            # A key that comes again begins another look at the same GPUs.
            if f"_{found['key']}" in gpus.get(found["gpu"], ()):
                gpus = {}
            if _take(gpus, found["gpu"], found["key"], found["value"] or "", parsed, line_number):
                parsed.understood((*frames, line_number))
                frames = []
        elif line.startswith(("GPU ", "Device ")) and " Temp" in line and line.split()[-2:] == ["VRAM%", "GPU%"]:
            parsed.understood((*frames, line_number))
            in_table, frames = True, []
        elif in_table and (row := _concise(line)):
            parsed.add("gpus", line_number, **blank("gpus") | row)
        elif in_table and line.startswith("("):
            parsed.lines.add(line_number)
        elif _FRAME.fullmatch(line):
            if "System Management Interface" in line:
                gpus, in_table, frames = {}, False, []
            frames.append(line_number)
            if in_table or gpus:
                parsed.understood(frames)
        elif line:
            in_table, frames = False, []


def _take(gpus: dict[str, dict[str, Any]], gpu: str, key: str, text: str, parsed: Parsed, line_number: int) -> bool:
    if not _known(key):
        return False
    if gpu not in gpus:
        parsed.add("gpus", line_number, **blank("gpus") | {"gpu": gpu, "vendor": "AMD"})
        gpus[gpu] = {"row": parsed.tables["gpus"][-1]}
    gpus[gpu][f"_{key}"] = True
    _fill(gpus[gpu]["row"], key, text)
    return True


def _known(key: str) -> bool:
    return key.lower() in _KEYS or key.lower() in _SECOND_CHOICE or key.lower() in _DETAILS


def _fill(row: dict[str, Any], key: str, value: object) -> None:
    """Put a value in its column. People write comments after figures, so a figure is the first word."""
    key = key.lower()
    text = value.strip() if isinstance(value, str) else ""
    column = _KEYS.get(key) or _SECOND_CHOICE.get(key)
    if text in ("", "N/A"):
        return
    if column is None:
        row["detail"] = words(", ".join(filter(None, (row["detail"], f"{key}={text}"))))
    elif row[column] is None or key in _KEYS:
        figure = text.split()[0].rstrip("%")
        row[column] = words(text) if column in _TEXTS else whole(figure) if column in _SIZES else number(figure)


def _add_cards(parsed: Parsed, numbers: range, document: object) -> None:
    """`rocm-smi … --json`: an object with one member a card, and `system` with what they share."""
    if not isinstance(document, dict):
        return
    system = document.get("system")
    for card, values in document.items():
        index = re.fullmatch(r"card(\d{1,4})", card)
        if not index or not isinstance(values, dict) or not any(_known(key) for key in values):
            continue
        row = blank("gpus") | {"gpu": index[1], "vendor": "AMD"}
        for key, value in [*values.items(), *(system.items() if isinstance(system, dict) else ())]:
            if _known(key):
                _fill(row, key, value)
        parsed.add("gpus", numbers.start, **row)
        parsed.understood(numbers)


def _concise(line: str) -> dict[str, Any] | None:
    """A row of the concise table. Columns differ by release; the last three are PwrCap, VRAM% and GPU%."""
    cells = line.split()
    if len(cells) < 8 or not cells[0].isdecimal() or len(cells[0]) > 4:
        return None
    temperature = next((cell for cell in cells if re.fullmatch(r"[\d.]{1,8}°?[cC]", cell)), "")
    power = next((cell for cell in cells[:-3] if re.fullmatch(r"[\d.]{1,9}W", cell)), "")
    return {
        "gpu": cells[0],
        "vendor": "AMD",
        "temperature_c": number(temperature.rstrip("cC").rstrip("°")),
        "power_w": number(power.rstrip("W")),
        "memory_percent": number(cells[-2].rstrip("%")),
        "utilization_percent": number(cells[-1].rstrip("%")),
    }
