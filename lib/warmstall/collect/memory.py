"""The host's memory: one look on Linux, one look and a short series on macOS."""

from __future__ import annotations

from .collection import Collector

DEADLINE_S = 7.0
LINUX_FILES = ("/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory")


def collect(desk: Collector) -> None:
    """memory.txt; on macOS vm_stat.txt, vm_stat-series.txt, sysctl.txt and memory_pressure.txt."""
    if desk.host.system == "Linux":
        desk.capture_files("memory", "memory.txt", LINUX_FILES)
    elif desk.host.system == "Darwin":
        desk.capture("vm_stat", "vm_stat.txt")
        desk.capture("macOS memory settings", "sysctl.txt")
        desk.capture("memory_pressure", "memory_pressure.txt")
        desk.capture("vm_stat series", "vm_stat-series.txt")
    else:
        desk.note("memory", "", "skipped", f"not known how to read the memory of {desk.host.system}")
