"""Metrics of a verdict: what Prometheus and OpenMetrics read back from the file and from the server."""

from __future__ import annotations

import json
import math
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from conftest import ROOT
from warmstall.errors import InputError, OutputError
from warmstall.health import metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
HOSTILE = 'a"} 1\nwarmstall_forged 2 \\ \x1b[31m\u2028é' + "x" * 500
OBJECTIVE = {"sli": "availability", "target": 0.99, "direction": "at least"}
VERDICT: dict[str, Any] = {
    "schema": 1, "status": "degraded", "sentence": "x",
    "from": "2026-01-05T09:00:00+00:00", "to": "2026-01-05T10:00:00+00:00",
    "written_at": "2026-01-05T10:00:30+00:00", "due_at": "2026-01-05T11:00:30+00:00", "error": "",
    "slis": [
        {"name": "availability", "host": "", "value": 0.975, "unit": "", "count": 39, "of": 40, "why": ""},
        {"name": "wall_p95_s", "host": "box", "value": 12.5, "unit": "s", "count": None, "of": 40, "why": ""},
        {"name": "ttft_p95_s", "host": "box", "value": None, "unit": "s", "count": None, "of": 0, "why": "no trials"},
    ],
    "objectives": [
        {"objective": OBJECTIVE, "judged": "missed", "value": 0.975, "burn_rate": 2.5, "budget_spent": 0.4},
        {"objective": OBJECTIVE | {"target": 0.9}, "judged": "met", "value": 0.975, "burn_rate": 0.25},
        {"objective": OBJECTIVE | {"sli": "wall_p95_s"}, "judged": "not sure", "value": 12.5, "burn_rate": None},
    ],
    "memory": [
        {"host": "box", "what": "memory", "state": "falling", "left_s": 2400.0, "available_bytes": 3e9},
        {"host": "box", "what": "memory", "group": "/ollama", "state": "falling", "left_s": 60.0},
        {"host": "box", "what": "swap", "state": "steady", "left_s": 9e9, "available_bytes": 0},
    ],
    "causes": [
        {"id": "warm_stall", "state": "confirmed", "severity": "critical", "change": "new"},
        {"id": "cold_start", "state": "supported", "severity": "info", "change": "gone"},
    ],
    "delivery": {"sent": [], "failed": [{"channel": "ops"}], "held": [], "notes": []},
}  # fmt: skip


def read(text: str) -> Samples:
    """The samples that both parsers read, which are the same."""
    found = [
        {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in parse(text)
         for sample in family.samples} for parse in (openmetrics, prometheus)
    ]  # fmt: skip
    assert found[0] == found[1]
    return found[0]


def test_both_formats_read_back_what_the_verdict_says(tmp_path: Path) -> None:
    path = tmp_path / "textfile" / "warmstall.prom"
    metrics.write_textfile(VERDICT, path)
    found = read(path.read_text(encoding="utf-8"))

    def of(metric: str, **labels: str) -> float | None:
        return found.get((f"warmstall_{metric}", tuple(sorted(labels.items()))))

    objective = {"sli": "availability", "direction": "at least"}
    statuses = ("healthy", "could not tell", "degraded", "critical")
    assert [of("report_status", status=status) for status in statuses] == [0, 0, 1, 0]
    assert of("report_timestamp_seconds") == datetime(2026, 1, 5, 10, 0, 30, tzinfo=UTC).timestamp()
    assert of("report_due_timestamp_seconds") == datetime(2026, 1, 5, 11, 0, 30, tzinfo=UTC).timestamp()
    assert of("sli", name="availability", host="", unit="") == 0.975
    assert of("sli", name="wall_p95_s", host="box", unit="s") == 12.5
    assert of("objective_met", target="0.99", **objective) == 0
    assert of("objective_met", target="0.9", **objective) == 1
    assert of("error_budget_spent_ratio", target="0.99", **objective) == 0.4
    assert of("error_budget_burn_rate", target="0.99", **objective) == 2.5
    assert of("memory_exhaustion_seconds", host="box", what="memory", group="") == 2400
    assert of("memory_exhaustion_seconds", host="box", what="memory", group="/ollama") == 60
    assert of("memory_available_bytes", host="box", what="swap", group="") == 0
    assert of("cause", id="warm_stall", state="confirmed", severity="critical") == 1
    assert of("delivery_failed_channels") == 1


def test_what_is_not_known_has_no_sample() -> None:
    names = [f"{name}{dict(labels)}" for name, labels in read(metrics.text_of(VERDICT))]
    assert not any("ttft" in name for name in names)  # not measured
    assert not any("objective_met" in name and "wall_p95_s" in name for name in names)  # not sure
    assert not any("exhaustion" in name and "swap" in name for name in names)  # steady
    assert not any("cold_start" in name for name in names)  # gone


def test_log_text_in_labels_forges_nothing_and_is_short() -> None:
    rows = [{"name": HOSTILE, "host": HOSTILE, "unit": "s", "value": 1.0}]
    found = read(metrics.text_of(VERDICT | {"slis": rows, "causes": [{"id": HOSTILE, "state": HOSTILE}]}))
    assert not any("forged" in name for name, _ in found)
    values = [value for _, labels in found for _, value in labels if "forged" in value]
    assert len(values) == 4
    assert all(len(value) <= 200 and "\n" not in value and "\x1b" not in value for value in values)


def test_the_same_labels_twice_are_one_sample() -> None:
    """node_exporter refuses a file as a whole that has a sample twice."""
    rows = [{"name": "a", "host": f"h{end}", "unit": "", "value": 1.0} for end in ("", "\x1b", " ")]
    text = metrics.text_of({"slis": rows})
    assert sum(line.startswith("warmstall_sli{") for line in text.splitlines()) == 1
    read(text)


@pytest.mark.parametrize(
    "verdict",
    [
        {},
        {"slis": 3, "objectives": [1, {"objective": 2}], "memory": None, "causes": {}, "delivery": []},
        {"slis": [{"name": None, "value": True}, {"value": math.nan}, {"value": "1"}], "written_at": "soon"},
        {"slis": [{"name": ["x"], "value": math.inf}], "due_at": None, "status": "purple"},
    ],
)
def test_a_verdict_with_holes_is_still_metrics(verdict: dict[str, Any]) -> None:
    found = read(metrics.text_of(verdict))
    assert ("warmstall_report_status", (("status", "healthy"),)) in found
    assert not any(math.isnan(value) for value in found.values())


def test_the_file_is_whole_readable_for_others_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "warmstall.prom"
    for _ in range(2):
        metrics.write_textfile(VERDICT, path)
    assert path.read_text(encoding="utf-8").endswith("# EOF\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        metrics.write_textfile(VERDICT, path)


def test_the_server_tells_the_newest_verdict_and_whether_it_is_fresh(tmp_path: Path) -> None:
    server, thread = metrics.serve(tmp_path, 0)
    try:
        address = f"http://127.0.0.1:{server.server_port}/metrics"

        def asked() -> Samples:
            return {
                (sample.name, tuple(sample.labels.items())): sample.value
                for family in prometheus(urllib.request.urlopen(address, timeout=30).read().decode())
                for sample in family.samples
            }

        assert asked() == {("warmstall_report_fresh", ()): 0}  # none yet
        now = datetime.now(UTC)
        times = {"written_at": now.isoformat(), "due_at": (now + timedelta(hours=1)).isoformat()}
        (tmp_path / "verdict.json").write_text(json.dumps(VERDICT | times))
        assert asked()[("warmstall_report_fresh", ())] == 1
        assert asked()[("warmstall_report_status", (("status", "degraded"),))] == 1
        (tmp_path / "verdict.json").write_text(json.dumps(VERDICT))  # of long ago
        assert asked()[("warmstall_report_fresh", ())] == 0
        with pytest.raises(InputError, match="cannot be listened on"):
            metrics.serve(tmp_path, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `warmstall_(\w+)(?:\{([\w,]+)\})?` \|", page, flags=re.M)
    assert listed == [(gauge.name, ",".join(gauge.labels)) for gauge in metrics.GAUGES]
