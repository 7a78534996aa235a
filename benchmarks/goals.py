"""The goals, each judged from results: met, not met, or not measured: python benchmarks/goals.py RESULTS [--markdown].

A goal is a ratio of arms of one run, or a bound of memory. One that the results cannot decide (an arm is missing or was
disqualified, the log was smaller than the goal says) is not measured, whatever the figures are. Of each arm the last
run counts, in all its sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import results
from arms import BASE, BASE_WITHOUT_RG
from results import Median, Result

Medians = Mapping[tuple[str, float], Median]
INGEST = "ingest"
OURS = ("ingest", "append", "nothing new")
SIZES_MB = (1000.0, 3000.0, 10000.0)
VERDICTS, VERDICTS_INGEST = "verdicts", "ingest before verdicts"
ANSWER, IMPORT_AND_INGEST = "analyze until its answer", "import and ingest"
REPORT, EMPTY_NOTEBOOK = "whole report", "empty notebook"
FLEET_DASK, FLEET_LOCAL, FLEET_TINY = "fleet, Dask", "fleet, two processes", "fleet, tiny hosts"


@dataclass(frozen=True)
class Value:
    """A figure, what it was measured on, and whether that is all that the goal speaks of."""

    value: float
    on: str
    decides: bool = True


@dataclass(frozen=True)
class Goal:
    """At most, or at least, this much."""

    name: str
    bound: float
    of: Callable[[Medians], Value | None]
    unit: str = "×"
    at_least: bool = False

    def state(self, found: Medians) -> tuple[str, Value | None]:
        """`met`, `not met` or `not measured`, and the figure if there is one. A bound that is broken on a part of what
        the goal speaks of is broken."""
        value = self.of(found)
        if value is None:
            return "not measured", None
        holds = value.value >= self.bound if self.at_least else value.value <= self.bound
        return ("met" if holds else "not met") if value.decides else "not measured", value


def base_of(found: Medians, size: float) -> Median | None:
    """What others are multiples of: `rg -c`, or `grep -c` where there is no rg."""
    return _good(found, BASE, size) or _good(found, BASE_WITHOUT_RG, size)


def _good(found: Medians, arm: str, size: float) -> Median | None:
    median = found.get((arm, size))
    return median if median and not median.failed and median.wall_s > 0 else None


def _sizes(found: Medians, *arms: str) -> list[float]:
    """The sizes in which all of these took part in one run and none failed."""

    def together(size: float) -> bool:
        medians = [_good(found, arm, size) for arm in arms]
        return all(medians) and len({median.run for median in medians if median}) == 1

    return sorted(size for arm, size in found if arm == arms[0] and together(size))


def _ratio(
    one: str, other: str, least_size: float, unit: str, most_size: float = float("inf")
) -> Callable[[Medians], Value | None]:
    """Wall time of one as a multiple of another's, in the size nearest to what the goal speaks of."""

    def of(found: Medians) -> Value | None:
        sizes = [size for size in _sizes(found, one, other) if size <= most_size]
        if not sizes:
            return None
        size = next((size for size in sizes if size >= least_size), sizes[-1])
        value = found[one, size].wall_s / found[other, size].wall_s
        return Value(value, f"{size:g} {unit}", size >= least_size)

    return of


def _memory_of_ingest(found: Medians) -> Value | None:
    sizes = _sizes(found, INGEST)
    if not sizes:
        return None
    most = max(found[INGEST, size].rss_bytes for size in sizes) / 1e6
    return Value(most, ", ".join(f"{size:g}" for size in sizes) + " MB", most > 400 or set(sizes) >= set(SIZES_MB))


def _linear(arm: str, least: float, unit: str) -> Callable[[Medians], Value | None]:
    """How much more a unit costs in any size than in the smallest that counts; where start-up weighs, it costs less."""

    def of(found: Medians) -> Value | None:
        sizes = [size for size in _sizes(found, arm) if size >= least]
        if len(sizes) < 2:
            return None
        each = [found[arm, size].wall_s / size for size in sizes]
        return Value(max(cost / each[0] - 1 for cost in each), f"{sizes[0]:g} to {sizes[-1]:g} {unit}")

    return of


def _append(found: Medians) -> Value | None:
    sizes = _sizes(found, INGEST, "append of 1 %", "nothing new")
    if not sizes:
        return None
    size = sizes[-1]
    more_s = found["append of 1 %", size].wall_s - found["nothing new", size].wall_s
    return Value(more_s / found[INGEST, size].wall_s, f"{size:g} MB", size >= SIZES_MB[0])


def _compressed(program: str) -> Callable[[Medians], Value | None]:
    def of(found: Medians) -> Value | None:
        sizes = _sizes(found, INGEST, f"ingest of {program}", f"{program} -dc")
        if not sizes:
            return None
        size = sizes[-1]
        read_s = found[f"ingest of {program}", size].wall_s - found[f"{program} -dc", size].wall_s
        return Value(read_s / found[INGEST, size].wall_s, f"{size:g} MB", size >= SIZES_MB[0])

    return of


def _memory_of_verdicts(found: Medians) -> Value | None:
    sizes = _sizes(found, VERDICTS)
    return (
        Value(found[VERDICTS, sizes[-1]].rss_bytes / 1e6, f"{sizes[-1]:g} requests", sizes[-1] >= 10e6)
        if sizes
        else None
    )


def _killed(found: Medians) -> Value | None:
    """Ours that failed under the bound of memory."""
    ours = [median for median in found.values() if median.arm.startswith(OURS) and median.unit == "MB"]
    return Value(sum(bool(median.failed) for median in ours), f"{len(ours)} arms and sizes") if ours else None


def _ms_a_host(found: Medians) -> Value | None:
    sizes = _sizes(found, FLEET_TINY)
    return (
        Value(1000 * found[FLEET_TINY, sizes[-1]].wall_s / sizes[-1], f"{sizes[-1]:g} hosts", sizes[-1] >= 20_000)
        if sizes
        else None
    )


GOALS = (
    Goal("complete ingest of 1 GB, as a multiple of `rg -c`", 14, _ratio(INGEST, BASE, 1000, "MB", 1000)),
    Goal("faster than lnav", 5, _ratio("lnav", INGEST, 1000, "MB"), at_least=True),
    Goal("faster than a Python `re` loop", 3.5, _ratio("Python loop", INGEST, 1000, "MB"), at_least=True),
    Goal("most memory of ingest at 1, 3 and 10 GB", 400, _memory_of_ingest, "MB"),
    Goal("ingest is linear: cost of a byte, beside that at 1 GB", 0.10, _linear(INGEST, 1000, "MB"), ""),
    Goal("1 % appended, beyond start-up, of the full cost", 0.03, _append, ""),
    Goal("gzip, without its decompression, of the plain cost", 1.3, _compressed("gzip")),
    Goal("zstd, without its decompression, of the plain cost", 1.3, _compressed("zstd")),
    Goal("verdicts of 10 M requests, of the ingest before", 0.5, _ratio(VERDICTS, VERDICTS_INGEST, 10e6, "requests")),
    Goal("most memory of verdicts of 10 M requests", 1500, _memory_of_verdicts, "MB"),
    Goal("verdicts are linear: cost of a request", 0.15, _linear(VERDICTS, 1e6, "requests"), ""),
    Goal("answer of analyze on 50 MB, of import and ingest", 1.5, _ratio(ANSWER, IMPORT_AND_INGEST, 50, "MB")),
    Goal("whole report, of an empty notebook", 2.5, _ratio(REPORT, EMPTY_NOTEBOOK, 0, "MB")),
    Goal("Dask with two workers, of two local processes", 1.3, _ratio(FLEET_DASK, FLEET_LOCAL, 0, "hosts")),
    Goal("a host of 20,000 tiny ones", 10, _ms_a_host, "ms"),
    Goal("runs of ours that 1 GB was too little for, or that were wrong", 0, _killed, ""),
)  # fmt: skip


def judged(found: Iterable[Result]) -> list[tuple[Goal, str, Value | None]]:
    """Every goal with its state."""
    known = results.medians(results.of_last_runs(found))
    return [(goal, *goal.state(known)) for goal in GOALS]


def figure(value: float, unit: str) -> str:
    """A share as percent, anything else with its unit.

    >>> figure(0.0826, ""), figure(12.34, "×"), figure(2202, "MB")
    ('8.3 %', '12.3 ×', '2202 MB')
    """
    if not unit and 0 < value < 1:
        return f"{100 * value:.2g} %"
    return f"{value:.0f} {unit}".rstrip() if value >= 100 else f"{value:.3g} {unit}".rstrip()


def as_text(found: Iterable[Result]) -> str:
    """The goals, a line each."""
    lines = []
    for goal, state, value in judged(found):
        told = f"{figure(value.value, goal.unit)} on {value.on}" if value else "–"
        bound = f"{'≥' if goal.at_least else '≤'} {figure(goal.bound, goal.unit)}"
        lines.append(f"{state:12} {goal.name}: {told} (goal {bound})")
    return "\n".join(lines)


def page(found: Iterable[Result]) -> str:
    """docs/speed.md: the goals and all figures."""
    from speed_page import speed_page

    last = results.of_last_runs(found)
    return speed_page(results.medians(last), judged(last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("--markdown", action="store_true", help="the page of the documentation instead")
    asked = parser.parse_args()
    found = results.read(asked.results)
    print(page(found) if asked.markdown else as_text(found), end="" if asked.markdown else "\n")


if __name__ == "__main__":
    main()
