"""Profiles to arrivals: what is sent, when, and what is refused."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from conftest import INCIDENTS
from warmstall.errors import InputError, ParameterError
from warmstall.reproduce.profiles import arrivals_of, remaining
from warmstall.reproduce.records import Profile


def measured(profile: Profile):
    return [arrival for arrival in arrivals_of(profile) if arrival.phase == "measured"]


def test_warm_up_comes_first_and_has_numbers_of_its_own() -> None:
    """Three calls to warm up, one after another, told apart by phase and by numbers below 1."""
    arrivals = list(arrivals_of(Profile("rate", calls=2, warm_up=3)))
    assert [(one.number, one.phase) for one in arrivals] == [
        (0, "warm-up"), (-1, "warm-up"), (-2, "warm-up"), (1, "measured"), (2, "measured"),
    ]  # fmt: skip
    assert all(one.due_s is None and one.clients == 1 for one in arrivals[:3])


def test_closed_loops_say_how_many_clients_send_and_never_when() -> None:
    """Sequential is one client; concurrency is what was asked; a sweep goes through its levels, each with its calls."""
    assert {(one.clients, one.due_s) for one in measured(Profile("sequential", concurrency=9))} == {(1, None)}
    assert {(one.clients, one.due_s) for one in measured(Profile("concurrency", concurrency=9))} == {(9, None)}
    swept = measured(Profile("sweep", calls=3, levels=(1, 4)))
    assert [(one.step, one.clients) for one in swept] == [("1 client", 1)] * 3 + [("4 clients", 4)] * 3
    assert [one.number for one in swept] == [1, 2, 3, 4, 5, 6]


def test_a_rate_keeps_its_pace_without_drift_and_ends_with_its_time() -> None:
    """The 10,000th call at 7 a second is due at 9999/7 s exactly; within 3 s at 0.1 s each there are 30 of them."""
    arrivals = measured(Profile("rate", calls=10_000, rate_per_s=7, seconds=3600))
    assert arrivals[-1].due_s == 9999 / 7
    assert len(measured(Profile("rate", calls=0, rate_per_s=10, seconds=3))) == 30
    assert len(measured(Profile("rate", calls=12, rate_per_s=10, seconds=3))) == 12


def test_a_ramp_goes_from_one_rate_to_the_other_up_or_down() -> None:
    """The first gaps are those of the first rate, the last ones those of the last, and every gap lies between."""
    for low, high in ((2.0, 20.0), (20.0, 2.0)):
        due = [one.due_s for one in measured(Profile("ramp", calls=1000, rate_per_s=low, to_rate_per_s=high))]
        gaps = [later - earlier for earlier, later in pairwise(due)]
        assert len(due) == 1000
        assert gaps == sorted(gaps, reverse=low < high)
        assert gaps[0] == pytest.approx(1 / low, rel=0.1)
        assert gaps[-1] == pytest.approx(1 / high, rel=0.1)
    level = [one.due_s for one in measured(Profile("ramp", calls=5, rate_per_s=4, to_rate_per_s=4))]
    assert level == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_a_soak_lasts_as_long_as_its_time_and_is_told_in_parts() -> None:
    """2 calls a second for 60 s are 120, whatever `calls` says, in ten parts of 12."""
    arrivals = measured(Profile("soak", calls=3, rate_per_s=2, seconds=60))
    assert len(arrivals) == 120
    assert set(Counter(one.step for one in arrivals).values()) == {12}
    assert arrivals[-1].step == "part 10 of 10"


CSV = """start_ts,end_ts,model,endpoint,status,prompt_eval_count,eval_count
2026-01-01T00:00:10Z,2026-01-01T00:00:12Z,tiny,/api/chat,200,30,10
2026-01-01T00:00:04Z,2026-01-01T00:00:05Z,mid,/api/chat,200,,5
2026-01-01T00:00:07Z,2026-01-01T00:00:08Z,,/api/chat,500,,
"""


def test_a_replay_sends_what_a_table_tells_when_it_tells(tmp_path) -> None:
    """In the order of its times, at the gaps it had or faster, with the model and the tokens that it names."""
    table = tmp_path / "trials.csv"
    table.write_text(CSV)
    replayed = measured(Profile("replay", calls=0, table=str(table)))
    assert [(one.due_s, dict(one.wanted)) for one in replayed] == [
        (0.0, {"model": "mid", "output_tokens": 5}), (3.0, {}),
        (6.0, {"model": "tiny", "prompt_tokens": 30, "output_tokens": 10}),
    ]  # fmt: skip
    faster = Profile("replay", calls=0, table=str(table), pace=2.0)
    assert [one.due_s for one in measured(faster)] == [0.0, 1.5, 3.0]
    assert [one.due_s for one in measured(replace(faster, seconds=2.0))] == [0.0, 1.5]
    assert len(measured(replace(faster, calls=1))) == 1


def test_a_replay_reads_any_table_that_is_evidence(tmp_path) -> None:
    """A SQLite file, and a whole case."""
    with sqlite3.connect(tmp_path / "trials.sqlite") as database:
        database.execute("CREATE TABLE calls (started_at TEXT, wall_s REAL, model TEXT, path TEXT, status INTEGER)")
        database.execute("INSERT INTO calls VALUES ('2026-01-01T00:00:04Z', 1.0, 'tiny', '/api/chat', 200)")
        database.execute("INSERT INTO calls VALUES ('2026-01-01T00:00:05.5Z', 1.0, 'tiny', '/api/chat', 200)")
    assert [one.due_s for one in measured(Profile("replay", table=str(tmp_path / "trials.sqlite")))] == [0.0, 1.5]
    case = measured(Profile("replay", calls=0, table=str(INCIDENTS / "queue-one-slot"), seconds=86400))
    assert len(case) > 10
    assert all(one.wanted["model"] for one in case)


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        (Profile("steady"), "there is none of this name; there are sequential"),
        (Profile(calls=0), "calls \\(--calls\\) is 0; expected 1 to 1000000 for a sequential load"),
        (Profile(calls=True), "calls \\(--calls\\) is True"),
        (Profile("rate", rate_per_s=0), "rate_per_s \\(--rate\\) is 0; expected 0.001 to 10000"),
        (Profile("rate", rate_per_s=float("nan")), "rate_per_s \\(--rate\\) is nan"),
        (Profile(seconds=float("inf")), "seconds \\(--for\\) is inf"),
        (Profile("sweep", levels=()), "levels \\(--levels\\) are \\(\\)"),
        (Profile("sweep", levels=(1, 0)), "levels \\(--levels\\) are \\(1, 0\\)"),
        (Profile("concurrency", concurrency=100_000), "concurrency \\(--clients\\) is 100000"),
        (Profile("replay", table="x", pace=-1), "pace \\(--pace\\) is -1"),
        (Profile("replay"), "a replay needs a table"),
        (Profile(warm_up=-1), "warm_up \\(--warm-up\\) is -1"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(profile: Profile, told: str) -> None:
    """One sentence with what was given and what was expected."""
    with pytest.raises(ParameterError, match=told):
        next(arrivals_of(profile))


def test_a_replay_of_what_is_no_table_of_calls_is_refused(tmp_path) -> None:
    """No file, no evidence, no times."""
    with pytest.raises(InputError, match="no such file"):
        next(arrivals_of(Profile("replay", table=str(tmp_path / "none.csv"))))
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        next(arrivals_of(Profile("replay", table=str(tmp_path / "text.csv"))))
    log = INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "server.log"
    with pytest.raises(InputError, match="holds no calls with the time"):
        next(arrivals_of(Profile("replay", table=str(log))))


def test_what_is_left_of_a_load_begins_at_once_and_is_warmed_up_anew() -> None:
    """After numbers 0 to 3 of a rate: a new warm-up below 0, then 4 at once and 5 at its distance from 4."""
    plan = Profile("rate", calls=5, rate_per_s=2)
    left = list(remaining(arrivals_of(plan), {0, 1, 2, 3}))
    assert [(one.number, one.due_s, one.phase) for one in left] == [
        (-1, None, "warm-up"), (4, 0.0, "measured"), (5, 0.5, "measured"),
    ]  # fmt: skip
    assert list(remaining(arrivals_of(plan), {0, 1, 2, 3, 4, 5})) == []
    assert list(remaining(arrivals_of(plan), set())) == list(arrivals_of(plan))
