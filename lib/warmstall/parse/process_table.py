"""Tables of processes: `ps aux`, `ps -ef` and `ps -eo …` of Linux and macOS, and `systemctl status`."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any

from .parsed import Parsed
from .process_roles import role_of
from .tolerant import asctime, blank, capture_lines, number, whole
from .unit_status import add_unit_status

_INTEGER = r"\d{1,19}|-"
_CLOCK = r"(?:(?:\d{1,9}-)?\d{1,9}:)?\d{1,9}:\d\d(?:\.\d{1,9})?|\d{1,12}|-"
_LOCAL_TIME = r"[A-Z][a-z]{2} +(?:[A-Z][a-z]{2} +\d{1,2}|\d{1,2} +[A-Z][a-z]{2}) \d\d:\d\d:\d\d \d{4}"
# A column of our table, a pattern of its cells, and the names that ps gives it (as keyword and as heading).
_COLUMNS: dict[str, tuple[str, str]] = {
    name: (column, pattern)
    for column, pattern, names in (
        ("pid", r"\d{1,19}", "pid"),
        ("parent_pid", _INTEGER, "ppid"),
        ("threads", _INTEGER, "nlwp thcount"),
        ("rss_kib", _INTEGER, "rss rssize rsz"),
        ("virtual_kib", _INTEGER, "vsz vsize"),
        ("cpu_percent", r"\d{1,7}(?:[.,]\d{1,3})?|-", "%cpu pcpu"),
        ("state", r"[A-Za-z?][A-Za-z<+>|]{0,9}", "stat state s"),
        ("elapsed", _CLOCK, "elapsed etime etimes"),
        ("started", rf"{_LOCAL_TIME}|\S+", "started lstart"),
        ("user", r"[\w.+$@\\-]{1,64}", "user uid euser ruser uname euid ruid"),
        ("command", "", "command args cmd comm ucmd"),
        ("", r"\d{1,7}(?:[.,]\d{1,3})?|-", "%mem pmem"),
        ("", _CLOCK, "time cputime cputimes"),
        ("", r"\?{1,2}|-|con\w*|pts/\d{1,9}|tty\S{0,9}|s\d{3}", "tty tt tname"),
        ("", r"\S*\d\S*", "start stime start_time bsdstart"),
        ("", r"\S+", "c ni nice pri rtprio psr cls class wchan pgid sess sid f flags sz group gid unit lwp"),
    )
    for name in names.split()
}
_BSD = ["user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "start", "time", "command"]
_SYSTEM_V = ["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"]
_OWN_PS = re.compile(r"(?:\S*/)?ps(?:\s|$)")
# How many of the processes whose role is unknown are kept: who else uses the memory and the cores?
_BUSIEST = 5
_LONGEST = 65536


@dataclass
class _Table:
    """One answer of ps: its columns, the line that named them, and its rows until all are read."""

    columns: list[str] = field(default_factory=list)
    heading: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


def is_process_table(lines: list[str]) -> bool:
    """Whether these lines hold a table of processes or the status of a unit.

    >>> is_process_table(["  PID USER %CPU   RSS COMMAND", " 3527 root  0.1 67544 /bin/ollama serve"])
    True
    >>> is_process_table(["The PID column of ps shows the COMMAND."])
    False
    """
    return bool(parse_process_table("\n".join(lines)).lines)


def parse_process_table(text: str) -> Parsed:
    """processes: the ones with a role, and of the others the busiest by memory and by processor.

    `cpu_percent` is what ps shows: on Linux the mean over the process's life, on macOS of its last minute.
    Where start times are shown (lstart), the line of ps itself tells when that was: `elapsed_s` and `local_at`
    come from there. memory: what `systemctl status` says of a unit of Ollama (origin `systemctl status`).

    >>> parsed = parse_process_table("$ ps -eo pid,etime,cmd | grep ollama\\n 8457  01:42:12  ollama runner --port 1")
    >>> [(row["pid"], row["role"], row["elapsed_s"]) for row in parsed.tables["processes"]]
    [(8457, 'runner', 6132.0)]
    """
    parsed = Parsed()
    table = _Table()
    lines = capture_lines(text)
    for line_number, line in enumerate([*lines, ""], 1):
        if len(line) > _LONGEST:
            continue
        if columns := _columns_of_heading(line):
            _finish(parsed, table)
            table = _Table(columns, line_number)
        elif not line.strip():
            _finish(parsed, table)
            table = _Table()
        elif row := _row(line, table.columns) or _row_without_heading(line):
            table.rows.append({"line": line_number} | row)
        elif columns := _columns_of_call(line):  # after rows: one of them may be the ps that wrote them
            _finish(parsed, table)
            table = _Table(columns)
    add_unit_status(parsed, lines)
    return parsed


def _columns_of_heading(line: str) -> list[str]:
    names = line.split() if line == line.upper() else []
    return _usable([name.lower() for name in names])


def _usable(names: list[str]) -> list[str]:
    """The names, if all are known, the process's number among them, and the command last."""
    known = all(name in _COLUMNS for name in names) and "pid" in names
    return names if known and _COLUMNS[names[-1]][0] == "command" else []


def _columns_of_call(line: str) -> list[str]:
    """Of `$ ps -eo pid,etime,cmd`: pid, etime, cmd. After it grep may have taken the heading away."""
    words = line.split("|")[0].split() if len(line) < 1000 else []
    options = words[words.index("ps") + 1 :] if "ps" in words else []
    for option, following in pairwise(options):
        if re.fullmatch(r"-?[A-Za-z]{0,9}o", option):
            return _usable([re.split("[:=]", name)[0].lower() for name in following.strip("'\"").split(",")])
    if options and re.fullmatch(r"-?[auxwf]{2,8}", options[0]) and "u" in options[0]:
        return _BSD
    return _SYSTEM_V if options and re.fullmatch(r"-[efAw]{2,8}", options[0]) and "f" in options[0] else []


def _row_without_heading(line: str) -> dict[str, Any]:
    """A line of `ps aux` or `ps -ef` that grep left alone: many cells of narrow patterns leave no doubt."""
    return _row(line, _BSD) or _row(line, _SYSTEM_V)


def _row(line: str, columns: list[str]) -> dict[str, Any]:
    """The cells by column; empty when one of them does not look like its column."""
    cells: dict[str, Any] = {}
    rest = line.strip()
    for name in columns[:-1]:
        column, pattern = _COLUMNS[name]
        found = re.match(rf"(?:{pattern})(?=\s|$)", rest)
        if not found:
            return {}
        if column:
            cells[column] = found[0]
        rest = rest[found.end() :].lstrip()
    # With `f` ps draws the tree of the processes before the command.
    command = rest.lstrip("|\\_ ")
    return cells | {"command": command} if columns and command else {}


def _finish(parsed: Parsed, table: _Table) -> None:
    """Add the rows of a table that are of interest; a heading without rows is none of ours."""
    rows = [_converted(cells) for cells in table.rows]
    if rows and table.heading:
        parsed.lines.add(table.heading)
    parsed.understood(row["line"] for row in rows)
    looked_at = next((row["started"] for row in rows if row["started"] and _OWN_PS.match(row["command"])), None)
    kept = {row["line"] for row in rows if row["role"]}
    for column in ("rss_bytes", "cpu_percent"):
        others = [row for row in rows if row[column] and not row["role"]]
        kept |= {row["line"] for row in heapq.nlargest(_BUSIEST, others, key=itemgetter(column))}
    for row in rows:
        started = row.pop("started")
        if looked_at and started:
            row |= {"local_at": looked_at, "elapsed_s": (looked_at - started).total_seconds()}
        if row["line"] in kept:
            parsed.add("processes", row.pop("line"), **row)


def _converted(cells: dict[str, Any]) -> dict[str, Any]:
    rss, virtual = whole(cells.get("rss_kib")), whole(cells.get("virtual_kib"))
    row = {
        "line": cells["line"],
        "started": asctime(cells.get("started", "")),
        "pid": whole(cells["pid"]),
        "parent_pid": whole(cells.get("parent_pid")),
        "role": role_of(cells["command"]),
        "state": cells.get("state"),
        "cpu_percent": number(cells.get("cpu_percent", "").replace(",", ".")),
        "rss_bytes": None if rss is None else whole(rss * 1024),
        "virtual_bytes": None if virtual is None else whole(virtual * 1024),
        "threads": whole(cells.get("threads")),
        "elapsed_s": _elapsed_s(cells.get("elapsed", "")),
        "user": cells.get("user"),
        "command": cells["command"],
    }
    return blank("processes") | row


def _elapsed_s(text: str) -> float | None:
    """Seconds of `[[days-]hours:]minutes:seconds`, or of plain seconds."""
    days, _, clock = text.rpartition("-")
    parts = [number(part) for part in clock.split(":")]
    if not clock or None in parts:
        return None
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + (part or 0.0)
    return seconds + 86400 * (number(days) or 0.0)
