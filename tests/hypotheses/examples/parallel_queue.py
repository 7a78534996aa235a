"""Examples of `parallel_queue`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

Calls = list[tuple[float, float, int]]


def log(calls: Calls, **settings: str) -> str:
    """A server and its requests: start in seconds after noon, length, status."""
    found = ServerLog().start(**settings).load(2, 2.0).request(2, 3.0)
    for at_s, wall_s, status in calls:
        found.request(at_s, wall_s, status)
    return found.text()


def trials(calls: Calls, work_s: float = 2.0) -> str:
    """The client's records of these calls: each is worked on for `work_s`, the rest is told by no duration."""
    lines = [
        "started_at,ended_at,model,endpoint,status,total_duration,load_duration,prompt_eval_duration,eval_duration"
    ]
    for at_s, wall_s, status in [(2.0, 3.0, 200), *calls]:
        began, ended = (NOON + timedelta(seconds=each) for each in (at_s, at_s + wall_s))
        times = [wall_s, 0.02 if at_s > 2 else 2.1, 0.1, min(work_s, wall_s) - 0.15]
        durations = ",".join(str(int(each * 1e9)) if status == 200 else "" for each in times)
        lines.append(f"{began.isoformat()},{ended.isoformat()},m,/api/chat,{status},{durations}")
    return "\n".join(lines) + "\n"


ALONE: Calls = [(10.0 + 10 * number, 2.0, 200) for number in range(20)]
# Ten calls at once for one slot: the second waits for one, the tenth for nine.
BURST: Calls = [*ALONE, *[(300.0, 2.0 * (number + 1), 200) for number in range(10)]]
REFUSED: Calls = [*ALONE, *[(300.0 + 0.1 * number, 0.001, 503) for number in range(6)]]


def held_back(times: int) -> str:
    """One that is served for five minutes, and others that leave after one before it is their turn."""
    found = ServerLog().start().load(2, 2.0).request(2, 3.0)
    for at_s in range(20, 20 + 10 * times, 10):
        at = NOON + timedelta(seconds=at_s + 60)
        left = "aborting completion request due to client closing the connection"
        found.add(at, slog(at, "INFO", "server.go:1541", left))
        found.request(at_s, 60.0, 500)
    return found.text()


EXAMPLES = [
    Example(
        "ten calls for one slot",
        "confirmed",
        {"server.log": log(BURST), "trials.csv": trials(BURST)},
        ("mostly waited for a slot",),
        severity="warning",
    ),
    Example(
        "the queue was full",
        "confirmed",
        {"server.log": log(REFUSED, OLLAMA_MAX_QUEUE="4"), "trials.csv": trials(REFUSED)},
        ("refused 6 of 27 requests with 503: OLLAMA_MAX_QUEUE (4)",),
    ),
    Example(
        "clients that left before it was their turn",
        "supported",
        {"server.log": held_back(4)},
        ("By 4 lines of the log, clients left while their requests were held back",),
        severity="warning",
    ),
    Example("a client that left once", "not_observable", {"server.log": held_back(1)}, ("By 1 line of the log",)),
    Example(
        "never more calls than slots",
        "ruled_out",
        {"server.log": log(ALONE), "trials.csv": trials(ALONE)},
        ("By the access lines and the clients' records, never more than 1 request at once, and a model",),
    ),
    Example(
        "calls that hang may wait without a line",
        "not_observable",
        {"server.log": log(ALONE)},
        ("the clients' records",),
    ),
    Example("no log", "not_observable", {"trials.csv": trials(ALONE)}, ("the server's log",)),
]
