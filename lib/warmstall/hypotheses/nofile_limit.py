"""Open files: the server ran into the number of files that it may have open.

Every request holds two connections (the client's and the runner's) beside the model's files and the libraries. A
server that may open no more cannot accept, cannot start a runner and cannot read a model. Go raises the soft limit
to the hard one by itself, so the hard limit counts; a low number alone is no finding.

Shown by:
    - `too many open files` in the server's own lines
    - as many open files of the server (/proc/PID/fd) as its limit allows
Ruled out by:
    - a limit in force, for the process that served then, far above what its requests can have needed
Mistaken for it:
    - the same words in the log of a client or another service, which has a limit of its own
    - a soft limit of 1024, which the server raises itself
    - a full queue, which is answered with 503
Severity: critical
Runbook: raise-service-limits
Mitigation: Set LimitNOFILE in a drop-in of the service, reload systemd and restart the service.
Leads to: retry_amplification
References:
    - https://go.googlesource.com/go/+/25f5d9d/src/os/rlimit.go (a Go program raises its soft limit of open files)
    - https://man.archlinux.org/man/getrlimit.2.en (RLIMIT_NOFILE)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..judging.words import Numbers
from ..once import once
from .facts import Facts, counted, places
from .facts.calls import calls_of
from .facts.server_starts import server_starts
from .findings import Finding, hints, proves, refutes, unseen

# The words of EMFILE and ENFILE on every Unix, and of Go's net package.
_WORDS = "too many open files"
# Shorter lines were not cut when they were read.
_WHOLE = 1000
_IS_WHOLE = rf"list_contains($logs, source) AND length(text) < {_WHOLE} AND NOT contains(text, '\')"
# Materialized, because else each line would be written several times over from what is stored of it.
_SAID_OR_NOT_WHOLE = f"""
    WITH lines AS MATERIALIZED (
        SELECT host, source, line, key, coalesce("at", before_at) AS "at", text FROM events
    )
    SELECT * EXCLUDE text, contains(lower(text), $words) AS said FROM lines
    WHERE said OR NOT ({_IS_WHOLE})
    ORDER BY "at", source, line"""
# Fields are taken out of their lines, which costs much: of few lines they are asked for by their numbers.
_FIELDS = "SELECT source, line, fields FROM events WHERE {of}"
_FEW = 1000
# The client's connection and the one to the runner.
_FILES_PER_REQUEST = 2
# Libraries, the model's files, logs and the runners' pipes: a serving Ollama has some tens of files open at rest.
_FILES_AT_REST = 256


def findings_in(facts: Facts) -> Iterator[Finding]:
    """The words in the evidence, then the limit beside what the requests can have needed."""
    said = _said(facts)
    of_server = said[~said["key"].str.startswith(("app_", "kernel_"))]
    if len(of_server):
        at = of_server["at"].dropna()
        span = (at.min().to_pydatetime(), at.max().to_pydatetime()) if len(at) else (None, None)
        yield proves(f"The server said {counted(len(of_server), 'time')} that it has too many open files.",
                     *places(of_server),
                     span=span)  # fmt: skip
    elsewhere = said.drop(of_server.index)
    if len(elsewhere):
        yield hints(f"Another service said {counted(len(elsewhere), 'time')} that it has too many open files: that "
                    "is its own "
                    "limit.", *places(elsewhere))  # fmt: skip
    trials = calls_of(facts)
    refused = trials[trials["error"].fillna("").str.lower().str.contains(_WORDS)]
    if len(refused):
        yield hints(f"{len(refused):,} of {counted(len(trials), 'call')} failed for too many open files; whether "
                    "that was the "
                    "client's limit or the server's they do not tell.", *places(refused))  # fmt: skip
    limits = _in_force(facts)
    if limits.empty:
        yield unseen("the limit in force and the files open now: /proc/PID/limits and ls /proc/PID/fd | wc -l")
        return
    if not len(facts.requests):
        yield unseen("the server's log: how many requests were open at once")
        return
    most, limit = most_open(facts), float(limits["hard"].min())
    needed = _FILES_PER_REQUEST * most + _FILES_AT_REST
    allowed = "any number of" if math.isinf(limit) else f"{limit:,.0f}"
    open_at_once = f"never more than {counted(most, 'request')} open at once"
    told = f"The server may open {allowed} files; by the access lines, {open_at_once}, which takes {needed:,}."
    if limit < needed:
        yield hints(told, *places(limits))
        yield unseen("the files open while it fails (ls /proc/PID/fd | wc -l) and the server's whole log")
    else:
        yield refutes(told, *places(limits))


def _said(facts: Facts) -> pd.DataFrame:
    # The fields of a server's line stand in it, so those of a line that is whole and has no escapes need not be read.
    logs = [account["path"] for account in facts.case.accounts if account["kind"] == "server-log"]
    frame = facts.case.sql(_SAID_OR_NOT_WHOLE, words=_WORDS, logs=logs)
    if not frame["said"].all():
        unsure = frame[~frame["said"]]
        if len(unsure) <= _FEW:
            fields = facts.case.sql(_FIELDS.format(of="list_contains($lines, line)"), lines=unsure["line"].tolist())
        else:
            fields = facts.case.sql(_FIELDS.format(of=f"NOT ({_IS_WHOLE})"), logs=logs)
        in_fields = fields[fields["fields"].fillna("").str.lower().str.contains(_WORDS, regex=False)]
        places_said = set(zip(in_fields["source"], in_fields["line"], strict=True))
        told = [place in places_said for place in zip(frame["source"], frame["line"], strict=True)]
        frame["said"] |= np.array(told, dtype=bool)
    frame = frame[frame.pop("said")].reset_index(drop=True)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    return frame


def _in_force(facts: Facts) -> pd.DataFrame:
    """The limit of the server's process, where it is the process that served: captured after the last start."""
    compared = facts.limits
    compared = compared[compared["resource"].eq("NOFILE") & compared["serve_pid"].notna()]
    rows = facts.table("limits")
    rows = rows[rows["origin"].eq("process") & rows["resource"].eq("NOFILE")]
    rows = rows[rows["subject"].isin(compared["serve_pid"]) & rows["host"].isin(compared["host"])]
    starts = server_starts(facts)["at"].dropna()
    # Several starts: whose process it was is known only by the time of the capture.
    return rows[rows["at"].gt(starts.max())] if len(starts) > 1 else rows


@once
def most_open(facts: Facts) -> int:
    """The most requests that were open at once."""
    began, ended = (
        np.sort(np.concatenate([_known_us(one[name]) for one in (facts.requests, facts.lost_trials)]))
        for name in ("started_at", "ended_at")
    )
    # An end comes before a start of the same moment.
    still_open = np.arange(1, len(began) + 1) - np.searchsorted(ended, began, side="right")
    return int(still_open.max(initial=0))


def _known_us(times: pd.Series) -> Numbers:
    """Those times that are known, in microseconds."""
    moments = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us")
    known: Numbers = moments.asi8[~moments.isna()]
    return known
