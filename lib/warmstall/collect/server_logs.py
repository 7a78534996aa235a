"""Ollama's own log: journal, files and their rotations, or wherever the live process writes to."""

from __future__ import annotations

import ntpath
import os
import posixpath

from .collection import Collector

DEADLINE_S = 9.0
# Folder and pattern by system (the reference's table of locations); ~ is the home of the user who collects.
_PLACES = {
    "Linux": (("~/.ollama/logs", "server*.log*"), ("/usr/share/ollama/.ollama/logs", "server*.log*"),
              ("/var/log", "ollama*.log*"), ("/var/log/ollama", "*.log*")),
    "Darwin": (("~/.ollama/logs", "server*.log*"), ("/opt/homebrew/var/log", "ollama*.log*"),
               ("/usr/local/var/log", "ollama*.log*")),
    "Windows": (("%LOCALAPPDATA%\\Ollama", "server*.log*"),),
}  # fmt: skip


def collect(desk: Collector) -> None:
    """server.log from the journal, and every log file with its rotations under its own name."""
    if desk.host.system == "Linux":
        desk.capture("journal of a unit", "server.log", timeout_s=7, unit=desk.wanted.unit,
                     since=f"-{desk.wanted.hours * 3600:.0f}s")  # fmt: skip
    paths = dict.fromkeys(desk.wanted.logs)
    for folder, pattern in _PLACES.get(desk.host.system, ()):
        if not (desk.host.is_remote and folder.startswith("~")):
            folder = os.path.expandvars(os.path.expanduser(folder))
        elif desk.host.is_remote:  # commands run in the home of the user there
            folder = folder.removeprefix("~/")
        paths.update(dict.fromkeys(desk.host.files(folder, pattern, max(0.1, min(2.0, desk.left_s)))))
    for path in written_by(desk, *desk.collection.pids("serve")):
        paths.setdefault(path)
    if not paths:
        desk.note("log files", "", "missing", "no log file in the usual places; another is given with --log")
    for path in paths:
        name = ntpath.basename(posixpath.basename(path))
        output = desk.host.read(path, max(0.1, min(5.0, desk.left_s)), desk.wanted.most_log_bytes)
        desk.keep(f"log file {path}", name, output)


def written_by(desk: Collector, *pids: str) -> list[str]:
    """The regular files that processes write their output to: where a server started by hand has its log."""
    if desk.host.system != "Linux":
        return []
    links = [
        desk.host.link(f"/proc/{pid}/fd/{number}", max(0.1, min(1.0, desk.left_s))) for pid in pids for number in (1, 2)
    ]
    return list(dict.fromkeys(
        link for link in links if link.startswith("/") and not link.startswith(("/dev/", "/proc/"))
        and not link.endswith(" (deleted)")
    ))  # fmt: skip
