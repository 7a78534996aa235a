"""Differences between the drill and the recorded servers that are known and stay, each with its reason.

docs/drill.md lists the same. Whatever is not here makes a test fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from .differences import Difference


@dataclass(frozen=True)
class Remaining:
    """One known difference. All but `why` are patterns as of file names: `*` is anything."""

    name: str  # version/scenario
    area: str
    what: str  # as a difference says it: "where: what"
    why: str
    kind: str = "*"

    def excuses(self, name: str, one: Difference) -> bool:
        return all(
            fnmatchcase(text, pattern)
            for text, pattern in (
                (name, self.name),
                (one.area, self.area),
                (one.kind, self.kind),
                (f"{one.where}: {one.what}", self.what),
            )
        )


_SLOW_START = "a Python runner starts later than Ollama's: a load that is cut short may end before its first lines"

REMAINING: tuple[Remaining, ...] = (
    Remaining("*/*client_abort", "events", "runner of load [234]: *", _SLOW_START),
    Remaining("*/load_timeout", "events", "runner of load 1: *", _SLOW_START),
    Remaining("0.3.14/load_failure", "events", "runner of load *: runner_listen", "a failing runner may listen or not"),
    Remaining("*/*stopping_deadlock", "events", "*", "two runners load and serve at once: chance mixes them", "moved"),
    Remaining(
        "0.13.5/context_truncation", "verdicts", "request 7 /api/embed *", "the recorded machine was busy for 2 s"
    ),
    Remaining("0.13.5/api_errors", "verdicts", "request 15 /api/embed: *", "the recorded machine was busy for 2 s"),
    Remaining(
        "0.32.15/warm_stall",
        "events",
        "log: ls_gen_progress",
        "told every three seconds of generating: whether the stop falls there is chance",
    ),
    Remaining(
        "0.32.15/debug_client_abort",
        "events",
        "server: went_idle",
        "the recorded next request came a millisecond before the aborted one was put away",
    ),
    Remaining(
        "0.32.15/debug_client_abort",
        "events",
        "server: sched_eval",
        "the recorded next request came a millisecond before the aborted one was put away",
        "moved",
    ),
    Remaining(
        "0.3.14/runner_crash",
        "events",
        "runner of load *: crash_cgo",
        "which thread of a real runner takes SIGABRT is chance, and its dump is another one",
    ),
    Remaining(
        "0.13.5/debug_runner_crash",
        "events",
        "server: runner_stopped*",
        "when a dump has been written, a real server sometimes still waits for the process",
    ),
    Remaining(
        "0.32.15/num_ctx_flapping",
        "events",
        "runner of load *: ls_task_end",
        "the recorded runner was killed before its last line",
    ),
    Remaining(
        "0.32.15/context_truncation",
        "events",
        "runner of load 1: ls_*",
        "the recording lost the lines of two refused tasks; the debugging one has them",
    ),
    Remaining("0.32.15/timezone_new_york", "events", "*", "six requests in the recorded log are another client's"),
    Remaining("0.32.15/timezone_new_york", "verdicts", "request 0 *", "that client had the model loaded before"),
    Remaining("0.32.15/slow_load", "events", "*", "99 requests in the recorded log are another client's"),
)


def not_excused(name: str, differences: list[Difference]) -> list[Difference]:
    """What nobody has given a reason for."""
    return [one for one in differences if not any(known.excuses(name, one) for known in REMAINING)]
