"""A run of a runbook that is killed (SIGKILL) right after its n-th journal line, in a process of its own.

The processes are forks of one that has imported everything and done nothing else: dozens of them in a minute.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
# Refusals that another look may find gone: the plan has become another one, and (if a test says so) a busy runner.
_CHANGED = ("The plan is now",)
UNTIL_IDLE = (*_CHANGED, "is at work")
ALL_KILLS = os.environ.get("WARMSTALL_ALL_KILLS") == "1"


def lines_of(count: int) -> Sequence[int]:
    """After which lines a run whose steps are shared is killed: each with WARMSTALL_ALL_KILLS=1 (`make kills`).

    Runbooks that change a service all do it by the same two steps, and raise-service-limits is always killed after
    every line of them; the others around what is their own: once it has begun, measured, restarted, and been judged.
    """
    return range(1, count + 1) if ALL_KILLS else (2, 6, 9)


def die_after(lines: int) -> None:
    """From now on this process kills itself right after so many lines of journals."""
    written, append = 0, Journal.append

    def append_and_die(self: Journal, entry: dict[str, Any]) -> None:
        nonlocal written
        append(self, entry)
        written += 1
        if written == lines:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = append_and_die  # type: ignore[method-assign]


def look_and_approve(runbook: str, given: Mapping[str, Any], passing: Sequence[str] = _CHANGED) -> Outcome:
    """Approve the plan that is shown and have it done; look again when it has become another one meanwhile.

    On a busy machine a runner that waits may look at work for a moment, which an operator would see as well: where a
    test knows that it is idle, `passing` is UNTIL_IDLE, and that refusal is not taken for the last word either.
    """
    for _ in range(20):
        with Book(runbook, given) as looked:
            plan = looked.plan.id
        with Book(runbook, {**given, "dry_run": False, "approved_plan": plan}) as book:
            outcome = book.outcome()
        if outcome.status != "refused" or not any(words in str(outcome) for words in passing):
            break
    return outcome


def run_and_kill(
    lines: int,
    runbook: str,
    parameters: Mapping[str, Any],
    passing: Sequence[str] = _CHANGED,
    timeout_s: float = 120.0,
) -> bool:
    """Whether the run was killed; False when it ended before its line of that number."""
    run = _FORKS.Process(target=_run_until, args=(lines, runbook, dict(parameters), passing, dict(os.environ)))
    run.start()
    run.join(timeout_s)
    if run.is_alive():
        run.kill()
        raise AssertionError(f"{runbook}, killed after {lines} lines: it did not end within {timeout_s:.0f} s")
    assert run.exitcode in (0, -signal.SIGKILL)
    return run.exitcode != 0


def _run_until(
    lines: int, runbook: str, parameters: Mapping[str, Any], passing: Sequence[str], environment: Mapping[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    die_after(lines)
    print(look_and_approve(runbook, parameters, passing))
