"""Ollama on macOS: variables for the apps of a login session, and the app or Homebrew's service started again.

`launchctl setenv` holds until the user logs out. It reaches what launchd starts afterwards, so the server is started
again by whoever had started it. Homebrew's service brings variables of its own in its property list, which win.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ...errors import ActionFailed, CannotTell
from ...host import Command
from ..processes import Process, is_alive
from ..step import Check, Remembered, Step, Verified
from ..target import Target
from .systemd import config_of, restart_follows
from .wanted import Service, Wanted, agrees

_TIMEOUT_S = 10.0
_QUIT_S = 30.0
_PATIENCE_S = 60.0
_LOG_BYTES = 1024 * 1024
GETENV = Command("variable for apps", ("launchctl", "getenv", "{variable}"))
SETENV = Command("set a variable for apps", ("launchctl", "setenv", "{variable}", "{value}"), "write")
UNSETENV = Command("remove a variable for apps", ("launchctl", "unsetenv", "{variable}"), "write")
QUIT = Command("quit the app", ("osascript", "-e", 'tell application "Ollama" to quit'), "write")
OPEN = Command("open the app", ("open", "-a", "Ollama"), "write")
BREW_RESTART = Command("restart Homebrew's service", ("brew", "services", "restart", "ollama"), "write")
HOME = Command("home folder", ("printenv", "HOME"))
# Of one's own processes only, and not of Apple's.
ENVIRONMENT = Command("environment of one process", ("ps", "-E", "-ww", "-o", "command=", "-p", "{pid}"))
_LOGS = {"app": "{home}/.ollama/logs/server.log", "brew": "/opt/homebrew/var/log/ollama.log"}
_PROPERTIES = "{home}/Library/LaunchAgents/homebrew.mxcl.ollama.plist"


def service_of_app(server: Process) -> Service:
    """The app, Homebrew's service, or a process that somebody started."""
    path = server.executable
    if ".app/Contents/" in path or ".app/Contents/" in server.command:
        return Service("launchd", facts={"kind": "app"})
    if server.parent_pid == 1 and ("/Cellar/ollama/" in path or "/opt/ollama/" in path or "/homebrew/" in path):
        return Service("launchd", facts={"kind": "brew"})
    return Service("none")


def settings_of_mac(target: Target, service: Service) -> dict[str, str]:
    """The variables of the live server, else what its newest `server config` line says. Raises CannotTell."""
    if there := _environment(target, target.server()):
        return there
    if printed := _printed(target, service):
        return printed
    raise CannotTell("Neither the server's environment nor its line `server config` can be read: run this as the user "
                     "who started Ollama.")  # fmt: skip


def steps(target: Target, service: Service, wants: Wanted) -> tuple[Step, ...]:
    """Set the variables for apps, then start the server again, seen in the live process and in its log."""
    kind = service.facts["kind"]
    commands = [f"launchctl setenv {name} {value}" if value is not None else f"launchctl unsetenv {name}"
                for name, value in wants.environment.items()]  # fmt: skip

    def check_variables(target: Target) -> Check:
        if kind == "brew" and (own := _brew_names(target) & wants.environment.keys()):
            return Check("refused", f"Homebrew's service sets {', '.join(sorted(own))} itself",
                         f"Homebrew's service sets {', '.join(sorted(own))} in its own property list, which wins over "
                         "launchctl setenv: stop it (brew services stop ollama) and use the Ollama app, or start "
                         "ollama serve with the variable.")  # fmt: skip
        held = {name: getenv(target, name) for name in wants.environment}
        if held == dict(wants.environment):
            return Check("done", "set for apps already")
        differs = [f"{name} is {value if value is not None else 'not set'}" for name, value in held.items()
                   if value != wants.environment[name]]  # fmt: skip
        return Check("needed", f"for apps {', '.join(differs)}")

    def remember(target: Target) -> Remembered:
        server = target.server()
        return {"kind": kind, "before": {name: getenv(target, name) for name in wants.environment},
                "pid": server.pid, "started": server.started}  # fmt: skip

    def apply(target: Target) -> str:
        for name, value in wants.environment.items():
            setenv(target, name, value)
        return f"{'; '.join(commands)}."

    def verify_variables(target: Target) -> Verified:
        held = {name: getenv(target, name) for name in wants.environment}
        return Verified(held == dict(wants.environment), f"launchctl getenv says {held}.")

    def check_restart(target: Target) -> Check:
        differs = _differs(target, service, wants)
        return Check("needed", f"in the live server {', '.join(differs)}") if differs else Check("done", "in force")

    def again(target: Target) -> str:
        start_again(target, kind)
        return "The server was started again."

    def verify_live(target: Target) -> Verified:
        if differs := _differs(target, service, wants):
            return Verified(False, f"In the live server, {', '.join(differs)}.")
        version = target.version()
        told = f"The live server has {wants}"
        if not version:
            return Verified(False, f"{told}, but it does not answer at /api/version.")
        return Verified(True, f"{told}, and answers as version {version}.")

    how = "brew services restart ollama" if kind == "brew" else "quit the Ollama app and open it again"
    return (
        Step("set the variables", "; ".join(commands), str(wants), check_variables, apply, verify_variables, remember,
             restore_launchd),
        Step("start the server again", f"{how}; requests under way are lost and models are loaded anew",
             f"the live server has {wants}", check_restart, again, verify_live, rollback=restart_follows,
             felt_by="every client: the server is away for seconds, and models load again", restarts=True,
             patience_s=_PATIENCE_S),
    )  # fmt: skip


def getenv(target: Target, name: str) -> str | None:
    """A variable for apps, or None when there is none. Raises ActionFailed when launchd does not say."""
    output = target.host.run(GETENV, _TIMEOUT_S, variable=name)
    if output.outcome == "captured":
        return output.text.rstrip("\n") or None
    if output.outcome == "failed" and not output.text.strip():
        return None  # a variable that is not set, in some versions of launchctl
    raise ActionFailed(f"launchctl getenv {name}: {output.reason}.")


def setenv(target: Target, name: str, value: str | None) -> None:
    """Set or remove a variable for apps; raises ActionFailed."""
    if value is None:
        output = target.host.run(UNSETENV, _TIMEOUT_S, variable=name)
    else:
        output = target.host.run(SETENV, _TIMEOUT_S, variable=name, value=value)
    if output.outcome != "captured":
        raise ActionFailed(f"launchctl could not set {name}: {output.reason}.")


def start_again(target: Target, kind: str) -> None:
    """End and start the server by the way it is started here; raises ActionFailed."""
    if kind == "brew":
        output = target.host.run(BREW_RESTART, 120.0)
        if output.outcome != "captured":
            raise ActionFailed(f"brew services restart ollama failed: {output.reason}.")
        return
    try:
        server = target.server()
    except CannotTell:
        server = None
    quit_ = target.host.run(QUIT, _QUIT_S)
    if quit_.outcome != "captured" and server:
        raise ActionFailed(f"The Ollama app did not quit: {quit_.reason}.")
    ends = target.monotonic_s() + _QUIT_S
    while server and is_alive(target.host, server) and target.monotonic_s() < ends:
        target.wait(0.25)
    opened = target.host.run(OPEN, _QUIT_S)
    if opened.outcome != "captured":
        raise ActionFailed(f"The Ollama app was not opened: {opened.reason}.")


def restore_launchd(target: Target, remembered: Remembered) -> str:
    """Put the variables back as they were, and start the server again unless it is still the one of then.

    Raises ActionFailed when launchd refuses, or no server answers afterwards.
    """
    before = dict(remembered["before"])
    for name, value in before.items():
        setenv(target, name, value)
    told = ", ".join(f"{name}={value}" if value is not None else f"{name} not set" for name, value in before.items())
    try:
        server = target.server()
    except CannotTell:
        server = None
    if server and (server.pid, server.started) == (remembered["pid"], remembered["started"]):
        return f"The variables for apps are as before ({told}); the server had not been started again."
    start_again(target, str(remembered["kind"]))
    ends = target.monotonic_s() + _PATIENCE_S
    while not target.version():
        if target.monotonic_s() >= ends:
            raise ActionFailed(f"The variables for apps are as before ({told}), but no server answers: open Ollama.")
        target.wait(0.25)
    return f"The variables for apps are as before ({told}), and the server was started again."


def _differs(target: Target, service: Service, wants: Wanted) -> list[str]:
    """What does not hold, by the live process, and by its log. Raises CannotTell where neither can be read."""
    there = _environment(target, target.server())
    printed = _printed(target, service)
    if not there and not printed:
        raise CannotTell("Neither the server's environment nor its line `server config` can be read.")
    found = []
    for name, value in wants.environment.items():
        if there and (there.get(name) or None) != value:
            found.append(f"{name} is {there.get(name) or 'not set'}")
        elif agrees(name, value, printed.get(name)) is False:
            found.append(f"the line `server config` says {name}:{printed[name][:80]}")
    return found


def _environment(target: Target, server: Process) -> dict[str, str]:
    """The variables that ps prints behind the command line; values with blanks are cut there."""
    output = target.host.run(ENVIRONMENT, _TIMEOUT_S, pid=str(server.pid))
    told = output.text.strip()
    if output.outcome != "captured" or not told.startswith(server.command):
        return {}
    pairs = re.findall(r"(?:^|\s)([A-Za-z_]\w*)=(\S*)", told.removeprefix(server.command))
    return dict(reversed(pairs))  # the first of a name counts


def _printed(target: Target, service: Service) -> dict[str, str]:
    home = _home(target)
    path = _LOGS[service.facts.get("kind", "app")].format(home=home)
    return config_of(target.host.read(path, _TIMEOUT_S, _LOG_BYTES).text) if home else {}


def _brew_names(target: Target) -> set[str]:
    text = target.host.read(_PROPERTIES.format(home=_home(target)), _TIMEOUT_S).text
    return set(re.findall(r"<key>(OLLAMA_\w+)</key>", text))


def _home(target: Target) -> str:
    home = target.host.run(HOME, _TIMEOUT_S).text.strip()
    return str(PurePosixPath(home)) if home.startswith("/") else ""
