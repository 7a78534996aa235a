"""The unit of a duration whose column names none: told by what else is known of the same calls, or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .trial_values import moment, number, seconds

# A model answers in 10 ms at best, and a client rarely waits a quarter of an hour: medians outside of these
# are of one unit only.
_LEAST_MS, _MOST_S = 10.0, 1000.0
_LEAST_NS = 1e6
_READINGS = (1.0, 1e-3, 1e-6, 1e-9)


def unit_of(
    role: str,
    cells: Mapping[str, Sequence[Any]],
    units: Mapping[str, float | None],
    api_roles: Sequence[str],
    decimal_comma: bool = False,
) -> tuple[float | None, str]:
    """Seconds per one of a role's numbers, and a sentence where that is assumed or cannot be told.

    `cells` are the columns by role, `units` what is known already, `api_roles` those that have the names of
    Ollama's API. Looked at in turn: those names with whole numbers above a million are nanoseconds; what start
    and end, or another duration, say of the same call; a size that only one unit can have.

    >>> unit_of("wall", {"wall": [850, 1200]}, {}, [])
    (0.001, 'wall: milliseconds, by their size')
    >>> unit_of("wall", {"wall": [61.2, 248.4]}, {}, [])
    (1.0, 'wall: seconds assumed')
    """
    found = [number(cell, decimal_comma) for cell in cells.get(role, ())]
    values = [value for value in found if value]
    if not values:
        return (1e-9 if role in api_roles else None), ""
    if role in api_roles:
        group = [value for name in api_roles for cell in cells[name] if (value := number(cell, decimal_comma))]
        if max(group) >= _LEAST_NS and all(value.is_integer() for value in group):
            return 1e-9, ""
    known = _known_walls(cells, units, decimal_comma)
    pairs = [(value, wall_s) for value, wall_s in zip(found, known, strict=False) if value and wall_s]
    if pairs and role == "wall":
        return _nearest(pairs)
    return _by_size(role, values, pairs)


def _known_walls(
    cells: Mapping[str, Sequence[Any]], units: Mapping[str, float | None], decimal_comma: bool
) -> list[float | None]:
    """Seconds of each call from start and end, else from a duration of the whole call whose unit is known."""
    if "started" in cells and "ended" in cells:
        spans = []
        for one, other in zip(cells["started"], cells["ended"], strict=True):
            begin, end = moment(one), moment(other)
            spans.append((end[0] - begin[0]).total_seconds() if begin and end else None)
        return spans
    for role in ("wall", "total_duration"):
        if units.get(role):
            return [seconds(cell, units[role], decimal_comma) for cell in cells[role]]
    return []


def _nearest(pairs: list[tuple[float, float]]) -> tuple[float | None, str]:
    """The reading under which the numbers are as long as the calls were."""
    ratio = math.log10(median(value / wall_s for value, wall_s in pairs))
    power = min((0, 3, 6, 9), key=lambda power: abs(ratio - power))
    if abs(ratio - power) > 0.5:
        return None, "wall: its unit cannot be told, it fits neither start and end nor any other duration"
    return 10.0**-power, ""


def _by_size(role: str, values: list[float], bounds: list[tuple[float, float]]) -> tuple[float | None, str]:
    middle, longest = median(values), max(values)
    limit_s = 3600.0 if role == "timeout" else _MOST_S
    if middle < _LEAST_MS or (role == "timeout" and longest <= limit_s):
        return 1.0, ""
    # A part cannot be longer than its whole.
    fitting = [unit for unit in _READINGS if all(value * unit <= wall_s * 1.1 + 0.5 for value, wall_s in bounds)]
    if bounds and role != "timeout" and 1.0 not in fitting:
        return (fitting[0], "") if fitting else (None, f"{role}: its unit cannot be told, it is longer than the call")
    if middle >= limit_s or longest >= 10 * limit_s:
        if middle < _LEAST_NS:
            return 1e-3, f"{role}: milliseconds, by their size"
        if middle >= 1e8:
            return 1e-9, f"{role}: nanoseconds, by their size"
        return None, f"{role}: microseconds or nanoseconds cannot be told apart"
    if middle >= 100 and all(value.is_integer() for value in values):
        return None, f"{role}: seconds or milliseconds cannot be told apart"
    return 1.0, f"{role}: seconds assumed"
