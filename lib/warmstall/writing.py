"""Where results and state are written: a reader sees a whole file or none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to a temporary name first, so that a reader sees a whole file or none."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):  # where the folder is a file, the fault above is the one to tell
            partial.unlink(missing_ok=True)


def state_folder() -> Path:
    """What belongs to this user and to no case: `$XDG_STATE_HOME/warmstall`, or under ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "warmstall"
