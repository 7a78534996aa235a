"""The documents that lie under some paths, and the files there that are none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import InputError
from ...parse.plain_text import printable
from .records import Found, Skipped

# What each ending is read as.
KINDS = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf",
}  # fmt: skip


def find_documents(paths: Sequence[Path]) -> tuple[list[Found], list[Skipped]]:
    """The documents, folders gone through to their bottom, in a fixed order; and what was left out, with its reason.

    A document is called by its folder as given and its path in there: `manual/setup/first.md`. Neither hidden files
    nor links to folders are followed. Raises InputError for a path that does not exist.
    """
    found: dict[str, Found] = {}
    skipped: list[Skipped] = []
    seen: set[Path] = set()
    for given in paths:
        if not given.exists():
            raise InputError(f"{printable(str(given))}: there is no such file or folder; expected documents.")
        given = given.resolve()
        base = given.parent if given.is_dir() else given.parent.parent
        for path, reason in _walk(given) if given.is_dir() else [(given, _reason(given))]:
            source = printable(path.relative_to(base).as_posix())
            if path in seen:
                continue
            seen.add(path)
            if not reason and source in found:
                reason = f"{printable(str(found[source].path.parent))} has one that is called the same"
            if reason:
                skipped.append(Skipped(source, reason))
            else:
                found[source] = Found(path, source)
    return list(found.values()), skipped


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, with why it is no document."""
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        for name in list(folders):
            path = Path(parent, name)
            if name.startswith(".") or path.is_symlink():
                folders.remove(name)
                yield path, "a link to a folder" if path.is_symlink() else "hidden"
        for name in sorted(files):
            path = Path(parent, name)
            yield path, "hidden" if name.startswith(".") else _reason(path)
    for error in unreadable:
        yield Path(error.filename), f"cannot be read ({error.strerror})"


def _reason(path: Path) -> str:
    """Why a file is no document; empty where it is one."""
    ending = path.suffix.lower()
    if ending not in KINDS:
        return f"not a kind that is read ({' '.join(sorted(KINDS))})"
    try:
        # A pipe or a device with the name of a document would never end.
        return "" if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
