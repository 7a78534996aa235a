"""persist-vector-store: Put a vector store's data on a volume that its next container finds, or raise its memory limit.

Chroma or Qdrant in a container of Compose, which writes where nothing lasting is mounted: its collections are gone with
the container. Where it writes is seen, not assumed: `docker diff` shows its own files in the container's layer.

The store is stopped, so that its files are whole; they are copied to the host and checked there; Compose makes the
container anew with an override file that mounts a named volume at that place; the copy is put into the volume before
the container starts; then the store must answer with as many collections as before. Rolled back, the container is made
as it was and gets the copy back. Nothing is ever deleted: not the copy, not a volume, no file of the operator. The old
container's layer goes when Compose replaces it; from then on the copy is what there is.

Sources: https://docs.docker.com/reference/cli/docker/container/diff/ (what the layer holds, without mounts),
https://docs.docker.com/reference/cli/docker/container/cp/ (also of stopped containers; files belong to root there),
https://docs.docker.com/reference/compose-file/merge/ (volumes are merged by their place in the container),
https://cookbook.chromadb.dev/core/resources (vectors × dimensions × 4 bytes).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Literal

from ...errors import CannotTell, InputError
from ...host import Command
from ..files import file_now
from ..services.compose_file import (
    OWN_NAME,
    added_to,
    is_own,
    merged,
    override_path,
    override_text,
    read_compose,
    service_in,
    volume_at,
)
from ..step import Action, Measures, Precondition, Verified
from ..target import Target
from .recreate_container import Change, contents, steps
from .vector_store import (
    NAME,
    PLAIN_PATH,
    Container,
    Project,
    collections,
    find_container,
    heartbeat,
    stated_path,
    written_roots,
)

SETTINGS: dict[str, Any] = {
    "container": "",
    "compose_file": "",
    "volume": "",
    "data_path": "",
    "store_port": 0,
    "memory_limit_bytes": 0,
    "backup_to": "",
    "copy_deadline_s": 600.0,
    "deadline_s": 60.0,
    "tries": 5,
}
RECORDING = "vector-store"
_TIMEOUT_S = 20.0
_COPIES = 2  # one on the host and one in the volume
_ROOT = ("", "0", "root", "0:0", "root:root")

COMPOSE_VERSION = Command("version of Compose", ("docker", "compose", "version", "--short"))
VOLUMES = Command("names of volumes", ("docker", "volume", "ls", "--quiet"))
IMAGE_ID = Command("which image a name means", ("docker", "image", "inspect", "--format", "{{.Id}}", "--",
                                                   "{image}"))  # fmt: skip
FREE = Command("free space", ("df", "-P", "-k", "--", "{path}"))


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """Look at the container, find out where it writes, and say what a run would do."""
    container = find_container(target, str(settings["container"]))
    path, data = _data(target, container, str(settings["data_path"]))
    moves, wanted_bytes = data.state == "met", int(settings["memory_limit_bytes"])
    memory = _memory(target, container, wanted_bytes, moves)
    acts = moves or (memory.state == "met" and wanted_bytes > 0)
    told = f"{container.name} ({container.image[:100]})"
    seen = (_running(container, acts), data, memory)
    if container.project is None:
        there = _no_compose(container, path, moves)
        return Action(f"{told} was not made by Compose.", _relevant((*seen, there) if acts else seen, acts))
    change = _change(target, container, container.project, path, settings, moves)
    written = is_own(file_now(target, change.override) or "")
    if not acts and not written:
        return Action(f"{told} is left as it is.", _relevant(seen, False))
    # Where our file stands, the steps are told too: they are done, or a run that was cut short goes on with them.
    todo = steps(change)
    preconditions: tuple[Precondition, ...] = (*seen, *_before_acting(target, change, moves))
    if acts and (reason := _only_by_hand(target, container)):
        preconditions += (Precondition("by hand", "met", reason),)
        todo = tuple(replace(step, apply=None, rollback=None) for step in todo)
    what = [f"is to keep its data at {path} on the volume {change.volume}"] * bool(change.volume)
    what += [f"is to have {wanted_bytes:,} bytes of memory"] * bool(wanted_bytes)
    summary = f"{told} {' and '.join(what)}. {change.override}:\n{change.text}" if acts else f"{told} is as wanted."
    return Action(
        summary, _relevant(preconditions, acts), todo, lambda t: measure(t, change, max(1, int(settings["tries"]))),
        helped, _afterwards(change),
    )  # fmt: skip


def _afterwards(change: Change) -> tuple[str, ...]:
    lasts = "docker compose reads it without being told."
    if not change.read_by_default:
        lasts = "docker compose does not read it by itself: name it with -f, or in COMPOSE_FILE, every time."
    told = f"The change stands in {change.override}; {lasts}"
    if not change.volume:
        return (told,)
    return (
        told,
        f"{change.backup} is as old as the stop. Remove it once there is a backup of the volume {change.volume}.",
        f"docker diff {change.name} must show no file of the store in the container's layer again.",
    )


def _relevant(preconditions: Sequence[Precondition], acts: bool) -> tuple[Precondition, ...]:
    """When one thing is to be done, that the other is not needed is no reason to stop; it is left out."""
    return tuple(one for one in preconditions if not (acts and one.state == "not needed"))


def _running(container: Container, acts: bool) -> Precondition:
    state = container.state[:20]
    # One that was never started may have a volume that is not filled, or one that must not be filled again.
    if state == "running" or (acts and state == "exited"):
        return Precondition("running", "met", f"{container.name} is {state}.")
    return Precondition("running", "not met", f"{container.name} is {state}; start it, and look at its log: docker "
                        f"logs {container.name}")  # fmt: skip


def _data(target: Target, container: Container, given: str) -> tuple[str, Precondition]:
    """Where the store writes, and whether that outlasts the container."""
    marker, roots = container.kind.marker, sorted(set(written_roots(target, container)))
    if given and not PLAIN_PATH.fullmatch(given):
        raise InputError(f"data_path {given!r}: expected a folder of the container, such as /data.")
    if not given and len(roots) > 1:
        raise CannotTell(f"{container.name} has {marker} in {', '.join(roots)[:200]}; say which with data_path=.")
    path = posixpath.normpath(given) if given else roots[0] if roots else stated_path(container)
    if not PLAIN_PATH.fullmatch(path):
        raise CannotTell(f"{container.name} writes to {path[:100]!r}, which is no plain path.")

    def told(state: Literal["met", "not needed", "not met", "cannot tell"], sentence: str) -> tuple[str, Precondition]:
        return path, Precondition("data", state, sentence)

    if path in roots:
        mounted = ", ".join(str(one) for one in container.mounts) or "nothing"
        return told("met", f"{container.name} keeps {marker} in {path} of its own layer, which goes with the "
                    f"container; mounted is {mounted[:300]}.")  # fmt: skip
    mount = container.mount_at(path)
    if not mount:
        return told("cannot tell", f"Nothing is mounted at {path}, and the container's layer holds no {marker} there: "
                    "nothing was written yet, all is kept in memory (IS_PERSISTENT), or data_path= is to say where it "
                    "is.")  # fmt: skip
    if mount.lasts:
        return told("not needed", f"{container.name} writes to {path}, where {mount} is: the next container finds it.")
    if mount.kind == "tmpfs" or not mount.writable:
        return told("not met", f"{container.name} writes to {path}, where {mount} is. Its data cannot be copied "
                    "while it is stopped: take a snapshot by the store's own means, and change the mount.")  # fmt: skip
    return told("met", f"{container.name} writes to {path}, where {mount} is: the next container does not find it.")


def _memory(target: Target, container: Container, wanted: int, moves: bool) -> Precondition:
    limit = container.limit_bytes
    told = f"its limit is {limit:,} bytes" if limit else "it has no limit of its own"
    told = f"{container.name} was killed for want of memory, and {told}" if container.oom_killed else told
    if not wanted and container.oom_killed:
        return Precondition("memory", "met" if moves else "not met", f"{told}. To raise it, say memory_limit_bytes=: "
                            "above vectors × dimensions × 4 bytes, twice over.")  # fmt: skip
    if wanted in (0, limit):
        return Precondition("memory", "not needed", f"No other memory limit is wanted: {told}.")
    if wanted < limit:
        return Precondition("memory", "not met", f"{told}; {wanted:,} would lower it.")
    total = re.search(r"MemTotal:\s+(\d+) kB", target.host.read("/proc/meminfo", _TIMEOUT_S).text)
    if total and wanted > int(total[1]) * 1024:
        return Precondition("memory", "not met", f"{wanted:,} bytes is more than the machine has.")
    return Precondition("memory", "met", f"{wanted:,} bytes are wanted for {container.name}; {told}.")


def _no_compose(container: Container, path: str, moves: bool) -> Precondition:
    """Without Compose nobody here knows with which options the container would have to be made anew."""
    name, kept = container.name, f"./{container.name}-data"
    sentence = f"{name} has no labels of Compose, so it cannot be made anew from here."
    if moves:
        mount = shlex.quote(f"type=volume,source={name}-data,target={path}")
        sentence += (f" Run docker stop {name}; docker cp {name}:{shlex.quote(path)}/. {kept}; make it anew as it was "
                     f"made, with --mount {mount}, but by docker create; docker cp {kept}/. "
                     f"{name}:{shlex.quote(path)}; docker start {name}.")  # fmt: skip
    return Precondition("Compose", "not met", sentence)


def _change(
    target: Target, container: Container, project: Project, path: str, settings: Mapping[str, Any], moves: bool
) -> Change:  # fmt: skip
    """What is to be written and where. Raises InputError for a parameter that is no name or path, and CannotTell."""
    given = {key: str(settings[key]) for key in ("compose_file", "volume", "backup_to")}
    for key in ("compose_file", "backup_to"):
        if given[key] and not PLAIN_PATH.fullmatch(given[key]):
            raise InputError(f"{key} {given[key]!r}: expected a plain path from / on, such as /srv/rag/compose.yaml.")
    if given["volume"] and not NAME.fullmatch(given["volume"]):
        raise InputError(f"volume {given['volume']!r}: expected the name of a volume, such as chroma-data.")
    named = (given["compose_file"],) if given["compose_file"] else project.files
    texts = {file: file_now(target, file) for file in named}
    files = tuple(file for file, text in texts.items() if not is_own(text or ""))
    missing = [file for file, text in texts.items() if text is None]
    if missing or not files:
        raise CannotTell(f"Compose made {container.name} from {(missing or project.files)[0]}, which is not there; say "
                         "compose_file=.")  # fmt: skip
    base = merged([read_compose(str(texts[file]), file) for file in files])
    service_in(base, project.service)
    override, by_default = override_path(files)
    there = file_now(target, override)
    if there is not None and not is_own(there):  # the operator has one, which Compose was not told of
        override, by_default = posixpath.join(posixpath.dirname(files[0]), OWN_NAME), False
        there = file_now(target, override)
    if there is not None and not is_own(there):
        raise CannotTell(f"{override} is there and was not written by warmstall; move it away.")
    volume = given["volume"] or volume_at(base, project.service, path) or f"{project.service}-kept"
    if there is not None and not moves:  # moved already, perhaps by a run that was cut short
        moves = volume_at(merged([base, read_compose(there, override)]), project.service, path) == volume
    wanted_bytes = int(settings["memory_limit_bytes"])
    text = override_text(base, project.service, None, {path: volume} if moves else None, wanted_bytes)
    return Change(
        container, project, path, volume if moves else "", wanted_bytes, files, override, by_default,
        added_to(there, text, override),
        given["backup_to"] or posixpath.join(project.folder, f"{container.name}-copied-by-warmstall"),
        int(settings["store_port"]) or container.port, float(settings["copy_deadline_s"]),
        float(settings["deadline_s"]),
    )  # fmt: skip


def _before_acting(target: Target, change: Change, moves: bool) -> tuple[Precondition, ...]:
    """What would make the way back impossible, or bring more with it than is wanted."""
    container, found = change.container, []

    def needs(name: str, holds: bool | None, good: str, bad: str) -> None:
        states: dict[bool | None, Any] = {True: "met", False: "not met", None: "cannot tell"}
        found.append(Precondition(name, states[holds], good if holds else bad))

    needs("stays when stopped", not container.removes_itself, "It stays when it is stopped.",
          f"{container.name} was started with --rm: stopped, it is gone with its data. Copy them first: docker cp "
          f"{container.name}:{change.path} {change.backup}")  # fmt: skip
    image = target.host.run(IMAGE_ID, _TIMEOUT_S, image=container.image)
    same = image.text.strip() == container.image_id if image.outcome == "captured" else None
    needs("same image", same, f"{container.image[:100]} is still the image that it runs.",
          f"{container.image[:100]} means another image by now, or none: made anew, the store would have another "
          "version. Name the image that runs in the compose file first.")  # fmt: skip
    if not moves:
        return tuple(found)
    volume = f"{change.project.name}_{change.volume}"
    volumes = target.host.run(VOLUMES, _TIMEOUT_S)
    free = volume not in volumes.text.split() if volumes.outcome == "captured" else None
    needs("new volume", free, f"There is no volume {volume} yet.",
          f"The volume {volume} is there already and may hold other data (or docker does not tell): name another one "
          "with volume=.")  # fmt: skip
    needs("new copy", not contents(target, change.backup), f"{change.backup} is free for the copy.",
          f"{change.backup} holds something already; say another place with backup_to=.")  # fmt: skip
    folder, size = posixpath.dirname(change.backup), _COPIES * container.layer_bytes
    left = re.search(r"\s(\d+)\s+\d+%\s", target.host.run(FREE, _TIMEOUT_S, path=folder).text)
    needs("room", int(left[1]) * 1024 > size if left else None, f"{folder} has room for {size:,} bytes.",
          f"{folder} is to have room for {size:,} bytes, and has not, or df does not tell; say another place with "
          "backup_to=.")  # fmt: skip
    return tuple(found)


def _only_by_hand(target: Target, container: Container) -> str:
    """Why a person has to do it, or nothing."""
    if container.user not in _ROOT:
        return (f"The store runs as user {container.user[:40]}, and what docker cp puts into a volume belongs to root: "
                "after the copy its owner is to be set as in the old container.")  # fmt: skip
    if target.host.run(COMPOSE_VERSION, _TIMEOUT_S).outcome != "captured":
        return "docker compose is not there."
    return ""


def measure(target: Target, change: Change, tries: int) -> Measures:
    """Heartbeats, and how many collections there are; nothing where the port is not known."""
    if not change.port:
        return {"success_rate": None, "wall_p50_s": None, "collections": None}
    beats = [heartbeat(target, change.container.kind, change.port) for _ in range(tries)]
    walls = [wall_s for answered, wall_s in beats if answered]
    return {
        "success_rate": len(walls) / len(beats),
        "wall_p50_s": median(walls) if walls else None,
        "collections": collections(target, change.container.kind, change.port),
    }


def helped(before: Measures, after: Measures) -> Verified:
    """It must answer as often as before, with every collection that it had."""
    rate, now = before.get("success_rate"), after.get("success_rate")
    if rate is not None and (now is None or now < rate):
        return Verified(False, f"Of its heartbeats {now or 0.0:.0%} were answered, {rate:.0%} before.")
    had, has = before.get("collections"), after.get("collections")
    if had is None:
        return Verified(None, "It is made as wanted; how many collections it had it did not tell. Look whether they "
                        "are all there.")  # fmt: skip
    if has is None or has < had:
        told = "cannot be counted" if has is None else f"are {has:.0f}"
        return Verified(False, f"Its collections {told}; they were {had:.0f}.")
    return Verified(True, f"It answers, with {has:.0f} collections; it had {had:.0f}.")
