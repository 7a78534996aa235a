"""Which of a host's live processes belong to which unit, and why one may not have what its unit says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]


class LiveProcesses:
    """What one host's captures tell of its units' main processes, and of the roles and parents of all others.

    >>> live = LiveProcesses([{"origin": "systemctl show", "subject": "a.service", "name": "MainPID", "value": "7"}],
    ...                      [{"pid": 9, "parent_pid": 7, "role": ""}])
    >>> live.of_unit("a.service", ["9", "7", "4"], {"a.service"})
    (['7'], ['9'])
    """

    def __init__(self, settings: Iterable[Row], processes: Iterable[Row] = ()) -> None:
        self.facts: dict[str, dict[str, str]] = {}
        self.invocations: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        self.parents: dict[str, str] = {}
        for row in settings:
            if row["origin"] == "systemctl show":
                self.facts.setdefault(text(row, "subject"), {})[row["name"]] = text(row, "value")
            elif row["origin"] == "process environment" and row["name"] == "INVOCATION_ID":
                self.invocations[text(row, "subject")] = text(row, "value")
        for row in processes:
            pid = _pid(row.get("pid"))
            self.roles[pid], self.parents[pid] = text(row, "role"), _pid(row.get("parent_pid"))

    def of_unit(self, unit: str, pids: Iterable[str], units: set[str]) -> tuple[list[str], list[str]]:
        """The serve processes of a unit and its runners, of these pids; `units` are all of the host.

        Where nothing tells whose a process is, it is taken for the unit's only if the host has no other.
        """
        pids = sorted(pids, key=lambda pid: (len(pid), pid))
        owned = [pid for pid in pids if self._owner(pid) == unit]
        if not owned and (units - {""} or {""}) == {unit}:
            owned = pids
        # The unit's main process may be a shell around the server.
        serve = [pid for pid in owned if self.roles.get(pid) == "serve"]
        serve = serve or [pid for pid in owned if pid == self.main_pid(unit)]
        runners = [pid for pid in owned if pid not in serve and self._is_runner(pid, serve)]
        unknown = [pid for pid in owned if pid not in runners and not self.roles.get(pid)]
        return serve or unknown, runners

    def main_pid(self, unit: str) -> str:
        """The unit's main process as systemd shows it; empty when it is not known or there is none."""
        pid = self.facts.get(unit, {}).get("MainPID", "")
        return "" if pid == "0" else pid

    def why(self, unit: str, pid: str) -> str:
        """Why a live process may lack what its unit says, as the end of a sentence."""
        facts = self.facts.get(unit, {})
        if facts.get("NeedDaemonReload") == "yes":
            return "the files changed and systemd has not read them again: systemctl daemon-reload, then a restart"
        main = self.main_pid(unit)
        started, current = self.invocations.get(pid, ""), facts.get("InvocationID", "")
        if main and pid and self._owner(pid) != unit and self.parents.get(pid) is not None:
            return f"it does not run under this unit, whose main process is {main}"
        if started and current and started != current:
            return "it was not started by this unit's current start"
        if main and self._owner(pid) == unit:
            return "the service was not restarted since that was written"
        return "the service was not restarted since that was written, or the process does not run under this unit"

    def _owner(self, pid: str) -> str | None:
        """The unit whose main process this is, or is an ancestor of it."""
        mains = {self.main_pid(unit): unit for unit in self.facts if self.main_pid(unit)}
        seen: set[str] = set()
        while pid and pid not in seen:
            if pid in mains:
                return mains[pid]
            seen.add(pid)
            pid = self.parents.get(pid, "")
        return None

    def _is_runner(self, pid: str, serve: list[str]) -> bool:
        return self.roles.get(pid) == "runner" or (not self.roles.get(pid) and self.parents.get(pid) in serve)


def text(row: Row, column: str) -> str:
    """A column as text; empty where there is none, whatever pandas has put in its place."""
    value = row.get(column)
    return value if isinstance(value, str) else ""


def captured(row: Row) -> str:
    """When a row was captured, in a form that sorts; empty where that is not known."""
    at = row.get("at")
    return str(at) if at is not None and at == at else ""


def of_host(frame: pandas.DataFrame | None, host: str) -> list[Row]:
    """The rows of one host, in the order in which they were captured."""
    rows = [] if frame is None else frame.to_dict("records")
    return sorted((row for row in rows if text(row, "host") == host), key=captured)


def _pid(value: object) -> str:
    return str(int(value)) if isinstance(value, (int, float)) and value == value and abs(value) < 2**63 else ""
