"""The generator of logs for benchmarks: its truth is what ingest finds, in every dress and of every version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hostile_lines import LONGEST_BYTES
from log_pieces import VERSIONS
from server_log import DRESSES, Shape, truth_path, write_log

from dresses import rows
from warmstall.evidence import discover
from warmstall.ingest import ingest

SMALL = Shape(megabytes=1)
SHAPES = {
    **{f"as {dress}": replace(SMALL, dress=dress) for dress in DRESSES},
    **{f"of {version}": replace(SMALL, versions=(version,)) for version in VERSIONS},
    **{f"of {version} with slots": replace(SMALL, versions=(version,), slots=4) for version in VERSIONS},
    "hostile": replace(SMALL, hostile=True),
}


def ingested(log: Path, tables: Path) -> dict[str, object]:
    """What ingest counts, in the words of the truth."""
    (account,) = ingest(discover([log]), tables)
    requests, events = (f"read_parquet('{tables}/{table}-*.parquet')" for table in ("requests", "events"))
    ((access, wall_ns),) = duckdb.sql(f"SELECT count(*), sum(round(wall_s * 1e9)::HUGEINT) FROM {requests}").fetchall()
    return {
        "lines": account["lines"], "access_lines": access, "wall_ns": int(wall_ns),
        "by_status": dict(duckdb.sql(f"SELECT status, count(*) FROM {requests} GROUP BY status").fetchall()),
        "events": dict(duckdb.sql(f"SELECT key, count(*) FROM {events} GROUP BY key").fetchall()),
    }  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ingest_finds_the_truth(shape: Shape, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    truth = write_log(log, shape)

    found = ingested(log, tmp_path / "tables")

    assert found == {name: truth[name] for name in found}
    assert truth["bytes"] == log.stat().st_size
    assert truth["access_lines"]
    assert truth["loads"]["started"]
    assert json.loads(truth_path(log).read_text()) == json.loads(json.dumps(truth))


def test_every_line_of_a_generated_log_is_of_a_known_family(tmp_path: Path) -> None:
    for shape in (replace(SMALL, versions=VERSIONS), replace(SMALL, versions=VERSIONS, slots=2)):
        log = tmp_path / "server.log"
        write_log(log, shape)
        (account,) = ingest(discover([log]), tmp_path / f"tables{shape.slots}")
        assert account["unrecognized"] + account["undecodable"] == 0


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    logs = {}
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        write_log(tmp_path / name, replace(SMALL, seed=seed))
        logs[name] = (tmp_path / name).read_bytes()

    assert logs["one"] == logs["again"]
    assert logs["one"] != logs["other"]


def test_the_mixture_is_that_of_a_busy_server(tmp_path: Path) -> None:
    truth = write_log(tmp_path / "server.log", replace(SMALL, megabytes=10))
    slog = (tmp_path / "server.log").read_bytes().count(b"\ntime=2")

    assert 0.58 < truth["access_lines"] / truth["lines"] < 0.68
    assert 0.12 < slog / truth["lines"] < 0.19
    assert 90 < truth["bytes"] / truth["lines"] < 112


@pytest.mark.parametrize("requests_per_load", [30, 100, 1000])
def test_loads_are_as_many_as_asked_for(requests_per_load: int, tmp_path: Path) -> None:
    truth = write_log(tmp_path / "server.log", replace(SMALL, megabytes=20, requests_per_load=requests_per_load))

    each = 0.8 * truth["access_lines"] / truth["loads"]["started"]  # of five requests one is a poll
    assert 0.75 * requests_per_load < each < 1.3 * requests_per_load
    assert 0 <= truth["loads"]["started"] - truth["loads"]["finished"] - truth["loads"]["failed"] < 10


def tables_of(folder: Path) -> dict[str, list[dict[str, object]]]:
    """All rows in order, without the neighbours' times: those may be null at the edge of what was read at once."""
    told = {table: rows(folder, table) for table in ("requests", "events")}
    edges = ("before_at", "after_at", "offset_s")
    return {table: [{k: v for k, v in row.items() if k not in edges} for row in found] for table, found in told.items()}


@pytest.mark.parametrize("dress", ["plain", "journald"])
def test_a_hostile_log_read_bit_by_bit_gives_the_tables_of_the_whole(dress: str, tmp_path: Path) -> None:
    """Bits end anywhere: within a line, a character, a pair of returns, a line longer than all buffers."""
    log = tmp_path / "server.log"
    truth = write_log(log, replace(SMALL, megabytes=12, hostile=True, dress=dress))
    data = log.read_bytes()
    assert max(map(len, data.split(b"\n"))) >= LONGEST_BYTES

    whole = ingested(log, tmp_path / "whole")
    for end in (1_000_001, 4_321_987, 8_000_000, len(data)):
        log.write_bytes(data[:end])
        in_bits = ingested(log, tmp_path / "bits")

    assert whole == in_bits == {name: truth[name] for name in whole}
    assert tables_of(tmp_path / "bits") == tables_of(tmp_path / "whole")
