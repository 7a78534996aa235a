"""Access lines as the files of their table hold them: in which order they come, and on which clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warmstall.case import Case
from warmstall.judging.access_lines import AccessLines, access_lines
from warmstall.schema import TABLES

NOON = datetime(2026, 3, 2, 12)
LOGS = (("b.log", "1"), ("a.log", "2"))
ACCOUNT = {"age": 0, "first_at": None, "host": "box", "kind": "server-log", "offsets_s": []}


def told(folder: Path, *parts: list[dict[str, Any]], twins: dict[str, int] | None = None) -> AccessLines:
    """What is read of a table of these files, each with a longer name than the next one."""
    for number, rows in enumerate(parts):
        kinds = {name: pa.from_numpy_dtype("int64") if kind == "BIGINT" else KINDS[kind]
                 for name, kind in TABLES["requests"].items()}  # fmt: skip
        columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()}
        pq.write_table(pa.table(columns), folder / f"requests-{'0' * (len(parts) - number)}.parquet")
    return access_lines(
        Case(folder, [ACCOUNT | {"path": path, "stream": stream} for path, stream in LOGS]), twins or {}
    )


KINDS = {"VARCHAR": pa.string(), "TIMESTAMP": pa.timestamp("us"), "DOUBLE": pa.float64(), "INTEGER": pa.int32()}


def line(number: int, source: str = "a.log", **more: Any) -> dict[str, Any]:
    ended = NOON + timedelta(seconds=number)
    return {"host": "box", "source": source, "line": number, "ended_local": ended, "wall_s": 1.0, "status": "200",
            "client": "::1", "method": "POST", "path": "/api/chat"} | more  # fmt: skip


def at_s(found: AccessLines, name: str = "ended_from") -> list[float]:
    """Seconds after noon."""
    return ((found.numbers[name] - np.datetime64(NOON, "us").astype(np.int64)) / 1e6).tolist()


@pytest.mark.parametrize(
    "parts",
    [
        [[line(3), line(4)], [line(1), line(2)], [line(7, "b.log")]],  # the files of a log in no order
        [[line(2), line(3)], [line(7, "b.log"), line(1), line(4)]],  # two files tell of one stretch of a log
        [[line(1), line(2), line(3), line(4)], [line(7, "b.log")]],
    ],
)
def test_lines_come_in_the_order_of_the_logs(tmp_path: Path, parts: list[list[dict[str, Any]]]) -> None:
    found = told(tmp_path, *parts)

    assert found.texts["source"].tolist() == ["b.log", *["a.log"] * 4]
    assert found.numbers["line"].tolist() == at_s(found) == [7, 1, 2, 3, 4]


def test_what_is_not_known_has_a_place_too(tmp_path: Path) -> None:
    found = told(tmp_path, [line(1), line(2, ended_local=None, wall_s=None, client=None)])

    assert found.texts["client"].tolist() == ["::1", ""]
    assert np.isnan(found.numbers["wall_s"]).tolist() == [False, True]
    assert found.numbers["ended_to"].view("datetime64[us]")[1:].tolist() == [None]
    assert len(told(tmp_path / "none").numbers["line"]) == 0


def test_a_zone_is_told_by_a_record_before_by_the_log_by_a_wrapper_or_by_the_twin(tmp_path: Path) -> None:
    of_records = [line(1), line(2, offset_s=3600), line(3, offset_s=7200)]
    stamped = [line(4, "b.log", wrapper_at=NOON + timedelta(hours=-2, seconds=4.25)), line(5, "b.log")]

    found = told(tmp_path, of_records, stamped, [line(6, "c.log")], twins={"c.log": -3600})

    assert found.numbers["zone_s"].tolist() == [7200, 7200, 3600, 3600, 7200, -3600]
    assert found.zone_from == {"a.log": "slog", "b.log": "wrapper", "c.log": "twin"}
    # The wrapper's stamp takes the place of the whole second.
    assert at_s(found)[0] == at_s(found, "ended_to")[0] == 4.25 - 7200


def test_a_second_is_narrowed_by_the_records_around_it(tmp_path: Path) -> None:
    around = {"before_at": NOON + timedelta(seconds=1.25), "after_at": NOON + timedelta(seconds=1.5)}

    found = told(tmp_path, [line(1, **around), line(2, **around)])

    assert (at_s(found), at_s(found, "ended_to")) == ([1.25, 2], [1.5, 3])


@pytest.mark.parametrize(("hours", "moved_s"), [(1, 3600), (-1, -3600), (3, 0)])
def test_an_hour_that_summer_time_explains(tmp_path: Path, hours: int, moved_s: int) -> None:
    """The first lines after the change carry the zone of the record before it."""
    around = {"before_at": NOON + timedelta(hours=hours), "after_at": NOON + timedelta(hours=hours, seconds=9)}

    assert at_s(told(tmp_path, [line(5, offset_s=0, **around)])) == [5 + moved_s]


def test_the_files_hold_what_the_view_shows(tmp_path: Path) -> None:
    """They are read without the view; it may only make up the text of a line."""
    told(tmp_path, [line(1)])
    view = Case(tmp_path, []).connection.sql("FROM access_lines").fetchall()

    assert [row[:-1] for row in view] == [
        row[:-1] for row in duckdb.sql(f"FROM '{tmp_path}/requests-*.parquet'").fetchall()
    ]


def test_no_number_of_a_line_is_too_great(tmp_path: Path) -> None:
    """They are kept in 32 bits while they fit."""
    great = [line(1, line=number) for number in (7, 2**31 - 1, 2**31, 2**40)]

    assert told(tmp_path, great[:2], great[2:]).numbers["line"].tolist() == [7, 2**31 - 1, 2**31, 2**40]
