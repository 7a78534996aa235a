"""Which column of a client's table says what: by its name, by its unit, and by what its cells hold.

The roles and their names are a table of their own, `trial_roles`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..errors import InputError
from .trial_roles import BY_NAME, OLLAMA_NAMES, ROLES, Kind
from .trial_units import unit_of
from .trial_values import UNITS_S, moment, number, seconds

SAMPLED_RECORDS = 500


_TIMED = {"wall", "ttft", "total_duration", "eval_duration", "tokens_per_s"}
_OF_A_CALL = {"model", "ttft", "prompt_tokens", "output_tokens", "tokens_per_s", "finish_reason", "total_duration"}
_OUTCOMES = {"status", "outcome", "error", "attempts"}
# What a program's log says of itself has these fields together; it is no table of calls.
_LOG_TEXT, _LOG_KIND = {"msg", "message", "log", "event"}, {"level", "severity", "levelname", "stream", "logger", "lvl"}
# What warmstall has found out about requests is nobody's record of them.
_OWN_RESULTS = {"verdict", "uncertainty_s"}
# The objects inside a record whose fields may speak for it.
_CONTAINERS = {
    "usage", "metrics", "timings", "timing", "final", "response", "result", "info", "stats", "metadata", "choices",
    "error", "error_information", "exception_info", "ollama", "llm", "request", "data", "attributes",
}  # fmt: skip
# Durations only where a unit says so: `total` may be tokens.
_ONLY_WITH_UNIT = {"total", "load", "prefill", "decode", "first_token", "queue"}
INFERENCE_PATH = re.compile(r"/(?:api/(?:generate|chat|embed)|v1/(?:chat|completions|embeddings|messages|responses))")
_RATE = re.compile(r"\b(?:tokens?|toks?|t)\s*(?:/|per)\s*(?:s|sec|second)\b", re.I)
_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Columns:
    """The columns of one table: role -> column, the unit of each duration in seconds, and what was assumed."""

    of: dict[str, str] = field(default_factory=dict)
    unit_s: dict[str, float | None] = field(default_factory=dict)
    # Further columns of text roles, for records in which the first is empty or missing.
    also: dict[str, tuple[str, ...]] = field(default_factory=dict)
    utc: frozenset[str] = frozenset()
    decimal_comma: bool = False
    inference_paths: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_trials(self) -> bool:
        """Whether these are columns of a table of calls to a model: something timed, and something of a call."""
        timed = _TIMED & self.of.keys() or {"started", "ended"} <= self.of.keys()
        call = _OF_A_CALL & self.of.keys() or self.inference_paths
        call = call or ("run_id" in self.of and _OUTCOMES & self.of.keys())
        return bool(timed and call and len(self.of) > 1)


def simple_name(name: str) -> str:
    """A column's name in small letters and underscores, its parts from nested objects behind dots.

    >>> simple_name("startTime"), simple_name("TTFT (ms)"), simple_name("Gen t/s"), simple_name("usage.promptTokens")
    ('start_time', 'ttft_ms', 'gen_tps', 'usage.prompt_tokens')
    """
    name = _RATE.sub("tps", name[:120])
    parts = (re.sub(r"[\W_]+", "_", _WORD_EDGE.sub("_", part)).strip("_").lower() for part in name.split("."))
    return ".".join(part for part in parts if part)


def split_unit(name: str) -> tuple[str, float | None]:
    """A simple name without its unit, and the unit in seconds.

    >>> split_unit("latency_ms"), split_unit("duration_sec"), split_unit("model")
    (('latency', 0.001), ('duration', 1.0), ('model', None))
    """
    base, _, unit = name.rpartition("_")
    return (base.removesuffix("_in"), UNITS_S[unit]) if base and unit in UNITS_S else (name, None)


@lru_cache(maxsize=4096)
def _ranks(column: str) -> dict[str, tuple[int, int]]:
    """The roles that a column's name fits: role -> (objects around it, place among the role's names)."""
    parts = simple_name(column).split(".")
    found: dict[str, tuple[int, int]] = {}
    for depth in range(len(parts)):
        if depth and parts[depth - 1] not in _CONTAINERS:
            break
        name = "_".join(parts[depth:])
        base = split_unit(name)[0]
        as_duration = [base] if base != name else [] if name in _ONLY_WITH_UNIT else [name]
        as_moment = [base, name.removesuffix("_utc").removesuffix("_gmt")]
        for role in ROLES:
            names = {"duration": as_duration, "moment": as_moment}.get(role.kind, [name])
            places = [role.names.index(candidate) for candidate in names if candidate in role.names]
            if places and role.name not in found:
                found[role.name] = (depth, min(places))
    return found


def recognise(
    columns: Sequence[str],
    records: Sequence[Mapping[str, Any]] = (),
    mapping: Mapping[str, str] | None = None,
    decimal_comma: bool = False,
) -> Columns:
    """The roles of a table's columns, from their names and, where records are given, from their cells.

    `mapping` (role -> column, such as `{"started": "claimed_at", "wall_ms": "latency_ms"}`) overrides both.
    Raises InputError when it names an unknown role or column.

    >>> found = recognise(["run_id", "status", "claimed_at", "completed_at", "latency_ms", "output_tokens"])
    >>> found.of["started"], found.of["wall"], found.unit_s["wall"], found.is_trials
    ('claimed_at', 'latency_ms', 0.001, True)
    """
    stated, stated_units = _stated(columns, mapping or {})
    sample = records[:SAMPLED_RECORDS]
    found, free = dict(stated), [column for column in columns if column not in stated.values()]
    for role in ROLES:
        if role.name in found:
            continue
        ranked = [(rank, place) for place, column in enumerate(free) if (rank := _ranks(column).get(role.name))]
        for _, place in sorted(ranked):
            if _fits(role.kind, [record.get(free[place]) for record in sample], decimal_comma):
                found[role.name] = free.pop(place)
                break
    if not {"started", "ended", "at"} & found.keys():
        found |= _times_by_content(free, sample)
    simple = {simple_name(column).rpartition(".")[2] for column in columns}
    if not stated and ((simple & _LOG_TEXT and simple & _LOG_KIND) or simple >= _OWN_RESULTS):
        return Columns()
    # Of a bare header the benefit of the doubt: its rows are looked at next.
    inference = "path" in found and (not sample or any(_is_inference(record, found["path"]) for record in sample))
    utc = frozenset(role for role, column in found.items() if simple_name(column).endswith(("_utc", "_gmt")))
    units, notes = _units(found, stated_units, sample, decimal_comma)
    also = {
        role.name: tuple(sorted((c for c in free if role.name in _ranks(c)), key=lambda c: _ranks(c)[role.name]))
        for role in ROLES
        if role.kind == "text" and role.name in found and role.name not in stated
    }
    return Columns(found, units, also, utc, decimal_comma, inference, notes)


def _is_inference(record: Mapping[str, Any], column: str) -> bool:
    return bool(INFERENCE_PATH.search(str(record.get(column))[:300]))


def _fits(kind: Kind, cells: list[Any], decimal_comma: bool) -> bool:
    """Whether most cells that hold anything hold what the role needs."""
    cells = [cell for cell in cells if cell is not None and (not isinstance(cell, str) or cell.strip())]
    if not cells or kind == "text":
        return all(not isinstance(cell, list) for cell in cells)
    if kind == "moment":
        good = sum(moment(cell) is not None for cell in cells)
    elif kind == "duration":
        good = sum(seconds(cell, 1e-9, decimal_comma) is not None for cell in cells)
    else:
        good = sum(isinstance(cell, list) or number(cell, decimal_comma) is not None for cell in cells)
    return 2 * good >= len(cells)


def _times_by_content(free: list[str], sample: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns of unknown name in which every cell is a written time: one is a single time, two are start and end."""
    times: dict[str, list[Any]] = {}
    for column in free:
        cells = [moment(record.get(column)) if isinstance(record.get(column), str) else None for record in sample]
        if cells and all(cells) and not str(sample[0][column]).strip().isdecimal():
            times[column] = [cell[0] for cell in cells if cell]
    if len(times) == 1:
        return {"at": next(iter(times))}
    if len(times) == 2:
        first, second = sorted(times, key=lambda column: times[column][0])
        if all(one <= other for one, other in zip(times[first], times[second], strict=True)):
            return {"started": first, "ended": second}
    return {}


def _units(
    found: dict[str, str],
    stated: dict[str, float],
    sample: Sequence[Mapping[str, Any]],
    decimal_comma: bool,
) -> tuple[dict[str, float | None], tuple[str, ...]]:
    units: dict[str, float | None] = {}
    notes: list[str] = []
    durations = [role.name for role in ROLES if role.kind == "duration" and role.name in found]
    for role in durations:
        units[role] = stated.get(role, split_unit(simple_name(found[role]).rpartition(".")[2])[1])
    unnamed = [role for role in durations if units[role] is None]
    if unnamed and sample:
        cells = {role: [record.get(column) for record in sample] for role, column in found.items() if column}
        api = [role for role in unnamed if simple_name(found[role]).rpartition(".")[2] in OLLAMA_NAMES]
        # Ollama's own first: what they say tells the unit of the others.
        for role in sorted(unnamed, key=lambda role: role not in api):
            units[role], note = unit_of(role, cells, units, api, decimal_comma)
            notes += [note] if note else []
    return units, tuple(notes)


def _stated(columns: Sequence[str], mapping: Mapping[str, str]) -> tuple[dict[str, str], dict[str, float]]:
    stated: dict[str, str] = {}
    units: dict[str, float] = {}
    for key, column in mapping.items():
        role, unit_s = role_named(key)
        if column not in columns:
            near = difflib.get_close_matches(str(column), columns, 1, 0.0)
            raise InputError(
                f'there is no column "{column}" for {key}; ' + (f'the nearest is "{near[0]}".' if near else "no table.")
            )
        stated[role] = column
        if unit_s is not None:
            units[role] = unit_s
    return stated, units


def role_named(key: str) -> tuple[str, float | None]:
    """The role that a user means by `started`, `wall_ms` or `prompt_eval_count`, and the unit that they say.

    Raises InputError with the nearest role when there is none.

    >>> role_named("wall_ms"), role_named("started_at")
    (('wall', 0.001), ('started', None))
    """
    name = simple_name(str(key))
    base, unit_s = split_unit(name)
    for candidate in (name, base):
        if candidate in BY_NAME:
            return candidate, unit_s if BY_NAME[candidate].kind == "duration" else None
        for role in ROLES:
            if candidate in role.names:
                return role.name, unit_s if role.kind == "duration" and candidate == base else None
    near = difflib.get_close_matches(base, [*BY_NAME, *(n for role in ROLES for n in role.names)], 1, 0.0)[0]
    raise InputError(f'"{key}" is no role of a trial table; the nearest is "{near}". Roles: {", ".join(BY_NAME)}.')
