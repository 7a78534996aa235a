"""A file of NAME=value lines, as EnvironmentFile= of systemd reads them: the addresses that alerts.toml only names."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ..errors import InputError

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def read_variables(path: Path) -> dict[str, str]:
    """The variables of the file; none where there is no file.

    Raises InputError for a line that is none, without showing it, and for a file that others may read.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InputError(f"{path}: others can read these secrets; chmod 600 it.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", ";")):
            continue
        match = _LINE.fullmatch(line)
        if not match or "\\" in line:
            raise InputError(f"{path}, line {number}: expected NAME=value, without backslashes.")
        found[match[1]] = _unquoted(match[2].strip())
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
