"""A container of Compose made anew with other mounts or limits, its data carried over by way of a copy on the host.

Four steps: stop, copy, make anew with an override file, fill and start. Each is seen in what docker says afterwards.
The copy and the volume are never removed, whatever happens.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ActionFailed, CannotTell
from ...host import MAKE_FOLDER, MOVE, Command
from ..files import file_now, remember_file, restore_file, write_file
from ..step import Check, Remembered, Step, Verified
from ..target import Target
from .vector_store import Container, Project, heartbeat, look_at, written_in, written_roots

GRACE_S = 30  # what a store gets to write its files down
_START_S = 60.0
_LONGEST_RUN_S = 3600.0
_AT_ONCE_S = 1.0  # docker returns when it is done

STOP = Command("stop a container", ("docker", "stop", "-t", str(GRACE_S), "{container}"), "write")
START = Command("start a container", ("docker", "start", "{container}"), "write")
COPY = Command("copy out of or into a container", ("docker", "cp", "{source}", "{to}"), "write")
UP = Command("make a service's container", ("docker", "compose", "{project...}", "up", "--no-start", "--no-deps",
                                            "--pull", "never", "{service}"), "write")  # fmt: skip
CONFIG = Command("compose files, merged", ("docker", "compose", "{project...}", "config", "--format", "json"))
CONTENTS = Command("what a folder holds", ("find", "{path}", "-mindepth", "1"))


@dataclass(frozen=True)
class Change:
    """What is to become of one container: `volume` empty leaves its mounts, `memory_bytes` 0 its limit."""

    container: Container
    project: Project
    path: str
    volume: str
    memory_bytes: int
    files: tuple[str, ...]
    override: str
    read_by_default: bool
    text: str
    backup: str
    port: int
    copy_deadline_s: float
    deadline_s: float

    @property
    def name(self) -> str:
        return self.container.name

    def words(self, *more: str) -> list[str]:
        return project_words(self.project, (*self.files, *more))

    def is_made(self, found: Container) -> bool:
        """Whether a look at the container shows the mount and the limit that are wanted."""
        return (not self.volume or _lasts(found, self.path)) and self.memory_bytes in (0, found.limit_bytes)


def steps(change: Change) -> tuple[Step, ...]:
    """The steps in their order; where the data stay where they are, only the last two."""
    if not change.volume:
        return _make_anew(change), _start(change)
    return _stop(change), _copy(change), _make_anew(change), _start(change)


def _stop(change: Change) -> Step:
    name = change.name

    def check(target: Target) -> Check:
        found = look_at(target, name)
        if _lasts(found, change.path):
            return Check("done", "its data are on a volume already")
        return Check("needed", "running") if _runs(found) else Check("done", "not running")

    def apply(target: Target) -> str:
        must(target, STOP, GRACE_S + _START_S, container=name)
        return f"{name} has ended."

    def verify(target: Target) -> Verified:
        found = look_at(target, name)
        return Verified(_lasts(found, change.path) or not _runs(found), f"{name} is {found.state[:20]}.")

    return Step(
        "stop the store", f"Stop {name}, so that its files are whole", "stopped, its data untouched", check, apply,
        verify, lambda _: {"container": name}, start_store, (shown(STOP, container=name),),
        "everyone who retrieves, until it is started again", patience_s=_AT_ONCE_S,
    )  # fmt: skip


def _copy(change: Change) -> Step:
    source = f"{change.name}:{change.path}/."

    def check(target: Target) -> Check:
        # A copy that was cut short is made again: while the data are in the old container, they are what counts.
        if _lasts(look_at(target, change.name), change.path):
            return Check("done", "its data are on a volume already")
        return Check("needed", "not copied yet")

    def apply(target: Target) -> str:
        must(target, MAKE_FOLDER, _START_S, path=change.backup)
        must(target, COPY, change.copy_deadline_s, source=source, to=change.backup)
        return f"Copied to {change.backup}."

    def verify(target: Target) -> Verified:
        there = contents(target, change.backup)
        found = look_at(target, change.name)
        wanted = {change.container.kind.marker}
        if not _lasts(found, change.path):
            wanted |= written_in(target, found, change.path)
        if missing := sorted(wanted - there):
            return Verified(False, f"{len(missing)} of {len(wanted)} files are not in {change.backup}, the first "
                            f"{missing[0][:100]!r}.")  # fmt: skip
        return Verified(True, f"{change.backup} holds all that it should ({len(there)} files and folders).")

    look = f"find {shlex.quote(change.backup)} -name {change.container.kind.marker}"
    return Step(
        "copy the data", f"Copy {change.path} out of {change.name} to {change.backup}", f"all of it in {change.backup}",
        check, apply, verify, lambda _: {"backup": change.backup}, keep_backup,
        (shown(MAKE_FOLDER, path=change.backup), shown(COPY, source=source, to=change.backup), look),
        patience_s=_AT_ONCE_S,
    )  # fmt: skip


def _make_anew(change: Change) -> Step:
    name = change.name

    def check(target: Target) -> Check:
        as_wanted = file_now(target, change.override) == change.text
        if as_wanted and change.is_made(look_at(target, name)):
            return Check("done", "it has them")
        return Check("needed", "the override file is written" if as_wanted else "it has neither")

    def remember(target: Target) -> Remembered:
        original = look_at(target, name)
        files = original.project.files if original.project else change.files
        return {
            "container": name, "id": original.id, "service": change.project.service, "path": change.path,
            "backup": change.backup if change.volume else "", "file": remember_file(target, change.override),
            "project": project_words(change.project, files), "copy_deadline_s": change.copy_deadline_s,
        }  # fmt: skip

    def apply(target: Target) -> str:
        write_file(target, change.override, change.text)
        _check_merged(target, change)
        must(target, UP, change.copy_deadline_s, project=change.words(change.override), service=change.project.service)
        return f"{name} was made anew."

    def verify(target: Target) -> Verified:
        found = look_at(target, name)
        limit = f"a memory limit of {found.limit_bytes:,} bytes" if found.limit_bytes else "no memory limit"
        return Verified(change.is_made(found), f"It has {found.mount_at(change.path) or 'nothing'}, and {limit}.")

    wanted = [f"{change.volume} at {change.path}"] * bool(change.volume)
    wanted += [f"a memory limit of {change.memory_bytes} bytes"] * bool(change.memory_bytes)
    return Step(
        "make the container anew", f"Write {change.override} and let Compose make {name} anew, not started",
        " and ".join(wanted) or "as it is", check, apply, verify, remember, recreate_as_before,
        (f"cat > {shlex.quote(change.override)} <<'END'\n{change.text}END",
         shown(UP, project=change.words(change.override), service=change.project.service)),
        "everyone who retrieves", restarts=True, patience_s=_AT_ONCE_S,
    )  # fmt: skip


def _check_merged(target: Target, change: Change) -> None:
    """Compose itself says what the files are together: the volume is there, and other services are as before."""
    told = []
    for more in ((), (change.override,)):
        output = target.host.run(CONFIG, _START_S, project=change.words(*more))
        try:
            told.append(json.loads(output.text)["services"])
        except (ValueError, LookupError, TypeError) as error:
            raise ActionFailed(f"docker compose config does not read the files: {output.reason}.") from error
    before, after = told
    own = change.project.service
    if {key: before[key] for key in before if key != own} != {key: after[key] for key in after if key != own}:
        raise ActionFailed(f"{change.override} would change other services than {own}.")
    sources = {str(one.get("target")): str(one.get("source")) for one in after[own].get("volumes") or ()}
    if change.volume and sources.get(change.path) != change.volume:
        raise ActionFailed(f"With {change.override} Compose mounts {sources.get(change.path)} at {change.path}, not "
                           f"{change.volume}.")  # fmt: skip


def _start(change: Change) -> Step:
    name, into = change.name, f"{change.name}:{change.path}"

    def check(target: Target) -> Check:
        found = look_at(target, name)
        if not change.is_made(found):
            return Check("needed", "not made anew yet")
        return Check("done", "it runs so") if found.state == "running" else Check("needed", "not running")

    def apply(target: Target) -> str:
        # A container that ran has newer data on its volume than the copy; it is "created" until its first start.
        if change.volume and look_at(target, name).state == "created":
            must(target, COPY, change.copy_deadline_s, source=f"{change.backup}/.", to=into)
        must(target, START, _START_S, container=name)
        return f"{name} was started."

    def verify(target: Target) -> Verified:
        found = look_at(target, name)
        if found.state != "running":
            return Verified(False, f"{name} is {found.state[:20]}: docker logs {name}")
        if change.volume and change.path in written_roots(target, found):
            return Verified(False, f"{name} still writes to {change.path} of its own layer.")
        if not change.port:
            return Verified(True, f"{name} is running; its port is not published, so it was not asked.")
        answers, _ = heartbeat(target, found.kind, change.port)
        return Verified(answers, f"{name} is running and {'answers' if answers else 'does not answer'}.")

    fill = [shown(COPY, source=f"{change.backup}/.", to=into)] * bool(change.volume)
    return Step(
        "fill the volume and start" if change.volume else "start the store",
        f"Copy {change.backup} into the volume, then start {name}" if change.volume else f"Start {name}",
        "running, on its volume" if change.volume else "running", check, apply, verify, lambda _: {"container": name},
        stop_store, (*fill, shown(START, container=name)), "everyone who retrieves", patience_s=change.deadline_s,
    )  # fmt: skip


def start_store(target: Target, remembered: Remembered) -> str:
    """Undo a stop."""
    name = str(remembered["container"])
    if _runs(look_at(target, name)):
        return f"{name} is running."
    must(target, START, _START_S, container=name)
    return f"{name} was started again."


def stop_store(target: Target, remembered: Remembered) -> str:
    """Undo a start, before the container is made as it was."""
    name = str(remembered["container"])
    if _runs(look_at(target, name)):
        must(target, STOP, GRACE_S + _START_S, container=name)
    return f"{name} is stopped; its volume stays."


def keep_backup(_: Target, remembered: Remembered) -> str:
    """A copy is no change to take back: it may be all that there is."""
    return f"{remembered['backup']} stays where it is."


def recreate_as_before(target: Target, remembered: Remembered) -> str:
    """Put the compose files back, make the container from them, and give it its data: those of the volume, or the copy.

    The volume stays in any case.
    """
    name, backup, path = (str(remembered[key]) for key in ("container", "backup", "path"))
    deadline_s = float(remembered["copy_deadline_s"])
    restore_file(target, remembered["file"])
    try:
        found: Container | None = look_at(target, name)
    except CannotTell:
        found = None  # killed while Compose replaced it
    if found and found.id == remembered["id"]:
        return f"{name} had not been made anew."
    is_moved = bool(found and _lasts(found, path))
    # Of a rollback that was killed: what has been started had got its data before.
    if found and backup and found.state != "created" and not is_moved:
        return start_store(target, remembered)
    if found and _runs(found):
        must(target, STOP, GRACE_S + _START_S, container=name)
    data = _data_to_go_back_with(target, found if is_moved else None, path, backup, deadline_s) if backup else ""
    project, service = [str(word) for word in remembered["project"]], str(remembered["service"])
    must(target, UP, deadline_s, project=project, service=service)
    if data:
        again = {"source": f"{data}/.", "to": f"{name}:{path}"}
        must(target, COPY, deadline_s, **again)
        if contents(target, data) - written_in(target, look_at(target, name), path):
            raise ActionFailed(f"{name} was made as it was, but lacks data, and was not started; copy them again: "
                               f"{shown(COPY, **again)}, then {shown(START, container=name)}")  # fmt: skip
    must(target, START, _START_S, container=name)
    return f"{name} was made as it was" + (f", with its data from {data}." if data else ".")


def _data_to_go_back_with(
    target: Target, moved: Container | None, path: str, backup: str, deadline_s: float
) -> str:  # fmt: skip
    """The folder with the right data: a fresh copy of the volume, or where that is worse the copy from before.

    The volume's are right when they hold every file of the copy, or when the store has worked on them for longer than
    a run lasts: its files change, and what was written since is not to be lost. A young volume that lacks files was
    never filled.
    """
    fresh = f"{backup}-of-the-volume"
    if moved is None:
        return fresh if contents(target, fresh) else backup  # of a rollback that was killed after it had decided
    if moved.state == "created":
        return backup
    must(target, MAKE_FOLDER, _START_S, path=f"{fresh}.partial")
    must(target, COPY, deadline_s, source=f"{moved.name}:{path}/.", to=f"{fresh}.partial")
    is_old = moved.created is not None and (target.now() - moved.created).total_seconds() > _LONGEST_RUN_S
    if not is_old and not contents(target, f"{fresh}.partial") >= contents(target, backup):
        return backup
    if not contents(target, fresh):
        must(target, MOVE, _START_S, path=f"{fresh}.partial", to=fresh)
    return fresh


def project_words(project: Project, files: Sequence[str]) -> list[str]:
    """The options that name a project to `docker compose`."""
    environment = ["--env-file", project.environment_file] if project.environment_file else []
    named = ["--project-name", project.name, "--project-directory", project.folder]
    return [*named, *environment, *(word for file in files for word in ("-f", file))]


def contents(target: Target, folder: str) -> set[str]:
    """All files and folders in a folder of the host, relative to it; nothing when it is not there."""
    output = target.host.run(CONTENTS, _START_S, path=folder)
    return {line.removeprefix(folder.rstrip("/") + "/") for line in output.text.splitlines()}


def shown(command: Command, **values: str | list[str]) -> str:
    """A command as it would be typed."""
    return shlex.join(command.words(**values))


def must(target: Target, command: Command, timeout_s: float, **values: str | list[str]) -> None:
    """Run a command. Raises ActionFailed, with the command, when it does not work."""
    output = target.host.run(command, timeout_s, **values)  # type: ignore[arg-type]
    if output.outcome != "captured":
        raise ActionFailed(f"{shown(command, **values)[:300]} did not work: {output.reason}.")


def _runs(found: Container) -> bool:
    return found.state in ("running", "restarting", "paused")


def _lasts(found: Container, path: str) -> bool:
    """Whether what is written there is found again by the next container."""
    mount = found.mount_at(path)
    return bool(mount and mount.lasts)
