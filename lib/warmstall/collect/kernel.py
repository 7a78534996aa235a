"""The kernel's log: out-of-memory kills, GPU resets, segmentation faults."""

from __future__ import annotations

from .collection import Collector

DEADLINE_S = 7.0


def collect(desk: Collector) -> None:
    """kernel.log, from the journal or else from the ring buffer."""
    hours = desk.wanted.hours
    if desk.host.system == "Darwin":
        desk.capture("macOS kernel log", "kernel.log", timeout_s=6, last=f"{max(1, round(hours * 60))}m")
    elif desk.host.system == "Linux":
        journal = desk.run("kernel journal", timeout_s=4, since=f"-{hours * 3600:.0f}s")
        if journal.outcome == "captured" and journal.data.replace(b"-- No entries --", b"").strip():
            desk.keep("kernel journal", "kernel.log", journal)
            return
        desk.note("kernel journal", "", "missing" if journal.outcome == "captured" else journal.outcome, journal.reason)
        desk.capture("kernel ring buffer", "kernel.log", timeout_s=3)
    else:
        desk.note("kernel log", "", "skipped", f"not known how to read the kernel log of {desk.host.system}")
