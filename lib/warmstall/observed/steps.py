"""The latency map: which steps of an application its questions spent their seconds in, by the application's own trace.

A question is a span `question`; where there is none, the outermost span of every trace that calls a model, or of every
trace. `RULE` says how its time is divided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..case import Case
from ..parse.plain_text import printable
from .captured import is_captured

RULE = (
    "Every moment of a question is given to one step, so that the shares add up to 1: going back from its end, to the "
    "step that it then waited for. Of steps side by side that is the one that ended last, and of steps within each "
    "other the innermost; what no step within accounts for is a step's own."
)
COLUMNS = ["step", "of", "n", "p50_s", "p95_s", "share", "errors"]
QUESTION_COLUMNS = ["which", "row", "step", "of", "thread", "from_s", "wall_s", "own_s", "outcome", "error",
                    "started_at", "source", "line"]  # fmt: skip
_QUESTION = "question"
# Of one question, the longest are drawn; of all steps, those that cost most are told elsewhere.
_DRAWN_MAX = 200
_SUMMARIZED_MAX = 40
_TOLD_SHARE = 0.05


@dataclass(frozen=True)
class _Map:
    """All spans that ended, each with its own seconds, and the number of its question where it belongs to one."""

    spans: pd.DataFrame
    questions: list[int]


_mapped_before: WeakKeyDictionary[Case, _Map] = WeakKeyDictionary()


def steps(case: Case) -> pd.DataFrame:
    """Each step of the questions, the costliest first: step, of, n, p50_s, p95_s, share (0 to 1), errors.

    `of` is the collection of a search, else the model of a call, else empty. Without spans there is no row.
    """
    if not is_captured(case, "spans"):
        return pd.DataFrame(columns=COLUMNS)
    spans = _mapped(case).spans
    inside = spans[spans["question"] >= 0]
    if inside.empty:
        return pd.DataFrame(columns=COLUMNS)
    groups = inside.groupby(["step", "of"], sort=True)
    found = groups["wall_s"].agg(
        n="size", p50_s="median", p95_s=lambda walls: walls.quantile(0.95)
    )  # fmt: skip
    found["share"] = groups["own_s"].sum() / max(float(inside["own_s"].sum()), 1e-9)
    found["errors"] = groups["outcome"].agg(lambda outcomes: int(outcomes.eq("error").sum()))
    found = found.reset_index().sort_values(["share", "step", "of"], ascending=[False, True, True], ignore_index=True)
    return found[COLUMNS]


def questions(case: Case) -> pd.DataFrame:
    """Each question: host, source, line, trace_id, span_id, started_at, ended_at (UTC), wall_s, outcome, error."""
    mapped = _mapped(case)
    columns = ["host", "source", "line", "trace_id", "span_id", "started_at", "ended_at", "wall_s", "outcome", "error"]
    return mapped.spans.loc[mapped.questions, columns].sort_values("started_at", ignore_index=True)


def shown_questions(case: Case) -> pd.DataFrame:
    """The spans of the slowest question and of a median one, to be drawn as bars: columns QUESTION_COLUMNS.

    `which` is "slowest" or "median", `row` where a bar lies (below the span it is part of, and below what ran beside
    it), `from_s` its start after the question's.
    """
    mapped = _mapped(case)
    order = mapped.spans.loc[mapped.questions].sort_values("wall_s").index
    rows: list[dict[str, Any]] = []
    if len(order):
        rows += _drawn(mapped, order[-1], "slowest")
    if len(order) > 1:
        rows += _drawn(mapped, order[(len(order) - 1) // 2], "median")
    return pd.DataFrame(rows, columns=QUESTION_COLUMNS)


def sentences(case: Case) -> list[str]:
    """Where the seconds of the questions went, and which steps failed, a sentence each; none without questions."""
    if not is_captured(case, "spans"):
        return []
    asked, found = questions(case), steps(case)
    if asked.empty or not asked["wall_s"].sum():
        return []
    many = f"{len(asked):,} questions, median {asked['wall_s'].median():.2f} s" if len(asked) > 1 else "1 question"
    parts = [f"{100 * row.share:.0f} % {_named(row)}" for row in found.itertuples() if row.share >= _TOLD_SHARE]
    told = [f"Where a question's seconds went ({many}, by the application's trace): {', '.join(parts[:5])}."]
    failed = found[found["errors"].gt(0) & found["step"].ne(_QUESTION)].sort_values("errors", ascending=False)
    if len(failed):
        parts = [f"{_named(row)} {row.errors:,} of {row.n:,} times" for row in failed.head(3).itertuples()]
        told.append(f"Steps of questions that failed: {', '.join(parts)}.")
    return told


def summarized(case: Case) -> list[dict[str, Any]]:
    """The entries of summary.json, one a step, the costliest first."""
    return [
        {
            "step": row.step, "of": row.of, "n": int(row.n), "p50_s": round(float(row.p50_s), 6),
            "p95_s": round(float(row.p95_s), 6), "share": round(float(row.share), 4), "errors": int(row.errors),
        }
        for row in steps(case).head(_SUMMARIZED_MAX).itertuples()
    ]  # fmt: skip


def _named(row: Any) -> str:
    return printable(f"{row.step} {row.of}".strip())[:60]


def _mapped(case: Case) -> _Map:
    if case not in _mapped_before:
        _mapped_before[case] = _map(case)
    return _mapped_before[case]


def _map(case: Case) -> _Map:
    spans = case.sql(
        "SELECT host, source, line, trace_id, span_id, parent_id, name AS step, "
        "coalesce(nullif(collection, ''), model, '') AS of, thread, started_at, ended_at, wall_s, outcome, error, "
        "operation FROM spans WHERE wall_s IS NOT NULL ORDER BY host, source, line"
    ).drop_duplicates(["trace_id", "span_id"], ignore_index=True)
    for name in ("started_at", "ended_at"):
        spans[name] = pd.to_datetime(spans[name], utc=True)
    if spans.empty:
        return _Map(spans.assign(own_s=0.0, question=-1), [])
    from_s = (spans["started_at"] - spans["started_at"].min()).dt.total_seconds().to_numpy()
    until_s = from_s + spans["wall_s"].to_numpy(float)
    inside = _family(spans)
    own_s, question = np.zeros(len(spans)), np.full(len(spans), -1)
    found = _questions(spans, inside)
    for number, first in enumerate(found):
        question[list(_below(first, inside))] = number
        for place, seconds in _divided(first, inside, from_s, until_s):
            own_s[place] += seconds
    return _Map(spans.assign(own_s=own_s, question=question, from_s=from_s), found)


def _family(spans: pd.DataFrame) -> dict[int, list[int]]:
    """The places of the spans directly within each, by its place in the frame; -1 where what is around is not here."""
    places = {key: place for place, key in enumerate(zip(spans["trace_id"], spans["span_id"], strict=True))}
    inside: dict[int, list[int]] = defaultdict(list)
    for place, key in enumerate(zip(spans["trace_id"], spans["parent_id"], strict=True)):
        inside[places.get(key, -1)].append(place)
    return inside


def _questions(spans: pd.DataFrame, inside: dict[int, list[int]]) -> list[int]:
    named = set(np.flatnonzero(spans["step"].eq(_QUESTION)))
    if named:
        within = {each for place in named for each in _below(int(place), inside) if each != place}
        return sorted(int(place) for place in named - within)
    calling = set(spans["trace_id"][spans["operation"].ne("")])
    outermost = inside[-1]
    return [place for place in outermost if spans["trace_id"].iat[place] in calling] or outermost


def _below(first: int, inside: dict[int, list[int]]) -> Iterator[int]:
    """A span and all within it, each once."""
    seen, left = {first}, [first]
    while left:
        place = left.pop()
        yield place
        new = [each for each in inside.get(place, ()) if each not in seen]
        seen.update(new)
        left += new


def _divided(
    first: int, inside: dict[int, list[int]], from_s: np.ndarray, until_s: np.ndarray
) -> Iterator[tuple[int, float]]:
    """The seconds of one question, each part given to a step (RULE)."""
    left = [(first, float(from_s[first]), float(until_s[first]))]
    seen = {first}
    while left:
        place, began, at = left.pop()
        for each in sorted(inside.get(place, ()), key=lambda each: until_s[each], reverse=True):
            begin, end = max(float(from_s[each]), began), min(float(until_s[each]), at)
            if end > begin and each not in seen:
                seen.add(each)
                yield place, at - end
                left.append((each, begin, end))
                at = begin
        yield place, at - began


def _drawn(mapped: _Map, first: int, which: str) -> Iterator[dict[str, Any]]:
    """The longest spans of one question, each in the first free row below the span that it is part of."""
    own = mapped.spans[mapped.spans["question"] == mapped.questions.index(first)]
    longest = own.nlargest(_DRAWN_MAX, "wall_s").index.union([first])
    own = own.loc[longest].sort_values(["from_s", "wall_s"], ascending=[True, False], kind="stable")
    rows: dict[str, int] = {}
    free_from: dict[int, float] = defaultdict(float)
    for span in own.itertuples():
        begin = span.from_s - mapped.spans["from_s"].iat[first]
        row = 0 if span.Index == first else rows.get(span.parent_id, 0) + 1
        while row in free_from and begin < free_from[row] - 1e-9:
            row += 1
        rows[span.span_id] = row
        free_from[row] = max(free_from[row], begin + span.wall_s)
        yield {
            "which": which, "row": row, "step": span.step, "of": span.of, "thread": span.thread, "from_s": begin,
            "wall_s": span.wall_s, "own_s": span.own_s, "outcome": span.outcome, "error": span.error,
            "started_at": span.started_at, "source": span.source, "line": span.line,
        }  # fmt: skip
