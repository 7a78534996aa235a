"""Examples of `context_truncation`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog


def log(path: str, cut: int = 0, **settings: str) -> ServerLog:
    """Ten requests, the first of them with prompts of 8,000 tokens for a context of 4,096."""
    found = ServerLog().start(**settings).load(5, 2.0)
    for number in range(10):
        at = NOON + timedelta(seconds=11 + 10 * number)
        if number < cut:
            fields = {"limit": 4096, "prompt": 8000, "keep": 4, "new": 4096}
            found.add(at, slog(at, "WARN", "runner.go:170", "truncating input prompt", **fields))
        found.request(10 + 10 * number, 5.0, path=path)
    return found


DROPPED = slog(NOON + timedelta(seconds=20), "DEBUG", "prompt.go:80",
               "truncating input messages which exceed context length", truncated=3)  # fmt: skip
ANSWERS = "started_at,ended_at,endpoint,status,finish_reason\n" + "".join(
    f"2026-03-14T12:00:{10 + 5 * number}Z,2026-03-14T12:00:{13 + 5 * number}Z,/api/chat,200,length\n"
    for number in range(3)
)

EXAMPLES = [
    Example(
        "prompts were cut",
        "confirmed",
        {"server.log": log("/api/chat", cut=3).text()},
        ("3 prompts were truncated (10 requests in all), to 4,096 tokens; the longest had 8,000", "49%"),
        severity="warning",
    ),
    Example(
        "whole messages were dropped",
        "confirmed",
        {"server.log": log("/api/chat", OLLAMA_DEBUG="DEBUG").text() + DROPPED + "\n"},
        ("3 of their messages were dropped",),
    ),
    Example(
        "prompts that fit",
        "ruled_out",
        {"server.log": log("/api/generate").text()},
        ("0 of 10 requests were truncated",),
    ),
    Example(
        "chats, by a log at DEBUG",
        "ruled_out",
        {"server.log": log("/api/chat", OLLAMA_DEBUG="DEBUG").text()},
    ),
    Example(
        "chats, by a log that tells nothing of dropped messages",
        "not_observable",
        {"server.log": log("/api/chat").text(), "trials.csv": ANSWERS},
        ("OLLAMA_DEBUG=1", "3 of 3 answers ended at a limit"),
    ),
    Example("no log", "not_observable", {"trials.csv": ANSWERS}, ("the server's log",)),
]
