"""Which process is meant: its number alone says little, because numbers are given again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ActionFailed
from ..host import Command, Host

_TIMEOUT_S = 5.0
_SHOWN = 80
_BOOT = "/proc/sys/kernel/random/boot_id"
# macOS has no /proc; its `comm` is the path of the executable.
PS_IDENTITY = Command("one process", ("ps", "-ww", "-o", "ppid=,lstart=,comm=", "-p", "{pid}"))
PS_COMMAND = Command("command line of one process", ("ps", "-ww", "-o", "args=", "-p", "{pid}"))


@dataclass(frozen=True)
class Process:
    """One life of one process. Two are the same only if all of this is: number, start, parent, program, words."""

    pid: int
    started: str
    parent_pid: int
    executable: str
    command: str

    def __str__(self) -> str:
        command = self.command if len(self.command) <= _SHOWN else self.command[: _SHOWN - 1] + "…"
        return f"process {self.pid} ({command})"


def process_of(host: Host, pid: int) -> Process | None:
    """The process of this number now, or None when there is none or it may not be looked at.

    `started` is the boot's id and the clock ticks since it on Linux, ps's local time elsewhere.

    >>> from warmstall.host import LocalHost
    >>> import os
    >>> process_of(LocalHost(), os.getpid()).pid == os.getpid()
    True
    """
    if host.system != "Linux":
        found = re.match(r"\s*(\d+)\s+(\w{3} \w{3} +\d+ [\d:]{8} \d{4})\s+(\S.*)",
                         host.run(PS_IDENTITY, _TIMEOUT_S, pid=str(pid)).text)  # fmt: skip
        command = host.run(PS_COMMAND, _TIMEOUT_S, pid=str(pid)).text.strip()
        return Process(pid, found[2], int(found[1]), found[3].strip(), command) if found else None
    stat = host.read(f"/proc/{pid}/stat", _TIMEOUT_S).text
    # The name in brackets may hold blanks and brackets itself; what follows is numbers.
    words = stat[stat.rfind(")") + 1 :].split()
    if len(words) < 20 or words[0] in "ZX":
        return None
    boot = host.read(_BOOT, _TIMEOUT_S).text.strip()
    command = host.read(f"/proc/{pid}/cmdline", _TIMEOUT_S).text.replace("\0", " ").strip()
    executable = host.link(f"/proc/{pid}/exe", _TIMEOUT_S)
    return Process(pid, f"{boot}:{words[19]}", int(words[1]), executable, command)


def is_alive(host: Host, process: Process) -> bool:
    """Whether that very life goes on; a process that took its number is another one."""
    now = process_of(host, process.pid)
    return now is not None and now.started == process.started


def send_signal(host: Host, process: Process, name: str) -> None:
    """Send TERM, KILL, STOP or CONT to this process and to no other.

    Raises ActionFailed when the number belongs to another process by now, or the signal was refused, and
    PermissionError on a host opened for reading.
    """
    sent = host.signal(process.pid, name, lambda: process_of(host, process.pid) == process)
    if sent.outcome != "captured":
        raise ActionFailed(f"SIG{name} was not sent: {sent.reason}.")
