"""docs/fidelity.md: PYTHONPATH=tests:lib python -m drill.fidelity_page > docs/fidelity.md."""

from __future__ import annotations

from .recording import NOT_REPLAYED
from .remaining import REMAINING

# What the comparison leaves out by design.
NOT_COMPARED = (
    "Durations. A drill's models have speeds of their own; how long ghost work after an aborted prefill goes on is not "
    "checked either.",
    "The order of two things that are not ordered in a real server: requests that run at once, a runner's lines "
    "against the server's, an access line against the server's next line. Each stream by itself is compared in order.",
    "How many lines a timer writes.",
    "Lines that warmstall's own table of log lines does not know; the command prints them.",
    "The text that a model writes, vectors, addresses, digests, pids and ports.",
)
STAND_INS = (
    ("slow_load", "a disk limited to 40 MB/s", "the fault `slow_load`, as strong as recorded"),
    (
        "cpu_contention",
        "busy loops on every core",
        "the faults `slow_decode` and `slow_prefill`, as strong as recorded",
    ),
    ("memory_limit_as", "a limit of the address space", "the fault `failed_load`"),
    ("memlock_limit", "a limit of locked memory", "nothing: the two newer versions do not lock memory"),
)


def fidelity_markdown() -> str:
    """The page."""
    lines = [
        "# Fidelity of drills", "",
        "Made by `make docs`. Real Ollama servers of three versions (0.3.14, 0.13.5, 0.32.15) were recorded while",
        "known things were done to them. `make fidelity` sends the same requests, at the same times and with the",
        "same dependences on each other, to a drill of that version, does the same to its processes, and compares:",
        "the events in the log, in order and with their fields; statuses, bodies and keys of every answer; the",
        "verdict that warmstall gives each request. A test holds the drill to it; what follows is all that may",
        "differ.", "",
        "## Differences that remain", "", "| scenario | what | where | why |", "|---|---|---|---|",
        *(f"| `{one.name}` | {one.area} | `{one.what}` | {one.why} |" for one in REMAINING),
        *(f"| `*/{name}*` | everything | not played | {why} |" for name, why in NOT_REPLAYED.items()), "",
        "## Done otherwise", "", "| scenario | what was done to the real machine | in the drill |", "|---|---|---|",
        *(f"| `{name}` | {real} | {drill} |" for name, real, drill in STAND_INS), "",
        "## Not compared", "", *(f"- {each}" for each in NOT_COMPARED),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(fidelity_markdown(), end="")
