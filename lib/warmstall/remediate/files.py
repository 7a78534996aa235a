"""Files that runbooks write: whole or not at all, and put back as they were."""

from __future__ import annotations

import os

from ..errors import ActionFailed
from ..host import REMOVE, REMOVE_FOLDER
from .step import Remembered
from .target import Target

_TIMEOUT_S = 5.0


def file_now(target: Target, path: str) -> str | None:
    """A small file's text, or None when there is none. Raises ActionFailed when it cannot be read."""
    output = target.host.read(path, _TIMEOUT_S)
    if output.outcome == "captured":
        return output.text
    if output.outcome == "missing":
        return None
    raise ActionFailed(f"{path} cannot be read: {output.reason}.")


def remember_file(target: Target, path: str) -> Remembered:
    """What `restore_file` needs: the text before, and whether the folder was there."""
    folder, name = os.path.split(os.path.dirname(path))
    return {
        "path": path,
        "previous": file_now(target, path),
        "folder_was_there": bool(target.host.files(folder, name, _TIMEOUT_S)),
    }


def write_file(target: Target, path: str, text: str) -> None:
    """Replace a file at one stroke, and read it back. Raises ActionFailed with what failed."""
    _sweep(target, path)
    output = target.host.write(path, text)
    if output.outcome != "captured":
        raise ActionFailed(f"{path} was not written: {output.reason}.")
    if file_now(target, path) != text:
        raise ActionFailed(f"{path} does not hold what was written; is it a folder, or does somebody else write it?")


def _sweep(target: Target, path: str) -> None:
    """Remove what a run that was killed while it wrote has left beside the file."""
    for left in target.host.files(os.path.dirname(path), f"{os.path.basename(path)}.*.partial", _TIMEOUT_S):
        target.host.run(REMOVE, _TIMEOUT_S, path=left)


def restore_file(target: Target, remembered: Remembered) -> str:
    """Put back what was there before, or remove the file, and its folder if it was new and is empty."""
    path, previous = str(remembered["path"]), remembered["previous"]
    _sweep(target, path)
    if previous is not None:
        write_file(target, path, str(previous))
        return f"{path} holds what it held before."
    removed = target.host.run(REMOVE, _TIMEOUT_S, path=path)
    if removed.outcome != "captured":
        raise ActionFailed(f"{path} was not removed: {removed.reason}.")
    if not remembered["folder_was_there"]:
        target.host.run(REMOVE_FOLDER, _TIMEOUT_S, path=os.path.dirname(path))  # not when others have used it
    return f"{path} is gone again."
