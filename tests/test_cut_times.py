"""The time in front of a slog record is cut from what is stored of its event, and written again when it is read."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.case import write_case
from warmstall.evidence import Evidence
from warmstall.ingest.distinct import each_once
from warmstall.parse.log_events import ANCHORS, EVENTS, event_in

RECORD = 'level=INFO source=images.go:754 msg="total blobs: 14" note="'
DATES = ["2026-11-20", "2026-13-45", "1970-01-01", "0001-01-01", "0999-06-01", "9999-12-30", "9999-12-31"]
CLOCKS = ["21:09:30.417", "21:09:30.000", "21:09:30", "21:09:30.1", "21:09:30.417123456", "21:09:60.417",
          "25:09:30.417", "21:09:30.41.7"]  # fmt: skip
ZONES = ["Z", "+00:00", "-00:00", "+00:30", "-03:30", "+05:45", "-11:00", "+15:59", "+16:00", "+01:60", "+0100", ""]


def read(tmp_path_factory, lines):
    """Events of these lines, as a case shows them."""
    folder = tmp_path_factory.mktemp("cut")
    log = folder / "server.log"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    case = write_case([Evidence(log, "server-log", "box", "server.log")], folder / "case", folder / "case" / "tables")
    return case.sql('SELECT line, key, text, fields, "at" FROM events ORDER BY line').to_dict("records")


def are_shown_as_written(found, lines):
    assert [row["text"] for row in found] == [line[:2000] for line in lines]
    assert [json.loads(row["fields"]) for row in found] == [event_in(line).fields for line in lines]


def test_every_time_is_shown_as_it_was_written(tmp_path_factory):
    lines = [f'time={date}T{clock}{zone} {RECORD}"' for date, clock, zone in product(DATES, CLOCKS, ZONES)]
    are_shown_as_written(read(tmp_path_factory, lines), lines)


def test_a_long_record_is_shown_to_its_2000th_character_and_its_fields_are_read_from_all_of_it(tmp_path_factory):
    lengths = [100, *range(1850, 2050, 7), 15_000]
    lines = [f'time=2026-11-20T21:09:30.417{zone} {RECORD}{letter * length}" last=1'
             for letter, zone, length in product("xµ", ["Z", "+08:00"], lengths)]  # fmt: skip
    are_shown_as_written(read(tmp_path_factory, lines), lines)


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.key)
def test_an_event_is_the_same_without_its_time(row):
    time, _, rest = row.sample.partition(" level=")
    if time.startswith("time="):
        assert event_in("level=" + rest).key == event_in(row.sample).key


def test_no_anchor_reaches_into_the_time_of_a_record():
    for zone in ("Z", "+08:00", "-03:30"):
        head = f"time=2026-11-20T21:09:30.417{zone} level=INFO"
        places = range(len(head) - len("level=INFO"))
        reaching = [anchor for place in places for anchor in ANCHORS if anchor.startswith(head[place:][: len(anchor)])]
        assert reaching == []


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from("ab")))
def test_each_text_is_looked_at_once(texts):
    import polars

    seen = []

    def parse(distinct):
        seen.extend(distinct)
        return distinct.to_frame("text")

    assert each_once(polars.Series(texts, dtype=polars.String), parse)["text"].to_list() == texts
    assert sorted(seen) == sorted(set(texts))
