"""The tables of a health report: what a reader wants to know first stands in the first column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from ..figures import Table, plain, table
from .pictures import Sentence, label_of
from .records import SEVERITY_ORDER, HealthReport
from .words import measured_text, value_text, wall

_MOST_ROWS = 40


def why(report: HealthReport) -> Table | Sentence:
    """The reasons for the colour, the worst first."""
    if not report.reasons:
        return Sentence("Nothing speaks against it.")
    worst = sorted(report.reasons, key=lambda one: -SEVERITY_ORDER.index(one.status))
    return _table({"reason": one.sentence, "status": one.status} for one in worst)


def memory(report: HealthReport) -> Sentence:
    """What is said of each host's memory."""
    return _sentences(one.sentence for one in report.memory)


def residency(report: HealthReport) -> Table:
    """How long each model was in memory, and how often it was loaded."""
    rows = []
    for one in report.residency:
        share, load_s = one.get("in_memory_share"), one.get("load_s")
        rows.append({
            "model": one.get("model"), "host": one.get("host"),
            "in memory": f"{100 * share:.0f} %" if isinstance(share, float) else "not known",
            "loads": one.get("loads"), "failed": one.get("failed_loads"), "again": one.get("reloads"),
            "put out": one.get("evictions"), "a load took": wall(load_s) if isinstance(load_s, float) else "",
            "context": one.get("context") or "", "seen by": one.get("seen_by", ""),
        })  # fmt: skip
    return _table(rows)


def objectives(report: HealthReport) -> Table:
    """Each objective: what was measured, whether it was met, and what it cost of the budget."""
    slis = {one.name: one for one in report.slis if not one.host}
    rows = []
    for one in report.objectives:
        sli = slis.get(one.objective.sli)
        unit = sli.unit if sli else ""
        rows.append({
            "objective": f"{label_of(one.objective.sli)}: {one.objective.direction} "
                         f"{value_text(one.objective.target, unit)}",
            "measured": measured_text(sli) if sli and one.value is not None else "not measured", "judged": one.judged,
            "bad": "" if one.bad is None else f"{one.bad:,} of {one.of:,}",
            "burn": "" if one.burn_rate is None else f"{one.burn_rate:.2g} ×",
            "spent": "" if one.budget_spent is None else f"{100 * one.budget_spent:.0f} %",
        })  # fmt: skip
    return _table(rows)


def levels(report: HealthReport) -> Table:
    """Every SLI with what it was made of and what is usual; where it was not measured, why."""
    usual = {(one.sli, one.host): one for one in report.comparisons}
    several = len({one.host for one in report.slis}) > 1
    rows = []
    for one in report.slis:
        beside = usual.get((one.name, one.host))
        band = ""
        if beside and beside.low is not None and beside.high is not None:
            band = f"{value_text(beside.low, one.unit)} to {value_text(beside.high, one.unit)}"
        rows.append({
            "level": label_of(one.name), **({"host": one.host or "all"} if several else {}),
            "value": measured_text(one), "of": one.of or "",
            "usual": band or (beside.why if beside and one.value is not None else ""),
            "remark": one.why or (beside.sentence if beside else ""),
        })  # fmt: skip
    return _table(rows)


def causes(report: HealthReport) -> Table | Sentence:
    """The causes that are shown or were in the last report."""
    if not report.causes:
        return Sentence("None of the known causes is shown by this evidence.")
    return _table({
        "cause": f"{one.title} ({one.id})", "since the last report": one.change, "state": one.state,
        "severity": one.severity, "evidence": one.sentence, "runbook": one.runbook,
    } for one in report.causes)  # fmt: skip


def drift(report: HealthReport) -> Sentence:
    """What is otherwise than at the last report."""
    return _sentences((one.sentence for one in report.drift), "Nothing that both reports captured.")


def not_observed(report: HealthReport) -> Sentence:
    """What could not be seen, and what a reader has to know of the period."""
    return _sentences((*report.notes, *report.not_observed), "Nothing is missing.")


def _table(rows: Iterable[Mapping[str, object]]) -> Table:
    return table(pd.DataFrame([dict(row) for row in rows]), rows=_MOST_ROWS)


def _sentences(sentences: Iterable[str], otherwise: str = "") -> Sentence:
    lines = [plain(sentence) for sentence in sentences]
    return Sentence("\n".join(f"• {line}" for line in lines) if len(lines) > 1 else "".join(lines) or otherwise)
