"""Examples of `memlock_limit`."""

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog

HEAD = "Limit                     Soft Limit           Hard Limit           Units     \n"


def limits(memlock: str, pid: int = 1188) -> str:
    """A process's limits as the kernel shows them."""
    return f"==> /proc/{pid}/limits <==\n{HEAD}Max locked memory         {memlock:<20} {memlock:<20} bytes     \n"


def log(device: str, hung: int, of: int = 24) -> ServerLog:
    """A server with one model of 9 GiB; every request takes 10 s, and the first `hung` of them hang for a minute."""
    found = ServerLog().start(device=device).load(5, 2.0)
    at = NOON + timedelta(seconds=6)
    found.add(at, slog(at, "INFO", "device.go:272", "total memory", size="9.0 GiB"))
    for number in range(of):
        hangs = number < hung
        found.request(10 + 70 * number, 60.0 if hangs else 10.0, 500 if hangs else 200)
    return found


def trials(hung: int, of: int = 24) -> str:
    """What the client saw of these requests."""
    lines = ["started_at,ended_at,endpoint,status,timeout_s,error"]
    for number in range(of):
        began = NOON + timedelta(seconds=10 + 70 * number)
        ended = began + timedelta(seconds=60 if number < hung else 10)
        status, error = ("", "ReadTimeout") if number < hung else ("200", "")
        lines.append(f"{began.isoformat()},{ended.isoformat()},/api/chat,{status},60,{error}")
    return "\n".join(lines) + "\n"


REFUSED = (
    "llama_mlock: failed to mlock 101928960-byte buffer (after previously locking 0 bytes): Cannot allocate memory"
)

EXAMPLES = [
    Example(
        "8 MiB, an AMD card, and a quarter hangs",
        "supported",
        {"server.log": log("ROCm", 6).text(), "trials.csv": trials(6), "limits.txt": limits("8388608")},
        ("may pin 8.0 MiB, its model has 9.0 GiB", "6 of 24"),
        severity="critical",
    ),
    Example(
        "pinning was refused and nothing hung",
        "confirmed",
        {"server.log": log("CUDA", 0).text() + REFUSED + "\n"},
        ("could not pin 1 buffer",),
        severity="info",
    ),
    Example(
        "a quarter hangs without any limit",
        "ruled_out",
        {"server.log": log("ROCm", 6).text(), "trials.csv": trials(6), "limits.txt": limits("unlimited")},
        ("may pin any amount",),
    ),
    Example(
        "8 MiB on a card of NVIDIA is no proof, whatever hangs",
        "not_observable",
        {"server.log": log("CUDA", 6).text(), "trials.csv": trials(6), "limits.txt": limits("8388608")},
        ("LimitMEMLOCK=infinity",),
    ),
    Example(
        "8 MiB, an AMD card, and nothing hangs",
        "ruled_out",
        {"server.log": log("ROCm", 0).text(), "trials.csv": trials(0), "limits.txt": limits("8388608")},
        ("0 of 24 requests hung",),
    ),
    Example(
        "8 MiB on a processor",
        "ruled_out",
        {"server.log": log("cpu", 0).text(), "limits.txt": limits("8388608")},
        ("nothing is pinned",),
    ),
    Example("limits of another program", "not_observable", {"limits.txt": limits("65536")}, ("/proc/PID/limits",)),
    Example("no limits", "not_observable", {"server.log": log("ROCm", 6).text()}, ("/proc/PID/limits",)),
]
