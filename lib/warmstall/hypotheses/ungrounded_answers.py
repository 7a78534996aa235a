"""Ungrounded answers: the model was asked without what it should have known, and answered all the same.

A retrieval that finds nothing, or fails, and is not noticed leaves a prompt without sources; a prompt that does not say
"answer only from these" lets the model fill the gap; a threshold that lets everything in does the same with noise. The
requests are fast and successful: nothing in the server's log tells it.

Shown by:
    - a trace of the application in which answers cite sources that were not in their prompt
    - a trace with questions for which nothing was found, of which the prompt said nothing, and which were answered
    - the application's own words on a retrieval without documents, with answers after it
    - failures of the retrieval while answers go on
Ruled out by:
    - a trace of every answer, in which each had documents or was told that there are none, and cites nothing else
    - no answer was given at all
Mistaken for it:
    - a model that is wrong in spite of its sources
    - a context that was cut: the sources were found, and then left out
    - an empty vector store after a lost volume, which is a cause of this
    - an answer that says that nothing was found, as it should
    - a number in brackets that is no citation, in one answer or two
Severity: warning
Runbook: none
Mitigation: Where retrieval finds nothing above a measured threshold, say so without asking the model.
References:
    - https://github.com/open-webui/open-webui/issues/3518 (nothing above the threshold, and the user is not told)
    - https://github.com/pgEdge/pgedge-rag-server/issues/9 (no threshold: an answer from nowhere)
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..parse.plain_text import printable
from .facts import Facts, clock_text, counted, places, span
from .facts.questions import HOW_MANY, all_answers, questions_of
from .facts.questions import answered as answered_of
from .facts.services import NO_SERVICE, has_services
from .findings import Finding, excludes, hints, proves, refutes, supports, unseen

_COLLECT = (
    "the prompt as it was sent for one bad answer: does it hold the documents, and the order to answer from them only? "
    "(OLLAMA_DEBUG_LOG_REQUESTS=true, or the application's trace)",
    "for each question the number of documents found, with their distances and the threshold: the application's log "
    "at DEBUG (--app-log PATH)",
)
_DOCUMENTS = r"(?:documents?|docs|chunks?|passages?|results?|matches|sources|context)"
EMPTY = (
    rf"(?i)\b(?:retriev\w*|found|return\w*|got|search\w*)\b\W{{1,5}}(?:0|zero|no) (?:\w{{1,20}} ){{0,2}}{_DOCUMENTS}\b"
    rf"|\b(?:no|zero|empty) (?:relevant |matching |retrieved )?{_DOCUMENTS}\b(?: (?:found|retrieved|returned))?"
)
# A number in brackets may be meant otherwise, which no check of an answer can know; in three answers it is no chance.
_FEWEST_ANSWERS = 3
# Failures of the way to the store, as the clients of vector stores raise them.
_FAILED = r"(?i)(?:collection .{0,80}(?:does not exist|not found)|chroma|qdrant|weaviate|milvus|retriev)"


def findings_in(facts: Facts) -> Iterator[Finding]:
    """What the application's log lets see of the way from question to prompt."""
    if not has_services(facts):
        yield unseen(NO_SERVICE)
        return
    answered = answered_of(facts)
    if facts.has_server_log and len(facts.requests) and answered.empty:
        yield excludes(f"0 of {counted(len(facts.requests), 'request')} to the models ended in an answer in words.",
                       *places(facts.requests))  # fmt: skip
        return
    questions = questions_of(facts)
    questions = questions[questions["unfounded"].notna()]
    traced = list(_by_trace(questions))
    yield from traced
    if all_answers(facts, questions) and not traced:
        yield refutes(f"0 of {counted(len(questions), 'answer')} in the trace cite a source that was not in the "
                      "prompt, and each had documents or was told that there are none.",
                      *places(questions))  # fmt: skip
        return
    keys = [key for key in facts.counts if key in ("app_error", "app_slow_request", "app_traceback")]
    told = facts.events(*keys)
    empty = told[told["text"].str.contains(EMPTY) & told["key"].ne("app_traceback")]
    failed = told[told["text"].str.contains(_FAILED) & told["key"].ne("app_slow_request")]
    failed = failed.drop(empty.index, errors="ignore")
    for rows, what in ((empty, "a retrieval without documents"), (failed, "a retrieval that failed")):
        if rows.empty:
            continue
        after = answered[answered["started_at"] >= rows["at"].min()] if rows["at"].notna().any() else answered.head(0)
        sentence = (
            f"The application tells of {what} {counted(len(rows), 'time')} "
            f"(“{printable(str(rows['text'].iloc[0]))[:80]}”)"
        )
        if len(after):
            first = clock_text(rows["at"].min())
            show = supports if what.endswith("documents") else hints
            yield show(f"{sentence}; {counted(len(after), 'answer')} came after the first, at {first}.",
                       *places(rows, 2), *places(after, 1), span=span(after))  # fmt: skip
        else:
            yield hints(f"{sentence}.", *places(rows))
    for order in (*_COLLECT, HOW_MANY):
        yield unseen(order)


def _by_trace(questions: pd.DataFrame) -> Iterator[Finding]:
    """Answers that stand on nothing, as the application itself found when it checked them."""
    unfounded = questions[questions["unfounded"] > 0]
    if len(unfounded):
        show = proves if len(unfounded) >= _FEWEST_ANSWERS else supports
        sources = int(unfounded["unfounded"].sum())
        yield show(f"{len(unfounded):,} of {counted(len(questions), 'answer')} in the trace "
                   f"{'cites' if len(unfounded) == 1 else 'cite'} {counted(sources, 'source')} that "
                   f"{'was' if sources == 1 else 'were'} not in {'its' if len(unfounded) == 1 else 'their'} prompt.",
                   *places(unfounded), span=span(unfounded))  # fmt: skip
    without = questions[questions["documents"].eq(0) & questions["note_given"].eq(0) & questions["answer_chars"].gt(0)]
    if len(without):
        yield supports(f"{len(without):,} of {counted(len(questions), 'answer')} in the trace were written from a "
                       "prompt with 0 documents, which does not say so.",
                       *places(without), span=span(without))  # fmt: skip
