"""The log's text, version by version: sections of lines with fields, in the files of wording/.

A section begins with `=== name`; `$field` is filled. In front of a line may stand, each followed by `| `: `debug` (only
a debugging server says it), `if field` and `unless field`, and `for field` (consecutive lines, said that many times,
with `$layer` counting). Lines with level=DEBUG are a debugging server's too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from string import Template

# Read as a file: importlib.resources takes a runner longer to import than all else it needs.
_FOLDER = Path(__file__).with_name("wording")


class Wording:
    """What a server of one version writes.

    >>> "Listening" in "".join(Wording("0.13.5").section("start"))
    True
    """

    def __init__(self, version: str) -> None:
        self._sections = _sections(version)

    def has(self, name: str) -> bool:
        """Whether this version says anything there."""
        return bool(self._sections.get(name))

    def section(self, name: str) -> tuple[str, ...]:
        """The section as it stands in the file; nothing where this version is silent."""
        return self._sections.get(name, ())

    def lines(self, name: str, debug: bool, fields: Mapping[str, object]) -> list[str]:
        """The section's lines with their fields filled; lines of a debugging server only where asked for.

        A field `name_8` is `name` set to the right in eight columns. Raises KeyError for a field that is not given.
        """
        known = _Fields(fields)
        filled: list[str] = []
        for repeats, group in groupby(self.section(name), key=_repeats):
            lines = list(group)
            for turn in range(int(str(known[repeats])) if repeats else 1):
                known["layer"] = turn
                filled += [text for line in lines if (text := _filled(line, debug, known)) is not None]
        return filled


_PREFIX = re.compile(r"(debug|if (?P<only>\w+)|unless (?P<never>\w+)|for (?P<times>\w+))\| ?")


def _repeats(line: str) -> str:
    found = _PREFIX.match(line)
    return (found["times"] or "") if found else ""


def _filled(line: str, debug: bool, fields: _Fields) -> str | None:
    """The line with its fields, None where it is not said."""
    while prefix := _PREFIX.match(line):
        line = line[prefix.end() :]
        if prefix[1] == "debug" and not debug:
            return None
        if prefix["only"] and not fields.get(prefix["only"]):
            return None
        if prefix["never"] and fields.get(prefix["never"]):
            return None
    if " level=DEBUG " in line and not debug:
        return None
    return Template(line).substitute(fields)


class _Fields(dict[str, object]):
    def __missing__(self, key: str) -> object:
        aligned = re.fullmatch(r"(\w+)_(\d+)", key)
        if aligned is None or aligned[1] not in self:
            raise KeyError(key)
        return str(self[aligned[1]]).rjust(int(aligned[2]))


@cache
def _sections(version: str) -> dict[str, tuple[str, ...]]:
    text = _FOLDER.joinpath(f"{version}.txt").read_text(encoding="utf-8")
    sections: dict[str, tuple[str, ...]] = {}
    for part in re.split(r"^=== ", text, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        sections[name.strip()] = tuple(body.rstrip("\n").split("\n")) if body.strip("\n") else ()
    return sections
