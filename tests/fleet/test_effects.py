"""What a change did, beyond what the untouched servers did meanwhile; and that few servers cannot tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from warmstall.fleet.effects import Effect, effects
from warmstall.fleet.permuting import difference
from warmstall.fleet.tables import FleetTables

MIDNIGHT = datetime(2026, 3, 15)
CHANGED_AT = MIDNIGHT + timedelta(minutes=20)
A_DAY = 100  # requests of a server, on each of two days

Settings = dict[str, str]


class MadeUp:
    """The tables of a fleet that nobody analyzed: servers with requests on two days, and what they printed."""

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []
        self.versions: list[dict[str, object]] = []
        self.settings: list[dict[str, object]] = []
        self.random = np.random.default_rng(7)

    def start(self, host: str, at: datetime, version: str = "0.13.5", **settings: str) -> None:
        self.versions.append({"host": host, "server": "local", "at": at, "version": version})
        for name, value in ({"OLLAMA_NUM_PARALLEL": "1"} | settings).items():
            self.settings.append({"host": host, "server": "local", "at": at, "name": name, "value": value})

    def server(self, host: str, before: float, after: float, wall_s: tuple[float, float] = (2, 2)) -> None:
        """A server with these shares of failures on its two days, and these wall times."""
        for day, (failing, typical_s) in enumerate(zip((before, after), wall_s, strict=True)):
            for number in range(A_DAY):
                failed = self.random.random() < failing
                started_at = MIDNIGHT + timedelta(days=day - 1, minutes=65 + 13 * number)
                self.requests.append({
                    "host": host, "server": "local", "started_at": started_at, "inference": True,
                    "wall_s": typical_s * self.random.lognormal(0, 0.2), "status": "500" if failed else "200",
                    "verdict": "runner_crash" if failed else "warm_ok",
                })  # fmt: skip

    def effects(self) -> list[Effect]:
        with duckdb.connect() as connection:
            for name in ("requests", "versions", "settings"):
                connection.register(name, pd.DataFrame(getattr(self, name)))
            return effects(FleetTables(Path("made up"), connection))


@pytest.fixture
def made() -> MadeUp:
    return MadeUp()


def fleet(made: MadeUp, changed: int, untouched: int, change: Callable[[str], None], after: float = 0.3) -> None:
    """Servers of which all are twice as slow on the second day and some, which were changed, fail more."""
    for number in range(changed + untouched):
        host = f"gpu-{number:02}"
        made.start(host, MIDNIGHT - timedelta(days=1))
        made.server(host, 0.05, after if number < changed else 0.1, (2, 4))
        if number < changed:
            change(host)


def by_outcome(found: list[Effect]) -> Iterator[tuple[str, Effect]]:
    return ((effect.outcome, effect) for effect in found)


def test_an_upgrade_that_fails_more_is_told_with_its_interval(made: MadeUp) -> None:
    fleet(made, 5, 10, lambda host: made.start(host, CHANGED_AT, "0.14.0"))
    found = dict(by_outcome(made.effects()))
    failed, wall = found["failed requests"], found["wall time of answers"]

    assert (failed.told, failed.change) == ("worse", "version 0.13.5 → 0.14.0")
    assert failed.low < 0.2 < failed.high  # 0.3 - 0.05 of theirs, without the 0.05 that all others had as well
    assert (failed.changed, failed.untouched) == (5, 10)
    assert wall.told == "within chance"  # all servers became slower, whatever was done to them
    assert (round(wall.before), round(wall.after)) == (2, 4)
    assert wall.low < 1 < wall.high
    assert "surely between +" in failed.sentence


def test_of_few_servers_nobody_can_tell(made: MadeUp) -> None:
    fleet(made, 1, 6, lambda host: made.start(host, CHANGED_AT, "0.14.0"), after=0.9)
    (failed,) = (effect for effect in made.effects() if effect.outcome == "failed requests")

    assert failed.told == "cannot tell"
    assert (failed.low, failed.high) == (-math.inf, math.inf)
    assert "so few cannot tell: beside 1 changed, 39 untouched are needed" in failed.sentence


def test_where_all_were_changed_there_is_no_control(made: MadeUp) -> None:
    fleet(made, 6, 0, lambda host: made.start(host, CHANGED_AT, "0.14.0"))

    assert {effect.told for effect in made.effects()} == {"cannot tell"}
    assert "no untouched server" in made.effects()[0].sentence


def test_servers_with_few_requests_say_nothing(made: MadeUp) -> None:
    fleet(made, 5, 10, lambda host: made.start(host, CHANGED_AT, "0.14.0"))
    made.requests = [row for row in made.requests if row["host"] > "gpu-04" or row["started_at"] < MIDNIGHT]
    (failed,) = (effect for effect in made.effects() if effect.outcome == "failed requests")

    assert (failed.told, failed.changed) == ("cannot tell", 0)
    assert "no server that was changed had 20 requests" in failed.sentence


def test_a_fleet_of_which_nobody_has_enough_requests_says_nothing(made: MadeUp) -> None:
    fleet(made, 2, 3, lambda host: made.start(host, CHANGED_AT, "0.14.0"))
    made.requests = made.requests[::20]

    assert {effect.told for effect in made.effects()} == {"cannot tell"}


def test_changes_that_came_together_are_one(made: MadeUp) -> None:
    fleet(made, 3, 5, lambda host: made.start(host, CHANGED_AT, "0.14.0", OLLAMA_NEW_ENGINE="true"))
    changes = {effect.change for effect in made.effects()}

    assert changes == {"version 0.13.5 → 0.14.0, OLLAMA_NEW_ENGINE not set → true"}


def test_values_that_mean_the_same_are_no_change(made: MadeUp) -> None:
    for host in ("a", "b"):
        made.server(host, 0.1, 0.1)
        made.start(host, MIDNIGHT - timedelta(days=1), OLLAMA_KEEP_ALIVE="300s")
        made.start(host, CHANGED_AT, OLLAMA_KEEP_ALIVE="5m0s")

    assert made.effects() == []


def test_a_start_that_printed_no_settings_tells_nothing_of_them(made: MadeUp) -> None:
    made.server("a", 0.1, 0.1)
    made.start("a", MIDNIGHT - timedelta(days=1), OLLAMA_KEEP_ALIVE="300s")
    made.versions.append({"host": "a", "server": "local", "at": CHANGED_AT, "version": ""})

    assert made.effects() == []


def test_a_server_that_was_changed_otherwise_meanwhile_is_no_control(made: MadeUp) -> None:
    fleet(made, 5, 10, lambda host: made.start(host, CHANGED_AT, "0.14.0"))
    made.start("gpu-14", CHANGED_AT + timedelta(hours=6), OLLAMA_NUM_PARALLEL="4")
    untouched = {effect.change: effect.untouched for effect in made.effects()}

    assert untouched == {"version 0.13.5 → 0.14.0": 9, "OLLAMA_NUM_PARALLEL 1 → 4": 9}


def test_hostile_values_stay_text(made: MadeUp) -> None:
    made.server("a", 0.1, 0.1)
    made.start("a", MIDNIGHT - timedelta(days=1))
    made.start("a", CHANGED_AT, OLLAMA_MODELS="\x1b[31m'; DROP TABLE requests; --" + "x" * 100)
    (change,) = {effect.change for effect in made.effects()}

    assert change == "OLLAMA_MODELS not set → " + " [31m'; DROP TABLE requests; --xxxxxxxxxx"[:40]


def test_intervals_hold_what_is_true_as_often_as_they_say() -> None:
    """Five changed servers among fifteen, values as skewed as rates are; an interval of 95 % a time."""
    random, misses = np.random.default_rng(3), 0
    for _ in range(200):
        values = random.gamma(2, 1, 15)
        _, low, high = difference(list(values[:5] + 1.5), list(values[5:]))
        misses += not low <= 1.5 <= high

    assert misses <= 20  # 10 are expected; more than 20 by chance once in a thousand


def test_an_interval_is_that_of_shifted_values() -> None:
    ours, others = [3.0, 4.0, 6.0, 4.5], [1.0, 2.0, 1.5, 0.5, 2.5, 1.2]
    found = difference(ours, others)

    assert difference([one + 10 for one in ours], others) == pytest.approx([value + 10 for value in found])
    assert difference([-one for one in ours], [-one for one in others]) == pytest.approx(
        [-found[0], -found[2], -found[1]]
    )
