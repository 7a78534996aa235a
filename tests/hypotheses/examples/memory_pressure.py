"""Examples of `memory_pressure`."""

from datetime import timedelta

from hypotheses.example import NOON, Example, ServerLog

TOTAL_KB, PAGE_KB = 16_000_000, 4


def log() -> ServerLog:
    """Twenty requests that go well, and ten that hang from 12:10 on."""
    found = ServerLog().start().load(5, 2.0)
    for number in range(20):
        found.request(10 + 25 * number, 3.0)
    for number in range(10):
        found.request(610 + 61 * number, 60.0, 500)
    return found


def looks(from_s: int, to_s: int, swapped_from_s: float = 1e9, before: int = 0) -> str:
    """/proc every minute; from a moment on 40,000 pages a minute go to swap."""
    texts = []
    for at_s in range(from_s, to_s, 60):
        pages = before + max(0, int((at_s - swapped_from_s) / 60) * 40_000)
        texts.append(
            f"=== {NOON + timedelta(seconds=at_s):%Y-%m-%d %H:%M:%S} UTC ===\n==> /proc/meminfo <==\n"
            f"MemTotal:       {TOTAL_KB} kB\nMemFree:        900000 kB\nMemAvailable:   5200000 kB\n"
            f"SwapTotal:       8388604 kB\nSwapFree:        {8388604 - pages * PAGE_KB} kB\n\n"
            f"==> /proc/vmstat <==\npswpin 0\npswpout {pages}\npgmajfault 100\noom_kill 0\n"
        )
    return "\n".join(texts)


LOG = log().text()
EXAMPLES = [
    Example(
        "swap-outs take off with the trouble",
        "confirmed",
        {"server.log": LOG, "memory.txt": looks(0, 1300, 540)},
        ("went to swap", "In trouble: 10 of 10 requests of that time, 0 of 20"),
        "critical",
    ),
    Example(
        "swap in use that does not grow",
        "ruled_out",
        {"server.log": LOG, "memory.txt": looks(0, 1300, before=900_000)},
        ("3.7 GB of swap is in use",),
    ),
    Example(
        "looks that end before the trouble",
        "not_observable",
        {"server.log": LOG, "memory.txt": looks(0, 500)},
        ("0 pages went to swap", "warmstall watch"),
    ),
    Example(
        "it grew after the trouble was over",
        "not_observable",
        {"server.log": LOG, "memory.txt": looks(0, 3000, 2400)},
        ("Of 10 requests in trouble 0 ran then",),
    ),
    Example("no look at the memory", "not_observable", {"server.log": LOG}, ("vm_stat",)),
]
