"""Trials in Parquet, SQLite and DuckDB: the same rows as in text, and nothing written beside them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstall.errors import InputError
from warmstall.parse.trial_files import is_trial_file, read_trial_file
from warmstall.parse.trials import parse_trials

CALLS: list[dict[str, Any]] = [
    {
        "run_id": f"r{number}", "model": "mid", "endpoint": "/api/chat", "status": 200 if number % 3 else 500,
        "started_at": f"2026-11-20T20:4{number}:03.250000+00:00",
        "ended_at": f"2026-11-20T20:4{number}:05.500000+00:00",
        "latency_ms": 2250.5, "ttft_s": 0.25 if number % 2 else None, "attempts": number + 1, "output_tokens": 12,
        "total_duration": 2249000111 + number, "error": "" if number % 3 else 'it "broke", twice', "timeout_s": 60,
    }
    for number in range(6)
]  # fmt: skip


def as_csv(path: Path) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(CALLS[0]))
    writer.writeheader()
    writer.writerows(CALLS)
    path.write_text(out.getvalue())


def as_jsonl(path: Path) -> None:
    path.write_text("\n".join(json.dumps(call) for call in CALLS))


def as_json(path: Path) -> None:
    path.write_text(json.dumps({"results": CALLS}, indent=2))


def timed() -> list[dict[str, Any]]:
    return [{k: datetime.fromisoformat(v) if k.endswith("_at") else v for k, v in call.items()} for call in CALLS]


def as_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(timed()), path)


def as_coarse_parquet(path: Path) -> None:
    """Nanoseconds, as pandas writes them."""
    table = pyarrow.Table.from_pylist(timed())
    for name in ("started_at", "ended_at"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(pyarrow.timestamp("ns", "UTC")))
    pyarrow.parquet.write_table(table, path)


def as_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE settings (name TEXT, value TEXT)")
    connection.execute("INSERT INTO settings VALUES ('model', 'mid')")
    connection.execute(f"CREATE TABLE trials ({', '.join(CALLS[0])})")
    connection.executemany(
        f"INSERT INTO trials VALUES ({', '.join('?' * len(CALLS[0]))})", [[*c.values()] for c in CALLS]
    )
    connection.commit()
    connection.close()


def as_duckdb(path: Path) -> None:
    connection = duckdb.connect(str(path))
    connection.register("calls", pyarrow.Table.from_pylist(timed()))
    connection.execute("CREATE TABLE trials AS FROM calls; CREATE TABLE settings AS SELECT 1 AS value")
    connection.close()


def rows_of(path: Path) -> list[dict[str, Any]]:
    parsed = read_trial_file(path) if is_trial_file(path.read_bytes()[:64]) else parse_trials(path.read_text())
    return [{name: value for name, value in row.items() if name != "line"} for row in parsed.tables["trials"]]


@pytest.mark.parametrize("write", [as_jsonl, as_json, as_parquet, as_coarse_parquet, as_sqlite, as_duckdb])
def test_the_same_calls_in_every_file_are_the_same_rows(write: Callable[[Path], None], tmp_path: Path) -> None:
    as_csv(tmp_path / "one")
    write(tmp_path / "other")

    expected = rows_of(tmp_path / "one")
    assert len(expected) == len(CALLS)
    assert rows_of(tmp_path / "other") == expected
    assert expected[1]["total_duration_s"] == 2.249000112
    assert expected[0]["error"] == 'it "broke", twice'


@pytest.mark.parametrize("write", [as_parquet, as_sqlite, as_duckdb])
def test_lines_are_the_numbers_of_rows(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "file")
    parsed = read_trial_file(tmp_path / "file")
    assert [row["line"] for row in parsed.tables["trials"]] == [1, 2, 3, 4, 5, 6]
    assert parsed.lines == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("write", [as_parquet, as_sqlite, as_duckdb])
def test_reading_leaves_the_file_and_its_folder_as_they_were(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "it's a file?#%41"
    write(path)
    path.chmod(0o444)
    before = path.read_bytes(), path.stat().st_mtime_ns

    assert len(read_trial_file(path).tables["trials"]) == 6
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_running_program_keeps_in_its_log_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE trials (model, latency_ms)")
    writer.execute("INSERT INTO trials VALUES ('mid', 850)")
    writer.commit()  # not checkpointed: it stands in the -wal file
    names = {item.name: item.read_bytes() for item in tmp_path.iterdir()}

    assert [row["wall_s"] for row in read_trial_file(path).tables["trials"]] == [0.85]
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == names
    writer.close()


def test_reading_a_database_that_keeps_a_log_makes_none(tmp_path: Path) -> None:
    writer = sqlite3.connect(tmp_path / "trials.db")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE trials AS SELECT 'mid' AS model, 850 AS latency_ms")
    writer.close()

    assert len(read_trial_file(tmp_path / "trials.db").tables["trials"]) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["trials.db"]


@pytest.mark.parametrize("write", [as_parquet, as_sqlite, as_duckdb])
def test_a_mapping_is_applied_and_a_wrong_one_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "file")
    found = read_trial_file(tmp_path / "file", {"ttft_ms": "latency_ms"}).tables["trials"]
    assert {row["ttft_s"] for row in found} == {2.2505}
    with pytest.raises(InputError, match='no column "latency" for wall_ms; the nearest is "latency_ms"'):
        read_trial_file(tmp_path / "file", {"wall_ms": "latency"})


def test_a_database_without_trials_has_no_rows(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.executescript("CREATE TABLE embeddings (id, vector, created_at); CREATE VIRTUAL TABLE t USING fts5(x)")
    connection.close()
    assert not read_trial_file(tmp_path / "other.db").tables


def test_nested_fields_of_parquet_are_columns(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist([{"model": "mid", "latency_s": 2.5, "usage": {"prompt_tokens": 50}}])
    pyarrow.parquet.write_table(table, tmp_path / "file")
    (row,) = read_trial_file(tmp_path / "file").tables["trials"]
    assert row["prompt_eval_count"] == 50


@pytest.mark.parametrize("write", [as_parquet, as_sqlite, as_duckdb])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_file_that_is_cut_short_is_refused_in_a_sentence_or_read(
    write: Callable[[Path], None], share: float, tmp_path: Path
) -> None:
    write(tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "cut")


def refused(path: Path) -> None:
    """Any other exception goes through."""
    said = ""
    try:
        read_trial_file(path)
    except InputError as error:
        said = str(error)
    assert not said or said.startswith(f"{path}: ")
    assert "\n" not in said


def test_what_is_none_of_them_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("run_id,status")
    with pytest.raises(InputError, match="neither Parquet nor SQLite nor DuckDB"):
        read_trial_file(tmp_path / "text")
    with pytest.raises(InputError, match="cannot be read"):
        read_trial_file(tmp_path / "absent")


@cache
def whole(write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "file"))
        return Path(folder, "file").read_bytes()


@settings(deadline=None, max_examples=60)
@given(
    write=st.sampled_from([as_parquet, as_sqlite, as_duckdb]),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_are_refused_in_a_sentence_or_read(
    write: Callable[[Path], None], places: list[tuple[float, int]]
) -> None:
    data = bytearray(whole(write))
    for share, byte in places:
        data[max(16, int(share * len(data)))] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        refused(path)
