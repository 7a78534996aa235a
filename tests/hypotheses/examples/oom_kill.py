"""Examples of `oom_kill`."""

from __future__ import annotations

from hypotheses.example import Example, ServerLog
from hypotheses.examples.runner_crash import GONE, SEGFAULT, warm

KILLED = (
    "2026-03-14T12:00:{second},000000+00:00 Out of memory: Killed process 4242 ({name}) total-vm:9437184kB, "
    "anon-rss:6291456kB, file-rss:12kB, shmem-rss:0kB, UID:1000 pgtables:13000kB oom_score_adj:0\n"
)
QUIET = "2026-03-14T{at}:00,000000+00:00 usb 1-1: new high-speed USB device number 4 using xhci_hcd\n"
AROUND = QUIET.format(at="11:59") + SEGFAULT.format(name="python") + QUIET.format(at="12:10")
SIGKILL = warm().says(30, "WARN", GONE, sys=9, string="signal: killed").request(20, 10, 500).text()
CONTAINERS = (
    '[{{"Id": "ab12", "Name": "/{name}", "RestartCount": 3, "Config": {{"Image": "{name}:1"}}, "State": {{"Status": '
    '"exited", "OOMKilled": {killed}, "ExitCode": 137, "Pid": 0}}, "HostConfig": {{"Memory": 1073741824}}}}]\n'
)


def unit(words: str) -> str:
    """What the journal of the service holds when a load ends by SIGKILL, and what systemd says of it."""
    log = ServerLog().start().load(5).text().splitlines()
    return "".join(f"2026-03-14T12:00:10+0000 box ollama[12]: {line}\n" for line in log) + (
        f"2026-03-14T12:00:30+0000 box systemd[1]: ollama.service: {words}\n"
    )


EXAMPLES = [
    Example(
        "the kernel killed the runner",
        "confirmed",
        {"server.log": SIGKILL, "kernel.log": KILLED.format(second=30, name="ollama")},
        ("ollama 1× with 6.0 GiB",),
        "critical",
    ),
    Example(
        "the kernel killed another service",
        "confirmed",
        {"kernel.log": KILLED.format(second=30, name="chroma")},
        ("chroma 1×",),
        "info",
    ),
    Example(
        "a container with OOMKilled",
        "confirmed",
        {"containers.json": CONTAINERS.format(name="ollama", killed="true")},
        ("1 container",),
        "critical",
    ),
    Example(
        "systemd tells of the kill",
        "confirmed",
        {"server.log": unit("A process of this unit has been killed by the OOM killer.")},
        ("a process of ollama.service 1×",),
        "critical",
    ),
    Example(
        "an old systemd tells only how the unit failed",
        "confirmed",
        {"server.log": unit("Failed with result 'oom-kill'.")},
        ("a process of ollama.service 1×",),
        "critical",
    ),
    Example("SIGKILL, and no kernel log", "not_observable", {"server.log": SIGKILL}, ("journalctl -k", "SIGKILL")),
    Example(
        "exit code 137 without OOMKilled",
        "not_observable",
        {"containers.json": CONTAINERS.format(name="ollama", killed="false")},
        ("journalctl -k",),
    ),
    Example(
        "a kernel log of another day",
        "not_observable",
        {"server.log": ServerLog().start(90000).load(90005).request(90020, 5.0, 500).text(), "kernel.log": AROUND},
        ("the one here goes from",),
    ),
    Example(
        "segfaults only",
        "ruled_out",
        {"server.log": warm().request(20, 5.0, 500).text(), "kernel.log": AROUND},
        ("tells of 0 kills",),
    ),
]
