"""Who was left by its client: told by the runner's line beside the access line, or by the time that several share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.made import ZERO, columns, request
from warmstall.analysis import analyze
from warmstall.judging.endings import _FOLLOWING, _coming_next

LEFT = 'msg="aborting completion request due to client closing the connection"'


def answered(at: str, wall: str, status: int = 200) -> str:
    return f'[GIN] 2025/03/17 - {at} | {status} | {wall:>12} |     192.168.1.3 | POST     "/api/chat"'


def aborted(at: str) -> str:
    return f"time=2025-03-17T{at}Z level=INFO source=runner.go:654 {LEFT}"


def judged(tmp_path: Path, *lines: str) -> list[tuple[str, str]]:
    """Verdict and reason of each request."""
    log = tmp_path / "server.log"
    log.write_text("\n".join(lines) + "\n")
    found = analyze(log).requests()
    return list(zip(found["verdict"], found["reason"], strict=True))


@pytest.mark.parametrize("runner_first", [True, False])
def test_runner_and_server_write_in_either_order(tmp_path: Path, runner_first: bool) -> None:
    """A stream keeps its status of 200 when its client leaves; the runner's line stands before it or after it."""
    ends = [f"07:{minute:02}:10" for minute in range(10, 16)]
    pairs = [[aborted(f"{end}.300"), answered(end, "42.5s")] for end in ends]
    found = judged(tmp_path, *(line for pair in pairs for line in (pair if runner_first else pair[::-1])))

    assert [verdict for verdict, _ in found] == ["client_abort"] * 6


def test_who_left_while_held_back_is_told_from_who_may_have_been_served(tmp_path: Path) -> None:
    """Only a request that waits for a slot has such a line; of two that failed together it names neither."""
    one = judged(tmp_path, aborted("07:10:10.300"), answered("07:10:10", "5m0s", 500))
    two = judged(
        tmp_path, aborted("07:10:10.300"), answered("07:10:10", "5m0s", 500), answered("07:10:10", "5m1s", 500)
    )

    assert [verdict for verdict, _ in one + two] == ["client_abort"] * 3
    assert ["waited for a slot" in reason for _, reason in one + two] == [True, False, False]


def test_who_was_cut_by_a_stop_of_the_server_was_not_left(tmp_path: Path) -> None:
    """Somebody restarts a server because a request hangs: its 500 is no client's, and who was done before is well."""
    journal = "Mar 17 00:{} box {}: {}".format
    usual = [journal(f"0{n}:10", "ollama[7]", answered(f"00:0{n}:10", "12.5s")) for n in range(5)]
    listening = 'level=INFO source=routes.go:1205 msg="Listening on 127.0.0.1:11434 (version 0.6.2)"'
    found = judged(
        tmp_path,
        journal("00:05", "ollama[7]", f"time=2025-03-17T00:00:05.100Z {listening}"),
        *usual,
        journal("40:01", "ollama[7]", answered("00:40:01", "11.5s")),
        journal("40:02", "systemd[1]", "Stopping Ollama Service..."),
        journal("40:02", "ollama[7]", answered("00:40:02", "32m31s", 500)),
        journal("40:03", "systemd[1]", "Stopped Ollama Service."),
    )

    assert [verdict for verdict, _ in found] == ["warm_ok"] * 6 + ["unknown"]
    assert "where 12.5 s is usual (median of 6), as the server was stopped (line 8)" in found[-1][1]


CRASHED = "/go/src/ollama/ggml-cuda.cu:101: CUDA error"


@pytest.mark.parametrize(
    "recorded_next", [[], [f"time=2025-03-17T09:00:00.000Z level=INFO source=server.go:99 {LEFT}"]]
)
def test_a_crash_long_after_the_last_record_is_that_of_the_next_to_fail(
    tmp_path: Path, recorded_next: list[str]
) -> None:
    """The server records loads and little else: between them only access lines tell when a dump was written."""
    loaded = 'time=2025-03-17T07:00:00.000Z level=INFO source=server.go:596 msg="llama runner started in 2.00 seconds"'
    found = judged(
        tmp_path, loaded, answered("07:10:10", "12.5s"), CRASHED, answered("07:30:10", "5m0s", 500), *recorded_next
    )

    assert [verdict for verdict, _ in found][1:] == ["runner_crash"]
    assert "(line 3)" in found[1][1]


def test_a_crash_after_which_another_record_stands_ended_nothing_that_came_later(tmp_path: Path) -> None:
    loaded = 'time=2025-03-17T{}Z level=INFO source=server.go:596 msg="llama runner started in 2.00 seconds"'.format
    found = judged(
        tmp_path, loaded("07:00:00.000"), answered("07:10:10", "12.5s"), CRASHED, loaded("07:12:00.000"),
        answered("07:30:10", "5m0s", 500),
    )  # fmt: skip

    assert "runner_crash" not in [verdict for verdict, _ in found]


def test_an_embedding_whose_client_left_was_not_refused(tmp_path: Path) -> None:
    """It is answered with 400, as one is whose input is wrong; but that takes no minute."""
    lines = [
        line.replace("chat", "embed") for line in (answered("07:10:10", "1m0s", 400), answered("07:20:00", "9ms", 400))
    ]
    found = judged(tmp_path, aborted("07:10:10.300").replace("completion", "embedding"), *lines)

    assert [verdict for verdict, _ in found] == ["client_abort", "rejected"]


def test_of_two_that_may_have_been_left_neither_is_named(tmp_path: Path) -> None:
    """One of these was just done: which of them, the log does not say."""
    found = judged(
        tmp_path,
        answered("07:10:10", "5.5s"),
        aborted("07:10:10.400"),
        answered("07:10:10", "9.5s"),
        aborted("07:11:00.1"),
    )

    assert "client_abort" not in [verdict for verdict, _ in found]


def test_what_was_cut_short_does_not_tell_what_is_usual(tmp_path: Path) -> None:
    """Four answers that nobody waited for, and one that came: five, but of only one the length is known."""
    cut = [
        line
        for minute in range(4)
        for line in (aborted(f"07:{minute:02}:10.3"), answered(f"07:{minute:02}:10", "42.5s"))
    ]
    found = judged(tmp_path, *cut, answered("07:09:00", "41.5s"))

    assert found[-1][0] == "unknown"
    assert "too few requests like it" in found[-1][1]


@pytest.mark.parametrize(
    ("walls", "timeout_s"),
    [
        (["29m59s", "30m0s", "29m59s"], 1800),
        (["10m0s", "10m0s"], 600),
        (["29m59s", "29m59s"], None),
        (["29m58s", "30m1s", "29m59s"], None),
    ],
)
def test_a_timeout_above_a_minute_is_known_to_the_second(
    tmp_path: Path, walls: list[str], timeout_s: int | None
) -> None:
    """The log cuts fractions off, and a client's clock starts before the server's: 29m59s may be half an hour."""
    found = judged(tmp_path, *(answered(f"{10 + hour}:00:00", wall, 500) for hour, wall in enumerate(walls)))

    for verdict, reason in found:
        assert (verdict, f"timeout of {timeout_s} s" in reason) == (
            ("client_abort", True) if timeout_s else ("unknown", False)
        )


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=120),
    st.lists(st.integers(-5, 80), min_size=1, max_size=4),
)
def test_those_that_come_next_are_among_a_few(spans: list[tuple[int, int]], times: list[int]) -> None:
    """As a sort of all requests has them: by start, then by line."""
    requests = columns([request(row, start, wall_s) for row, (start, wall_s) in enumerate(spans)])
    from_at = ZERO + np.array(times, dtype=float)

    order, starts = _coming_next(requests, from_at)

    by_start = np.lexsort((np.arange(len(spans)), requests.started()))
    for at in from_at:
        first, first_of_all = np.searchsorted(starts, at), np.searchsorted(requests.started()[by_start], at)
        expected = by_start[first_of_all : first_of_all + _FOLLOWING]
        assert order[first : first + len(expected)].tolist() == expected.tolist()


DUMP = "SIGSEGV: segmentation violation"
STAMP = "time=2025-03-17T{}Z level=INFO source=sched.go:473 msg=loaded"


def test_access_lines_around_a_dump_tell_when_it_was_written(tmp_path: Path) -> None:
    """A dump has no time of its own, and the stamp before it may be minutes old: the failure behind it is its."""
    usual = [answered(f"07:{minute}:10", "9.5s") for minute in range(10, 16)]
    found = judged(tmp_path, STAMP.format("07:00:00.100"), *usual, DUMP, answered("07:16:10", "12.5s", 500))

    assert [verdict for verdict, _ in found] == ["warm_ok"] * 6 + ["runner_crash"]
    assert found[-1][1].startswith("the runner died under it (line 8): SIGSEGV")


def test_who_was_answered_long_after_a_dump_did_not_lose_the_runner(tmp_path: Path) -> None:
    usual = [answered(f"07:{minute}:10", "9.5s") for minute in range(10, 16)]
    late = answered("07:26:10", "9.5s")
    found = judged(tmp_path, STAMP.format("07:00:00.100"), *usual, DUMP, late, answered("07:27:10", "9.5s", 500))

    assert "runner_crash" not in [verdict for verdict, _ in found]
