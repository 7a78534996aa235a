"""When there was trouble: the span in which requests were slow or failed, which a look must cover to clear a cause."""

from __future__ import annotations

import pandas as pd

from .facts import Facts


def trouble_times(facts: Facts) -> pd.DataFrame:
    """host, source, line, started_at and ended_at (UTC) of every slow, failed or lost request; unknown ones if none."""
    columns = ["host", "source", "line", "started_at", "ended_at"]
    found = facts.troubled
    lost = facts.lost_trials
    if found.empty and lost.empty:
        found = facts.with_verdict("unknown", columns=columns)
    parts = [part[columns] for part in (found, lost) if len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    for name in ("started_at", "ended_at"):
        rows[name] = pd.to_datetime(rows[name], utc=True)
    return rows.dropna(subset=["started_at", "ended_at"]).reset_index(drop=True)


def covers(at: pd.Series, times: pd.DataFrame) -> bool:
    """Whether looks at these times reach from the first trouble to the last. Without any request nothing is known."""
    at = at.dropna()
    if at.empty or times.empty:
        return False
    return bool(at.min() <= times["started_at"].min() and at.max() >= times["ended_at"].max())


def within(times: pd.DataFrame, began: pd.Timestamp, ended: pd.Timestamp) -> pd.DataFrame:
    """The rows that overlap a span."""
    return times[(times["ended_at"] >= began) & (times["started_at"] <= ended)]
