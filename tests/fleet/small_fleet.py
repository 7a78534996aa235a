"""A few small hosts in a folder, for runs over all of them; and what such a run left, to be compared."""

from __future__ import annotations

import os
from pathlib import Path

from hypotheses.example import ServerLog

REQUESTS = 20
# A day: the requests of one log of these go over midnight.
_HOURS_S = 3600.0
# Names that a file system takes and a path, a pattern, SQL or a page would rather not have.
HOSTILE = ["..", "a b=c%2Fd", "é\n\x1b[31m", "'; DROP TABLE x; --", "[gpu]*?", "007", "~x", "x" * 200]


def log(number: int = 0, requests: int = REQUESTS, failing: int = 0, every_s: float = 30, **start: str) -> str:
    """The log of a server with so many requests, of which the first few failed."""
    made = ServerLog().start(**start).load(2)
    for place in range(requests):
        made.request(10 + every_s * place, 1 + 0.1 * (number + place % 7), 500 if place < failing else 200)
    return made.text()


def write_hosts(folder: Path, count: int = 4) -> Path:
    """A folder of hosts: some as folders, some as logs, one over midnight, one that is no log at all."""
    for number in range(count):
        text = log(number, failing=number, every_s=0.7 * _HOURS_S if number == 1 else 30)
        path = folder / (f"gpu-{number}/server.log" if number % 2 else f"gpu-{number}.log")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "broken.log.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"\x00" * 20)
    return folder


def tree(out: Path) -> dict[str, bytes]:
    """The bytes of all that a run left, by path; without the journal, which is in the order in which hosts ended."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("journal.jsonl", ".lock")
    }


def dies_at_two(number: int) -> int:
    """A task that costs its process its life."""
    if number == 2:
        os._exit(9)
    return 10 * number
