"""`nvidia-smi topo -m`: how the GPUs of a host are connected."""

from __future__ import annotations

import re

from .parsed import Parsed
from .tolerant import blank

_DEVICE = re.compile(r"(?:GPU|NIC)\d{1,3}|mlx\d_\d{1,3}(?:_bond\w{0,9})?")
# SOC is what drivers before 390 call SYS; PSB is a switch on the board.
_LINK = re.compile(r"X|SYS|SOC|NODE|PHB|PXB|PIX|PSB|NV\d{1,3}")
_LEGEND = re.compile(r"(?:NIC )?Legend:|(?:X|SYS|SOC|NODE|PHB|PXB|PIX|PSB|NV#) += .+|NIC\d+: \S+")


def add_nvidia_topology(parsed: Parsed, lines: list[str]) -> None:
    """Add gpu_links: one row a pair of GPUs, by their indexes, smaller first; `nvlink` is true for NV and a number.

    Network cards stand in the matrix too and are left out. The matrix of `topo -p2p` shows no links and is none.

    >>> parsed = Parsed()
    >>> add_nvidia_topology(parsed, ["\tGPU0\tGPU1", "GPU0\t X \tNV12", "GPU1\tNV12\t X "])
    >>> [(row["gpu"], row["other"], row["link"], row["nvlink"]) for row in parsed.tables["gpu_links"]]
    [('0', '1', 'NV12', True)]
    """
    columns: list[str] = []
    heading = 0
    seen: set[tuple[str, str]] = set()
    for line_number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if words[0] == "GPU0" and len(words) > 1 and _DEVICE.fullmatch(words[1]):
            columns, heading, seen = _matrix_columns(words), line_number, set()
        elif columns and _DEVICE.fullmatch(words[0]):
            links = words[1 : len(columns) + 1]
            if len(links) == len(columns) and all(_LINK.fullmatch(link) for link in links):
                parsed.understood((heading, line_number))
                _add_links(parsed, line_number, words[0], dict(zip(columns, links, strict=True)), seen)
        elif columns and heading in parsed.lines and _LEGEND.fullmatch(line.strip()):
            parsed.lines.add(line_number)
        else:
            columns = []


def _matrix_columns(words: list[str]) -> list[str]:
    """The devices at the head of the columns; what follows is affinity."""
    columns = []
    for word in words:
        if not _DEVICE.fullmatch(word):
            break
        columns.append(word)
    return columns


def _add_links(
    parsed: Parsed, line_number: int, device: str, links: dict[str, str], seen: set[tuple[str, str]]
) -> None:
    for other, link in links.items():
        if link == "X" or not (device.startswith("GPU") and other.startswith("GPU")):
            continue
        gpu, partner = sorted((device[3:], other[3:]), key=int)
        if (gpu, partner) not in seen:
            seen.add((gpu, partner))
            row = {"gpu": gpu, "other": partner, "link": link, "nvlink": link.startswith("NV")}
            parsed.add("gpu_links", line_number, **blank("gpu_links") | row)
