"""Criteria are checked and judged; a server is measured against them, or it says why it could not be."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drill.awaiting import until
from warmstall.drill.server_process import DrillServer
from warmstall.errors import InputError, ParameterError
from warmstall.rag.settings import PathSettings, RagSettings
from warmstall.reproduce.acceptance import Load, Prices, costs, load_of, measure, sequential_told
from warmstall.reproduce.criteria import (
    METRICS,
    Criterion,
    Measures,
    checked_criteria,
    conclusion,
    criteria_file,
    frame,
    judged,
    read_criteria,
)
from warmstall.reproduce.measurements import Measurements
from warmstall.reproduce.records import Profile
from warmstall.reproduce.wanted import Wanted

SEQUENTIAL, CONCURRENT = "throughput_sequential_per_s", "throughput_concurrent_per_s"
ONE_ATTEMPT = RagSettings(path=PathSettings(attempts=1))


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillServer]:
    folder = tmp_path_factory.mktemp("drill")
    with DrillServer(folder, environment={"OLLAMA_NUM_PARALLEL": "4"}) as server:
        yield server


def wanted(case: Path, target: str, model: str = "tiny", calls: int = 6, **more: Any) -> Wanted:
    return Wanted(case, Profile(calls=calls, seconds=60), target, model, output_tokens=8, prompt_tokens=8, **more)


def test_the_criteria_that_ship_name_each_metric_once() -> None:
    assert [one.metric for one in read_criteria(criteria_file())] == list(METRICS)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"metric": "latency_avg", "target": 5}, "there is no metric 'latency_avg'; did you mean latency_avg_s?"),
        ({"metric": "latency_avg_s", "traget": 5}, "there is no key 'traget'; did you mean target?"),
        ({"metric": "latency_avg_s"}, "the target of latency_avg_s is None; expected a number"),
        ({"metric": "latency_avg_s", "target": True}, "is True; expected a number"),
        ({"metric": "latency_avg_s", "target": float("nan")}, "is nan; expected a number"),
        ({"metric": "latency_avg_s", "target": 5, "unit": "ms"}, "the unit of latency_avg_s is 'ms'; expected 's'"),
        ({"metric": "latency_avg_s", "target": 5, "direction": "below"}, "'below'; expected at most or at least"),
        ({"target": 5}, "there is no metric 'None'"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest_right_one(row: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=r"criteria\.toml, criterion 2: ") as refused:
        checked_criteria({"criteria": [{"metric": "model_available", "target": True}, row]}, "criteria.toml")
    assert told in str(refused.value)


def test_files_that_are_no_criteria_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_criteria(tmp_path / "absent.toml")
    files = (("a = ", "it is not TOML"), ("", "expected .*criteria"), ("[criterion]", "did you mean criteria"))
    for text, told in files:
        (tmp_path / "criteria.toml").write_text(text)
        with pytest.raises(ParameterError, match=told):
            read_criteria(tmp_path / "criteria.toml")
    with pytest.raises(ParameterError, match="savings_percent at least is there twice"):
        checked_criteria({"criteria": [{"metric": "savings_percent", "target": 50}] * 2}, "criteria.toml")


def test_a_verdict_follows_from_target_and_direction() -> None:
    least, most = Criterion(CONCURRENT, 6.0, "at least", "1/s"), Criterion("latency_avg_s", 5.0, "at most", "s")
    for values, verdicts in (((6.0, 5.0), ["pass", "pass"]), ((5.9, 5.1), ["fail", "fail"])):
        rows = judged([least, most], Measures(dict(zip((CONCURRENT, "latency_avg_s"), values, strict=True))))
        assert [row.verdict for row in rows] == verdicts
    assert conclusion(judged([least], Measures({CONCURRENT: 6.0}))) == "Accepted: 1 of 1 criteria passed."


def test_what_is_not_measured_is_not_accepted_and_says_why() -> None:
    rows = judged([Criterion("savings_percent", 50.0, "at least", "%")], Measures(reasons={"savings_percent": "Why."}))
    assert (rows[0].verdict, rows[0].measured, rows[0].reason) == ("not measured", None, "Why.")
    assert conclusion(rows).startswith("Not accepted: 0 of 1 criteria passed; not measured: savings")
    assert conclusion([]).startswith("Not accepted")


def test_a_missed_sequential_target_says_what_would_reach_it() -> None:
    alone, together = Load(1, 10, 0, 0.48, 0.6, 2.08), Load(4, 10, 0, 0.6, 0.9, 6.5)
    measures = Measures({SEQUENTIAL: 2.08}, {SEQUENTIAL: sequential_told(alone, together)})
    reason = judged([Criterion(SEQUENTIAL, 6.0, "at least", "1/s")], measures)[0].reason
    assert "1 / 0.48 = 2.08 a second" in reason
    assert "4 at once gave 6.5 a second, 3.12 times as many" in reason
    assert "6 a second, one after another, would need calls of 0.17 s" in reason


def test_costs_are_of_given_prices_only() -> None:
    load = Load(4, 10, 0, 1.0, 1.0, 2.0)
    reasons = costs(Prices(), load, (1000.0, 100.0)).reasons
    assert reasons["cost_per_1000_calls"] == "The price of the host is not given: set price_per_hour."
    own = costs(Prices(per_hour=7.2), load, (1000.0, 100.0))
    assert own.values == {"cost_per_1000_calls": pytest.approx(1.0)}
    assert "price_per_million_input" in own.reasons["savings_percent"]
    assert "told its tokens" in costs(Prices(7.2, 2.0, 20.0), load, None).reasons["savings_percent"]
    both = costs(Prices(7.2, 2.0, 20.0), load, (1000.0, 100.0)).values
    assert both == {"cost_per_1000_calls": pytest.approx(1.0), "savings_percent": pytest.approx(75.0)}


def test_calls_that_fail_cost_too_where_a_day_has_so_many() -> None:
    shared = costs(Prices(1.0, calls_per_day=240), Load(4, 10, 5, 1.0, 1.0, 2.0), None)
    assert shared.values == {"cost_per_1000_calls": pytest.approx(200.0)}
    assert costs(Prices(1.0), Load(4, 0, 0, None, None, 0.0), None).values == {}


def test_a_server_is_measured_alone_and_at_once(parallel: DrillServer, tmp_path: Path) -> None:
    case = tmp_path / "case"
    asked = wanted(case, parallel.url, logs=(str(parallel.log),))
    found = measure(asked, 4, Prices(1.0, 5.0, 5.0))
    assert set(found.values) == set(METRICS)
    with_measurements = Measurements(case / "measurements.csv")
    rows = with_measurements.read()
    with_measurements.close()
    alone, together = load_of(rows, 1, {}), load_of(rows, 4, {})
    assert (alone.calls, together.calls) == (6, 6)
    assert found.values["latency_avg_s"] == alone.latency_avg_s
    assert found.values["latency_max_s"] == alone.latency_max_s
    # One after another there is never more than one in a latency's time.
    assert found.values[SEQUENTIAL] * alone.latency_avg_s <= 1.0
    # What was measured before is told as it was.
    again = measure(asked, 4).values
    assert (again[SEQUENTIAL], again[CONCURRENT]) == (found.values[SEQUENTIAL], found.values[CONCURRENT])
    assert "verdict for each of" in found.reasons["reconstruction_latency_s"]
    shown = frame(judged(read_criteria(criteria_file()), found))
    assert set(shown["verdict"]) <= {"pass", "fail"}
    assert shown["measured"].iloc[0] == "yes"


def test_an_absent_model_and_a_server_that_is_down_are_not_available(parallel: DrillServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{free.getsockname()[1]}"
    for number, (target, model, told) in enumerate(((parallel.url, "absent", "ollama pull absent"), (down, "m", down))):
        found = measure(wanted(tmp_path / str(number), target, model, calls=1), 2)
        assert found.values == {"model_available": 0.0}
        assert told in found.reasons["model_available"]
        verdicts = [row.verdict for row in judged(read_criteria(criteria_file()), found)]
        assert verdicts == ["fail", *["not measured"] * 7]


def test_latencies_cannot_pass_when_calls_never_ended(tmp_path: Path) -> None:
    """The server ends while calls go one after another: those that had ended were fast."""
    with DrillServer(tmp_path / "drill") as server:
        asked = wanted(case := tmp_path / "case", server.url, calls=12, settings=ONE_ATTEMPT)

        def kill() -> None:
            measured = case / "measurements.csv"
            until(lambda: measured.is_file() and measured.read_text().count("1 client") >= 2)
            os.kill(server.pid, signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        found = measure(asked, 2)
        killing.join()
    assert found.values["model_available"] == 1.0
    rows = judged([Criterion("latency_avg_s", 1000.0, "at most", "s")], found)
    assert rows[0].verdict == "fail"
    assert "cannot pass; the first says:" in rows[0].reason


def test_one_client_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="clients is 1; expected 2 or more"):
        measure(wanted(tmp_path, "drill"), 1)
