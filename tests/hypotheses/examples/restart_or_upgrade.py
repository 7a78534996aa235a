"""Examples of `restart_or_upgrade`."""

from generate.writing import slog

from hypotheses.example import NOON, Example, ServerLog


def run(found: ServerLog, at_s: float, hung: int, of: int = 20, **start: str) -> ServerLog:
    """A start of the server, a load, and requests every 70 s, the first of which hang for a minute."""
    found.start(at_s, **start).load(at_s + 5, 2.0)
    for number in range(of):
        hangs = number < hung
        found.request(at_s + 10 + 70 * number, 60.0 if hangs else 4.0, 500 if hangs else 200)
    return found


def two_runs(hung_before: int, hung_after: int, version: str = "0.13.5", **settings: str) -> str:
    found = run(ServerLog(), 0, hung_before, version="0.13.5")
    return run(found, 3600, hung_after, version=version, **settings).text()


def two_starts(device: str, wall_s: float) -> str:
    """The same requests after two starts, the second of which finds this device and takes so long for each."""
    found = run(ServerLog(), 0, 0)
    found.start(3600, device=device).load(3605, 2.0)
    for number in range(6):
        found.request(3610 + 400 * number, wall_s)
    return found.text()


FAILING = "".join(
    f"Mar 14 12:0{minute}:10 box systemd[1]: ollama.service: Failed with result 'core-dump'.\n" for minute in range(4)
)

REFUSED = "start_ts,end_ts,model,endpoint,status,error\n" + "".join(
    f"2026-03-14T12:59:{second:02}.000+00:00,2026-03-14T12:59:{second:02}.002+00:00,a,/api/chat,,Connection refused\n"
    for second in range(50, 56)
)

ANSWERED = "start_ts,end_ts,model,endpoint,status,error\n" + (
    "2026-03-14T12:00:10+00:00,2026-03-14T12:00:14+00:00,a,/api/chat,200,\n"
)

RESPAWNED = (
    slog(NOON, "INFO", "logging.go:32", "ollama app started")
    + "\n"
    + slog(NOON, "WARN", "server.go:163", "server crash 1 - exit code 2 - respawning")
    + "\n"
)

EXAMPLES = [
    Example(
        "after an upgrade half of the requests hang",
        "supported",
        {"server.log": two_runs(0, 10, version="0.13.6")},
        ("The upgrade from 0.13.5 to 0.13.6", "0 of 20 requests", "10 of 20 requests"),
        severity="warning",
    ),
    Example(
        "the service manager starts it over and over",
        "confirmed",
        {"server.log": FAILING + run(ServerLog(), 600, 0).text()},
        ("4 failures",),
    ),
    Example(
        "the restart ended the trouble",
        "ruled_out",
        {"server.log": two_runs(10, 0), "trials.csv": ANSWERED},
        ("It ended the trouble", "After 1 restart no more trouble"),
    ),
    Example(
        "a start that lost the GPU",
        "supported",
        {"server.log": two_starts("cpu", 300.0)},
        ("found cpu in place of cuda: 6 answers took 5.0 min then, and 4.0 s at other times",),
        severity="warning",
    ),
    Example(
        "another device, and nothing slower",
        "ruled_out",
        {"server.log": two_starts("cpu", 4.0), "trials.csv": ANSWERED},
        ("took 4.0 s then",),
    ),
    Example(
        "slow answers after a restart, which may be long ones",
        "not_observable",
        {"server.log": two_starts("CUDA", 300.0)},
        ("slow answers after a restart",),
    ),
    Example(
        "an answer that ended just before a start, whole or cut",
        "not_observable",
        {"server.log": run(run(ServerLog(), 0, 0), 1352, 0).text()},
        ("the client's records of the calls before a restart",),
    ),
    Example(
        "calls that nobody answered until a start",
        "supported",
        {"server.log": two_runs(0, 0), "trials.csv": REFUSED},
        ("For 10.0 s before the start", "6 calls were refused"),
        severity="info",
    ),
    Example(
        "restarts without a request",
        "not_observable",
        {"server.log": ServerLog().start(0).start(60).start(120).text()},
        ("requests before and after a restart",),
    ),
    Example(
        "a start without a request", "not_observable", {"server.log": ServerLog().start().text()}, ("holds requests",)
    ),
    Example(
        "one start, and that first", "not_observable", {"server.log": run(ServerLog(), 0, 10).text()}, ("1 start",)
    ),
    Example("the desktop app starts it anew", "supported", {"app.log": RESPAWNED}, ("anew 1×", "exit code 2")),
    Example(
        "a log without a start",
        "not_observable",
        {"server.log": ServerLog().request(10, 3.0).request(20, 3.0).text()},
        ("from its start on",),
    ),
]
