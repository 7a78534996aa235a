"""Examples of `stopping_deadlock`."""

import json
from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog

WARM = ServerLog().start().load(5, 2.0)
for number in range(10):
    WARM.request(10 + 5 * number, 3.0)


def looks(from_s: int, to_s: int, expires_s: float | None, rolling_s: float = 300.0) -> str:
    """Looks at /api/ps every 10 s: `expires_at` constant, or rolling along with the clock."""
    lines = []
    for at_s in range(from_s, to_s, 10):
        expires = NOON + timedelta(seconds=at_s + rolling_s if expires_s is None else expires_s)
        model = {"name": "m:latest", "model": "m:latest", "size": 5_000_000_000, "size_vram": 5_000_000_000,
                 "digest": "cd" * 32, "expires_at": expires.isoformat()}  # fmt: skip
        at = NOON + timedelta(seconds=at_s)
        lines.append(
            json.dumps({"ts": at.isoformat(), "procs": [], "api_ps_status": 200, "api_ps": {"models": [model]}})
        )
    return "\n".join(lines) + "\n"


STUCK = {"server.log": WARM.text() + ServerLog().request(70, 60.0, 500).request(90, 60.0, 500).text(),
         "ps.jsonl": looks(60, 600, 65)}  # fmt: skip

EXAMPLES = [
    Example("stays past its expires_at while requests fail", "confirmed", STUCK, ("unchanged expires_at for 8.7 min",)),
    Example(
        "one request outlives keep_alive and ends well",
        "ruled_out",
        {"server.log": WARM.text() + ServerLog().request(70, 500.0).text(), "ps.jsonl": looks(60, 570, 360)},
        ("outlived keep_alive",),
    ),
    Example(
        "expires_at rolls along during the first request",
        "ruled_out",
        {"server.log": WARM.text(), "ps.jsonl": looks(0, 300, None)},
    ),
    Example(
        "one look, at no known time",
        "not_observable",
        {
            "server.log": STUCK["server.log"],
            "ps.txt": "NAME   SIZE    PROCESSOR  UNTIL\nm:1b   4.0 GB  100% GPU   Stopping...\n",
        },
        ("m:1b was Stopping... when somebody looked", "warmstall watch"),
    ),
    Example("no looks at /api/ps", "not_observable", {"server.log": STUCK["server.log"]}, ("warmstall watch",)),
]
