"""Examples of `endless_generation`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog


def log(shifts: int, limit: int = 4096, prompt: int = 900, answers: int = 1) -> str:
    """Answers of as many shifts of their context each, one every ten seconds, at DEBUG."""
    found = ServerLog().start(OLLAMA_DEBUG="DEBUG").load(2, 2.0).request(2, 3.0)
    for answer in range(answers):
        begins_s = 100 + 1000 * answer
        at = NOON + timedelta(seconds=begins_s)
        fields = {"id": 0, "cache": 0, "prompt": prompt, "used": 0, "remaining": prompt}
        found.add(at, slog(at, "DEBUG", "cache.go:141", "loading cache slot", **fields))
        for number in range(shifts):
            at = NOON + timedelta(seconds=begins_s + 10 * (number + 1))
            fields = {"id": 0, "limit": limit, "input": limit, "keep": 4, "discard": (limit - 4) // 2}
            found.add(at, slog(at, "DEBUG", "cache.go:236", "context limit hit - shifting", **fields))
        found.request(begins_s, 10.0 * (shifts + 1), 500)
    return found.text()


def old_engine(shifts: int) -> str:
    """The shifts of one task as the C++ server of 0.3 writes them."""
    lines = [
        f"DEBUG [update_slots] slot context shift | n_cache_tokens=2048 n_ctx=8192 n_discard=1021 n_keep=5 n_left=2042 "
        f'n_past=2047 n_system_tokens=0 slot_id=3 task_id=276 tid="1404" timestamp={1773489600 + 60 * number}'
        for number in range(shifts)
    ]
    return ServerLog().start(version="0.3.12").load(2, 2.0).request(2, 3.0).text() + "\n".join(lines) + "\n"


def llama_server(shifts: int) -> str:
    lines = [f"slot   operator(): id  0 | task {task} | slot context shift, n_keep = 5, n_left = 4090, n_discard = 2045"
             for task in (51, *[77] * shifts)]  # fmt: skip
    return ServerLog().start(version="0.30.9").load(2, 2.0).request(2, 3.0).text() + "\n".join(lines) + "\n"


def progress(*tokens: int) -> str:
    lines = [f"slot print_timing: id  0 | task 0 | n_decoded = {count:6}, tg =   4.00 t/s" for count in tokens]
    return ServerLog().start(version="0.30.9").load(2, 2.0).request(2, 3.0).text() + "\n".join(lines) + "\n"


REPEATED = slog(
    NOON + timedelta(seconds=50), "DEBUG", "server.go:1600", "prediction aborted, token repeat limit reached"
)

EXAMPLES = [
    Example(
        "an answer that goes on and on",
        "confirmed",
        {"server.log": log(9)},
        ("1 answer overran the context again and again; the longest shifted it 9 times in 80.0 s: 16,368 tokens",),
        severity="warning",
    ),
    Example("an answer twice as long as its context", "supported", {"server.log": log(4)}, ("shifted it 4 times",)),
    Example("the old engine", "supported", {"server.log": old_engine(3)}, ("shifted it 3 times",)),
    Example("llama-server", "supported", {"server.log": llama_server(3)}, ("1 answer", "3 times: 4,090 tokens")),
    Example(
        "an answer of forty pages",
        "supported",
        {"server.log": progress(900, 37_936, 37_800)},
        ("An answer came to 37,936 tokens or more, at 4.0 a second: 2.6 h.",),
    ),
    Example("long answers", "not_observable", {"server.log": progress(900, 12_000)}),
    Example("an answer that repeats one token", "confirmed", {"server.log": log(0) + REPEATED + "\n"}, ("1 answer",)),
    Example("several answers that overran once", "ruled_out", {"server.log": log(1, answers=5)}, ("5 times",)),
    Example("a context of fifty", "ruled_out", {"server.log": log(4, limit=50, prompt=40)}),
    Example("a long prompt, read by shifting", "ruled_out", {"server.log": log(9, prompt=50_000)}),
    Example("a log that does not tell", "not_observable", {"server.log": ServerLog().start().load(2).text()}),
]
