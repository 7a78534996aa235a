"""Examples of `sequential_retrieval`."""

import json
from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog
from hypotheses.traced import Trace, healthy

SERVER = ServerLog().start().load(5).request(10, 3.0).text()
NAMES = ("handbook", "tickets", "questions", "glossary", "papers")


def queries(questions: int, at_once: bool = False, names: tuple[str, ...] = NAMES, pause_s: float = 0.004) -> str:
    """A log of an application that asks these collections for each question, one after another or at once."""
    lines = []
    for number in range(questions):
        end_s = start_s = number * 20.0
        for place, name in enumerate(names):
            took_s = 0.31 + 0.04 * place
            end_s = start_s + took_s if at_once else end_s + took_s + pause_s
            at = NOON + timedelta(seconds=end_s)
            lines.append(json.dumps({
                "timestamp": at.isoformat(timespec="milliseconds"), "level": "info", "event": "queried",
                "method": "POST", "path": f"/api/v2/tenants/t/databases/d/collections/{name}/query", "status": 200,
                "duration_ms": round(took_s * 1000, 1)}))  # fmt: skip
    return "\n".join(lines) + "\n"


def traced(questions: int, took_s: float = 0.3, thread: str = "MainThread") -> str:
    """A trace in which each question is embedded and searched for in five collections, one after another."""
    trace = Trace()
    for number in range(questions):
        at_s = 20.0 * number
        root = trace.span("question", at_s, 5 * (took_s + 0.1) + 2.0)
        for place, name in enumerate(NAMES):
            begun_s = at_s + place * (took_s + 0.1)
            trace.embed(begun_s, 0.1, root, "small" if place < 3 else "large")
            trace.search(begun_s + 0.1, took_s, root, name, thread=thread)
        trace.generate(at_s + 5 * (took_s + 0.1), 2.0, root)
    return trace.text()


def one_by_one_in_threads(threads: int = 5, took_s: float = 0.0008) -> str:
    """Searches in so many threads, which follow each other: by chance where they are this short."""
    trace = Trace()
    for number in range(6):
        root = trace.span("question", 10.0 * number, 2.0)
        for place, name in enumerate(NAMES):
            at_s = 10.0 * number + 1.25 * took_s * place
            trace.search(at_s, took_s, root, name, thread=f"pool_{place % threads}")
    return trace.text()


EXAMPLES = [
    Example(
        "five collections, question after question",
        "confirmed",
        {"server.log": SERVER, "app-rag.log": queries(12)},
        ("In 12 questions 5 collections", "2.0 s in all"),
        severity="warning",
    ),
    Example("one question", "supported", {"app-rag.log": queries(1)}),
    Example("too short to be noticed", "confirmed", {"app-rag.log": queries(6, names=NAMES[:2])}, severity="info"),
    Example(
        "asked at once",
        "ruled_out",
        {"server.log": SERVER, "app-rag.log": queries(12, at_once=True)},
        ("48 of 60 queries",),
    ),
    Example("one collection", "ruled_out", {"app-rag.log": queries(12, names=("handbook",))}, ("1 collection",)),
    Example("something else between the queries", "not_observable", {"app-rag.log": queries(12, pause_s=2.0)}),
    Example(
        "no query in the log",
        "not_observable",
        {"server.log": SERVER, "app-rag.log": "INFO:     Started server process [7]\n" * 3},
        ("milliseconds",),
    ),
    Example("no service beside Ollama", "not_observable", {"server.log": SERVER}),
    Example(
        "a trace of embed and search, five times one after another",
        "confirmed",
        {"server.log": SERVER, "trace.jsonl": traced(4)},
        ("In 4 of 4 questions of the trace 5 collections", "embedded 5 times for 2 embedders", "2.0 s in all"),
        severity="warning",
    ),
    Example("a trace of one question", "supported", {"trace.jsonl": traced(1)}),
    Example("a trace of searches nobody notices", "confirmed", {"trace.jsonl": traced(4, 0.002)}, severity="info"),
    Example("a trace of searches at once", "ruled_out", {"trace.jsonl": healthy()}, ("In 6 of 6 questions",)),
    Example("short searches in threads", "ruled_out", {"trace.jsonl": one_by_one_in_threads()}, ("threads of their",)),
    Example("short searches in two threads", "not_observable", {"trace.jsonl": one_by_one_in_threads(2)}),
    Example(
        "long searches one after another, each in whichever thread of asyncio's pool is free",
        "confirmed",
        {"trace.jsonl": one_by_one_in_threads(2, 0.3)},
    ),
    Example(
        "searches at once beside a log without queries",
        "ruled_out",
        {"trace.jsonl": healthy(), "app-rag.log": "INFO:     Started server process [7]\n" * 3},
    ),
]
