"""Examples of `warm_stall`."""

from __future__ import annotations

import json
from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog

HEAD = (
    "start,end,model,path,status,error,eval_count,eval_duration,prompt_eval_count,prompt_eval_duration,load_duration,"
)
SECOND = 10**9


def trial(at_s: float, wall_s: float, status: str = "200", error: str = "", eval_s: float = 0) -> str:
    """A row of the client's table; with `eval_s`, Ollama's own durations of 40 tokens."""
    start, end = (NOON + timedelta(seconds=at) for at in (at_s, at_s + wall_s))
    told = f"40,{eval_s * SECOND:.0f},9,{SECOND // 10},1000000,{wall_s * SECOND:.0f}" if eval_s else ",,,,,"
    return f"{start.isoformat()},{end.isoformat()},m,/api/chat,{status},{error},{told}\n"


def case(*odd: tuple[float, str, str], usual_s: float = 3.0, own: bool = True) -> dict[str, str]:
    """30 usual requests of a warm model, then odd ones (wall, status, error), one after another."""
    log, rows = ServerLog().start().load(5, 2.0), HEAD + "total_duration\n"
    at_s = 10.0
    for number, (wall_s, status, error) in enumerate([(usual_s, "200", "")] * 30 + list(odd)):
        wall_s += number % 7 / 10
        if status:
            log.request(at_s, wall_s, int(status))
        rows += trial(at_s, wall_s, status, error, wall_s - 0.2 if status == "200" else 0)
        at_s += wall_s + 1
    files = {"server.log": log.text()}
    return files | {"trials.csv": rows} if own else files


def samples() -> str:
    """Looks at the runner every second for ten minutes: it works until the hangs begin, and does nothing then."""
    lines = []
    for at_s in range(600):
        percent = 95.0 if at_s < 160 else 0.2
        runner = {"pid": 42, "role": "runner", "state": "S", "cpu_pct": percent, "rss_kb": 1000, "vsz_kb": 2000,
                  "comm": "ollama", "cmdline": "ollama runner --model m"}  # fmt: skip
        lines.append(json.dumps({"ts": (NOON + timedelta(seconds=at_s)).isoformat(), "procs": [runner]}))
    return "\n".join(lines) + "\n"


HUNG = (60.0, "500", "ReadTimeout: timed out waiting for the response after 60 s")
LEFT = (2.0, "500", "cancelled by the user")
PAUSED = ServerLog().start().load(5, 2.0)
PAUSED_ROWS = HEAD + "total_duration\n"
for number in range(12):
    wall = 40.0 if number == 6 else 3.0 + number / 10
    PAUSED.request(10 + 50 * number, wall)
    PAUSED_ROWS += trial(10 + 50 * number, wall, eval_s=wall - 0.2)

COLD = ServerLog().start().load(10, 50.0).request(9, 60.0, 500)
for number in range(20):
    COLD.request(100 + 5 * number, 3.0 + number % 5 / 10)

EXAMPLES = [
    Example(
        "one answer pauses, its neighbours do not",
        "confirmed",
        {"server.log": PAUSED.text(), "trials.csv": PAUSED_ROWS},
        ("(1 of 12;", "stood still with the model in memory"),
        "critical",
    ),
    Example(
        "given up far beyond what is usual",
        "supported",
        case(*[HUNG] * 6),
        ("(6 of 36;", "60.0 s (median)", "3.3 s is usual"),
        "critical",
    ),
    Example(
        "given up, and the runner did nothing meanwhile",
        "confirmed",
        case(*[HUNG] * 6) | {"ps.jsonl": samples()},
        ("6 of 36",),
    ),
    Example(
        "calls that the server never wrote down",
        "supported",
        case((60.0, "", "no answer"), (60.0, "", "no answer")),
        ("2 calls ended without an answer",),
    ),
    Example("all requests as usual", "ruled_out", case(), ("Of 30 requests, 0 stood still",)),
    Example("clients that leave after 2 s", "ruled_out", case(*[LEFT] * 6), ("Of 36 requests, 0 stood still",)),
    Example("no client's record", "not_observable", case(own=False), ("leaves no access line",)),
    Example(
        "long answers of all lengths, some of them cut",
        "not_observable",
        case(*[(20.0 + 4 * number, "200", "") for number in range(10)], *[HUNG] * 3, own=False),
        ("long answers",),
    ),
    Example("given up during the load", "not_observable", {"server.log": COLD.text()}, ("leaves no access line",)),
    Example("no log", "not_observable", {"trials.csv": case(HUNG)["trials.csv"]}, ("the server's log",)),
]
