"""The vector store's container: which one it is, where its data really are, how Compose made it, how it answers.

Where a store writes by default: Chroma to /chroma/chroma before 1.0 (PERSIST_DIRECTORY moves it) and to /data since
(CHROMA_PERSIST_PATH moves it), https://cookbook.chromadb.dev; Qdrant to /qdrant/storage
(QDRANT__STORAGE__STORAGE_PATH moves it), https://qdrant.tech/documentation/installation/. None of that is trusted
where `docker diff` shows the store's own files in the container's layer: those are where it writes.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from ...collect.commands import COMMANDS
from ...errors import CannotTell, InputError
from ...host import Command
from ..target import Target

_TIMEOUT_S = 20.0
# What Docker and Compose allow as a name; no option looks like this.
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
PLAIN_PATH = re.compile(r"(?:/[\w.@+-]+(?: [\w.@+-]+)*)+")
INSPECT = Command("container facts with its size", ("docker", "inspect", "--type", "container", "--size",
                                                    "{container}"))  # fmt: skip
DIFF = Command("what a container wrote into its own layer", ("docker", "diff", "{container}"))
# Of NAME:TAG@DIGEST with a registry's host and port before it, the number that the tag begins with.
_TAG = re.compile(r"[^@]*/[^/@:]*:v?(\d+)(?:[.@-]|$)")
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Kind:
    """One vector store: the file or folder that is always at the top of its data, its port and its endpoints."""

    name: str
    marker: str
    port: int
    heartbeats: tuple[str, ...]
    counts: tuple[str, ...]


KINDS = {
    "chroma": Kind("chroma", "chroma.sqlite3", 8000, ("/api/v2/heartbeat", "/api/v1/heartbeat"),
                   ("/api/v2/tenants/default_tenant/databases/default_database/collections_count",
                    "/api/v1/count_collections")),
    "qdrant": Kind("qdrant", "raft_state.json", 6333, ("/collections",), ("/collections",)),
}  # fmt: skip


@dataclass(frozen=True)
class Mount:
    """What is mounted in a container. `name` is that of a volume."""

    kind: str
    name: str
    path: str
    writable: bool

    @property
    def lasts(self) -> bool:
        """Whether the next container finds it again: a folder of the host, or a volume with a name."""
        return self.writable and (
            self.kind == "bind" or (self.kind == "volume" and not _ANONYMOUS.fullmatch(self.name))
        )

    def __str__(self) -> str:
        what = {"bind": "a folder of the host", "tmpfs": "a tmpfs"}.get(self.kind, "an anonymous volume")
        what = f"the volume {self.name}" if self.kind == "volume" and self.lasts else what
        return f"{what} at {self.path}" + ("" if self.writable else ", read-only")


@dataclass(frozen=True)
class Project:
    """How Compose made a container: from which files, as which service."""

    name: str
    service: str
    folder: str
    files: tuple[str, ...]
    environment_file: str


@dataclass(frozen=True)
class Container:
    """A look at one container. `limit_bytes` 0 is no limit; `port` 0 is none on the host; `layer_bytes` is its own."""

    kind: Kind
    name: str
    id: str
    image: str
    image_id: str
    state: str
    created: datetime | None
    user: str
    removes_itself: bool
    oom_killed: bool
    limit_bytes: int
    layer_bytes: int
    port: int
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    project: Project | None

    def mount_at(self, path: str) -> Mount | None:
        """The mount at a path or the nearest above it."""
        wanted = PurePosixPath(path)
        over = [one for one in self.mounts if PurePosixPath(one.path) in (wanted, *wanted.parents)]
        return max(over, key=lambda one: len(PurePosixPath(one.path).parts), default=None)


def find_container(target: Target, wanted: str = "") -> Container:
    """The container of this name, or the only one of a vector store.

    Raises InputError for what cannot be a name, CannotTell when there is none, several, or docker does not answer.
    """
    if wanted and not NAME.fullmatch(wanted):
        raise InputError(f"container {wanted!r}: expected the name of a container, such as chroma.")
    output = target.host.run(COMMANDS["containers"], _TIMEOUT_S)
    if output.outcome != "captured":
        raise CannotTell(f"docker does not tell which containers there are ({output.reason}); run this where docker "
                         "is, as a user who may ask it.")  # fmt: skip
    rows = [(str(row.get("Names", "")), str(row.get("Image", ""))) for row in _json_lines(output.text)]
    found = [name for name, image in rows if name == wanted or (not wanted and _kind_of(image, name))]
    if len(found) != 1 or not NAME.fullmatch(found[0]):
        names = ", ".join(sorted(name for name in (found or [name for name, _ in rows]) if NAME.fullmatch(name))[:8])
        expected = f"the container {wanted}" if wanted else "one container of Chroma or Qdrant"
        raise CannotTell(f"Found {len(found)}, expected {expected}; name it with container=. There are: {names}.")
    return look_at(target, found[0])


def look_at(target: Target, name: str) -> Container:
    """The container of a name. Raises CannotTell when there is none, or it is not of a store that is known here."""
    output = target.host.run(INSPECT, _TIMEOUT_S, container=name)
    try:
        told = json.loads(output.text)[0]
        return _container(told)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        why = output.reason or "docker inspect said something else than was expected"
        raise CannotTell(f"The container {name} cannot be looked at: {why}.") from error


def _container(told: Mapping[str, Any]) -> Container:
    config, host, state = told["Config"], told["HostConfig"], told["State"]
    name, image = str(told["Name"]).removeprefix("/"), str(config.get("Image", ""))
    kind = _kind_of(image, name)
    if kind is None:
        raise CannotTell(f"The container {name} runs {image[:100]}; Chroma and Qdrant are known here. For another "
                         "store copy its data out with docker cp, and mount a named volume there.")  # fmt: skip
    published = (told.get("NetworkSettings") or {}).get("Ports") or host.get("PortBindings") or {}
    ports = [str(row.get("HostPort", "")) for row in published.get(f"{kind.port}/tcp") or ()]
    mounts = tuple(Mount(str(one.get("Type", "")), str(one.get("Name") or ""),
                         posixpath.normpath(str(one.get("Destination", ""))), one.get("RW") is not False)
                   for one in told.get("Mounts") or ())  # fmt: skip
    # `docker inspect` lists a tmpfs of `--tmpfs` in another place than one of `--mount`.
    mounts += tuple(Mount("tmpfs", "", posixpath.normpath(path), True) for path in host.get("Tmpfs") or {})
    return Container(
        kind, name, str(told["Id"]), image, str(told.get("Image", "")), str(state.get("Status", "")),
        _moment(str(told.get("Created", ""))), str(config.get("User") or ""), bool(host.get("AutoRemove")),
        bool(state.get("OOMKilled")),
        int(host.get("Memory") or 0), int(told.get("SizeRw") or 0),
        next((int(port) for port in ports if port.isdigit()), 0),
        dict(entry.split("=", 1) for entry in reversed(config.get("Env") or []) if "=" in entry),
        mounts, _project(config.get("Labels") or {}),
    )  # fmt: skip


def _moment(text: str) -> datetime | None:
    try:
        # Docker writes nanoseconds; Python reads six digits.
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return at if at.tzinfo else None


def _project(labels: Mapping[str, str]) -> Project | None:
    """What Compose wrote on the container; nothing where it is not all there, or not as Compose writes it."""
    of = {key.removeprefix("com.docker.compose."): str(value) for key, value in labels.items()}
    name, service, folder = of.get("project", ""), of.get("service", ""), of.get("project.working_dir", "")
    files = tuple(posixpath.join(folder, file) for file in of.get("project.config_files", "").split(",") if file)
    environment = of.get("project.environment_file", "")
    good = NAME.fullmatch(name) and NAME.fullmatch(service) and all(map(PLAIN_PATH.fullmatch, (folder, *files)))
    if not (good and files) or (environment and not PLAIN_PATH.fullmatch(environment)):
        return None
    return Project(name, service, folder, files, environment)


def written_roots(target: Target, container: Container) -> list[str]:
    """The folders of the container's own layer in which the store keeps data. Raises CannotTell without an answer."""
    output = target.host.run(DIFF, 60.0, container=container.name)
    if output.outcome != "captured":
        raise CannotTell(f"docker diff {container.name} does not tell where data are written ({output.reason}).")
    paths = [line[2:] for line in output.text.splitlines() if line[:2] in ("A ", "C ")]
    return [posixpath.dirname(path) for path in paths if posixpath.basename(path) == container.kind.marker]


def written_in(target: Target, container: Container, folder: str) -> set[str]:
    """What the container's own layer holds under a folder, relative to it."""
    output = target.host.run(DIFF, 60.0, container=container.name)
    inside = folder.rstrip("/") + "/"
    return {line[2:].removeprefix(inside) for line in output.text.splitlines()
            if line[:2] in ("A ", "C ") and line[2:].startswith(inside)}  # fmt: skip


def stated_path(container: Container) -> str:
    """Where this image writes by its variables or, without them, by default.

    Raises CannotTell for a Chroma whose tag does not tell its version.
    """
    told = container.environment
    if container.kind.name == "qdrant":
        # Relative to /qdrant, where the image runs it.
        return posixpath.normpath(posixpath.join("/qdrant", told.get("QDRANT__STORAGE__STORAGE_PATH") or "storage"))
    tag = _TAG.match(container.image)
    before = told.get("PERSIST_DIRECTORY") or "/chroma/chroma"
    since = told.get("CHROMA_PERSIST_PATH") or "/data"
    if not tag and before != since:
        raise CannotTell(f"The tag of {container.image[:100]} does not tell its version: Chroma writes to {before} "
                         f"before 1.0 and to {since} since. Say it with data_path=.")  # fmt: skip
    return posixpath.normpath(before if tag and int(tag[1]) < 1 else since)


def heartbeat(target: Target, kind: Kind, port: int, timeout_s: float = 3.0) -> tuple[bool, float]:
    """Whether the store answers, and in which wall time."""
    wall_s = 0.0
    for endpoint in kind.heartbeats:
        row = target.ask(endpoint, timeout_s, port=port)
        wall_s = float(row["wall_s"])
        # 401: it wants a key that we do not have, and is there.
        if row["status"] in ("200", "401", "403"):
            return True, wall_s
    return False, wall_s


def collections(target: Target, kind: Kind, port: int) -> int | None:
    """How many collections the store has (of Chroma's default database), or None when it does not tell."""
    for endpoint in kind.counts:
        row = target.ask(endpoint, 10.0, port=port)
        if row["status"] != "200":
            continue
        if isinstance(row["body"], int):
            return row["body"]
        if isinstance(row["body"], dict):
            listed = (row["body"].get("result") or {}).get("collections")
            return len(listed) if isinstance(listed, list) else None
    return None


def _kind_of(*texts: str) -> Kind | None:
    return next((kind for text in texts for name, kind in KINDS.items() if name in text.lower()), None)


def _json_lines(text: str) -> Sequence[Mapping[str, Any]]:
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
