"""What systemd intends for the unit: its settings, its drop-ins in their order, and the manager's defaults."""

from __future__ import annotations

from .collection import Collector

DEADLINE_S = 6.0


def collect(desk: Collector) -> None:
    """systemctl-show.txt, unit-files.txt, manager-defaults.txt and system.conf.txt."""
    if desk.host.system != "Linux":
        desk.note("unit", "", "skipped", f"{desk.host.system} has no systemd")
        return
    unit = desk.wanted.unit
    shown = desk.capture("unit", "systemctl-show.txt", unit=unit)
    if shown.outcome == "missing":
        return
    if "LoadState=not-found" in shown.text:
        desk.note("unit files", "", "missing", f"systemd knows no {unit}; another name is given with --unit")
    elif shown.outcome == "captured":
        desk.capture("unit files", "unit-files.txt", unit=unit)
    desk.capture("manager defaults", "manager-defaults.txt")
    desk.capture("manager configuration", "system.conf.txt")
