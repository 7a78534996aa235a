"""Examples of `retry_amplification`."""

from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog
from hypotheses.traced import Trace


def log(failed: int) -> str:
    """Calls every ten minutes: answered in 3 s, or given up after a minute three times in a row."""
    found = ServerLog().start().load(2, 2.0)
    for number in range(8):
        begin_s = 60.0 + 600 * number
        if number < failed:
            for attempt in range(3):
                found.request(begin_s + 61 * attempt, 60.0, 500)
        else:
            found.request(begin_s, 3.0)
    return found.text()


def trials(failed: int, counted: bool = False) -> str:
    """One row a call, as the client saw it."""
    lines = ["started_at,ended_at,endpoint,status,timeout_s,attempts"]
    for number in range(8):
        began = NOON + timedelta(seconds=60 + 600 * number)
        fails = number < failed
        ended = began + timedelta(seconds=182 if fails else 3)
        attempts = ("3" if fails else "1") if counted else ""
        lines.append(f"{began.isoformat()},{ended.isoformat()},/api/chat,{'' if fails else 200},60,{attempts}")
    return "\n".join(lines) + "\n"


def traced(again: int) -> str:
    """The trace of eight calls and an embedding; so many of the calls were sent three times, and failed."""
    trace = Trace()
    trace.embed(0, 0.1, None, gen_ai__provider__name="ollama")
    for number in range(8):
        if number < again:
            root = trace.span("retrieve", 100 * number, 95)
            for attempt in range(3):
                trace.span("attempt", 100 * number + 32 * attempt, 30, root, attempt=attempt + 1)
            trace.generate(100 * number, 95, None, 0, attempts=3, error=TimeoutError("no answer within 30 s"))
        else:
            trace.generate(100 * number, 2)
    return trace.text()


EXAMPLES = [
    Example(
        "each failing call was three requests",
        "confirmed",
        {"server.log": log(4), "trials.csv": trials(4)},
        ("Clients sent 4 of 8 calls more than once, up to 3 times", "3.0 times the load"),
        severity="warning",
    ),
    Example(
        "the client counted its attempts",
        "confirmed",
        {"trials.csv": trials(4, counted=True)},
        ("up to 3 times",),
        severity="warning",
    ),
    Example(
        "one request a call",
        "ruled_out",
        {"server.log": log(0), "trials.csv": trials(0)},
        ("Each of 8 calls",),
    ),
    Example("sent once each, by the client's count", "ruled_out", {"trials.csv": trials(0, counted=True)}),
    Example(
        "access lines suggest it",
        "not_observable",
        {"server.log": log(4)},
        ("8 requests began within 3 s of a failed one", "number of attempts"),
    ),
    Example(
        "a trace of calls that were sent again",
        "confirmed",
        {"trace.jsonl": traced(4)},
        ("4 of 9 calls more than once, up to 3 times",),
        severity="warning",
    ),
    Example("a trace of calls sent once", "ruled_out", {"trace.jsonl": traced(0)}, ("each of 8 calls",)),
]
