"""Examples of `reload_thrash`."""

from __future__ import annotations

from datetime import timedelta

from generate.writing import slog

from hypotheses.example import BLOB, NOON, Example, ServerLog

OTHER = BLOB.replace("ab" * 32, "cd" * 32)


class Log(ServerLog):
    """Loads with what Ollama 0.13 logs beside them: their options, and how many runners there are then."""

    def load_with(self, at_s: float, blob: str = BLOB, context: int = 4096, threads: int = 4, count: int = 1) -> Log:
        self.load(at_s, 2.0, blob, 40000 + int(at_s))
        at = NOON + timedelta(seconds=at_s + 0.5)
        asked = f"{{Operation:commit LoraPath:[] Parallel:1 BatchSize:512 KvSize:{context} NumThreads:{threads}}}"
        self.add(at, slog(at, "INFO", "runner.go:895", "load", request=asked))
        done = NOON + timedelta(seconds=at_s + 2)
        self.add(done, slog(done, "INFO", "sched.go:517", "loaded runners", count=count))
        return self

    def says(self, at_s: float, message: str, **fields: object) -> Log:
        at = NOON + timedelta(seconds=at_s)
        self.add(at, slog(at, "DEBUG", "sched.go:314", message, **fields))
        return self


def taking_turns(**settings: str) -> Log:
    """Two models, each loaded again when the other has been used."""
    log = Log()
    log.start(**settings)
    for turn in range(8):
        log.load_with(10 + 20 * turn, BLOB if turn % 2 else OTHER)
        log.request(10 + 20 * turn, 4.0)
    return log


def one_model(gap_s: float, *options: tuple[int, int], **settings: str) -> Log:
    """One model, loaded again every `gap_s` seconds with these context lengths and threads."""
    log = Log()
    log.start(**settings)
    for turn, (context, threads) in enumerate(options):
        log.load_with(10 + gap_s * turn, BLOB, context, threads)
        log.request(10 + gap_s * turn, 4.0)
    return log


EXPIRED_AT_DEBUG = one_model(60, *[(4096, 4)] * 4)
for turn in range(3):
    EXPIRED_AT_DEBUG.says(30 + 60 * turn, "timer expired, expiring to unload", runner__model=BLOB)

RESTARTS = Log()
for turn in range(4):
    RESTARTS.start(100 * turn)
    RESTARTS.load_with(100 * turn + 10)
    RESTARTS.request(100 * turn + 10, 4.0)

EXAMPLES = [
    Example(
        "two models take turns where one fits",
        "confirmed",
        {"server.log": taking_turns(OLLAMA_MAX_LOADED_MODELS="1").text()},
        ("6 of 8 loads brought back a model that had been put out for another one", "18.0 s out of use (median)"),
        "warning",
    ),
    Example("two models take turns", "supported", {"server.log": taking_turns().text()}, ("put out for another",)),
    Example(
        "another client asks for another context",
        "confirmed",
        {"server.log": one_model(20, *[(4096, 4), (2048, 4)] * 3).text()},
        ("5 of 6 loads", "num_ctx 4096, then 2048", "they took 10.0 s."),
        "warning",
    ),
    Example(
        "another client asks for other threads",
        "confirmed",
        {"server.log": one_model(20, *[(4096, 4), (4096, 2)] * 3).text()},
        ("num_thread 4, then 2",),
    ),
    Example(
        "keep_alive runs out between requests",
        "supported",
        {"server.log": one_model(60, *[(4096, 4)] * 4, OLLAMA_KEEP_ALIVE="10s").text()},
        ("3 of 4 loads", "keep_alive had run out"),
        "info",
    ),
    Example(
        "a request's own keep_alive runs out, by its debug lines",
        "supported",
        {"server.log": EXPIRED_AT_DEBUG.text()},
        ("keep_alive had run out",),
        "info",
    ),
    Example(
        "the same options, and nothing says why it had gone",
        "not_observable",
        {"server.log": one_model(20, *[(4096, 4)] * 4).text()},
        ("OLLAMA_DEBUG=1",),
    ),
    Example(
        "options tried twice before the work begins",
        "confirmed",
        {"server.log": one_model(20, (1024, 4), (2048, 4), (1024, 4)).text()},
        ("2 of 3 loads", "num_ctx 1024, then 2048"),
        "info",
    ),
    Example("one load for all requests", "ruled_out", {"server.log": Log().start().load(10).request(60, 1).text()}),
    Example("a server that is restarted", "ruled_out", {"server.log": RESTARTS.text()}, ("Of 4 loads, 0 brought",)),
    Example("no request and no load", "not_observable", {"server.log": Log().start().text()}, ("time with requests",)),
    Example("no access lines", "not_observable", {"server.log": Log().start().load(10).text()}, ("with requests",)),
    Example("access lines alone", "not_observable", {"server.log": ServerLog().request(10, 9.0).text()}),
]
