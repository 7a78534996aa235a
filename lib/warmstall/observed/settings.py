"""Settings, intended beside in force: what the unit's files say, and what the server was started with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..parse.environment import matters
from ..parse.ollama_settings import INSTEAD, UNSET, fault, is_read, same
from ..parse.systemd_order import effective_settings, unit_of
from ..parse.systemd_values import is_refused
from .live_processes import LiveProcesses, Row, of_host, text

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "host", "unit", "name", "intended", "intended_file", "overrode", "in_force", "in_force_from", "differs",
    "ineffective", "sentence",
)  # fmt: skip
# Kept by the parsers to tell processes apart; every environment has them.
_SPECIFIER = re.compile(r"%[A-Za-z]")
_NOT_COMPARED = frozenset(("PATH", "INVOCATION_ID"))


def settings_compared(
    settings: pandas.DataFrame, server_config: pandas.DataFrame | None = None, processes: pandas.DataFrame | None = None
) -> pandas.DataFrame:
    """One row per unit and variable: what its files intend, what they overrode, and what is in force.

    Takes the settings table; a frame with columns name and value (and host, where there are several) of the `server
    config` that the server printed; and the processes table. Columns: COLUMNS; `overrode` lists "file: value" in
    systemd's order; `differs` is empty where one side was not captured; `ineffective` tells that the setting cannot
    work wherever it is: not read by any version, a value that is not understood, a line that systemd ignores.

    >>> import pandas
    >>> row = {"host": "a", "origin": "drop-in", "subject": "o.service", "name": "OLLAMA_KEEP_ALIVE", "value": "5m",
    ...        "file": "/etc/systemd/system/o.service.d/a.conf", "position": 1, "in_force": True, "line": 2}
    >>> config = pandas.DataFrame([{"name": "OLLAMA_KEEP_ALIVE", "value": "5m0s"}])
    >>> settings_compared(pandas.DataFrame([row]), config)["sentence"][0]
    'OLLAMA_KEEP_ALIVE: a.conf says 5m, and it is in force.'
    """
    import pandas

    hosts = {row["host"] for row in settings.to_dict("records") if text(row, "host")}
    found: list[Row] = []
    for host in sorted(hosts) or [""]:
        rows = effective_settings(of_host(settings, host))
        units = {unit_of(row) for row in rows if row["origin"] != "process environment"}
        printed = _printed(server_config, host, len(hosts))
        live = LiveProcesses(rows, of_host(processes, host))
        serving = {unit_of(row) for row in rows if _is_ollamas(row)} or units or {""}
        for unit in sorted(units) or [""]:
            # One log cannot be two servers'.
            its_config = printed if serving == {unit} else {}
            found.extend(_Unit(host, unit, serving, rows, its_config, live).rows())
    return pandas.DataFrame(found, columns=list(COLUMNS))


class _Unit:
    """One unit (or container): its assignments, the environment of its server, and what that server printed."""

    def __init__(
        self, host: str, unit: str, units: set[str], rows: list[Row], config: dict[str, str], live: LiveProcesses
    ) -> None:
        self.host, self.unit, self.config, self.live = host, unit, config, live
        mine = [row for row in rows if unit_of(row) == unit and row["origin"] != "process environment"]
        self.files = sorted((row for row in mine if row["origin"] in ("unit", "drop-in")), key=lambda r: r["position"])
        self.shown = {row["name"]: row for row in mine if row["origin"] == "systemctl show"}
        self.container = {row["name"]: row for row in mine if row["origin"] == "container" and row["in_force"] is True}
        environments: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["origin"] == "process environment" and row["in_force"] is True:
                environments.setdefault(text(row, "subject"), {})[row["name"]] = text(row, "value")
        serve, _ = live.of_unit(unit, environments, units)
        self.pid = serve[0] if serve else None
        # Several processes of which none is known to be the server tell only what they agree on.
        self.environments = [environments[pid] for pid in serve]

    def rows(self) -> Iterator[Row]:
        for row in self.files:
            if why := _ignored(row):
                sentence = f"{row['name']}: systemd ignores {text(row, 'value')[:80]!r} of {_file(row)}: {why}."
                yield self._row(row["name"], row, [], None, "", True, True, sentence)
        winners = {row["name"]: row for row in self.files if row["in_force"] is True and matters(row["name"])}
        shown = {name: row for name, row in self.shown.items() if matters(name)}
        intended = {**self.container, **shown, **winners}
        names = [*intended, *(name for one in self.environments for name in one), *(name for name, _ in UNSET)]
        for name in sorted(set(names) - _NOT_COMPARED):
            yield from self._compared(name, intended.get(name))

    def _compared(self, name: str, row: Row | None) -> Iterator[Row]:
        values = {one.get(name) for one in self.environments}
        environment = next(iter(values)) if len(values) == 1 else None
        printed = self.config.get(name)
        if row is None and environment is None and (printed is None or (name, printed) not in UNSET):
            return
        value = text(row, "value") if row else None
        overrode = [each for each in self.files if each["name"] == name and each is not row and not _ignored(each)]
        in_force, source = (printed, "server config") if printed is not None else (environment, self._process())
        differs, sentence = self._judged(name, row, environment, printed, len(values) > 1)
        notes = [sentence]
        stated = value if value is not None else environment
        wrong = fault(name, stated) if stated is not None else ""
        if stated is not None and not is_read(name):
            wrong = "it is read by no version of Ollama" + (f": {INSTEAD[name]}" if name in INSTEAD else "")
        if wrong:
            notes.append(wrong)
        if row and overrode:
            notes.append(f"it overrides {_listed(overrode)}")
        yield self._row(name, row, overrode, in_force, source if in_force is not None else "", differs, bool(wrong),
                        f"{name}: {'; '.join(notes)}.")  # fmt: skip

    def _judged(
        self, name: str, row: Row | None, environment: str | None, printed: str | None, disagree: bool
    ) -> tuple[bool | None, str]:
        if row is None:
            if environment is None:
                return None, f"nothing captured sets it; the server prints {printed}: {UNSET[name, printed or '']}"
            nowhere = "nothing captured sets it" if self.files or self.shown else "what sets it was not captured"
            # An EnvironmentFile= is read when the service starts and stands in no listing.
            return None, f"{nowhere}, but {self._process()} has {environment} (from an EnvironmentFile=, or its shell)"
        value = text(row, "value")
        says = f"{_file(row)} says {value}"
        if row["origin"] in ("unit", "drop-in"):
            value = value.replace("%%", "%")
            if _SPECIFIER.search(text(row, "value").replace("%%", "")):
                return None, f"{says}, which systemd fills in; it has {printed or environment or 'not been captured'}"
        shown = self.shown.get(name)
        variables_shown = any(matters(each) for each in self.shown)
        if row["origin"] in ("unit", "drop-in") and variables_shown and (not shown or shown["value"] != value):
            has = f"has {shown['value']} loaded" if shown else "has not loaded it"
            return True, f"{says}, but systemd {has}: systemctl daemon-reload is missing, or another file overrides it"
        if printed is not None and not same(name, value, printed):
            return True, f"{says}, but the server printed {printed or 'nothing'}: {self._why()}"
        # The map is sorted: one that has both ends was not cut.
        whole = "OLLAMA_DEBUG" in self.config and "OLLAMA_ORIGINS" in self.config
        if printed is None and whole and name in _PRINTED:
            return True, f"{says}, but the server prints no such setting: its version does not read it"
        if disagree:
            return None, f"{says}; the captured processes do not agree, and which is the server is not known"
        if self.environments and environment is None:
            return True, f"{says}, but {self._process()} does not have it: {self._why()}"
        if environment is not None and not same(name, value, environment):
            return True, f"{says}, but {self._process()} has {environment}: {self._why()}"
        if environment is None and printed is None:
            log = "the server does not print it" if self.config else "its log was not captured"
            return None, f"{says}; {log}, nor was the process's environment captured, so it may not be in force"
        return False, f"{says}, and it is in force"

    def _why(self) -> str:
        return self.live.why(self.unit, self.pid or "")

    def _process(self) -> str:
        return f"process {self.pid}" if self.pid else "the process"

    def _row(
        self, name: str, row: Row | None, overrode: list[Row], in_force: str | None, source: str,
        differs: bool | None, ineffective: bool, sentence: str,
    ) -> Row:  # fmt: skip
        return {
            "host": self.host, "unit": self.unit, "name": name, "intended": text(row, "value") if row else None,
            "intended_file": _place(row), "overrode": _listed(overrode), "in_force": in_force,
            "in_force_from": source or None, "differs": differs, "ineffective": ineffective, "sentence": sentence,
        }  # fmt: skip


# Names that `server config` prints in some versions: where a complete map lacks one, that version does not know it.
_PRINTED = frozenset((
    "OLLAMA_CONTEXT_LENGTH", "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_FLASH_ATTENTION", "OLLAMA_GO_TEMPLATE",
    "OLLAMA_GPU_OVERHEAD", "OLLAMA_IGPU_ENABLE", "OLLAMA_KV_CACHE_TYPE", "OLLAMA_LOAD_TIMEOUT",
    "OLLAMA_MAX_TRANSFER_STREAMS", "OLLAMA_MAX_VRAM", "OLLAMA_MULTIUSER_CACHE", "OLLAMA_NEW_ENGINE",
    "OLLAMA_NEW_ESTIMATES", "OLLAMA_NO_CLOUD", "OLLAMA_REMOTES", "OLLAMA_SCHED_SPREAD",
))  # fmt: skip


def _printed(frame: pandas.DataFrame | None, host: str, hosts: int) -> dict[str, str]:
    rows = [] if frame is None else frame.to_dict("records")
    mine = [row for row in rows if text(row, "host") == host or (not text(row, "host") and hosts < 2)]
    return {text(row, "name"): text(row, "value") for row in mine}


def _is_ollamas(row: Row) -> bool:
    return row["origin"] != "process environment" and text(row, "name").startswith("OLLAMA_")


def _ignored(row: Row) -> str:
    """Why systemd ignores a line of a unit file; empty when it does not."""
    name, value = row["name"], text(row, "value")
    if name.startswith("["):
        return f"it stands in the section {name.partition(' ')[0]}"
    if name == "Environment" and value:
        return "that is no NAME=value"
    if is_refused(name, value):
        return "the word for it is infinity" if value == "unlimited" else "it does not take this value"
    return ""


def _place(row: Row | None) -> str | None:
    """The file that says it in full, for who wants to change it."""
    return (text(row, "file") or text(row, "source") or _file(row)) if row else None


def _file(row: Row) -> str:
    if row["origin"] in ("systemctl show", "container"):
        return f"{row['origin'].replace('systemctl show', 'systemctl show of')} {text(row, 'subject')}".rstrip()
    return (text(row, "file") or text(row, "source")).rpartition("/")[2] or "a drop-in"


def _listed(rows: list[Row]) -> str:
    return ", ".join(f"{_file(row)}: {text(row, 'value')}" for row in rows)
