"""Memory that grows on purpose, for real, and never without room for it."""

from __future__ import annotations

import threading
import time

from .timetable import Timetable

CAP_BYTES = 256 * 1024 * 1024
HEADROOM_BYTES = 1024 * 1024 * 1024
_STEP_BYTES = 4 * 1024 * 1024


def start(timetable: Timetable, model: str) -> None:
    """Let this process grow while its timetable says so, `intensity` bytes a second, to CAP_BYTES at most."""
    if any(fault.kind == "growing_memory" and fault.concerns(model) for fault in timetable.faults):
        threading.Thread(target=_grow, args=(timetable, model), daemon=True).start()


# What has grown stays until the process ends, as a leak does.
_held: list[bytearray] = []


def _grow(timetable: Timetable, model: str) -> None:
    import psutil

    while len(_held) * _STEP_BYTES < CAP_BYTES:
        bytes_per_s = timetable.strength("growing_memory", model)
        if not bytes_per_s:
            time.sleep(0.1)
            continue
        if psutil.virtual_memory().available < HEADROOM_BYTES:
            return
        _held.append(bytearray(b"\x01" * _STEP_BYTES))  # written to, so that it is really in memory
        time.sleep(_STEP_BYTES / bytes_per_s)
