"""What the contenders of the benchmark run, each in a process of its own; the answer is one JSON object.

`python benchmarks/peers.py loop LOG`: a plain Python loop over lines.
`python benchmarks/peers.py ingest LOG TABLES [WORKERS]`: warmstall's ingest, its import included.
`python benchmarks/peers.py case LOG FOLDER`: the same as a case that can be opened, and what it holds.
`python benchmarks/peers.py verdicts FOLDER`: a verdict for each request of a case.
`python benchmarks/peers.py count TABLES`: what tables hold; nobody is timed by it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

ACCESS = (
    r"\[GIN\] (?P<ended>[0-9/]{10} - [0-9:]{8}) \| *(?P<status>[0-9]+) \| *"
    r"(?:(?P<h>[0-9]+)h)?(?:(?P<m>[0-9]+)m(?!s))?(?:(?P<value>[0-9.]+)(?P<unit>s|ms|µs|ns))? \| *(?P<client>[^ |]+) \| "
    r'(?P<method>[A-Z]+) +"(?P<path>(?:[^"\\]|\\.)*)"'
)
_NS = {"s": 1e9, "ms": 1e6, "µs": 1e3, "ns": 1.0}


def anchors() -> list[str]:
    """The literal texts of all events that warmstall knows, each once; one may be the beginning of another."""
    from warmstall.parse.log_events import EVENTS

    return sorted({event.anchor for event in EVENTS}, key=lambda anchor: (-len(anchor), anchor))


def loop(log: Path) -> dict[str, object]:
    """Access lines by one regular expression, events by one alternation of their anchors."""
    access, event = re.compile(ACCESS).search, re.compile("|".join(map(re.escape, anchors()))).search
    lines = found = wall_ns = 0
    events: Counter[str] = Counter()
    with log.open(encoding="utf-8", errors="replace", newline="\n") as handle:
        for line in handle:
            lines += 1
            if "[GIN] 2" in line and (match := access(line)):
                _ended, _status, hours, minutes, value, unit, *_rest = match.groups()
                row_ns = round(float(value) * _NS[unit]) if value else 0
                if hours or minutes:
                    row_ns += (3600 * int(hours or 0) + 60 * int(minutes or 0)) * 10**9
                wall_ns += row_ns
                found += 1
            elif match := event(line):
                events[match[0]] += 1
    return {"lines": lines, "access_lines": found, "wall_ns": wall_ns}


def ingest(log: Path, tables: Path, workers: int | None = None) -> dict[str, object]:
    """Everything that ingest does, to Parquet."""
    from warmstall.evidence import discover
    from warmstall.ingest import ingest as ingest_evidence

    (account,) = ingest_evidence(discover([log]), tables, workers)
    return {"lines": account["lines"]}


def write_one_case(log: Path, folder: Path) -> dict[str, object]:
    """A case of one log, its tables within."""
    from warmstall.case import write_case
    from warmstall.evidence import discover

    (account,) = write_case(discover([log]), folder, folder / "tables").accounts
    return {"lines": account["lines"]}


def verdicts(folder: Path) -> dict[str, object]:
    """The verdicts of a case that was written before."""
    from warmstall.analysis import Analysis
    from warmstall.case import open_case

    found = Analysis(open_case(folder)).verdicts()
    return {"access_lines": len(found), "by_verdict": found["verdict"].value_counts().to_dict()}


def count(tables: Path) -> dict[str, object]:
    """Access lines, the sum of their wall times, and events by key."""
    import duckdb

    requests, events = (f"read_parquet('{tables}/{table}-*.parquet')" for table in ("requests", "events"))
    ((found, wall_ns),) = duckdb.sql(f"SELECT count(*), sum(round(wall_s * 1e9)::HUGEINT) FROM {requests}").fetchall()
    keys = dict(duckdb.sql(f"SELECT key, count(*) FROM {events} GROUP BY key").fetchall())
    return {"access_lines": found, "wall_ns": int(wall_ns or 0), "events": keys}


def gawk_program() -> str:
    """The same in gawk: fields by splitting, a duration by its unit, events by one alternation."""
    alternation = "|".join(re.sub(r"([\\.^$*+?(){}|/\[\]])", r"\\\1", anchor) for anchor in anchors())
    return (
        r"""
function ns(text,    total, number) {
    total = 0
    if (match(text, /^[0-9]+h/)) { total += 3600e9 * substr(text, 1, RLENGTH - 1); text = substr(text, RLENGTH + 1) }
    if (match(text, /^[0-9]+m([0-9]|$)/)) {
        match(text, /^[0-9]+/); total += 60e9 * substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 2)
    }
    if (text == "") return total
    match(text, /^[0-9.]+/); number = substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 1)
    return total + number * (text == "s" ? 1e9 : text == "ms" ? 1e6 : text == "ns" ? 1 : 1e3)
}
index($0, "[GIN] 2") {
    split(substr($0, index($0, "[GIN] 2")), part, "|")
    gsub(/ /, "", part[3])
    sum += ns(part[3]); found++; by[part[2] + 0]++; next
}
/"""
        + alternation
        + r"""/ { events++ }
END { printf "{\"lines\": %d, \"access_lines\": %d, \"wall_ns\": %.0f}\n", NR, found, sum }
"""
    )


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    match what:
        case "loop":
            answer = loop(Path(given[0]))
        case "ingest":
            answer = ingest(Path(given[0]), Path(given[1]), *map(int, given[2:]))
        case "case":
            answer = write_one_case(Path(given[0]), Path(given[1]))
        case "verdicts":
            answer = verdicts(Path(given[0]))
        case _:
            answer = count(Path(given[0]))
    print(json.dumps(answer))
