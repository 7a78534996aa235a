"""A realistic log of any size, and the truth of it: python benchmarks/server_log.py --megabytes 1000 --seed 1 OUT.

The mixture is that of a busy server: 63 % access lines, 15 % slog records, 21 % lines of runners, in bursts where a
model is loaded. `OUT.truth.json` says what was written, line by line counted as it was written: no reader had a part
in it. The same arguments give the same bytes. Times are UTC; memory does not grow with the size.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from hostile_lines import hostile
from log_pieces import VERSIONS, Job, Marks, Pool, chatter, loads, polls, requests

_BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
_CHUNK_LINES = 8000
_ACCESS, _SLOG, _RAW = 0.63, 0.155, 0.215
# Requests at work at once, where the runner does not tell of its slots.
_LANES = 160
_PAUSE_S = 0.3

# What journald, docker and compose put in front of each line.
DRESSES: dict[str, Callable[[datetime], str]] = {
    "plain": lambda at: "",
    "journald": lambda at: f"{at:%b %d %H:%M:%S} box ollama[812]: ",
    "journald-iso": lambda at: f"{at:%Y-%m-%dT%H:%M:%S}+0000 box ollama[812]: ",
    "docker": lambda at: f"{at:%Y-%m-%dT%H:%M:%S}.145607123Z ",
    "compose": lambda at: "ollama-1  | ",
}


@dataclass(frozen=True)
class Shape:
    """What kind of log. `slots` is how many a runner tells of, 0 for one that does not; `requests_per_load` counts
    those that run a model, and is 0 for as many as make the usual mixture."""

    megabytes: float
    seed: int = 1
    dress: str = "plain"
    versions: tuple[str, ...] = VERSIONS[1:]
    slots: int = 0
    requests_per_load: float = 0
    hostile: bool = False


class Stream:
    """Jobs of one kind, in lanes: in each, one follows another after a pause."""

    def __init__(self, jobs: list[Job], lanes: int, pause_ms: float, from_ms: int, rng: np.random.Generator) -> None:
        self.begins, self.ends, self.walls_ms, self.places_ms = (
            np.array([getattr(job, name) for job in jobs], dtype=np.int64)
            for name in ("begin", "end", "wall_ms", "at_ms")
        )
        self.pause_ms = pause_ms
        self.rng = rng
        self.free_ms = from_ms + rng.exponential(pause_ms, lanes).astype(np.int64)

    def until(self, end_ms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The jobs that begin before then: which, when, and in which lane."""
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        while (self.free_ms < end_ms).any():
            lanes = np.flatnonzero(self.free_ms < end_ms)
            ahead_ms = float(end_ms - self.free_ms[lanes].min())
            each = int(1.2 * ahead_ms / (self.pause_ms + self.walls_ms.mean())) + 2
            jobs = self.rng.integers(0, len(self.begins), (len(lanes), each))
            pauses = self.rng.exponential(self.pause_ms, jobs.shape).astype(np.int64) + 1
            walls = self.walls_ms[jobs]
            next_free = self.free_ms[lanes, None] + np.cumsum(walls + pauses, axis=1)
            starts = next_free - walls - pauses
            kept = starts < end_ms
            found.append((jobs[kept], starts[kept], np.broadcast_to(lanes[:, None], jobs.shape)[kept]))
            self.free_ms[lanes] = np.where(kept, next_free, 0).max(axis=1)
        which, when, where = (np.concatenate([part[n] for part in found] or [[]]).astype(np.int64) for n in range(3))
        places = self.places_ms[which]
        return which, np.where(places < 0, when, when // 1000 * 1000 + places), where


class Server:
    """One version at work: pieces, each with its moment."""

    def __init__(self, version: str, shape: Shape, from_ms: int, seed: int) -> None:
        rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        self.pool = Pool(version)
        self.at_ms = from_ms
        tells = bool(shape.slots)
        asked, polled = requests(self.pool, rng, tells), polls(self.pool, rng)
        loaded, said = loads(self.pool, rng), chatter(self.pool, rng)
        request_s, load_s = (float(np.mean([job.wall_ms for job in jobs])) / 1000 for jobs in (asked, loaded))
        lanes = shape.slots or _LANES
        if shape.requests_per_load:  # a server that loads more than half of the time has fewer requests
            lanes = max(1, min(lanes, int(0.5 * shape.requests_per_load * (_PAUSE_S + request_s) / load_s)))
        # Of five requests one is a poll.
        per_s = 1.25 * lanes / (_PAUSE_S + request_s)
        self._lines_per_s = per_s / _ACCESS
        slog, raw = self._lines_of(loaded)
        loads_per_s = _RAW * self._lines_per_s / raw
        if shape.requests_per_load:
            loads_per_s = 0.8 * per_s / shape.requests_per_load
        chatter_per_s = max(0.02 * self._lines_per_s, _SLOG * self._lines_per_s - slog * loads_per_s)

        def stream(jobs: list[Job], pause_s: float, lanes: int = 1) -> Stream:
            return Stream(jobs, lanes, 1000 * pause_s, from_ms, numbers)

        self._streams = [
            stream(asked, _PAUSE_S, lanes),
            stream(polled, 5 / per_s),
            stream(said, 1 / chatter_per_s),
            stream(loaded, max(0.5, 1 / loads_per_s - load_s)),
        ]
        if shape.hostile:
            self._streams.append(stream(hostile(self.pool, rng), 10 / self._lines_per_s))
        self._tasks = 0
        begins = np.array([from_ms])
        self._waiting = [(begins, np.array([self.pool.say("start", port=43_817)]), np.array([-1]), np.array([0]))]

    def _lines_of(self, loaded: list[Job]) -> tuple[float, float]:
        """How many slog records and how many other lines a load has on average."""
        texts = [self.pool.texts[job.begin] + self.pool.texts[job.end] for job in loaded]
        slog = sum(text.count(Marks.SLOG) for text in texts) / len(texts)
        return slog, sum(text.count(b"\n") for text in texts) / len(texts) - slog

    def chunk(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The next stretch of time: moments, pieces, tasks (-1 for none) and slots, in order."""
        until_ms = self.at_ms + 1000 * max(1, int(_CHUNK_LINES / self._lines_per_s))
        parts = self._waiting
        for stream in self._streams:
            which, when, where = stream.until(until_ms)
            tells = stream.begins[which] >= 0
            tasks = np.where(tells, self._tasks + np.argsort(np.argsort(when)), -1)
            self._tasks += len(which)
            parts.append((when[tells], stream.begins[which][tells], tasks[tells], where[tells]))
            parts.append((when + stream.walls_ms[which], stream.ends[which], tasks, where))
        moments, pieces, tasks, slots = (np.concatenate([part[n] for part in parts]) for n in range(4))
        order = np.argsort(moments, kind="stable")
        now = np.searchsorted(moments[order], until_ms)
        self._waiting = [tuple(column[order[now:]] for column in (moments, pieces, tasks, slots))]
        self.at_ms = until_ms
        return tuple(column[order[:now]] for column in (moments, pieces, tasks, slots))


def write_log(path: Path, shape: Shape) -> dict[str, object]:
    """Write the log, and beside it its truth, which is returned, too."""
    total: Counter[str] = Counter()
    at_ms, written = 0, 0
    with path.open("wb", buffering=1 << 20) as handle:
        for number, version in enumerate(shape.versions, 1):
            server = Server(version, shape, at_ms, shape.seed * 1000 + number)
            until = int(shape.megabytes * 1e6 * number / len(shape.versions))
            written, counts = _write(handle, server, shape, written, until)
            total += counts
            at_ms = server.at_ms + 30_000
    truth = _truth(total, shape, written)
    truth_path(path).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def _write(handle: BinaryIO, server: Server, shape: Shape, written: int, until: int) -> tuple[int, Counter[str]]:
    """Bytes written so far, and the counts of what this server said."""
    texts, dress = server.pool.texts, DRESSES[shape.dress]
    said = np.zeros(len(texts), dtype=np.int64)
    tells = bool(shape.slots)
    while written < until:
        moments, pieces, tasks, slots = server.chunk()
        last = 0
        for first, last in _seconds(moments):
            said_now = map(texts.__getitem__, pieces[first:last].tolist())
            if tells:
                said_now = map(_of_task, said_now, tasks[first:last].tolist(), slots[first:last].tolist())
            text = b"".join(said_now)
            at = _BEGIN + timedelta(seconds=int(moments[first]) // 1000)
            written += handle.write(_dressed(_stamped(text, at), dress(at).encode()))
            if written >= until:
                break
        said += np.bincount(pieces[:last], minlength=len(texts))
    counts: Counter[str] = Counter()
    for piece in np.flatnonzero(said).tolist():
        for name, value in server.pool.counts[piece].items():
            counts[name] += value * int(said[piece])
    return written, counts


def _seconds(moments: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where each second begins and ends among the moments."""
    edges = np.flatnonzero(np.diff(moments // 1000)) + 1
    bounds = [0, *edges.tolist(), len(moments)]
    return ((first, last) for first, last in pairwise(bounds) if first < last)


def _of_task(text: bytes, task: int, slot: int) -> bytes:
    return text.replace(Marks.TASK, b"%d" % task).replace(Marks.SLOT, b"%d" % slot) if task >= 0 else text


def _stamped(text: bytes, at: datetime) -> bytes:
    return (
        text.replace(Marks.GIN, f"{at:%Y/%m/%d - %H:%M:%S}".encode())
        .replace(Marks.SLOG, f"{at:%Y-%m-%dT%H:%M:%S}".encode())
        .replace(Marks.GO, f"{at:%Y/%m/%d %H:%M:%S}".encode())
        .replace(Marks.EPOCH, b"%d" % int(at.timestamp()))
    )


def _dressed(text: bytes, prefix: bytes) -> bytes:
    return prefix + text[:-1].replace(b"\n", b"\n" + prefix) + b"\n" if prefix else text


def _truth(total: Counter[str], shape: Shape, written: int) -> dict[str, object]:
    def of(kind: str) -> dict[str, int]:
        return {name.removeprefix(f"{kind} "): total[name] for name in sorted(total) if name.startswith(f"{kind} ")}

    return {
        "bytes": written, "lines": total["lines"], "access_lines": total["access"], "wall_ns": total["wall_ns"],
        "by_status": of("status"), "loads": {"started": 0, "finished": 0, "failed": 0} | of("loads"),
        "events": of("event"), "shape": asdict(shape),
    }  # fmt: skip


def truth_path(log: Path) -> Path:
    """Where the truth of a log lies."""
    return log.with_name(log.name + ".truth.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dress", choices=DRESSES, default="plain")
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=VERSIONS[1:], help="one after the other")
    parser.add_argument("--slots", type=int, default=0, help="runners tell of each request on this many slots")
    parser.add_argument("--requests-per-load", type=float, default=0, help="instead of the usual mixture")
    parser.add_argument("--hostile", action="store_true", help="with lines that a careless reader trips over")
    asked = vars(parser.parse_args())
    out = asked.pop("out")
    truth = write_log(out, Shape(**asked | {"versions": tuple(asked["versions"])}))
    print(json.dumps({name: truth[name] for name in ("bytes", "lines", "access_lines", "loads")}))


if __name__ == "__main__":
    main()
