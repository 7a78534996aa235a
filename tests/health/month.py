"""Thirty days of one server, hour by hour: recordings of drills laid into a calendar, with what happens to real hosts.

The recordings (`recordings/`, made by `python -m health.record`) are runs of drills: a server's log, its clients' calls
and samples. A play moves one of them to another time, in the zone of the host, summer time included. Beside the plays
`watch` looks once a minute at the API and at a memory that lives: caches, models that come and go, a backup at night.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

RECORDINGS = Path(__file__).parent / "recordings"
# Summer time begins here on 2026-03-29, in the middle of the month.
ZONE = ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 3, 10, tzinfo=UTC)
DAYS = 30
HOUR = timedelta(hours=1)
GIB = 2**30
_TOTAL = 64 * GIB
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_GIN = re.compile(r"(?<=\[GIN\] )\d{4}/\d\d/\d\d - \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Play:
    """A recording at a time; with `starts`, the server starts there, else it had been started before."""

    name: str
    at: datetime
    starts: bool = False


@dataclass(frozen=True)
class Month:
    """What happens when. Hours are counted from the first one, in UTC."""

    plays: tuple[Play, ...]
    # Hours in which the host was off: no line, no sample, no report.
    off: frozenset[int]
    # Hours in which something is wrong, and what.
    planted: dict[int, str]
    # (first hour, hours): memory goes, steadily, and comes back after it.
    leaks: tuple[tuple[int, int], ...] = ()
    seed: int = 1

    def evidence(self, folder: Path, from_at: datetime, to_at: datetime) -> Path:
        """What a collection at `to_at` finds of the time since `from_at`, as files in `folder`."""
        logs, trials, samples = [], [], []
        for play in self.plays:
            if from_at - HOUR <= play.at <= to_at:
                recorded = recording(play.name)
                logs += recorded.log(play, to_at)
                trials += recorded.trials(play, to_at)
                samples += recorded.samples(play, from_at, to_at)
        (folder / "samples").mkdir(parents=True)
        (folder / "server.log").write_text("".join(logs), encoding="utf-8")
        if trials:
            head = recording(self.plays[0].name).trials_head
            (folder / "trials.csv").write_text(head + "".join(trials), encoding="utf-8")
        (folder / "samples" / "ps.jsonl").write_text("".join(samples), encoding="utf-8")
        watched = "".join(json.dumps(sample) + "\n" for sample in self._watched(from_at, to_at))
        (folder / "samples" / "watch.jsonl").write_text(watched, encoding="utf-8")
        return folder

    def _watched(self, from_at: datetime, to_at: datetime) -> Iterator[dict[str, object]]:
        """A look a minute at the API and the memory."""
        minutes = int((to_at - from_at).total_seconds() // 60)
        for number in range(minutes + 1):
            at = from_at.replace(second=20, microsecond=0) + timedelta(minutes=number)
            hour = math.floor((at - FIRST) / HOUR)
            if hour in self.off or not from_at < at <= to_at:
                continue
            probe = {"endpoint": "/api/ps", "status": "200", "wall_s": 0.002}
            yield {"at": at.isoformat(), "rows": {"probes": [probe], "memory": [self._memory(at)]}}

    def _memory(self, at: datetime) -> dict[str, object]:
        """One look: what the day takes, what a model takes for five minutes after its use, noise, and a leak."""
        chance = random.Random(f"{self.seed} {at:%Y%m%d%H%M}")
        local = at.astimezone(ZONE)
        day = 6 + 4 * math.sin((local.hour + local.minute / 60 - 9) / 24 * 2 * math.pi)
        model = 9 if any(play.at <= at < play.at + timedelta(minutes=6) for play in self.plays) else 0
        used = (day + model + abs(chance.gauss(0, 0.4))) * GIB
        swapped = 0
        for first, hours in self.leaks:
            since_h = (at - FIRST) / HOUR - first
            if 0 <= since_h < hours:
                # All that is left is gone a little before the end; then the system swaps.
                used += since_h / (hours - 0.5) * 48 * GIB
            if since_h >= hours - 0.75 and since_h < hours:
                swapped += int((since_h - hours + 0.75) * 3600 * 4000)
        # A backup reads everything at night: free memory becomes cache, and what is available does not fall.
        cache_share = 0.9 if local.hour == 2 else 0.5
        available = max(0.6 * GIB, _TOTAL - used - 2 * GIB)
        return {
            "origin": "linux", "page_bytes": 4096, "total_bytes": _TOTAL, "available_bytes": int(available),
            "free_bytes": int(available * (1 - cache_share)), "swapouts": swapped, "swapins": 0,
            "swap_total_bytes": 8 * GIB, "swap_used_bytes": min(4096 * swapped, 8 * GIB),
        }  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """The files of one run of a drill, as lines."""

    name: str
    lines: tuple[str, ...]
    calls: tuple[str, ...]
    looks: tuple[str, ...]
    began: datetime

    @property
    def trials_head(self) -> str:
        return self.calls[0]

    def log(self, play: Play, until: datetime) -> list[str]:
        """The server's log in the host's zone; without the lines of its start, where it had started before."""
        first = 0
        if not play.starts:
            first = next(i for i, line in enumerate(self.lines) if line.startswith("[GIN]"))
        shifted = []
        at = play.at
        for line in self.lines[first:]:
            line, known = self._moved(line, play)
            at = known or at
            if at <= until:
                shifted.append(line)
        return shifted

    def trials(self, play: Play, until: datetime) -> list[str]:
        return [line for line, at in (self._moved(line, play, UTC, last=True) for line in self.calls[1:])
                if at is None or at <= until]  # fmt: skip

    def samples(self, play: Play, from_at: datetime, until: datetime) -> list[str]:
        moved = (self._moved(line, play, UTC) for line in self.looks)
        return [line for line, at in moved if at is None or from_at < at <= until]

    def _moved(
        self, line: str, play: Play, zone: ZoneInfo | object = ZONE, last: bool = False
    ) -> tuple[str, datetime | None]:
        """The line with every time in it moved, and the first of them (or the last but one, when a call ended)."""
        times: list[datetime] = []

        def iso(found: re.Match[str]) -> str:
            moved = datetime.fromisoformat(found[0].replace(" ", "T")) - self.began + play.at
            times.append(moved)
            return moved.astimezone(zone).isoformat(timespec="milliseconds")

        def gin(found: re.Match[str]) -> str:
            moved = datetime.strptime(found[0], "%Y/%m/%d - %H:%M:%S").replace(tzinfo=UTC) - self.began + play.at
            times.append(moved)
            return f"{moved.astimezone(ZONE):%Y/%m/%d - %H:%M:%S}"

        line = _GIN.sub(gin, _ISO.sub(iso, line))
        return line, (times[-1] if last else times[0]) if times else None


@cache
def recording(name: str) -> Recording:
    """One of the recordings. Their times are UTC."""
    folder = RECORDINGS / name
    log, calls, looks = (
        gzip.decompress((folder / f"{file}.gz").read_bytes()).decode("utf-8").splitlines(keepends=True)
        for file in ("server.log", "trials.csv", "ps.jsonl")
    )
    # Access lines have whole seconds: a play moves by whole seconds too.
    began = datetime.fromisoformat(_ISO.search(log[0])[0]).replace(microsecond=0)  # type: ignore[index]
    return Recording(name, tuple(log), tuple(calls), tuple(looks), began)


def calendar(
    seed: int = 1,
    planted: dict[int, str] | None = None,
    leaks: tuple[tuple[int, int], ...] = (),
    off: frozenset[int] = frozenset(),
    upgraded: int = 20 * 24 + 13,
    restarts: tuple[int, ...] = (),
) -> Month:
    """A month of office hours, evenings, weekends and silent nights, and whatever is planted in it."""
    chance = random.Random(seed)
    planted = planted or {}
    plays = []
    for hour in range(24 * DAYS):
        at = FIRST + hour * HOUR
        if hour in off:
            continue
        new = hour >= upgraded
        usual = ("healthy-new-1", "healthy-new-2") if new else ("healthy-1", "healthy-2", "healthy-3")
        local = at.astimezone(ZONE)
        office = local.weekday() < 5 and 8 <= local.hour < 19
        times = 0 if 1 <= local.hour < 5 else 2 if office else 1
        starts = hour in restarts or hour in (0, upgraded) or hour - 1 in off
        if starts and hour not in planted:
            plays.append(Play(chance.choice(usual), at + timedelta(minutes=1), starts=True))
        for number in range(times):
            minute = 8 + 24 * number + chance.uniform(0, 15)
            plays.append(Play(chance.choice(usual), at + timedelta(minutes=minute)))
        if hour in planted:
            plays.append(Play(planted[hour], at + timedelta(minutes=chance.uniform(2, 5)), starts))
    whole = [replace(play, at=play.at.replace(microsecond=0)) for play in plays]
    return Month(tuple(sorted(whole, key=lambda play: play.at)), off, planted, leaks, seed)
