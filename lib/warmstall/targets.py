"""Files of targets: TOML tables that each name a metric and what it must be; a wrong word is told with the right one.

Acceptance (`[[criteria]]`) and the objectives of health reports (`[[objectives]]`) are read by these.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from .errors import InputError, ParameterError

Direction = Literal["at most", "at least"]
Row = TypeVar("Row")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file; raises InputError where it cannot be read, ParameterError where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path.name}: it is not TOML ({error}).") from None


def checked_rows(
    said: Mapping[str, Any],
    table: str,
    one: str,
    where: str,
    row_of: Callable[[Mapping[str, Any], str], Row],
    metric_of: Callable[[Row], tuple[str, Direction]],
) -> tuple[Row, ...]:
    """The rows of `[[table]]`, each made by `row_of` from its keys and its place, such as "file.toml, criterion 2".

    Raises ParameterError for another table, for none, and for a metric and direction that are there twice.
    """
    known(said, (table,), where, "table")
    rows = said.get(table)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ParameterError(f"{where}: expected [[{table}]], each with a metric and a target.")
    found = tuple(row_of(row, f"{where}, {one} {number}") for number, row in enumerate(rows, 1))
    metrics = [metric_of(row) for row in found]
    for number, (name, direction) in enumerate(metrics):
        if (name, direction) in metrics[:number]:
            raise ParameterError(f"{where}, {one} {number + 1}: {name} {direction} is there twice.")
    return found


def known(said: Iterable[str], names: Sequence[str], where: str, what: str) -> None:
    """Raises ParameterError for the first word that is none of the names.

    >>> known(["traget"], ["metric", "target"], "acceptance.toml, criterion 1", "key")
    Traceback (most recent call last):
    warmstall.errors.ParameterError: acceptance.toml, criterion 1: there is no key 'traget'; did you mean target?
    """
    for name in said:
        if name not in names:
            near = get_close_matches(name, names, 1, 0.6)
            instead = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
            raise ParameterError(f"{where}: there is no {what} {name!r}; {instead}")


def checked_target(name: str, target: object, where: str) -> float:
    """A target as a finite number; raises ParameterError for anything else, true and false among them."""
    if isinstance(target, bool) or not isinstance(target, int | float) or not math.isfinite(target):
        raise ParameterError(f"{where}: the target of {name} is {target!r}; expected a number.")
    return float(target)


def checked_direction(direction: object, where: str) -> Direction:
    """Raises ParameterError unless it is "at most" or "at least"."""
    if direction == "at most" or direction == "at least":
        return direction
    raise ParameterError(f"{where}: direction is {direction!r}; expected at most or at least.")


def shipped_file(name: str) -> Path:
    """A file of `data/` that ships with the project: in the repository, or in the installed package.

    >>> shipped_file("acceptance.toml").is_file()
    True
    """
    package = Path(__file__).resolve().parent
    in_repository = package.parents[1] / "data" / name
    return in_repository if in_repository.is_file() else package / name
