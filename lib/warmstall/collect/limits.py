"""The limits in force: those of the live processes, and those of their control groups."""

from __future__ import annotations

import re

from .collection import Collector

DEADLINE_S = 6.0
_V2 = (
    "memory.max", "memory.high", "memory.current", "memory.peak", "memory.swap.max", "memory.swap.current",
    "memory.events", "memory.pressure", "cpu.max", "pids.max", "pids.current",
)  # fmt: skip
_V1 = (
    "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.failcnt",
    "memory.oom_control", "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes",
)  # fmt: skip
_ROLES = ("serve", "runner", "embedding service", "vector store", "gunicorn", "uvicorn")


def collect(desk: Collector) -> None:
    """limits.txt (/proc/PID/limits) and cgroup.txt (memory limits and events of their groups, v1 and v2)."""
    if desk.host.system != "Linux":
        desk.note("limits of processes", "", "skipped", f"{desk.host.system} shows no limits of other processes")
        return
    pids = desk.collection.pids(*_ROLES)
    if not pids:
        desk.note("limits of processes", "", "missing", "there is no process whose limits matter")
        return
    desk.capture_files("limits of processes", "limits.txt", (f"/proc/{pid}/limits" for pid in pids))
    groups = desk.capture_files("control groups of processes", "cgroups.txt", (f"/proc/{pid}/cgroup" for pid in pids))
    desk.capture_files("memory of control groups", "cgroup.txt", group_files(groups))


def group_files(text: str) -> list[str]:
    """The files that tell of the memory of the groups named in /proc/PID/cgroup, each group and those above it.

    >>> group_files("0::/a.slice/b.service")[0]
    '/sys/fs/cgroup/a.slice/b.service/memory.max'
    """
    folders: dict[str, tuple[str, ...]] = {}
    for controllers, path in re.findall(r"^\d+:([\w,=]*):(/.*)$", text, re.MULTILINE):
        if controllers and "memory" not in controllers.split(","):
            continue
        # Seen from inside a container the group is / or leads out of what is mounted; then the mount itself is it.
        path = "" if path.startswith("/..") else path.rstrip("/")
        base, names = ("/sys/fs/cgroup/memory", _V1) if controllers else ("/sys/fs/cgroup", _V2)
        while True:
            folders[base + path] = names
            if not path:
                break
            path = path.rpartition("/")[0]
    return [f"{folder}/{name}" for folder, names in folders.items() for name in names]
