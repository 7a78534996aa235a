"""Which hosts are unlike the rest in one figure: counts by Fisher's exact test, numbers by median and MAD.

Plain values in, plain values out: nothing here reads evidence. A host that stands out is set aside before the others
are looked at again, so that one bad host does not make all good ones look better than "the rest".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import ArrayLike

from ..proportions import fisher, wilson

# After Holm's correction for all figures of all hosts: a quiet fleet is wrongly told of once in a hundred times.
CHANCE = 0.01
# Of two hosts nobody can say which one is the odd one.
FEWEST_HOSTS = 3
# The spread of four hosts is itself mostly chance.
FEWEST_FOR_A_SPREAD = 5
# Robust spreads (MAD, scaled to a standard deviation) that lie between a host and the median host.
SPREADS = 6.0
_MAD_TO_SPREAD = 1.4826
# Nobody minds less, however sure it is.
NOTICED = 1.5
# Healthy hosts of one fleet differ in their rates by half as much again; the odds of an odd one are surely twice those
# of the others. (Simulated with rates whose spread between hosts is a third of them: one false alarm in 200 fleets.)
SURELY = 2.0
# Of all figures and hosts each interval has to hold: 99.9 %.
_Z = 3.29
# A rate or a 95th percentile of fewer says little of how hosts usually differ.
FEWEST_MEASURED = 20
# Nobody notices less than a thousandth of a second, and nothing has no logarithm.
LEAST = 1e-3

Counts = tuple[int, int]  # so many, of so many


@dataclass(frozen=True)
class OddRate:
    """A rate of one host, the same of all others that were not set aside before, and the corrected p."""

    host: str
    figure: str
    count: int
    of: int
    others_count: int
    others_of: int
    others: int
    p: float

    @property
    def more(self) -> bool:
        return self.count * self.others_of > self.others_count * self.of


@dataclass(frozen=True)
class Measured:
    """A number made of `of` measurements, with the interval in which it surely lies."""

    value: float
    low: float
    high: float
    of: int


@dataclass(frozen=True)
class OddNumber:
    """A number of one host, that of the median host, and how many robust spreads lie between (infinite: no spread)."""

    host: str
    figure: str
    value: float
    of: int
    usual: float
    hosts: int
    spreads: float


@dataclass(frozen=True)
class OddValue:
    """A setting, version or limit of one host, and what most of the hosts have that tell it."""

    host: str
    figure: str
    value: str
    usual: str
    have_usual: int
    hosts: int


def odd_rates(figures: Mapping[str, Mapping[str, Counts]]) -> tuple[list[OddRate], list[str]]:
    """Hosts whose rates differ from those of all others by more than chance, and figures that have no rest.

    `figures` are counts by figure and host. Each host is tested against all others (Fisher), corrected for the number
    of hosts and figures (Holm); with five hosts or more it must also lie six robust spreads away from the median host,
    because hosts that do different work differ by more than chance. A figure in which half of the hosts would have to
    be set aside has no rest; it is named and nothing is found in it.

    >>> calm = {f"gpu-{number}": (2, 200) for number in range(9)}
    >>> found, without_rest = odd_rates({"failed": calm | {"gpu-9": (60, 200)}})
    >>> [(one.host, one.others_count, one.others_of, one.more) for one in found], without_rest
    ([('gpu-9', 18, 1800, True)], [])
    """
    told = {name: {host: count for host, count in hosts.items() if count[1]} for name, hosts in figures.items()}
    told = {name: hosts for name, hosts in told.items() if len(hosts) >= FEWEST_HOSTS}
    tests = sum(map(len, told.values()))
    found: list[OddRate] = []
    without_rest = []
    next_of = {name: one for name, hosts in told.items() if (one := _oddest(name, hosts, set()))}
    while next_of:
        one = min(next_of.values(), key=lambda each: each.p)
        corrected = one.p * (tests - len(found))
        if corrected > CHANCE:
            break
        found.append(OddRate(**vars(one) | {"p": corrected}))
        aside = {each.host for each in found if each.figure == one.figure}
        del next_of[one.figure]
        if 2 * len(aside) >= len(told[one.figure]):
            without_rest.append(one.figure)
        elif following := _oddest(one.figure, told[one.figure], aside):
            next_of[one.figure] = following
    return [one for one in found if one.figure not in without_rest], without_rest


def _oddest(figure: str, hosts: Mapping[str, Counts], aside: set[str]) -> OddRate | None:
    """The host that differs most from the others, of those that are not set aside."""
    kept = {host: counts for host, counts in hosts.items() if host not in aside}
    total, of_all = (sum(numbers) for numbers in zip(*kept.values(), strict=True))
    between = _between_hosts(hosts)
    found = [
        OddRate(host, figure, count, of, total - count, of_all - of, len(kept) - 1,
                fisher(count, of, total - count, of_all - of))
        for host, (count, of) in kept.items()
        if of < of_all and _is_noticed(count, of, total - count, of_all - of)
        and between(count / of, count * of_all > total * of)
    ]  # fmt: skip

    def rank(one: OddRate) -> tuple[float, float]:
        return one.p, -abs(one.count / one.of - one.others_count / one.others_of)

    # Chances too small for a number are told apart by how far the rates are apart.
    return min(
        found, key=lambda one: (one.p, -abs(one.count / one.of - one.others_count / one.others_of)), default=None
    )


def _is_noticed(count: int, of: int, others_count: int, others_of: int) -> bool:
    low, high = wilson(count, of, _Z)
    others = _odds((others_count + 0.5) / (others_of + 1))
    return _odds(low) >= SURELY * others or SURELY * _odds(high) <= others


def _odds(rate: float) -> float:
    return rate / (1 - rate) if rate < 1 else math.inf


def _between_hosts(hosts: Mapping[str, Counts]) -> Callable[[float, bool], bool]:
    """Whether a rate is further up (or down) than hosts differ among themselves."""
    rates = [count / of for count, of in hosts.values() if of >= FEWEST_MEASURED]
    if len(rates) < FEWEST_FOR_A_SPREAD:
        return lambda rate, more: True
    usual, spread = _median_and_spread(rates)
    return lambda rate, more: (rate - usual if more else usual - rate) > SPREADS * spread


def _median_and_spread(values: Iterable[float]) -> tuple[float, float]:
    values = list(values)
    usual = median(values)
    return usual, _MAD_TO_SPREAD * median(abs(value - usual) for value in values)


def odd_numbers(figures: Mapping[str, Mapping[str, Measured]]) -> list[OddNumber]:
    """Hosts whose numbers lie six robust spreads and half as much again away from the median host.

    Numbers are compared by their ratios, and by the end of their interval that is nearer to the median host, so that
    a quantile of few measurements proves nothing. Fewer than five hosts have no spread.

    >>> walls = {f"gpu-{number}": Measured(2 + number / 50, 1.9, 2.2, 300) for number in range(8)}
    >>> odd_numbers({"wall_p50_s": walls | {"gpu-8": Measured(9.0, 8.0, 10.0, 300)}})[0].host
    'gpu-8'
    """
    found = []
    for figure, measured in figures.items():
        logs = {host: math.log(max(one.value, LEAST)) for host, one in measured.items()
                if one.of >= FEWEST_MEASURED and math.isfinite(one.value)}  # fmt: skip
        if len(logs) < FEWEST_FOR_A_SPREAD:
            continue
        usual, spread = _median_and_spread(logs.values())
        for host, value in logs.items():
            one = measured[host]
            near = max(one.low if value > usual else one.high, LEAST)
            apart = (math.log(near) - usual) * (1 if value > usual else -1)
            if apart > max(SPREADS * spread, math.log(NOTICED)):
                away = apart / spread if spread else math.inf
                found.append(OddNumber(host, figure, one.value, one.of, math.exp(usual), len(logs), away))
    return found


def odd_values(figures: Mapping[str, Mapping[str, str]]) -> list[OddValue]:
    """Hosts that have another value than most of those that tell it. Without a majority nobody is odd.

    >>> odd_values({"version": {"a": "0.13.5", "b": "0.13.5", "c": "0.14.0"}})[0].host
    'c'
    """
    found = []
    for figure, values in figures.items():
        if len(values) < FEWEST_HOSTS:
            continue
        ((usual, have),) = Counter(values.values()).most_common(1)
        if 2 * have > len(values):
            found += [OddValue(host, figure, value, usual, have, len(values))
                      for host, value in values.items() if value != usual]  # fmt: skip
    return found


def quantile_measured(values: ArrayLike, bounds: ArrayLike, share: float) -> Measured | None:
    """A quantile with the interval of its order statistics (no distribution assumed).

    `bounds` are of measurements that were cut off: at least so much each. None of nothing, and where they leave the
    quantile itself open.

    >>> quantile_measured([float(number) for number in range(1, 101)], [], 0.5)
    Measured(value=50.0, low=35.0, high=66.0, of=100)
    >>> quantile_measured([1.0, 2.0, 3.0], [2.5], 0.95) is None
    True
    """
    known, cut = np.asarray(values, dtype=float), np.asarray(bounds, dtype=float)
    count = len(known) + len(cut)
    if not count:
        return None
    place = max(0, math.ceil(share * count - 1e-9) - 1)
    below, above = wilson(round(share * count), count, _Z)
    low, high = math.floor(below * count), min(math.ceil(above * count), count) - 1
    least, most = (np.partition(np.concatenate([known, rest]), sorted({low, place, high}))
                   for rest in (cut, np.full(len(cut), np.inf)))  # fmt: skip
    if least[place] != most[place]:
        return None
    return Measured(float(least[place]), float(least[low]), float(most[high]), count)
