"""Services of systemd: what it says of a unit, and settings put in force by a drop-in, a reload and one restart.

The drop-in is `<folder>/<unit>.d/zz-warmstall-<runbook>.conf`, read after all others by its name. An
`EnvironmentFile=` of the unit still wins over it (systemd.exec(5)); that shows in the live process, and the change is
taken back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...errors import ActionFailed, CannotTell
from ...host import Command
from ...parse.log_events import event_in
from ...parse.systemd_values import words
from ..files import file_now, remember_file, restore_file, write_file
from ..processes import Process, process_of
from ..step import Check, Remembered, Step, Verified
from ..target import Target
from .wanted import (
    HiddenByTitle,
    Service,
    Wanted,
    agrees,
    differences,
    environment_of,
    held_limit,
    limit_text,
    limits_of,
)

_TIMEOUT_S = 10.0
# systemd itself gives a start 90 s (DefaultTimeoutStartSec) and a stop as many.
_RESTART_S = 200.0
_PATIENCE_S = 90.0
SHOW = Command("unit", ("systemctl", "{manager...}", "show", "--no-pager", "--", "{unit}"))
VERIFY = Command("check a unit's files", ("systemd-analyze", "{manager...}", "verify", "--recursive-errors=yes",
                                          "--man=no", "--", "{path}"), both_streams=True)  # fmt: skip
RELOAD = Command("reload unit files", ("systemctl", "{manager...}", "--no-ask-password", "daemon-reload"), "write")
RESTART = Command("restart a unit", ("systemctl", "{manager...}", "--no-ask-password", "restart", "--", "{unit}"),
                  "write")  # fmt: skip
# A unit that failed too often is not started again until this is forgotten.
FORGET = Command("forget that a unit failed", ("systemctl", "{manager...}", "--no-ask-password", "reset-failed", "--",
                                               "{unit}"), "write")  # fmt: skip
JOURNAL = Command("journal of one process", ("journalctl", "--no-pager", "--output", "cat", "--lines", "5000",
                                             "{of_process}"))  # fmt: skip
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_@.:-]{0,79}\.service")
_HEAD = "# Written by the warmstall runbook {runbook}, whose journal keeps what was here before.\n" \
        "# To undo it, run the runbook with undo=True; or remove this file, then\n" \
        "# systemctl{user} daemon-reload and systemctl{user} restart {unit}\n[Service]\n"  # fmt: skip


def manager_words(folder: str) -> list[str]:
    """Which systemd: the system's, or the user's own when its units lie in a folder systemd/user."""
    return ["--user"] if folder.endswith("/systemd/user") else []


def shown(target: Target, unit: str) -> dict[str, str]:
    """What systemd says of a unit; empty where there is no systemd or no such unit."""
    if not _UNIT.fullmatch(unit):
        return {}
    output = target.host.run(SHOW, _TIMEOUT_S, manager=manager_words(target.unit_folder), unit=unit)
    if output.outcome != "captured":
        return {}
    told = dict(line.partition("=")[::2] for line in output.text.splitlines() if "=" in line)
    return told if told.get("LoadState", "loaded") == "loaded" else {}


def main_process(target: Target, service: Service, told: Mapping[str, str]) -> Process:
    """The unit's process by what systemd says of it; where a script is that, the server that it started.

    Raises CannotTell when there is none.
    """
    pid = told.get("MainPID", "0")
    main = process_of(target.host, int(pid)) if re.fullmatch(r"[1-9]\d{0,9}", pid) else None
    if main is None:
        raise CannotTell(f"{service.unit} has no process now: systemctl status {service.unit}")
    if "wrapped" not in service.facts:
        return main
    server = target.server()
    if server.parent_pid != main.pid:
        raise CannotTell(f"{server} is not a child of {main}, the main process of {service.unit}.")
    return server


def drop_in_path(target: Target, service: Service, runbook: str) -> str:
    return f"{target.unit_folder}/{service.unit}.d/zz-warmstall-{runbook}.conf"


def quoted(name: str, value: str) -> str:
    r"""A word of Environment= that means the value exactly; there `$` means nothing, `%` begins a specifier.

    >>> print(quoted("A", 'b c"d\\e %f $g'))
    "A=b c\"d\\e %%f $g"
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{name}={escaped}"'


def drop_in_text(target: Target, service: Service, runbook: str, wants: Wanted, previous: str | None) -> str:
    """The file's text: what an earlier run of this runbook left there, with what is wanted now put over it."""
    lines: dict[str, str] = {}
    for line in (previous or "").splitlines():
        if line.strip() and not line.startswith(("#", ";", "[")):
            lines[_subject(line)] = line
    for name, value in wants.environment.items():
        unset = value is None
        lines[f"variable {name}"] = f"UnsetEnvironment={name}" if unset else f"Environment={quoted(name, str(value))}"
    lines.update({name: f"{name}={value}" for name, value in wants.limits.items()})
    user = "".join(f" {word}" for word in manager_words(target.unit_folder))
    return _HEAD.format(runbook=runbook, unit=service.unit, user=user) + "".join(f"{line}\n" for line in lines.values())


def _subject(line: str) -> str:
    """What a line of ours is about; each variable stands in a line of its own."""
    directive, _, value = line.partition("=")
    if directive in ("Environment", "UnsetEnvironment"):
        found, _ = words(value)
        if len(found) == 1:
            return f"variable {found[0].partition('=')[0]}"
    return directive if directive not in ("Environment", "UnsetEnvironment") else line


def steps(target: Target, service: Service, runbook: str, wants: Wanted) -> tuple[Step, ...]:
    """Write the drop-in, checked by systemd-analyze; then reload and restart, seen in the live process."""
    path = drop_in_path(target, service, runbook)
    reload_and_restart = f"systemctl daemon-reload, then systemctl restart {service.unit}"

    def missing(target: Target, told: Mapping[str, str]) -> list[str]:
        try:
            return differences(target, main_process(target, service, told), wants, told)
        except HiddenByTitle:
            if "SPT_NOENV" not in wants.environment:
                raise
            return ["a title hides the variables"]

    def check_file(target: Target) -> Check:
        previous = file_now(target, path)
        if previous is not None and previous == drop_in_text(target, service, runbook, wants, previous):
            return Check("done", "it holds these settings")
        told = shown(target, service.unit)
        if not missing(target, told):
            return Check("done", "the live process has these settings already")
        now = "there is no such file" if previous is None else "it holds other settings"
        if told.get("NeedDaemonReload") == "yes":
            return Check("refused", now, "Files of this unit were changed since systemd read them, and a restart would "
                         f"put these changes in force too. Look at them (systemctl cat {service.unit}), then run "
                         "systemctl daemon-reload.")  # fmt: skip
        return Check("needed", now)

    def remember(target: Target) -> Remembered:
        told = shown(target, service.unit)
        process = main_process(target, service, told)
        return {**remember_file(target, path), "unit": service.unit, "facts": dict(service.facts),
                "pid": process.pid, "started": process.started, **_held(target, process, wants, told)}  # fmt: skip

    def write(target: Target) -> str:
        write_file(target, path, drop_in_text(target, service, runbook, wants, file_now(target, path)))
        return f"{path} is written."

    def check_restart(target: Target) -> Check:
        differs = missing(target, shown(target, service.unit))
        if not differs:
            return Check("done", "the live process has these settings")
        return Check("needed", f"in the live process {', '.join(differs)}")

    def restart(target: Target) -> str:
        reload_units(target)
        restart_unit(target, service.unit)
        return f"{service.unit} was restarted."

    return (
        Step("write the drop-in", f"Write {path}: {wants}", str(wants), check_file, write,
             lambda target: _verify_files(target, service, path), remember, restore_service, patience_s=0.0),
        Step("restart the service", f"{reload_and_restart}; requests under way are lost and models are loaded anew",
             f"the live process has {wants}", check_restart, restart,
             lambda target: _verify_live(target, service, wants), rollback=restart_follows,
             felt_by="every client: the server is away for seconds, and models load again", restarts=True,
             patience_s=_PATIENCE_S),
    )  # fmt: skip


def reload_units(target: Target) -> None:
    """systemctl daemon-reload; raises ActionFailed."""
    output = target.host.run(RELOAD, 60.0, manager=manager_words(target.unit_folder))
    if output.outcome != "captured":
        raise ActionFailed(f"systemctl daemon-reload failed: {output.reason}.")


def restart_unit(target: Target, unit: str) -> None:
    """systemctl restart UNIT; raises ActionFailed."""
    output = target.host.run(RESTART, _RESTART_S, manager=manager_words(target.unit_folder), unit=unit)
    if output.outcome != "captured":
        raise ActionFailed(f"systemctl restart {unit} failed: {output.reason}.")


def _verify_files(target: Target, service: Service, path: str) -> Verified:
    """What systemd-analyze says of the unit with this drop-in; what it says of other files was so before."""
    if file_now(target, path) is None:
        return Verified(True, "No drop-in is needed.")
    fragment = shown(target, service.unit).get("FragmentPath", "")
    if not re.fullmatch(r"/[^\0\n]+\.service", fragment):
        return Verified(None, f"systemd does not say where the file of {service.unit} is.")
    output = target.host.run(VERIFY, 30.0, manager=manager_words(target.unit_folder), path=fragment)
    if output.outcome == "missing":
        return Verified(True, "systemd-analyze is not installed there: the files are checked by the restart alone.")
    said = [line for line in output.text.splitlines() if line.startswith(f"{path}:")]
    if said:
        return Verified(False, f"systemd-analyze verify: {said[0][:300]}")
    if output.outcome == "captured":
        return Verified(True, "systemd-analyze verify has nothing against the unit's files.")
    return Verified(True, "systemd-analyze verify has nothing against this file; what it has against others was so "
                    "before.")  # fmt: skip


def _verify_live(target: Target, service: Service, wants: Wanted) -> Verified:
    """In the live process, by the server's answer, and in its `server config` line where the log can be read."""
    told = shown(target, service.unit)
    process = main_process(target, service, told)
    if differs := differences(target, process, wants, told):
        return Verified(False, f"In the live {process}, {', '.join(differs)}. Another file of the unit may win: "
                        f"systemctl cat {service.unit}")  # fmt: skip
    seen = f"The live {process} has {wants}"
    if "named" in service.facts:
        return Verified(True, f"{seen}.")
    version = target.version()
    if not version:
        return Verified(False, f"{seen}, but it does not answer at /api/version.")
    printed = config_line(target, process)
    against = [name for name, value in wants.environment.items() if agrees(name, value, printed.get(name)) is False]
    if against:
        return Verified(False, f"{seen}, but its line `server config` says {against[0]}:{printed[against[0]][:80]}.")
    line = "its line `server config` agrees" if printed else "its line `server config` cannot be read here"
    return Verified(True, f"{seen}, answers as version {version}, and {line}.")


def config_line(target: Target, process: Process) -> dict[str, str]:
    """The map of the `server config` line that a process wrote to the journal; empty where there is none."""
    output = target.host.run(JOURNAL, _TIMEOUT_S, of_process=f"_PID={process.pid}")
    return config_of(output.text) if output.outcome == "captured" else {}


def config_of(log: str) -> dict[str, str]:
    """The map of the newest `server config` line of a log; empty where there is none."""
    from ...parse.go_values import go_map

    for line in reversed(log.splitlines()):
        if "server config" in line and (found := event_in(line)) and found.key == "server_config":
            return go_map(found.fields.get("env", ""))
    return {}


def _held(target: Target, process: Process, wants: Wanted, told: Mapping[str, str]) -> dict[str, Any]:
    """The same variables and limits as they are now, for the way back."""
    limits = limits_of(target, process) if wants.limits else {}
    held = {name: held_limit(limits, told, name) for name in wants.limits}
    try:
        there = environment_of(target, process) if wants.environment else {}
        variables = {name: there.get(name) for name in wants.environment}
    except HiddenByTitle:
        variables = {}
    return {"environment": variables,
            "limits": {name: limit_text(value) for name, value in held.items() if value is not None}}  # fmt: skip


def restart_follows(target: Target, remembered: Remembered) -> str:
    """A restart is no setting: whether another one is needed is found out where the file is put back."""
    return "What was written before the restart is taken back next, with another restart if it was in force."


def restore_service(target: Target, remembered: Remembered) -> str:
    """Put the drop-in back as it was, reload, restart unless the process of then still lives, and see that it is so.

    Raises ActionFailed when the service does not come back as it was.
    """
    unit = str(remembered["unit"])
    said = restore_file(target, remembered)
    reload_units(target)
    service = Service("systemd", unit, dict(remembered["facts"]))
    before = Wanted(dict(remembered["environment"]), dict(remembered["limits"]))
    live: Process | None = None
    with suppress(CannotTell):
        live = main_process(target, service, shown(target, unit))
    if live and (live.pid, live.started) == (remembered["pid"], remembered["started"]):
        return f"{said} {unit} had not been restarted."
    target.host.run(FORGET, _TIMEOUT_S, manager=manager_words(target.unit_folder), unit=unit)
    restart_unit(target, unit)
    ends = target.monotonic_s() + _PATIENCE_S
    while True:
        try:
            verified = _verify_live(target, service, before)
        except HiddenByTitle:
            return f"{said} {unit} was restarted; its title hides the variables."
        except CannotTell as error:
            verified = Verified(None, str(error))
        if verified.ok:
            return f"{said} {unit} runs as before."
        if target.monotonic_s() >= ends:
            raise ActionFailed(f"{said} {unit} was restarted, but is not as before: {verified.sentence}")
        target.wait(0.25)
