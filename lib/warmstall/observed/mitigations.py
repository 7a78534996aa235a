"""What was done about an incident, for readers: tables of the notebook, rows of a timeline, entries of summary.json."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from ..case import Case
from ..mitigations import MitigationRun, events_of, runs_of
from ..parse.plain_text import printable

NOTHING = (
    "No journal of a runbook is in this evidence, so it does not tell what was done. A runbook that is run with "
    "--case keeps its journal in the case."
)
_COLUMNS = ["at", "runbook", "operator", "step", "what", "came_to", "verified_at", "sentence", "source", "line"]
# How an event stands in a timeline; what is only measured does not.
_IN_A_TIMELINE = {
    "run_started": "begun", "step_started": "step {step}: {does}", "step_verified": "step {step} verified: {sentence}",
    "step_failed": "step {step} not verified: {sentence}", "step_by_hand": "step {step} is left to do by hand",
    "undo_started": "begins to take back {step}", "undo_done": "{step} was taken back: {sentence}",
    "undo_failed": "{step} could not be taken back: {sentence}", "run_finished": "ended, {outcome}: {sentence}",
}  # fmt: skip


def told(case: Case) -> str:
    """What was done in a sentence a run, or that nothing is known of it."""
    return "\n".join(run_told(run) for run in runs_of(case)) or NOTHING


def run_told(run: MitigationRun) -> str:
    """One run in a sentence: what, by whom, on what, when, and what stands.

    >>> at = datetime(2026, 3, 14, 12)
    >>> run_told(MitigationRun("a1", "free-vram", "box:11434", "ann", at, None, "cut short", "", ()))
    'free-vram on box:11434, by ann, at 2026-03-14 12:00:00 UTC: cut short.'
    """
    where = f" on {run.target}" if run.target else ""
    by = f", by {run.operator}" if run.operator else ""
    sentence = f" {run.sentence}" if run.sentence else ""
    when = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
    return printable(f"{run.runbook or 'a run'}{where}{by}, at {when}: {run.outcome}.{sentence}")


def runs_and_steps(case: Case) -> pd.DataFrame:
    """Each run and, below it, each of its steps: when it began (UTC), what it does, what it came to, since when."""
    rows: list[dict[str, Any]] = []
    for run in runs_of(case):
        rows.append({"at": run.started_at, "runbook": run.runbook, "operator": run.operator, "step": "",
                     "what": f"on {run.target}", "came_to": run.outcome, "verified_at": run.mitigated_at,
                     "sentence": run.sentence, "source": run.source, "line": run.line})  # fmt: skip
        rows += [{"at": done.started_at, "runbook": run.runbook, "operator": run.operator, "step": done.step,
                  "what": done.does, "came_to": done.came_to, "verified_at": done.verified_at,
                  "sentence": done.sentence, "source": done.source, "line": done.line}
                 for done in run.steps]  # fmt: skip
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    for name in ("at", "verified_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


def measures(case: Case) -> pd.DataFrame:
    """What the runs measured before they acted, and after: runbook, measure, before, after."""
    rows = [
        {"runbook": run.runbook, "measure": name, "before": run.before.get(name), "after": run.after.get(name)}
        for run in runs_of(case)
        for name in dict.fromkeys([*run.before, *run.after])
    ]
    return pd.DataFrame(rows, columns=["runbook", "measure", "before", "after"]).astype(
        {"before": float, "after": float}
    )


def moments(case: Case) -> pd.DataFrame:
    """What belongs into a timeline: at (UTC), runbook, event, what, source, line."""
    rows = [
        {"at": row["at"], "runbook": row["runbook"], "event": row["event"], "source": row["source"],
         "line": row["line"], "what": _IN_A_TIMELINE[row["event"]].format_map(row) + _by(row)}
        for row in events_of(case)
        if row["event"] in _IN_A_TIMELINE
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["at", "runbook", "event", "what", "source", "line"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame


def _by(row: dict[str, Any]) -> str:
    return f", by {row['operator']}" if row["event"] == "run_started" and row["operator"] else ""


def summarized(case: Case) -> list[dict[str, Any]]:
    """The entries of summary.json, one a run."""
    return [
        {
            "run": run.run, "runbook": run.runbook, "target": run.target, "operator": run.operator,
            "started_at": _stamp(run.started_at), "finished_at": _stamp(run.finished_at), "outcome": run.outcome,
            "mitigated_at": _stamp(run.mitigated_at), "sentence": run.sentence, "before": run.before,
            "after": run.after, "source": run.source, "line": run.line,
            "steps": [
                {"step": done.step, "does": done.does, "started_at": _stamp(done.started_at),
                 "verified_at": _stamp(done.verified_at), "came_to": done.came_to, "sentence": done.sentence}
                for done in run.steps
            ],
        }
        for run in runs_of(case)
    ]  # fmt: skip


def _stamp(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") + "Z" if at else None
