"""Logs of the services around Ollama: the units and files that their live processes write to."""

from __future__ import annotations

import posixpath
import re

from .collection import Collector
from .server_logs import written_by

DEADLINE_S = 8.0
ROLES = ("embedding service", "vector store", "gunicorn", "uvicorn")


def collect(desk: Collector) -> None:
    """app-*.log: from files given with --app-log, from the services' own output, and from the journal."""
    pids = desk.collection.pids(*ROLES)
    paths = dict.fromkeys([*desk.wanted.application_logs, *written_by(desk, *pids)])
    for path in paths:
        output = desk.host.read(path, max(0.1, min(4.0, desk.left_s)), desk.wanted.most_log_bytes)
        desk.keep(f"application log {path}", f"app-{posixpath.basename(path)}", output)
    units = set()
    if desk.host.system == "Linux":
        for pid in pids:
            text = desk.host.read(f"/proc/{pid}/cgroup", max(0.1, min(1.0, desk.left_s))).text
            units.update(re.findall(r"/([\w@.:\\-]+\.service)$", text, re.MULTILINE))
    for unit in sorted(units - {desk.wanted.unit}):
        desk.capture("journal of a unit", f"app-{unit}.log", unit=unit, since=f"-{desk.wanted.hours * 3600:.0f}s")
    if not paths and not units:
        desk.note("application logs", "", "missing", "no embedding service or vector store runs; give --app-log PATH")
