"""Examples of `empty_retrieval`."""

from hypotheses.example import Example, ServerLog
from hypotheses.traced import Trace, healthy

CHATS = ServerLog().start().load(5).request(10, 3.0).request(20, 4.0).text()


def asked(empty: int, well: int = 0, returned: int = 0) -> str:
    """The trace of questions: `well` that find documents, then some whose searches return so many and keep none."""
    trace = Trace()
    for number in range(well + empty):
        if number < well:
            trace.question(10.0 * number)
        else:
            trace.question(10.0 * number, found={"returned": returned, "kept": 0}, documents_found=0, note_given=True)
    return trace.text()


def application(message: str) -> str:
    """The log of an application that says this at noon."""
    return (
        "[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0\n"
        f"2026-03-14 12:00:09 ERROR rag.answer {message}\n"
    )


EXAMPLES = [
    Example(
        "empty collections",
        "confirmed",
        {"trace.jsonl": asked(5)},
        ("5 of 5 questions in the trace got no document; 10 searches of 2 collections returned 0 chunks",),
        severity="warning",
    ),
    Example(
        "nothing near enough",
        "confirmed",
        {"trace.jsonl": asked(5, well=1, returned=5)},
        ("5 of 6 questions", "50 chunks were returned, and 0 were near enough"),
        severity="warning",
    ),
    Example("from some moment on", "confirmed", {"trace.jsonl": asked(5, well=15)}, severity="warning"),
    Example("one question about something else", "confirmed", {"trace.jsonl": asked(1, 9, 5)}, severity="info"),
    Example(
        "the application says so",
        "supported",
        {"server.log": CHATS, "app-rag.log": application("retrieved 0 documents from handbook")},
        ("1 time",),
    ),
    Example(
        "documents for every question",
        "ruled_out",
        {"server.log": CHATS, "trace.jsonl": healthy()},
        ("0 of 6 questions",),
    ),
    Example("answers that no log counts", "not_observable", {"trace.jsonl": healthy()}, ("how many answers",)),
    Example(
        "a trace of fewer questions than there are answers",
        "not_observable",
        {"server.log": CHATS, "trace.jsonl": healthy(1)},
        ("returned and kept",),
    ),
    Example("nothing is told of retrieval", "not_observable", {"app-rag.log": application("cannot write the history")}),
    Example("no service beside Ollama", "not_observable", {"server.log": CHATS}, ("if there are any",)),
]
