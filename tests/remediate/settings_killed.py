"""A runbook that changes a variable of the service, killed after every line of its journal and then run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from remediate.killed import run_and_kill
from remediate.service import DrillService
from warmstall.remediate.book import Book
from warmstall.remediate.run import Outcome


def run(name: str, parameters: Mapping[str, Any]) -> Outcome:
    """Look at the plan, approve it, and run it."""
    with Book(name, parameters) as book:
        plan = book.plan.id
    with Book(name, {**parameters, "dry_run": False, "approved_plan": plan}) as book:
        return book.outcome()


def killed_at_every_line(
    name: str, service: DrillService, variable: str, settings_of: Callable[[int], Mapping[str, Any]]
) -> dict[int, str]:
    """How each run ended that came after a killed one, by the line after which that one was killed.

    `settings_of` gives another wanted value for each line, so that no run finds the work of the one before it. After
    every second run the variable is as wanted, or as it was before, and so is the drop-in.
    """
    ended: dict[int, str] = {}
    for line in range(1, 40):
        service.journal.unlink(missing_ok=True)  # its caps on restarts are another test's
        Path(f"/tmp/warmstall-{service.port}.lock").unlink(missing_ok=True)
        before, files = service.environment().get(variable), service.files()
        parameters = {**service.parameters, **settings_of(line)}
        if not run_and_kill(line, name, parameters):
            assert line > 8, "a run of a service's setting has more lines"
            return ended
        outcome = run(name, parameters)
        ended[line] = outcome.status
        told = f"after line {line}: {outcome.status}: {outcome}"
        now, files_now = service.environment().get(variable), service.files()
        if outcome.status == "rolled back" or "taken back" in {what for _, what, _ in outcome.steps}:
            assert (now, files_now) == (before, files), told
        else:
            assert outcome.status in ("done", "nothing to do"), told
            assert now != before, told
            assert files_now != files, told
    raise AssertionError(f"{name} writes no end of lines")
