"""Examples of `reasoning_leak`."""

from hypotheses.example import Example, ServerLog
from hypotheses.traced import Trace, healthy

CHATS = ServerLog().start().load(5).request(10, 3.0).request(20, 4.0).text()


def asked(*left: bool) -> str:
    """The trace of questions, and whether reasoning is left in the answer to each."""
    trace = Trace()
    for number, each in enumerate(left):
        trace.question(10.0 * number, reasoning_left=each)
    return trace.text()


def application(message: str) -> str:
    """The log of an application that says this at noon."""
    return (
        "[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0\n"
        f"2026-03-14 12:00:09 ERROR rag.answer {message}\n"
    )


EXAMPLES = [
    Example(
        "a trace with reasoning left in answers",
        "confirmed",
        {"server.log": CHATS, "trace.jsonl": asked(True, False, True)},
        ("2 of 3 answers in the trace",),
        severity="warning",
    ),
    Example(
        "a tag in the application's messages",
        "supported",
        {"server.log": CHATS, "app-rag.log": application("cannot parse answer '<think>The user wants")},
        ("1 message",),
    ),
    Example(
        "a closing tag alone",
        "supported",
        {"app-rag.log": application("cannot parse answer 'so I will say hello</think>Hello")},
    ),
    Example("answers without", "ruled_out", {"server.log": CHATS, "trace.jsonl": healthy()}, ("0 of 6 answers",)),
    Example("answers that no log counts", "not_observable", {"trace.jsonl": healthy()}, ("how many answers",)),
    Example("fewer than all answers", "not_observable", {"server.log": CHATS, "trace.jsonl": asked(False)}),
    Example("nothing is told of answers", "not_observable", {"app-rag.log": application("cannot write the history")}),
    Example("no service beside Ollama", "not_observable", {"server.log": CHATS}, ("if there are any",)),
]
