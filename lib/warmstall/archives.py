"""An archive of captures, as somebody sends it: unpacked, then read as the folder that it holds."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from .errors import InputError
from .evidence import open_bytes, read_head, reading
from .parse.packed import archive_of
from .parse.plain_text import printable

# No collection has more files; an archive made to harm has.
_MOST_FILES = 10_000
# Room on the disk that unpacking leaves for the tables and for everybody else.
_SPARE_BYTES = 1 << 30
_MARK = ".unpacked-by-warmstall"
# Its name in the archive, its size, and what reads it.
_Member = tuple[str, int, IO[bytes]]


def unpacked(paths: list[Path], into: Path) -> list[Path]:
    """The paths, and for each archive the folder below `into` in which its captures now lie.

    zip, tar, and a tar that is compressed. Links and devices stay out, and a name that would lead elsewhere is
    taken for one below the folder. Raises InputError for what is damaged, locked by a password or too large.
    """
    kinds = [_kind_of(path) for path in paths]
    if any(kinds):
        _empty(into, paths)
    return [_unpacked(path, kind, into / str(number)) if kind else path
            for number, (path, kind) in enumerate(zip(paths, kinds, strict=True), start=1)]  # fmt: skip


def _kind_of(path: Path) -> str:
    with reading(path):
        return archive_of(read_head(path)) if path.is_file() else ""


def _empty(into: Path, paths: list[Path]) -> None:
    """A folder with nothing in it; what stands there is removed only where an earlier call has put it there."""
    if any(into.resolve() in path.resolve().parents for path in paths):
        raise InputError(f"{into}: archives are unpacked there, where one that is given lies; choose another --out.")
    if (into / _MARK).exists():
        shutil.rmtree(into)
    elif into.exists():
        raise InputError(f"{into}: archives are unpacked there, but there is something else; choose another --out.")
    into.mkdir(parents=True)
    (into / _MARK).touch()


def _unpacked(path: Path, kind: str, folder: Path) -> Path:
    folder.mkdir()
    try:
        with reading(path):
            _unpack(path, _MEMBERS[kind](path), folder)
    except (zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        raise InputError(f"{path}: the {kind} archive cannot be unpacked ({error}).") from None
    return _inner(folder)


def _unpack(path: Path, members: Iterator[_Member], folder: Path) -> None:
    for number, (name, size_bytes, content) in enumerate(members):
        if number == _MOST_FILES:
            raise InputError(f"{path}: more than {_MOST_FILES:,} files; unpack it and give the folder that matters.")
        if size_bytes > shutil.disk_usage(folder).free - _SPARE_BYTES:
            raise InputError(f"{path}: no room for its {printable(name)} of {size_bytes:,} bytes in {folder}.")
        if parts := _harmless(name):
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(content, out)


def _harmless(name: str) -> list[str]:
    """The parts of a member's name that lead below the folder; none for what macOS lays beside each file."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")]
    return [] if parts[:1] == ["__MACOSX"] else parts


def _inner(folder: Path) -> Path:
    """Most archives hold one folder of everything; `evidence` is the one in a case that names the hosts."""
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir() and inside[0].name != "evidence":
        folder = inside[0]
    return folder


def _members_of_zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with archive.open(member) as content:
                    yield member.filename, member.file_size, content


def _members_of_tar(path: Path) -> Iterator[_Member]:
    with open_bytes(path) as handle, tarfile.open(fileobj=handle, mode="r|") as archive:
        for member in archive:
            if member.isreg() and not member.issparse() and (content := archive.extractfile(member)):
                yield member.name, member.size, content


_MEMBERS: dict[str, Callable[[Path], Iterator[_Member]]] = {"zip": _members_of_zip, "tar": _members_of_tar}
