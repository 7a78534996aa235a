"""Is memory running out, or was it once? Counters become rates, and rates a finding with its inflection time.

Swap in use and counters since boot are history; what tells is how they move. A system that is running out writes
pages to swap at a rate that it did not have before, or its available memory falls by orders of magnitude, or its
tasks stand still waiting for memory. All of these are looked for in the same way: the stretch of the series that
holds what was out of the ordinary, with a yardstick taken from the series itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from ..schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

State = Literal["growing", "recovering", "warned", "historical", "calm", "cannot tell"]

# Most serious first.
_STATES: tuple[State, ...] = ("growing", "recovering", "warned", "historical", "calm", "cannot tell")
# An order of magnitude, between what is usual and what is not.
_ORDER = 10.0
# Every system writes a page to swap now and then. It is running out when it writes this share of its memory, and
# faster than this share in an hour.
_SWAPPED_SHARE = 0.01
_SWAPPED_SHARE_PER_HOUR = 0.02
# What falls by less than this share of memory, or leaves more than it, is a program like others. A compressor that
# holds so much of memory is worth a word.
_SHARE = 0.1
_ROWS_OF_A_PAGE = 20
_PASSES = 5
# What vm_stat can be asked for, and times that a clock can have shown.
_INTERVALS_S = (1e-3, 1e6)
_TIMES = ("1980-01-01", "2200-01-01")
_LIMITS = ("limit_bytes", "high_bytes")
# Share of the time that all tasks (some tasks, where only that is known) stood still for want of memory.
_STALLED_SHARE = 0.1
_COUNTERS = ("swapouts", "swapins", "compressions", "decompressions", "pageins", "pageouts", "major_faults",
             "oom_kills", "psi_some_total_us", "psi_full_total_us")  # fmt: skip
_LEVELS = ("free_bytes", "available_bytes", "compressor_bytes", "swap_used_bytes", "swap_total_bytes", "used_bytes",
           "limit_bytes", "pressure_level", "free_percent", "psi_some_avg10", "psi_full_avg10")  # fmt: skip
_PARTS = ("free_bytes", "active_bytes", "inactive_bytes", "speculative_bytes", "wired_bytes", "compressor_bytes")
_COLLECT = {
    "macOS": "vm_stat -c 10 60 (ten looks, a minute apart) with the time it began, and sysctl vm.swapusage "
    "kern.memorystatus_vm_pressure_level hw.memsize before and after",
    "Linux": "/proc/meminfo, /proc/vmstat and /proc/pressure/memory twice or more, a minute apart, with the times",
}


@dataclass(frozen=True)
class MemoryFinding:
    """What the memory of a host was doing, in one sentence; `collect` is what would tell more.

    `since` is when the look began in which it left what was usual, `until` when the last such look ended, empty while
    it goes on. Both are on the clock of the looks: UTC, or local where no zone is known.
    """

    state: State
    sentence: str
    since: datetime | None = None
    until: datetime | None = None
    collect: tuple[str, ...] = ()


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each look of the memory table of a host, in order of time, with counters as rates.

    Columns: series (an origin, or one file's interval series), origin, source, line, at (UTC; local where no zone is
    known), seconds (since the look before, or the interval); swapouts and swapins (pages), oom_kills, and bytes of
    swapout, swapin, pagein and pageout within them; …_per_s of all counters; …_bytes_per_s of swapout, swapin, pagein
    and pageout; stalled_some and stalled_full (share of the time); swapouts_since_boot; memory_bytes (all there is, or
    a cgroup's limit); and the levels of the memory table. Unknown is NaN: counts and rates of the first look, rates of
    a look without time, and counts of the look after a restart, where counters fall.

    >>> import pandas as pd
    >>> looks = rates(pd.DataFrame({"at": pd.to_datetime(["2026-09-25 17:58", "2026-09-25 17:59"]),
    ...     "origin": "vm_stat", "page_bytes": 4096, "swapouts": [100, 700]}))
    >>> looks["swapouts_per_s"].tolist(), looks["swapout_bytes_per_s"].tolist()
    ([nan, 10.0], [nan, 40960.0])
    """
    import pandas as pd

    names = {name: kind for name, kind in TABLES["memory"].items() if name != "host"}
    looks = frame.reindex(columns=list(names)).reset_index(drop=True)
    for name, kind in names.items():
        if kind == "VARCHAR":
            looks[name] = looks[name].astype("string").fillna("").astype(str)
        elif kind != "TIMESTAMP":
            number = pd.to_numeric(looks[name], errors="coerce").astype("float64")
            looks[name] = number if name in _LIMITS else number.where(number.abs() < math.inf)
    looks["interval_s"] = looks["interval_s"].clip(*_INTERVALS_S)
    looks["at"] = _times(looks)
    looks["memory_bytes"] = _memory_bytes(looks)
    # The rows of a file's series count within their intervals; looks of other files are no part of it.
    in_series = looks["interval_s"].notna().groupby([looks["origin"], looks["source"]]).transform("any").astype(bool)
    looks["series"] = looks["origin"].where(~in_series, looks["origin"] + " in " + looks["source"])
    # A row without a time comes after the row before it.
    looks["order"] = looks.groupby(["series", "source"], sort=False)["at"].ffill()
    looks = looks.sort_values(["order", "source", "line"], kind="stable", na_position="first")
    parts = [_counted(part) for _, part in looks.groupby("series", sort=False)]
    counted = pd.concat(parts).loc[looks.index] if parts else _counted(looks)
    return counted.reset_index(drop=True)


def _times(looks: pd.DataFrame) -> pd.Series:
    """UTC times; local ones where an origin has no time with a zone."""
    import pandas as pd

    at, local = (
        pd.to_datetime(looks[name], utc=True, errors="coerce").dt.tz_localize(None).astype("datetime64[us]")
        for name in ("at", "local_at")
    )
    at, local = (when.where((when > _TIMES[0]) & (when < _TIMES[1])) for when in (at, local))
    zoned = at.notna().groupby(looks["origin"]).transform("any").astype(bool)
    return at.where(zoned, local)


def _memory_bytes(looks: pd.DataFrame) -> pd.Series:
    """How much memory there is: as told, else what the parts add up to; for a cgroup its limit, where it has one."""
    of_cgroup = looks["origin"].str.startswith("cgroup:")
    told = looks["total_bytes"].where(~of_cgroup).max()
    added = looks[list(_PARTS)].sum(axis=1, min_count=len(_PARTS)).where(~of_cgroup).max()
    host = told if told > 0 else added
    limited = of_cgroup & looks["limit_bytes"].lt(math.inf)
    return looks["limit_bytes"].where(limited, host)


def _counted(looks: pd.DataFrame) -> pd.DataFrame:
    """One series: what its counters counted between a look and the one before it."""
    import pandas as pd

    in_interval = looks["interval_s"].notna()
    apart_s = looks["at"].diff().dt.total_seconds()
    # A full page of vm_stat goes on after its next title; what follows another one may be days later.
    rows_before = in_interval.groupby((~in_interval).cumsum()).transform("size").shift()
    apart_s = apart_s.where(apart_s > 0, looks["interval_s"].shift().where(rows_before >= _ROWS_OF_A_PAGE))
    counted = looks[["series", "origin", "source", "line", "at", "memory_bytes", *_LEVELS]].copy()
    counted["seconds"] = looks["interval_s"].where(in_interval, apart_s)
    if in_interval.any():
        counted["at"] = _spread(counted["at"], counted["seconds"])
    value = pd.DataFrame(looks[list(_COUNTERS)].to_numpy(), looks.index, _COUNTERS)
    told = value[in_interval].reindex(value.index)
    # Since boot less what the intervals in between have told already.
    total = value[~in_interval].reindex(value.index) - told.fillna(0.0).cumsum()
    step = total - total.ffill().shift()
    step = step.where(step.isna() | (step.abs() >= _cut_to(value)), 0.0)
    counts = told.where(told.notna(), step)
    counts = counts[~counts.lt(0).any(axis=1)].reindex(value.index)
    known_before = value.notna().shift(fill_value=False) | told.notna()
    per_s = counts.div(counted["seconds"], axis=0).where(known_before)
    page_bytes = looks["page_bytes"].ffill().bfill()
    for name in ("swapout", "swapin", "pagein", "pageout"):
        counted[f"{name}_bytes"] = counts[f"{name}s"] * page_bytes
        counted[f"{name}_bytes_per_s"] = per_s[f"{name}s"] * page_bytes
    for kind in ("some", "full"):
        counted[f"stalled_{kind}"] = per_s.pop(f"psi_{kind}_total_us") / 1e6
    counted["swapouts_since_boot"] = looks["swapouts"].where(~in_interval)
    return pd.concat([counted, counts[["swapouts", "swapins", "oom_kills"]], per_s.add_suffix("_per_s")], axis=1)


def _spread(at: pd.Series, seconds: pd.Series) -> pd.Series:
    """Times of a series: rows that were all given the time of the capture ended with it, one interval after another."""
    elapsed = (seconds.fillna(0.0).cumsum() * 1e6).round().astype("int64").astype("timedelta64[us]")
    own = at.where(at != at.shift(-1))
    return own.fillna((own - elapsed).bfill() + elapsed).astype("datetime64[us]")


def _cut_to(value: pd.DataFrame) -> pd.DataFrame:
    """The unit to which vm_stat cut a number that was too wide for its column; 1 for one that it did not cut."""
    unit = value * 0 + 1
    for power in (1e3, 1e6, 1e9):
        unit = unit.mask((value >= 1e7) & (value % power == 0), power)
    return unit


@dataclass(frozen=True)
class _Episode:
    """A stretch out of the ordinary: its first and last look, and what it was, in words."""

    state: State
    first: int
    last: int
    words: str


# The looks of one series: lists by column, of equal length. NaN is unknown.
_Looks = dict[str, list[Any]]


def pressure(frame: pd.DataFrame) -> MemoryFinding:
    """What the memory of one host was doing, judged by how its looks differ; `frame` is its part of the memory table.

    growing: swap-outs took off, available memory fell by an order of magnitude, tasks stood still, or processes were
    killed for want of memory. recovering: what was swapped out became free memory. warned: the system's own verdict
    is warn or critical, and nothing grows. historical: swap in use, or written once, that does not grow. calm: none
    of these. cannot tell: one look, or nothing that can be compared; `collect` then says what is needed.

    >>> import pandas as pd
    >>> pressure(pd.DataFrame({"origin": ["vm_stat"], "swapouts": [64000123]})).sentence
    'One look cannot tell whether memory is running out; 64,000,123 pages were swapped out since boot.'
    """
    looks = rates(frame)
    series = [{name: part[name].tolist() for name in part} for _, part in looks.groupby("series", sort=False)]
    if not series:
        return MemoryFinding("cannot tell", "Nothing about memory was captured.", collect=tuple(_COLLECT.values()))
    findings = sorted((_judge(part) for part in series), key=lambda finding: _STATES.index(finding.state))
    worst = findings[0]
    others = [finding.sentence for finding in findings if finding.state in ("historical", "calm")]
    if worst.state == "warned" and others:  # what the swap did meanwhile is known from another source
        return replace(worst, sentence=f"{worst.sentence} {others[0]}", collect=())
    return worst


def _judge(looks: _Looks) -> MemoryFinding:
    """The finding of one series."""
    origin = looks["origin"][0]
    subject = f"{origin}: " if origin.startswith("cgroup:") else ""
    episodes = [episode for find in (_swapping, _falling, _stalling, _killing) if (episode := find(looks))]
    grown = [episode for episode in episodes if episode.state == "growing"]
    recovered = [episode for episode in episodes if episode.state == "recovering"]
    if recovered and all(episode.first <= recovered[0].last for episode in grown):
        grown = recovered
    if not grown:
        return _quiet(looks, subject)
    # What goes together with the first of them is one story, and begins with the earliest.
    first, last = grown[0].first, grown[0].last
    told = [episode for episode in grown if episode.first <= last + 1 and episode.last >= first - 1]
    first, last = min(episode.first for episode in told), max(episode.last for episode in told)
    since, until = _began(looks, first), _ended(looks, last)
    verb = "was running out" if grown[0].state == "growing" else "recovered"
    words = "; ".join(episode.words for episode in told)
    return MemoryFinding(
        grown[0].state, f"{subject}Memory {verb} {_when(looks, first, since, until)}: {words}.", since, until
    )


def _swapping(looks: _Looks) -> _Episode | None:
    """Swap-outs that took off: growth, or recovery where free memory rose by what was swapped out."""
    out, seconds, memory = _swapped_out(looks), looks["seconds"], _memory(looks)
    stretch = _stretch(out, seconds)
    if not stretch or not memory:
        return None
    first, last = stretch
    volume, duration = _sum(out[first : last + 1]), _sum(seconds[first : last + 1])
    if volume < _SWAPPED_SHARE * memory or volume / duration * 3600 < _SWAPPED_SHARE_PER_HOUR * memory:
        return None
    usual = _sum(out[:first]) / duration_before if (duration_before := _sum(seconds[:first])) else math.nan
    pages = _sum(looks["swapouts"][first : last + 1])
    words = f"{_size(volume)} {f'({pages:,.0f} pages) ' if pages else ''}went to swap in {_time(duration)}"
    words += "" if math.isnan(usual) else f", {_size(usual)}/s before and {_size(volume / duration)}/s then"
    # The median look, by what was swapped out up to it, so that a process that ends in the last look is no recovery.
    passed, free_then = 0.0, math.nan
    for index in range(first, last + 1):
        passed += max(0.0, out[index]) if out[index] == out[index] else 0.0
        if passed >= volume / 2:
            free_then = looks["free_bytes"][index]
            break
    free_before = looks["free_bytes"][max(0, first - 1)]
    if free_then - free_before >= volume / 2:
        return _Episode("recovering", first, last, f"{words}, and free memory rose from {_size(free_before)} to "
                        f"{_size(max(_all_known(looks['free_bytes'][first : last + 1])))}")  # fmt: skip
    return _Episode("growing", first, last, words)


def _swapped_out(looks: _Looks) -> list[float]:
    """Bytes that went to swap in each look, as the best of three sources has it."""
    pages = looks["swapouts"]
    bytes_of_pages = [0.0 if n == 0 else size for n, size in zip(pages, looks["swapout_bytes"], strict=True)]
    # Before it had a compressor, macOS wrote pages to swap as pageouts.
    pageouts = looks["pageout_bytes"] if looks["origin"][0] == "vm_stat" and not _all_known(pages) else []
    used = _rises(looks["swap_used_bytes"])
    return max((bytes_of_pages, pageouts, used), key=lambda values: len(_all_known(values)))


def _falling(looks: _Looks) -> _Episode | None:
    """Available memory that fell by an order of magnitude; or free memory, where it did not become cache."""
    available = looks["available_bytes"]
    for name, levels in (("available", available), ("free", looks["free_bytes"])):
        stretch = _stretch([-rise for rise in _rises(levels)], looks["seconds"])
        if not stretch:
            continue
        first, last = stretch
        top, bottom = levels[first - 1], levels[last]
        enough = _SHARE * _memory(looks)
        lost = available[first - 1] - available[last]
        if (
            top < _ORDER * bottom
            or top - bottom < enough
            or not (lost >= (top - bottom) / 2 and available[last] <= enough)
        ):
            continue
        words = f"{name} memory fell from {_size(top)} to {_size(bottom)}"
        return _Episode("growing", first, last, f"{words} in {_time(_sum(looks['seconds'][first : last + 1]))}")
    return None


def _stalling(looks: _Looks) -> _Episode | None:
    """Tasks that stood still for want of memory (pressure stall information)."""
    share = next((looks[name] for name in ("stalled_full", "stalled_some") if _all_known(looks[name])), [])
    stalled = [part * s for part, s in zip(share, looks["seconds"], strict=False)]
    stretch = _stretch(stalled, looks["seconds"])
    if not stretch:
        return None
    first, last = stretch
    total, duration = _sum(stalled[first : last + 1]), _sum(looks["seconds"][first : last + 1])
    if total < 1 or total < _STALLED_SHARE * duration:
        return None
    part = f"{100 * total / duration:.0f} %"
    return _Episode("growing", first, last, f"tasks stood still for want of memory {part} of {_time(duration)}")


def _killing(looks: _Looks) -> _Episode | None:
    killed = [index for index, count in enumerate(looks["oom_kills"]) if count > 0]
    if not killed:
        return None
    words = f"the kernel killed {_sum(looks['oom_kills']):,.0f} process(es) for want of memory"
    return _Episode("growing", killed[0], killed[-1], words)


def _stretch(volumes: Sequence[float], seconds: Sequence[float]) -> tuple[int, int] | None:
    """The first and last look of the stretch that holds what is out of the ordinary in a series of volumes.

    The yardstick is the rate at which the middle of the volume passed. The stretch is where volumes exceed a tenth of
    it, an order of magnitude, by most in all (Kadane's maximal segment); it then begins where the rate left what was
    usual before: the median and three standard deviations, estimated robustly.

    >>> _stretch([0, 1, 0, 2, 50, 400, 900, 800, 0, 1], [60] * 10)
    (4, 7)
    """
    known = [i for i, (v, s) in enumerate(zip(volumes, seconds, strict=False)) if math.isfinite(v) and s > 0]
    passed = sum(max(0.0, volumes[i]) for i in known)
    if passed <= 0:
        return None
    rate = [volumes[i] / seconds[i] for i in known]
    middle = sum(max(0.0, volumes[i]) * max(0.0, r) for i, r in zip(known, rate, strict=True)) / passed
    best, running, start, first, last = 0.0, 0.0, 0, 0, 0
    for at, i in enumerate(known):
        running += volumes[i] - middle / _ORDER * seconds[i]
        if running <= 0:
            running, start = 0.0, at + 1
        elif running > best:
            best, first, last = running, start, at
    for _ in range(_PASSES):  # what was usual is known better once its slow end is left out
        usual = median(rate[:first]) if first else math.inf
        usual += 3 * 1.4826 * median(abs(r - usual) for r in rate[:first]) if first else 0
        while first and rate[first - 1] > usual:
            first -= 1
    return known[first], known[last]


def _quiet(looks: _Looks, subject: str) -> MemoryFinding:
    """The finding of a series in which nothing grew, or none can be seen to."""
    memory, seconds = _memory(looks), _sum(looks["seconds"])
    out, levels = _swapped_out(looks), looks["pressure_level"]
    untimed = _sum(volume for volume, s in zip(out, looks["seconds"], strict=True) if not s > 0)
    timed_levels = [rise for rise, s in zip(_rises(looks["available_bytes"]), looks["seconds"], strict=True) if s > 0]
    known = bool(_all_known(out) or _all_known(timed_levels)) and not 0 < _SWAPPED_SHARE * memory <= untimed
    used, ever, held = (_last(looks[name]) for name in ("swap_used_bytes", "swapouts_since_boot", "compressor_bytes"))
    facts = [f"{_size(used)} of swap is in use"] if used > 0 else []
    facts += [f"{ever:,.0f} pages were swapped out since boot"] if ever > 0 else []
    facts += [f"the compressor holds {_size(held)} of memory"] if held >= _SHARE * memory > 0 else []
    more = "".join(f"; {fact}" for fact in facts)
    collect = () if known else (_COLLECT["Linux" if looks["origin"][0].startswith(("linux", "cgroup")) else "macOS"],)
    stalled = max(_all_known(looks["psi_full_avg10"]) or _all_known(looks["psi_some_avg10"]) or [0.0])
    if max(_all_known(levels), default=0) >= 2 or stalled >= 100 * _STALLED_SHARE:
        level = max(_all_known(levels), default=0)
        said = f"memory pressure is {'critical' if level >= 4 else 'at warning level'} ({level:.0f})"
        said = said if level >= 2 else f"tasks stood still {stalled:.0f} % of ten seconds for want of memory"
        grows = "; it does not grow here" if known else ""
        return MemoryFinding("warned", f"{subject}The system says that {said}{grows}{more}.", collect=collect)
    if not known:
        what = "One look" if len(out) == 1 else "These looks"
        return MemoryFinding(
            "cannot tell", f"{subject}{what} cannot tell whether memory is running out{more}.", collect=collect
        )
    during = f"in {_time(seconds)}" if seconds else "between the looks"
    moved = f"{_sum(looks['swapouts']):,.0f} pages went to swap and {_sum(looks['swapins']):,.0f} came back {during}"
    if not _all_known(looks["swapouts"]):
        grew = max(0.0, _sum(out))
        moved = f"swap grew by {_size(grew)} {during}" if _all_known(out) else f"what is available held {during}"
    state: State = "historical" if facts or _sum(out) > 0 else "calm"
    return MemoryFinding(state, f"{subject}Memory is not running out: {moved}{more}.")


def _began(looks: _Looks, first: int) -> datetime | None:
    """When the interval of a look began."""
    at, seconds = looks["at"][first], looks["seconds"][first]
    if at == at and at is not None and seconds > 0:
        return _plain(at - timedelta(seconds=seconds))
    return _plain(looks["at"][first - 1] if first else at)


def _ended(looks: _Looks, last: int) -> datetime | None:
    return _plain(looks["at"][last]) if last < len(looks["at"]) - 1 else None


def _plain(at: Any) -> datetime | None:
    known = hasattr(at, "to_pydatetime") and at == at
    moment: datetime | None = at.to_pydatetime(warn=False) if known else None
    return moment


def _when(looks: _Looks, first: int, since: datetime | None, until: datetime | None) -> str:
    # Without a look before it, it may have begun earlier.
    least = "" if any(s > 0 for s in looks["seconds"][:first]) else "at least "
    if since is None:
        return f"{least}from {_time(_sum(looks['seconds'][:first]))} after the first look"
    span = f"{least}from {since:%Y-%m-%d %H:%M:%S}" + (f" to {until:%H:%M:%S}" if until else " on")
    return f"{span} (looks {_time(looks['seconds'][first])} apart)"


def _memory(looks: _Looks) -> float:
    """How much memory there is; where nothing tells, how much swap, which macOS makes as it needs it; else 0."""
    return _last(looks["memory_bytes"]) or max(_all_known(looks["swap_total_bytes"]), default=0.0)


def _rises(levels: Sequence[float]) -> list[float]:
    """What each look has more than the one before it."""
    return [math.nan, *(after - before for before, after in pairwise(levels))]


def _all_known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _sum(values: Iterable[float]) -> float:
    return sum(_all_known(values))


def _last(values: Sequence[float]) -> float:
    """The last known value, or 0."""
    return next(reversed(_all_known(values)), 0.0)


def _size(size_bytes: float) -> str:
    """Bytes for people.

    >>> _size(13.26e9), _size(2048)
    ('13.3 GB', '0.0 MB')
    """
    return f"{size_bytes / 1e9:,.1f} GB" if abs(size_bytes) >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
