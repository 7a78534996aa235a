"""The service behind the server: who starts it, with which settings it runs, and how these are changed.

systemd and launchd are acted on; for compose, Kubernetes and a plain process the exact text and commands are given.
In every case the live process is what says whether a setting is in force.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ...errors import CannotTell, ParameterError
from ..processes import Process
from ..step import Check, Step, Verified
from ..target import Target
from . import launchd, manifests, systemd
from .canary import canary_measures
from .wanted import Service, Wanted, differences, environment_of, wanted

__all__ = ["Service", "by_hand_step", "canary_measures", "change_service", "service_of", "settings_now"]

_TIMEOUT_S = 5.0
_PATIENCE_S = 1.0


def service_of(target: Target) -> Service:
    """Who starts the server: the container or unit of its control group, else the unit that was named for it.

    Raises CannotTell when the server is not found. A unit counts only if systemd says that the server, or its parent,
    is the unit's main process: a server started from a terminal inside some unit is not that unit's.
    """
    server = target.server()
    if target.host.system == "Darwin":
        return launchd.service_of_app(server)
    if target.host.system != "Linux":
        return Service("none")
    cgroups = target.host.read(f"/proc/{server.pid}/cgroup", _TIMEOUT_S).text
    environment = _environment(target, server)
    if "kubepods" in cgroups:
        return Service("kubernetes", facts=manifests.pod_facts(target, server.pid, environment))
    if container := manifests.container_of(cgroups):
        return Service("compose", facts=manifests.container_facts(target, container))
    for unit in dict.fromkeys([*re.findall(r"/([^/\n]+\.service)$", cgroups, re.MULTILINE), target.unit]):
        facts = systemd.shown(target, unit)
        if facts.get("MainPID") == str(server.pid):
            return Service("systemd", unit)
        if facts.get("MainPID") == str(server.parent_pid):
            return Service("systemd", unit, {"wrapped": "yes"})  # started by a script that is the unit's process
    if "KUBERNETES_SERVICE_HOST" in environment:
        return Service("kubernetes", facts=manifests.pod_facts(target, server.pid, environment))
    if (
        target.host.run(manifests.IS_THERE, _TIMEOUT_S, path=f"/proc/{server.pid}/root/.dockerenv").outcome
        == "captured"
    ):
        return Service("compose")
    return Service("none")


def settings_now(target: Target) -> dict[str, str]:
    """The variables that matter in the live server's environment; on macOS from its log where ps does not show them.

    Raises CannotTell where they cannot be read.
    """
    server = target.server()
    if target.host.system == "Darwin":
        return launchd.settings_of_mac(target, launchd.service_of_app(server))
    environment_of(target, server)  # raises when it may not be read, which is not the same as empty
    return target.environment(server.pid)


def change_service(
    target: Target, runbook: str, environment: Mapping[str, str | None], limits: Mapping[str, str] = {}, unit: str = ""
) -> tuple[Step, ...]:  # fmt: skip
    """The steps that put variables (None: not set) and limits in force, with one restart.

    Limits go by systemd's names: MEMLOCK or LimitMEMLOCK, MemoryMax. `unit` is that of another service than the
    server. Raises ParameterError for what no service can run with, CannotTell when nothing is known of the service.
    """
    wants = wanted(environment, limits)
    if not re.fullmatch(r"[a-z0-9-]{1,40}", runbook):
        raise ParameterError(f"runbook {runbook!r}: expected a runbook's name.")
    if not wants.environment and not wants.limits:
        return ()
    if unit:
        facts = systemd.shown(target, unit)
        if not facts.get("FragmentPath"):
            raise CannotTell(f"systemd knows no unit {unit[:80]!r} there: systemctl status says more.")
        return systemd.steps(target, Service("systemd", unit, {"named": "yes"}), runbook, wants)
    service = service_of(target)
    if service.manager == "systemd":
        return systemd.steps(target, service, runbook, wants)
    if service.manager == "launchd":
        variables, rest = Wanted(wants.environment, {}), Wanted({}, wants.limits)
        steps = launchd.steps(target, service, variables) if variables.environment else ()
        return (*steps, _servers_step(target, service, runbook, rest)) if rest.limits else steps
    return (_servers_step(target, service, runbook, wants),)


def by_hand_step(
    name: str, where: str, wants: Wanted, seen: Wanted, live: Callable[[Target], Process], commands: tuple[str, ...],
    felt_by: str,
) -> Step:  # fmt: skip
    """A step for a person; a run of the same runbook afterwards sees in the live process whether it was done.

    `wants` is all that is to be changed, `seen` what of it a live process shows.
    """

    def missing(target: Target) -> list[str]:
        return differences(target, live(target), seen, {})

    def check(target: Target) -> Check:
        try:
            differs = missing(target)
        except CannotTell:
            return Check("needed", "what the live process has cannot be read")
        return Check("needed", ", ".join(differs)) if differs else Check("done", "the live process has it")

    def verify(target: Target) -> Verified:
        differs = missing(target)
        return Verified(not differs, f"In the live process, {', '.join(differs)}." if differs else
                        f"The live process has {seen}.")  # fmt: skip

    return Step(name, f"By hand, {where}: {wants}", str(wants), check, None, verify, by_hand=commands,
                felt_by=felt_by, patience_s=_PATIENCE_S)  # fmt: skip


def _servers_step(target: Target, service: Service, runbook: str, wants: Wanted) -> Step:
    names = {"compose": "the compose file", "kubernetes": "the workload", "launchd": "launchd"}
    who = names.get(service.manager, "the command line")
    commands = manifests.by_hand(service, wants, runbook, target.server().command)
    return by_hand_step(f"change {who}", f"in {who}", wants, wants, lambda target: target.server(), commands,
                        "every client: the server is away for seconds, and models load again")  # fmt: skip


def _environment(target: Target, server: Process) -> dict[str, str]:
    try:
        return environment_of(target, server)
    except CannotTell:
        return {}
