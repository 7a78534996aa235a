"""Columns of clients' tables: known by name, unit and content; what cannot be told stays open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.errors import InputError
from warmstall.parse.trial_columns import recognise, role_named
from warmstall.parse.trial_values import moment, number, seconds, whole

TIMES = st.datetimes(datetime(2001, 9, 10), datetime(2286, 11, 1))


def roles(header: str) -> dict[str, str]:
    return recognise(header.split(",")).of


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            "run_id,status,attempts,claimed_at,completed_at,latency_ms,input_tokens,output_tokens,error,finish_reason",
            {
                "run_id": "run_id", "status": "status", "attempts": "attempts", "started": "claimed_at",
                "ended": "completed_at", "wall": "latency_ms", "prompt_tokens": "input_tokens",
                "output_tokens": "output_tokens", "error": "error", "finish_reason": "finish_reason",
            },
        ),
        ("queued_at,claimed_at,completed_at,model", {"queued_at": "queued_at", "started": "claimed_at",
                                                     "ended": "completed_at", "model": "model"}),
        ("started_at,claimed_at,finished_at,model", {"started": "started_at", "queued_at": "claimed_at",
                                                     "ended": "finished_at", "model": "model"}),
        ("request_id,startTime,endTime,completionStartTime,model,prompt_tokens,completion_tokens,status,spend",
         {"run_id": "request_id", "started": "startTime", "ended": "endTime", "first_token_at": "completionStartTime",
          "model": "model", "prompt_tokens": "prompt_tokens", "output_tokens": "completion_tokens",
          "status": "status"}),
        ("timestamp,wall_time_s,total_time_s,load_time_s,model", {"at": "timestamp", "wall": "wall_time_s",
         "total_duration": "total_time_s", "load_duration": "load_time_s", "model": "model"}),
        ("NP,Gen t/s,TTFT (ms),Mem (MB)", {"tokens_per_s": "Gen t/s", "ttft": "TTFT (ms)"}),
        ("choices.finish_reason,usage.prompt_tokens,request.model,user.id,latency_s",
         {"finish_reason": "choices.finish_reason", "prompt_tokens": "usage.prompt_tokens", "model": "request.model",
          "wall": "latency_s"}),
        ("tokens_per_second,output_tokens_per_second,model", {"tokens_per_s": "output_tokens_per_second",
                                                              "model": "model"}),
    ],
)  # fmt: skip
def test_columns_map_themselves(header: str, expected: dict[str, str]) -> None:
    assert roles(header) == expected
    assert recognise(header.split(",")).is_trials


@pytest.mark.parametrize(
    "header",
    [
        "timestamp,name,utilization.gpu [%],memory.used [MiB]",
        "pid,started,elapsed,command",
        "name,model,size,digest,expires_at",
        "test_id,duration,file",
        "ts,level,msg,duration_ms,model",
        "path,duration_ms,client",
        "host,wall_s,step,outcome",
        "timestamp,level,event,model,duration_ms",
        "host,line,started_at,ended_at,uncertainty_s,wall_s,status,path,model,verdict",
    ],
)
def test_other_tables_are_no_trials(header: str) -> None:
    record = dict.fromkeys(header.split(","), "3")
    assert not recognise(header.split(","), [record]).is_trials


@pytest.mark.parametrize(
    ("column", "cells", "unit_s"),
    [
        ("latency_ms", [850], 1e-3),
        ("duration_sec", [2], 1.0),
        ("elapsed_us", [2_000_000], 1e-6),
        ("took_ns", [2_000_000_000], 1e-9),
        ("latency", [0.85, 3.2], 1.0),
        ("latency", [61.25, 248.4], 1.0),
        ("latency", [8500, 61000], 1e-3),
        ("latency", [850, 640, 900], None),
        ("latency", [8_500_000_000, 640_000_000], 1e-9),
    ],
)
def test_a_latency_has_the_unit_of_its_name_or_of_its_size(column: str, cells: list[Any], unit_s: float | None) -> None:
    found = recognise(["model", column], [{"model": "mid", column: cell} for cell in cells])
    assert found.unit_s["wall"] == unit_s


def test_what_is_assumed_of_a_unit_is_said() -> None:
    assumed = recognise(["model", "latency"], [{"model": "mid", "latency": 61.25}])
    open_ = recognise(["model", "latency"], [{"model": "mid", "latency": 640}])
    named = recognise(["model", "latency_ms"], [{"model": "mid", "latency_ms": 640}])

    assert assumed.notes == ("wall: seconds assumed",)
    assert open_.notes == ("wall: seconds or milliseconds cannot be told apart",)
    assert named.notes == ()


@given(wall_s=st.floats(0.05, 5000), unit_s=st.sampled_from([1.0, 1e-3, 1e-6, 1e-9]), start=TIMES)
@settings(deadline=None)
def test_start_and_end_tell_the_unit_of_a_latency(wall_s: float, unit_s: float, start: datetime) -> None:
    """Whatever its size: 850 is seconds in a call of fourteen minutes and milliseconds in one of a second."""
    record = {
        "start": start.isoformat() + "Z",
        "end": (start + timedelta(seconds=wall_s * 1.01)).isoformat() + "Z",
        "latency": wall_s / unit_s,
        "model": "mid",
    }
    assert recognise(list(record), [record]).unit_s["wall"] == pytest.approx(unit_s)


@given(st.lists(st.integers(10**6, 10**13), min_size=1))
def test_whole_durations_under_the_names_of_the_api_are_nanoseconds(values: list[int]) -> None:
    records = [{"model": "mid", "total_duration": value} for value in values]
    assert recognise(["model", "total_duration"], records).unit_s["total_duration"] == 1e-9


def test_a_time_to_first_token_longer_than_its_call_is_in_a_smaller_unit() -> None:
    found = recognise(["model", "ttft", "latency_s"], [{"model": "mid", "ttft": 640, "latency_s": 3.0}])
    assert found.unit_s["ttft"] == 1e-3


@given(at=TIMES, form=st.sampled_from(["s", "ms", "us", "ns", "float", "text"]))
def test_an_epoch_is_known_by_its_magnitude(at: datetime, form: str) -> None:
    micros = (at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    value = {
        "s": micros // 10**6, "ms": micros // 1000, "us": micros, "ns": micros * 1000,
        "float": micros / 1e6, "text": str(micros // 1000),
    }[form]  # fmt: skip
    found = moment(value)
    assert found is not None
    assert found[1]
    assert abs(found[0] - at) < timedelta(seconds=1 if form == "s" else 0.001)


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_written_times_are_read_with_their_offset_and_known_to_lack_one(at: datetime, minutes: int) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    offset = f"{sign}{size // 60:02}:{size % 60:02}"

    assert moment(at.isoformat(sep=" ")) == (at, False)
    assert moment(at.isoformat() + "Z") == (at, True)
    shifted = at - timedelta(minutes=minutes)
    assert moment(at.isoformat() + offset) in ((shifted, True), None)  # None: pushed out of the years that epochs have


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20 20:49:03,250", (datetime(2026, 11, 20, 20, 49, 3, 250000), False)),
        ("2026-11-20 20:49:03 UTC", (datetime(2026, 11, 20, 20, 49, 3), True)),
        ("2026-11-20 20:49:03.5 +0100 CET m=+0.1", (datetime(2026, 11, 20, 19, 49, 3, 500000), True)),
        ("2026-11-20 20:49:03 CST", (datetime(2026, 11, 20, 20, 49, 3), False)),
        ("2026/11/20 20:49:03", (datetime(2026, 11, 20, 20, 49, 3), False)),
        ("2026-11-20 20:49:03+00", (datetime(2026, 11, 20, 20, 49, 3), True)),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("2026-11-20", None),
        ("20:49:03", None),
        ("20261120", None),
        (True, None),
        (12.5, None),
        (float("nan"), None),
    ],
)
def test_times_as_programs_write_them(text: object, expected: object) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("cell", "unit_s", "expected"),
    [
        ("1m0s", None, 60.0), ("1.5 s", None, 1.5), ("850 ms", 1.0, 0.85), ("0:04:08", None, 248.0),
        ("248", 1.0, 248.0), (" 1,085 ", 1e-3, 1.085), (timedelta(seconds=3), None, 3.0), ("2.00s", None, 2.0),
        ("60 seconds", None, 60.0), (-1, 1.0, None), (1e300, 1.0, None), ("soon", 1.0, None), (True, 1.0, None),
        (10**400, 1.0, None), ("9" * 5000, 1.0, None),
    ],
)  # fmt: skip
def test_durations_in_their_own_unit_or_the_columns(cell: object, unit_s: float | None, expected: float | None) -> None:
    assert seconds(cell, unit_s) == (None if expected is None else pytest.approx(expected))


def test_a_mapping_that_the_user_states_overrides_the_names() -> None:
    columns = ["started_at", "claimed_at", "done", "latency_ms", "t", "model"]
    found = recognise(columns, (), {"started": "claimed_at", "wall_ms": "t"})

    assert (found.of["started"], found.of["wall"], found.unit_s["wall"]) == ("claimed_at", "t", 1e-3)
    assert "latency_ms" not in found.of.values()


def test_roles_go_by_the_names_of_columns_too() -> None:
    assert role_named("completed_at") == ("ended", None)
    assert role_named("eval_count") == ("output_tokens", None)
    assert role_named("ttft_ms") == ("ttft", 1e-3)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"startd": "claimed_at"}, '"startd" is no role of a trial table; the nearest is "started"'),
        ({"started": "claimed"}, 'there is no column "claimed" for started; the nearest is "claimed_at"'),
    ],
)
def test_an_unknown_role_or_column_is_refused_with_the_nearest(mapping: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as refused:
        recognise(["claimed_at", "latency_ms"], (), mapping)
    assert message in str(refused.value)


def test_columns_of_unknown_name_are_start_and_end_when_all_their_cells_are_times() -> None:
    records = [{"go": f"2026-11-20T20:49:0{n}Z", "over": f"2026-11-20T20:49:1{n}Z", "model": "mid"} for n in range(3)]
    assert recognise(["go", "over", "model"], records).of == {"started": "go", "ended": "over", "model": "model"}


def test_a_column_whose_cells_do_not_fit_its_name_is_left() -> None:
    """`time` may be a duration, `completed` a flag."""
    records = [{"time": 1.25, "completed": True, "model": "mid"}]
    assert recognise(["time", "completed", "model"], records).of == {"wall": "time", "model": "model"}


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()),
    st.decimals(), st.datetimes(), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@given(JUNK)
@settings(deadline=None)
def test_no_cell_raises(cell: object) -> None:
    for read in (moment, number, whole, lambda value: seconds(value, 1e-3), lambda value: seconds(value, None)):
        read(cell)


@given(st.lists(st.text(), max_size=8), st.data())
@settings(deadline=None)
def test_no_columns_raise(names: list[str], data: st.DataObject) -> None:
    names += ["model", "latency", "start", "end", "total_duration"]
    record = data.draw(st.fixed_dictionaries(dict.fromkeys(names, JUNK)))
    recognise(list(dict.fromkeys(names)), [record])
