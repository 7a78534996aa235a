"""What an upgrade or a setting changed, with the servers that nobody touched as control: differences in differences.

A server's change is what it printed at a start otherwise than at its start before. Its share of failures (or another
outcome) in the hours before is taken from that in the hours after; what the untouched servers did over the same hours
is taken from that. What remains is told with an interval, or, of few servers, that it cannot be told. It is what went
along with the change: a restart comes with each, and whoever changed one thing may have changed another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ..hypotheses.facts import counted, seconds_text
from ..parse.ollama_settings import same
from ..parse.plain_text import printable
from .permuting import difference, fewest

if TYPE_CHECKING:
    import pandas as pd

    from .tables import FleetTables

# Both before and after; fewer say nothing of a server.
FEWEST_REQUESTS = 20
CHANCE = 0.05
_HOUR = timedelta(hours=1)
_LONGEST_VALUE = 40
_MOST_NAMES = 4
# What is measured, over how many of which count; the last as the logarithm of seconds.
_OUTCOMES = {
    "failed": "requests", "cold_start": "requests", "warm_stall": "requests", "log_wall": "answered",
}  # fmt: skip
_LABELS = {"failed": "failed requests", "cold_start": "cold starts", "warm_stall": "warm stalls",
           "log_wall": "wall time of answers"}  # fmt: skip

Server = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One thing, or several that nothing tells apart, that changed at a start of these servers, each at its time."""

    name: str
    at: Mapping[Server, datetime]


@dataclass(frozen=True)
class Effect:
    """What went along with a change. `difference`, `low` and `high` are shares of requests, or factors of wall time.

    Of servers too few to tell the interval has no ends; `changed` and `untouched` count those with enough requests.
    """

    change: str
    outcome: str
    changed: int
    untouched: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    sentence: str

    @property
    def told(self) -> str:
        """better, worse, within chance, or cannot tell."""
        if not math.isfinite(self.high):
            return "cannot tell"
        none = 1.0 if self.outcome == _LABELS["log_wall"] else 0.0
        return "worse" if self.low > none else "better" if self.high < none else "within chance"


def effects(fleet: FleetTables, hours: int = 24) -> list[Effect]:
    """What went along with each change in as many hours before and after it; the hour of the change is left out.

    A change that a server had several times counts with the first. Of an outcome that no server had, nothing is told.
    """
    started = [(row.name, row.from_value, row.to_value, (row.host, row.server), row.at.to_pydatetime())
               for row in fleet.view("fleet_changes").itertuples()
               if row.name == "version" or not same(row.name, row.from_value, row.to_value)]  # fmt: skip
    found = _changes(started)
    touched: dict[Server, list[datetime]] = defaultdict(list)
    for *_, server, at in started:
        touched[server].append(at)
    fleet.connection.register("fleet_hours", fleet.view("fleet_hours"))
    seen = [name for name in _OUTCOMES if fleet.sql(f"FROM fleet_hours WHERE {name} <> 0 LIMIT 1").size]
    # All intervals together are wrong with that chance at most.
    chance, span = CHANCE / max(1, len(found) * len(seen)), timedelta(hours=hours)
    return [effect for change in found for effect in _effects_of(fleet, change, touched, span, seen, chance)]


def _changes(started: Sequence[tuple[str, str, str, Server, datetime]]) -> list[Change]:
    """What changed at a start of some server, most servers first. Changes that always came together are one."""
    by_name: dict[str, dict[Server, datetime]] = defaultdict(dict)
    for name, from_value, to_value, server, at in started:
        by_name[printable(f"{name} {_value(from_value)} → {_value(to_value)}")].setdefault(server, at)
    together: dict[frozenset[tuple[Server, datetime]], list[str]] = defaultdict(list)
    for name, own in by_name.items():
        together[frozenset(own.items())].append(name)
    found = [Change(_named(sorted(names, key=lambda name: not name.startswith("version "))), dict(sorted(own)))
             for own, names in together.items()]  # fmt: skip
    return sorted(found, key=lambda change: (-len(change.at), change.name))


def effect_rows(found: Sequence[Effect]) -> pd.DataFrame:
    """Effects as the rows of a table, without their sentences."""
    import pandas as pd

    columns = [*(field.name for field in fields(Effect) if field.name != "sentence"), "told"]
    return pd.DataFrame([[getattr(effect, name) for name in columns] for effect in found], columns=columns)


class _Window(NamedTuple):
    """Hours before a change and after it, as far as the same server was not changed otherwise."""

    first: datetime
    changed: datetime
    last: datetime


def _window(at: datetime, own: Sequence[datetime], span: timedelta) -> _Window:
    changed = _hour(at)
    first = max([changed - span, *(_hour(other) + _HOUR for other in own if other < at)])
    return _Window(first, changed, min([changed + _HOUR + span, *(_hour(other) for other in own if other > at)]))


def _effects_of(
    fleet: FleetTables,
    change: Change,
    touched: Mapping[Server, Sequence[datetime]],
    span: timedelta,
    outcomes: Sequence[str],
    chance: float,
) -> Iterator[Effect]:
    windows = {server: _window(at, touched[server], span) for server, at in change.at.items()}
    around = {window: _around(fleet, window) for window in dict.fromkeys(windows.values())}
    for outcome in outcomes:
        rates = {window: _rates(rows, outcome, _OUTCOMES[outcome]) for window, rows in around.items()}
        ours = [(rates[window].loc[server], window) for server, window in windows.items()
                if server in rates[window].index]  # fmt: skip
        usual = {window: _moved(_untouched(rows, touched, window)) for window, rows in rates.items()}
        beyond = [float(row["after"] - row["before"] - usual[window].mean()) for row, window in ours
                  if len(usual[window])]  # fmt: skip
        others = list(_of_others(usual, [window for _, window in ours]))
        before, after = (_mean([float(row[when]) for row, _ in ours]) for when in ("before", "after"))
        yield _effect(change.name, outcome, before, after, beyond, others, len(ours), chance)


def _around(fleet: FleetTables, window: _Window) -> pd.DataFrame:
    """Counts and sums of each server before and after, by host and server."""
    columns = dict.fromkeys([*_OUTCOMES, *_OUTCOMES.values()])
    sums = ", ".join(f"sum({name}) FILTER (hour < $changed) AS {name}_before, "
                     f"sum({name}) FILTER (hour > $changed) AS {name}_after" for name in columns)  # fmt: skip
    query = f"SELECT host, server, {sums} FROM fleet_hours WHERE hour >= $first AND hour < $last GROUP BY ALL"
    return fleet.sql(query, **window._asdict()).set_index(["host", "server"]).sort_index()


def _rates(rows: pd.DataFrame, outcome: str, of: str) -> pd.DataFrame:
    """The outcome before and after of the servers with enough requests both times."""
    enough = rows[(rows[f"{of}_before"] >= FEWEST_REQUESTS) & (rows[f"{of}_after"] >= FEWEST_REQUESTS)]
    times = {when: (enough[f"{outcome}_{when}"] / enough[f"{of}_{when}"]).astype(float) for when in ("before", "after")}
    return enough.assign(**times)[["before", "after"]]


def _untouched(rows: pd.DataFrame, touched: Mapping[Server, Sequence[datetime]], window: _Window) -> pd.DataFrame:
    """The rows of the servers that nothing was changed on within those hours."""
    changed = [server for server in rows.index
               if any(window.first <= at < window.last for at in touched.get(server, ()))]  # fmt: skip
    return rows.drop(index=changed)


def _moved(rows: pd.DataFrame) -> pd.Series:
    return rows["after"] - rows["before"]


def _of_others(usual: Mapping[_Window, pd.Series], windows: Sequence[_Window]) -> Iterator[float]:
    """How far each untouched server moved from the rest of them, each over the hours of one of the changed servers."""
    for number, server in enumerate(sorted({server for rows in usual.values() for server in rows.index})):
        if own := [window for window in windows if server in usual[window].index]:
            rows = usual[own[number % len(own)]]
            yield float(rows[server] - rows.mean())


def _effect(
    change: str, outcome: str, before: float, after: float, beyond: Sequence[float], others: Sequence[float],
    changed: int, chance: float,
) -> Effect:  # fmt: skip
    found, low, high = difference(beyond, others, chance)
    if outcome == "log_wall":
        before, after, found, low, high = (_exp(value) for value in (before, after, found, low, high))
    untouched = len(others)
    if not changed:
        told = f"no server that was changed had {FEWEST_REQUESTS} requests before and after; nobody can tell."
    elif not untouched:
        told = "no untouched server had requests enough to compare with; nobody can tell."
    else:
        told = f"{_amount(outcome, found)} beyond what {counted(untouched, 'untouched server')} did; "
        if math.isfinite(high):
            told += f"surely between {_amount(outcome, low)} and {_amount(outcome, high)}."
        else:
            told += f"so few cannot tell: beside {changed:,} changed, {fewest(changed, chance):,} untouched are needed."
    if changed:
        told = (
            f"{_level(outcome, before)} before, {_level(outcome, after)} after on {counted(changed, 'server')}; {told}"
        )
    sentence = printable(f"{change}: {_LABELS[outcome]} {told}")
    return Effect(change, _LABELS[outcome], changed, untouched, before, after, found, low, high, sentence)


def _amount(outcome: str, value: float) -> str:
    return f"{value:.3g} times" if outcome == "log_wall" else f"{100 * value:+.1f} points"


def _level(outcome: str, value: float) -> str:
    return seconds_text(value) if outcome == "log_wall" else f"{value:.1%}"


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _value(text: str) -> str:
    return text[:_LONGEST_VALUE] or "not set"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
