"""Limits, intended beside effective: what the unit says, what the control group enforces, what the process has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..parse.systemd_order import drop_ins_in_order, effective_settings, unit_of
from ..parse.systemd_values import PROPERTIES, RLIMITS, is_refused
from .live_processes import LiveProcesses, Row, captured, of_host, text
from .settings import settings_compared

if TYPE_CHECKING:
    import pandas

__all__ = ["limits_compared", "settings_compared"]

COLUMNS = (
    "host", "unit", "resource", "measure", "intended_soft", "intended_hard", "intended_from", "default_soft",
    "default_hard", "cgroup", "serve_pid", "serve_soft", "serve_hard", "runner_pid", "runner_soft", "runner_hard",
    "differs", "sentence",
)  # fmt: skip
_STATED = ("unit", "drop-in", "container")
_PAGE_BYTES = 65536  # the largest page in use: the kernel rounds a memory limit down to whole pages


def limits_compared(
    limits: pandas.DataFrame, processes: pandas.DataFrame | None = None, settings: pandas.DataFrame | None = None
) -> pandas.DataFrame:
    """One row per unit and resource: intended, enforced by the control group, and in force in the live processes.

    Takes the limits table; the processes table tells serve from runner, the settings table which process is the
    unit's and whether its files were read. Columns: COLUMNS; bytes, seconds, counts or percent as `measure` says,
    infinity for unlimited; `differs` is empty where one side was not captured. Of several captures the last counts.

    >>> import pandas
    >>> unit = {"host": "a", "origin": "unit", "subject": "o.service", "resource": "MEMLOCK", "soft": float("inf"),
    ...         "hard": float("inf"), "unit": "bytes", "source": "show.txt"}
    >>> live = unit | {"origin": "process", "subject": "1436", "soft": 8388608.0, "hard": 8388608.0}
    >>> limits_compared(pandas.DataFrame([unit, live]))["sentence"][0]  # doctest: +NORMALIZE_WHITESPACE
    'MEMLOCK: the unit says infinity, the live process 1436 has 8 MiB: the service was not restarted since that was
    written, or the process does not run under this unit.'
    """
    import pandas

    rows = sorted(limits.to_dict("records"), key=captured)
    found: list[Row] = []
    for host in sorted({text(row, "host") for row in rows}):
        here = [row for row in rows if text(row, "host") == host]
        said = effective_settings(of_host(settings, host))
        live = LiveProcesses(said, of_host(processes, host))
        units = {unit_of(row) for row in here if row["origin"] in _STATED}
        for unit in sorted(units) or [""]:
            found.extend(_of_unit(host, unit, units or {""}, here, said, live))
    return pandas.DataFrame(found, columns=list(COLUMNS))


def _of_unit(
    host: str, unit: str, units: set[str], rows: list[Row], said: list[Row], live: LiveProcesses
) -> Iterator[Row]:
    pids = {text(row, "subject") for row in rows if row["origin"] == "process"}
    serve, runners = live.of_unit(unit, pids, units)
    for resource in (*RLIMITS, *PROPERTIES):
        these = [row for row in rows if row["resource"] == resource]
        intended, loaded = _intended([row for row in these if row["origin"] in _STATED and unit_of(row) == unit])
        written = [row for row in said if unit_of(row) == unit and row["name"].removeprefix("Limit") == resource]
        if intended and (files := [row for row in written if row["in_force"] is True]):
            intended = intended | {"file": text(files[-1], "file")}
        default = _last(row for row in these if row["origin"] == "manager default")
        group = _narrowest(_groups(unit, units, (row for row in these if row["origin"] == "cgroup")), "hard")
        processes = {text(row, "subject"): row for row in these if row["origin"] == "process"}
        of_serve, of_runner = (
            _narrowest((processes[pid] for pid in some if pid in processes), "soft") for some in (serve, runners)
        )
        live_rows = [row for row in (of_serve, of_runner) if row]
        if not (intended or group or live_rows):
            continue
        differs, sentence = _judged(unit, intended, loaded, default, [group] if group else [], live_rows, runners, live)
        if refused := [row for row in written if is_refused(row["name"], row["value"])]:
            name, value, file = refused[-1]["name"], refused[-1]["value"][:60], _file(refused[-1])
            differs, sentence = True, f"{sentence}; systemd ignores {name}={value} of {file or 'its file'}"
        yield {
            "host": host, "unit": unit, "resource": resource,
            "measure": next(row["unit"] for row in (intended, group, *live_rows) if row),
            "intended_soft": _end(intended, "soft"), "intended_hard": _end(intended, "hard"),
            "intended_from": _said_in(intended),
            "default_soft": _end(default, "soft"), "default_hard": _end(default, "hard"), "cgroup": _end(group, "hard"),
            "serve_pid": text(of_serve, "subject") if of_serve else None,
            "serve_soft": _end(of_serve, "soft"), "serve_hard": _end(of_serve, "hard"),
            "runner_pid": text(of_runner, "subject") if of_runner else None,
            "runner_soft": _end(of_runner, "soft"), "runner_hard": _end(of_runner, "hard"),
            "differs": differs, "sentence": f"{resource}: {sentence}.",
        }  # fmt: skip


def _judged(
    unit: str, intended: Row | None, loaded: Row | None, default: Row | None, group: list[Row], lives: list[Row],
    runners: list[str], live: LiveProcesses,
) -> tuple[bool | None, str]:  # fmt: skip
    """Whether what is in force differs from what is intended, and a sentence of it."""
    has = [f"{_who(row, runners)} has {_amount(row)}" for row in (*group, *lives)]
    wanted = intended or default
    if wanted is None:
        return None, f"{' and '.join(has)}; no unit was captured that would say what is intended"
    says = f"{_who(wanted)} says {_amount(wanted)}"
    actual = group if wanted["resource"] in PROPERTIES else lives
    worse = [row for row in actual if not _suffices(row, wanted)]
    if loaded and not (_suffices(loaded, wanted) and _suffices(wanted, loaded)):
        loads = " and ".join([f"systemd has {_amount(loaded)} loaded", *(has if actual else [])])
        return True, (f"{says}, but {loads}: systemd has not read the file again (systemctl daemon-reload, then a "
                      "restart), or another file overrides it")  # fmt: skip
    if not actual:
        missing = "control group" if wanted["resource"] in PROPERTIES else "live process"
        return None, f"{says}; no {missing} was captured, so what is in force cannot be told"
    if wanted["unit"] != actual[0]["unit"] and not worse:
        return None, f"{says}, {' and '.join(has)}: these cannot be compared"
    if worse and intended is None:
        return None, f"{says}, {' and '.join(has)}; what the unit says was not captured"
    if worse:
        has = [f"{_who(row, runners)} has {_amount(row)}" for row in worse]
        why = live.why(unit, text(worse[0], "subject"))
        if worse[0] not in actual[:1]:
            why = "the server that started it has what is intended"
        return True, f"{says}, {' and '.join(has)}: {why}"
    raised = [row for row in actual if (row["soft"] or 0) > (wanted["soft"] or 0) and wanted["resource"] in RLIMITS]
    if raised:
        return False, f"{says}, {_who(raised[0], runners)} has {_amount(raised[0])}: it may raise its soft limit itself"
    return False, f"{says}, and {' and '.join(_who(row, runners) for row in actual)} has it"


def _intended(rows: list[Row]) -> tuple[Row | None, Row | None]:
    """What holds by systemd's order of files, and what systemd itself shows beside a drop-in."""
    by_source = {text(row, "source"): row for row in rows if row["origin"] == "drop-in"}
    unit = _last(row for row in rows if row["origin"] != "drop-in")
    names = drop_ins_in_order(by_source)
    return (by_source[names[-1]], unit) if names else (unit, None)


def _suffices(row: Row, wanted: Row) -> bool:
    """Whether a limit is the wanted one; a process may have raised its soft limit as far as the hard one."""
    if row["unit"] != wanted["unit"]:  # a share of the memory is some amount of it
        return not math.isinf(row["hard"]) and not math.isinf(wanted["hard"])
    if wanted["resource"] in PROPERTIES:
        return _same(row["hard"], wanted["hard"], _PAGE_BYTES if wanted["unit"] == "bytes" else 1.0)
    return _same(row["hard"], wanted["hard"], 1.0) and not (
        _is_known(row["soft"]) and _is_known(wanted["soft"]) and row["soft"] < wanted["soft"]
    )


def _same(one: float, other: float, tolerance: float) -> bool:
    return not (_is_known(one) and _is_known(other)) or one == other or abs(one - other) < tolerance


def _is_known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _groups(unit: str, units: set[str], rows: Iterable[Row]) -> list[Row]:
    """What limits the unit's control group: its own limit and those of the groups above it, as last captured."""
    last = {text(row, "subject"): row for row in rows}
    own = [path for path in last if unit and unit in path.split("/")]
    if own:
        return [row for path, row in last.items() if any(f"{each}/".startswith(f"{path.rstrip('/')}/") for each in own)]
    return list(last.values()) if len(units) == 1 else []


def _last(rows: Iterable[Row]) -> Row | None:
    return next(iter(list(rows)[::-1]), None)


def _narrowest(rows: Iterable[Row], end: str) -> Row | None:
    return min((row for row in rows if _is_known(row[end])), key=lambda row: float(row[end]), default=None)


def _end(row: Row | None, end: str) -> float | None:
    return row[end] if row and _is_known(row[end]) else None


def _said_in(row: Row | None) -> str | None:
    """The file that says it, else the origin."""
    return (text(row, "file") or text(row, "source") or text(row, "origin")) if row else None


def _file(row: Row) -> str:
    return (text(row, "file") or text(row, "source")).rpartition("/")[2]


def _who(row: Row, runners: Iterable[str] = ()) -> str:
    subject = text(row, "subject")
    if row["origin"] == "process":
        return f"the {'runner' if subject in runners else 'live process'} {subject}".rstrip()
    named = {"unit": "the unit", "container": f"the container {subject}", "cgroup": "the control group",
             "manager default": "the manager's default"}  # fmt: skip
    return named.get(row["origin"], f"the drop-in {_file(row)}".rstrip())


def _amount(row: Row) -> str:
    """Soft and hard limit as people write them; one number where they are the same.

    >>> _amount({"soft": 1024.0, "hard": 524288.0, "unit": "files"}), _amount({"soft": 2**23, "hard": 2**23,
    ...                                                                         "unit": "bytes"})
    ('1024 (hard limit 524288)', '8 MiB')
    """
    soft, hard = row["soft"], row["hard"]
    if not _is_known(soft) or soft == hard:
        return _number(hard, row["unit"])
    if not _is_known(hard):
        return f"{_number(soft, row['unit'])} (soft limit)"
    return f"{_number(soft, row['unit'])} (hard limit {_number(hard, row['unit'])})"


def _number(value: float, unit: str) -> str:
    if math.isinf(value):
        return "infinity"
    if unit == "percent":
        return f"{value:g} %"
    for power, name in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if unit == "bytes" and value >= 2**power:
            return f"{round(value / 2**power, 2):g} {name}"
    return f"{value:.0f}"
