"""Examples of `embedding_service_crash`."""

import json

from hypotheses.example import Example, ServerLog
from hypotheses.traced import Trace

SERVER = ServerLog().start().load(5).request(10, 3.0).request(20, 60.0, 500).text()


def embedder(end: str, times: int = 3) -> str:
    """A gunicorn whose workers end as its master tells."""
    lines = ["[2026-03-14 11:59:00 +0000] [7] [INFO] Starting gunicorn 23.0.0"]
    for number in range(times):
        pid = 20 + number
        lines += [f"[2026-03-14 12:0{number}:00 +0000] [{pid}] [INFO] Booting worker with pid: {pid}"]
        if end:
            lines.append(f"[2026-03-14 12:0{number}:40 +0000] [7] [ERROR] {end.format(pid=pid)}")
    return "\n".join([*lines, '127.0.0.1 - - [14/Mar/2026:12:01:20 +0000] "POST /embed HTTP/1.1" 200 12 "-" "-"\n'])


SEGFAULTS = "".join(
    f"2026-03-14T12:0{number}:40.000000+00:00 box kernel: python3.11[{20 + number}]: segfault at 8 ip 00007f3a1c2b9d41 "
    "sp 00007ffd8a1e2f10 error 4 in libgomp.so.1.0.0[7f3a1c200000+1a3000]\n"
    for number in range(3)
)
QUIET = "2026-03-14T12:00:00.000000+00:00 box kernel: usb 1-1: new high-speed USB device number 4 using xhci_hcd\n" * 5
SIGSEGV = "Worker (pid:{pid}) was sent SIGSEGV!"


def container(**state: object) -> str:
    """What docker inspect says of the embedder."""
    return json.dumps([{
        "Id": "ab" * 32, "Name": "/embedder", "RestartCount": 4, "Mounts": [], "Config": {"Image": "embedder:1"},
        "State": {"Status": "exited", "ExitCode": 139, "OOMKilled": False, "StartedAt": "2026-03-14T12:00:00Z",
                  "FinishedAt": "2026-03-14T12:02:40Z", **state},
        "HostConfig": {"Memory": 0},
    }], indent=1)  # fmt: skip


def lost_calls() -> str:
    """The trace of embeddings of which two met a service that was down."""
    trace = Trace()
    for number in range(5):
        error = ConnectionRefusedError("[Errno 111] Connection refused") if number > 2 else None
        trace.embed(number, 0.1, None, error=error)
    return trace.text()


EXAMPLES = [
    Example(
        "workers end by SIGSEGV, and the kernel names the library",
        "confirmed",
        {"server.log": SERVER, "app-embedder.log": embedder(SIGSEGV), "kernel.log": SEGFAULTS},
        ("SIGSEGV ended 3 processes of a service beside Ollama", "libgomp.so.1.0.0 3 of 3", "same 3 processes"),
    ),
    Example("the kernel's log alone", "supported", {"app-rag.log": embedder(""), "kernel.log": SEGFAULTS}),
    Example(
        "some other program in Python crashed",
        "not_observable",
        {"app-rag.log": embedder(""), "kernel.log": SEGFAULTS.replace("libgomp", "libgtk").replace("[2", "[92")},
        ("whose is not told",),
    ),
    Example("the container exited with 139", "supported", {"containers.json": container()}, ("code 139",)),
    Example(
        "workers killed for want of memory",
        "ruled_out",
        {
            "server.log": SERVER,
            "app-embedder.log": embedder("Worker (pid:{pid}) was sent SIGKILL! Perhaps out of memory?"),
            "kernel.log": QUIET,
        },
        ("SIGKILL",),
    ),
    Example(
        "a worker given up by its master",
        "ruled_out",
        {
            "server.log": SERVER,
            "app-embedder.log": embedder("").replace(
                "12:00:00 +0000] [20] [INFO] Booting worker with pid: 20",
                "12:00:00 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:19)\n"
                "[2026-03-14 12:00:01 +0000] [7] [ERROR] Worker (pid:19) was sent SIGABRT!",
            ),
            "kernel.log": QUIET,
        },
    ),
    Example(
        "no end of any kind", "ruled_out", {"server.log": SERVER, "app-embedder.log": embedder(""), "kernel.log": QUIET}
    ),
    Example(
        "the kernel's log is not here",
        "not_observable",
        {"server.log": SERVER, "app-embedder.log": embedder("")},
        ("journalctl -k",),
    ),
    Example(
        "a log of another day",
        "not_observable",
        {
            "server.log": SERVER,
            "app-embedder.log": embedder("").replace("2026-03-14", "2026-03-10").replace("14/Mar", "10/Mar"),
            "kernel.log": QUIET,
        },
    ),
    Example(
        "Ollama's own runner crashed",
        "not_observable",
        {"server.log": SERVER, "kernel.log": SEGFAULTS.replace("python3.11", "ollama")},
    ),
    Example(
        "embeddings that were refused, and no word of a crash",
        "not_observable",
        {"trace.jsonl": lost_calls()},
        ("2 of 5 calls of embedders",),
    ),
    Example(
        "workers that crash, and embeddings that were refused meanwhile",
        "confirmed",
        {"app-embedder.log": embedder(SIGSEGV), "trace.jsonl": lost_calls()},
        ("2 of 5 calls of embedders",),
    ),
]
