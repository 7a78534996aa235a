"""What the hypotheses ask of a case, each asked once: frames, events and the places where they stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ...analysis import Analysis
from ...judging.words import Mask, Words
from ...mitigations import Act, acts_of, explaining
from ...observed.captured import captured_table, is_captured
from ...observed.facts import limits_in_force, memory_findings, settings_in_force
from ...once import once
from ...schema import TABLES
from ..findings import Place, Span
from .events import Events

# A request that came to nothing, or took its time for a reason of its own. What is unknown is neither.
TROUBLED = (
    "cold_start", "queue_wait", "slow_prefill", "slow_decode", "warm_stall", "load_failure", "runner_crash",
    "client_abort",
)  # fmt: skip


class Facts:
    """One case, as the hypotheses see it. Frames hold host, source and line, so that `places` finds them."""

    def __init__(self, found: Analysis) -> None:
        self.found = found
        self.case = found.case
        self._tables: dict[str, pd.DataFrame] = {}

    # --- what was captured

    def has(self, *tables: str) -> bool:
        """Whether any of these tables of `schema.TABLES` has a row."""
        return any(len(self.table(table)) for table in tables)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of files that were read: server-log, trials, vm-stat, kernel-log, application-log …"""
        return frozenset(kind for account in self.case.accounts for kind in str(account["kind"]).split("+"))

    @cached_property
    def has_server_log(self) -> bool:
        """Whether a server's log is here."""
        return "server-log" in self.kinds

    @cached_property
    def has_starts(self) -> bool:
        """Whether the log holds a start of the server, with what it printed then: settings, devices, version."""
        return any(self.counts.get(key) for key in ("server_config", "server_listening"))

    @cached_property
    def has_debug_lines(self) -> bool:
        """Whether the server logged at DEBUG: the scheduler's decisions are then in the log."""
        keys = ("went_idle", "timer_fired", "expired_event", "req_ctx_done", "load_first", "sched_eval")
        return any(self.counts.get(key) for key in keys)

    # --- what it shows

    @cached_property
    def requests(self) -> pd.DataFrame:
        """The requests that ran a model, or should have: Analysis.inferences()."""
        return self.found.inferences()

    def requests_to(self, host: str, model: str) -> pd.DataFrame:
        """The requests that may have been to a model that /api/ps shows: not those known to be to another one.

        A log that names no model by its name leaves that open.
        """
        seen = {_untagged(str(name)) for name in self.table("resident_models")["model"]}
        named = self.requests["model"].map(_untagged)
        here = self.requests["host"].eq(host) | (self.requests["host"].nunique() <= 1)
        return self.requests[here & (named.eq(_untagged(model)) | ~named.isin(seen))]

    @cached_property
    def troubled(self) -> pd.DataFrame:
        """The requests that were slow or failed for a reason that the evidence shows."""
        return self.with_verdict(*TROUBLED)

    def with_verdict(self, *verdicts: str, columns: Sequence[str] = ()) -> pd.DataFrame:
        """The requests with one of these verdicts; where columns are named, no others. It may be nearly all of them."""
        requests = self.requests[list(columns)] if columns else self.requests
        return requests.iloc[np.flatnonzero(self.is_verdict(*verdicts))]

    def is_verdict(self, *verdicts: str) -> Mask:
        """Which of the requests have one of these verdicts."""
        return holds(self.requests["verdict"], verdicts.__contains__)

    def walls_of(self, models: frozenset[str], *verdicts: str) -> pd.DataFrame:
        """What those with these verdicts took, of these models alone where any is named: host, source, line, wall_s."""
        name = "walls:" + ",".join(verdicts)
        if name not in self._tables:
            columns = ["host", "source", "line", "model", "wall_s"]
            self._tables[name] = self.requests[columns].iloc[np.flatnonzero(self.is_verdict(*verdicts))]
        rows = self._tables[name]
        return rows[rows["model"].isin(models)] if models else rows

    @cached_property
    def lost_trials(self) -> pd.DataFrame:
        """Calls of clients for which the server wrote no access line: hung, refused or lost."""
        return pd.DataFrame(self.found.unmatched_trials, columns=["host", "source", "line", *_TRIAL_COLUMNS])

    @cached_property
    def loads(self) -> pd.DataFrame:
        """Columns of Analysis.loads(), and ended_at (UTC, when the load came to its outcome) and embedding."""
        names = self.found.names
        rows = [
            vars(load) | {"model": names.get(load.model, load.model), "ready_at": load.ready_at}
            for load in self.found.loads_of_period
        ]
        columns = ["host", "source", "line", "model", "spawned_at", "began_at", "ready_at", "ended_at", "load_s",
                   "outcome", "reload", "reason", "parallel", "context_length", "embedding", "evicted"]  # fmt: skip
        frame = pd.DataFrame(rows, columns=columns)
        for name in ("spawned_at", "began_at", "ready_at", "ended_at"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        return frame

    @cached_property
    def residencies(self) -> pd.DataFrame:
        """Columns of Analysis.residencies()."""
        return self.found.residencies()

    @cached_property
    def memory(self) -> pd.DataFrame:
        """What each host's memory was doing: host, state, since, sentence, collect."""
        return memory_findings(self.case)

    @cached_property
    def limits(self) -> pd.DataFrame:
        """Limits, intended beside in force: columns of observed.limits.COLUMNS."""
        return limits_in_force(self.case)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """Settings, intended beside in force: columns of observed.settings.COLUMNS."""
        return settings_in_force(self.case, self.printed_settings)

    @cached_property
    def printed_settings(self) -> pd.DataFrame:
        """What each server run printed at its start: host, source, line, at, version, name, value."""
        return self.found.settings()

    def setting(self, name: str) -> str:
        """The value that the last server run printed, or else that the captures show in force; empty if neither."""
        printed = self.printed_settings
        values = list(printed["value"][printed["name"] == name])
        captured = self.settings
        values = values or list(captured["in_force"][captured["name"] == name].dropna())
        return str(values[-1]) if values else ""

    @cached_property
    def versions(self) -> list[tuple[int, ...]]:
        """The Ollama versions that started, oldest start first, as numbers."""
        return [version_numbers(version) for version in self.found.versions()]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many events of each key there are."""
        return self.found.event_counts

    def events(self, *keys: str) -> pd.DataFrame:
        """Events of these keys: host, source, line, key, at (UTC; its earliest where it has none), fields, text."""
        return _events_of(self.found).of(keys)

    def table(self, name: str) -> pd.DataFrame:
        """One table of the case (`schema.TABLES`) in order of time, its times in UTC."""
        if name not in self._tables:
            self._tables[name] = captured_table(self.case, name)
        return self._tables[name]

    @cached_property
    def has_spans(self) -> bool:
        """Whether an application's own trace is here."""
        return is_captured(self.case, "spans") and len(self.case.sql("SELECT 1 FROM spans LIMIT 1")) > 0

    def spans(self, where: str) -> pd.DataFrame:
        """Steps of applications, by their own traces, that ended: columns of the table `spans` in order of time.

        `where` is a condition of SQL in our words, never of the evidence; `fields` holds the attributes.
        """
        name = f"spans:{where}"
        if name not in self._tables:
            frame = self._spans(where) if is_captured(self.case, "spans") else self.table("spans")
            fields = [json.loads(text or "{}") for text in frame["attributes"]]
            self._tables[name] = frame.drop(columns="attributes").assign(fields=fields)
        return self._tables[name]

    def _spans(self, where: str) -> pd.DataFrame:
        frame = self.case.sql(
            f"FROM spans WHERE ({where}) AND wall_s IS NOT NULL ORDER BY started_at, host, source, line"
        )
        for column in ("started_at", "ended_at"):
            frame[column] = pd.to_datetime(frame[column], utc=True)
        return frame

    @cached_property
    def acts(self) -> list[Act]:
        """What runbooks did, by their journals: spans in which they ended or began something on purpose."""
        return acts_of(self.case)

    def by_a_runbook(self, rows: pd.DataFrame, moment: str = "at") -> pd.Series:
        """Which rows tell of something that a runbook did."""
        if not self.acts:
            return pd.Series(False, rows.index, dtype=bool)
        told = [pd.notna(at) and explaining(self.acts, host, at.tz_localize(None)) is not None for host, at in
                zip(rows["host"], rows[moment], strict=True)]  # fmt: skip
        return pd.Series(told, rows.index, dtype=bool)

    # --- where it stands

    def whole_log(self) -> tuple[Place, ...]:
        """Every server log from its first line to its last: where what is not there was looked for."""
        return self.whole("server-log")

    def whole(self, *kinds: str) -> tuple[Place, ...]:
        """Files of these kinds, from their first line to their last."""
        return tuple(
            Place(account["host"], account["path"], 1, max(1, int(account["lines"])))
            for account in self.case.accounts
            if set(kinds) & set(str(account["kind"]).split("+"))
        )

    def whole_table(self, name: str) -> tuple[Place, ...]:
        """The stretch of lines in each file that a table was read from."""
        spans = self.table(name).groupby(["host", "source"], sort=True)["line"].agg(["min", "max"])
        return tuple(Place(host, source, int(low), int(high)) for (host, source), (low, high) in
                     zip(spans.index, spans.to_numpy(), strict=True))  # fmt: skip


@once
def _events_of(found: Analysis) -> Events:
    return Events(found.case, found.event_counts)


def holds(column: pd.Series, is_so: Callable[[str], object]) -> Mask:
    """Which rows of a column of categories hold a text of which this is true, which is asked once of each.

    >>> holds(pd.Series(["200", "500", "200"], dtype="category"), lambda status: status < "300").tolist()
    [True, False, True]
    """
    codes = column.array.codes
    held = Words(codes, list(column.array.categories)).where(is_so)
    # What is not known is of no category.
    return held & (codes >= 0) if codes.min(initial=0) < 0 else held


_TRIAL_COLUMNS = tuple(name for name in TABLES["trials"] if name not in ("host", "source", "line"))


def _untagged(model: str) -> str:
    return model.removesuffix(":latest")


def places(rows: pd.DataFrame | Iterable[Mapping[str, Any]], most: int = 3) -> tuple[Place, ...]:
    """The places of the first rows of a frame; three are enough to check a sentence.

    >>> places(pd.DataFrame({"host": ["box"], "source": ["server.log"], "line": [12]}))[0].line
    12
    """
    if isinstance(rows, pd.DataFrame):
        columns = (rows[name].iloc[:most].tolist() for name in ("host", "source", "line"))
        return tuple(Place(str(host), str(source), int(line)) for host, source, line in zip(*columns, strict=True))
    return tuple(Place(str(row["host"]), str(row["source"]), int(row["line"])) for row in list(rows)[:most])


def span(rows: pd.DataFrame, first: str = "started_at", last: str = "ended_at") -> Span:
    """From the earliest to the latest time of a frame, where they are known."""
    return moment(rows[first].min()), moment(rows[last].max())


def version_numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    >>> version_numbers("0.13.5-rc1") < version_numbers("0.30.0")
    True
    """
    head = version.partition("-")[0].lstrip("v")
    return tuple(int(part) for part in head.split(".") if part.isdigit())


def seconds_text(seconds: float) -> str:
    """Seconds as a reader says them.

    >>> seconds_text(0.017), seconds_text(4.1), seconds_text(248.239), seconds_text(7300)
    ('17 ms', '4.1 s', '4.1 min', '2.0 h')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def size_text(size_bytes: float) -> str:
    """Bytes in binary units, as Ollama's log writes them.

    >>> size_text(8388608), size_text(10.6 * 2**30)
    ('8.0 MiB', '10.6 GiB')
    """
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun.

    >>> counted(1, "request"), counted(1240, "request"), counted(2, "retry", "retries")
    ('1 request', '1,240 requests', '2 retries')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def clock_text(at: pd.Timestamp) -> str:
    """A time as the answers write it."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if pd.notna(at) else "a time that the log does not tell"


def moment(at: pd.Timestamp) -> datetime | None:
    """A time as evidence keeps it; None where it is not known."""
    return at.to_pydatetime() if pd.notna(at) else None
