"""docs/speed.md, made of results: goals first, then every figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from results import Median

if TYPE_CHECKING:
    from goals import Goal, Value

_HEAD = """# How fast, and how much memory

Made by `make bench` from one run on one machine; all contenders take turns on the same generated log, each as a process
of its own, and times are medians. Seconds depend on the machine; ratios hardly do. Who counts other access lines, or
another sum of wall times, than the generator wrote is disqualified and named.

The log (`benchmarks/server_log.py`) is that of a busy server: 63 % access lines, 15 % records of the scheduler, 21 %
lines of runners in bursts where a model is loaded, about 100 bytes a line. `Python loop` is one regular expression for
access lines and one alternation of the anchors of all events that warmstall knows, `gawk` the same in gawk; `lnav`
reads by the format that `warmstall lnav-format` writes and sums the wall times of access lines alone. Memory is
resident memory of the whole tree of processes; for programs that map the file, such as `rg`, the file counts.

That a full disk in the middle of an ingest leaves the tables of before is a test (`tests/test_full_disk.py`).
"""


def speed_page(found: Mapping[tuple[str, float], Median], judged: Sequence[tuple[Goal, str, Value | None]]) -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, _machine(found), "## Goals\n", *_goals(judged), "", *_figures(found)])


def _machine(found: Mapping[tuple[str, float], Median]) -> str:
    """What it ran on: of the newest commits, as many as there are."""
    told = {", ".join(f"{name} {value}" for name, value in median.machine.items()): median.commit
            for median in found.values() if median.machine}  # fmt: skip
    return "".join(f"Machine: {machine}; commit {commit or 'unknown'}.\n" for machine, commit in told.items())


def _goals(judged: Sequence[tuple[Goal, str, Value | None]]) -> list[str]:
    from goals import figure

    rows = ["| goal | bound | measured | on | |", "|---|---:|---:|---|---|"]
    for goal, state, value in judged:
        bound = f"{'≥' if goal.at_least else '≤'} {figure(goal.bound, goal.unit)}"
        measured, on = (figure(value.value, goal.unit), value.on) if value else ("–", "")
        shown = f"**{state}**" if state == "not met" else state
        rows.append(f"| {goal.name} | {bound} | {measured} | {on} | {shown} |")
    return rows


def _figures(found: Mapping[tuple[str, float], Median]) -> list[str]:
    from goals import base_of

    rows: list[str] = []
    for unit, size in sorted({(median.unit, size) for (_, size), median in found.items()}):
        base = base_of(found, size)
        shown = sorted(
            (each for (_, s), each in found.items() if s == size and each.unit == unit), key=lambda m: m.wall_s
        )
        rows += [f"## {size:g} {unit}\n", "| arm | × wall | × CPU | wall s | CPU s | memory MB | rounds |",
                 "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
        for each in shown:
            name = f"{each.arm} (disqualified: {_cell(each.failed)})" if each.failed else each.arm
            ratios = ("–", "–")
            if base and unit == base.unit:
                ratios = (f"{each.wall_s / base.wall_s:.1f}", f"{each.cpu_s / max(base.cpu_s, 1e-3):.1f}")
            rows.append(f"| {name} | {ratios[0]} | {ratios[1]} | {each.wall_s:.2f} | {each.cpu_s:.2f} | "
                        f"{each.rss_bytes / 1e6:.0f} | {each.rounds} |")  # fmt: skip
        rows.append("")
    return rows


def _cell(text: str) -> str:
    """A reason inside a table: no bars, no markup, no lines."""
    return "".join(c if c.isalnum() or c in " .,:;_-+()" else " " for c in text)[:200]
