"""Which hosts of a fleet are unlike the rest, and why: summaries of cases side by side.

    fleet = unlike(summaries_of(cases_in(["/srv/cases"])))
    print(*fleet.sentences, sep="\\n")

Nothing is read here: a summary is plain values, wherever it was made.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from ..health.slis import SLIS
from ..hypotheses.facts import counted, seconds_text
from ..parse.plain_text import printable
from .associations import went_together
from .differences import (
    FEWEST_FOR_A_SPREAD,
    FEWEST_HOSTS,
    FEWEST_MEASURED,
    LEAST,
    OddNumber,
    OddRate,
    odd_numbers,
    odd_rates,
    odd_values,
)
from .hosts import (
    FOUND,
    LONGEST_VALUE,
    Figures,
    Summary,
    cause_rows,
    configuration_rows,
    figures_of,
    host_rows,
    named,
)

_MOST_VALUES = 8
_IN_TROUBLE = ("growing", "recovering", "warned")
_KNOWN_MEMORY = (*_IN_TROUBLE, "historical", "calm")
_LOADS = "load_p50_s"
_RATES = {"failed": "failed or got no answer", "reload": "loaded their model anew", "truncated": "were truncated",
          "retried": "were sent again"}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One way in which one host is unlike the rest. `kind`: rate, cause, memory, number or configuration.

    `name` is the figure's, the cause's id, or the kind of configuration. `direction`: more, less, or other.
    """

    host: str
    kind: str
    name: str
    direction: str
    sentence: str
    gravity: int


@dataclass(frozen=True)
class Fleet:
    """Hosts side by side. `hosts`: a row of figures each, with its error where it could not be read.

    `findings`: the gravest host first; `why`: by host, what may explain them; `configuration`: values that not all
    hosts have; `causes`: each that was found anywhere, with the number of hosts by state; `not_compared`: what could
    not be compared, and why.
    """

    hosts: pd.DataFrame
    findings: tuple[Finding, ...]
    why: Mapping[str, tuple[str, ...]]
    configuration: pd.DataFrame
    causes: pd.DataFrame
    not_compared: tuple[str, ...]

    @property
    def odd_hosts(self) -> tuple[str, ...]:
        """The hosts that are unlike the rest, the gravest first."""
        return tuple(dict.fromkeys(finding.host for finding in self.findings))

    @property
    def first_sentences(self) -> tuple[str, ...]:
        """The gravest finding of each odd host."""
        first = {finding.host: finding.sentence for finding in reversed(self.findings)}
        return tuple(printable(first[host]) for host in self.odd_hosts)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings, each host's with what may explain them, or that there are none; then what was not read."""
        told: list[str] = []
        for host in self.odd_hosts:
            told += [finding.sentence for finding in self.findings if finding.host == host]
            told += self.why.get(host, ())
        unread = [
            f"{row['host']} was not read: {row['error']}" for row in self.hosts.to_dict("records") if row["error"]
        ]
        read = len(self.hosts) - len(unread)
        if read < FEWEST_HOSTS:
            told = list(self.not_compared[:1])
        elif not told:
            told = [f"No host is unlike the rest beyond chance; {read:,} hosts were compared."]
        return tuple(printable(sentence) for sentence in [*told, *unread])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: frames as lists of their rows, unknown as null."""
        plain = {field.name: json.loads(value.to_json(orient="records", double_precision=15))
                 for field in fields(self) if isinstance(value := getattr(self, field.name), pd.DataFrame)}  # fmt: skip
        return plain | {
            "findings": [vars(finding) for finding in self.findings],
            "why": {host: list(told) for host, told in self.why.items()},
            "sentences": list(self.sentences), "not_compared": list(self.not_compared),
        }  # fmt: skip


def unlike(summaries: Sequence[Summary]) -> Fleet:
    """Which hosts are unlike the rest. Fewer than three that could be read are shown and not compared."""
    hosts = named(summaries)
    figures = figures_of(hosts)
    findings: list[Finding] = []
    if len(hosts) < FEWEST_HOSTS:
        not_compared = [
            f"Of {counted(len(hosts), 'host')} nobody can say which is the odd one: at least {FEWEST_HOSTS} are needed."
            " Two are compared by: warmstall diff"
        ]
    else:
        rates, without_rest = odd_rates(figures.rates)
        findings = [*map(_rate, rates), *_causes(figures), *_memory(hosts, figures),
                    *map(_number, odd_numbers(figures.numbers)), *_configurations(figures)]  # fmt: skip
        not_compared = list(_not_compared(hosts, figures, without_rest))
    gravest: dict[str, int] = defaultdict(int)
    for one in findings:
        gravest[one.host] = max(gravest[one.host], one.gravity)
    findings.sort(key=lambda one: (-gravest[one.host], one.host, -one.gravity))
    return Fleet(
        host_rows(hosts, summaries), tuple(findings), _why(findings, figures), configuration_rows(figures),
        cause_rows(figures), tuple(not_compared),
    )  # fmt: skip


# --- findings, one sentence each


def _rate(odd: OddRate) -> Finding:
    what = _RATES.get(odd.figure, f"had the verdict {odd.figure}")
    others = f"in {odd.others:,} other hosts" if odd.others > 1 else "in the other host"
    sentence = (
        f"{odd.host}: {odd.count / odd.of:.2%} of its requests {what} ({odd.count:,} of {odd.of:,}), "
        f"{odd.others_count / odd.others_of:.2%} {others} ({odd.others_count:,} of {odd.others_of:,}); by chance "
        f"{'less than once in a million' if odd.p < 1e-6 else f'p = {odd.p:.2g}'}, corrected for all that was compared."
    )
    gravity = 6 if odd.figure == "failed" else 3
    return Finding(odd.host, "rate", odd.figure, "more" if odd.more else "less", sentence, gravity if odd.more else 1)


def _number(odd: OddNumber) -> Finding:
    label, unit, good = _about(odd.figure)
    value, usual = ((seconds_text(each) if unit == "s" else f"{each:,.3g} {unit}") for each in (odd.value, odd.usual))
    ratio = f"{odd.value / odd.usual:,.2g} times " if odd.usual > LEAST else ""
    away = f"; {odd.spreads:,.0f} robust spreads away" if odd.spreads < 1e4 else ""
    sentence = (
        f"{odd.host}: {label} is {value} (n = {odd.of:,}), {ratio}that of the median host "
        f"({usual}; {odd.hosts:,} hosts{away})."
    )
    more = odd.value > odd.usual
    return Finding(odd.host, "number", odd.figure, "more" if more else "less", sentence,
                   1 if more == (good == "higher") else 3)  # fmt: skip


def _about(figure: str) -> tuple[str, str, str]:
    """What a number is called within a sentence, its unit, and which way is good."""
    if figure == _LOADS:
        return "the median time of a model load", "s", "lower"
    kind = SLIS[figure]
    return kind.label[0].lower() + kind.label[1:], kind.unit, kind.good


def _causes(figures: Figures) -> Iterator[Finding]:
    """What is confirmed on a few hosts, where most others would have shown it and did not."""
    for cause, by_host in figures.causes.items():
        ruled_out = sum(one["state"] == "ruled_out" for one in by_host.values())
        for host, one in by_host.items():
            if one["state"] == "confirmed" and one["severity"] != "info" and 2 * ruled_out > len(by_host):
                gravity = 5 if one["severity"] == "critical" else 3
                yield Finding(host, "cause", cause, "other", _cause_told(host, one, by_host), gravity)


def _cause_told(host: str, one: Mapping[str, str], by_host: Mapping[str, Mapping[str, str]]) -> str:
    states = Counter(other["state"] for name, other in by_host.items() if name != host)
    parts = [f"{words} {states[state]:,}" for state, words in
             (("confirmed", "confirmed on"), ("supported", "supported on"), ("ruled_out", "ruled out on"),
              ("not_observable", "not to be seen on")) if states[state]]  # fmt: skip
    return (f"{host}: {one['title']} ({one['id']}) is {one['state']}; of {len(by_host) - 1:,} other hosts "
            f"{', '.join(parts)}. {one['sentence']}")  # fmt: skip


def _memory(hosts: Mapping[str, Summary], figures: Figures) -> Iterator[Finding]:
    told = {host: state for host, state in figures.memory["memory"].items() if state in _KNOWN_MEMORY}
    troubled = [host for host, state in told.items() if state in _IN_TROUBLE]
    if len(told) >= FEWEST_HOSTS and 2 * len(troubled) < len(told):
        for host in troubled:
            calm = len(told) - len(troubled)
            sentence = (
                f"{host}: {hosts[host]['memory']['sentence']} Of {len(told):,} hosts that tell, {calm:,} are calm."
            )
            yield Finding(host, "memory", "memory", "other", sentence, 4)


def _configurations(figures: Figures) -> Iterator[Finding]:
    """One sentence for each host and kind of configuration."""
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for odd in odd_values(figures.configuration):
        kind = odd.figure.partition(" ")[0]
        value, usual = (text[:LONGEST_VALUE] or "not there" for text in (odd.value, odd.usual))
        by_kind[odd.host, kind].append(
            f"{odd.figure} is {value}, {odd.have_usual:,} of {odd.hosts:,} hosts have {usual}"
        )
    for (host, kind), told in by_kind.items():
        more = f"; and {len(told) - _MOST_VALUES:,} more" if len(told) > _MOST_VALUES else ""
        yield Finding(host, "configuration", kind, "other", f"{host}: {'; '.join(told[:_MOST_VALUES])}{more}.", 2)


# --- what may explain them


def _why(findings: Sequence[Finding], figures: Figures) -> dict[str, tuple[str, ...]]:
    """By host: causes found there and on no host that is like the rest, and the configuration that goes with it."""
    odd = {one.host for one in findings}
    why: dict[str, list[str]] = {host: [] for host in dict.fromkeys(one.host for one in findings)}
    told = {(one.host, one.name) for one in findings if one.kind == "cause"}
    for cause, by_host in figures.causes.items():
        found = [host for host, one in by_host.items() if one["state"] in FOUND and one["severity"] != "info"]
        for host in found if odd.issuperset(found) else ():
            if (host, cause) not in told:
                why[host].append(_cause_told(host, by_host[host], by_host))
    groups: dict[frozenset[str], list[Finding]] = defaultdict(list)
    for one in findings:
        if one.kind != "configuration":
            groups[frozenset(f.host for f in findings if _what(f) == _what(one))].append(one)
    for group, own in groups.items():
        first = own[0].host
        whose = first if len(group) == 1 else f"{first} and {counted(len(group) - 1, 'other host')}"
        names = ", ".join(dict.fromkeys(one.name for one in own))
        for sentence in went_together(group, _compared(own[0], figures) | group, figures.configuration):
            why[first].append(f"{whose} ({names}): {sentence}")
    return {host: tuple(sentences) for host, sentences in why.items()}


def _compared(finding: Finding, figures: Figures) -> set[str]:
    """The hosts that a finding's figure is known of."""
    of = {"rate": figures.rates, "number": figures.numbers, "cause": figures.causes, "memory": figures.memory}
    told = of[finding.kind].get(finding.name, {})
    return {host for host, value in told.items() if value not in ("", "cannot tell")}


def _what(finding: Finding) -> tuple[str, str, str]:
    return finding.kind, finding.name, finding.direction


# --- what could not be compared


def _not_compared(hosts: Mapping[str, Summary], figures: Figures, without_rest: Sequence[str]) -> Iterator[str]:
    for name in without_rest:
        yield f"{name}: so many hosts differ from each other in it that there is no rest to be unlike."
    if silent := [name for name, host in hosts.items() if not host["requests"]]:
        yield f"No request to a model is in the evidence of {', '.join(silent[:_MOST_VALUES])}."
    for name in ("wall_p50_s", "wall_p95_s"):
        enough = [one for one in figures.numbers.get(name, {}).values() if one.of >= FEWEST_MEASURED]
        if len(enough) < FEWEST_FOR_A_SPREAD:
            yield (f"{SLIS[name].label}: {counted(len(enough), 'host')} of {len(hosts):,} answered {FEWEST_MEASURED} "
                   f"requests or more; needed are {FEWEST_FOR_A_SPREAD}.")  # fmt: skip
    if few := len(hosts) - sum(state in _KNOWN_MEMORY for state in figures.memory["memory"].values()):
        yield f"Memory: {few:,} of {len(hosts):,} hosts were looked at too seldom; needed are two looks or more."
    spans = {name: (host["from_at"], host["to_at"]) for name, host in hosts.items() if host["from_at"]}
    apart = [name for name, (begun, ended) in spans.items()
             if 2 * sum(begun <= other[1] and other[0] <= ended for other in spans.values()) <= len(spans)]  # fmt: skip
    if apart:
        yield (f"The evidence of {counted(len(apart), 'host')} is of another time than that of most others: what "
               "differs there may be the time and not the host.")  # fmt: skip
    yield from dict.fromkeys(note for host in hosts.values() for note in host["notes"])
