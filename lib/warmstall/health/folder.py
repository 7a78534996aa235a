"""The folder of a host's health reports: one run at a time, and room that stays bounded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..parse.plain_text import printable
from ..writing import whole_file

STAMP = "%Y-%m-%dT%H%M%SZ"
# A report without its page is some 300 kB, a page 5 MB: plotly stands in each, so that it can be read anywhere. A month
# of hourly reports, of them the pages of two days and those of the last 48 that were not healthy, is 700 MB at most.
# What they measured is kept for good, in the history; a page can be made anew of its executed notebook.
REPORTS_KEPT = 750
PAGES_KEPT = 48
CASES_KEPT = 24
_UNFINISHED = "unfinished-"
BEGUN = "begun"
# Held until the process ends, so that no two processes write the same tables.
_claimed: dict[Path, Any] = {}


class Held(OutputError):
    """Another report is being made in this folder."""


class ReportFolder:
    """Where reports, history and the verdict lie; see `docs/health.md` for its files."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.reports = self.path / "reports"
        self.cases = self.path / "cases"

    def report_at(self, to_at: datetime) -> Path:
        """The folder of the report whose period ends then."""
        return self.reports / to_at.astimezone(UTC).strftime(STAMP)

    def case_at(self, at: datetime) -> Path:
        """The folder of what was collected then."""
        return self.cases / at.astimezone(UTC).strftime(STAMP)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this folder, or Held with who else is. The lock goes with its process, also when it is killed."""
        from filelock import FileLock, Timeout

        holder = self.path / "lock.holder"
        lock = FileLock(self.path / "lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            by = "another process"
            with suppress(OSError):
                by = printable(holder.read_text(encoding="utf-8"))[:100]
            raise Held(f"{self.path}: a report is being made here by {by}; this one ends.") from None
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error}).") from error
        # Who it is helps the next one, and is worth no report: a full disk is told by the verdict, if at all.
        with suppress(OutputError), whole_file(holder) as partial:
            partial.write_text(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        try:
            yield
        finally:
            with suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()

    def claim_tables(self, patience_s: float) -> bool:
        """Whether this process may write the folder's tables, from now until it ends."""
        from filelock import FileLock, Timeout

        path = self.path.absolute() / "tables.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _claimed.get(path) or FileLock(path)
            lock.acquire(timeout=patience_s)
        except (Timeout, OSError):
            return False
        _claimed[path] = lock
        return True

    def note_begun(self, at: datetime) -> None:
        """Leave word that a report began: where no verdict follows, `freshness.check` tells. Raises OutputError."""
        with whole_file(self.path / BEGUN) as partial:
            partial.write_text(at.isoformat(), encoding="utf-8")

    def begin(self, at: datetime) -> Path:
        """A new folder for a run that is not finished; what killed runs left is removed."""
        for left in [*self.reports.glob(f"{_UNFINISHED}*"), *self.cases.glob(f"{_UNFINISHED}*")]:
            shutil.rmtree(left, ignore_errors=True)
        run = self.reports / f"{_UNFINISHED}{at.astimezone(UTC).strftime(STAMP)}-{os.getpid()}"
        run.mkdir(parents=True, exist_ok=True)
        return run

    def finish(self, run: Path, to_at: datetime) -> Path:
        """The run gets its name; a report of the same period makes way."""
        final = self.report_at(to_at)
        if final.exists():
            shutil.rmtree(final)
        run.replace(final)
        return final

    def prune(self) -> None:
        """Remove what is more than the limits above, and reports without a verdict: runs that were killed."""
        reports = _stamped(self.reports)
        ended = [path for path in reports if (path / "verdict.json").exists()]
        for path in reports:
            if path not in ended or path in ended[REPORTS_KEPT:]:
                shutil.rmtree(path, ignore_errors=True)
        older = [path for path in ended[PAGES_KEPT:REPORTS_KEPT] if (path / "report.html").exists()]
        trouble = [path for path in older if _status(path) != "healthy"]
        for path in older:
            if path not in trouble[:PAGES_KEPT]:
                (path / "report.html").unlink(missing_ok=True)
        for path in _stamped(self.cases)[CASES_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _stamped(folder: Path) -> list[Path]:
    """The folders whose name is a time, the newest first; whatever else lies there is not ours."""
    found = []
    for path in folder.glob("[0-9]*Z"):
        with suppress(ValueError):
            datetime.strptime(path.name, STAMP)
            found.append(path)
    return sorted(found, reverse=True)


def _status(report: Path) -> str:
    try:
        return str(json.loads((report / "verdict.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
