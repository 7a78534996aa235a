"""What stands around a line is taken off, and nothing of the line with it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from warmstall.parse.wrappers import (
    WRAPPERS,
    end_of_whole_lines,
    is_csv_wrapped,
    join_cri_lines,
    join_powershell_lines,
    learned_prefix,
    named,
    prefixes_in,
    unwrap_json,
    unwrap_json_lines,
)

GIN = "[GIN] 2026/11/20 - 20:49:02 | 200 |"
AT = "2026-11-20T20:49:02.1Z"


def names(*lines: str) -> list[str]:
    return [wrapper.name for wrapper in prefixes_in(lines)]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: wrapper.name)
def test_the_sample_of_a_wrapper_is_found_by_it(wrapper):
    assert names(wrapper.sample) == [wrapper.name]
    assert re.sub(wrapper.pattern, "", wrapper.sample).startswith(("[GIN]", "time="))


def test_both_nestings_are_taken_off_from_the_outside():
    assert names(f"ollama-1  | {AT} {GIN}") == ["compose", "docker-timestamps"]
    assert names(f"{AT} ollama-1  | {GIN}") == ["docker-timestamps", "compose"]


def test_a_time_that_stands_before_other_text_is_no_wrapper():
    assert names("2026-11-20 20:49:02 WARNING retrying", "2026-11-20 20:49:02,145 - no") == []


def test_the_usual_nesting_decides_where_lines_differ():
    usual = [f"{AT} ollama-1  | {GIN}"] * 3
    assert names(f"ollama-1  | {AT} {GIN}", *usual) == ["docker-timestamps", "compose"]


def test_colours_do_not_hide_a_wrapper():
    assert names(f"\x1b[36mollama-1  | \x1b[0m{GIN}") == ["compose"]


@pytest.mark.parametrize("line", [GIN, "time=2026-11-20T20:49:02.1Z level=INFO", "slot get_av: id  0 | task -1 | x",
                                  "a | b", "", "Aug 21 18:48:22 box sshd[1]: hello"])  # fmt: skip
def test_a_line_of_ollama_or_a_stranger_is_no_wrapper(line):
    assert names(line) == []


def test_pieces_of_two_streams_are_joined_each_with_its_own():
    lines = [
        f"{AT} stderr P a",
        f"{AT} stdout P x",
        f"{AT} stderr P b",
        f"{AT} stdout F y",
        f"{AT} stderr F c",
        "plain",
    ]
    assert join_cri_lines(lines) == [f"{AT} stderr P abc", f"{AT} stdout P xy", "", "", "", "plain"]


def test_pieces_without_an_end_are_kept():
    assert join_cri_lines([f"{AT} stderr P a", f"{AT} stderr P b"]) == [f"{AT} stderr P ab", ""]


def test_a_block_ends_before_a_line_whose_pieces_go_on():
    whole, open_piece = f"{AT} stderr F a\n".encode(), f"{AT} stderr P b\n".encode()
    assert end_of_whole_lines(whole + open_piece, True) == len(whole)
    assert end_of_whole_lines(whole + open_piece + f"{AT} stdout F x\n".encode(), True) == len(whole)
    assert end_of_whole_lines(whole + open_piece + whole, True) == 2 * len(whole) + len(open_piece)
    assert end_of_whole_lines(b"plain\nhalf", False) == 6
    assert end_of_whole_lines(b"half", False) == 0


@pytest.mark.parametrize("line", ["{", "{}", "[1]", "null", '{"log": 5}', '{"MESSAGE": null}', '{"MESSAGE": [300]}',
                                  '{"MESSAGE": [[1]]}', "plain",
                                  '{"log":' + "[" * 99999])  # fmt: skip
def test_what_is_not_wrapped_comes_back_as_it_is(line):
    assert unwrap_json(line) == (line, None)


@pytest.mark.parametrize("time", ["2026-11-20T20:49:02Z", 1795207742, 1795207742000, "1795207742000000", 1795207742e9])
def test_times_of_json_are_text_or_numbers(time):
    text, at = unwrap_json(json.dumps({"message": "x\n", "timestamp": time}))
    assert (text, datetime.fromisoformat(at)) == ("x", datetime(2026, 11, 20, 20, 49, 2, tzinfo=UTC))


@pytest.mark.parametrize("time", ["never", 9e99, -1, True, [1]])
def test_a_time_that_is_none_costs_only_itself(time):
    text, _ = unwrap_json(json.dumps({"MESSAGE": "x", "__REALTIME_TIMESTAMP": time}))
    assert text == "x"


RECORD = 'time=2026-11-20T20:49:02Z level=INFO msg="a b"'


def test_a_prefix_is_learned_from_records_that_agree():
    days = [f"{day:2} Nov, gpu-{day} > {RECORD}" for day in range(1, 21)]
    (learned,) = learned_prefix([*days, "llama_init: a runner's line"])
    assert {re.sub(learned.pattern, "", line) for line in days} == {RECORD}
    assert named([learned.name, "cri"]) == [learned, next(wrapper for wrapper in WRAPPERS if wrapper.name == "cri")]


@pytest.mark.parametrize("lines", [9 * [RECORD], [f"a {RECORD}", f"b {RECORD}", f"c {RECORD}", f"d {RECORD}"],
                                   2 * [f"a {RECORD}"], 9 * ["llama_init: x"], 9 * [200 * "x" + RECORD]])  # fmt: skip
def test_nothing_is_learned_from_lines_that_do_not(lines):
    assert learned_prefix(lines) == []


def test_the_tag_of_a_runner_is_no_program_of_a_journal():
    """Behind a prefix without the name of the machine."""
    stamp = "Nov 20 20:49:02 ollama[12]: "
    assert prefixes_in([f"{stamp}load_tensors: loading", f"{stamp}{RECORD}"]) == []


def test_rows_of_csv_need_doubled_quotes():
    """A record may quote a comma."""
    assert not is_csv_wrapped([RECORD, 'time=2026-11-20T20:49:02Z msg="," at="time=2026-11-20T20:49:02Z"'])


def test_short_docker_lines_without_a_newline_are_not_pieces():
    texts, _ = unwrap_json_lines(['{"log":"a","stream":"stdout"}', '{"log":"b","stream":"stdout"}'])
    assert texts == ["a", "b"]


def test_powershell_records_are_joined_and_lines_keep_their_numbers():
    lines = ['ollama : time=2026-01-01T00:00:00.000Z level=INFO msg="a ', 'long one"', "At line:1 char:1", GIN]
    joined = join_powershell_lines(lines)
    assert joined == [lines[0] + lines[1], "", *lines[2:]]
