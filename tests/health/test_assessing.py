"""What a period's evidence amounts to: healthy hours are quiet, and a slope is told before the cliff."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from conftest import INCIDENTS
from warmstall.analysis import Analysis, analyze
from warmstall.health.assessing import assess, status_of
from warmstall.health.conclusion import verdict_of
from warmstall.health.reasons import by_memory, by_signs, status_of_cause
from warmstall.health.records import Exhaustion, HealthReport, Objective, Reason
from warmstall.health.seen_causes import FAILS_REQUESTS
from warmstall.health.signs import Signs, signs_of_life
from warmstall.hypotheses import catalogue
from warmstall.period import within

STALL_AT = datetime(2026, 4, 7, 15, 58, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def apple() -> Analysis:
    return analyze(INCIDENTS / "warm-stall-apple-silicon")


def hour_to(found: Analysis, to_at: datetime, **more: object) -> HealthReport:
    return assess(found, to_at - HOUR, to_at, **more)


def written(folder, name: str, text: str) -> None:
    path = folder / "evidence" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def keys(report: HealthReport) -> set[str]:
    return {one.key for one in report.reasons}


# --- the reference incident


def test_a_healthy_hour_is_healthy_although_two_of_its_requests_were_given_up(apple):
    report = hour_to(apple, datetime(2026, 4, 7, 11, tzinfo=UTC))
    assert report.status == "healthy"
    assert report.reasons == ()
    assert report.sentence == "Healthy: 1,190 requests, 95 % within 6.1 s; 2 failed, within the objective."
    assert len(report.numbers) == 3


def test_memory_is_told_half_an_hour_before_the_stall_when_no_request_has_failed(apple):
    report = hour_to(apple, STALL_AT - timedelta(minutes=28))
    assert report.status in ("degraded", "critical")
    assert "memory:mac" in keys(report)
    assert "memory will be gone in about" in report.sentence
    assert report.numbers[0].text.endswith("none failed")


def test_the_stall_is_critical_and_the_sentence_says_how_many_how_and_why(apple):
    report = hour_to(apple, STALL_AT + timedelta(minutes=2))
    assert report.status == "critical"
    assert report.sentence.startswith("Critical: 47 of 1,041 requests were given up after 60 s (")
    assert {"objective:availability:", "memory:mac", "cause:warm_stall:mac"} <= keys(report)
    assert len(report.sentence) <= 250
    assert {one.change for one in report.causes} == {"new"}

    after = hour_to(apple, STALL_AT + timedelta(minutes=32), previous=verdict_of(report))
    assert {one.id: one.change for one in after.causes}["warm_stall"] == "still"
    assert {one.id: one.change for one in after.causes}["stopping_deadlock"] == "new"


def test_nothing_later_is_known(apple):
    """Memory is taken from all the evidence, and yet not from after the period."""
    report = hour_to(apple, datetime(2026, 4, 7, 15, 5, tzinfo=UTC))
    assert [one.available_bytes for one in report.memory if one.at and one.at > report.to_at] == []
    assert report.status == "healthy"


def test_a_fall_that_nobody_looked_at_since_is_told_as_that(apple):
    """After the restart at 16:21 requests are well; whether memory is, no look tells."""
    report = assess(apple, STALL_AT + timedelta(minutes=32), STALL_AT + timedelta(minutes=62))
    assert report.status == "degraded"
    assert "nobody has looked since" in report.sentence


# --- other incidents


def test_a_stall_that_failed_nothing_is_critical_where_samples_prove_it(stall):
    report = hour_to(stall, stall.newest_at + timedelta(seconds=1))
    assert report.status == "critical"
    assert report.sentence == (
        "Critical: warm stall: 4 % (2 of 47) of the requests stood still with the model in memory."
    )


def test_the_sentence_goes_on_after_a_colon_and_ends_where_a_claim_does():
    """A cause's own sentence is part of it: no capital in the middle, and no words cut off."""
    found = analyze(INCIDENTS / "cpu-by-rocm-mismatch")
    assert "; likely ROCm mismatch: the search for GPUs failed" in hour_to(found, found.newest_at).sentence
    found = analyze(INCIDENTS / "reloads-two-models")
    assert hour_to(found, found.newest_at).sentence.endswith("before its keep_alive had run out: big 4×, mid 4×.")


def test_what_is_beside_the_failures_is_not_told_as_their_cause():
    """Retrieval one after the other makes questions slow; it lets no request be given up."""
    found = analyze(INCIDENTS / "silent-hangs-memlock")
    first = assess(found, datetime(2026, 3, 14, 17, tzinfo=UTC), datetime(2026, 3, 14, 18, tzinfo=UTC))
    assert first.status == "critical"
    assert first.sentence.startswith(
        "Critical: 10 of 40 requests were given up after 60 s (GPU idle but held, likely warm stall)"
    )
    # Two of eighteen are too few for a cause of their own; the stall reaches over from the hour before.
    second = assess(found, first.to_at, first.to_at + HOUR, previous=verdict_of(first))
    assert "2 of 18 requests were given up after 60 s (likely warm stall)" in second.sentence
    assert {one.id: one.change for one in second.causes}["warm_stall"] == "still"
    assert {one.id: one.change for one in second.causes}["embedder_race"] == "gone"
    assert any(one.name == "found" for one in second.drift), "the devices changed at 18:10"


# --- when nothing happens


LISTENING = 'level=INFO source=routes.go:1400 msg="Listening on 127.0.0.1:11434 (version 0.13.5)"'
LOG = f"time=2026-11-20T11:00:00.000Z {LISTENING}\n"


def test_nothing_written_and_nobody_looked_cannot_be_told(tmp_path):
    written(tmp_path, "box/server.log", LOG)
    report = hour_to(analyze(tmp_path), AT + HOUR)
    assert report.status == "could not tell"
    assert keys(report) == {"unseen:box"}
    assert "--collect" in report.sentence


def test_an_idle_night_with_an_answer_is_healthy(tmp_path):
    """A sample of /api/ps shows that the server is there."""
    written(tmp_path, "box/server.log", LOG)
    at = AT.strftime("%Y-%m-%dT%H:%M:%SZ")
    written(tmp_path, "box/ps.jsonl", json.dumps({"at": at, "endpoint": "/api/ps", "status": 200, "models": []}) + "\n")
    report = hour_to(analyze(tmp_path), AT + timedelta(minutes=1))
    assert report.sentence == "Healthy: no request ended in the hour, and the server ran."
    assert report.numbers[0].text == "none ended"


def test_one_of_two_hosts_that_is_silent_is_named(tmp_path):
    written(tmp_path, "alpha/server.log", LOG.replace("11:00:00", "11:30:00"))
    written(tmp_path, "beta/server.log", LOG)
    report = assess(analyze(tmp_path), AT - timedelta(minutes=45), AT)
    assert report.hosts == ("alpha", "beta")
    assert keys(report) == {"unseen:beta"}
    assert "on beta" in report.sentence


def test_what_still_holds_from_before_is_no_sign_of_life(tmp_path):
    """The lines of a start of hours ago are kept in the period, and are no news of it."""
    written(tmp_path, "box/server.log", LOG)
    found = analyze(tmp_path)
    period = within(found, AT + HOUR, AT + 2 * HOUR)
    assert period.versions() == ["0.13.5"]
    assert [one.alive_at for one in signs_of_life(found, period, AT + HOUR)] == [None]


@pytest.mark.parametrize("busy", [False, True])
def test_an_idle_hour_says_that_requests_that_hang_leave_no_line(tmp_path, busy):
    written(tmp_path, "box/server.log", LOG)
    at = AT.strftime("%Y-%m-%dT%H:%M:%SZ")
    body = [{"id": 0, "n_ctx": 4096, "is_processing": busy}]
    look = {"at": at, "endpoint": "http://127.0.0.1:40001/slots", "status": 200, "body": body}
    written(tmp_path, "box/slots.jsonl", json.dumps(look) + "\n")
    report = hour_to(analyze(tmp_path), AT + timedelta(minutes=1))
    (told,) = (text for text in report.not_observed if "one that hangs leaves no line" in text)
    assert ("At 12:00:00 UTC a slot was at work" in told) == busy


def test_an_hour_with_requests_is_not_called_idle(apple):
    report = hour_to(apple, datetime(2026, 4, 7, 11, tzinfo=UTC))
    assert not any("No inference request ended" in text for text in report.not_observed)


# --- the rules, each alone


@pytest.mark.parametrize(
    ("unanswered", "status"), [(0, None), (1, "degraded"), (2, "critical")], ids=["none", "one", "two"]
)
def test_a_server_that_does_not_answer(unanswered, status):
    signs = Signs("box", AT if not unanswered else None, unanswered, AT if unanswered else None, "connection refused")
    found = list(by_signs([signs]))
    assert [one.status for one in found] == ([status] if status else [])


FALLING = Exhaustion("box", "memory", "falling", AT, 4e9, 64e9, -4e9, 3600.0, 3000.0, None, 6, "It falls.")


@pytest.mark.parametrize(
    ("left_s", "looked_at", "status"),
    [(3600.0, AT, "critical"), (7200.0, AT, "critical"), (7300.0, AT, "degraded"), (None, AT, "degraded"),
     (60.0, AT - 2 * HOUR, "degraded")],
)  # fmt: skip
def test_memory_is_critical_when_two_more_reports_would_come_too_late(left_s, looked_at, status):
    one = replace(FALLING, left_s=left_s, at=looked_at)
    found = list(by_memory([one], AT - HOUR, AT, 3600.0, several=False))
    assert [(reason.key, reason.status) for reason in found] == [("memory:box", status)]


def test_time_that_passed_since_the_last_look_is_counted():
    """Of an hour that was left half an hour ago, half an hour is left."""
    one = replace(FALLING, at=AT - timedelta(minutes=30))
    (reason,) = by_memory([one], AT - HOUR, AT, 3600.0, several=False)
    assert "gone in about 30 min" in reason.sentence


def test_a_control_group_is_a_trouble_of_its_own():
    """Its limit may be raised while the machine still runs out: the end of one alert is not that of the other."""
    group = replace(FALLING, left_s=600.0, group="/system.slice/ollama.service")
    found = list(by_memory([FALLING, group], AT - HOUR, AT, 3600.0, several=True))
    assert [reason.key for reason in found] == ["memory:box:/system.slice/ollama.service", "memory:box"]
    assert found[0].sentence.startswith("memory of the control group /system.slice/ollama.service on box will be gone")
    assert "memory of box will be gone in about 60 min" in found[1].sentence


@pytest.mark.parametrize(
    ("state", "severity", "failing", "status"),
    [
        ("confirmed", "info", True, "healthy"),
        ("supported", "warning", True, "degraded"),
        ("confirmed", "warning", False, "degraded"),
        ("supported", "critical", False, "degraded"),
        ("supported", "critical", True, "critical"),
        ("confirmed", "critical", False, "critical"),
        ("ruled_out", "critical", True, "healthy"),
        ("not_observable", "critical", True, "healthy"),
    ],
)
def test_what_a_cause_makes_of_the_status(state, severity, failing, status):
    assert status_of_cause(state, severity, failing) == status


def test_what_could_not_be_told_hides_no_trouble():
    unseen, trouble = Reason("unseen:a", "could not tell", ""), Reason("memory:b", "degraded", "")
    assert status_of([unseen]) == "could not tell"
    assert status_of([unseen, trouble]) == "degraded"


def test_causes_of_failures_are_pages():
    assert set(FAILS_REQUESTS) <= set(catalogue())


def test_objectives_are_what_the_operator_says(stall):
    """The same hour, held against a promise that it breaks."""
    objectives = [Objective("wall_p50_s", 0.001, "at most")]
    report = hour_to(stall, stall.newest_at + timedelta(seconds=1), objectives=objectives)
    assert "objective:wall_p50_s:" in keys(report)


def test_keys_name_the_trouble_and_not_its_numbers(apple):
    """The next report of the same trouble is the same alert."""
    one, other = (hour_to(apple, STALL_AT + timedelta(minutes=minutes)) for minutes in (2, 12))
    assert keys(one) <= keys(other)
    assert not any(character.isdigit() for key in keys(other) for character in key.replace("wall_p95_s", ""))
