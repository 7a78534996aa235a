"""Examples of `ungrounded_answers`."""

from hypotheses.example import Example, ServerLog
from hypotheses.traced import Trace

CHATS = ServerLog().start().load(5).request(10, 3.0).request(20, 4.0).text()
EMBEDDINGS = ServerLog().start().load(5).request(10, 0.1, path="/api/embed").request(11, 0.1, path="/api/embed").text()


def application(message: str) -> str:
    """The log of an application that says this at noon."""
    return (
        "[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0\n"
        f"2026-03-14 12:00:09 ERROR rag.answer {message}\n"
    )


def asked(*questions: dict[str, object]) -> str:
    """The trace of questions, each healthy but for what is given here."""
    trace = Trace()
    for number, given in enumerate(questions):
        trace.question(10.0 * number, **given)
    return trace.text()


NOTHING = {"documents_found": 0, "cited": 0}


EXAMPLES = [
    Example(
        "retrieval without documents, and answers",
        "supported",
        {"server.log": CHATS, "app-rag.log": application("retrieved 0 documents from handbook")},
        ("2 answers came after the first",),
    ),
    Example(
        "retrieval that fails",
        "not_observable",
        {"server.log": CHATS, "app-rag.log": application("chroma did not answer: connection refused")},
        ("a retrieval that failed",),
    ),
    Example(
        "no answer in words",
        "ruled_out",
        {"server.log": EMBEDDINGS, "app-rag.log": application("retrieved 0 documents from handbook")},
        ("0 of 2 requests",),
    ),
    Example(
        "nothing is told of retrieval",
        "not_observable",
        {"server.log": CHATS, "app-rag.log": application("cannot write the history")},
        ("the prompt",),
    ),
    Example("no service beside Ollama", "not_observable", {"server.log": CHATS}, ("if there are any",)),
    Example(
        "a trace with sources that never were",
        "confirmed",
        {"trace.jsonl": asked({}, {"unfounded": 2}, {"unfounded": 1}, {"unfounded": 1})},
        ("3 of 4 answers in the trace cite 4 sources that were not in their prompt",),
    ),
    Example(
        "a trace with one source that never was",
        "supported",
        {"trace.jsonl": asked({}, {"unfounded": 1})},
        ("1 of 2 answers in the trace cites 1 source that was not in its prompt",),
    ),
    Example(
        "a trace with answers from nothing",
        "supported",
        {"trace.jsonl": asked({}, NOTHING)},
        ("1 of 2 answers in the trace were written from a prompt with 0 documents",),
    ),
    Example(
        "a trace in which the model was told that nothing was found",
        "ruled_out",
        {"server.log": CHATS, "trace.jsonl": asked({}, NOTHING | {"note_given": True})},
        ("0 of 2 answers",),
    ),
    Example(
        "a trace of fewer questions than there are answers",
        "not_observable",
        {"server.log": CHATS, "trace.jsonl": asked({})},
    ),
]
