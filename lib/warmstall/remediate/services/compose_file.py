"""Compose files: read them, say what a change is as an override file, and what both are together.

A file of the operator is never rewritten: a change is a file of its own that Compose merges, so that no comment is
lost and taking it back is removing it. The rules are those of https://docs.docker.com/reference/compose-file/merge/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...errors import CannotTell

Compose = dict[str, Any]
# What `docker compose` reads without being told, in its order of preference, and the override that it adds to each.
_DEFAULTS = {
    "compose.yaml": "compose.override.yaml",
    "compose.yml": "compose.override.yml",
    "docker-compose.yml": "docker-compose.override.yml",
    "docker-compose.yaml": "docker-compose.override.yaml",
}
OWN_NAME = "compose.warmstall.yaml"
_HEAD = "# Written by warmstall; merged over the compose file by `docker compose`. Remove it to take the change back.\n"
# These are taken whole from the later file; other lists are appended to.
_WHOLE = ("command", "entrypoint", "test")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values only; Compose's own tags (!reset, !override) and any other are read as what they stand before."""


def _untagged(loader: _Loader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _untagged)


def read_compose(text: str, path: str = "the compose file") -> Compose:
    """A compose file as plain values; variables such as ${TAG} stay as they are written.

    Raises CannotTell when it is no YAML, or no compose file.

    >>> read_compose("services: {store: {image: 'chromadb/chroma:1.0.20'}}")["services"]["store"]["image"]
    'chromadb/chroma:1.0.20'
    """
    try:
        found = yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader: plain values only
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        at = getattr(error, "problem_mark", None)
        where = f", line {at.line + 1}" if at else ""
        raise CannotTell(f"{path} is not YAML{where}; `docker compose config` says what is wrong with it.") from error
    services = found.get("services") if isinstance(found, dict) else None
    if not isinstance(services, dict) or not all(isinstance(one, (dict, type(None))) for one in services.values()):
        raise CannotTell(f"{path} has no services; expected a compose file.")
    return dict(found)


def merged(files: Sequence[Compose]) -> Compose:
    """What several compose files are together, the later over the earlier.

    >>> base = {"services": {"store": {"volumes": ["old:/data", "etc:/etc/store"]}}}
    >>> merged([base, {"services": {"store": {"volumes": ["new:/data"]}}}])["services"]["store"]["volumes"]
    ['etc:/etc/store', 'new:/data']
    """
    whole: Compose = {}
    for file in files:
        whole = _over(whole, file)
    return whole


def _over(base: Mapping[str, Any], later: Mapping[str, Any]) -> Compose:
    whole = dict(base)
    for key, value in later.items():
        before = whole.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            whole[key] = _over(before, value)
        elif isinstance(before, list) and isinstance(value, list) and key not in _WHOLE:
            taken = {_target(one) for one in value} if key == "volumes" else set()
            whole[key] = [one for one in before if key != "volumes" or _target(one) not in taken] + list(value)
        elif value is not None or key not in whole:
            whole[key] = value
    return whole


def service_in(compose: Compose, service: str) -> Compose:
    """One service; raises CannotTell with the names that there are."""
    found = compose["services"].get(service)
    if not isinstance(found, dict):
        names = ", ".join(str(name) for name in compose["services"])[:200]
        raise CannotTell(f"The compose file has no service {service}; there are {names}.")
    return found


def volume_at(compose: Compose, service: str, path: str) -> str:
    """The named volume that a service has at a path, or nothing."""
    for entry in service_in(compose, service).get("volumes") or []:
        source = _source(entry)
        if _target(entry) == path.rstrip("/") and _NAME.fullmatch(source) and source in (compose.get("volumes") or {}):
            return source
    return ""


def override_text(
    base: Compose,
    service: str,
    environment: Mapping[str, str] | None = None,
    volumes: Mapping[str, str] | None = None,
    memory_limit_bytes: int = 0,
) -> str:
    """An override file for one service: variables, named volumes by their path in the container, a memory limit.

    The limit stands where the base has its own, because Compose refuses two that differ. Raises CannotTell when the
    base has no such service.

    >>> print(override_text({"services": {"store": {}}}, "store", volumes={"/data": "store-data"}).partition("\\n")[2])
    services:
      store:
        volumes:
        - store-data:/data
    volumes:
      store-data: {}
    <BLANKLINE>
    """
    own = service_in(base, service)
    change: Compose = {}
    if environment:
        # A dollar sign begins a variable of Compose, unless it is doubled.
        change["environment"] = {name: value.replace("$", "$$") for name, value in sorted(environment.items())}
    if volumes:
        change["volumes"] = [f"{name}:{path}" for path, name in sorted(volumes.items())]
    if memory_limit_bytes:
        limits = ((own.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        if "memory" in limits:
            change["deploy"] = {"resources": {"limits": {"memory": str(memory_limit_bytes)}}}
        else:
            change["mem_limit"] = memory_limit_bytes
    whole: Compose = {"services": {service: change}}
    named = sorted(set((volumes or {}).values()) - (base.get("volumes") or {}).keys())
    if named:
        whole["volumes"] = {name: {} for name in named}
    return _HEAD + str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=1000))


def added_to(previous: str | None, text: str, path: str = "the override file") -> str:
    """An override put over what an earlier one of ours holds already. Raises CannotTell when that is no compose file.

    >>> old = override_text({"services": {"s": {}}}, "s", memory_limit_bytes=1)
    >>> added_to(old, override_text({"services": {"s": {}}}, "s", memory_limit_bytes=2)).endswith("mem_limit: 2\\n")
    True
    """
    if previous is None:
        return text
    whole = merged([read_compose(previous, path), read_compose(text)])
    return _HEAD + str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=1000))


def override_path(files: Sequence[str]) -> tuple[str, bool]:
    """Where an override for these files goes, and whether `docker compose` then reads it without being told.

    >>> override_path(["/srv/rag/compose.yaml"])
    ('/srv/rag/compose.override.yaml', True)
    >>> override_path(["/srv/rag/compose.yaml", "/srv/rag/compose.override.yaml"])
    ('/srv/rag/compose.warmstall.yaml', False)
    """
    folder, name = os.path.split(files[0])
    if len(files) == 1 and name in _DEFAULTS:
        return os.path.join(folder, _DEFAULTS[name]), True
    return os.path.join(folder, OWN_NAME), False


def is_own(text: str) -> bool:
    """Whether a file is an override that was written here."""
    return text.startswith(_HEAD)


def _target(entry: Any) -> str:
    """Where in the container a volume is: of `source:/path[:ro]`, of `/path`, or of the long form."""
    if isinstance(entry, dict):
        return str(entry.get("target") or "").rstrip("/")
    words = str(entry).split(":")
    paths = [word for word in words[1:] if word.startswith("/")]
    return (paths[0] if paths else words[0]).rstrip("/")


def _source(entry: Any) -> str:
    if isinstance(entry, dict):
        return str(entry.get("source") or "") if entry.get("type", "volume") == "volume" else ""
    source, colon, _ = str(entry).partition(":")
    return source if colon else ""
