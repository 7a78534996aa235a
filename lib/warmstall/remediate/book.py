"""A runbook opened on a target: what notebooks and the command line hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from ..parameters import checked
from .catalogue import runbook
from .executed import show
from .journal import Journal, default_journal
from .run import Interrupted, Outcome, Runner, one_interrupt
from .step import Plan
from .target import Target, open_target

if TYPE_CHECKING:
    import pandas

# The parameters that every runbook has, with their types and what stands in the notebook.
COMMON: dict[str, Any] = {
    "target": "recorded",
    "port": 0,
    "unit": "ollama.service",
    "unit_folder": "/etc/systemd/system",
    "ssh_options": [],
    "dry_run": True,
    "approved_plan": "",
    "undo": False,
    "operator": "",
    "case": "",
    "journal": "",
}


class Book:
    """One runbook on one target, with the parameters checked. Close it, or use it as a context manager.

    >>> with Book("recover-stuck-runner", {"target": "recorded:healthy"}) as book:
    ...     print(book.outcome().status)
    nothing to do
    """

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        found = runbook(name)
        defaults = {**COMMON, **found.settings}
        if unknown := given.keys() - defaults.keys():
            raise ParameterError(f"{name}: there is no parameter {min(unknown)}; there are {', '.join(defaults)}.")
        values = vars(checked({**defaults, **given}, **{key: type(value) for key, value in defaults.items()}))
        self.dry_run, self.approved_plan = bool(values["dry_run"]), str(values["approved_plan"])
        where = f"recorded:{found.recording}" if values["target"] == "recorded" else str(values["target"])
        options = values["ssh_options"]
        self.target: Target = open_target(where, values["port"], values["unit"], not self.dry_run, options,
                                          values["unit_folder"])  # fmt: skip
        self.case = Path(values["case"]) if values["case"] else None
        now: Callable[[], datetime] = self.target.now
        self.journal = Journal(Path(values["journal"]) if values["journal"] else default_journal(), now)
        settings = {key: values[key] for key in found.settings}
        self._runner = Runner(found.name, self.target, settings, found.build, self.journal, values["operator"],
                              values["undo"])  # fmt: skip
        self._plan: Plan | None = None
        self._in_notebook = False

    @classmethod
    def of_notebook(cls, name: str, namespace: Mapping[str, Any]) -> Book:
        """The runbook with the parameters of a notebook's `globals()`; a name that is nearly one of them is refused."""
        defaults = {**COMMON, **runbook(name).settings}
        book = cls(name, vars(checked(namespace, **{key: type(value) for key, value in defaults.items()})))
        book._in_notebook = True
        return book

    def approval(self) -> str:
        """What to do with the plan, in words."""
        found = self._runner.run(dry_run=True)
        by_hand = [command for row in self.plan.rows for command in row.by_hand] if found.status == "planned" else []
        lines = [
            f"Plan {self.plan.id}: {self.plan.summary}",
            str(found),
            *(["By hand, in its turn:"] if by_hand else []),
        ]
        return "\n".join([*lines, *(f"    {command}" for command in by_hand)])

    @property
    def plan(self) -> Plan:
        """What a run would do, as first seen. Raises CannotTell when that cannot be told."""
        if self._plan is None:
            self._plan = self._runner.plan()
        return self._plan

    def preconditions(self) -> pandas.DataFrame:
        """The preconditions, one a row: name, state, sentence."""
        return _frame([vars(one) for one in self.plan.preconditions], ["name", "state", "sentence"])

    def steps(self) -> pandas.DataFrame:
        """The plan, one step a row: step, does, now, wanted, effect, felt by, undo."""
        rows = [{**vars(row), "felt by": row.felt_by} for row in self.plan.rows]
        return _frame(rows, ["step", "does", "now", "wanted", "effect", "felt by", "undo"])

    def outcome(self) -> Outcome:
        """Act as approved, or in a dry run tell what would be done; then put the journal's lines into the case."""
        with one_interrupt():
            try:
                outcome = self._runner.run(self.dry_run, self.approved_plan)
            except Interrupted as stop:
                self._keep(stop.outcome)
                raise
            self._keep(outcome)
        return outcome

    def _keep(self, outcome: Outcome) -> None:
        if outcome.run and self.case:
            self._into_case(self.case, outcome.run)
        if self._in_notebook:
            show(outcome, self.journal.path)

    def _into_case(self, case: Path, run: str) -> None:
        """The run's lines, redacted as all of a case is, and without what files held before: that is for undoing."""
        from ..collect.case_folder import CaseFolder
        from ..evidence import JOURNAL

        folder = CaseFolder(case, self.target.host)
        kept = Journal(case / JOURNAL)
        there = {_line_of(entry) for entry in kept.entries()}
        for entry in self.journal.entries():
            if entry["run"] != run or _line_of(entry) in there:
                continue
            for name in ("operator", "machine"):
                folder.redactor.learn_known(str(entry.get(name, "")), "user" if name == "operator" else "host")
            told = {name: value for name, value in entry.items() if name != "remembered"}
            kept.append(json.loads(folder.redacted(json.dumps(told))))

    def close(self) -> None:
        self.target.close()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _line_of(entry: Mapping[str, Any]) -> tuple[object, ...]:
    return entry["run"], entry["at"], entry["event"], entry.get("step")


def steps_of(outcome: Outcome) -> pandas.DataFrame:
    """What a run did, one line a row: step, what, sentence."""
    return _frame([dict(zip(("step", "what", "sentence"), row, strict=True)) for row in outcome.steps],
                  ["step", "what", "sentence"])  # fmt: skip


def measures_of(outcome: Outcome) -> pandas.DataFrame:
    """What was measured before and after, one measure a row."""
    names = list(dict.fromkeys([*outcome.before, *outcome.after]))
    rows = [{"measure": name, "before": outcome.before.get(name), "after": outcome.after.get(name)} for name in names]
    return _frame(rows, ["measure", "before", "after"])


def _frame(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> pandas.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=columns)
