"""What one case says of its hosts, as plain values: made where the case lies, compared elsewhere.

    summaries = summaries_of(cases_in(["/srv/cases"]))

A summary needs no other host, and fits into JSON: on a cluster each is made by a worker of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, WarmstallError
from ..parse.plain_text import printable
from .differences import quantile_measured
from .engines import outcomes

if TYPE_CHECKING:
    import pandas as pd

    from ..analysis import Analysis
    from ..health.samples import Samples
    from ..hypotheses.judging import Judgement

Summary = dict[str, Any]

# A process holds one case's tables at a time; more of them than this contend for the disk.
_MOST_PROCESSES = 4
_PROSE = (".md", ".txt", ".html", ".ipynb")
# What the service level indicators do not count already. `unknown` tells of the evidence and not of the host.
_VERDICTS = ("queue_wait", "slow_prefill", "slow_decode", "load_failure", "runner_crash", "client_abort", "rejected")
_FLAGS = ("reload", "retried")
_OF_A_REQUEST = ["started_at", "ended_at", "verdict", "flags"]
_SLI_RATES = {"warm_stall": "warm_stall_rate", "cold_start": "cold_start_rate", "truncated": "truncation_rate"}
_SLI_NUMBERS = ("wall_p50_s", "wall_p95_s", "ttft_p50_s", "queue_wait_p95_s", "decode_tokens_per_s")
# Evidence that a client has; a host with nothing else is no server.
_OF_CLIENTS = frozenset(("trial-file", "traces", "application-log", "mitigation-journal"))


def cases_in(paths: Sequence[str | Path]) -> list[Path]:
    """The cases that paths name: a log, a case, or a folder of evidence is one; a folder of folders is one for each.

    Raises InputError where nothing is given. What is missing or unreadable stays in the list: its summary says so.
    """
    if not paths:
        raise InputError("a fleet of no case: expected logs, folders or cases, or a folder whose subfolders are cases.")
    return [case for path in paths for case in _cases_under(Path(path))]


def _cases_under(path: Path) -> list[Path]:
    try:
        if not path.is_dir() or (path / "evidence").exists() or (path / "case.json").exists():
            return [path]
        inside = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    except OSError:
        return [path]
    folders = [one for one in inside if one.is_dir()]
    has_evidence = any(not one.is_dir() and one.suffix not in _PROSE for one in inside)
    return folders if folders and not has_evidence else [path]


def summaries_of(
    cases: Sequence[Path], processes: int | None = None, say: Callable[[str], None] = lambda _: None
) -> list[Summary]:
    """A summary for each case, in order, made by a few processes (none but this one where `processes` is 1).

    A case that costs its process its life is a summary with an error, as is one that cannot be read.
    """
    workers = min(processes or min(_MOST_PROCESSES, os.cpu_count() or 1), len(cases))
    made: dict[Path, Summary] = {}
    for case, summary in outcomes(summary_of, cases, "local", max(1, workers)):
        made[case] = summary if isinstance(summary, dict) else _unread(case, str(summary))
        say(f"{case}: {made[case]['error'] or 'read'}")
    return [made[case] for case in cases]


def summary_of(path: str | Path) -> Summary:
    """What one case says of each of its servers; never raises: `error` is the sentence of what went wrong.

    `hosts` has a dict for each server: host, requests, from_at, to_at (ISO, UTC), rates (count and of, by name),
    numbers (value, low, high, of), loads, memory (state and sentence), configuration (value by "kind|name"), causes
    (id, title, severity, state, sentence of every hypothesis) and notes. Infinity stands for no upper end.
    """
    from ..analysis import analyze

    try:
        return {"path": str(path), "error": "", "hosts": list(hosts_of(analyze(path)))}
    except WarmstallError as error:
        return _unread(path, str(error))
    except Exception as error:
        why = f"a fault of warmstall's own while reading it ({type(error).__name__}: {error}); please report it."
        return _unread(path, why)


def _unread(path: str | Path, error: str) -> Summary:
    return {"path": str(path), "error": error, "hosts": []}


def hosts_of(found: Analysis) -> Iterator[Summary]:
    from ..health.drift import configuration
    from ..health.slis import sampled
    from ..hypotheses import judge
    from ..observed.facts import memory_findings

    servers, slis = _servers(found), sampled(found)
    requests, loads, configured = found.inferences(), found.loads(), configuration(found)
    memory = {row["host"]: row for row in memory_findings(found.case).to_dict("records")}
    lost = [trial for trial in found.unmatched_trials if trial["host"] not in servers and len(servers) > 1]
    note = f"{len(lost):,} calls got no answer, and to which of {len(servers)} servers they went cannot be told."
    for host in servers:
        own, own_loads = requests.loc[requests["host"] == host, _OF_A_REQUEST], loads[loads["host"] == host]
        # Calls that were never answered are those of the one server, wherever they came from.
        measured = {name: samples for (name, where), samples in slis.items()
                    if where == ("" if len(servers) == 1 else host)}  # fmt: skip
        begun, ended = own["started_at"].min(), own["ended_at"].max()
        seen = memory.get(host, {})
        yield {
            "host": host,
            "requests": len(own),
            "from_at": begun.isoformat() if begun == begun else "",
            "to_at": ended.isoformat() if ended == ended else "",
            "rates": _rates(own, measured),
            "numbers": _numbers(measured, own_loads),
            "loads": len(own_loads),
            "memory": {"state": seen.get("state", ""), "sentence": seen.get("sentence", "")},
            "configuration": _of_host(configured, host),
            "causes": [_cause(one, host, servers) for one in judge(found)],
            "notes": [note] if lost else [],
        }  # fmt: skip


def _of_host(configured: Mapping[str, str], host: str) -> dict[str, str]:
    """Its part of health.drift.configuration, by "kind|name"."""
    prefix = f"{printable(host).replace('|', '/')}|"
    return {name.removeprefix(prefix): value for name, value in configured.items() if name.startswith(prefix)}


def _servers(found: Analysis) -> list[str]:
    """Hosts with a server's log, or else with anything that a host itself shows."""
    kinds: dict[str, set[str]] = {}
    for account in found.case.accounts:
        kinds.setdefault(account["host"], set()).update(str(account["kind"]).split("+"))
    serving = [host for host, own in kinds.items() if "server-log" in own]
    return sorted(serving or [host for host, own in kinds.items() if own - _OF_CLIENTS] or kinds)


def _rates(requests: pd.DataFrame, slis: Mapping[str, Samples]) -> dict[str, list[int]]:
    """So many of so many, by name; calls without an answer count as failed."""
    rates = {}
    if answered := slis.get("availability"):
        rates["failed"] = [len(answered.values) - int(answered.values.sum()), len(answered.values)]
    for name, sli in _SLI_RATES.items():
        if sli in slis:
            rates[name] = [int(slis[sli].values.sum()), len(slis[sli].values)]
    for column, names in (("verdict", _VERDICTS), ("flags", _FLAGS)):
        counts = requests[column].value_counts()
        rates |= {name: [int(counts[[name in text.split() for text in counts.index]].sum()), len(requests)]
                  for name in names}  # fmt: skip
    return rates


def _numbers(slis: Mapping[str, Samples], loads: pd.DataFrame) -> dict[str, dict[str, float]]:
    from ..health.slis import SLIS

    measured = {"load_p50_s": quantile_measured(loads["load_s"].dropna(), [], 0.5)}
    for name in _SLI_NUMBERS:
        if name in slis:
            measured[name] = quantile_measured(slis[name].values, slis[name].bounds, SLIS[name].quantile or 0.5)
    return {name: vars(one) for name, one in measured.items() if one}


def _cause(one: Judgement, host: str, servers: Sequence[str]) -> dict[str, str]:
    """A hypothesis as it stands for one host: of several, it is found on those that its evidence comes from."""
    hosts = {place.host for item in one.supporting for place in item.places} & {*servers}
    here = not one.found or len(servers) == 1 or host in hosts
    return {
        "id": one.id, "title": one.page.title, "severity": one.severity,
        "state": one.state if here else "not_observable",
        "sentence": one.supporting[0].sentence if one.found and here else "",
    }  # fmt: skip
