"""Memory pressure: memory ran out, and what the model needed was swapped or compressed away while it worked.

The weights, the cache and everything else on the machine want more memory than there is. The system then writes
pages to swap and reads them back while the model runs: loads stay rare and small work (an image encoder, an
embedding) stays fast, but generations crawl or stand still. What tells is how the counters move; how much swap is in
use, and what was swapped since boot, is history.

Shown by:
    - swap-outs that took off, available memory that fell by an order of magnitude, or tasks that stood still for
      want of memory (PSI), while requests were in trouble
    - pages read in from the disk while a small working set stayed fast
Ruled out by:
    - looks from before the first trouble to after the last, between which the counters did not move
Mistaken for it:
    - swap in use that does not grow: it was written once
    - swap-outs while free memory rises: the recovery
    - much wired memory on a Mac: the model itself
Severity: critical
Runbook: relieve-memory-pressure
Mitigation: Free memory: end what else uses it, or take a smaller model, a shorter context or fewer slots.
Leads to: warm_stall, oom_kill, load_timeout, retry_amplification
References:
    - https://github.com/ollama/ollama/issues/4151
    - https://github.com/ollama/ollama/issues/18099
    - https://docs.kernel.org/accounting/psi.html
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..observed.facts import memory_looks, memory_pressures
from ..observed.memory import MemoryFinding, rates
from ..parse.go_values import duration_s
from ..proportions import clearly_more
from .facts import Facts, counted, places, seconds_text
from .facts.trouble import covers, trouble_times, within
from .findings import Finding, Place, hints, proves, refutes, supports, unseen, weakens

# A difference in the rate of trouble that chance makes once in a hundred times is none.
_CHANCE = 0.01
# An order of magnitude, as in the judgement of memory itself.
_ORDER = 10
_USUAL_PAGE_BYTES = 4096
_COLLECT = (
    "the memory's counters from before the trouble to after it: warmstall watch CASE, or vm_stat 10 (macOS), or "
    "/proc/vmstat and /proc/pressure/memory every minute (Linux), with the times"
)
# What shows that nothing moved between two looks; levels and averages tell only of their moment.
_COUNTERS = ["swapouts", "swap_used_bytes", "psi_some_total_us", "psi_full_total_us"]


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the looks at the memory of each host that serves show, laid over the trouble there."""
    looks = memory_looks(facts.case)
    serving = set(facts.requests["host"].unique()) or set(looks["host"])
    for host in sorted(serving):
        own = looks[looks["host"] == host]
        if own.empty:
            yield unseen(_COLLECT)
            continue
        # A client on another machine tells the time of the trouble too.
        yield from _judged(facts, own.reset_index(drop=True), memory_pressures(facts.case)[host], trouble_times(facts))
    if not serving:
        yield unseen(_COLLECT)


def _judged(
    facts: Facts, looks: pd.DataFrame, found: MemoryFinding, times: pd.DataFrame
) -> Iterator[Finding]:  # fmt: skip
    where = _places(looks, found)
    if found.state == "growing":
        yield from _growing(facts, looks, found, times)
    elif found.state == "recovering":
        yield supports(found.sentence, *where, span=(found.since, found.until), severity="warning")
    elif found.state == "warned":
        yield supports(found.sentence, *where, severity="warning")
    elif found.state in ("historical", "calm"):
        if covers(looks.loc[looks[_COUNTERS].notna().any(axis=1), "at"], times):
            yield refutes(f"{found.sentence} These looks reach over "
                          f"{counted(len(times), 'request')} in question, and miss 0.", *where)  # fmt: skip
        else:
            yield weakens(found.sentence, *where)
            yield unseen(_COLLECT)
    else:
        yield unseen(_COLLECT)


def _growing(facts: Facts, looks: pd.DataFrame, found: MemoryFinding, times: pd.DataFrame) -> Iterator[Finding]:
    where, zoned = _places(looks, found), looks["at"].notna().all()
    if found.since is None or not zoned or times.empty:
        yield supports(found.sentence, *where, span=(found.since, found.until), severity="warning")
        return
    began = pd.Timestamp(found.since, tz="UTC")
    # What waits for memory ends after the last look too.
    ended = pd.Timestamp(found.until, tz="UTC") if found.until else max(looks["at"].max(), times["ended_at"].max())
    span = (began.to_pydatetime(), ended.to_pydatetime())
    calls = pd.concat([facts.requests[["started_at", "ended_at"]], facts.lost_trials[["started_at", "ended_at"]]])
    calls = calls.apply(pd.to_datetime, utc=True)
    inside, bad = len(within(calls, began, ended)), within(times, began, ended)
    outside, bad_outside = len(calls) - inside, len(times) - len(bad)
    if bad.empty:
        yield hints(f"{found.sentence} Of {counted(len(times), 'request')} in trouble 0 ran then.", *where, span=span)
        yield unseen(_COLLECT)
        return
    sentence = f"{found.sentence} In trouble: {len(bad):,} of {counted(inside, 'request')} of that time"
    told = f"{sentence}, {bad_outside:,} of {outside:,} of the other time." if outside else f"{sentence}."
    show = proves if clearly_more((len(bad), inside), (bad_outside, outside), _CHANCE) else supports
    yield show(told, *where, *places(bad, 2), span=span)
    yield from _page_size(looks)
    yield from _read_in(looks, began, ended, where)
    yield from _small_work(facts, began, ended)


def _page_size(looks: pd.DataFrame) -> Iterator[Finding]:
    """What a page is where it is not the 4,096 bytes that everybody multiplies by."""
    rows = looks[looks["page_bytes"].gt(_USUAL_PAGE_BYTES) & looks["free_bytes"].notna()]
    if len(rows):
        lowest = rows.loc[[rows["free_bytes"].astype(float).idxmin()]]
        free, page = float(lowest["free_bytes"].iloc[0]), int(lowest["page_bytes"].iloc[0])
        yield hints(f"A page has {page:,} bytes on this machine: the {free / page:,.0f} free pages of the lowest look "
                    f"are {free / 1e9:.2f} GB. Reckoned with {_USUAL_PAGE_BYTES:,} bytes they would seem "
                    f"{free / page * _USUAL_PAGE_BYTES / 1e9:.2f} GB, and what was swapped out "
                    f"{page / _USUAL_PAGE_BYTES:.0f} times too little.", *places(lowest))  # fmt: skip


def _read_in(
    looks: pd.DataFrame, began: pd.Timestamp, ended: pd.Timestamp, where: tuple[Place, ...]
) -> Iterator[Finding]:
    """Pages that came back from the disk while the memory was short."""
    moved = rates(looks).dropna(subset=["pagein_bytes_per_s", "seconds", "at"])
    inside = pd.to_datetime(moved["at"], utc=True).between(began, ended)
    usual, then = (
        part["pagein_bytes"].sum() / max(part["seconds"].sum(), 1e-9) for part in (moved[~inside], moved[inside])
    )
    if inside.any() and then > _ORDER * usual and then >= 1e6:
        before = f", {usual / 1e6:,.1f} MB/s otherwise" if (~inside).any() else ""
        yield hints(f"{then / 1e6:,.1f} MB/s were read in from the disk meanwhile{before}.", *where)


def _small_work(facts: Facts, began: pd.Timestamp, ended: pd.Timestamp) -> Iterator[Finding]:
    """Encoders that stayed fast: a small working set stays in memory when a large one does not."""
    rows = facts.events("vision_gemma4")
    rows = rows[rows["at"].between(began, ended)]
    encoded = [str(fields.get("msg", "")).endswith("encoded") for fields in rows["fields"]]
    rows = rows[pd.Series(encoded, rows.index, dtype=bool)]
    took_s = pd.Series([duration_s(str(fields.get("elapsed", ""))) for fields in rows["fields"]], dtype=float).dropna()
    if len(took_s):
        yield hints(f"The image encoder still took {seconds_text(took_s.median())} (median of {len(took_s):,} times) "
                    "while whole requests stood still: small work stayed in memory.", *places(rows))  # fmt: skip


def _places(looks: pd.DataFrame, found: MemoryFinding) -> tuple[Place, ...]:
    """The first and the last look of what was found, or of all."""
    chosen = looks
    if found.since is not None and looks["at"].notna().any():
        chosen = looks[looks["at"] >= pd.Timestamp(found.since, tz="UTC")]
        chosen = chosen[chosen["at"] <= pd.Timestamp(found.until, tz="UTC")] if found.until else chosen
    chosen = chosen if len(chosen) else looks
    return (*places(chosen, 1), *(places(chosen.tail(1), 1) if len(chosen) > 1 else ()))
