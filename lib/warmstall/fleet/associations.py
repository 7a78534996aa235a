"""What goes together with a difference, over hosts: settings and versions by Fisher's exact test. Never a cause."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..proportions import fisher

# Holm's correction for all ways in which configuration divides the hosts.
CHANCE = 0.05
_MOST_NAMED = 4
_LONGEST_VALUE = 60


def went_together(odd: Collection[str], compared: Collection[str], values: Mapping[str, Mapping[str, str]]
                  ) -> list[str]:  # fmt: skip
    """Sentences on the configuration that the odd hosts have and the other compared ones have not.

    `values` are by figure and host. Figures that divide the hosts in the same way are one sentence, because nothing
    here can tell them apart. Where hosts are too few to tell, what only the odd ones have is named with that doubt.

    >>> hosts = [f"gpu-{number}" for number in range(12)]
    >>> versions = {"version": {host: "0.14.0" if host in hosts[:4] else "0.13.5" for host in hosts}}
    >>> print(*went_together(hosts[:4], hosts, versions))
    version 0.14.0: 4 of 4 of them have it, 0 of 8 others (by chance p = 0.002); an association over 12 hosts, no cause.
    """
    divided: dict[tuple[frozenset[str], frozenset[str]], list[str]] = {}
    for figure, told in values.items():
        here = {host: value for host, value in told.items() if host in compared}
        for value in dict.fromkeys(here.values()):
            have = frozenset(host for host in here if here[host] == value)
            if len(have) < len(here):
                divided.setdefault((have, frozenset(here)), []).append(
                    f"{figure} {value[:_LONGEST_VALUE] or 'not there'}"
                )
    tested = sorted((_chance(odd, have, told), *_counts(odd, have, told), names)
                    for (have, told), names in divided.items())  # fmt: skip
    sure = []
    for place, (p, ours, of, others_have, others, names) in enumerate(tested):
        corrected = p * (len(tested) - place)
        if corrected > CHANCE:
            break
        if ours * others > others_have * of:  # the same division, told from the side of the odd hosts
            sure.append(
                f"{_named(names)}: {ours} of {of} of them have it, {others_have} of {others} others (by chance p = "
                f"{corrected:.2g}); an association over {of + others} hosts, no cause."
            )
    if sure:
        return sure
    only = [name for _, ours, of, others_have, _, names in tested if ours == of and not others_have for name in names]
    if len(odd) > 1 and not only:
        return []
    what = "nothing that was captured of its configuration is only there"
    if only:
        what = f"only {'it has' if len(odd) == 1 else 'they have'} {_named(only)}"
    few = f"{len(odd)} of {len(compared)} hosts {'is' if len(odd) == 1 else 'are'} too few to tell"
    return [f"{what}; whether that goes together, {few}."]


def _counts(odd: Collection[str], have: Collection[str], told: Collection[str]) -> tuple[int, int, int, int]:
    of = sum(host in odd for host in told)
    ours = sum(host in odd for host in have)
    return ours, of, len(have) - ours, len(told) - of


def _chance(odd: Collection[str], have: Collection[str], told: Collection[str]) -> float:
    ours, of, others_have, others = _counts(odd, have, told)
    return fisher(ours, of, others_have, others) if of and others else 1.0


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
