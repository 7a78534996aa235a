"""Kernel logs: dmesg in all its time formats, `journalctl -k`, kern.log, and macOS's `log show`, as events."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from .kernel_lines import MESSAGES, XID_FAULTS, KernelMessage
from .log_times import NO_TIME, LogTime, read_time
from .parsed import Parsed
from .tolerant import capture_lines, whole
from .wrappers import is_json_wrapped, unwrap_json_lines

_HEAD_LINES = 4000
_FEWEST_STAMPED = 3
_BOOT = r"\[ {0,8}(?P<boot_s>[0-9]{1,10}\.[0-9]{6})\]"
# dmesg: seconds since boot, -T, -H, --time-format iso; with the levels of -x or the raw priority in front.
_DMESG = re.compile(
    r"(?:<[0-9]{1,3}>)?(?:[a-z]{2,8} {0,3}:[a-z]{3,7} {0,3}: )?(?:"
    + _BOOT
    + r"|\[(?P<ctime>[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})\](?! \[[a-z]{4,6}\])"
    r"|\[(?:[A-Z][a-z]{2}[ 0-9][0-9] [0-9]{2}:[0-9]{2}| {0,8}\+[0-9]{1,8}\.[0-9]{6})\]"
    r"|(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8},[0-9]{6}[+-][0-9]{2}:?[0-9]{2})) "
    r"(?:\[ {0,8}[TC][0-9]{1,9}\] )?"
)
# journald and syslog: a time, perhaps a host, `kernel:`, perhaps the time since boot.
_SYSLOG = re.compile(
    r"(?P<stamp>[A-Z][a-z]{2} {1,2}[0-9]{1,2} [0-9:.]{8,15}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,]{8,18}(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
    r"|[A-Z][a-z]{2} [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]{8,15}(?: [A-Z]{2,5})?"
    r"|[0-9]{9,10}\.[0-9]{6}|\[ {0,8}[0-9]{1,10}\.[0-9]{6}\])? ?(?:[\w.-]{1,255} )?kernel(?:\[[0-9]{1,9}\])?: "
    rf"(?:{_BOOT} )?(?:\[ {{0,8}}[TC][0-9]{{1,9}}\] )?"
)
# macOS: `log show` by default, with --style syslog, with --style compact.
_MACOS = re.compile(
    r"(?P<stamp>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3,6}(?:[+-][0-9]{4})?) {1,8}"
    r"(?:0x[0-9a-f]{1,16} +\w{1,20} +0x[0-9a-f]{1,16} +[0-9]{1,9} +(?:[0-9]{1,9} +)?|[\w.-]{1,255} {1,8})?"
    r"kernel(?:\[[0-9a-f:]{1,20}\]:? |: )(?:\([\w. -]{1,60}\) )?(?:\[[\w.:-]{1,100}\] )?"
)
_KERNEL_JSON = re.compile(r'"(?:SYSLOG_IDENTIFIER" ?: ?"kernel|_TRANSPORT" ?: ?"kernel)"')
_UNITS = {"_kb": 1024, "_mb": 1024 * 1024}
_WHOLE = ("pid", "xid", "cpu", "blocked_s")
# Where neither a time nor `kernel:` stands in front, a line has to show by itself whose it is.
_TELLING = (
    "NVRM: ", "amdgpu", "oom-kill:", "invoked oom-killer", "Killed process ", "Kill process ", "]: segfault at ",
    "traps: ", "[drm]", "blocked for more than ", "soft lockup - ", "memorystatus: killing", "low swap: killing",
)  # fmt: skip


def is_kernel_log(lines: list[str]) -> bool:
    """Whether lines of a kernel stand here, by their head or by what they say.

    >>> is_kernel_log(["[  510.762654] python invoked oom-killer: gfp_mask=0xcc0"])
    True
    >>> is_kernel_log(['time=2026-11-20T20:49:01.981Z level=INFO source=images.go:493 msg="total blobs: 14"'])
    False
    """
    stamped = 0
    for line, outer, from_kernel in _lines("\n".join(lines[:_HEAD_LINES])):
        time, message, _ = _head(line, outer if from_kernel else NO_TIME, None)
        if from_kernel or _message(message, time is None) is not None:
            return True
        # "kernel:" alone may begin a sentence.
        stamped += bool(_DMESG.match(line[:500])) or (time is not None and time != NO_TIME)
    return stamped >= _FEWEST_STAMPED


def parse_kernel_log(text: str, captured_at: datetime | None = None) -> Parsed:
    """Rows of the events table from a kernel's log.

    kernel_oom_kill: pid, process, scope (memcg: a cgroup was full; global: the machine; process: its own limit),
    constraint, cgroup, task_cgroup, invoked_by, total_vm_bytes, anon_rss_bytes, file_rss_bytes, shmem_rss_bytes;
    footprint_bytes and reason on macOS. kernel_segfault and kernel_general_protection, kernel_trap: process, pid,
    address, instruction, library, trap. kernel_gpu_fault: vendor, fault, gpu, xid, ring, process, pid, detail.
    kernel_hung_task, kernel_soft_lockup: process, pid, blocked_s.

    Seconds since boot are no time by themselves: they stand in `seconds_since_boot`. A time without year is completed
    with `captured_at` (UTC), and stands in `time_without_year` without it. `dmesg -T` is local time, and wrong by
    what the machine slept.

    >>> line = "[  510.910332] Out of memory: Killed process 42 (python) total-vm:2048kB, anon-rss:1024kB, file-rss:0kB"
    >>> (row,) = parse_kernel_log(line).tables["events"]
    >>> json.loads(row["fields"])["anon_rss_bytes"], json.loads(row["fields"])["seconds_since_boot"], row["at"]
    (1048576, 510.910332, None)
    """
    parsed = Parsed()
    pending: dict[str, Any] = {}
    first: list[tuple[int, LogTime, str]] = []

    def event(number: int, key: str, time: LogTime, shown: str, fields: dict[str, Any]) -> None:
        stamp = {"time_without_year": time.yearless} if time.yearless else {}
        clean = {name: value for name, value in {**fields, **stamp}.items() if value not in (None, "")}
        parsed.add(
            "events", number, key=key, at=time.at, before_at=None, after_at=None, fields=json.dumps(clean),
            text=shown[:2000], local_at=time.local_at,
        )  # fmt: skip

    def close() -> None:
        """A kill of which only the line before it is there: the log was cut, or lost lines."""
        if first:
            number, time, shown = first.pop()
            event(number, "kernel_oom_kill", time, shown, _oom(pending))
        pending.clear()

    for number, (line, outer, from_kernel) in enumerate(_lines(text), 1):
        time, message, seconds = _head(line, outer if from_kernel else NO_TIME, captured_at)
        known = time is not None or from_kernel
        if known:
            parsed.lines.add(number)
        found = _message(message, not known)
        if found is None:
            continue
        row, fields = found
        fields["seconds_since_boot"] = seconds
        at = time or outer
        if row.key == "oom_invoked":
            close()
            pending.update(fields)
        elif row.key in ("oom_constraint", "oom_chosen"):
            if first and pending.get("pid") != fields["pid"]:
                close()
            pending.update(fields)
            first[:] = first or [(number, at, line)]
        elif row.key == "oom_kill":
            event(number, "kernel_oom_kill", at, line, _oom({**pending, **fields}))
            pending.clear()
            first.clear()
        else:
            event(number, "kernel_oom_kill" if row.key == "jetsam_kill" else row.key, at, line, fields)
        parsed.lines.add(number)
    close()
    return parsed


def _lines(text: str) -> list[tuple[str, LogTime, bool]]:
    """Lines, the time that a journal's JSON gives them, and whether it says that the kernel wrote them."""
    raw = capture_lines(text)
    if not is_json_wrapped(raw[:50]):
        return [(line, NO_TIME, False) for line in raw]
    texts, times = unwrap_json_lines(raw)
    kernel = [bool(_KERNEL_JSON.search(line)) for line in raw]
    return [(line, read_time(at or ""), own) for line, at, own in zip(texts, times, kernel, strict=True)]


def _head(line: str, outer: LogTime, captured_at: datetime | None) -> tuple[LogTime | None, str, float | None]:
    """The time of a line of the kernel's (None where nothing shows that it is one), its message, seconds since boot."""
    start = line[:500]
    match = _SYSLOG.match(start) or _DMESG.match(start) or _MACOS.match(start)
    if match is None:
        return (outer if outer.known else None), line, None
    groups = match.groupdict()
    stamp = groups.get("stamp") or ""
    boot_s = groups.get("boot_s") or (stamp.strip("[ ]") if stamp.startswith("[") else None)
    shown = groups.get("ctime") or groups.get("iso") or ("" if stamp.startswith("[") else stamp)
    time = read_time(shown, captured_at)
    return (time if shown else outer), line[match.end() :], float(boot_s) if boot_s else None


def _message(message: str, must_tell: bool) -> tuple[KernelMessage, dict[str, Any]] | None:
    if must_tell and not any(word in message[:2000] for word in _TELLING):
        return None
    for row in MESSAGES:
        if match := row.regex.match(message[:4000]):
            return row, _fields({**row.fields, **match.groupdict()})
    return None


def _fields(groups: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in groups.items():
        if value is None:
            continue
        unit = _UNITS.get(name[-3:])
        if unit:
            fields[f"{name[:-3]}_bytes"] = whole(int(value) * unit)
        else:
            fields[name] = whole(value) if name in _WHOLE else str(value).strip()
    if "xid" in fields:
        fields["fault"] = XID_FAULTS.get(fields["xid"], f"xid_{fields['xid']}")
    if "reason" in fields:
        fields["scope"] = "process" if fields["reason"] in ("per-process-limit", "highwater") else "global"
    return fields


def _oom(fields: dict[str, Any]) -> dict[str, Any]:
    said = fields.get("scope", "")
    memcg = said.startswith("Memory cgroup") or fields.get("constraint") == "CONSTRAINT_MEMCG"
    known = memcg or said or fields.get("constraint")
    return {**fields, "scope": "memcg" if memcg else "global" if known else ""}
