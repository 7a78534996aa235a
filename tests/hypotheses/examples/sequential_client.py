"""Examples of `sequential_client`."""

from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog
from hypotheses.traced import Trace


def log(begin_s: list[float], wall_s: float, slots: int) -> str:
    found = ServerLog().start(OLLAMA_NUM_PARALLEL=str(slots)).load(2, 2.0)
    for at_s in begin_s:
        found.request(at_s, wall_s)
    return found.text()


def trials(begin_s: list[float], wall_s: float) -> str:
    """The client's records of the same calls."""
    lines = ["started_at,ended_at,endpoint,status"]
    for at_s in begin_s:
        began, ended = (NOON + timedelta(seconds=each) for each in (at_s, at_s + wall_s))
        lines.append(f"{began.isoformat()},{ended.isoformat()},/api/chat,200")
    return "\n".join(lines) + "\n"


BACK_TO_BACK = [60 + 6.1 * number for number in range(100)]
THINKING = [60 + 30.0 * number for number in range(40)]
FOUR_AT_ONCE = [60 + 6.1 * (number // 4) for number in range(100)]


def traced(begin_s: list[float]) -> str:
    """The trace of questions, each with two embeddings at once and an answer; one takes 2.3 s."""
    trace = Trace()
    for at_s in begin_s:
        trace.question(at_s)
    return trace.text()


EXAMPLES = [
    Example(
        "one call after the other, and four slots",
        "supported",
        {"server.log": log(BACK_TO_BACK, 6.0, 4), "trials.csv": trials(BACK_TO_BACK, 6.0)},
        ("never two of them open at once (9.8 a minute", "the model has 4 slots"),
        severity="info",
    ),
    Example(
        "one slot",
        "supported",
        {"server.log": log(BACK_TO_BACK, 6.0, 1), "trials.csv": trials(BACK_TO_BACK, 6.0)},
        ("the model has 1 slot",),
        severity="info",
    ),
    Example(
        "four calls at once",
        "ruled_out",
        {"server.log": log(FOUR_AT_ONCE, 6.0, 4), "trials.csv": trials(FOUR_AT_ONCE, 6.0)},
        ("75 of 100 calls began while another was open",),
    ),
    Example(
        "a client that rests",
        "ruled_out",
        {"server.log": log(THINKING, 6.0, 4), "trials.csv": trials(THINKING, 6.0)},
        ("took its own time",),
    ),
    Example(
        "a handful of calls",
        "not_observable",
        {"server.log": log(BACK_TO_BACK[:5], 6.0, 4)},
        ("records of 20 calls",),
    ),
    Example(
        "questions one after the other, whose embeddings run at once",
        "supported",
        {"trace.jsonl": traced([2.4 * number for number in range(30)])},
        ("30 calls, and never two of them open at once",),
    ),
    Example(
        "questions that overlap",
        "ruled_out",
        {"trace.jsonl": traced([1.2 * number for number in range(30)])},
        ("29 of 30 calls",),
    ),
]
