"""What the running server has written since it started: of its journal, or of the file that its stderr leads to."""

from __future__ import annotations

import re

from ..errors import CannotTell
from ..host import Command
from ..parse.log_events import FoundEvent, event_in
from .target import Target

_TIMEOUT_S = 20.0
_MOST_BYTES = 16 * 1024 * 1024
# Lines that name devices, slots, or prompts that were cut. Without PCRE2 journalctl knows no --grep.
_TELLING = (
    "inference compute|truncating input prompt|msg=load request|dropping |Vulkan|GPU discovery|skipping CUDA|overrode|"
    "too old|amdgpu"
)
JOURNAL_GREP = Command("telling lines of the server's journal", (
    "journalctl", "--unit", "{unit}", "{process}", "--output", "cat", "--no-pager", "--lines", "5000",
    "--grep", _TELLING,
))  # fmt: skip
JOURNAL = Command("the server's journal", (
    "journalctl", "--unit", "{unit}", "{process}", "--output", "cat", "--no-pager", "--lines", "50000",
))  # fmt: skip
_STARTED = re.compile(r'msg="?server config|Listening on ')


def events_since_start(target: Target, *keys: str) -> list[FoundEvent]:
    """The events of these kinds that the server has logged since it started, oldest first.

    Raises CannotTell where its log is not found, or may not be read.
    """
    found = (event_in(line) for line in _lines(target))
    return [event for event in found if event is not None and event.key in keys]


def _lines(target: Target) -> list[str]:
    pid = target.server().pid
    path = target.host.link(f"/proc/{pid}/fd/2", _TIMEOUT_S)
    if path.startswith("/") and not path.startswith("/dev/"):
        output = target.host.read(path, _TIMEOUT_S, _MOST_BYTES)
        if output.outcome != "captured":
            raise CannotTell(f"The server's log {path} cannot be read: {output.reason}.")
        lines = output.text.splitlines()
        starts = [number for number, line in enumerate(lines) if _STARTED.search(line)]
        return lines[starts[-1] :] if starts else lines
    words = {"unit": target.unit, "process": f"_PID={pid}"}
    output = target.host.run(JOURNAL_GREP, _TIMEOUT_S, _MOST_BYTES, **words)
    if output.outcome == "failed" and "pattern matching" in output.reason:
        output = target.host.run(JOURNAL, _TIMEOUT_S, _MOST_BYTES, **words)
    nothing_found = output.outcome == "failed" and output.exit_code == 1
    if output.outcome != "captured" and not nothing_found:
        raise CannotTell(f"The journal of {target.unit} cannot be read: {output.reason}.")
    return output.text.splitlines()
