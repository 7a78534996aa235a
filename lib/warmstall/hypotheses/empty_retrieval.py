"""Empty retrieval: questions got no document, although the collections are there to have one.

A search always returns the nearest that there is, unless a collection is empty, missing or of another user; what is
then thrown away as too far depends on a threshold that belongs to one embedder. A volume that was lost, an ingest that
never ran, a threshold of another model, or questions embedded by another model than the documents: each of them leaves
the prompt without a source, and no call fails.

Shown by:
    - a trace with questions for which no document was found: nothing was returned (an empty collection), or nothing of
      what was returned was near enough (the threshold, or another embedder)
    - the application's own words on a retrieval without documents
Ruled out by:
    - a trace of every answer, in which each question got documents
Mistaken for it:
    - single questions about something else, for which nothing ought to be found
    - searches that failed, which have an error
    - documents that were found, and then cut from a prompt that was too long
Severity: warning
Runbook: none
Mitigation: Compare the chunks in each collection and its embedder with what was taken in, then measure the threshold.
Leads to: ungrounded_answers
References:
    - https://github.com/apecloud/ApeRAG/issues/1114 (a threshold of 0.7, and often no document at all)
    - https://github.com/open-webui/open-webui/issues/3518 (nothing above the threshold, and the user is not told)
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, span
from .facts.questions import HOW_MANY, all_answers, questions_of
from .facts.services import NO_SERVICE, has_services
from .findings import Finding, Severity, proves, refutes, supports, unseen
from .ungrounded_answers import EMPTY

_COLLECT = (
    "for each question the number of documents found and, for each search, returned and kept: the application's trace, "
    "or its log at DEBUG (--app-log PATH)"
)
_NOTHING = rf"{EMPTY}|\bnothing (?:was |is )?found\b"
# People ask about something else now and then, not most of the time.
_MOSTLY = 0.5
# Fewer questions in a row without a document are chance; more are, where chance makes them this seldom.
_IN_A_ROW, _BY_CHANCE = 3, 0.01


def findings_in(facts: Facts) -> Iterator[Finding]:
    """Questions without a document, by the application's trace or its log."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    questions = questions_of(facts)
    questions = questions[questions["documents"].notna()]
    empty = questions[questions["documents"].eq(0)]
    if len(empty):
        yield from _by_trace(facts, questions, empty)
        return
    told = facts.events(*(key for key in facts.counts if key in ("app_error", "app_slow_request")))
    told = told[told["text"].str.contains(_NOTHING)]
    if len(told):
        first = f", first at {clock_text(told['at'].min())}" if told["at"].notna().any() else ""
        yield supports(f"The application tells {counted(len(told), 'time')} of a retrieval without documents{first} "
                       f"(“{printable(str(told['text'].iloc[0]))[:80]}”).", *places(told))  # fmt: skip
    if len(questions):
        yield refutes(f"0 of {counted(len(questions), 'question')} in the trace got no document.", *places(questions))
    if not all_answers(facts, questions):
        yield unseen(_COLLECT)
        yield unseen(HOW_MANY)


def _by_trace(facts: Facts, questions: pd.DataFrame, empty: pd.DataFrame) -> Iterator[Finding]:
    searches = facts.spans("name = 'search' OR collection <> ''")
    searches = searches[searches["trace_id"].isin(empty["trace_id"]) & searches["outcome"].eq("ok")]
    rows = searches.groupby("trace_id")[["returned_rows", "kept"]].sum(min_count=1).astype(float)
    rows = rows.reindex(empty["trace_id"])
    returned = rows["returned_rows"].to_numpy()
    severity: Severity = "warning" if _is_a_habit(questions["documents"].eq(0)) else "info"
    of_them = f"{counted(len(questions), 'question')} in the trace got no document"
    for kind, which in (("far", returned > 0), ("nothing", returned == 0), ("unknown", returned != returned)):
        if not which.any():
            continue
        own = empty[which]
        asked = searches[searches["trace_id"].isin(own["trace_id"])]
        why = {
            "far": f"{returned[which].sum():,.0f} chunks were returned, and 0 were near enough: the threshold is too "
                   "strict, or documents and questions are of different embedders",
            "nothing": f"{counted(len(asked), 'search', 'searches')} of "
                       f"{counted(asked['collection'].nunique(), 'collection')} returned 0 chunks: empty, or not "
                       "those that were filled",
            "unknown": "the trace does not tell what was returned",
        }[kind]  # fmt: skip
        show = supports if kind == "unknown" else proves
        yield show(f"{len(own):,} of {of_them}; {why}.", *places(own, 2), *places(asked, 1), span=span(own),
                   severity=severity)  # fmt: skip


def _is_a_habit(empty: pd.Series) -> bool:
    """Whether most questions got nothing, or more of them in a row than chance would put there."""
    n, k = len(empty), int(empty.sum())
    in_a_row = int(empty.groupby((~empty).cumsum()).sum().max())
    by_chance = (n - in_a_row + 1) * prod((k - each) / (n - each) for each in range(in_a_row))
    return in_a_row >= _IN_A_ROW and (k >= _MOSTLY * n or by_chance < _BY_CHANCE)
