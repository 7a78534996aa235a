"""The hosts of a fleet: each under a name of its own, their figures by name, and as the rows of tables."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pandas as pd

from ..hypotheses.findings import SEVERITIES, STATES
from ..parse.ollama_settings import same
from ..parse.plain_text import printable
from .differences import Counts, Measured

Summary = dict[str, Any]
LONGEST_VALUE = 60
_MOST_NAMES = 6
# Who may call the server, and its defaults change with each version.
_OF_NO_ACCOUNT = ("OLLAMA_ORIGINS", "OLLAMA_REMOTES")
# Kinds of health.drift.configuration that are captured whole, and the key that says so.
_LISTED = {"model": "captured|models", "environment": "captured|environment"}
FOUND = ("confirmed", "supported")


@dataclass(frozen=True)
class Figures:
    """The same of each host side by side: by figure and host. Configuration is by "kind name", causes by id."""

    rates: Mapping[str, Mapping[str, Counts]]
    numbers: Mapping[str, Mapping[str, Measured]]
    configuration: Mapping[str, Mapping[str, str]]
    memory: Mapping[str, Mapping[str, str]]
    causes: Mapping[str, Mapping[str, Mapping[str, str]]]


def named(summaries: Sequence[Summary]) -> dict[str, Summary]:
    """Each host that was read, under its own name or with as much of its case's path as tells it apart.

    >>> cases = [("a/one", "server"), ("a/two", "server"), ("b/gpu-3", "local"), ("b/four", "gpu-4")]
    >>> list(named([{"path": path, "error": "", "hosts": [{"host": host}]} for path, host in cases]))
    ['server (one)', 'server (two)', 'gpu-3', 'gpu-4']
    """
    hosts = [(str(summary["path"]), host) for summary in summaries for host in summary["hosts"]]
    names = [_name(path, str(host["host"]), 0) for path, host in hosts]
    for depth in range(1, 1 + max((len(PurePath(path).parts) for path, _ in hosts), default=0)):
        uses = Counter(names)
        names = [name if uses[name] == 1 else _name(path, str(host["host"]), depth)
                 for name, (path, host) in zip(names, hosts, strict=True)]  # fmt: skip
    uses = Counter(names)
    return {name if uses[name] == 1 else f"{name} #{number}": host
            for number, (name, (_, host)) in enumerate(zip(names, hosts, strict=True), 1)}  # fmt: skip


def _name(path: str, host: str, depth: int) -> str:
    if host == "local":  # nothing says what this host is called
        return printable(path_end(path, depth + 1))
    return printable(f"{host} ({path_end(path, depth)})" if depth else host)


def path_end(path: str, parts: int) -> str:
    """The last parts of a path."""
    return "/".join(PurePath(path).parts[-parts:]) or path


def figures_of(hosts: Mapping[str, Summary]) -> Figures:
    """What the summaries hold, by figure. Where a kind was captured whole, a name that is missing is "not there"."""
    configuration: dict[str, dict[str, str]] = defaultdict(dict)
    for name, host in hosts.items():
        for key, value in host["configuration"].items():
            kind, _, what = key.partition("|")
            if kind != "captured" and what not in _OF_NO_ACCOUNT:
                told = configuration["devices" if kind == "device" else f"{kind} {what}"]
                told[name] = _as_others_say(what, str(value), told.values()) if kind == "setting" else str(value)
    for figure, told in configuration.items():
        listed = _LISTED.get(figure.partition(" ")[0])
        for name, host in hosts.items() if listed else ():
            if listed in host["configuration"]:
                told.setdefault(name, "")
    return Figures(
        rates=_turned(hosts, "rates", lambda counts: (int(counts[0]), int(counts[1]))),
        numbers=_turned(hosts, "numbers", lambda one: Measured(**one)),
        configuration=configuration,
        memory={"memory": {name: str(host["memory"]["state"]) for name, host in hosts.items()}},
        causes=_turned({name: {"causes": {one["id"]: one for one in host["causes"]}} for name, host in hosts.items()},
                       "causes", dict),
    )  # fmt: skip


def _as_others_say(name: str, value: str, others: Iterable[str]) -> str:
    """A setting as the first host writes it that means the same: 300s and 5m0s are one value."""
    return next((other for other in others if same(name, other, value)), value)


def _turned(hosts: Mapping[str, Summary], part: str, made: Any) -> dict[str, dict[str, Any]]:
    turned: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, host in hosts.items():
        for figure, value in host[part].items():
            turned[figure][name] = made(value)
    return turned


def host_rows(hosts: Mapping[str, Summary], summaries: Sequence[Summary]) -> pd.DataFrame:
    """A row for each host: figures, shares of its requests, what was found; and a row for each case not read."""
    figures = figures_of(hosts)
    shares = [name for name, counts in figures.rates.items() if name == "failed" or any(n for n, _ in counts.values())]
    rows: list[dict[str, object]] = []
    for name, host in hosts.items():
        row: dict[str, object] = {"host": name, "requests": host["requests"]}
        row |= {share: _share(figures.rates[share].get(name, (0, 0))) for share in shares}
        row |= {number: of[name].value if name in of else math.nan for number, of in figures.numbers.items()}
        found = [one for one in host["causes"] if one["state"] in FOUND and one["severity"] != "info"]
        rows.append(row | {
            "loads": host["loads"], "memory": host["memory"]["state"],
            "version": figures.configuration.get("version Ollama", {}).get(name, ""),
            "devices": figures.configuration.get("devices", {}).get(name, ""),
            "causes": ", ".join(one["id"] for one in found), "error": "",
        })  # fmt: skip
    unread = [summary for summary in summaries if summary["error"]]
    rows += [{"host": printable(path_end(str(summary["path"]), 1)), "error": printable(str(summary["error"]))}
             for summary in unread]  # fmt: skip
    texts = ["host", "memory", "version", "devices", "causes", "error"]
    columns = ["host", "requests", *shares, *figures.numbers, "loads", *texts[1:]]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(**{name: frame[name].astype(object).fillna("") for name in texts})


def configuration_rows(figures: Figures) -> pd.DataFrame:
    """What not all hosts have alike: figure, value, how many hosts have it, and which."""
    rows = []
    for figure, values in figures.configuration.items():
        counts = Counter(values.values())
        for value, count in counts.most_common() if len(counts) > 1 else ():
            rows.append({"figure": figure, "value": value[:LONGEST_VALUE] or "not there", "hosts": count,
                         "which": _names([host for host in values if values[host] == value])})  # fmt: skip
    return pd.DataFrame(rows, columns=["figure", "value", "hosts", "which"])


def cause_rows(figures: Figures) -> pd.DataFrame:
    """Each hypothesis that was found on some host: how many hosts it has in each state, and where it was found."""
    rows = []
    for cause, by_host in figures.causes.items():
        states = Counter(one["state"] for one in by_host.values())
        found = [host for host, one in by_host.items() if one["state"] in FOUND]
        if found:
            gravest = max((by_host[host]["severity"] for host in found), key=SEVERITIES.index)
            rows.append({"id": cause, "title": by_host[found[0]]["title"], "severity": gravest}
                        | {state: states.get(state, 0) for state in STATES} | {"which": _names(found)})  # fmt: skip
    frame = pd.DataFrame(rows, columns=["id", "title", "severity", *STATES, "which"])
    order = -frame["severity"].map(SEVERITIES.index).astype(int)
    return frame.assign(order=order).sort_values(["order", "id"], ignore_index=True).drop(columns="order")


def _share(counts: Counts) -> float:
    return counts[0] / counts[1] if counts[1] else math.nan


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
