"""Events of servers from the files of their table: times, fields and order are those that the case's view tells."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from warmstall.case import Case, Period, open_case
from warmstall.server_events import events_of, server_events
from warmstall.timeline import KEPT_KEYS, USED_KEYS, Event, build_timeline

START = datetime(2026, 1, 1)
SPAWN = 'time={at}Z level=INFO source=a.go:1 msg="starting runner" cmd="/usr/bin/ollama runner --model {blob}"'
FAILED = 'time={at}+05:30 level=ERROR source=a.go:1 msg="error loading llama server" error="{error}"'


def test_lines_before_the_first_stamp_take_the_first_time_that_is_known() -> None:
    """Events come as a stream: those without a time wait for it, and keep their order."""
    row = {"key": "loading_model", "text": "loading model"}
    rows = [row | {"line": 1}, row | {"line": 2, "after_at": START + timedelta(seconds=1)},
            row | {"line": 3, "at": START + timedelta(seconds=5)}, row | {"line": 4}]  # fmt: skip
    times = [START + timedelta(seconds=second) for second in (5, 1, 5, 5)]

    def told(*parts: list[dict[str, object]]) -> list[tuple[int, datetime | None]]:
        return [(event.line, event.at) for event in events_of(batch(part) for part in parts)]

    assert told(rows) == list(enumerate(times, 1))
    assert told(rows[:1], rows[1:2], rows[2:]) == told(rows)
    assert told(rows[:1]) == [(1, None)]
    # A line that tells nothing of its own tells the time.
    assert told([rows[0], rows[2] | {"key": "ls_idle"}]) == [(1, times[2])]


def test_fields_are_read_from_the_line_but_for_a_line_that_is_cut() -> None:
    """Of a cut line the table tells them, or all of it that was not shown; whether its time was cut off is all one."""
    record = 'level=INFO msg="loaded runners" count='
    timed = {"key": "runners_loaded", "at": START, "offset_s": 0}
    long = " pad=" + "x" * 2000
    rows = [timed | {"text": record + "2"}, timed | {"text": record + '"2"'},
            timed | {"text": f"time=2026-01-01T00:00:00.000Z {record}5", "offset_s": None},
            timed | {"text": (record + "7" + long)[:2000], "fields": '{"count": "8"}'},
            timed | {"text": (long + record)[:2000], "anchor": 'msg="loaded runners"',
                     "whole_text": long + record + "9"}]  # fmt: skip

    found = list(events_of([batch([row | {"line": line} for line, row in enumerate(rows, 1)])]))

    assert [event.fields["count"] for event in found] == ["2", "2", "5", "8", "9"]


def test_of_lines_that_name_one_runner_alike_the_first_and_the_last_tell() -> None:
    """What was said between them is followed by the last; where no file is named, the order of all of them counts."""
    line = 'level=DEBUG msg="context for request finished" runner.name={name}'
    names = [line.format(name=f"{name} runner.model=/m/{name[0]}") for name in ("a", "a", "b", "a2", "a", "a", "b")]
    rows = [{"key": "req_ctx_done", "text": text, "at": START, "offset_s": 0, "tells": True}
            for text in [*names, line.format(name="c"), line.format(name="c"), line.format(name="c")]]  # fmt: skip

    found = list(events_of([batch([row | {"line": number} for number, row in enumerate(rows, 1)])]))

    assert [event.line for event in found] == [1, 3, 4, 6, 7, 8, 9, 10]
    assert build_timeline(found).names == {"a": "a", "b": "b", "": "c"}


@pytest.mark.parametrize("rotated", [False, True])
def test_events_are_those_of_the_view(tmp_path: Path, rotated: bool) -> None:
    """What DuckDB tells by writing each line again: fields, and the text of those that are kept."""
    lines = []
    for second in range(40):
        at = (START + timedelta(seconds=second)).isoformat(timespec="milliseconds")
        error = "timed out waiting for llama runner" + ' \\"quoted\\" ü' * (second % 4) * 60
        lines += [SPAWN.format(at=at, blob=f"/m/sha256-{second % 3}" + "a" * 63), FAILED.format(at=at, error=error)]
    parts = {"server-1.log": lines[:30], "server.log": lines[30:]} if rotated else {"server.log": lines}
    for name, own in parts.items():
        (tmp_path / name).write_text("\n".join(own) + "\n", encoding="utf-8")
    case = open_case(tmp_path)

    found = events(case)

    view = case.rows("events", f"key IN {tuple(USED_KEYS)}")
    assert view
    assert [(event.source, event.line, event.key, event.at) for event in found] == [
        (row["source"], row["line"], row["key"], row["at"] or row["before_at"]) for row in view
    ]
    told = [{name: value for name, value in json.loads(row["fields"]).items() if name != "time"} for row in view]
    assert [{name: value for name, value in event.fields.items() if name != "time"} for event in found] == told
    kept = {event.line: event.text for event in found if event.source.endswith("server.log") and event.key in KEPT_KEYS}
    assert kept == {row["line"]: row["text"] for row in view if row["line"] in kept and row["source"] == "server.log"}


def test_a_period_keeps_what_still_holds_in_it(tmp_path: Path) -> None:
    """As in the views of the narrowed case: what was written in it, and stretches of lines from before."""
    log = tmp_path / "server.log"
    lines = [SPAWN.format(at=(START + timedelta(seconds=second)).isoformat(timespec="milliseconds"), blob="/m/a")
             for second in range(9)]  # fmt: skip
    log.write_text("\n".join(lines) + "\n")
    case = open_case(log)
    source = case.accounts[0]["path"]
    period = Period(START + timedelta(seconds=4), START + timedelta(seconds=6), ((source, 2, 3),))

    assert [event.line for event in events(case.narrowed(period))] == [2, 3, 6, 7]


def events(case: Case) -> list[Event]:
    """The events of all logs of a case, log by log."""
    sources = [account["path"] for account in case.accounts]
    found = {source: [batch for of, batch in server_events(case, sources) if of == source] for source in sources}
    return [event for batches in found.values() for event in events_of(batches)]


def batch(rows: list[dict[str, object]]) -> pa.RecordBatch:
    """Rows as `server_events` gives them."""
    kinds = {"line": pa.int64(), "offset_s": pa.int32(), "tells": pa.bool_(),
             **dict.fromkeys(("at", "before_at", "after_at"), pa.timestamp("us")),
             **dict.fromkeys(("host", "source", "key", "text", "anchor", "whole_text", "fields"),
                             pa.dictionary(pa.int32(), pa.string()))}  # fmt: skip
    row = dict.fromkeys(kinds) | {"host": "box", "source": "server.log"}
    told = [row | {"tells": one["key"] in USED_KEYS} | one for one in rows]
    return pa.RecordBatch.from_pylist(told, pa.schema(list(kinds.items())))
