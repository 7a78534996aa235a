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


def one_trifle(start: bool) -> str:
    """Thirty requests, one of them 49 tokens too long for one of four contexts."""
    found = ServerLog()
    if start:
        found.start()
    for number, context in enumerate((512, 1024, 2048, 8192)):
        at = NOON + timedelta(seconds=5 + number)
        found.load(5 + number, 0.5, port=40001 + number)
        found.add(at, slog(at, "INFO", "runner.go:1000", "load", request=f"{{Operation:commit KvSize:{context}}}"))
    at = NOON + timedelta(seconds=11)
    fields = {"limit": 2048, "prompt": 2097, "keep": 4, "new": 2048}
    found.add(at, slog(at, "WARN", "runner.go:170", "truncating input prompt", **fields))
    for number in range(30):
        found.request(10 + 10 * number, 5.0)
    return found.text()


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
        ("The server truncated 3 prompts (10 requests in all), to 4,096 tokens; the longest had 8,000", "49 %"),
        severity="warning",
    ),
    Example(
        "whole messages were dropped",
        "confirmed",
        {"server.log": log("/api/chat", OLLAMA_DEBUG="DEBUG").text() + DROPPED + "\n"},
        ("dropped 3 messages of 1 chat",),
    ),
    Example(
        "one prompt of thirty, and hardly anything of it",
        "confirmed",
        {"server.log": one_trifle(start=True)},
        ("truncated 1 prompt (30 requests", "OLLAMA_CONTEXT_LENGTH is not set"),
        severity="info",
    ),
    Example(
        "a log that begins after the start",
        "confirmed",
        {"server.log": one_trifle(start=False)},
        ("and the end. Models were loaded with a context of 2,048.",),
    ),
    Example(
        "prompts that fit",
        "ruled_out",
        {"server.log": log("/api/generate").text()},
        ("truncated 0 of 10 requests",),
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
