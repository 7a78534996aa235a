"""The judged causes of a case for readers: lines of the answer, entries of summary.json, tables of the postmortem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .hypotheses import Judgement, stacked
from .hypotheses.findings import Evidence
from .parse.plain_text import markdown_escaped
from .runbook_links import RunbookLink, linked

# How many causes the answer tells in full; the report has all of them.
_TOLD = 4
_NAMED = 12


def summarized(judged: Sequence[Judgement]) -> list[dict[str, Any]]:
    """The entries of summary.json: id, state, severity, runbook, for, against, collect, and evidence with places."""
    return [
        {
            "id": one.id,
            "state": one.state,
            "severity": one.severity,
            "runbook": one.page.runbook,
            "for": [item.sentence for item in one.supporting],
            "against": [item.sentence for item in one.opposing],
            "collect": list(one.collect),
            "evidence": [_evidence(item) for item in one.evidence],
        }
        for one in judged
    ]


def _evidence(item: Evidence) -> dict[str, Any]:
    return {
        "direction": item.direction,
        "strength": item.strength,
        "sentence": item.sentence,
        "places": [vars(place) for place in item.places],
        "from": item.from_at.strftime("%Y-%m-%dT%H:%M:%SZ") if item.from_at else None,
        "to": item.to_at.strftime("%Y-%m-%dT%H:%M:%SZ") if item.to_at else None,
    }


def told(judged: Sequence[Judgement], links: Sequence[RunbookLink] = ()) -> list[str]:
    """What was found, how it hangs together, and what it was not, as lines of the answer.

    `links` are the runbooks that the causes name, whose commands are told with them.
    """
    commands = {link.name: link.command for link in links}
    stack = stacked(judged)
    found = stack.causes
    ordinary = [one for one in judged if one.found and one.severity == "info"]
    lines = [f"Causes: {len(found)} shown." if found else "Causes: none of the known ones is shown by this evidence."]
    for one in found[:_TOLD]:
        where = f" ({one.supporting[0].places[0]})" if one.supporting[0].places else ""
        runbook = f" Runbook: {commands.pop(name, name)}" if (name := one.page.runbook) else ""
        lines.append(
            f"- {one.page.title} ({one.id}), {one.state}, {one.severity}: {one.supporting[0].sentence}{where}{runbook}"
        )
    if more := found[_TOLD:]:
        lines.append(f"- And {_names(more)}: see the report.")
    if stack.sentences:
        lines.append(f"Together: {' '.join([*stack.interactions[:3], *stack.steps[:1]])}")
    elif found and (found[0].state == "confirmed" or not found[0].page.runbook):
        lines.append(f"What helps against it: {found[0].page.mitigation}")
    if ordinary:
        lines.append(f"Seen, and of little weight here: {_names(ordinary)}.")
    if out := [one for one in judged if one.state == "ruled_out"]:
        lines.append(f"Ruled out: {_names(out)}.")
    return lines


def _names(judged: Sequence[Judgement]) -> str:
    names = [one.page.name for one in judged]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def table(judged: Sequence[Judgement], *states: str) -> pd.DataFrame:
    """The judgements of these states, one a row: cause, state, severity, the strongest sentence, place, runbook."""
    rows = []
    for one in judged:
        if one.state in states:
            side = one.supporting if one.found else one.opposing
            first = (side or one.evidence or (None,))[0]
            rows.append(
                {
                    "cause": one.id,
                    "state": one.state,
                    "severity": one.severity,
                    "sentence": first.sentence if first else "; ".join(one.collect),
                    "where": str(first.places[0]) if first and first.places else "",
                    "runbook": one.page.runbook,
                }
            )
    return pd.DataFrame(rows, columns=["cause", "state", "severity", "sentence", "where", "runbook"])


def markdown(judged: Sequence[Judgement]) -> str:
    """Every cause found, with all that speaks for and against it and where it stands, linked to its page."""
    parts = []
    for one in judged:
        if one.found:
            runbook = f" Runbook: {linked(one.page.runbook)}." if one.page.runbook else ""
            parts.append(f"**[{one.page.title}](#{one.id})**: {one.state}, {one.severity}.{runbook}\n")
            for item in one.evidence:
                side = "for" if item.direction == "for" else "against"
                where = ", ".join(str(place) for place in item.places)
                parts.append(f"- {side}: {markdown_escaped(item.sentence)} ({markdown_escaped(where)})")
            parts.append("")
    return "\n".join(parts) or "None of the known causes is shown by this evidence."


def pages(judged: Sequence[Judgement]) -> str:
    """The pages of the causes found, as in docs/hypotheses.md."""
    return "\n".join(one.page.markdown for one in judged if one.found)


def to_collect(judged: Sequence[Judgement]) -> pd.DataFrame:
    """What to collect, and which causes it would decide; what decides most comes first."""
    wanted: dict[str, list[str]] = {}
    for one in judged:
        if one.state == "not_observable":
            for order in one.collect:
                wanted.setdefault(order, []).append(one.id)
    rows = [{"collect": order, "decides": ", ".join(ids)} for order, ids in wanted.items()]
    frame = pd.DataFrame(rows, columns=["collect", "decides"])
    return frame.sort_values("decides", key=lambda ids: -ids.str.count(","), kind="stable", ignore_index=True)
