"""Which GPUs the kernel has, as the collection notes it: vendor ids of all PCI devices, and device nodes.

A vendor's tool that runs where the kernel has no device of that vendor is a ghost: evidence of its own.
"""

from __future__ import annotations

import re

from .parsed import Parsed

# PCI vendor ids; AMD's processors and chipsets carry 1022, its graphics 1002.
_VENDORS = {"10de": "NVIDIA", "1002": "AMD"}


def is_gpu_devices(lines: list[str]) -> bool:
    """Whether these lines are the collection's note of GPU devices.

    >>> is_gpu_devices(["==> /proc/bus/pci/devices <==", "vendors: 10de 8086"])
    True
    """
    return any(re.match(r"vendors:(?: [0-9a-f]{4})*$", line) for line in lines[:5])


def parse_gpu_devices(text: str) -> Parsed:
    """One row of `gpus` for each vendor of graphics that the kernel has; `detail` names the device nodes.

    >>> rows = parse_gpu_devices("vendors: 10de 8086\\nnodes:\\n/dev/nvidia0").tables["gpus"]
    >>> rows[0]["vendor"], rows[0]["detail"]
    ('NVIDIA', 'in PCI; nodes /dev/nvidia0')
    """
    parsed = Parsed()
    lines = text.split("\n")
    nodes = [line.strip() for line in lines if line.startswith("/dev/")]
    for number, line in enumerate(lines, 1):
        if line.startswith("vendors:"):
            shown = " ".join(nodes) or "none"
            vendors = [_VENDORS[word] for word in line.split()[1:] if word in _VENDORS]
            for vendor in vendors:
                parsed.add("gpus", number, gpu="", vendor=vendor, detail=f"in PCI; nodes {shown}")
            if nodes and not vendors:
                parsed.add("gpus", number, gpu="", vendor="", detail=f"not in PCI; nodes {shown}")
            parsed.understood([number])
        elif line.startswith(("/dev/", "nodes:", "==> /proc/bus/pci")):
            parsed.understood([number])
    return parsed
