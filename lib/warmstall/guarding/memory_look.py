"""The memory of a host now: one look, and whether several of them show that it runs short.

One look cannot tell a gradient: swap in use and counters since boot are history. What tells is what went to swap,
and what became of available memory, between looks. Tasks that stand still (PSI) and macOS's own verdict are told by
one look already. The full judgement, over any series, is `observed.memory.pressure`; this one needs no table, so that
a client can afford it between two requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..collect.commands import COMMANDS
from ..collect.memory import LINUX_FILES
from ..errors import CannotTell
from ..host import Host
from ..parse.linux_memory import parse_linux_memory
from ..parse.macos_memory import parse_macos_memory
from ..parse.vm_stat import parse_vm_stat

_TIMEOUT_S = 3.0
# As in observed.memory, which says why: a test compares them. Shares of all memory; a fall is one of an order of
# magnitude; stalls are percent of the last ten seconds; macOS warns at level 2.
SWAPPED_SHARE = 0.01
AVAILABLE_SHARE = 0.1
FALL = 10.0
STALLED_PERCENT = 10.0
WARNING_LEVEL = 2
# What went to swap longer ago than this is history.
WINDOW_S = 60.0


@dataclass(frozen=True)
class Look:
    """One look: rows of the memory table, at a UTC time on the host's own clock."""

    at: datetime
    rows: tuple[dict[str, Any], ...]

    def number(self, name: str) -> float | None:
        """A column of whichever source told it."""
        return next((float(row[name]) for row in self.rows if row.get(name) is not None), None)

    @property
    def total_bytes(self) -> float | None:
        return self.number("total_bytes")

    @property
    def available_bytes(self) -> float | None:
        return self.number("available_bytes")

    @property
    def swapped_out_bytes(self) -> float | None:
        """Since boot."""
        pages, page_bytes = self.number("swapouts"), self.number("page_bytes")
        if not pages or page_bytes is None:
            return 0.0 if pages == 0 else None
        return pages * page_bytes

    @property
    def stalled_percent(self) -> float | None:
        """Of ten seconds, how long all tasks stood still for want of memory; some tasks where only that is told."""
        full = self.number("psi_full_avg10")
        return self.number("psi_some_avg10") if full is None else full


def look_at(host: Host, now: datetime | None = None) -> Look:
    """The memory of a host now, `now` being the time there.

    Raises CannotTell where it cannot be read, as on Windows.

    >>> from warmstall.host import LocalHost
    >>> look_at(LocalHost()).available_bytes > 0
    True
    """
    if host.system == "Linux":
        texts, worst = host.read_several(list(LINUX_FILES), _TIMEOUT_S)
        headed = "\n".join(f"==> {path} <==\n{text}" for path, text in texts.items())
        rows, why = parse_linux_memory(headed).tables.get("memory", []), worst.reason
    elif host.system == "Darwin":
        looked = host.run(COMMANDS["vm_stat"], _TIMEOUT_S)
        told = host.run(COMMANDS["macOS memory settings"], _TIMEOUT_S)
        rows = [*parse_vm_stat(looked.text).tables.get("memory", []),
                *parse_macos_memory(told.text).tables.get("memory", [])]  # fmt: skip
        why = looked.reason or told.reason
    else:
        rows, why = [], f"the memory of {host.system or 'an unknown system'} is not known to us"
    if not any(row["available_bytes"] is not None for row in rows):
        raise CannotTell(f"How much memory is available cannot be read: {why or 'nothing says so'}.")
    at = (now or datetime.now(UTC) + timedelta(seconds=host.ahead_s)).astimezone(UTC)
    return Look(at, tuple({**row, "at": at.replace(tzinfo=None)} for row in rows))


def shortage(looks: Sequence[Look]) -> str:
    """Why memory is short now, in one clause; empty when nothing says so. Looks are in order, the newest last.

    Short is: tasks that stand still; the system's own warning; a hundredth of memory written to swap within a
    minute; available memory that fell to a tenth of what an earlier look saw, and to less than a tenth of all.

    >>> def seen(second, available, swapouts):
    ...     row = {"total_bytes": 16e9, "available_bytes": available, "swapouts": swapouts, "page_bytes": 16384}
    ...     return Look(datetime(2026, 9, 25, 17, 58, second, tzinfo=UTC), (row,))
    >>> shortage([seen(0, 9e9, 64_000_000), seen(30, 8e9, 64_000_100)])
    ''
    >>> shortage([seen(0, 9e9, 64_000_000), seen(30, 8e9, 64_020_000)])
    '327.7 MB went to swap in 30 s'
    """
    if not looks:
        return ""
    newest, total = looks[-1], looks[-1].total_bytes or 0.0
    stalled, level = newest.stalled_percent or 0.0, newest.number("pressure_level") or 0.0
    if stalled >= STALLED_PERCENT:
        return f"tasks stood still {stalled:.0f} % of ten seconds for want of memory"
    if level >= WARNING_LEVEL:
        return f"macOS says that memory pressure is at level {level:.0f} (2 warns, 4 is critical)"
    recent = [look for look in looks if (newest.at - look.at).total_seconds() <= WINDOW_S]
    before, after = recent[0].swapped_out_bytes, newest.swapped_out_bytes
    if before is not None and after is not None and total and after - before >= SWAPPED_SHARE * total:
        return f"{size(after - before)} went to swap in {(newest.at - recent[0].at).total_seconds():.0f} s"
    most, left = max(look.available_bytes or 0.0 for look in looks), newest.available_bytes
    fell = left is not None and most >= FALL * left and most - left >= AVAILABLE_SHARE * total
    if left is not None and fell and left <= AVAILABLE_SHARE * total:
        return f"available memory fell from {size(most)} to {size(left)}"
    return ""


def size(size_bytes: float) -> str:
    """Bytes for people.

    >>> size(13.26e9), size(327.7e6)
    ('13.3 GB', '327.7 MB')
    """
    return f"{size_bytes / 1e9:,.1f} GB" if abs(size_bytes) >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"
