"""Spans that are unlike the rest of the log, found without thresholds that a user must guess.

Failures and slow requests are marks in a row of requests. A window is the stretch of the row where marks
are so much denser than elsewhere that chance does not explain it: the stretch with the highest
log-likelihood ratio between "marked half the time or more" and "marked at the usual rate" (Kadane's
maximal segment), kept when it beats what the best of as many random stretches would reach. Silence and
low throughput are judged the same way, against the spread of the gaps or bins of this log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .records import Window

Column: TypeAlias = npt.NDArray[Any]
# The chance that a log of nothing but noise shows a window; divided by the number of stretches tried.
_FALSE_ALARM = 1e-3
_BINS = 60
_MIN_REQUESTS = 10


def find_windows(requests: pd.DataFrame) -> list[Window]:
    """Windows of kind failure, slow, silence and throughput, per host, in order of time.

    `requests` is `Analysis.verdicts()`, of which host, source, line, ended_at, started_at, wall_s, status, verdict,
    model, path and inference are used.
    """
    windows: list[Window] = []
    hosts, ended = pd.Categorical(requests["host"]), requests["ended_at"].to_numpy("datetime64[us]")
    inference = requests["inference"].to_numpy()
    for code, host in enumerate(hosts.categories):
        own = hosts.codes == code
        served = _Requests.of(requests, np.flatnonzero(own & inference))
        if len(served) >= _MIN_REQUESTS:
            windows += _failures(str(host), served)
            windows += _slow(str(host), served)
            windows += _throughput(str(host), served)
        windows += _silence(str(host), np.sort(ended[own]), served)
    return sorted(windows, key=lambda window: (window.host, window.from_at, window.kind))


@dataclass(frozen=True)
class _Requests:
    """Requests of one host by columns, in the order of their ends. `kind` numbers what walls are compared within."""

    started: Column
    ended: Column
    wall_s: Column
    failed: Column
    answered: Column
    kind: Column

    @classmethod
    def of(cls, frame: pd.DataFrame, rows: Column) -> _Requests:
        """Some rows of `Analysis.verdicts()`."""
        source, line = pd.Categorical(frame["source"]).codes[rows], frame["line"].to_numpy()[rows]
        ended = frame["ended_at"].to_numpy("datetime64[us]")[rows]
        rises = (source[1:] > source[:-1]) | ((source[1:] == source[:-1]) & (line[1:] > line[:-1]))
        order = np.argsort(ended, kind="stable") if rises.all() else np.lexsort((line, source, ended))
        rows, ended = rows[order], ended[order]
        failed = _told(frame["status"], lambda status: status[:1] == "5" or status == "499", rows)
        # Compared with others of the same kind of work: an embedding is no yardstick for a chat.
        embeds = _told(frame["path"], lambda path: "embed" in path.partition("?")[0], rows)
        return cls(
            frame["started_at"].to_numpy("datetime64[us]")[rows], ended, frame["wall_s"].to_numpy()[rows].round(6),
            failed | _told(frame["verdict"], lambda verdict: verdict == "runner_crash", rows),
            _told(frame["status"], lambda status: status == "200", rows),
            2 * pd.Categorical(frame["model"]).codes[rows].astype(np.int32) + embeds,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ended)

    def __getitem__(self, some: slice | Column) -> _Requests:
        return _Requests(*(getattr(self, each.name)[some] for each in fields(self)))


def _told(column: pd.Series, holds: Callable[[str], bool], rows: Column) -> Column:
    """Whether that is true of the texts in these rows of a column."""
    texts = pd.Categorical(column)
    told: Column = np.array([holds(text) for text in texts.categories], dtype=bool)[texts.codes[rows]]
    return told


def dense_stretches(marks: Sequence[bool] | npt.NDArray[np.bool_], dense_rate: float = 0.5) -> list[tuple[int, int]]:
    """Stretches (first, last index) where marks are dense beyond chance, best first, not overlapping.

    >>> dense_stretches([False] * 40 + [True] * 12 + [False] * 40)
    [(40, 51)]
    >>> dense_stretches([True] * 50), dense_stretches([i % 10 == 0 for i in range(100)])
    ([], [])
    """
    n, marked_at = len(marks), np.flatnonzero(marks)
    found: list[tuple[int, int]] = []
    spans = [(0, n)] if n else []
    while spans:
        low, high = spans.pop()
        score, first, last = 0.0, low, low - 1
        for _ in range(2):  # once against all the rest, then against what lies outside the stretch that this gave
            usual = _rate_outside(marked_at, n, [*found, (first, last)])
            score, first, last = _best_stretch(marked_at, low, high, usual, dense_rate)
        marked, length = _count(marked_at, first, last), last - first + 1
        # What fills most of the log is what is usual there.
        if score > math.log(n * n / 2 / _FALSE_ALARM) and marked >= 3 and length < 0.8 * n:
            found.append((first, last))
            spans += [(low, first), (last + 1, high)]
    return found


def _count(marked_at: npt.NDArray[np.int64], first: int, last: int) -> int:
    """How many marks stand from the first to the last index."""
    return int(np.diff(np.searchsorted(marked_at, [first, last + 1]))[0])


def _rate_outside(marked_at: npt.NDArray[np.int64], n: int, stretches: list[tuple[int, int]]) -> float:
    """The share of marks outside the stretches; half a mark keeps it from being zero."""
    marked = len(marked_at) - sum(_count(marked_at, first, last) for first, last in stretches)
    length = n - sum(last - first + 1 for first, last in stretches)
    return min((marked + 0.5) / (length + 1), 0.5)


def _best_stretch(
    marked_at: npt.NDArray[np.int64], low: int, high: int, base: float, dense: float
) -> tuple[float, int, int]:
    dense = max(dense, min(0.98, 2 * base))
    gain, loss = math.log(dense / base), math.log((1 - dense) / (1 - base))
    best, first, last = 0.0, low, low - 1
    running, start, before = 0.0, low, low - 1
    for mark in marked_at[slice(*np.searchsorted(marked_at, [low, high]))].tolist():
        running += (mark - before - 1) * loss
        # A stretch that has lost all it had gained begins anew at the next mark.
        if running <= 0:
            running, start = 0.0, mark
        running += gain
        before = mark
        if running > best:
            best, first, last = running, start, mark
    return best, first, last


def _window(host: str, kind: Any, inside: _Requests, sentence: str) -> Window:
    from_at, to_at = np.fmin.reduce(inside.started), np.fmax.reduce(inside.ended)
    return Window(host, kind, from_at.item(), to_at.item(), len(inside), int(inside.failed.sum()), sentence)


def _failures(host: str, served: _Requests) -> list[Window]:
    windows = []
    for first, last in dense_stretches(served.failed):
        inside = served[first : last + 1]
        n, bad = len(inside), int(inside.failed.sum())
        elsewhere = (int(served.failed.sum()) - bad) / max(1, len(served) - n)
        sentence = f"{bad} of {n} requests failed; elsewhere {100 * elsewhere:.1f} %"
        windows.append(_window(host, "failure", inside, sentence))
    return windows


def _slow(host: str, served: _Requests) -> list[Window]:
    wall_s, usual_s = served.wall_s, np.full(served.kind.max() + 1, np.nan)
    for kind in np.flatnonzero(np.bincount(served.kind)).tolist():
        usual_s[kind] = np.median(wall_s[served.kind == kind])
    slow = (wall_s > 3 * usual_s[served.kind]) & (wall_s > 1.0)
    windows = []
    for first, last in dense_stretches(slow):
        inside = slice(first, last + 1)
        middle, outside = np.median(wall_s[inside]), np.median(np.delete(wall_s, inside))
        sentence = f"{int(slow[inside].sum())} of {last + 1 - first} requests took over three times the usual"
        sentence += f"; median {middle:.1f} s, elsewhere {outside:.1f} s"
        windows.append(_window(host, "slow", served[inside], sentence))
    return windows


def _throughput(host: str, served: _Requests) -> list[Window]:
    """Bins with far fewer answers than the others, where traffic is otherwise steady."""
    ended = served.ended[~np.isnat(served.ended)]
    if len(ended) < 5 * _BINS or not (span := ended[-1] - ended[0]):
        return []
    span_s = _seconds(span)
    number = (_seconds(ended - ended[0]) / span_s * _BINS).astype(int)
    counts = np.bincount(np.minimum(number, _BINS - 1), minlength=_BINS)
    middle = np.median(counts)
    spread = 1.4826 * np.median(np.abs(counts - middle))
    if middle < 5 or spread > middle / 3:  # bursty traffic has no throughput to fall below
        return []
    windows = []
    for first, last in dense_stretches(counts < middle / 3):
        if last == first:
            continue
        from_at, to_at = (ended[0] + span * edge // _BINS for edge in (first, last + 1))
        inside = served[(served.ended >= from_at) & (served.ended <= to_at)]
        per_minute = 60 * _BINS / span_s
        rate = counts[first : last + 1].mean() * per_minute
        sentence = f"{rate:.1f} answers a minute; elsewhere {middle * per_minute:.1f}"
        failed = int(inside.failed.sum())
        windows.append(Window(host, "throughput", from_at.item(), to_at.item(), len(inside), failed, sentence))
    return windows


def _silence(host: str, ended: Column, served: _Requests) -> list[Window]:
    """Gaps in which requests waited and nothing at all was answered, far longer than this log's other gaps."""
    gaps_s = _seconds(np.diff(ended))
    if len(gaps_s) < 5 * _MIN_REQUESTS:
        return []
    # Exponential gaps exceed their mean times log(n / alarm) with that chance; bursts make the upper gaps
    # the yardstick instead of the mean.
    usual_s = max(np.nanmean(gaps_s), np.nanpercentile(gaps_s, 99))
    limit_s = usual_s * math.log(len(gaps_s) / _FALSE_ALARM) / math.log(100)
    windows = []
    # Who waited at a time ended after it, but no later than the longest request might.
    longest = np.fmax.reduce(served.ended - served.started, initial=np.timedelta64(0, "us"))
    for at in np.flatnonzero(gaps_s > max(limit_s, 5.0)).tolist():
        from_at, to_at = ended[at], ended[at + 1]
        waiting = served[slice(*np.searchsorted(served.ended, [to_at, to_at + longest + 1]))]
        # A long request explains a gap only by its own length; it is what the silence consists of.
        held = waiting[waiting.started < to_at - (to_at - from_at) // 2]
        if not len(held):  # nobody was waiting: an idle server is silent too
            continue
        if len(held) == 1 and held.answered.all():  # one long answer to one client is no silence
            continue
        sentence = f"no answer at all for {gaps_s[at]:.0f} s while {len(held)} waited"
        sentence += f"; gaps here are usually under {usual_s:.0f} s"
        windows.append(Window(host, "silence", from_at.item(), to_at.item(), len(held), 0, sentence))
    return windows


def _seconds(spans: Any) -> Any:
    """Spans of microseconds as seconds; NaN where one is not known."""
    return spans / np.timedelta64(1, "s")
