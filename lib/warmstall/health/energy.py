"""Tokens, how fast they came, and what the GPUs drew for them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from ..analysis import Analysis
from ..matching import epoch

# Rates of very short answers say more about start-up costs than about speed (judging/around.py).
_FEWEST_TOKENS = 5
# Between looks further apart a GPU may have done anything.
_LONGEST_GAP_S = 60.0
# A quotient of sums is one of the period only where it has seen most of it.
_MOST_OF_IT = 0.8

_POWER = "collect: warmstall watch while the server works; it notes what each GPU draws (power_w), where the GPU tells"
_COUNTS = "collect: eval_count and eval_duration of each final chunk (trials), or the log of Ollama 0.30 or later"


def generations(found: Analysis, trials: pd.DataFrame) -> pd.DataFrame:
    """Answers whose tokens are known: host, from_s and to_s (epoch), tokens, decode_s.

    From the server's own slots where its log has them, for they tell of each answer; else from what clients kept.
    """
    period = found.case.period
    rows = []
    for timeline in found.timelines.values():
        for task in timeline.tasks:
            if task.total_s is None or task.started_from is None or (task.decode_tokens or 0) < _FEWEST_TOKENS:
                continue
            ended = task.started_from + timedelta(seconds=task.total_s)
            if task.decode_s and not (period and ended <= period.from_at):
                rows.append((task.host, epoch(task.started_from), epoch(ended), task.decode_tokens, task.decode_s))
    columns = ["host", "from_s", "to_s", "tokens", "decode_s"]
    if rows:
        return pd.DataFrame(rows, columns=columns)
    told = trials[(trials["eval_count"] >= _FEWEST_TOKENS) & (trials["eval_duration_s"] > 0)]
    told = told[told["error"].fillna("") == ""]
    ended = _seconds(told["ended_at"])
    return pd.DataFrame(
        {"host": told["host"], "from_s": ended - told["wall_s"].astype(float), "to_s": ended,
         "tokens": told["eval_count"].astype(float), "decode_s": told["eval_duration_s"].astype(float)},
        columns=columns,
    )  # fmt: skip


def tokens_per_joule(calls: pd.DataFrame, generated: pd.DataFrame, gpus: pd.DataFrame) -> tuple[float | None, str]:
    """Tokens written for each joule that the GPUs drew while requests ran, or None and what to collect.

    What a GPU draws while it idles is left out: it tells of the traffic, not of the server.
    """
    hosts = calls["host"].unique()
    looks = gpus[gpus["host"].isin(hosts)].dropna(subset=["at", "power_w"]).drop_duplicates(["host", "gpu", "at"])
    if looks.empty:
        return None, _POWER
    answers = int((calls["end"] == "answered").sum())
    if generated.empty or len(generated) < _MOST_OF_IT * answers:
        return None, f"tokens are known of {len(generated):,} of {answers:,} answers; {_COUNTS}"
    tokens = joules = busy_s = seen_s = 0.0
    for host, own in calls.groupby("host"):
        busy = _union(_seconds(own["started_at"]), _seconds(own["ended_at"]))
        seen, drawn = _drawn(looks[looks["host"] == host], busy)
        joules += drawn
        busy_s += float((busy[:, 1] - busy[:, 0]).sum())
        seen_s += sum(_overlap_s(busy, *span) for span in seen)
        for row in generated[generated["host"] == host].itertuples():
            tokens += row.tokens * _overlap_s(seen, row.from_s, row.to_s) / max(row.to_s - row.from_s, 1e-9)
    if not joules or not tokens or seen_s < _MOST_OF_IT * busy_s:
        return None, f"the GPUs were looked at in {seen_s:,.0f} of {busy_s:,.0f} s of work; {_POWER}"
    return tokens / joules, ""


def _drawn(looks: pd.DataFrame, busy: np.ndarray) -> tuple[np.ndarray, float]:
    """The spans in which one host's GPUs were watched, and the joules they drew in those parts that were busy."""
    watched, joules = np.empty((0, 2)), 0.0
    for _, own in looks.groupby("gpu"):
        own = own.sort_values("at")
        at, watts = _seconds(own["at"]).to_numpy(float), own["power_w"].to_numpy(float)
        close = np.diff(at) <= _LONGEST_GAP_S
        spans = np.column_stack([at[:-1], at[1:]])[close]
        means = ((watts[:-1] + watts[1:]) / 2)[close]
        joules += sum(mean * _overlap_s(busy, *span) for mean, span in zip(means, spans, strict=True))
        watched = spans if len(spans) > len(watched) else watched
    return _union(pd.Series(watched[:, 0]), pd.Series(watched[:, 1])), joules


def _seconds(times: pd.Series) -> pd.Series:
    """Seconds since the epoch."""
    return (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()


def _union(from_s: pd.Series, to_s: pd.Series) -> np.ndarray:
    """Spans that overlap or touch as one, in order: an array of (from, to)."""
    spans: list[list[float]] = []
    for begin, end in sorted(zip(from_s.to_numpy(float), to_s.to_numpy(float), strict=True)):
        if spans and begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([begin, end])
    return np.array(spans).reshape(-1, 2)


def _overlap_s(spans: np.ndarray, begin: float, end: float) -> float:
    """Seconds of a span within others that do not overlap each other."""
    return float(np.clip(np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], begin), 0, None).sum())
