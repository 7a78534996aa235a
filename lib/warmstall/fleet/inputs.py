"""Which hosts the inputs of a fleet name, and which files each of them has, wherever fsspec can read.

An input is a folder of hosts (one folder or log each), a glob, or a URL of fsspec. Only the hosts are listed here,
by whoever asks for a run; the files of a host are listed by the task that reads it.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, WarmstallError
from ..evidence import JOURNAL
from .names import told

# What stands beside logs and is none; and what analyses leave in a case.
_PROSE = (".md", ".html", ".ipynb")
_RESULTS = frozenset(("out", "tables", "history"))
_LOG_ENDING = re.compile(r"(\.log|\.txt|\.jsonl)?(\.(gz|zst|xz|bz2))?$")
_ROTATED = re.compile(r"^(?P<stem>.+?)(?:[-.]?(?<!\d)\d{1,3})?\.log(?:\.\d{1,3})?(?:\.(?:gz|zst|xz|bz2))?$")
# What tells one state of a file from the next, by who keeps it: object stores, then file systems.
_STAMPS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Host:
    """One host of a fleet: its name, the input that names it, and the paths of its folder or of its logs there.

    Only the input is taken for a URL. Names of hosts may look like one, and fsspec would follow a chain of them.
    """

    name: str
    given: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """A file of a host: where it is, its path within the host's evidence, and what tells its state."""

    path: str
    relative: str
    size_bytes: int
    stamp: str


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL or a plain path, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise InputError('a fleet is read with fsspec: install "warmstall[fleet]".') from None
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # of a protocol that is unknown, or whose package is missing
        raise InputError(f"{url}: {error}.") from error
    return system, str(path)


def hosts_in(inputs: Sequence[str]) -> list[Host]:
    """The hosts that the inputs name, by name. Raises InputError where there is none, or two of one name.

    What is in a folder of hosts and cannot be read stays a host: its row says so.
    """
    hosts = [Host(name, given, paths) for given in inputs for name, paths in _hosts_under(given)]
    if not hosts:
        raise InputError(f"{', '.join(inputs) or 'no input'}: expected a folder of hosts, one folder or log each.")
    named: dict[str, Host] = {}
    for host in hosts:
        if (other := named.setdefault(host.name, host)) is not host and other.paths != host.paths:
            raise InputError(
                f"two hosts are called {host.name}: {other.paths[0]} and {host.paths[0]}; name a folder above both, "
                "or a glob that tells them apart."
            )
    return sorted(named.values(), key=lambda host: host.name)


def _hosts_under(given: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    system, path = file_system(given)
    try:
        if _is_glob(path) and not system.exists(path):
            found = system.glob(path, detail=True)
            yield from _grouped([(_matched(path, one), found[one]) for one in sorted(found)])
        elif not system.exists(path):
            raise InputError(f"{given}: there is no such file or folder.")
        elif system.isfile(path):
            yield _without_ending(told(posixpath.basename(path))), (path,)
        else:
            inside = {posixpath.basename(one["name"].rstrip("/")): one for one in system.ls(path, detail=True)}
            if inside.keys() & {"evidence", "case.json"} or _is_one_host(inside):
                yield told(posixpath.basename(path.rstrip("/"))), (path,)
            else:
                yield from _grouped(sorted(inside.items()))
    except WarmstallError:
        raise
    except Exception as error:  # every file system has its own
        raise InputError(f"{given}: cannot be listed ({type(error).__name__}: {error}).") from error


def _is_one_host(inside: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a folder holds one log and other captures beside it: the evidence of one host, without a case."""
    files = [name for name, one in inside.items() if not name.startswith(".") and not name.endswith(_PROSE)]
    logs = [rotated["stem"] for name in files if (rotated := _ROTATED.match(name))]
    folders = any(one["type"] == "directory" for one in inside.values())
    return not folders and len(set(logs)) == 1 and len(files) > len(logs)


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _matched(pattern: str, path: str) -> str:
    """The parts of a path that its pattern leaves open, which tell it from the others.

    >>> _matched("/srv/*/server.log", "/srv/gpu-1/server.log"), _matched("/srv/**/*.log", "/srv/a/b/x.log")
    ('gpu-1', 'a/b/x.log')
    """
    asked, found = pattern.split("/"), path.rstrip("/").split("/")
    open_parts = [place for place, part in enumerate(asked) if _is_glob(part)]
    end = len(found) - (len(asked) - 1 - open_parts[-1])
    return "/".join(found[open_parts[0] : end])


def _grouped(entries: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each folder and log by name; the rotations of a log that is there too (server.log, server-1.log) are one."""
    entries = [(name, one) for name, one in entries if not posixpath.basename(name).startswith(".")]
    paths = {name: str(one["name"]) for name, one in entries}
    folders = {name for name, one in entries if one["type"] == "directory"}
    for name in sorted(folders):
        yield told(name), (paths[name],)
    logs = {name for name in paths if name not in folders and not name.endswith(_PROSE)}
    files: dict[str, list[str]] = defaultdict(list)
    for name in sorted(logs):
        folder, last = posixpath.split(name)
        rotated = _ROTATED.match(last)
        newest = posixpath.join(folder, f"{rotated['stem']}.log") if rotated else name
        files[newest if newest in logs else name].append(name)
    uses = Counter([*folders, *(_without_ending(name) for name in files)])
    for name, own in files.items():
        short = _without_ending(name)
        yield told(short if uses[short] == 1 else name), tuple(paths[one] for one in own)


def _without_ending(name: str) -> str:
    return _LOG_ENDING.sub("", name) or name


@dataclass(frozen=True)
class Listing:
    """The files of a host's evidence, and the file system that has them. `folder` is empty where they are logs."""

    system: Any
    folder: str
    files: tuple[File, ...]

    def here(self, scratch: Path) -> list[Path]:
        """The evidence as paths of this machine: where it lies, or copies of it in a scratch folder."""
        local = "file" in ((self.system.protocol,) if isinstance(self.system.protocol, str) else self.system.protocol)
        if local:
            return [Path(self.folder)] if self.folder else [Path(file.path) for file in self.files]
        copies = [scratch.joinpath(*_inside(file.relative)) for file in self.files]
        for file, copy in zip(self.files, copies, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            self.system.get_file(file.path, str(copy))
        return [scratch] if self.folder else copies


def _inside(relative: str) -> list[str]:
    """The parts of a path, none of which leads out of its folder or is refused by a file system."""
    return [part.replace("\x00", "%00") for part in relative.split("/") if part not in ("", ".", "..")]


def files_of(host: Host) -> Listing:
    """The files of a host's evidence, by path; results of earlier analyses are none. Raises InputError for no file."""
    found: list[File] = []
    system, folder = file_system(host.given)[0], ""
    for root in host.paths:
        folder = "" if system.isfile(root) else root
        listed = system.find(root, detail=True) if folder else {root: system.info(root)}
        for path, about in sorted(listed.items()):
            relative = posixpath.relpath(path, root) if folder else posixpath.basename(path)
            if _is_evidence(relative):
                stamp = next((f"{name} {about[name]}" for name in _STAMPS if about.get(name) is not None), "")
                found.append(File(path, relative, int(about.get("size") or 0), stamp))
    if not found:
        raise InputError(f"{host.paths[0]}: no evidence here; expected a server log such as server.log.")
    return Listing(system, folder, tuple(found))


def _is_evidence(relative: str) -> bool:
    parts = relative.split("/")
    if relative == JOURNAL.as_posix():
        return True
    hidden = any(part.startswith(".") for part in parts)
    return not (hidden or _RESULTS & set(parts[:-1]) or relative.endswith(_PROSE))
