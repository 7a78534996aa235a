"""Trials that were sent several times: their attempts, the waits between them, and what cannot be told."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstall.analysis import analyze
from warmstall.answer import answer
from warmstall.attempts import distinct_trials, likely_attempts, match_attempts, split_trial
from warmstall.matching import Request, epoch

START = datetime(2026, 1, 1)
ZERO = epoch(START)


def request(
    start: float, wall_s: float, status: str = "500", unsure_s: float = 0.0, row: int = 0, model: str = "",
    path: str = "/api/chat",
) -> Request:  # fmt: skip
    begin, end = ZERO + start, ZERO + start + wall_s
    return Request(
        row, "box", "server.log", row + 1, status, path, wall_s, begin - unsure_s, begin + unsure_s, end - unsure_s,
        end + unsure_s, True, False, model=model,
    )  # fmt: skip


def trial(start: float, wall_s: float, **more: Any) -> dict[str, Any]:
    return {
        "host": "box", "started_at": START + timedelta(seconds=start),
        "ended_at": START + timedelta(seconds=start + wall_s), "wall_s": wall_s, "model": "mid", "path": "/api/chat",
        "status": "", **more,
    }  # fmt: skip


def shape(split: Any) -> list[tuple[str, float, str]]:
    return [(part.kind, round(part.wall_s, 3), part.status) for part in split.parts]


# Parts


def test_four_attempts_and_their_waits_are_not_one_slow_answer() -> None:
    sent = [request(0, 60), request(61, 60), request(123, 60), request(187, 60), request(251, 17, "200")]
    split = split_trial(trial(0, 268, timeout_s=60), sent)

    assert shape(split) == [
        ("attempt", 60, "500"), ("wait", 1, ""), ("attempt", 60, "500"), ("wait", 2, ""), ("attempt", 60, "500"),
        ("wait", 4, ""), ("attempt", 60, "500"), ("wait", 4, ""), ("attempt", 17, "200"),
    ]  # fmt: skip
    assert [part.attempt for part in split.attempts] == [1, 2, 3, 4, 5]
    assert split.seconds("wait") == pytest.approx(11)


def test_an_attempt_that_the_server_went_on_with_ends_when_the_client_gave_up() -> None:
    """The runner stood still: its line came 200 s after the client had closed the connection."""
    one, two = split_trial(trial(0, 121, timeout_s=60), [request(0, 260), request(60.5, 60.5)]).attempts

    assert (one.wall_s, two.wall_s) == (60, pytest.approx(60.5))
    assert one.note == "the server ended it 200.0 s after the client's timeout had passed"
    assert two.note == ""


def test_without_a_timeout_a_late_line_ends_at_the_next_attempt() -> None:
    split = split_trial(trial(0, 121), [request(0, 260), request(60.5, 60.5)])
    assert shape(split) == [("attempt", 60.5, "500"), ("attempt", 60.5, "500")]
    assert "after the next attempt had begun" in split.parts[0].note


def test_a_request_that_never_ended_in_time_ends_with_its_trial() -> None:
    (part,) = split_trial(trial(0, 30), [request(0.2, 400)]).parts
    assert (part.kind, part.wall_s) == ("attempt", 30)
    assert part.note == "the server ended it 370.2 s after the client had given up"


@pytest.mark.parametrize(
    ("sent", "kinds"),
    [
        ([request(61, 60), request(122, 60)], "awawa"),
        ([request(0, 60), request(122, 60)], "awawa"),
        ([request(0, 60), request(61, 60)], "awawa"),
        ([], "awawa"),
    ],
    ids=["first", "second", "last", "all"],
)
def test_where_a_gap_holds_a_timeout_it_holds_an_attempt_that_was_not_logged(sent: list[Request], kinds: str) -> None:
    """What waits for a runner and is given up leaves no line in the log."""
    split = split_trial(trial(0, 182, timeout_s=60), sent)

    assert "".join(part.kind[0] for part in split.parts) == kinds
    unlogged = [part for part in split.attempts if part.request is None]
    assert len(unlogged) == 3 - len(sent)
    assert all(part.note == "the server logged no such request" and part.status == "" for part in unlogged)
    assert all(part.plus_minus_s > 0 for part in unlogged)
    assert split.seconds("attempt") == pytest.approx(180, abs=1)


def test_attempts_are_not_invented_beyond_the_clients_count() -> None:
    split = split_trial(trial(0, 182, timeout_s=60, attempts=1), [])
    assert shape(split) == [("unexplained", 182, "")]


def test_what_nothing_explains_is_said() -> None:
    assert shape(split_trial(trial(0, 45, timeout_s=60), [])) == [("unexplained", 45, "")]
    assert shape(split_trial(trial(0, 300), [request(100, 20, "200")])) == [
        ("unexplained", 100, ""), ("attempt", 20, "200"), ("unexplained", 180, ""),
    ]  # fmt: skip
    assert [part.kind for part in split_trial(trial(0, 300), [request(0, 20), request(200, 100)]).parts] == [
        "attempt", "unexplained", "attempt",
    ]  # fmt: skip


def test_the_way_to_the_server_and_back_belongs_to_the_attempt() -> None:
    assert shape(split_trial(trial(0, 10), [request(0.4, 9.3, "200")])) == [("attempt", 10, "200")]


def test_how_sure_the_bounds_are_is_carried() -> None:
    split = split_trial(trial(0, 10), [request(0.0, 10, "200", unsure_s=0.5)], clock=(0.0, 0.25))
    assert split.parts[0].plus_minus_s == 0.75


def test_a_clock_that_is_off_is_set_right() -> None:
    split = split_trial(trial(-3600, 10), [request(0, 10, "200")], clock=(3600.0, 0.1))
    assert shape(split) == [("attempt", 10, "200")]


SPANS = st.lists(
    st.tuples(st.floats(-50, 400), st.floats(0, 300), st.sampled_from(["200", "499", "500", "503"])), max_size=8
)


@given(
    SPANS, st.floats(0, 500), st.one_of(st.none(), st.floats(1e-6, 200)), st.one_of(st.none(), st.integers(1, 2**62))
)
def test_the_parts_always_add_up_to_the_trial(
    spans: list[tuple[float, float, str]], wall_s: float, timeout_s: float | None, attempts: int | None
) -> None:
    whole = trial(0, wall_s, timeout_s=timeout_s, attempts=attempts)
    split = split_trial(whole, [request(*span) for span in spans])
    begin, end = epoch(whole["started_at"]), epoch(whole["ended_at"])

    assert sum(part.wall_s for part in split.parts) == pytest.approx(end - begin, abs=1e-5)
    bounds = [begin, *(part.to_at for part in split.parts)]
    assert [part.from_at for part in split.parts] == bounds[:-1]
    assert bounds == sorted(bounds)
    logged = [part.request for part in split.parts if part.request]
    assert len(logged) == len(spans)


@given(st.lists(st.floats(0.3, 8.0), max_size=4), st.floats(20, 120), st.floats(0.5, 15), st.data())
def test_what_a_client_did_is_found_again(
    waits: list[float], timeout_s: float, last_s: float, data: st.DataObject
) -> None:
    """Attempts that time out, each followed by a wait, then an answer; the server's lines may come late."""
    sent, at = [], 0.0
    for wait_s in waits:
        late_s = data.draw(st.sampled_from([0.0, 0.01, 30.0, 500.0]))
        sent.append(request(at, timeout_s + late_s))
        at += timeout_s + wait_s
    sent.append(request(at, last_s, "200"))
    split = split_trial(trial(0, at + last_s, timeout_s=timeout_s), data.draw(st.permutations(sent)))

    assert [part.wall_s for part in split.attempts] == pytest.approx([timeout_s] * len(waits) + [last_s], abs=1e-4)
    assert [part.wall_s for part in split.parts if part.kind == "wait"] == pytest.approx(waits, abs=1e-4)
    assert split.seconds("unexplained") == 0


# Without a log


@pytest.mark.parametrize(
    ("wall_s", "timeout_s", "retries", "expected"),
    [
        (248, 60, 3, (4, 4, 8)),
        (248, 60, None, (4, 5, 8)),
        (240.5, 60, 3, (4, 4, 0.5)),
        (185, 60, 3, (3, 4, 5)),
        (200, 60, 3, (4, 4, None)),
        (121.2, 60, 2, (2, 3, pytest.approx(1.2))),
        (360, 120, 2, (3, 3, 0)),
        (60.4, 60, 3, None),
        (45, 60, 3, None),
        (248, 60, 0, None),
        (900, 60, 3, None),
        (248, None, 3, None),
        (248, 0, 3, None),
        (float("inf"), 60, 3, None),
    ],
)
def test_how_many_attempts_a_wall_holds(
    wall_s: float, timeout_s: float | None, retries: int | None, expected: tuple[int, int, object] | None
) -> None:
    found = likely_attempts(wall_s, timeout_s, retries)
    assert (found and (found.fewest, found.most, found.waits_s)) == expected


def test_the_count_is_said_in_a_sentence() -> None:
    sentences = [found.sentence for wall_s in (248, 200) if (found := likely_attempts(wall_s, 60, 3))]
    assert sentences == ["4 attempts, 4 × 60 s and 8 s of waiting", "4 attempts of at most 60 s"]


@given(st.integers(0, 3), st.floats(5, 600), st.floats(0.2, 4.0), st.floats(0.1, 1.0), st.floats(0.75, 1.0))
def test_what_clients_really_do_is_always_among_the_counts(
    timeouts: int, timeout_s: float, first_wait_s: float, share: float, jitter: float
) -> None:
    """Waits double and are cut by up to a quarter, as the SDKs' are; the last attempt is answered in time."""
    waits_s = sum(min(first_wait_s * 2**n, 8.0) * jitter for n in range(timeouts))
    wall_s = timeouts * timeout_s + waits_s + share * timeout_s
    found = likely_attempts(wall_s, timeout_s, retries=3)
    if found is None:
        assert wall_s <= timeout_s + 1
    else:
        assert found.fewest <= timeouts + 1 <= found.most


# Whose requests


def test_the_requests_within_a_trial_are_its_attempts() -> None:
    sent = [request(0, 60, row=0), request(61, 60, row=1), request(123, 9, "200", row=2)]
    (split,) = match_attempts(sent, [trial(0, 132, timeout_s=60)])

    assert split.doubt == ""
    assert [part.request for part in split.attempts] == sent
    assert all(one.trial is None for one in sent)


def test_requests_of_others_are_not_taken() -> None:
    other = request(62, 3, "200", row=4)
    other.trial = trial(62, 3)
    sent = [
        request(0, 60, row=0), request(10, 5, "200", row=1, path="/api/embed"),
        request(20, 5, "200", row=2, model="big"), other, request(61, 60, row=5, model="mid:latest"),
        request(500, 5, row=6),
    ]  # fmt: skip
    ping = request(30, 1, "200", row=3, path="/api/ps")
    ping.inference = False
    (split,) = match_attempts([*sent, ping], [trial(0, 121)])

    assert split.doubt == ""
    assert [part.request.row for part in split.attempts if part.request] == [0, 5]


def test_trials_that_follow_one_another_keep_their_own() -> None:
    """The next trial's request begins as this one ends, within what the log's whole seconds allow."""
    sent = [request(0, 60, row=0, unsure_s=0.5), request(61, 60, row=1, unsure_s=0.5),
            request(121.3, 60, row=2, unsure_s=0.5), request(183, 5, "200", row=3, unsure_s=0.5)]  # fmt: skip
    splits = match_attempts(sent, [trial(0, 121), trial(121.2, 67)])

    assert [split.doubt for split in splits] == ["", ""]
    assert [[part.request.row for part in split.attempts if part.request] for split in splits] == [[0, 1], [2, 3]]


def test_where_two_trials_overlap_it_cannot_be_told_whose_requests_they_are() -> None:
    sent = [request(0, 60, row=0), request(20, 60, row=1), request(61, 60, row=2), request(81, 60, row=3)]
    splits = match_attempts(sent, [trial(0, 121), trial(20, 121)])

    assert all(split.doubt.startswith("cannot tell: ") for split in splits)
    assert "another trial's" in splits[0].doubt
    assert [shape(split) for split in splits] == [[("unexplained", 121, "")]] * 2


def test_models_and_paths_tell_overlapping_trials_apart() -> None:
    starts = ((0, "mid"), (20, "big"), (61, "mid"), (81, "big"))
    sent = [request(at, 60, row=row, model=model) for row, (at, model) in enumerate(starts)]
    splits = match_attempts(sent, [trial(0, 121), trial(20, 121, model="big:latest")])
    assert [[part.request.row for part in split.attempts if part.request] for split in splits] == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("sent", "more", "reason"),
    [
        ([request(0, 60, "200"), request(30, 60, "200", row=1)], {}, "side by side"),
        ([request(0, 20, "200"), request(30, 60, "200", row=1)], {}, "was answered, and another followed"),
        ([request(0, 30), request(31, 30, row=1), request(62, 30, row=2)], {"attempts": 2}, "it was sent 2 times"),
    ],
)
def test_requests_that_one_client_would_not_send_are_not_attempts(
    sent: list[Request], more: dict[str, Any], reason: str
) -> None:
    (split,) = match_attempts(sent, [trial(0, 100, **more)])
    assert reason in split.doubt


def test_an_answer_of_the_length_of_the_timeout_is_a_stream_that_was_given_up() -> None:
    sent = [request(0, 60, "200"), request(61, 30, "200", row=1)]
    assert match_attempts(sent, [trial(0, 91, timeout_s=60)])[0].doubt == ""
    assert match_attempts(sent, [trial(0, 91, attempts=2)])[0].doubt == ""


def test_requests_of_several_clients_are_not_one_trials() -> None:
    sent = [request(0, 60, row=0), request(61, 60, row=1)]
    (same,) = match_attempts(sent, [trial(0, 121)], clients={0: "203.0.113.5", 1: "203.0.113.5"})
    (other,) = match_attempts(sent, [trial(0, 121)], clients={0: "203.0.113.5", 1: "203.0.113.6"})
    assert (same.doubt, other.doubt) == ("", "cannot tell: the requests in its span come from several clients")


def test_clocks_say_which_hosts_can_be_compared() -> None:
    sent, called = [request(0, 60), request(61, 60, row=1)], trial(-3600, 121, host="laptop")
    (apart,) = match_attempts(sent, [called], clocks={})
    (near,) = match_attempts(sent, [called], clocks={("laptop", "box"): (3600.0, 0.01)})
    assert (len(apart.attempts), len(near.attempts)) == (0, 2)


def test_trials_without_times_are_left_out() -> None:
    assert match_attempts([request(0, 5)], [trial(0, 5) | {"started_at": None}, trial(0, 5) | {"ended_at": None}]) == []


@given(SPANS, SPANS)
def test_no_request_is_given_to_two_trials(
    spans: list[tuple[float, float, str]], calls: list[tuple[float, float, str]]
) -> None:
    sent = [request(*span, row=row) for row, span in enumerate(spans)]
    splits = match_attempts(sent, [trial(start, wall_s) for start, wall_s, _ in calls])
    taken = [part.request.row for split in splits for part in split.parts if part.request]
    assert len(taken) == len(set(taken))


# Copies


def test_a_call_that_several_files_tell_of_is_one() -> None:
    table = [
        trial(0, 5, source="trials.csv", eval_count=12, status="200"),
        trial(9, 5, source="trials.csv", status="200"),
    ]
    labels = [trial(0, 5, source="labels.csv", model="", status="200"), trial(30, 5, source="labels.csv", status="200")]
    assert distinct_trials(labels + table) == [labels[1], table[0], table[1]]


def test_calls_of_one_file_are_never_merged() -> None:
    twins = [trial(0, 5, source="trials.csv"), trial(0, 5, source="trials.csv")]
    untimed = [trial(0, 5, source=name) | {"started_at": None} for name in ("a.csv", "b.csv")]
    assert distinct_trials(twins + untimed) == twins + untimed


def test_a_call_with_three_retries_is_no_slow_generation(tmp_path: Path) -> None:
    """248 s for the client: four attempts of a minute each, as the server's log shows, and the waits between them."""
    slog = (
        'time=2026-11-21T09:00:00.000Z level=INFO source=routes.go:1 msg="Listening on 127.0.0.1:1 (version 0.13.5)"\n'
    )
    ends = ("09:01:00", "09:02:02", "09:03:06", "09:04:08")
    lines = [f'[GIN] 2026/11/21 - {end} | {status} |      59.9s |       127.0.0.1 | POST     "/api/chat"\n'
             for end, status in zip(ends, (500, 500, 500, 200), strict=True)]  # fmt: skip
    (tmp_path / "server.log").write_text(slog + "".join(lines))
    (tmp_path / "calls.csv").write_text(
        "run_id,status,attempts,claimed_at,completed_at,latency_ms,input_tokens,output_tokens,error,finish_reason\n"
        "r1,completed,4,2026-11-21T09:00:00.2Z,2026-11-21T09:04:08.4Z,248200,20,300,,stop\n"
    )
    found = analyze(tmp_path)
    parts = found.attempts()
    assert parts.part_s.sum() == pytest.approx(248.2)
    attempts = parts[parts.part == "attempt"]
    assert attempts.status.tolist() == ["500", "500", "500", "200"]
    assert attempts.part_s.tolist() == pytest.approx([59.9] * 4, abs=1.5)
    assert found.requests()["flags"].str.split().map(lambda flags: "retried" in flags).all()
    assert "1 call of the client was several attempts (one of 248.2 s held 4)" in answer(found)
    assert found.unmatched_trials == []
