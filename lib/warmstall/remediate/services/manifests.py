"""What cannot be done from here, as exact text: a compose override, a patch for Kubernetes, a command line.

A container's environment is fixed when it is made, and who made it has the file that says so. What is printed is to
be read, pasted and kept beside that file; whether it came into force is seen in the live process afterwards.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from ...collect.commands import COMMANDS
from ...host import Command
from ..target import Target
from .wanted import Service, Wanted, amount

_TIMEOUT_S = 5.0
IS_THERE = Command("whether a file is there", ("test", "-e", "{path}"))
_CONTAINER = re.compile(r"(?:docker|libpod|cri-containerd|crio)[-/]([0-9a-f]{64})\b")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_OF_DEPLOYMENT = re.compile(r"(.+)-[a-z0-9]{8,10}-[a-z0-9]{5}")
_OF_STATEFUL_SET = re.compile(r"(.+)-\d{1,4}")
_LABEL = "com.docker.compose"
# compose's names for what is no ulimit.
_OF_COMPOSE = {"MemoryMax": "mem_limit", "TasksMax": "pids_limit", "OOMScoreAdjust": "oom_score_adj"}


def container_of(cgroups: str) -> str:
    """The id of the container whose control group this is, or nothing.

    >>> container_of("0::/system.slice/docker-" + 64 * "a" + ".scope")[:3]
    'aaa'
    """
    found = _CONTAINER.search(cgroups)
    return found[1] if found else ""


def container_facts(target: Target, container: str) -> dict[str, str]:
    """Name, and the project, service and files of compose, as docker tells them; names that are none are left out."""
    output = target.host.run(COMMANDS["container facts"], _TIMEOUT_S, containers=[container])
    try:
        told = json.loads(output.text)[0]
        labels = told["Config"]["Labels"] or {}
        found = {
            "container": str(told["Name"]).removeprefix("/"), "service": str(labels.get(f"{_LABEL}.service", "")),
            "project": str(labels.get(f"{_LABEL}.project", "")),
        }  # fmt: skip
        files = str(labels.get(f"{_LABEL}.project.config_files", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return {}
    found = {name: value for name, value in found.items() if _PLAIN.fullmatch(value)}
    return found | ({"files": files} if files and files.isprintable() else {})


def pod_facts(target: Target, pid: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The pod, what made it by the form of its name, and the namespace."""
    pod = environment.get("HOSTNAME", "")
    found: dict[str, str] = {}
    if _PLAIN.fullmatch(pod):
        found["pod"] = pod
        if made := _OF_DEPLOYMENT.fullmatch(pod):
            found["workload"] = f"deployment/{made[1]}"
        elif made := _OF_STATEFUL_SET.fullmatch(pod):
            found["workload"] = f"statefulset/{made[1]}"
    path = f"/proc/{pid}/root/var/run/secrets/kubernetes.io/serviceaccount/namespace"
    namespace = target.host.read(path, _TIMEOUT_S).text.strip()
    return found | ({"namespace": namespace} if _PLAIN.fullmatch(namespace) else {})


def compose_override(service: str, wants: Wanted) -> str:
    """A file for `docker compose -f BASE -f THIS`; a `$` is doubled, because compose replaces variables.

    >>> from .wanted import wanted
    >>> print(compose_override("ollama", wanted({"OLLAMA_KEEP_ALIVE": "10m"}, {"MEMLOCK": "infinity"})), end="")
    services:
      ollama:
        environment:
          OLLAMA_KEEP_ALIVE: 10m
        ulimits:
          memlock:
            soft: -1
            hard: -1
    """
    inner: dict[str, Any] = {}
    if wants.environment:
        # An empty one is what Ollama takes for none; a merge cannot remove an entry.
        inner["environment"] = {name: (value or "").replace("$", "$$") for name, value in wants.environment.items()}
    for name, value in wants.limits.items():
        if name in _OF_COMPOSE:
            inner[_OF_COMPOSE[name]] = _whole(name, value)
        elif name.startswith("Limit"):
            number = _whole(name, value)
            inner.setdefault("ulimits", {})[name.removeprefix("Limit").lower()] = {"soft": number, "hard": number}
    return _yaml({"services": {service: inner}})


def kubernetes_patch(container: str, wants: Wanted) -> str:
    """A strategic merge patch of a workload's template: containers and variables are merged by their names."""
    row: dict[str, Any] = {"name": container}
    if wants.environment:
        row["env"] = [{"name": name, "$patch": "delete"} if value is None else {"name": name, "value": value}
                      for name, value in wants.environment.items()]  # fmt: skip
    if "MemoryMax" in wants.limits:
        row["resources"] = {"limits": {"memory": str(_whole("MemoryMax", wants.limits["MemoryMax"]))}}
    return _yaml({"spec": {"template": {"spec": {"containers": [row]}}}})


def by_hand(service: Service, wants: Wanted, runbook: str, command: str) -> tuple[str, ...]:
    """The commands to paste, in order; comments say what a person must fill in or decide."""
    if service.manager == "compose":
        return _compose(service, wants, runbook)
    if service.manager == "kubernetes":
        return _kubernetes(service, wants, runbook)
    if service.manager == "launchd":
        return (
            "# Limits of the Ollama app are launchd's : sudo launchctl limit maxfiles SOFT HARD, until the next boot.",
        )
    return _plain(wants, command)


def _compose(service: Service, wants: Wanted, runbook: str) -> tuple[str, ...]:
    file = f"compose.warmstall-{runbook}.yaml"
    name = service.facts.get("service", "ollama")
    project = service.facts.get("project")
    files = service.facts.get("files", "docker-compose.yml").split(",")
    words = ["docker", "compose", *(["--project-name", project] if project else [])]
    words += [word for path in files for word in ("--file", path)] + ["--file", file]
    line = shlex.join(words)
    if "service" not in service.facts:
        note = ("# Which compose file made the container is not known from here: put the name of its service for "
                "ollama, and of its file for docker-compose.yml.")  # fmt: skip
        return (note, _here(file, compose_override(name, wants)), f"{line} config --quiet",
                f"{line} up --detach --no-deps {name}")  # fmt: skip
    return (_here(file, compose_override(name, wants)), f"{line} config --quiet",
            f"{line} up --detach --no-deps {shlex.quote(name)}")  # fmt: skip


def _kubernetes(service: Service, wants: Wanted, runbook: str) -> tuple[str, ...]:
    file = f"patch.warmstall-{runbook}.yaml"
    workload = service.facts.get("workload", "deployment/ollama")
    of = f"--namespace {shlex.quote(service.facts.get('namespace', 'default'))} {shlex.quote(workload)}"
    commands = []
    if "workload" not in service.facts:
        commands.append("# Which workload made the pod is not known from here: kubectl get deployments,statefulsets -A")
    commands.append("# `ollama` is taken for the name of the container in it: kubectl get -o yaml " + of)
    if wants.environment or "MemoryMax" in wants.limits:
        commands += [
            _here(file, kubernetes_patch("ollama", wants)),
            f"kubectl patch {of} --patch-file {file} --dry-run=server",
            f"kubectl patch {of} --patch-file {file}",
            f"kubectl rollout status {of} --timeout=10m",
        ]
    if limits := [f"{name}={value}" for name, value in wants.limits.items() if name.startswith("Limit")]:
        commands.append(f"# A pod cannot raise limits of processes; they are its container runtime's, on the node: "
                        f"{' '.join(limits)} in a drop-in of containerd.service (systemctl edit containerd), then "
                        "restart it and the pod.")  # fmt: skip
    return tuple(commands)


def _plain(wants: Wanted, command: str) -> tuple[str, ...]:
    """Nobody starts the server again by itself, so a person ends it and starts it with the settings."""
    unset = [f"--unset={name}" for name, value in wants.environment.items() if value is None]
    given = [f"{name}={value}" for name, value in wants.environment.items() if value is not None]
    serve = command if re.fullmatch(r"[A-Za-z0-9_./ -]+ serve", command) else "ollama serve"
    limits = [f"--{name.removeprefix('Limit').lower()}={'unlimited' if value == 'infinity' else _whole(name, value)}"
              for name, value in wants.limits.items() if name.startswith("Limit")]  # fmt: skip
    words = [*(["prlimit", *limits] if limits else []), *(["env", *unset, *given] if unset or given else [])]
    return ("# No service manager starts this server: end it where it was started (Ctrl-C), then there",
            f"{shlex.join([*words, *serve.split()])}")  # fmt: skip


def _whole(directive: str, value: str) -> int:
    found = amount(directive, value)
    return -1 if found is None or found == float("inf") else int(found)


def _here(file: str, text: str) -> str:
    """A shell's here-document; its quoted end leaves the text as it is, and no line of the text can be that end."""
    return f"cat > {file} <<'END_OF_{len(text)}'\n{text}END_OF_{len(text)}"


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)
    return text
