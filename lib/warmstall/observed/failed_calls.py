"""Calls to models that failed, as clients and proxies tell it in their own logs: what the server's log cannot show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pandas as pd

from ..case import INFERENCE_PATHS, Case
from ..parse.failed_calls import OLLAMAS_OWN

_KEYS = ("app_error", "app_call_failed", "app_traceback")
# One and several calls, with what their end means.
_TOLD = {
    "runner_ended": "failed as the runner had ended",
    "no_memory": "refused for want of memory",
    "queue_full": "turned away from a full queue",
    "load_timed_out": "given up as the load took too long",
    "refused": "refused, as nothing listened there",
    "unreachable": "without a way to the server",
    "timed_out": "timed out on the caller's side",
    "cut_off": "broken off before the answer was whole",
    "failed": "failed for an untold reason",
}
_OF_OLLAMA = re.compile(r"ollama|:11434\b|/api/(?:chat|generate|embed)", re.IGNORECASE)
_LOOPBACK = r"(?:localhost|127\.[0-9.]+|\[?::1\]?):[0-9]+$"
# What a proxy answers where the server behind it gave no answer; 499 is a client that left.
_NO_ANSWER = ("499", "502", "503", "504", "524")


def failed_calls(case: Case) -> pd.DataFrame:
    """Events of applications that tell of calls that failed: `failure`, `target`, `times`, `waited_s`, `of_ollama`."""
    wanted = [key for key in _KEYS if key in case.event_counts]
    if not wanted:
        return pd.DataFrame()
    rows = case.sql(
        'SELECT host, source, line, "at", fields, text FROM events '
        "WHERE list_contains($wanted, key) AND contains(fields, '\"failure\"') ORDER BY host, source, line",
        wanted=wanted,
    )
    fields = [json.loads(each) for each in rows["fields"]]
    for name, otherwise in (("failure", ""), ("target", ""), ("waited_s", None), ("times", 1)):
        rows[name] = [each.get(name, otherwise) for each in fields]
    whole = rows["fields"] + " " + rows["text"] + " " + rows["source"]
    rows["of_ollama"] = whole.str.contains(_OF_OLLAMA) | rows["failure"].isin(OLLAMAS_OWN)
    return rows


def sentences(case: Case) -> list[str]:
    """What each log of a client or a proxy tells of calls that failed, the most telling first."""
    rows = failed_calls(case)
    told = []
    if len(rows):
        groups = rows.groupby(["source", "of_ollama"], sort=False)
        ranked = sorted(groups, key=lambda group: (not group[0][1], -len(group[1])))
        told = [_sentence(str(source), bool(of_ollama), own) for (source, of_ollama), own in ranked]
        told = [sentence + _why_refused(case, own) for sentence, (_, own) in zip(told, ranked, strict=True)]
    return told + list(_unanswered(case))


def _sentence(source: str, of_ollama: bool, own: pd.DataFrame) -> str:
    targets = sorted(set(own["target"]) - {""})
    whom = f" to {', '.join(targets[:2])}" if targets else " to Ollama" if of_ollama else ""
    parts = []
    for failure, same in own.groupby("failure", sort=False):
        first = same.iloc[0]
        when = f", {first['at']:%Y-%m-%d %H:%M:%S} UTC" if pd.notna(first["at"]) else ""
        waited = f" after {first['waited_s']:g} s" if pd.notna(first["waited_s"]) else ""
        begins = "from " if len(same) > 1 else ""
        parts.append(f"{same['times'].sum():,} {_TOLD[str(failure)]}{waited} ({begins}line {first['line']}{when})")
    return f"Calls{whom} that failed, by {source}: {'; '.join(parts)}."


def _why_refused(case: Case, own: pd.DataFrame) -> str:
    """What is most often behind it where nobody ever answered, and no log of the server tells where it listened."""
    ollama = own["target"].str.endswith(":11434")
    if not (ollama & own["failure"].eq("refused")).all() or any(a["kind"] == "server-log" for a in case.accounts):
        return ""
    if own["target"].str.match(_LOOPBACK).all():
        return " Within a container, that address is the container itself."
    return " Ollama listens on 127.0.0.1 alone unless OLLAMA_HOST says otherwise."


def _unanswered(case: Case) -> Iterator[str]:
    """Requests to models that a proxy could not answer, by its access lines."""
    if "app_request" not in case.event_counts:
        return
    rows = case.sql(
        """
        SELECT source, count(*) AS n, list(DISTINCT status ORDER BY status) FILTER (failed) AS statuses,
               count(*) FILTER (failed) AS failed, min(line) FILTER (failed) AS line
        FROM (SELECT source, line, json_extract_string(fields, '$.status') AS status,
                     list_contains($none, status) AS failed
              FROM events WHERE key = 'app_request' AND regexp_matches(json_extract_string(fields, '$.path'), $paths))
        GROUP BY source HAVING count(*) FILTER (failed) > 0 ORDER BY source
        """,
        none=list(_NO_ANSWER),
        paths=INFERENCE_PATHS,
    )
    for row in rows.itertuples():
        yield (f"{row.failed:,} of {row.n:,} requests to models in {row.source} ended with "
               f"{' or '.join(row.statuses)}, the first in line {row.line}.")  # fmt: skip
