"""One health report from beginning to end: alone in its folder, collected, executed, concluded; the verdict comes last.

    outcome = report(Wanted(paths=("/var/log/ollama/server.log",), folder=Path("/var/lib/warmstall")))
    outcome.exit_code, outcome.sentence

A run works in a folder `unfinished-…`, which gets its name when page and assessment lie in it. Whatever goes wrong
before that is a verdict as well, exit code 3 and red on the page; a run that is killed leaves none, and the next one
begins where the last verdict ended.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError, WarmstallError
from ..parse.plain_text import printable
from ..writing import whole_file
from .asked import moment_of, period_asked, seconds_of
from .conclusion import conclude, failed_verdict, read_assessment, read_verdict
from .folder import ReportFolder
from .records import HealthReport

Progress = Callable[[str], None]

NOTEBOOK = "health_report"
# What began before the period and still held in it is told by lines before it: a load, a request that took long.
_BEFORE_S = 3600.0


@dataclass(frozen=True)
class Wanted:
    """What is to be reported, and where to. Durations and times are text as on the command line.

    `paths` are logs, folders or cases; with `collect`, what `host` (an ssh address; empty is this machine) shows now
    is captured as well. `since` covers that long, whatever was reported before; `until` is a time, or `end`.
    """

    paths: tuple[str, ...] = ()
    collect: bool = False
    folder: Path = Path("warmstall-health")
    every: str = "1h"
    since: str = ""
    until: str = ""
    objectives: Path | None = None
    alerts: Path | None = None
    host: str = ""
    ssh_options: tuple[str, ...] = ()

    def checked(self) -> None:
        """Raises InputError for what cannot be meant."""
        if not self.paths and not self.collect:
            raise InputError("nothing to report on: expected a log, a folder or a case, or --collect.")
        if self.host and not self.collect:
            raise InputError(f"--host {self.host}: is for --collect.")
        if self.until and self.collect:
            raise InputError(f"--until {self.until}: a collection tells of now; leave one of the two away.")
        if odd := [path for path in self.paths if path == "-" or "\n" in path]:
            raise InputError(f"{odd[0]!r}: expected a path; a report reads no standard input.")
        seconds_of(self.every, "--every")
        if self.since:
            seconds_of(self.since, "--since")
        if self.until not in ("", "end"):
            moment_of(self.until)


@dataclass(frozen=True)
class Outcome:
    """How a report ended: its verdict, as verdict.json has it, and its page, where there is one."""

    verdict: dict[str, Any]
    page: Path | None

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 2 critical, 3 could not tell or failed."""
        return int(self.verdict["exit_code"])

    @property
    def sentence(self) -> str:
        return str(self.verdict["sentence"])


def report(wanted: Wanted, say: Progress = lambda _: None) -> Outcome:
    """Make one report in `wanted.folder`.

    Raises InputError where what is wanted cannot be meant, Held (an OutputError) where another report is being made
    there, and OutputError where nothing can be written; whatever else goes wrong is in the verdict.
    """
    wanted.checked()
    folder = ReportFolder(wanted.folder)
    with folder.locked():
        began = datetime.now(UTC)
        with contextlib.suppress(OSError, OutputError):
            folder.note_begun(began)
        try:
            outcome = _made(wanted, folder, began, say)
        except Exception as fault:
            return _fallen(wanted, folder, began, _told(fault))
        with contextlib.suppress(OSError):  # what is too much now is removed after the next report
            folder.prune()
        return outcome


def _made(wanted: Wanted, folder: ReportFolder, began: datetime, say: Progress) -> Outcome:
    run = folder.begin(began)
    try:
        error = _execute(wanted, folder, run, say)
    except Exception as fault:
        error = _told(fault)
    return _concluded(wanted, folder, run, began, error, say)


def _fallen(wanted: Wanted, folder: ReportFolder, began: datetime, error: str) -> Outcome:
    """Where not even the report's own folder can be kept, as on a full disk: who is told is told, then the verdict.

    Raises OutputError where that cannot be written either; the last verdict stays, and grows stale.
    """
    with contextlib.suppress(OSError):
        _put_latest(folder.path, None)
    failed = _failed(wanted, folder, began, error)
    return Outcome(conclude(folder.path, None, None, "", _settings(wanted)[0], error, failed), None)


def _failed(wanted: Wanted, folder: ReportFolder, began: datetime, error: str, page: str = "") -> dict[str, Any]:
    previous, every_s = read_verdict(folder.path), _every_s(wanted)
    covered = period_asked(previous, began, every_s, wanted.since, None)
    return failed_verdict(covered.from_at, began, error, previous, every_s, page)


def _execute(wanted: Wanted, folder: ReportFolder, run: Path, say: Progress) -> str:
    """Collect and run the notebook; what failed in it, or ''."""
    from ..report import execute, load_exporter, notebook_path

    paths = [str(Path(path).absolute()) for path in wanted.paths]
    if wanted.collect:
        covered = period_asked(read_verdict(folder.path), datetime.now(UTC), _every_s(wanted), wanted.since, None)
        paths.append(str(_collect(wanted, folder, covered.from_at, say).absolute()))
    say("running the notebook …")
    parameters = {
        "case": "\n".join(paths), "out": str(folder.path.absolute()), "every": wanted.every, "since": wanted.since,
        "until": wanted.until, "objectives": str(wanted.objectives.absolute()) if wanted.objectives else "",
        "run_folder": str(run.absolute()), "conclude": False,
    }  # fmt: skip
    return execute(notebook_path(NOTEBOOK), run / f"{NOTEBOOK}.ipynb", parameters, meanwhile=load_exporter)


def _collect(wanted: Wanted, folder: ReportFolder, from_at: datetime, say: Progress) -> Path:
    """Capture what the host shows into a case of its own. Raises InputError where there was nothing to capture."""
    from ..collect.collection import Wanted as WantedCollection
    from ..collect.run import collect
    from ..host import open_host

    unfinished = folder.cases / "unfinished-case"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    # All cases of a folder share their tokens: a host that is called otherwise in each report would have no history.
    (unfinished / "case.json").write_text(json.dumps({"id": _identity(folder)}), encoding="utf-8")
    hours = ((datetime.now(UTC) - from_at).total_seconds() + _BEFORE_S) / 3600
    with contextlib.closing(open_host(wanted.host, wanted.ssh_options)) as host:
        # The name of the host stays: an alert that does not say where helps nobody.
        found = collect(host, unfinished, WantedCollection(hours=hours), ("host",), say)
    if not found.files:
        why = next((step.reason for step in found.steps if step.reason), "no reason is known")
        raise InputError(f"nothing could be captured of {wanted.host or 'this machine'}: {why}")
    case = folder.case_at(datetime.now(UTC))
    shutil.rmtree(case, ignore_errors=True)  # of the same second: the later look takes its place
    unfinished.replace(case)
    return case


def _identity(folder: ReportFolder) -> str:
    path = folder.cases / "identity"
    with contextlib.suppress(OSError):
        if len(known := path.read_text(encoding="utf-8").strip()) == 16:
            return known
    identity = secrets.token_hex(8)
    with whole_file(path) as partial:
        partial.write_text(identity, encoding="utf-8")
    return identity


def _concluded(
    wanted: Wanted, folder: ReportFolder, run: Path, began: datetime, error: str, say: Progress
) -> Outcome:  # fmt: skip
    """Page, history, delivery; the verdict last."""
    settings, problem = _settings(wanted)
    assessed = read_assessment(run)
    error = "; ".join(filter(None, (error, problem))) or ("" if assessed else "the notebook left no assessment")
    say("writing the page …")
    page = None
    try:
        page = _page(run, assessed, error)
    except Exception as fault:
        error = error or f"the page was not written: {_told(fault)}"
    final = folder.finish(run, assessed.to_at if assessed else began)
    name = str((final / page.name).relative_to(folder.path)) if page else ""
    failed = None if assessed else _failed(wanted, folder, began, error, name)
    _put_latest(folder.path, final / page.name if page else None)
    verdict = conclude(folder.path, assessed, final, name, settings, error, failed)
    return Outcome(verdict, final / page.name if page else None)


def _page(run: Path, assessed: HealthReport | None, error: str) -> Path:
    """report.html of whatever the notebook came to. Raises whatever hinders it."""
    import nbformat

    from ..report import html_page

    executed, page = run / f"{NOTEBOOK}.ipynb", run / "report.html"
    if not executed.exists():
        cell = nbformat.v4.new_markdown_cell("# Health report\n\nThe notebook did not start.")  # type: ignore[no-untyped-call]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), executed)  # type: ignore[no-untyped-call]
    hosts = ", ".join(assessed.hosts) if assessed else ""
    title = f"Health of {printable(hosts)}, {assessed.to_at:%Y-%m-%d %H:%M} UTC" if assessed else "Health report"
    html = html_page(executed, title, error)
    with whole_file(page) as partial:
        partial.write_text(html, encoding="utf-8", newline="\n")
    return page


def _put_latest(folder: Path, page: Path | None) -> None:
    """latest.html is this report's page, or nothing: an old page would tell what is no longer so."""
    if page is None:
        (folder / "latest.html").unlink(missing_ok=True)
        return
    with whole_file(folder / "latest.html") as partial:
        shutil.copyfile(page, partial)


def _settings(wanted: Wanted) -> tuple[Any, str]:
    """Where alerts go, or why that is not known: then nobody is told, and the report says so."""
    if not wanted.alerts:
        return None, ""
    from .delivery.settings import read_settings

    try:
        return read_settings(wanted.alerts), ""
    except Exception as fault:
        return None, f"nothing was sent: {_told(fault)}"


def _every_s(wanted: Wanted) -> float:
    return seconds_of(wanted.every, "--every")


def _told(fault: Exception) -> str:
    return str(fault) if isinstance(fault, WarmstallError) else f"{type(fault).__name__}: {printable(str(fault))}"
