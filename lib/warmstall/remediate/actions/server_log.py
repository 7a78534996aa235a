"""What the running server has written since it started: of its journal, or of the file that its stderr leads to."""

from __future__ import annotations

import re

from ...errors import CannotTell
from ...host import Command
from ...parse.log_events import FoundEvent, event_in
from ..processes import Process
from ..services.launchd import HOME, service_of_app
from ..target import Target

_TIMEOUT_S = 20.0
_MOST_BYTES = 16 * 1024 * 1024
# Lines that name devices, slots, or prompts that were cut. Without PCRE2 journalctl knows no --grep.
_TELLING = (
    "inference compute|truncating input prompt|msg=load request|dropping |Vulkan|GPU discovery|skipping CUDA|overrode|"
    "too old|amdgpu"
)
JOURNAL_GREP = Command("telling lines of the server's journal", (
    "journalctl", "{of_process}", "--output", "cat", "--no-pager", "--lines", "5000",
    "--grep", _TELLING,
))  # fmt: skip
JOURNAL = Command("the server's journal", (
    "journalctl", "{of_process}", "--output", "cat", "--no-pager", "--lines", "50000",
))  # fmt: skip
_STARTED = re.compile(r'msg="?server config|Listening on ')


def events_since_start(target: Target, *keys: str) -> list[FoundEvent]:
    """The events of these kinds that the server has logged since it started, oldest first.

    Raises CannotTell where its log is not found, or may not be read.
    """
    found = (event_in(line) for line in _lines(target))
    return [event for event in found if event is not None and event.key in keys]


def _lines(target: Target) -> list[str]:
    """Never none: where nothing is found, it is not known what was logged."""
    server = target.server()
    path = _path(target, server)
    if path:
        output = target.host.read(path, _TIMEOUT_S, _MOST_BYTES)
        lines = output.text.splitlines()
        starts = [number for number, line in enumerate(lines) if _STARTED.search(line)]
        found = lines[starts[-1] :] if starts else lines
    else:
        of_process = f"_PID={server.pid}"
        output = target.host.run(JOURNAL_GREP, _TIMEOUT_S, _MOST_BYTES, of_process=of_process)
        if output.outcome == "failed" and "pattern matching" in output.reason:
            output = target.host.run(JOURNAL, _TIMEOUT_S, _MOST_BYTES, of_process=of_process)
        found = [line for line in output.text.splitlines() if not line.startswith("-- ")]  # such as No entries
    if output.outcome != "captured" or not found:
        where = path or "the journal"
        raise CannotTell(
            f"What the server has logged since it started is not found in {where} ({output.reason or 'empty'})."
        )
    return found


def _path(target: Target, server: Process) -> str:
    """The file that the server writes to; empty where that is the journal, or a pipe."""
    if target.host.system == "Darwin":
        if service_of_app(server).facts.get("kind") == "brew":
            return "/opt/homebrew/var/log/ollama.log"
        home = target.host.run(HOME, _TIMEOUT_S).text.strip()
        return f"{home}/.ollama/logs/server.log" if home.startswith("/") else ""
    path = target.host.link(f"/proc/{server.pid}/fd/2", _TIMEOUT_S)
    return path if path.startswith("/") and not path.startswith("/dev/") else ""
