"""The rules, held against requests made for each of them, and against what is known of the sample incidents."""

from __future__ import annotations

import pandas as pd
import pytest

from conftest import INCIDENTS, RECORDED
from warmstall.analysis import Analysis, analyze
from warmstall.judging.rules import RULES, Shown, verdict_of
from warmstall.records import VERDICTS

# A warm request of half a minute that nothing explains, as the log of an older version shows it.
UNEXPLAINED = {
    "status": "200", "path": "/api/chat", "wall_s": 30.0, "uncertainty_s": 0.5, "inference": True, "ran": True,
    "has_wall": True, "model": "m", "queue_s": 0.0, "load_s": 0.0, "prefill_s": None, "decode_s": None,
    "unexplained_s": 30.0,
    "measured": False, "prompt_tokens": None, "decode_tokens": None, "in_flight": 1, "loads_seen": 0, "load_line": 0,
    "triggered": False, "waited": False, "reload": False, "failed_load": "", "failed_reason": "",
    "failed_line": 0, "task_line": 0, "task_cut": False, "task_released": False, "task_cancelled": False,
    "truncated": False, "retried": False, "trial_error": "", "usual_s": 0.9, "usual_limit_s": 2.7, "usual_n": 45,
    "access_lines_only": False,
    "decode_factor": None, "decode_excess_s": 0.0, "decode_usual_rate": None, "decode_beyond": False,
    "prefill_factor": None, "prefill_excess_s": 0.0, "prefill_usual_rate": None, "prefill_beyond": False,
    "alone": False, "stopped_s": 0.0, "idle_s": 0.0, "whole": False, "crash_line": 0, "crash_text": "", "abort_line": 0,
    "abort_text": "", "abort_alone": False, "stop_line": 0,
    "shared_timeout_s": 0.0, "queued_first": True, "rest_s": 30.0, "beside": 0, "prefill_sure": True,
}  # fmt: skip
LONG = {
    "triggered": True, "waited": True, "loads_seen": 1, "wall_s": 400.0, "usual_s": None, "usual_limit_s": None,
}  # fmt: skip
MEASURED = UNEXPLAINED | {
    "measured": True, "prefill_s": 0.2, "decode_s": 29.8, "decode_tokens": 150, "prompt_tokens": 40,
    "unexplained_s": 0.0,
}  # fmt: skip
SLOW_DECODE = MEASURED | {
    "decode_factor": 40.0, "decode_excess_s": 29.0, "decode_usual_rate": 200.0, "decode_beyond": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"status": "503"}, "rejected"),
        ({"status": "404"}, "rejected"),
        ({"status": "499"}, "client_abort"),
        ({"status": "500", "wall_s": 0.002}, "rejected"),
        ({"status": "500", "failed_load": "failed", "failed_reason": "too large"}, "load_failure"),
        ({"status": "500", "failed_load": "abandoned"}, "client_abort"),
        ({"status": "500", "crash_line": 7, "crash_text": "SIGSEGV"}, "runner_crash"),
        ({"status": "500", "shared_timeout_s": 30.0}, "client_abort"),
        ({"status": "500", "stop_line": 7, "shared_timeout_s": 30.0}, "unknown"),
        # A call of embeddings that ran and failed ends with 400, too.
        ({"status": "400", "ran": False}, "rejected"),
        ({"status": "400"}, "unknown"),
        ({"status": "400", "abort_line": 7}, "client_abort"),
        ({"status": "400", "crash_line": 7, "crash_text": "SIGSEGV"}, "runner_crash"),
        ({"status": "500"}, "unknown"),
        ({"status": "500", "wall_s": 25832.0}, "unknown"),
        ({"trial_error": "client timeout: closed connection after 2.0s"}, "client_abort"),
        ({"trial_error": "an error was encountered while running the model: unexpected EOF"}, "runner_crash"),
        ({"trial_error": "model requires more system memory (9 GiB)"}, "load_failure"),
        ({"triggered": True, "waited": True, "load_s": 20.0, "rest_s": 10.0, "loads_seen": 1}, "cold_start"),
        (
            {"triggered": True, "waited": True, "load_s": 0.3, "queue_s": 20.0, "rest_s": 9.7, "loads_seen": 1},
            "queue_wait",
        ),
        ({"triggered": True, "waited": True, "load_s": 3.0, "rest_s": 27.0, "loads_seen": 1}, "unknown"),
        # Of a minute or more, a load of a hundredth explains nothing when nobody knows what is usual …
        ({**LONG, "load_s": 5.0, "rest_s": 395.0}, "unknown"),
        ({**LONG, "load_s": 5.0, "rest_s": 395.0, "usual_limit_s": 500.0, "usual_s": 300.0}, "cold_start"),
        ({**LONG, "load_s": 12.0, "rest_s": 388.0}, "cold_start"),
        ({**LONG, "load_s": 0.5, "rest_s": 39.5, "wall_s": 40.0}, "cold_start"),
        # … and what came after it must be noticeably longer than the load to be the reason.
        ({"triggered": True, "waited": True, "load_s": 14.4, "rest_s": 15.3, "loads_seen": 1}, "cold_start"),
        ({"loads_seen": 1}, "unknown"),
        ({"queue_s": 20.0, "in_flight": 8}, "queue_wait"),
        ({"queue_s": 20.0, "in_flight": 8, "model": ""}, "unknown"),
        ({"wall_s": 0.4}, "warm_ok"),
        ({"wall_s": 2.5}, "warm_ok"),
        ({"inference": False, "ran": False}, "warm_ok"),
        ({}, "unknown"),
    ],
)
def test_log_alone(facts: dict[str, object], verdict: str) -> None:
    """What an access line and its surroundings allow; a slow warm request stays open, because answers may be long."""
    assert verdict_of(UNEXPLAINED | facts)[0] == verdict


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"load_s": 20.0, "rest_s": 10.0}, "cold_start"),
        ({"load_s": 3.0, "rest_s": 27.0}, "unknown"),
        ({**LONG, "load_s": 5.0, "rest_s": 395.0}, "unknown"),
        ({**LONG, "load_s": 12.0, "rest_s": 388.0}, "cold_start"),
    ],
)
def test_who_came_into_a_load_is_judged_like_who_caused_it(facts: dict[str, object], verdict: str) -> None:
    """A wait of seconds for another request's load is not why a request took minutes."""
    came_into_it = {"loads_seen": 1, **facts, "waited": True, "triggered": False}
    told, reason = verdict_of(UNEXPLAINED | came_into_it)

    assert told == verdict
    assert ("Collect: " in reason) == (verdict == "unknown")


def test_a_pause_is_told_from_slowness_by_its_neighbours() -> None:
    """A runner that stands still makes one request slow; busy cores make all of them slow."""
    assert verdict_of(SLOW_DECODE | {"alone": True})[0] == "warm_stall"
    assert verdict_of(SLOW_DECODE | {"alone": False})[0] == "slow_decode"
    assert verdict_of(SLOW_DECODE | {"alone": True, "prefill_factor": 6.0})[0] == "slow_decode"


def test_a_pause_longer_than_the_load_before_it_is_a_stall() -> None:
    """What a drill taught: a runner stopped in the very first answer; the load was the smaller part."""
    cold = SLOW_DECODE | {"triggered": True, "waited": True, "loads_seen": 1, "load_s": 2.0}
    assert verdict_of(cold | {"alone": True})[0] == "warm_stall"
    assert verdict_of(cold | {"alone": True, "load_s": 28.5})[0] == "cold_start"
    assert verdict_of(cold | {"alone": False})[0] == "cold_start"


def test_samples_of_a_stopped_runner_prove_a_stall() -> None:
    assert verdict_of(UNEXPLAINED | {"stopped_s": 29.0})[0] == "warm_stall"


def test_a_client_that_left_a_runner_that_did_nothing_met_a_warm_stall() -> None:
    left = UNEXPLAINED | {"status": "500", "trial_error": "ReadTimeout: timed out"}
    assert verdict_of(left)[0] == "client_abort"
    assert verdict_of(left | {"idle_s": left["wall_s"] - 1.0})[0] == "warm_stall"
    assert verdict_of(left | {"idle_s": left["wall_s"] - 1.0, "triggered": True})[0] != "warm_stall"


def test_a_failure_of_another_server_is_not_blamed_on_the_client() -> None:
    """Ollama answers with 502 for a cloud model that it cannot reach, and with no such status of its own."""
    assert "a client that gave up" not in verdict_of(UNEXPLAINED | {"status": "502"})[1]
    assert "a client that gave up" in verdict_of(UNEXPLAINED | {"status": "500"})[1]


def test_who_has_the_whole_answer_did_not_leave() -> None:
    """Of requests side by side, the log does not say whose task a cancel line ends; the clients do."""
    cancelled = MEASURED | {"abort_line": 7, "task_cut": True, "task_cancelled": True, "wall_s": 0.9, "decode_s": 0.7}
    assert verdict_of(cancelled)[0] == "client_abort"
    assert verdict_of(cancelled | {"whole": True})[0] == "warm_ok"


def test_a_long_answer_at_normal_speed_is_no_stall() -> None:
    usual_speed = {"decode_factor": 1.0, "decode_excess_s": 0.0, "decode_beyond": False, "decode_tokens": 6000}
    assert verdict_of(MEASURED | usual_speed)[0] == "warm_ok"


def test_measured_waiting_for_a_slot_is_a_queue() -> None:
    assert verdict_of(MEASURED | {"queue_s": 2.0, "decode_s": 2.2, "wall_s": 4.4, "in_flight": 5})[0] == "queue_wait"


def test_every_unknown_says_what_to_collect() -> None:
    for facts in ({}, {"status": "500"}, {"loads_seen": 1}, {"usual_limit_s": None}, {"in_flight": 3, "queue_s": 9.0}):
        verdict, reason = verdict_of(UNEXPLAINED | facts)
        assert verdict == "unknown"
        assert "Collect: " in reason


def test_too_few_requests_are_told_of_only_where_they_are() -> None:
    """A wait behind a request that came in the same second is not a lack of requests like it."""
    maybe_behind = UNEXPLAINED | {"wall_s": 2.5, "queue_s": 2.0}

    assert "do not tell which of the two came first" in verdict_of(maybe_behind)[1]
    assert "too few requests like it" in verdict_of(maybe_behind | {"usual_s": None, "usual_limit_s": None})[1]


def test_an_answer_at_once_names_no_model_where_none_is_known() -> None:
    assert verdict_of(UNEXPLAINED | {"wall_s": 0.012, "model": ""})[1].endswith("by which model, if any")
    assert verdict_of(UNEXPLAINED | {"wall_s": 0.012})[1] == "answered in 0.01 s"


def test_every_reason_can_be_written_from_unknown_numbers() -> None:
    """A sentence must not fail because a fact is missing, nor name one that does not exist."""
    for rule in RULES:
        assert rule.because.format_map(Shown(UNEXPLAINED))


def test_rules_use_the_verdicts_of_the_contract() -> None:
    assert {rule.verdict for rule in RULES} <= set(VERDICTS)


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("warm-stall-runner-stopped", {"warm_ok": 44, "warm_stall": 2, "cold_start": 1}),
        ("reloads-two-models", {"cold_start": 10, "warm_ok": 5}),
    ],
)
def test_the_truth_of_the_samples(name: str, verdicts: dict[str, int]) -> None:
    """What was done to the server is what the verdicts say (data/incidents/*/README.md)."""
    requests = analyze(INCIDENTS / name).requests()

    assert requests[requests["inference"]]["verdict"].value_counts().to_dict() == verdicts


def test_a_client_names_the_models_that_the_log_shows_as_digests() -> None:
    found = analyze(INCIDENTS / "reloads-two-models")

    assert set(found.loads()["model"]) == {"big", "mid"}
    assert set(found.residencies()["model"]) == {"big", "mid"}


def test_the_queue_sample_is_a_queue_and_nothing_worse() -> None:
    requests = analyze(INCIDENTS / "queue-one-slot").requests()
    counts = requests[requests["inference"]]["verdict"].value_counts()

    assert counts["queue_wait"] >= 20
    assert set(counts.index) <= {"queue_wait", "cold_start", "warm_ok"}


def test_the_stall_shows_in_the_log_of_a_new_version_alone() -> None:
    """llama-server prints its own timing, so neither client nor samples are needed there."""
    log = INCIDENTS / "warm-stall-runner-stopped" / "evidence" / "server" / "server.log"
    requests = analyze(log).requests()

    stalled = requests[requests["verdict"] == "warm_stall"]
    assert stalled["line"].tolist() == [683, 1424]


def test_parts_sum_to_the_wall(stall: Analysis) -> None:
    """queue + load + prefill + decode + unexplained = wall, to the clock's precision, on every sample."""
    for folder in sorted(path for path in INCIDENTS.iterdir() if path.is_dir()):
        requests = analyze(folder).requests()
        ran = requests[requests["inference"] & requests["status"].eq("200")]
        parts = ran[["queue_s", "load_s", "prefill_s", "decode_s", "unexplained_s"]].fillna(0)
        apart = (parts.sum(axis=1) - ran["wall_s"]).abs()
        # Above a minute an access line has whole seconds, cut, while the parts come from finer sources.
        allowed = ran["uncertainty_s"] + 0.05 + ran["wall_s"].ge(60)
        assert (apart <= allowed).all(), ran[apart > allowed]
        assert (parts >= -1e-6).all(axis=None)


def test_a_source_that_is_missing_makes_unknown_not_wrong(tmp_path) -> None:
    """Without the client's metrics and the samples, nothing that was right becomes something else than unknown."""
    for folder in (INCIDENTS / name for name in RECORDED):
        full = analyze(folder).requests()
        alone = analyze(folder / "evidence" / "server" / "server.log").requests()
        pair = pd.DataFrame({"full": full["verdict"].tolist(), "alone": alone["verdict"].tolist()})
        changed = pair[(pair["full"] != pair["alone"]) & (pair["alone"] != "unknown")]
        # Half-second walls in whole-second stamps: a queue of a few tenths is not visible from outside.
        assert set(map(tuple, changed.values)) <= {("queue_wait", "warm_ok"), ("warm_ok", "queue_wait")}
