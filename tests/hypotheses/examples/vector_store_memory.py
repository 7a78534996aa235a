"""Examples of `vector_store_memory`."""

import json

from hypotheses.example import Example, ServerLog

SERVER = ServerLog().start().load(5).request(10, 3.0).text()
GIB = 2**30


def inspect(limit_bytes: int = GIB, restarts: int = 0, **state: object) -> str:
    """What docker inspect says of a vector store."""
    return json.dumps([{
        "Id": "ab" * 32, "Name": "/chroma", "RestartCount": restarts, "Mounts": [],
        "Config": {"Image": "chromadb/chroma:1.0.20", "Env": []},
        "State": {"Status": "running", "OOMKilled": False, "ExitCode": 0, "StartedAt": "2026-03-14T08:00:00Z", **state},
        "HostConfig": {"Memory": limit_bytes},
    }], indent=1)  # fmt: skip


ENDED = {"Status": "exited", "ExitCode": 137, "FinishedAt": "2026-03-14T12:01:00Z"}
KILLS = "".join(
    f"2026-03-14T12:0{number}:00.000000+00:00 box kernel: {text}\n"
    for number in range(3)
    for text in (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/docker/ab,"
        f"task_memcg=/docker/ab,task=chroma,pid={60 + number},uid=0",
        f"Memory cgroup out of memory: Killed process {60 + number} (chroma) total-vm:3402112kB, anon-rss:1032448kB, "
        "file-rss:13056kB, shmem-rss:0kB, UID:0 pgtables:2612kB oom_score_adj:0",
    )
)
GLOBAL = "".join(line for line in KILLS.splitlines(keepends=True) if "Memory cgroup" in line).replace(
    "Memory cgroup out of memory", "Out of memory"
)


def samples(rss_bytes: float) -> str:
    """Looks at the store's process."""
    rows = [{"pid": 60, "role": "vector store", "rss_bytes": int(rss_bytes), "command": "chroma run /config.yaml"}]
    return "".join(
        json.dumps({"at": f"2026-03-14T12:{minute:02}:00Z", "rows": {"processes": rows}}) + "\n" for minute in range(9)
    )


EXAMPLES = [
    Example(
        "OOMKilled",
        "confirmed",
        {"server.log": SERVER, "containers.json": inspect(restarts=3, OOMKilled=True, **ENDED)},
        ("OOMKilled, exit code 137", "1.0 GiB", "restarted 3 times"),
        severity="critical",
    ),
    Example("the kernel's log", "confirmed", {"kernel.log": KILLS}, ("3 times", "1008.2 MiB")),
    Example(
        "ended by SIGKILL at a limit, again and again", "supported", {"containers.json": inspect(restarts=3, **ENDED)}
    ),
    Example(
        "near its limit",
        "supported",
        {"containers.json": inspect(), "samples-0001.jsonl": samples(0.95 * GIB)},
        ("of its limit of 1.0 GiB",),
        severity="warning",
    ),
    Example(
        "running since before", "ruled_out", {"server.log": SERVER, "containers.json": inspect(0)}, ("0 restarts",)
    ),
    Example(
        "far from its limit",
        "ruled_out",
        {"server.log": SERVER, "containers.json": inspect(), "samples-0001.jsonl": samples(0.4 * GIB)},
    ),
    Example(
        "its memory was not looked at",
        "not_observable",
        {"server.log": SERVER, "containers.json": inspect()},
        ("docker stats",),
    ),
    Example("stopped by hand", "not_observable", {"containers.json": inspect(**ENDED)}, ("docker events",)),
    Example(
        "started after the trouble",
        "not_observable",
        {"server.log": SERVER, "containers.json": inspect(0, StartedAt="2026-03-14T13:00:00Z")},
    ),
    Example("the machine ran out, not the container", "not_observable", {"server.log": SERVER, "kernel.log": GLOBAL}),
    Example("no container", "not_observable", {"server.log": SERVER}, ("docker inspect",)),
]
