"""The draft of a postmortem, as Markdown: what a good engineer would send, with every sentence from the evidence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .analysis import Analysis
from .causes import to_collect
from .hypotheses import Judgement, Stack, judge, stacked
from .hypotheses.facts import seconds_text
from .mitigations import MitigationRun, runs_of
from .observed.facts import MARKED, other_events
from .observed.mitigations import NOTHING, moments, run_told
from .parse.plain_text import markdown_escaped
from .runbook_links import linked

_SIDES = {"for": "", "against": "Against it: "}
_MOST = 12


def draft(found: Analysis) -> str:
    """Impact, timeline, contributing factors, what was ruled out, what could not be seen, mitigations, follow-ups.

    What comes from a log is escaped, so that it is text and nothing else wherever the draft is shown.

    >>> from warmstall.analysis import analyze
    >>> from warmstall.case import sample_incident
    >>> draft(analyze(sample_incident())).splitlines()[0]
    '# Draft postmortem: 2026-11-20, 21:00 to 21:02 UTC'
    """
    judged = judge(found)
    stack = stacked(judged)
    parts = [
        _title(found),
        _section("Impact", _impact(found)),
        _section("Timeline", _timeline(found, judged)),
        _section("Contributing factors", _factors(stack)),
        _section("What was ruled out", _ruled_out(judged)),
        _section("What we could not see", _unseen(judged)),
        _section("Mitigations", [*_done(found, judged), *_mitigations(stack)]),
        _section("Follow-ups", _follow_ups(stack, judged)),
    ]
    return "\n".join(parts)


def _section(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {heading}", "", *lines, ""])


def _title(found: Analysis) -> str:
    requests = found.verdicts()
    if requests.empty:
        return "# Draft postmortem\n"
    first, last = requests["started_at"].min(), requests["ended_at"].max()
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"# Draft postmortem: {first:%Y-%m-%d, %H:%M} to {until} UTC\n"


def _impact(found: Analysis) -> list[str]:
    inference = found.inferences()
    lost = len(found.unmatched_trials)
    if inference.empty:
        calls = f" {lost:,} calls of clients were captured." if lost else ""
        return [f"No request to a model stands in the evidence, so the impact on requests is not known.{calls}"]
    failed = inference[inference["status"].str[:1].isin(["4", "5"])]
    verdicts = inference["verdict"].astype("str").value_counts()  # categories would tell of those with none
    walls = inference["wall_s"]
    lines = [
        f"- {len(failed):,} of {len(inference):,} requests failed ({100 * len(failed) / len(inference):.2f} %); the "
        f"median request took {walls.median():.2f} s, 95 % took up to {walls.quantile(0.95):.2f} s, the longest "
        f"{walls.max():.1f} s.",
        "- By verdict: "
        + ", ".join(f"{count:,} {markdown_escaped(str(name))}" for name, count in verdicts.items())
        + ".",
    ]
    if lost:
        lines.append(f"- {lost:,} calls of clients have no line in the server's log: they hung or were lost.")
    for row in found.windows().itertuples():
        lines.append(f"- {row.from_at:%Y-%m-%d %H:%M:%S} to {row.to_at:%H:%M:%S}: {markdown_escaped(row.sentence)}.")
    return lines[:_MOST]


def _timeline(found: Analysis, judged: Sequence[Judgement]) -> list[str]:
    rows: list[tuple[pd.Timestamp, str, str]] = []
    for timeline in found.timelines.values():
        for run in timeline.runs:
            if run.started_at:
                rows.append((_utc(run.started_at), f"Ollama {run.version} started", f"{run.source}:{run.line}"))
    for one in judged:
        if one.found and one.severity != "info":
            for item in one.supporting:
                if item.from_at and item.strength != "weak":
                    rows.append((_utc(item.from_at), f"{one.page.title} begins: {item.sentence}", _where(item.places)))
    for row in found.windows().itertuples():
        rows.append((row.from_at, f"{row.kind} begins: {row.sentence}", ""))
        rows.append((row.to_at, f"{row.kind} ends", ""))
    events = other_events(found.case)
    for _, own in events[events["key"].isin(list(MARKED)) & events["at"].notna()].groupby("key", sort=False):
        first = own.iloc[0]
        more = f" (the first of {len(own):,})" if len(own) > 1 else ""
        rows.append((first["at"], f"{first['what']}{more}", f"{first['source']}:{first['line']}"))
    for row in moments(found.case).itertuples():
        rows.append((row.at, f"Runbook {row.runbook}: {row.what}", f"{row.source}:{row.line}"))
    table = [
        f"| {at:%Y-%m-%d %H:%M:%S} | {markdown_escaped(what)} | {markdown_escaped(where)} |"
        for at, what, where in sorted(rows, key=lambda row: row[0])
    ]
    if not table:
        return ["Nothing in the evidence has a time of its own."]
    return ["Times are UTC.", "", "| when | what | where |", "|---|---|---|", *table]


def _utc(at: object) -> pd.Timestamp:
    return pd.to_datetime(at, utc=True)


def _where(places: Sequence[object]) -> str:
    return ", ".join(str(place) for place in places[:2])


def _factors(stack: Stack) -> list[str]:
    if not stack.causes:
        return ["None of the known causes is shown by this evidence."]
    lines = [f"- {markdown_escaped(sentence)}" for sentence in stack.sentences]
    for one in stack.causes:
        lines += ["", f"**{markdown_escaped(one.page.title)}** (`{one.id}`): {one.state}, {one.severity}."]
        lines += [""] + [
            f"- {_SIDES[item.direction]}{markdown_escaped(item.sentence)} ({markdown_escaped(_where(item.places))})"
            for item in one.evidence
        ]
    return lines


def _ruled_out(judged: Sequence[Judgement]) -> list[str]:
    out = [one for one in judged if one.state == "ruled_out"]
    if not out:
        return ["Nothing: no source was complete enough for it."]
    return [
        f"- **{markdown_escaped(one.page.title)}** (`{one.id}`): {markdown_escaped(one.opposing[0].sentence)} "
        f"({markdown_escaped(_where(one.opposing[0].places))})"
        for one in out
    ]


def _unseen(judged: Sequence[Judgement]) -> list[str]:
    rows = to_collect(judged)
    if rows.empty:
        return ["Every known cause could be judged."]
    lines = [f"- {row.decides}: {markdown_escaped(row.collect)}" for row in rows.head(_MOST).itertuples()]
    return lines + ([f"- and {len(rows) - _MOST} more in the report."] if len(rows) > _MOST else [])


def _done(found: Analysis, judged: Sequence[Judgement]) -> list[str]:
    """What runbooks did, whether it was seen to work, and how long all of it took."""
    runs = runs_of(found.case)
    if not runs:
        return [NOTHING, ""]
    lines = ["What was done:", ""]
    for run in runs:
        lines.append(f"- {markdown_escaped(run_told(run))} ({markdown_escaped(f'{run.source}:{run.line}')})")
        for done in run.steps:
            seen = f" at {done.verified_at:%H:%M:%S} UTC" if done.verified_at and done.came_to == "verified" else ""
            does = f": {done.does}" if done.does else ""
            lines.append(f"    - {markdown_escaped(f'{done.step}{does}')}: {markdown_escaped(done.came_to)}{seen}.")
        for name in dict.fromkeys([*run.before, *run.after]):
            before, after = (f"{side[name]:,.4g}" if name in side else "not known" for side in (run.before, run.after))
            lines.append(f"    - measured, {markdown_escaped(name)}: {before} before, {after} after.")
    return [*lines, "", *_how_long(found, judged, runs), ""]


def _how_long(found: Analysis, judged: Sequence[Judgement], runs: Sequence[MitigationRun]) -> list[str]:
    acted = [done.started_at for run in runs for done in run.steps if done.started_at]
    if not acted:
        return ["Nothing was changed."]
    first = _utc(min(acted))
    begins = [_utc(item.from_at) for one in judged if one.found and one.severity != "info" for item in one.supporting
              if item.from_at and item.strength != "weak"]  # fmt: skip
    began = min((at for at in begins if at <= first), default=None)
    lines = [f"The first step acted at {first:%Y-%m-%d %H:%M:%S} UTC" +
             (f", {seconds_text((first - began).total_seconds())} after the trouble is seen to begin." if began
              else "; when the trouble began is not known.")]  # fmt: skip
    done = [run.mitigated_at for run in runs if run.mitigated_at]
    if not done:
        return [*lines, "None of it stands: what was done was taken back, failed, or was cut short."]
    at = _utc(max(done))
    took = f", {seconds_text((at - began).total_seconds())} after the trouble began" if began else ""
    lines.append(f"Mitigated at {at:%Y-%m-%d %H:%M:%S} UTC{took}: then the last step was seen to be as wanted.")
    inference = found.inferences()
    since = inference[inference["started_at"] >= at]
    if since.empty:
        return [*lines, "No request in the evidence began after that, so it does not show whether the trouble ended."]
    counts = [f"{int(part['status'].str[:1].isin(['4', '5']).sum()):,} of {len(part):,}" for part in
              (since, inference[inference["started_at"] < at])]  # fmt: skip
    return [*lines, f"Of the requests that began after that {counts[0]} failed, of those before it {counts[1]}."]


def _mitigations(stack: Stack) -> list[str]:
    if not stack.mitigations:
        return ["None follows from the causes."]
    lines = ["What follows from the causes:", ""]
    lines += ["| mitigation | runbook | prevents | shortens | leaves |", "|---|---|---|---|---|"]
    for done in stack.mitigations:
        page = done.judgement.page
        also = [", ".join(ids) or "–" for ids in ((page.id, *done.prevents), done.shortens, done.leaves)]
        runbook = linked(page.runbook) if page.runbook else "none"
        lines.append(f"| {markdown_escaped(page.mitigation)} | {runbook} | {' | '.join(also)} |")
    return lines


def _follow_ups(stack: Stack, judged: Sequence[Judgement]) -> list[str]:
    steps = [f"{done.judgement.page.mitigation} (`{done.judgement.id}`)" for done in stack.mitigations]
    steps += [f"Capture what was missing: {row.collect}" for row in to_collect(judged).head(3).itertuples()]
    return [f"- [ ] {markdown_escaped(step)} — owner: , by: " for step in steps] or ["None."]
