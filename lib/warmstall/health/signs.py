"""Signs of life: what shows, host by host, that the server ran in the period, or that it did not answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from ..analysis import Analysis

# What only a running server leaves, with the time of it: its lines, its answers, and its process.
_ALIVE = """
SELECT host, max(seen_at) AS seen_at FROM (
    SELECT host, coalesce("at", before_at) AS seen_at FROM events WHERE source IN (SELECT unnest($logs))
    UNION ALL SELECT host, "at" FROM probes WHERE status = '200' AND coalesce(error, '') = ''
    UNION ALL SELECT host, "at" FROM resident_models
    UNION ALL SELECT host, "at" FROM processes WHERE role = 'serve'
) WHERE seen_at > $after GROUP BY host
"""
_UNANSWERED = """
SELECT host, "at", coalesce(nullif(error, ''), 'HTTP ' || status) AS error FROM probes
WHERE "at" > $after AND NOT (status = '200' AND coalesce(error, '') = '') ORDER BY "at"
"""
_SERVERS = """
SELECT DISTINCT host FROM probes UNION SELECT DISTINCT host FROM resident_models
UNION SELECT DISTINCT host FROM processes WHERE role = 'serve'
"""


@dataclass(frozen=True)
class Signs:
    """One server's host: when it last showed life in the period, and the looks that it left unanswered since then."""

    host: str
    alive_at: datetime | None
    unanswered: int
    since: datetime | None
    error: str


def serving_hosts(found: Analysis) -> tuple[str, ...]:
    """The hosts on which the evidence shows a server, in whatever period."""
    logs = {account["host"] for account in found.case.accounts if account["kind"] == "server-log"}
    return tuple(sorted(logs | set(found.case.sql(_SERVERS)["host"])))


def signs_of_life(found: Analysis, period: Analysis, from_at: datetime) -> list[Signs]:
    """The signs of each server of `found` in `period`, which is `found` narrowed to what came after `from_at`."""
    after = from_at.replace(tzinfo=None)
    logs = [account["path"] for account in found.case.accounts if account["kind"] == "server-log"]
    alive = _last(period.case.sql(_ALIVE, after=after, logs=logs or [""]))
    for host, ended in period.verdicts().groupby("host")["ended_at"].max().items():
        alive[str(host)] = max(ended, alive.get(str(host), ended))
    silent = period.case.sql(_UNANSWERED, after=after)
    silent["at"] = pd.to_datetime(silent["at"], utc=True)
    signs = []
    for host in serving_hosts(found):
        last = alive.get(host)
        own = silent[silent["host"] == host]
        own = own if last is None else own[own["at"] > last]
        since = own["at"].min().to_pydatetime() if len(own) else None
        error = str(own["error"].iloc[-1]) if len(own) else ""
        signs.append(Signs(host, last.to_pydatetime() if last is not None else None, len(own), since, error))
    return signs


def _last(rows: pd.DataFrame) -> dict[str, pd.Timestamp]:
    return {str(host): pd.Timestamp(at, tz="UTC") for host, at in zip(rows["host"], rows["seen_at"], strict=True)}
