"""Examples of `cold_start`."""

from hypotheses.example import BLOB, Example, ServerLog

ACCESS_ONLY = ServerLog().request(10, 9.0).request(30, 0.5)

PRELOADED = ServerLog().start().load(10, 2.0)
for number in range(12):
    PRELOADED.request(60 + 10 * number, 0.5 + number / 100)

# Usual requests, then one of 7 minutes that came during a load of another model, or of its own.
BESIDE = ServerLog().start().load(10, 2.0)
for number in range(20):
    BESIDE.request(60 + 10 * number, 0.5 + number / 100)
BESIDE.load(340, 100.0, BLOB.replace("ab", "cd"), 40002).request(380, 420.0)

EXAMPLES = [
    Example(
        "the first request waits for the load",
        "confirmed",
        {"server.log": ServerLog().start().load(10, 8.0).request(10, 9.0).request(30, 1.0).text()},
        ("1 of 1 slow, failed or lost request waited",),
        "info",
    ),
    Example(
        "the client's load_duration, without a log",
        "supported",
        {"trials.csv": "start,end,model,status,total_duration_s,load_duration_s\n"
                       "2026-03-14T12:00:00Z,2026-03-14T12:00:09Z,m,200,9.0,8.1\n"
                       "2026-03-14T12:01:00Z,2026-03-14T12:01:01Z,m,200,1.0,0.02\n"},
        ("load_duration is most of 1 of 2 calls",),
    ),
    Example(
        "requests long after the load",
        "ruled_out",
        {"server.log": PRELOADED.text()},
        ("0 of 12 requests waited",),
    ),
    Example(
        "a long request beside a load, and no reason for it",
        "not_observable",
        {"server.log": BESIDE.text()},
        ("1 of 21 requests ran beside loads", "load_duration"),
    ),
    Example("no load in the log", "not_observable", {"server.log": ServerLog().start().request(9, 8.0).text()}),
    Example("access lines alone", "not_observable", {"server.log": ACCESS_ONLY.text()}, ("whole log",)),
]  # fmt: skip
