"""Examples of `client_timeout_too_short`."""

import random
from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog
from hypotheses.traced import Trace


def answered(wall_s: float, of: int = 20) -> ServerLog:
    found = ServerLog().start().load(5, 2.0)
    for number in range(of):
        found.request(10 + 2 * wall_s * number, wall_s)
    return found


def loads_thrown_away(after_s: float, times: int) -> str:
    """Loads that take longer than the client waits."""
    found = ServerLog().start()
    for number in range(times):
        begin = NOON + timedelta(seconds=10 + 300 * number)
        cmd = f"/usr/local/bin/ollama runner --ollama-engine --model {BLOB} --port {40001 + number}"
        found.add(begin, slog(begin, "INFO", "server.go:392", "starting runner", cmd=cmd))
        end = begin + timedelta(seconds=after_s)
        gone = "client connection closed before server finished loading, aborting load"
        found.add(end, slog(end, "WARN", "server.go:1345", gone))
        found.request(10 + 300 * number, after_s, 499)
    return found.text()


def trials(walls_s: list[float], timeout_s: float) -> str:
    """Calls of a client, the last of them cut at its timeout."""
    lines = ["started_at,ended_at,endpoint,status,timeout_s"]
    for number, wall_s in enumerate(walls_s):
        began = NOON + timedelta(seconds=10 + 400 * number)
        status = "" if wall_s >= timeout_s else 200
        ended = began + timedelta(seconds=wall_s)
        lines.append(f"{began.isoformat()},{ended.isoformat()},/api/chat,{status},{timeout_s}")
    return "\n".join(lines) + "\n"


def log(walls_s: list[float], timeout_s: float) -> str:
    found = ServerLog().start().load(5, 2.0)
    for number, wall_s in enumerate(walls_s):
        found.request(10 + 400 * number, wall_s, 500 if wall_s >= timeout_s else 200)
    return found.text()


def leaving(seed: int, times: int, cut_at_s: float = 0, cut: int = 0) -> str:
    """Calls of people who leave when they have had enough, among answered ones; a clock cuts some more."""
    patience = random.Random(seed)
    walls_s = [round(patience.lognormvariate(3.0, 0.8), 3) for _ in range(times)]
    found = ServerLog().start().load(5, 2.0)
    for number, wall_s in enumerate(LONG + walls_s + [cut_at_s] * cut):
        found.request(10 + 400 * number, wall_s, 500 if number >= len(LONG) else 200)
    return found.text()


def traced(sent_again: int) -> str:
    """A trace of calls, each sent three times with 30 s for each, and one that was answered at the second."""
    trace = Trace()
    for number in range(sent_again):
        trace.generate(200.0 * number, 95.0, None, 0, attempts=3, error=TimeoutError("no answer within 30 s"))
    trace.generate(200.0 * sent_again, 34.0, attempts=2)
    return trace.text()


ORDINARY = [4.0 + 0.1 * (number % 7) for number in range(20)]
LONG = [30.0 + 1.4 * number for number in range(20)]

EXAMPLES = [
    Example(
        "loads cut at a minute",
        "confirmed",
        {"server.log": loads_thrown_away(60.0, 3)},
        ("Clients gave up 3 calls after 60.0 s while the model was still being loaded",),
        severity="warning",
    ),
    Example(
        "cut before a model was there that nobody was loading",
        "supported",
        {"server.log": log([60.0, 60.0, 60.0], 60.0).replace("| 500 |", "| 499 |")},
        ("Clients gave up 3 calls after 60.0 s before their model was ready; by this log it was not being loaded",),
    ),
    Example(
        "the cut runs through ordinary answers",
        "supported",
        {"server.log": log([*LONG, 60.0, 60.0, 60.0, 60.0], 60.0), "trials.csv": trials([*LONG, *[60.0] * 4], 60.0)},
        ("within the ordinary",),
    ),
    Example(
        "a timeout far above what calls take",
        "ruled_out",
        {"server.log": log([*ORDINARY, *[60.0] * 5], 60.0), "trials.csv": trials([*ORDINARY, *[60.0] * 5], 60.0)},
        ("Clients gave up 5 calls after 60.0 s; 95 of 100 answered calls of the same model take at most 4.6 s",),
    ),
    Example(
        "nobody gave up",
        "ruled_out",
        {"server.log": answered(4.0).text(), "trials.csv": trials(ORDINARY, 60.0)},
        ("0 of 20 calls",),
    ),
    Example(
        "what is usual is not known",
        "not_observable",
        {"server.log": log([600.0] * 3, 600.0), "trials.csv": trials([600.0] * 3, 600.0)},
        ("with 0 answered calls",),
    ),
    Example(
        "people who leave at any time, so many that some leave after about the same",
        "not_observable",
        {"server.log": leaving(seed=1, times=1000)},
        ("too few of them after one and the same time to tell",),
    ),
    Example(
        "a clock among people who leave at any time",
        "supported",
        {"server.log": leaving(seed=1, times=1000, cut_at_s=45.0, cut=40)},
        ("after 45.0 s, within the ordinary",),
    ),
    Example(
        "failures at once, and of no known length, are no timeouts",
        "not_observable",
        {
            "server.log": log([0.06] * 6, 0.0)
            + "".join(
                f'[GIN] 2026/03/14 - 20:0{minute}:00 | 500 |  | 127.0.0.1 | POST "/api/chat"\n' for minute in range(6)
            )
        },
        ("the clients' records of their calls",),
    ),
    Example("no records of clients", "not_observable", {"server.log": answered(4.0).text()}, ("the clients' records",)),
    Example(
        "attempts that were each cut, by a trace",
        "not_observable",
        {"trace.jsonl": traced(3)},
        ("Clients gave up 3 calls after 30.0 s",),
    ),
]
