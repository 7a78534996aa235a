"""Thirty healthy days of a server with four slots, request by request: what their hours measure, and nothing is wrong.

Requests come by the clock of the day and the week, with hours of a batch job; sizes of answers have a heavy tail; who
finds all slots busy waits; who finds the model gone after five idle minutes loads it. Local time is set on a day in the
midst of it. A little fails, stalls and is truncated all the time.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from warmstall.health.records import Sli

START = datetime(2026, 10, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
_SLOTS = 4
_CLOCK_SET_ON_DAY = 20


def healthy_hours(seed: int, days: int = 30, per_hour: float | None = None) -> list[list[Sli]]:
    """The SLIs of each hour; `per_hour` is the traffic of the busiest hours, 20 to 400 where it is not given."""
    random = np.random.default_rng(seed)
    requests = _served(_arrivals(random, days, per_hour or float(np.exp(random.uniform(3.0, 6.0)))), random)
    hours = dict(iter(requests.groupby((requests["ended_s"] // 3600).astype(int))))
    return [_measured(hours.get(hour, requests.iloc[:0])) for hour in range(24 * days)]


def as_history(hours: list[list[Sli]]) -> pd.DataFrame:
    """What `history.read` gives of reports of these hours."""
    rows = [
        (START + hour * HOUR, START + (hour + 1) * HOUR, sli.host, "sli", sli.name, sli.value, sli.count, sli.of, "")
        for hour, slis in enumerate(hours) for sli in slis
    ]  # fmt: skip
    columns = ["report_from", "report_to", "host", "kind", "name", "value", "count", "of", "text"]
    return pd.DataFrame(rows, columns=columns).astype({"value": float, "count": float})


def _arrivals(random: np.random.Generator, days: int, per_hour: float) -> np.ndarray:
    arrived = []
    for hour in range(24 * days):
        local = hour + (hour >= 24 * _CLOCK_SET_ON_DAY)
        by_day = max(0.08, np.sin(np.pi * (local % 24 - 6) / 15) ** 1.5) if 6 < local % 24 < 21 else 0.08
        rate = per_hour * by_day * (0.35 if local // 24 % 7 >= 5 else 1.0) * (1 + hour / 2400)
        rate *= np.exp(random.normal(0, 0.3)) * (2.5 if random.random() < 0.02 else 1.0)
        arrived.append(3600 * (hour + random.random(random.poisson(rate))))
    return np.sort(np.concatenate(arrived))


def _served(arrived: np.ndarray, random: np.random.Generator) -> pd.DataFrame:
    count = len(arrived)
    prompt = np.exp(random.normal(np.log(500), 1.0, count))
    answer = np.exp(random.normal(np.log(180), 0.8, count))
    answer *= np.where(random.random(count) < 0.03, 1 + random.pareto(1.5, count), 1.0)
    answer, noise = np.minimum(answer, 8192), np.exp(random.normal(0, 0.06, count))
    free, idle_since, rows = [0.0] * _SLOTS, -3600.0, []
    for index, at in enumerate(arrived):
        begins = max(at, heapq.heappop(free))
        cold = begins - idle_since > 300
        pace = 60 / (1 + 0.25 * sum(end > begins for end in free)) * noise[index]
        first = begins + (random.uniform(5, 15) if cold else 0.0) + min(prompt[index], 8192) / 900
        ended = first + answer[index] / pace
        heapq.heappush(free, ended)
        idle_since = max(idle_since, ended)
        rows.append((ended, ended - at, first - at, begins - at, pace, cold, prompt[index] > 4096, answer[index]))
    columns = ["ended_s", "wall_s", "ttft_s", "queue_s", "pace", "cold", "truncated", "tokens"]
    requests = pd.DataFrame(rows, columns=columns)
    failed = (random.random(count) < 0.002) | (requests["wall_s"] > 300)
    return requests.assign(failed=failed, stalled=random.random(count) < 0.003)


def _measured(hour: pd.DataFrame) -> list[Sli]:
    count = len(hour)

    def quantile(name: str, column: str, share: float, unit: str = "s") -> Sli:
        return Sli(name, "", float(np.quantile(hour[column], share)) if count else None, unit, None, count)

    def rate(name: str, bad: int) -> Sli:
        return Sli(name, "", bad / count if count else None, "share", int(bad), count)

    joules = 60 * 3600 + 240 * (hour["tokens"] / hour["pace"]).sum()
    return [
        rate("availability", count - hour["failed"].sum()),
        quantile("wall_p50_s", "wall_s", 0.5), quantile("wall_p95_s", "wall_s", 0.95),
        quantile("wall_p99_s", "wall_s", 0.99), quantile("ttft_p50_s", "ttft_s", 0.5),
        quantile("ttft_p95_s", "ttft_s", 0.95), quantile("queue_wait_p95_s", "queue_s", 0.95),
        quantile("decode_tokens_per_s", "pace", 0.5, "1/s"),
        rate("warm_stall_rate", hour["stalled"].sum()), rate("cold_start_rate", hour["cold"].sum()),
        rate("truncation_rate", hour["truncated"].sum()),
        Sli("tokens_per_joule", "", float(hour["tokens"].sum() / joules) if count else None, "1/J", None, count),
    ]  # fmt: skip
