"""Examples of `configuration_drift`."""

from hypotheses.example import Example, ServerLog
from hypotheses.examples.restart_or_upgrade import run, two_runs

EXAMPLES = [
    Example(
        "fewer slots, and then hangs",
        "supported",
        {"server.log": two_runs(0, 10, OLLAMA_KEEP_ALIVE="0s")},
        ("OLLAMA_KEEP_ALIVE changed from 5m0s to 0s. There was more trouble after it",),
        severity="warning",
    ),
    Example(
        "another device, and no more hangs",
        "supported",
        {"server.log": two_runs(10, 0, device="ROCm")},
        ("the devices changed from cuda to rocm. It went with less trouble",),
        severity="info",
    ),
    Example(
        "a new version prints a new setting",
        "ruled_out",
        {"server.log": two_runs(0, 0, version="0.14.0", OLLAMA_NEW_SETTING="1")},
        ("2 starts printed the same",),
    ),
    Example("the same settings", "ruled_out", {"server.log": two_runs(0, 10)}),
    Example("one start", "not_observable", {"server.log": run(ServerLog(), 0, 10).text()}, ("1 start",)),
    Example(
        "another setting, and no request before it",
        "supported",
        {"server.log": run(ServerLog().start(OLLAMA_KEEP_ALIVE="0s"), 60, 4).text()},
        ("Nothing to compare: 0 requests before, 4 of 20 requests after",),
        severity="info",
    ),
    Example("a start and no request", "not_observable", {"server.log": ServerLog().start().text()}),
    Example(
        "a log without a start",
        "not_observable",
        {"server.log": ServerLog().request(10, 3.0).request(20, 3.0).text()},
        ("server config",),
    ),
]
