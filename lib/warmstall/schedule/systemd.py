"""Units of systemd: of a user's own manager, or of the system with `--user NAME`.

A service of type oneshot is never started twice at once, its timer catches up after a sleep or a boot, and systemd
itself bounds time and memory. Sources: systemd.service(5), systemd.exec(5), systemd.timer(5) of version 252.
"""

from __future__ import annotations

import shlex

from .due_times import due_times
from .jobs import variables_path, wanted
from .records import MINUTE_S, Job, Schedule, UnitFile, size_text

# A twelfth of the time between two, so that a fleet spreads; never so long that somebody waits for it.
_SPREAD, _MOST_SPREAD_S = 12, 15 * MINUTE_S
_STATE = "/var/lib/"
_EVERYWHERE = """\
# It makes way for Ollama: last for CPU and disk, first to go when memory runs out.
Nice=10
CPUWeight=20
IOSchedulingClass=idle
OOMScoreAdjust=500
UMask=0077
NoNewPrivileges=true
LockPersonality=true
RestrictRealtime=true
RestrictSUIDSGID=true
RestrictNamespaces=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
_OF_A_USER = """\
# ProtectSystem= and its like need namespaces, which many systems refuse to users: the unit would not start there.
# `--user NAME` prints units of the system, which have them.
"""
_OF_THE_SYSTEM = """\
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
ProtectClock=true
ProtectHostname=true
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
CapabilityBoundingSet=
# What it is there to see: GPUs (no PrivateDevices=), other processes (no ProtectProc=), /proc/meminfo (no ProcSubset=),
# Ollama's API (no PrivateNetwork=); and DuckDB and NumPy map code (no MemoryDenyWriteExecute=).
"""


def print_units(schedule: Schedule, only: str = "") -> tuple[UnitFile, ...]:
    """A service for each job, and a timer for each that is not always running."""
    found = []
    for job in wanted(schedule, only):
        found.append(UnitFile(f"{job.unit}.service", _service(schedule, job), (job.name,)))
        if job.every_s:
            found.append(UnitFile(f"{job.unit}.timer", _timer(schedule, job), (job.name,)))
    return tuple(found)


def next_steps(schedule: Schedule, files: tuple[UnitFile, ...], folder: str) -> list[str]:
    """What to run when the files are written."""
    manager = "sudo systemctl" if schedule.user else "systemctl --user"
    units = [file.name for file in files if file.name.endswith(".timer") or file.jobs == ("watch",)]
    steps = []
    if schedule.user:
        steps.append(shlex.join(["sudo", "cp", *(f"{folder}/{file.name}" for file in files), "/etc/systemd/system/"]))
        if not _relative_to_state(schedule.out):
            steps.append(shlex.join(["sudo", "install", "--directory", "-o", schedule.user, schedule.out]))
    steps += [f"{manager} daemon-reload", f"{manager} enable --now {' '.join(units)}"]
    return [*steps, f"{manager} list-timers 'warmstall-*'"]


def command_line(words: tuple[str, ...]) -> str:
    r"""A command as ExecStart= reads it back word for word.

    A leading colon, known since version 244, says that `$` is just a dollar; it stands only where one is.

    >>> print(command_line(("/opt/my tools/warmstall", "100%", 'a"b', "c\\d")))
    "/opt/my tools/warmstall" 100%% "a\"b" "c\\d"
    >>> print(command_line(("/bin/x", "$HOME")))
    :/bin/x $HOME
    """
    literal = ":" if any("$" in word for word in words) else ""
    return literal + " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """One word of a list; in quotes where it has to be."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = word.isascii() and all(char.isalnum() or char in "/._-=:,@+%$" for char in word)
    return escaped if word and plain else f'"{escaped}"'


def _service(schedule: Schedule, job: Job) -> str:
    of_system = bool(schedule.user)
    lines = [f"# Printed by: warmstall schedule print systemd. {'System' if of_system else 'User'} unit.", "[Unit]",
             f"Description=warmstall: {job.about}"]  # fmt: skip
    if job.name == "freshness":
        lines += ["# After a sleep both may be due at once: the report first.", "After=warmstall-report.service"]
    if of_system:
        lines += ["Wants=network-online.target", "After=network-online.target ollama.service"]
    lines += ["", "[Service]", *_running(schedule, job), *_bounds(job)]
    lines += [*_access(schedule), _EVERYWHERE + (_OF_THE_SYSTEM if of_system else _OF_A_USER)]
    if not job.every_s:
        lines += ["[Install]", f"WantedBy={'multi-user' if of_system else 'default'}.target", ""]
    return "\n".join(lines)


def _running(schedule: Schedule, job: Job) -> list[str]:
    lines = [f"ExecStart={command_line((*schedule.program, *job.words))}"]
    if others := [code for code in job.outcomes if code]:
        lines += ["# Degraded and critical are answers; 3, a report that could not be made, is a failure.",
                  f"SuccessExitStatus={' '.join(map(str, others))}"]  # fmt: skip
    if "--alerts" in job.words:
        lines += ["# NAME=value of the variables that alerts.toml names; chmod 600.",
                  f"EnvironmentFile=-{_file(variables_path(schedule))}"]  # fmt: skip
    return lines


def _bounds(job: Job) -> list[str]:
    if job.every_s:
        lines = ["Type=oneshot", f"TimeoutStartSec={job.longest_s:.0f}"]
    else:
        lines = ["Type=exec", "Restart=always", "RestartSec=30"]
    lines += ["TimeoutStopSec=30", f"MemoryMax={size_text(job.memory_bytes)}", "MemorySwapMax=0",
              "# Threads for each of many cores, in two processes.", "TasksMax=1024"]  # fmt: skip
    if job.name == "report":
        lines += [
            "# If the notebook's kernel is killed for its memory, the command still says so.",
            "OOMPolicy=continue",
        ]
    return lines


def _access(schedule: Schedule) -> list[str]:
    if not schedule.user:
        return []
    lines = [f"User={schedule.user}", "# To read Ollama's log.", "SupplementaryGroups=systemd-journal",
             "StateDirectoryMode=0700", "Environment=HOME=%S/warmstall XDG_STATE_HOME=%S"]  # fmt: skip
    below = _relative_to_state(schedule.out)
    lines.append(f"StateDirectory=warmstall {quoted(below)}" if below else "StateDirectory=warmstall")
    also = [] if below else [schedule.out]
    if schedule.metrics:
        also.append(schedule.metrics.rpartition("/")[0])
    return [*lines, f"ReadWritePaths={' '.join(quoted('-' + path) for path in also)}"] if also else lines


def _relative_to_state(path: str) -> str:
    return path.removeprefix(_STATE) if path.startswith(_STATE + "warmstall/") else ""


def _file(path: str) -> str:
    """A path of EnvironmentFile=: the whole line, a pattern of glob(7), without quotes."""
    return "".join(f"\\{char}" if char in "\\*?[" else char for char in path).replace("%", "%%")


def _timer(schedule: Schedule, job: Job) -> str:
    lines = ["# Printed by: warmstall schedule print systemd.", "[Unit]", f"Description=warmstall: {job.about}", "",
             "[Timer]"]  # fmt: skip
    spread_s = min(schedule.every_s / _SPREAD, _MOST_SPREAD_S)
    if job.name == "report":
        lines += [f"OnCalendar={due_times(job.every_s).calendar()}", "# After a sleep or a boot: at once.",
                  "Persistent=true", "# Each machine at its own time, always the same.",
                  f"RandomizedDelaySec={spread_s:.0f}", "FixedRandomDelay=true"]  # fmt: skip
    else:
        first_s = spread_s + schedule.longest_s + 5 * MINUTE_S
        lines += ["# Counted while the machine is awake: a report that slept with it first gets time to catch up.",
                  f"OnActiveSec={first_s:.0f}", f"OnUnitInactiveSec={job.every_s:.0f}"]  # fmt: skip
    return "\n".join([*lines, "", "[Install]", "WantedBy=timers.target", ""])
