"""Examples of `cold_start`."""

from hypotheses.example import Example, ServerLog

ACCESS_ONLY = ServerLog().request(10, 9.0).request(30, 0.5)

PRELOADED = ServerLog().start().load(10, 2.0)
for number in range(12):
    PRELOADED.request(60 + 10 * number, 0.5 + number / 100)

EXAMPLES = [
    Example(
        "the first request waits for the load",
        "confirmed",
        {"server.log": ServerLog().start().load(10, 8.0).request(10, 9.0).request(30, 1.0).text()},
        ("1 of 1 slow, failed or lost requests waited",),
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
    Example("access lines alone", "not_observable", {"server.log": ACCESS_ONLY.text()}, ("whole log",)),
]  # fmt: skip
