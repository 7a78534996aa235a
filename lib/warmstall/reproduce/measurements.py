"""measurements.csv: one row a call, written as it ends, so that a run that was killed has lost only what was open."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from ..guarding.trial_file import plain_error
from .records import Measurement, Sent

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "number", "phase", "step", "arm", "due_at", "started_at", "ended_at", "wall_s", "late_s", "latency_s", "ok",
    "error", "ttft_s", "output_tokens", "tokens_per_s", "load_duration_s", "attempts", "trace_id", "measures",
)  # fmt: skip
_TEXTS = ("phase", "step", "arm", "error", "trace_id", "measures")
_TIMES = ("due_at", "started_at", "ended_at")


class Measurements:
    """The rows of one file; `clean` takes out of an error what may not stand in a case.

    Raises OutputError when it cannot be written, holds something else, or is being written by another process.
    """

    def __init__(self, path: Path, clean: Callable[[str], str] = lambda text: text) -> None:
        self.path, self._clean, self._lock = path, clean, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            self._alone()
            self._file.seek(0)
            there = self._file.read()
            head = ",".join(COLUMNS).encode() + b"\n"
            if not (there.startswith(head) or head.startswith(there)):
                self._file.close()
                raise OutputError(f"{path}: is there and holds something else; give another folder.")
            self._file.truncate(there.rfind(b"\n") + 1)  # a kill may have cut the last row
            if len(there) < len(head):
                self._write(head.decode())
        except OSError as error:
            raise self._refused(error) from error

    def append(self, measurement: Measurement) -> None:
        """One row, on its way to the disk before this returns."""
        row: dict[str, Any] = {**vars(measurement), **vars(measurement.sent)}
        row |= {name: plain_error(str(row[name])) for name in ("phase", "step", "arm")}
        row["error"] = plain_error(self._clean(row["error"]))
        row["measures"] = json.dumps(dict(row["measures"])) if row["measures"] else ""
        row |= {name: round(row[name], 6) for name in COLUMNS if isinstance(row[name], float)}
        text = io.StringIO()
        csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(row)
        try:
            with self._lock:
                self._write(text.getvalue())
        except OSError as error:
            raise self._refused(error) from error

    def numbers(self) -> set[int]:
        """The numbers of the calls that were measured."""
        with self.path.open(newline="", encoding="utf-8") as handle:
            return {int(row["number"]) for row in csv.DictReader(handle)}

    def rows(self) -> list[Measurement]:
        """All rows as they were appended; errors as they were written."""
        return [_measurement_of(row) for row in self._frame().astype(object).to_dict("records")]

    def read(self) -> pd.DataFrame:
        """All rows in the order in which they ended: times as UTC timestamps, each of the `measures` a column."""
        import pandas as pd

        rows = self._frame()
        measures = pd.DataFrame([json.loads(text or "{}") for text in rows.pop("measures")], index=rows.index)
        return rows.join(measures)

    def _frame(self) -> pd.DataFrame:
        import pandas as pd

        texts = dict.fromkeys(_TEXTS, str)
        rows = pd.read_csv(self.path, dtype=texts, keep_default_na=False, na_values={
            name: [""] for name in COLUMNS if name not in _TEXTS
        })  # fmt: skip
        for name in _TIMES:
            rows[name] = pd.to_datetime(rows[name], utc=True, format="ISO8601")
        rows["ok"] = rows["ok"].astype(bool)
        return rows

    def close(self) -> None:
        self._file.close()

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "replace"))
        self._file.flush()

    def _alone(self) -> None:
        """Two processes would measure every call twice."""
        with suppress(ImportError):  # of Windows
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"{self.path}: another process is measuring into it; let it end.") from None

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written ({error.strerror or error}).")


def _measurement_of(row: dict[str, Any]) -> Measurement:
    told = {
        name: None if row[name] != row[name] else row[name] for name in ("ttft_s", "tokens_per_s", "load_duration_s")
    }
    tokens = row["output_tokens"]
    sent = Sent(
        row["ok"], row["error"], output_tokens=None if tokens != tokens else int(tokens), attempts=row["attempts"],
        trace_id=row["trace_id"], measures=json.loads(row["measures"] or "{}"), **told,
    )  # fmt: skip
    due_at, started_at, ended_at = (row[name].isoformat(timespec="microseconds") for name in _TIMES)
    return Measurement(
        row["number"], row["phase"], row["step"], row["arm"], due_at, started_at, ended_at,
        row["wall_s"], row["late_s"], row["latency_s"], sent,
    )  # fmt: skip
