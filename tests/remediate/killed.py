"""A run of a runbook that is killed (SIGKILL) right after its n-th journal line: `python -m remediate.killed N SPEC`.

SPEC is JSON: {"runbook": name, "parameters": {...}}; dry_run and approved_plan are set here. Exit code 0 when the
run ended before it wrote so many lines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmstall.remediate.book import Book
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome

TESTS = Path(__file__).parents[1]
ALL_KILLS = os.environ.get("WARMSTALL_ALL_KILLS") == "1"


def lines_of(count: int) -> Sequence[int]:
    """After which lines a run whose steps are shared is killed: each with WARMSTALL_ALL_KILLS=1 (`make kills`).

    Runbooks that change a service all do it by the same two steps, and raise-service-limits is always killed after
    every line of them; the others around what is their own: once it has begun, measured, restarted, and been judged.
    """
    return range(1, count + 1) if ALL_KILLS else (2, 6, 9)


def main() -> None:
    lines, spec = int(sys.argv[1]), json.loads(sys.argv[2])
    die_after(lines)
    print(look_and_approve(spec["runbook"], spec["parameters"]))


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


def look_and_approve(runbook: str, given: Mapping[str, Any]) -> Outcome:
    """Approve the plan that is shown and have it done; look again when it has become another one meanwhile.

    On a busy machine a runner that waits may look at work for a moment, which an operator would see as well.
    """
    for _ in range(5):
        with Book(runbook, given) as looked:
            plan = looked.plan.id
        with Book(runbook, {**given, "dry_run": False, "approved_plan": plan}) as book:
            outcome = book.outcome()
        if outcome.status != "refused" or not outcome.sentence.startswith("The plan is now"):
            break
    return outcome


def run_and_kill(lines: int, runbook: str, parameters: Mapping[str, Any], timeout_s: float = 120.0) -> bool:
    """Whether the run was killed; False when it ended before its line of that number."""
    spec = json.dumps({"runbook": runbook, "parameters": dict(parameters)})
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "remediate.killed", str(lines), spec],
        env={**os.environ, "PYTHONPATH": path}, timeout=timeout_s, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


if __name__ == "__main__":
    main()
