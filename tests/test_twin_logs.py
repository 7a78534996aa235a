"""One server whose stdout and stderr went to files of their own: access lines in one, events in the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from warmstall.analysis import Analysis, analyze
from warmstall.answer import answer

BLOB = "/m/blobs/sha256-" + "a" * 64
SLOG = "time=2026-03-02T10:0{}+02:00 level=INFO source=a.go:1 msg={}\n"
EVENTS = (
    SLOG.format("0:00.000", '"Listening on 127.0.0.1:11434 (version 0.13.5)"')
    + SLOG.format("1:00.100", f'"starting runner" cmd="/usr/bin/ollama runner --model {BLOB} --port 5"')
    + SLOG.format("1:06.100", '"llama runner started in 6.00 seconds"')
)
GIN = '[GIN] 2026/03/02 - 10:0{} | 200 | {:>12} | 127.0.0.1 | POST     "/api/chat"\n'
ACCESS = GIN.format("1:08", "8.0s") + GIN.format("1:20", "2.0s")


def folder(at: Path, **files: str) -> Analysis:
    """The analysis of a folder with these logs."""
    for name, text in files.items():
        (at / f"{name}.log").write_text(text, encoding="utf-8")
    return analyze(at)


def test_the_access_lines_of_one_file_wait_for_the_loads_of_the_other(tmp_path: Path) -> None:
    requests = folder(tmp_path, out=ACCESS, err=EVENTS).requests()

    assert requests["verdict"].tolist() == ["cold_start", "unknown"]
    assert requests["load_s"].tolist()[0] == pytest.approx(6.0, abs=0.5)  # whole seconds
    assert requests["source"].unique().tolist() == ["out.log"]


def test_the_zone_of_access_lines_is_that_of_the_events(tmp_path: Path) -> None:
    found = folder(tmp_path, out=ACCESS, err=EVENTS)

    told = found.inputs().set_index("path")
    assert told.loc["out.log", ["zone", "zone_from"]].tolist() == ["+02:00", "twin"]
    assert told.loc["err.log", ["zone", "zone_from"]].tolist() == ["+02:00", "slog"]
    assert found.requests()["ended_at"].dt.hour.unique().tolist() == [8]
    assert "(the log's own clock is at +02:00)" in answer(found)


@pytest.mark.parametrize(
    "others",
    [
        {"err": EVENTS.replace("2026-03-02", "2026-03-04")},  # another day
        {"err": EVENTS, "err_b": EVENTS.replace("port 5", "port 6")},  # two servers: either may have served them
        {"err": EVENTS + ACCESS.replace("10:01", "10:03")},  # it has access lines of its own
        {"err": SLOG.format("1:00.000", '"total blobs: 3"')},  # nothing of a server's life
    ],
    ids=["not-then", "two", "whole", "no-events"],
)
def test_files_that_may_be_of_two_servers_stay_apart(tmp_path: Path, others: dict[str, str]) -> None:
    requests = folder(tmp_path, out=ACCESS, **others).requests()

    assert set(requests[requests["source"] == "out.log"]["verdict"]) == {"unknown"}
    assert requests[requests["source"] == "out.log"]["load_s"].eq(0).all()


def test_the_zone_that_was_used_is_the_zone_that_is_told(tmp_path: Path) -> None:
    """A third file takes the host's zone, and the header says so."""
    whole = EVENTS + ACCESS.replace("10:01", "10:03")
    found = folder(tmp_path, out=ACCESS, whole=whole)

    told = found.inputs().set_index("path")
    assert told.loc["out.log", ["zone", "zone_from"]].tolist() == ["+02:00", "assumed"]
    assert found.requests()["ended_at"].dt.hour.unique().tolist() == [8]
    assert "(1 of them tells no zone; +02:00 is assumed)" in answer(found)


def test_a_log_without_access_lines_has_a_span(tmp_path: Path) -> None:
    assert "2026-03-02 08:00:00 to 2026-03-02 08:01:06 UTC" in answer(folder(tmp_path, err=EVENTS))
