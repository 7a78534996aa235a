"""A verdict as metrics: a text file for node_exporter's textfile collector, or a small server of /metrics.

Only gauges, so that the same text is OpenMetrics and the older Prometheus format that node_exporter reads. What was
not measured has no sample: a number that is not known is no zero.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from wsgiref.simple_server import WSGIServer

from ..errors import InputError
from ..parse.plain_text import printable
from ..writing import whole_file
from .freshness import VERDICT, check, read_verdict
from .records import SEVERITY_ORDER

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

_MOST_LABEL = 200
Samples = Iterator[tuple[Sequence[str], Any]]


class Gauge(NamedTuple):
    """One metric: its name after `warmstall_`, what it says, its labels, and its samples in a verdict."""

    name: str
    told: str
    labels: tuple[str, ...]
    samples: Callable[[Mapping[str, Any]], Samples]


def _rows(verdict: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = verdict.get(name)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list | tuple) else []


def _time(name: str) -> Callable[[Mapping[str, Any]], Samples]:
    def samples(verdict: Mapping[str, Any]) -> Samples:
        try:
            at = datetime.fromisoformat(str(verdict.get(name)))
        except ValueError:
            return
        yield (), (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

    return samples


def _status(verdict: Mapping[str, Any]) -> Samples:
    for status in SEVERITY_ORDER:
        yield (status,), float(verdict.get("status") == status)


def _slis(verdict: Mapping[str, Any]) -> Samples:
    for row in _rows(verdict, "slis"):
        yield (row.get("name", ""), row.get("host", ""), row.get("unit", "")), row.get("value")


_OBJECTIVE = ("sli", "direction", "target")


def _objective(field: str) -> Callable[[Mapping[str, Any]], Samples]:
    def samples(verdict: Mapping[str, Any]) -> Samples:
        for row in _rows(verdict, "objectives"):
            objective = row.get("objective")
            if isinstance(objective, Mapping):
                value = {"met": 1.0, "missed": 0.0}.get(str(row.get("judged"))) if field == "judged" else row.get(field)
                yield tuple(objective.get(name, "") for name in _OBJECTIVE), value

    return samples


def _memory(field: str) -> Callable[[Mapping[str, Any]], Samples]:
    def samples(verdict: Mapping[str, Any]) -> Samples:
        for row in _rows(verdict, "memory"):
            # A pace without a trend is no forecast.
            if field != "left_s" or row.get("state") == "falling":
                yield (row.get("host", ""), row.get("what", ""), row.get("group", "")), row.get(field)

    return samples


def _causes(verdict: Mapping[str, Any]) -> Samples:
    for row in _rows(verdict, "causes"):
        if row.get("change") != "gone":
            yield (row.get("id", ""), row.get("state", ""), row.get("severity", "")), 1.0


def _failed(verdict: Mapping[str, Any]) -> Samples:
    delivery = verdict.get("delivery")
    if isinstance(delivery, Mapping):
        yield (), float(len(_rows(delivery, "failed")))


GAUGES = (
    Gauge("report_status", "1 for the status of the newest report, 0 for the others.", ("status",), _status),
    Gauge("report_timestamp_seconds", "When the newest report was written.", (), _time("written_at")),
    Gauge("report_due_timestamp_seconds", "When the next report is due.", (), _time("due_at")),
    Gauge("report_period_end_timestamp_seconds", "The end of the period that was reported.", (), _time("to")),
    Gauge(
        "sli", "A service level indicator of the period; host is empty for all hosts.", ("name", "host", "unit"), _slis
    ),
    Gauge(
        "objective_met",
        "1 if met, 0 if missed by more than chance explains; else absent.",
        _OBJECTIVE,
        _objective("judged"),
    ),
    Gauge(
        "error_budget_spent_ratio", "Share of the error budget that is gone.", _OBJECTIVE, _objective("budget_spent")
    ),
    Gauge(
        "error_budget_burn_rate",
        "How many times faster than allowed it went in the period.",
        _OBJECTIVE,
        _objective("burn_rate"),
    ),
    Gauge(
        "memory_exhaustion_seconds",
        "Time until it is gone, where it falls; else absent.",
        ("host", "what", "group"),
        _memory("left_s"),
    ),
    Gauge(
        "memory_available_bytes",
        "What was available at the last look; group is empty for the whole machine.",
        ("host", "what", "group"),
        _memory("available_bytes"),
    ),
    Gauge("cause", "1 for each cause that the report found.", ("id", "state", "severity"), _causes),
    Gauge("delivery_failed_channels", "Channels that the newest report could not reach.", (), _failed),
)


def text_of(verdict: Mapping[str, Any]) -> str:
    """The metrics of a verdict as text.

    >>> print(text_of({"status": "healthy"}).splitlines()[2])
    warmstall_report_status{status="healthy"} 1.0
    """
    from prometheus_client.openmetrics.exposition import generate_latest

    text: bytes = generate_latest(_registry(lambda: _families(verdict)))  # type: ignore[no-untyped-call]
    return text.decode()


def write_textfile(verdict: Mapping[str, Any], path: Path) -> None:
    """Write the metrics of a verdict in one stroke. Raises OutputError.

    node_exporter reads names that end in .prom. It never sees half a file, nor the temporary one.
    """
    with whole_file(path) as partial:
        partial.write_text(text_of(verdict), encoding="utf-8")
        partial.chmod(0o644)  # node_exporter is another user


def serve(folder: Path, port: int, host: str = "127.0.0.1") -> tuple[WSGIServer, threading.Thread]:
    """Serve /metrics of the newest verdict in a folder, read anew for each request, in a thread.

    Returns the server and its thread: join the thread to wait, shut the server down to end it; port 0 is a free one.
    `warmstall_report_fresh` is 0 when the verdict is stale, missing or unreadable; then nothing else of it is told.
    Raises InputError where the address cannot be listened on.
    """
    from prometheus_client import start_http_server
    from prometheus_client.core import GaugeMetricFamily

    def families() -> Iterator[GaugeMetricFamily]:
        fresh = check(folder, datetime.now(UTC)).fresh
        told = "1 if the newest report can be relied on, 0 if it is missing, unreadable, stale, or failed."
        yield GaugeMetricFamily("warmstall_report_fresh", told, value=float(fresh))
        try:
            yield from _families(read_verdict(folder / VERDICT))
        except InputError:
            return

    try:
        return start_http_server(port, addr=host, registry=_registry(families))
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port} cannot be listened on ({told}). Give --serve-metrics another port.") from None


def _families(verdict: Mapping[str, Any]) -> Iterator[GaugeMetricFamily]:
    from prometheus_client.core import GaugeMetricFamily

    for gauge in GAUGES:
        # By labels: a scrape with the same labels twice is refused as a whole.
        found = {
            tuple(" ".join(printable(str(label)[:_MOST_LABEL]).split()) for label in labels): float(value)
            for labels, value in gauge.samples(verdict)
            if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        }
        family = GaugeMetricFamily(f"warmstall_{gauge.name}", gauge.told, labels=gauge.labels)
        for labels, value in found.items():
            family.add_metric(labels, value)
        if found:
            yield family


def _registry(families: Callable[[], Iterator[GaugeMetricFamily]]) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class Families(Collector):
        """What a registry asks for at each scrape."""

        def collect(self) -> Iterator[GaugeMetricFamily]:
            return families()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families())
    return registry
