"""Examples of `nofile_limit`."""

from hypotheses.example import BLOB, Example, ServerLog
from hypotheses.examples.memlock_limit import HEAD


def limits(soft: str, hard: str) -> str:
    """A process's limit of open files as the kernel shows it."""
    return f"==> /proc/1188/limits <==\n{HEAD}Max open files            {soft:<20} {hard:<20} files     \n"


def log(at_once: int = 1) -> ServerLog:
    """A server that is sent so many requests at once, five times."""
    found = ServerLog().start().load(5, 2.0)
    for number in range(5 * at_once):
        found.request(10 + 20 * (number // at_once), 5.0)
    return found


FULL = f'level=ERROR source=images.go:88 msg="couldn\'t open model file" error="open {BLOB}: too many open files"'
FULL = f"time=2026-03-14T12:02:00.000Z {FULL}\n"

EXAMPLES = [
    Example(
        "the server says so",
        "confirmed",
        {"server.log": log().text() + FULL, "limits.txt": limits("64", "64")},
        ("said 1 time ",),
        severity="critical",
    ),
    Example(
        "far more than is needed",
        "ruled_out",
        {"server.log": log(3).text(), "limits.txt": limits("1024", "524288")},
        ("524,288", "3 requests"),
    ),
    Example(
        "a low limit alone",
        "not_observable",
        {"server.log": log(3).text(), "limits.txt": limits("64", "64")},
        ("/proc/PID/fd",),
    ),
    Example(
        "the client has too many",
        "not_observable",
        {
            "server.log": log().text(),
            "trials.csv": "started_at,ended_at,endpoint,status,error\n2026-03-14T12:00:10Z,2026-03-14T12:00:10.1Z,"
            "/api/chat,,OSError: [Errno 24] Too many open files\n",
        },
        ("1 of 1 call failed for too many open files",),
    ),
    Example("no limits", "not_observable", {"server.log": log().text()}, ("/proc/PID/limits",)),
]
