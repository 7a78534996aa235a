"""Examples of `load_timeout`."""

from __future__ import annotations

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog

CLIENT_GONE = "client connection closed before server finished loading, aborting load"
TIMED_OUT = "timed out waiting for llama runner to start - progress 0.41 - "


class Log(ServerLog):
    """Loads that do not come to their end."""

    def begins(self, at_s: float) -> Log:
        at = NOON + timedelta(seconds=at_s)
        cmd = f"/usr/local/bin/ollama runner --ollama-engine --model {BLOB} --port 4{int(at_s):04d}"
        self.add(at, slog(at, "INFO", "server.go:392", "starting runner", cmd=cmd))
        return self

    def gives_up(self, at_s: float, level: str, message: str, **fields: object) -> Log:
        at = NOON + timedelta(seconds=at_s)
        self.add(at, slog(at, level, "sched.go:455", message, **fields))
        return self


def abandoned() -> Log:
    log = Log()
    log.start()
    for at_s in (10, 50):
        log.begins(at_s).gives_up(at_s + 30, "WARN", CLIENT_GONE).request(at_s, 30.0, 499)
    log.load(100, 42.0).request(100, 44.0)
    return log


ONCE = Log().start().load(100, 42.0).request(100, 44.0)
ONCE.begins(500).gives_up(530, "WARN", CLIENT_GONE).request(500, 30.0, 499)

# The load begins when the request has waited for others and its client has gone.
AT_ONCE = Log().start().load(10, 8.0).request(10, 60.0)
AT_ONCE.begins(70).gives_up(70.012, "WARN", CLIENT_GONE).request(12, 58.0, 499)

SERVER = Log()
SERVER.start(OLLAMA_LOAD_TIMEOUT="5m0s")
SERVER.begins(10).gives_up(310, "ERROR", "error loading llama server", error=TIMED_OUT).request(10, 300.0, 500)

MLX = Log()
MLX.start(version="0.31.1", OLLAMA_LOAD_TIMEOUT="5m0s")
MLX.gives_up(10, "INFO", "starting mlx runner subprocess", model="gemma4:12b-mlx", port=40001)
MLX.gives_up(130, "INFO", "stopping mlx runner subprocess", pid=4455)
MLX.gives_up(130.1, "ERROR", "error loading llama server", error="timeout waiting for mlx runner to start")
MLX.request(10, 120.2, 500)

STATUS = Log()
STATUS.start()
STATUS.load(10, 8.0).gives_up(
    11, "INFO", "waiting for server to become available", status="llm server not responding"
).request(10, 9.0)

CUT = Log()
CUT.start()
CUT.load(10, 8.0).request(10, 9.0).begins(100)

HEAD = "start,end,model,status,error\n"

EXAMPLES = [
    Example(
        "an MLX runner before 0.32.1, which has two minutes whatever is set",
        "confirmed",
        {"server.log": MLX.text()},
        ("gave up 1 of 1 load after 2.0 min (OLLAMA_LOAD_TIMEOUT is 5m0s, which this runner does not heed)",),
    ),
    Example(
        "the client leaves before the load is done",
        "confirmed",
        {"server.log": abandoned().text()},
        ("The client left first in 2 of 3 loads", "loaded in 42.0 s when they were let"),
        "warning",
    ),
    Example(
        "the server gives up",
        "confirmed",
        {"server.log": SERVER.text()},
        ("The server gave up 1 of 1 load after 5.0 min (OLLAMA_LOAD_TIMEOUT is 5m0s)",),
    ),
    Example(
        "one load that one client left", "supported", {"server.log": ONCE.text()}, ("in 1 of 2 loads", "Ctrl-C"), "info"
    ),
    Example(
        "the client had gone before its load began",
        "not_observable",
        {"server.log": AT_ONCE.text()},
        ("1 began when their client had already gone", "within 12 ms"),
    ),
    Example("no request and no load", "not_observable", {"server.log": Log().start().text()}, ("time with requests",)),
    Example("access lines alone, with 499", "supported", {"server.log": Log().request(10, 60.0, 499).text()}, ("499",)),
    Example(
        "the client was told so, without a log",
        "confirmed",
        {"trials.csv": f"{HEAD}2026-03-14T12:00:00Z,2026-03-14T12:05:00Z,m,500,timed out waiting for llama runner to "
                       "start - progress 0.41 -\n2026-03-14T12:06:00Z,2026-03-14T12:06:01Z,m,200,\n"},
        ("1 of 2 calls",),
    ),
    Example("every load came to its end", "ruled_out", {"server.log": STATUS.text()}, ("1 load and 1 request",)),
    Example("the log ends during a load", "not_observable", {"server.log": CUT.text()}, ("Of 2 loads, 1 had not",)),
    Example("access lines alone", "not_observable", {"server.log": Log().request(10, 9.0).text()}, ("whole log",)),
]  # fmt: skip
