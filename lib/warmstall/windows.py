"""Spans that are unlike the rest of the log, found without thresholds that a user must guess.

Failures and slow requests are marks in a row of requests. A window is the stretch of the row where marks
are so much denser than elsewhere that chance does not explain it: the stretch with the highest
log-likelihood ratio between "marked half the time or more" and "marked at the usual rate" (Kadane's
maximal segment), kept when it beats what the best of as many random stretches would reach. Silence and
low throughput are judged the same way, against the spread of the gaps or bins of this log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .records import Window

# The chance that a log of nothing but noise shows a window; divided by the number of stretches tried.
_FALSE_ALARM = 1e-3
_BINS = 60
_MIN_REQUESTS = 10


def find_windows(requests: pd.DataFrame) -> list[Window]:
    """Windows of kind failure, slow, silence and throughput, per host, in order of time.

    `requests` is `Analysis.verdicts()`, of which host, ended_at, started_at, wall_s, status, verdict, model, path
    and inference are used.
    """
    windows: list[Window] = []
    for host, frame in requests.groupby("host", sort=True):
        frame = frame.sort_values(["ended_at", "source", "line"])
        served = frame[frame["inference"]]
        served = served.assign(wall_s=served["wall_s"].round(6))
        if len(served) >= _MIN_REQUESTS:
            windows += _failures(str(host), served)
            windows += _slow(str(host), served)
            windows += _throughput(str(host), served)
        windows += _silence(str(host), frame)
    return sorted(windows, key=lambda window: (window.host, window.from_at, window.kind))


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
    running, start, at = 0.0, low, low
    for mark in marked_at[slice(*np.searchsorted(marked_at, [low, high]))].tolist():
        # A stretch that has lost all it had gained begins anew at the next mark.
        while running > 0 and at < mark:
            running += loss
            at += 1
        if running <= 0:
            running, start = 0.0, mark
        running += gain
        at = mark + 1
        if running > best:
            best, first, last = running, start, mark
    return best, first, last


def _failed(frame: pd.DataFrame) -> pd.Series:
    return frame["status"].str[:1].eq("5") | frame["status"].eq("499") | frame["verdict"].eq("runner_crash")


def _window(host: str, kind: Any, frame: pd.DataFrame, sentence: str) -> Window:
    from_at, to_at = frame["started_at"].min(), frame["ended_at"].max()
    return Window(host, kind, _naive(from_at), _naive(to_at), len(frame), int(_failed(frame).sum()), sentence)


def _naive(at: pd.Timestamp) -> Any:
    return at.tz_convert("UTC").tz_localize(None).floor("us").to_pydatetime()


def _failures(host: str, served: pd.DataFrame) -> list[Window]:
    failed = _failed(served)
    windows = []
    for first, last in dense_stretches(failed.to_numpy()):
        inside = served.iloc[first : last + 1]
        n, bad = len(inside), int(failed.iloc[first : last + 1].sum())
        elsewhere = (int(failed.sum()) - bad) / max(1, len(served) - n)
        sentence = f"{bad} of {n} requests failed; elsewhere {elsewhere:.1%} do"
        windows.append(_window(host, "failure", inside, sentence))
    return windows


def _slow(host: str, served: pd.DataFrame) -> list[Window]:
    # Compared with others of the same kind of work: an embedding is no yardstick for a chat.
    kind = served["path"].map(lambda path: "embed" if "embed" in path.partition("?")[0] else "generate")
    usual = served["wall_s"].groupby([kind, served["model"]]).transform("median")
    slow = (served["wall_s"] > 3 * usual) & (served["wall_s"] > 1.0)
    windows = []
    for first, last in dense_stretches(slow.to_numpy()):
        inside = served.iloc[first : last + 1]
        middle, outside = inside["wall_s"].median(), served.drop(inside.index)["wall_s"].median()
        marked = int(slow.iloc[first : last + 1].sum())
        sentence = f"{marked} of {len(inside)} requests took over three times the usual"
        sentence += f"; middle {middle:.1f} s, elsewhere {outside:.1f} s"
        windows.append(_window(host, "slow", inside, sentence))
    return windows


def _throughput(host: str, served: pd.DataFrame) -> list[Window]:
    """Bins with far fewer answers than the others, where traffic is otherwise steady."""
    ended = served["ended_at"]
    span_s = (ended.max() - ended.min()).total_seconds()
    if span_s <= 0 or len(served) < 5 * _BINS:
        return []
    number = ((ended - ended.min()).dt.total_seconds() / span_s * _BINS).astype(int).clip(upper=_BINS - 1)
    counts = number.value_counts().reindex(range(_BINS), fill_value=0).sort_index()
    middle = counts.median()
    spread = 1.4826 * (counts - middle).abs().median()
    if middle < 5 or spread > middle / 3:  # bursty traffic has no throughput to fall below
        return []
    windows = []
    for first, last in dense_stretches((counts < middle / 3).tolist()):
        if last == first:
            continue
        from_at = ended.min() + pd.Timedelta(seconds=span_s * first / _BINS)
        to_at = ended.min() + pd.Timedelta(seconds=span_s * (last + 1) / _BINS)
        inside = served[(ended >= from_at) & (ended <= to_at)]
        per_minute = 60 * _BINS / span_s
        rate = counts.iloc[first : last + 1].mean() * per_minute
        sentence = f"{rate:.1f} answers a minute; elsewhere {middle * per_minute:.1f}"
        failed = int(_failed(inside).sum())
        windows.append(Window(host, "throughput", _naive(from_at), _naive(to_at), len(inside), failed, sentence))
    return windows


def _silence(host: str, frame: pd.DataFrame) -> list[Window]:
    """Gaps in which requests waited and nothing at all was answered, far longer than this log's other gaps."""
    ended = frame["ended_at"].sort_values()
    gaps = ended.diff().dt.total_seconds().iloc[1:]
    if len(gaps) < 5 * _MIN_REQUESTS:
        return []
    # Exponential gaps exceed their mean times log(n / alarm) with that chance; bursts make the upper gaps
    # the yardstick instead of the mean.
    usual_s = max(gaps.mean(), gaps.quantile(0.99))
    limit_s = usual_s * math.log(len(gaps) / _FALSE_ALARM) / math.log(100)
    windows = []
    for at, gap_s in gaps[gaps > max(limit_s, 5.0)].items():
        to_at = ended[at]
        from_at = to_at - pd.Timedelta(seconds=gap_s)
        # A long request explains a gap only by its own length; it is what the silence consists of.
        waiting = frame[(frame["started_at"] <= to_at) & (frame["ended_at"] >= to_at) & frame["inference"]]
        held = waiting[waiting["started_at"] < to_at - pd.Timedelta(seconds=gap_s / 2)]
        if held.empty:  # nobody was waiting: an idle server is silent too
            continue
        if len(held) == 1 and held["status"].eq("200").all():  # one long answer to one client is no silence
            continue
        sentence = (
            f"no answer at all for {gap_s:.0f} s while {len(held)} waited; gaps here are usually under {usual_s:.0f} s"
        )
        windows.append(Window(host, "silence", _naive(from_at), _naive(to_at), len(held), 0, sentence))
    return windows
