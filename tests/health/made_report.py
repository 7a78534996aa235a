"""A health report made by hand, of every kind of thing that a page shows, and the page of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from warmstall import report
from warmstall.health import pictures, tables
from warmstall.health.head import Head
from warmstall.health.memory_looks import Looks
from warmstall.health.records import (
    Cause,
    Comparison,
    Drift,
    Exhaustion,
    HealthReport,
    Number,
    Objective,
    ObjectiveResult,
    Reason,
    Sli,
)

TO = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
FROM = TO - timedelta(hours=1)
FIGURE = "application/vnd.plotly.v1+json"
_SENTENCE = "Memory of box will be gone at about 17:58, before the next two reports; 3 of 1,204 requests failed."


def made_report(text: str = "box") -> HealthReport:
    """A critical hour; `text` stands wherever a name or a sentence of a log can stand."""
    objective = Objective("wall_p95_s", 2.0, "at most")
    return HealthReport(
        status="critical",
        sentence=_SENTENCE if text == "box" else f"A cause was found: {text}",
        numbers=(Number("requests answered", "99.75 %"), Number("wall time, 95 % within", "2.4 s"),
                 Number("memory left", "6.1 GB, gone in 58 min")) if text == "box" else
                tuple(Number(text, text) for _ in range(3)),
        from_at=FROM, to_at=TO, written_at=TO, due_at=TO + timedelta(hours=1), hosts=(text,),
        reasons=(Reason(f"memory:{text}", "critical", f"Memory of {text} falls."),),
        slis=(
            Sli("availability", "", 0.9975, "share", 1201, 1204),
            Sli("wall_p50_s", "", 0.9, "s", None, 1201), Sli("wall_p95_s", "", 2.4, "s", None, 1201),
            Sli("warm_stall_rate", "", 0.002, "share", 2, 1204),
            Sli("decode_tokens_per_s", "", 31.5, "1/s", None, 900),
            Sli("ttft_p95_s", "", None, "s", why=f"no client measured it: {text}"),
        ),
        objectives=(ObjectiveResult(objective, "missed", 2.4, 70, 1201, 1.2, 0.4, sentence=f"Missed on {text}."),),
        comparisons=(Comparison("wall_p95_s", "", 2.4, 1.5, 1.1, 1.9, 12, True, f"unusual for {text}"),),
        memory=(Exhaustion(text, "memory", "falling", TO, 6.1e9, 64e9, -6.3e9, 3480, 2900, 4300, 5, f"{text} falls"),),
        drift=(Drift(text, "setting", text, text, text, f"{text} is {text}, was {text}"),),
        causes=(Cause("memory_pressure", "Memory pressure", "supported", "critical", "new", text, text),),
        residency=({"host": text, "model": text, "in_memory_share": 0.9, "loads": 3, "reloads": 1},),
        not_observed=(f"Time to first token: {text}",), notes=(f"a note: {text}",),
    )  # fmt: skip


def made_history(report: HealthReport, reports: int = 168) -> pd.DataFrame:
    """So many hours before the report, with a daily cycle and some reports missing."""
    rows = []
    for hour in range(reports, 0, -1):
        if hour in (30, 31, 32):
            continue
        to_at = report.to_at - timedelta(hours=hour)
        cycle = 1 + 0.25 * math.sin(2 * math.pi * hour / 24)
        for sli in report.slis:
            if sli.value is not None:
                value = 1 - (1 - sli.value) * cycle if sli.name == "availability" else 0.6 * sli.value * cycle
                rows.append({"kind": "sli", "host": "", "name": sli.name, "value": value, "report_to": to_at})
    frame = pd.DataFrame(rows, columns=["kind", "host", "name", "value", "report_to"])
    frame["report_from"] = frame["report_to"] - pd.Timedelta(hours=1)
    return frame.assign(count=None, of=0, text="")


def made_looks(report: HealthReport) -> Looks:
    """Twelve hours, calm at first, then down to what the report says is left."""
    hours = np.arange(-12.0, 0.01, 0.25)
    left = np.minimum(40e9, 6.1e9 - 6.3e9 * hours)
    at_s = report.to_at.timestamp() + 3600 * hours
    return Looks(report.hosts[0], "memory", "", at_s, left, np.zeros(len(hours)), 64e9, 64e9)


def made_requests(report: HealthReport, text: str = "warm_ok") -> pd.DataFrame:
    ends = pd.date_range(report.from_at, report.to_at, periods=400)
    verdicts = ["warm_stall" if place % 97 == 0 else "cold_start" if place % 41 == 0 else text for place in range(400)]
    return pd.DataFrame({"ended_at": ends, "verdict": verdicts, "inference": True})


def made_stays(report: HealthReport, model: str = "llama3:8b") -> pd.DataFrame:
    at = pd.Timestamp(report.from_at)
    minutes = [(model, None, 20), (model, 25, None), ("gemma4:e4b", 18, 27), ("nomic-embed-text", 2, 58)]
    return pd.DataFrame([
        {"host": report.hosts[0], "model": name, "loaded_at": at + pd.Timedelta(minutes=begins) if begins else pd.NaT,
         "unloaded_at": at + pd.Timedelta(minutes=ends) if ends else pd.NaT} for name, begins, ends in minutes
    ])  # fmt: skip


def page_of_outputs(folder: Path, shown: Iterable[tuple[str, object]], failure: str = "") -> Path:
    """The page of a notebook whose cells showed these objects, each under a heading."""
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    cells = [nbformat.v4.new_markdown_cell("# Before the head"), nbformat.v4.new_code_cell("parameter = 1")]
    for heading, value in shown:
        # plotly would show a figure by itself
        data = {FIGURE: json.loads(value.to_json())} if isinstance(value, Figure) else formatter.format(value)[0]
        output = nbformat.v4.new_output("execute_result", data=data, execution_count=1)
        if heading:
            cells.append(nbformat.v4.new_markdown_cell(f"## {heading}"))
        cells.append(nbformat.v4.new_code_cell("shown()", outputs=[output], metadata={"tags": ["hide-input"]}))
    executed, page = folder / "executed.ipynb", folder / "report.html"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), executed)
    page.write_text(report.html_page(executed, "Health report", failure), encoding="utf-8")
    return page


def everything(made: HealthReport, text: str = "warm_ok") -> list[tuple[str, object]]:
    return [
        ("", Head(made)),
        ("Trends", pictures.trends(made, made_history(made))),
        ("Memory", pictures.memory(made, [made_looks(made)])),
        ("Models in memory", pictures.residency(made_stays(made, text), made)),
        ("Verdicts", pictures.verdicts(made_requests(made, text), made)),
        ("Reasons", tables.why(made)),
        ("Causes", tables.causes(made)),
        ("Drift", tables.drift(made)),
        ("Objectives", tables.objectives(made)),
        ("Levels", tables.levels(made)),
        ("Residency", tables.residency(made)),
        ("Not observed", tables.not_observed(made)),
    ]


def of_status(made: HealthReport, status: str) -> HealthReport:
    return replace(made, status=status)
