"""How a report ends: history, delivery, and the verdict last of all, so that a verdict means a finished report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..parse.plain_text import printable
from ..writing import whole_file
from .plain import SCHEMA, plain, report_of, time_of
from .records import EXIT_CODES, HealthReport, Status

if TYPE_CHECKING:
    from .delivery.settings import AlertSettings

ASSESSMENT = "assessment.json"
VERDICT = "verdict.json"
HISTORY = "history"
COLOURS: Mapping[Status, str] = {"healthy": "green", "degraded": "amber", "critical": "red", "could not tell": "grey"}
# More than this is a traceback, which stands in the notebook.
_LONGEST_ERROR = 500


def save(report: HealthReport, folder: Path | str) -> Path:
    """Leave what a report says in `folder` as assessment.json: whole, or not at all."""
    path = Path(folder) / ASSESSMENT
    _write(path, {"schema": SCHEMA} | plain(report))
    return path


def read_assessment(folder: Path | str) -> HealthReport | None:
    """What `save` left in `folder`; None where there is nothing, or nothing that can be read."""
    try:
        values = json.loads((Path(folder) / ASSESSMENT).read_text(encoding="utf-8"))
        return report_of(values) if isinstance(values, dict) else None
    except (OSError, ValueError, RecursionError, InputError):
        return None


def read_verdict(folder: Path | str) -> dict[str, Any] | None:
    """The last verdict of a folder of reports; None where there is none that can be read."""
    try:
        values = json.loads((Path(folder) / VERDICT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA or values.get("status") not in EXIT_CODES:
        return None
    try:
        for name in ("from", "to", "written_at", "due_at"):
            time_of(values[name])
    except (KeyError, TypeError, ValueError):
        return None
    return values


def verdict_of(
    report: HealthReport, delivery: Mapping[str, Any] | None = None, error: str = "", page: str = ""
) -> dict[str, Any]:
    """verdict.json of a report. `page` is its report.html, relative to the folder; `error` is why it is incomplete.

    What was assessed before the error stands: its reasons are kept, and the first words say that the report failed.
    """
    values: dict[str, Any] = plain(report)
    values["from"], values["to"] = values.pop("from_at"), values.pop("to_at")
    status: Status = report.status
    if error:
        status = "could not tell"
        error = printable(error)[:_LONGEST_ERROR]
        values["sentence"] = f"The report failed, and is incomplete ({error}). Before that: {report.sentence}"
        values["reasons"] = [_error_reason(error), *values["reasons"]]
    return {
        "schema": SCHEMA, "status": status, "exit_code": EXIT_CODES[status], "sentence": report.sentence,
        "colour": COLOURS[status],
    } | values | {"status": status, "delivery": dict(delivery or {}), "report": page, "error": error}  # fmt: skip


def failed_verdict(
    from_at: datetime, to_at: datetime, error: str, previous: Mapping[str, Any] | None = None,
    every_s: float = 3600.0, page: str = "", written_at: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The verdict of a report that came to nothing: could not tell, exit code 3, and why.

    The next report covers its period again (`spans.period_for`); what the last report knew of the configuration and
    the causes is handed on to it.
    """
    error = printable(error)[:_LONGEST_ERROR] or "no reason is known"
    written_at = written_at or datetime.now(UTC)
    handed_on = {name: (previous or {}).get(name) for name in ("hosts", "causes", "configuration")}
    missed = f"{from_at:%Y-%m-%d %H:%M} to {to_at:%H:%M} UTC is not reported; the next report covers it."
    return {
        "schema": SCHEMA, "status": "could not tell", "exit_code": EXIT_CODES["could not tell"],
        "sentence": f"Could not tell: the report failed ({error}).", "colour": COLOURS["could not tell"],
        "numbers": [], "from": plain(from_at), "to": plain(to_at), "written_at": plain(written_at),
        "due_at": plain(written_at + timedelta(seconds=every_s)), "hosts": handed_on["hosts"] or [],
        "reasons": [_error_reason(error)], "slis": [], "objectives": [], "comparisons": [], "memory": [], "drift": [],
        "causes": handed_on["causes"] or [], "residency": [], "not_observed": [missed], "notes": [],
        "configuration": handed_on["configuration"] or {}, "delivery": {}, "report": page, "error": error,
    }  # fmt: skip


def conclude(
    folder: Path | str, report: HealthReport | None, run_folder: Path | str | None = None, page: str = "",
    settings: AlertSettings | None = None, error: str = "", failed: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Append to the history, deliver, and write verdict.json last; returns the verdict.

    `report` is None where there is none; `failed` is then its `failed_verdict`. A fault in history or delivery is
    told in the verdict and costs nobody the verdict.
    """
    folder = Path(folder)
    now = now or datetime.now(UTC)
    verdict = verdict_of(report, error=error, page=page) if report else dict(failed or {})
    if report:
        try:
            from . import history

            history.append(folder / HISTORY, report)
        except Exception as fault:
            verdict["notes"].append(f"History was not written ({type(fault).__name__}: {printable(str(fault))}).")
    try:
        from .delivery import deliver

        verdict["delivery"] = deliver(verdict, folder, settings, now)
    except Exception as fault:
        verdict["delivery"] = {"error": f"{type(fault).__name__}: {printable(str(fault))}"[:_LONGEST_ERROR]}
    if settings and settings.metrics_file:
        try:
            from .metrics import write_textfile

            write_textfile(verdict, folder / settings.metrics_file)
        except Exception as fault:
            verdict["notes"].append(f"Metrics were not written ({type(fault).__name__}: {printable(str(fault))}).")
    if run_folder:
        _write(Path(run_folder) / VERDICT, verdict)
    _write(folder / VERDICT, verdict)
    return verdict


def _error_reason(error: str) -> dict[str, str]:
    return {"key": "report:error", "status": "could not tell", "sentence": f"the report failed: {error}"}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
