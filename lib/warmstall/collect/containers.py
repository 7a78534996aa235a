"""Containers of Ollama and of the services around it: mounts, memory limit, restarts, exit codes, and their logs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..host import Output
from ..parse.environment import matters
from .collection import Collector

DEADLINE_S = 9.0
_SERVICES = (
    "ollama", "chroma", "qdrant", "weaviate", "milvus", "pgvector", "embed", "infinity", "litellm", "open-webui",
)  # fmt: skip
# Of `docker inspect` only this: labels, commands and networks are other people's business.
_KEPT = {
    "Id": None, "Name": None, "Image": None, "RestartCount": None, "State": None, "Mounts": None,
    "Config": ("Image", "Env"),
    "HostConfig": ("Memory", "MemorySwap", "MemoryReservation", "NanoCpus", "RestartPolicy", "Ulimits", "ShmSize",
                   "OomKillDisable", "DeviceRequests"),
}  # fmt: skip


def collect(desk: Collector) -> None:
    """containers.json, one log per container, and the same of the pods that were asked for."""
    for number, pod in enumerate(desk.wanted.pods):
        namespace, _, name = pod.rpartition("/")
        namespace, last = namespace or "default", f"{desk.wanted.hours * 3600:.0f}s"
        pod_facts = desk.run("pod facts", namespace=namespace, pod=name)
        desk.keep("pod facts", f"pod-{number}.json", replace(pod_facts, data=_kept_of_pod(pod_facts.data)))
        desk.capture("pod log", f"pod-{number}.log", last=last, namespace=namespace, pod=name)
    listed = desk.run("containers", timeout_s=4)
    if listed.outcome != "captured":
        desk.keep("containers", "", listed)
        return
    names = [name for name, image in _containers(listed.text) if any(word in f"{name} {image}" for word in _SERVICES)]
    if not names:
        desk.note("containers", "", "missing", "no container of Ollama or of a service around it")
        return
    facts = desk.run("container facts", containers=names)
    desk.keep("container facts", "containers.json", Output(
        facts.outcome, _kept(facts.data), facts.reason, facts.wall_s, facts.exit_code))  # fmt: skip
    for name in names:
        file = "server.log" if "ollama" in name else f"app-{name}.log"
        desk.capture("container log", file, container=name, last=f"{desk.wanted.hours * 3600:.0f}s")


def _kept_of_pod(data: bytes) -> bytes:
    """The parts of a pod that matter: limits, restarts and why, and of the environment only what Ollama reads."""
    try:
        pod = json.loads(data)
        metadata, spec, status = (pod.get(name) or {} for name in ("metadata", "spec", "status"))
        containers = [
            {
                "name": container.get("name"), "image": container.get("image"), "resources": container.get("resources"),
                "env": [entry for entry in container.get("env") or () if matters(str(entry.get("name")))],
            }
            for container in spec.get("containers") or ()
        ]  # fmt: skip
        kept = {
            "kind": pod.get("kind"), "metadata": {name: metadata.get(name) for name in ("name", "namespace")},
            "spec": {"containers": containers},
            "status": {name: status.get(name) for name in ("phase", "containerStatuses", "startTime")},
        }  # fmt: skip
    except (ValueError, AttributeError, TypeError):
        return b""
    return json.dumps(kept, indent=1).encode()


def _containers(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
            found.append((str(row["Names"]), str(row["Image"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _kept(data: bytes) -> bytes:
    """The parts of `docker inspect` that matter, and of the environment only what Ollama and its runners read."""
    try:
        containers = json.loads(data)
    except ValueError:
        return b""
    kept = []
    for container in containers if isinstance(containers, list) else ():
        row = {name: container.get(name) for name in _KEPT}
        for name, inner in _KEPT.items():
            if inner and isinstance(row[name], dict):
                row[name] = {key: row[name].get(key) for key in inner}
        config = row["Config"] or {}
        config["Env"] = [entry for entry in config.get("Env") or () if matters(str(entry).partition("=")[0])]
        kept.append(row)
    return json.dumps(kept, indent=1).encode()
