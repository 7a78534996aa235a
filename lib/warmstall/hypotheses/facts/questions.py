"""The questions that an application's own trace tells of, and whether it tells of all answers."""

from __future__ import annotations

import pandas as pd

from .calls import calls_of
from .facts import Facts

HOW_MANY = "the server's log, whole: it tells how many answers there were beside those in the application's trace"
# What the path says of a question, by the column it becomes here; a trace of others may use the same names.
_TOLD = {
    "documents": "warmstall.documents_found", "note_given": "warmstall.note_given", "cited": "warmstall.cited",
    "unfounded": "warmstall.unfounded", "reasoning_left": "warmstall.reasoning_left",
    "answer_chars": "warmstall.answer_chars",
}  # fmt: skip


def questions_of(facts: Facts) -> pd.DataFrame:
    """Spans named `question` in order of time, with what they tell as columns, empty where they do not.

    documents, note_given, cited, unfounded (numbers of sources), reasoning_left, answer_chars.
    """
    found = facts.spans("name = 'question'")
    told = {
        column: pd.Series([_number(fields.get(name)) for fields in found["fields"]], found.index, float)
        for column, name in _TOLD.items()
    }
    return found.assign(**told)


def all_answers(facts: Facts, questions: pd.DataFrame) -> bool:
    """Whether these questions are all that got an answer in words, as far as the server's log and clients' records go.

    Without that log it is not known how many answers there were, and what a trace does not hold, it does not clear.
    """
    calls = calls_of(facts)
    words = calls["outcome"].eq("ok") | calls["status"].eq("200")
    asked = int((words & ~calls["path"].str.contains("embed")).sum())
    return facts.has_server_log and 0 < len(questions) >= max(asked, len(answered(facts)))


def answered(facts: Facts) -> pd.DataFrame:
    """Requests in the server's log that ended in words of a model: no embeddings, no failures."""
    requests = facts.requests
    return requests[requests["status"].eq("200") & ~requests["path"].str.contains("embed")]


def _number(value: object) -> float | None:
    """A number or a flag as one; of a list its length, where an application lists what it cites."""
    if isinstance(value, list):
        return float(len(value))
    return float(value) if isinstance(value, int | float) else None
