"""A runbook that changes a variable of the service, killed after a line of its journal and then run again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remediate.killed import lines_of, run_and_kill
from remediate.service import DrillService, act
from warmstall.remediate.journal import Journal
from warmstall.remediate.run import Outcome

# Of a run with measures and the two steps of a service's change.
LINES = lines_of(10)


def killed_and_run_again(
    name: str, service: DrillService, variable: str, settings: Mapping[str, Any], line: int
) -> Outcome:  # fmt: skip
    """How the run ended that came after the killed one; the variable is then as wanted, or as it was before.

    Nothing need be put back between two lines if each wants another value: `settings` say which.
    """
    service.journal.unlink(missing_ok=True)  # its caps on restarts are another test's
    Path(f"/tmp/warmstall-{service.port}.lock").unlink(missing_ok=True)
    service.fault()
    before, files = service.environment().get(variable), service.files()
    parameters = {**service.parameters, **settings}
    assert run_and_kill(line, name, parameters), "the run has fewer lines"
    service.await_answer()  # a server that is just starting tells nothing, and what was begun would be taken back
    outcome = act(name, parameters)
    now, files_now = service.environment().get(variable), service.files()
    if outcome.plan and outcome.plan.mode == "undo":
        assert (now, files_now) == (before, files), outcome
    else:
        assert outcome.status in ("done", "nothing to do"), outcome
        assert now != before, outcome
        assert files_now != files, outcome
    assert outcome.plan
    assert Journal(service.journal).unfinished(name, outcome.plan.target) is None
    return outcome
