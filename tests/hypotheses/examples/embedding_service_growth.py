"""Examples of `embedding_service_growth`."""

import json
from collections.abc import Callable
from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog

SERVER = ServerLog().start().load(5).request(10, 3.0).request(1800, 3.0).text()
MIB = 2**20


def samples(looks: int, every_s: float, *rss_mib: Callable[[float], float], role: str = "gunicorn") -> str:
    """Looks at one process for each function of the time in seconds."""
    lines = []
    for number in range(looks):
        at_s = number * every_s
        rows = [
            {"pid": 40 + each, "role": role, "rss_bytes": int((value(at_s) + number % 3) * MIB), "command": "gunicorn"}
            for each, value in enumerate(rss_mib)
        ]
        at = (NOON + timedelta(seconds=at_s)).isoformat()
        lines.append(json.dumps({"at": at, "rows": {"processes": rows}}))
    return "\n".join(lines) + "\n"


LIMITED = json.dumps([{
    "Id": "ab" * 32, "Name": "/embedder", "RestartCount": 0, "Mounts": [], "Config": {"Image": "embedder:1"},
    "State": {"Status": "running", "OOMKilled": False}, "HostConfig": {"Memory": 2048 * MIB},
}], indent=1)  # fmt: skip


def growing(at_s: float) -> float:
    """1.2 GiB an hour."""
    return 600 + at_s / 3


EXAMPLES = [
    Example(
        "two workers grow by 1.2 GiB an hour",
        "confirmed",
        {"server.log": SERVER, "samples-0001.jsonl": samples(120, 30, growing, growing)},
        ("1.2 GiB an hour", "2 of 2 processes grow"),
    ),
    Example(
        "one grows towards the limit of its container",
        "confirmed",
        {"samples-0001.jsonl": samples(120, 30, lambda s: 700 + s / 3), "containers.json": LIMITED},
        ("the limit of its container is 2.0 GiB",),
    ),
    Example("one grows", "supported", {"samples-0001.jsonl": samples(120, 30, growing)}),
    Example(
        "flat for an hour",
        "ruled_out",
        {"server.log": SERVER, "samples-0001.jsonl": samples(120, 30, lambda s: 800)},
        ("59.5 min",),
    ),
    Example(
        "the model is read, then flat",
        "ruled_out",
        {"server.log": SERVER, "samples-0001.jsonl": samples(120, 30, lambda s: min(300 + 4 * s, 2e3))},
    ),
    Example(
        "a cache fills up to its bound in half an hour",
        "ruled_out",
        {"server.log": SERVER, "samples-0001.jsonl": samples(120, 30, lambda s: min(300 + s, 2000))},
    ),
    Example(
        "watched for five minutes",
        "not_observable",
        {"server.log": SERVER, "samples-0001.jsonl": samples(60, 5, lambda s: 800)},
        ("--for 1h",),
    ),
    Example(
        "the runner grows, no service is here",
        "not_observable",
        {"server.log": SERVER, "samples-0001.jsonl": samples(120, 30, growing, role="runner")},
    ),
]
