"""Examples of `ungrounded_answers`."""

from hypotheses.example import Example, ServerLog

CHATS = ServerLog().start().load(5).request(10, 3.0).request(20, 4.0).text()
EMBEDDINGS = ServerLog().start().load(5).request(10, 0.1, path="/api/embed").request(11, 0.1, path="/api/embed").text()


def application(message: str) -> str:
    """The log of an application that says this at noon."""
    return (
        "[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0\n"
        f"2026-03-14 12:00:09 ERROR rag.answer {message}\n"
    )


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
        "reasoning in what the application writes",
        "not_observable",
        {"server.log": CHATS, "app-rag.log": application("cannot parse answer '<think>The user wants")},
        ("<think>",),
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
]
