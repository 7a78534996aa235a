"""What a health report is made of: the evidence, the period, the history and the objectives. Called by its notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis import Analysis
from ..case import Clocks, clocks_of, sample_incident, write_case
from ..errors import OutputError
from ..evidence import discover
from ..observed.facts import with_observed
from ..parse.plain_text import printable
from ..period import within
from . import history
from .asked import moment_of, period_asked, seconds_of
from .assessing import assess
from .conclusion import conclude, read_verdict, save
from .folder import ReportFolder
from .memory_looks import Looks, all_looks
from .records import HealthReport, Objective
from .seasons import REACH
from .spans import Covered

if TYPE_CHECKING:
    import pandas as pd

# Evidence is read on from where the last report stopped; another process that reads it is done within seconds.
_PATIENCE_S = 30.0
# What is looked at again of earlier reports: objectives and memory of 30 days, SLIs as far as comparisons reach.
_KINDS = ("sli", "objective", "memory")


@dataclass(frozen=True)
class Prepared:
    """Everything that `assess` needs, and where its results go."""

    found: Analysis
    covered: Covered
    every_s: float
    folder: Path
    run_folder: Path
    history: pd.DataFrame
    previous: dict[str, Any] | None
    objectives: list[Objective] | None
    notes: tuple[str, ...] = ()

    @cached_property
    def period(self) -> Analysis:
        """The evidence of the period alone."""
        return within(self.found, self.covered.from_at, self.covered.to_at)

    def assessed(self) -> HealthReport:
        """Judge the period, and leave what came of it in the run's folder before anything is drawn."""
        report = assess(
            self.found, self.covered.from_at, self.covered.to_at, self.objectives, self.history, self.previous,
            self.every_s, (*self.covered.notes, *self.notes), period=self.period,
        )  # fmt: skip
        save(report, self.run_folder)
        return report

    def looks(self) -> Iterable[Looks]:
        """What was left of memory and swap at each look, also before the period."""
        return all_looks(self.found, self.history, self.covered.to_at)

    def residencies(self) -> pd.DataFrame:
        """When each model was in memory, as the log tells and as looks at /api/ps show it."""
        return with_observed(self.period.residencies(), self.period.case)

    def concluded(self, report: HealthReport, alerts: str = "") -> str:
        """Conclude from within the notebook, where no command does it: history, delivery, verdict; says what it is.

        Raises OutputError where another report holds the folder.
        """
        from .delivery.settings import read_settings

        settings = read_settings(Path(alerts)) if alerts else None
        with ReportFolder(self.folder).locked():
            verdict = conclude(self.folder, report, self.run_folder, "", settings)
        return str(verdict["sentence"])


def prepare(
    case: str = "", out: str = "", every: str = "1h", since: str = "", until: str = "", objectives: str = "",
    run_folder: str = "", now: datetime | None = None,
) -> Prepared:  # fmt: skip
    """Read the evidence and say which period is to be judged. Parameters are those of the notebook, as text.

    `case` names logs, folders or cases, one a line; an empty one is the sample incident, of which the end is judged.
    Raises InputError for what cannot be read or understood.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    every_s = seconds_of(every, "every")
    folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="warmstall-health-"))
    if not run_folder:  # no command waits for this notebook, to say so when it fails
        with suppress(OutputError):
            ReportFolder(folder).note_begun(now)
    named = [Path(line) for line in case.splitlines() if line.strip()] or [sample_incident()]
    paths, missing = _present(named, ReportFolder(folder).cases)
    found = _read(paths, folder)
    # Of a server that writes no more, "until the end" would tell of its last good hour for ever: it must be asked for.
    end = _end_of(found, now) if until == "end" or not (case or until) else None
    previous = read_verdict(folder)
    covered = period_asked(previous, now, every_s, since, end or (moment_of(until) if until else None))
    chosen = None
    if objectives:
        from .objectives import read_objectives

        chosen = read_objectives(Path(objectives))
    # Periods up to twice as long are compared, and they are found by their beginning.
    since_at = covered.from_at - REACH - 2 * (covered.to_at - covered.from_at)
    rows, told = history.read(folder / "history", _KINDS, since_at)
    target = Path(run_folder) if run_folder else ReportFolder(folder).report_at(covered.to_at)
    return Prepared(found, covered, every_s, folder, target, rows, previous, chosen, (*missing, *told))


def _present(paths: list[Path], cases: Path) -> tuple[list[Path], list[str]]:
    """The paths to read and, beside what --collect captured, a note on each that is not there.

    The case of a watch that has not begun yet is no reason not to tell what was captured. Without a capture it is: a
    log that was moved would be missed by nobody.
    """
    if not any(cases.absolute() in path.absolute().parents for path in paths):
        return paths, []
    missing = [path for path in paths if not path.exists()]
    return [path for path in paths if path not in missing], [
        f"{printable(str(path))} is not there: this report goes without it." for path in missing
    ]


def _read(paths: list[Path], folder: Path) -> Analysis:
    """The analysis of all paths together; what an earlier report has read of a log is not read again."""
    evidence = discover(paths)
    noted = [clocks_of(path) for path in paths]
    clocks = Clocks(
        None,
        {host: zone for one in noted for host, zone in one.zones_s.items()},
        {host: pair for one in noted for host, pair in one.measured_s.items()},
    )
    tables = folder / "tables"
    if not ReportFolder(folder).claim_tables(_PATIENCE_S):  # a notebook that is open holds them
        tables = Path(tempfile.mkdtemp(prefix="warmstall-"))
    return Analysis(write_case(evidence, tables, tables, clocks))


def _end_of(found: Analysis, now: datetime) -> datetime:
    """When the last line of the evidence was written."""
    ends = [datetime.fromisoformat(account["last_at"]) for account in found.case.accounts if account["last_at"]]
    return max((at if at.tzinfo else at.replace(tzinfo=UTC) for at in ends), default=now).astimezone(UTC)
