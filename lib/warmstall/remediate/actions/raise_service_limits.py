"""raise-service-limits: give the server the limits and variables that it was meant to run with.

Locked memory, open files and variables of its environment are set by a drop-in of its systemd unit, checked by
`systemd-analyze verify` before systemd reads it; after one restart they are looked for in the live process, in
/proc/PID/limits and /proc/PID/environ, because what a unit says and what a process has are two things. A few requests
before and after tell whether more or fewer come back; fewer, and everything is taken back.

It never lowers a limit that is higher already, and changes nothing where all are in force. Containers and macOS get
the exact text for a person to apply. Sources: systemd.exec(5), getrlimit(2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import CannotTell, ParameterError
from ...parse.plain_text import printable
from ..processes import Process
from ..services.canary import canary_measures, canary_model, fell
from ..services.service import change_service, service_of
from ..services.wanted import amount, environment_of, limit_text, limits_of, variables_of, wanted
from ..step import Action, Measures, Precondition, Verified
from ..target import Target

SETTINGS: dict[str, Any] = {
    "memlock": "infinity", "nofile": 65536, "environment": [], "model": "", "tries": 5, "deadline_s": 30.0,
}  # fmt: skip
RECORDING = "low-memlock"

_NAME = "raise-service-limits"
# No process may have more open files than this, whatever its limit says; systemd cannot start one that should.
_MOST_FILES = "/proc/sys/fs/nr_open"


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """What would be changed: limits that are lower, and variables that are other, than wanted."""
    if not 1 <= settings["tries"] <= 50 or not 1.0 <= settings["deadline_s"] <= 600.0 or settings["nofile"] < 0:
        raise ParameterError("expected tries from 1 to 50, deadline_s from 1 to 600, and nofile a number of files, or "
                             "0 to leave it.")  # fmt: skip
    given = {"MEMLOCK": str(settings["memlock"]), "NOFILE": str(settings["nofile"] or "")}
    wants = wanted(variables_of(settings["environment"]), {name: value for name, value in given.items() if value})
    server = target.server()
    preconditions: list[Precondition] = []
    limits: dict[str, str] = {}
    held = _held_limits(target, server) if wants.limits else {}
    for name, value in wants.limits.items():
        found, asked = held.get(name.removeprefix("Limit")), amount(name, value)
        preconditions.append(_limit(name, value, found, asked))
        # One that is exactly as wanted stands in the plan, which shows it as being so already.
        if found is None or asked is None or found <= asked:
            limits[name] = value
    if above := _above_the_kernels(target, wants.limits.get("LimitNOFILE")):
        preconditions.append(above)
    there = environment_of(target, server) if wants.environment else {}
    for name, wish in wants.environment.items():
        preconditions.append(_variable(name, wish, there.get(name)))
    if any(one.state == "met" for one in preconditions):  # what needs nothing is no reason to leave the others
        preconditions = [replace(one, state="met", sentence=f"{one.sentence} It is left as it is.")
                         if one.state == "not needed" else one for one in preconditions]  # fmt: skip
    preconditions.append(_starter(target))
    if not limits and not wants.environment:
        return Action("All limits are as high as wanted, or higher.", tuple(preconditions))
    model = canary_model(target, str(settings["model"]))
    tries, deadline_s = int(settings["tries"]), float(settings["deadline_s"])
    told = wanted(wants.environment, limits)
    return Action(
        f"{told} for the server; judged by {tries} requests to {printable(model) or 'no model'} before and after.",
        tuple(preconditions),
        change_service(target, _NAME, wants.environment, limits),
        lambda target: canary_measures(target, model, tries, deadline_s),
        helped,
        ("Watch the share of requests that come back over as many as hung before; a few prove little.",
         "The runners inherit these limits: each model that is loaded from now on has them.",
         "The drop-in stays until undo=True, or until the unit itself says the same and the drop-in is removed."),
    )  # fmt: skip


def helped(before: Measures, after: Measures) -> Verified:
    """Kept unless fewer requests came back: limits in force are what was asked for, and few requests prove no cure."""
    if lower := fell(before, after):
        return lower
    was, is_now = before.get("success_rate"), after.get("success_rate")
    if was is None or is_now is None:
        return Verified(None, "In force, but not measured: no model was in memory, and none was named.")
    told = f"{is_now:.0%} of {after['tries']:.0f} requests came back, {was:.0%} before"
    return Verified(True, f"In force, and {told}." if is_now > was or is_now == 1.0 else
                    f"In force, but {told}: the limit was not what held them.")  # fmt: skip


def _held_limits(target: Target, server: Process) -> dict[str, float]:
    try:
        return limits_of(target, server)
    except CannotTell:
        return {}


def _limit(name: str, value: str, found: float | None, asked: float | None) -> Precondition:
    title = name
    if found is None or asked is None:
        return Precondition(title, "cannot tell", "The limits in force cannot be read: /proc/PID/limits of the server, "
                            "as root or as its own user.")  # fmt: skip
    told = f"{limit_text(found)} in force in the live server, {value} wanted"
    return Precondition(title, "not needed" if found >= asked else "met", f"{told}.")


def _above_the_kernels(target: Target, value: str | None) -> Precondition | None:
    """Against a number of files with which the service would not start any more."""
    text = target.host.read(_MOST_FILES, 5.0).text.strip()
    asked = amount("LimitNOFILE", value) if value else None
    if asked is None or not text.isdigit() or asked <= float(text):
        return None
    return Precondition("a possible LimitNOFILE", "not met", f"This kernel allows {text} open files at most "
                        f"({_MOST_FILES}), and {value} is wanted: the service would not start.")  # fmt: skip


def _variable(name: str, wish: str | None, found: str | None) -> Precondition:
    shown = "not set" if found is None else repr(printable(found[:200]))
    same = (found or None) == wish
    wish_told = "not set" if wish is None else repr(wish)
    return Precondition(name, "not needed" if same else "met",
                        f"It is {shown} in the live server, and {wish_told} is wanted.")  # fmt: skip


def _starter(target: Target) -> Precondition:
    service = service_of(target)
    told = {
        "systemd": f"systemd starts it as {service.unit}: this runbook can act.",
        "launchd": "launchd starts it: variables can be set from here, limits by hand.",
        "compose": "It runs in a container: the change is printed for its compose file.",
        "kubernetes": "It runs in a pod: the change is printed for its workload.",
        "none": "No service manager starts it: the change is printed as a command line.",
    }
    return Precondition("who starts the server", "met", told[service.manager])
